#!/bin/bash
# Review: that the pool is nobody's network is looked at once, at the start; at boot the network often
# comes later than natttd. The pool's route then takes all of it.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
client_config A
echo 'pool = "10.64.0.0/16"' >>"$RUN/A.toml"
start_natttd A
# A network that comes up later, or a lease: 10.64.0.0/24 with a neighbour at .2.
ip -n "$PREFIX-A" address add 10.64.0.1/24 dev eth0
ip -n "$PREFIX-W" address add 10.64.0.2/24 dev eth0
sleep 3
STATUS=0
OUTPUT=$(on A ping -n -c 1 -W 2 10.64.0.2 2>&1) || STATUS=$?
echo "a neighbour in that network: $(grep From <<<"$OUTPUT" || true) (status $STATUS)"
[ "$STATUS" = 0 ] || matches 10.64.0 "$(control A status --json | jq -c '.. | .warnings? // empty')$(cat "$(log A natttd)")" \
    "what natttd says about the network that it cut off"
