#!/bin/bash
# B answers long after the kernels' own connection tracking would have forgotten the flow.
. "$(dirname "$0")/lib.sh"

fig1
on Y sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2
capture R gw 'ip and src host 203.0.113.1 and not src port 100'
nattt_gateway Y
nattt_client A

matches '^B saw 198\.51\.100\.10:[0-9]+: hello$' "$(ask A b.example 7 hello)" "a quick answer"
matches '^B saw 198\.51\.100\.10:[0-9]+: delay 6 late$' \
    "$(ask A b.example 7 'delay 6 late')" "an answer after 6 s"
refused "an answer outside the tunnel" seen R gw '203\.0\.113\.1'
