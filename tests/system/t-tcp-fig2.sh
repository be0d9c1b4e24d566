#!/bin/bash
# Figure 2: A1 is behind the legacy NAT X, so B must see X's public address.
. "$(dirname "$0")/lib.sh"

fig2
capture R pub 'udp port 100'
nattt_gateway Y
nattt_client A1

mapped A1 b.example >/dev/null
same "This is B." "$(fetch A1 b.example/)" "the page"
matches '^198\.51\.100\.20:' "$(fetch A1 b.example/whoami)" "A1 as B sees it"
wait_for 5 "UDP from X to Y:100" seen R pub '198\.51\.100\.20\.[0-9]+ > 203\.0\.113\.1\.100: UDP'
wait_for 5 "UDP from Y:100 to X" seen R pub '203\.0\.113\.1\.100 > 198\.51\.100\.20\.[0-9]+: UDP'
