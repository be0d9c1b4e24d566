#!/bin/bash
# Review: the route of a pool that is not the pool any more stays in the local table. After a kill it is
# open and unguarded; after a clean stop it makes somebody's network unreachable.
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
echo "after a kill and a new configuration: $(old_routes)"
PATIENCE=2 refused "the old address of b.example" fetch A "$address/"
