#!/bin/bash
# Any process can bind an address of the pool. It must not be able to answer for the remote host.
. "$(dirname "$0")/lib.sh"

fig1

# Without natttd the forgery arrives: this is what the rules have to stop.
same forged "$(on A "$PYTHON" "$PEERS/forge_local.py" 127.64.0.9 --timeout 5)" "the forgery by itself"

nattt_gateway Y
nattt_client A
address=$(mapped A b.example)
matches '^B saw 198\.51\.100\.10:' \
    "$(on A "$PYTHON" "$PEERS/forge_local.py" "$address")" "the first thing the application got"
