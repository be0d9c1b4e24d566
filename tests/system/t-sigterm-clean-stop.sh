#!/bin/bash
# SIGTERM ends natttd with status 0; the pool stays closed, and a restart serves the same addresses.
. "$(dirname "$0")/lib.sh"

fig1
serve A
nattt_gateway Y
nattt_client A
address=$(mapped A b.example)
same "This is B." "$(fetch A "$address/")" "the page"

for node in A Y; do
    stop "$node" natttd TERM
    same 0 "$STATUS" "exit status of natttd on $node"
    refused "the control socket on $node" control "$node" status
    refused "panics on $node" grep panicked "$(log "$node" natttd)"
done

PATIENCE=2 refused "TCP to the mapped address" fetch A "$address/"
same "" "$(lookup A b.example)" "the address of b.example without natttd"
same "This is W." "$(fetch A www.example/)" "a public page without natttd"

start_natttd Y
start_natttd A
same "$address" "$(mapped A b.example)" "the address after a restart"
same "This is B." "$(fetch A b.example/)" "the page after a restart"
