#!/bin/bash
# SIGHUP, by which other daemons read their configuration again, leaves natttd as it is.
. "$(dirname "$0")/lib.sh"

node A
client_config A
start_natttd A
told() { [ "$(grep -c 'systemctl restart nattt' "$(log A natttd)")" = "$1" ]; }
for times in 1 2; do
    kill -HUP "${PID[A-natttd]}"
    wait_for 10 "the log to say what to do instead" told "$times"
done
same "${PID[A-natttd]}" "$(control A status --json | jq .pid)" "process"
stop A natttd
same 0 "$STATUS" "exit status of natttd"
