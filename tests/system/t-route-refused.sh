#!/bin/bash
# A kernel that refuses the pool's route for a while ends nothing: natttd says so once, tries again
# every second, and saves its mappings when it stops.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A
address=$(mapped A b.example)
same "This is B." "$(fetch A "$address/")" "the page"

complaints() { grep -c 'the route of the pool: .*tries again' "$(log A natttd)"; }
complained() { [ "$(complaints)" = "$1" ]; }
# The route prefers the source 127.0.0.1. A change of nf_tables makes natttd set it anew.
lose() { on A ip address delete 127.0.0.1/8 dev lo && on A nft add table ip "$1"; }

lose one
wait_for 10 "a warning" complained 1
before=$(control A status --json | jq .uptime_s)
later() { (($(control A status --json | jq .uptime_s) > before + 2)); }
wait_for 10 "natttd on A, which goes on" later
complained 1

on A ip address add 127.0.0.1/8 dev lo
wait_for 10 "the route" grep -q 'the route of the pool: works again' "$(log A natttd)"
same "This is B." "$(fetch A "$address/")" "the page again"

lose two
wait_for 10 "a second warning" complained 2
rm "$RUN/A-state/mappings.json"
mapped A c.example >/dev/null
stop A natttd
same 0 "$STATUS" "exit status of natttd on A"
grep -qF "$address" "$RUN/A-state/mappings.json"
