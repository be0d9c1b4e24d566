#!/bin/bash
# A single host with a routed pool, for programs that treat 127/8 specially.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
client_config A
echo 'pool = "198.18.0.0/15"' >>"$RUN/A.toml"
start_natttd A

address=$(lookup A b.example | tail -n 1)
matches '^198\.1[89]\.' "$address" "the address of b.example"
answer_every_protocol B Y
every_protocol A b.example 198.51.100.10

refused "an unmapped address" fetch A 198.19.255.1/
same 7 "$STATUS" "curl's exit status for an unmapped address"

# The network is not served: no tunnel for it, and nothing on A that answers.
start A listener "$PYTHON" "$PEERS/server.py" A --files "$RUN"
wait_for 20 "the server on A" grep -q ready "$(log A listener)"
ip -n "$PREFIX-R" route add 198.18.0.0/15 via 198.51.100.10
refused "a mapped address from outside" fetch R "$address/"
same 7 "$STATUS" "curl's exit status at R"
before=$(counter A client_encapsulated)
refused "ping from outside" on R ping -n -c 1 -W 1 "$address"
same "$before" "$(counter A client_encapsulated)" "packets into the tunnel"

# It fails closed: killed, and with the rules gone while natttd runs.
on A nft flush ruleset
closed() { on A ip route show table local | grep -q '^unreachable 198.18.0.0/15'; }
wait_for 20 "the pool to be closed" closed
refused "the pool without rules" fetch A "$address/"
rules A apply
wait_for 20 "the pool to be open" fetch A b.example/
stop A natttd KILL
PATIENCE=2 refused "the pool without natttd" fetch A "$address/"
