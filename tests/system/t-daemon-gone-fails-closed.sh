#!/bin/bash
# With natttd killed, A's own listener on every address must not answer for the remote host.
. "$(dirname "$0")/lib.sh"

fig1
serve A
nattt_gateway Y
nattt_client A

address=$(mapped A b.example)
same "This is A." "$(fetch A 127.0.0.1/)" "A's own page"
same "This is B." "$(fetch A "$address/")" "B's page at the mapped address"

stop A natttd KILL
PATIENCE=2 refused "TCP to the mapped address" fetch A "$address/"
refused "UDP to the mapped address" ask A "$address" 7 hello --timeout 2
refused "ICMP to the mapped address" on A ping -n -c 1 -W 2 "$address"

# Everything else goes on, names included: the DNS rules let replies pass.
same "This is A." "$(fetch A 127.0.0.1/)" "A's own page, natttd gone"
same "This is W." "$(fetch A www.example/)" "a public page, natttd gone"

# The same address serves the same host after a restart.
start_natttd A
same "$address" "$(mapped A b.example)" "the address after a restart"
same "This is B." "$(fetch A "$address/")" "B's page after a restart"
