#!/bin/bash
# natttd is killed, and then configured with another pool: the route of the old one, which no rule guards
# any more, goes, or this host's own listeners would answer for B.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
client_config A
cp "$RUN/A.toml" "$RUN/A.without"
echo 'pool = "198.18.0.0/15"' >>"$RUN/A.toml"
start_natttd A
address=$(lookup A b.example | tail -n 1)
same "This is B." "$(fetch A "$address/")" "the page"

start A listener "$PYTHON" "$PEERS/server.py" A --files "$RUN"
wait_for 20 "the server on A" grep -q ready "$(log A listener)"
old_routes() { on A ip route show table local | grep '198\.18\.0\.0/15' || true; }

# Killed, then configured anew.
stop A natttd KILL
{ cat "$RUN/A.without"; echo 'pool = "10.64.0.0/16"'; } >"$RUN/A.toml"
start_natttd A
same "" "$(old_routes)" "the route of the old pool"
PATIENCE=2 refused "the old address of b.example" fetch A "$address/"
