#!/bin/bash
# Figure 1: A is public. Its application opens http://b.example/ by name.
. "$(dirname "$0")/lib.sh"

fig1
capture R gw ip
capture B eth0 'tcp port 80'
nattt_gateway Y
nattt_client A

mapped A b.example >/dev/null
same "This is B." "$(fetch A b.example/)" "the page"
same 198.51.100.10:3456 "$(fetch A b.example/whoami --local-port 3456)" "A as B sees it, port included"

# On the wire it is UDP port 100 both ways; B sees plain TCP.
wait_for 5 "UDP to Y:100" seen R gw '198\.51\.100\.10\.[0-9]+ > 203\.0\.113\.1\.100: UDP'
wait_for 5 "UDP from Y:100" seen R gw '203\.0\.113\.1\.100 > 198\.51\.100\.10\.[0-9]+: UDP'
refused "B's private address on the Internet" seen R gw ' (192\.168|127)\.[0-9]+\.[0-9]+'
wait_for 5 "TCP at B" seen B eth0 '198\.51\.100\.10\.[0-9]+ > 192\.168\.0\.2\.80: Flags \[S\]'
refused "tunnelled packets at B" seen B eth0 '\.100: '
