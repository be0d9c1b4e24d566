#!/bin/bash
# At boot the network often comes later than natttd. One that shares addresses with the pool is cut off by
# it, and log and status say so.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
client_config A
echo 'pool = "10.64.0.0/16"' >>"$RUN/A.toml"
start_natttd A
ip -n "$PREFIX-A" address add 10.64.0.1/24 dev eth0
said() { grep -q "shares addresses with this host's network 10.64.0.0/24" "$(log A natttd)"; }
wait_for 10 "the warning" said
matches 'network 10\.64\.0\.0/24' "$(control A status)" "status"
ip -n "$PREFIX-A" address delete 10.64.0.1/24 dev eth0
silent() { ! control A status | grep -q WARNING; }
wait_for 10 "the end of the warning" silent
same "This is B." "$(fetch A b.example/)" "the page"
