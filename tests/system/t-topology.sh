#!/bin/bash
# The network without natttd: what works must work by itself, what NATTT adds must not.
. "$(dirname "$0")/lib.sh"

fig2

# DNS: real records answer, and a name with only a NAT record has no address.
same 198.51.100.80 "$(lookup A www.example)" "www.example at A"
same 198.51.100.80 "$(lookup A1 www.example)" "www.example at A1, through X"
same "" "$(lookup A b.example)" "addresses of b.example"
same '\# 10 CB0071010064C0A80002' "$(on A dig +short b.example TYPE65324)" "NAT record of b.example"
matches 'status: NOERROR' "$(on A dig b.example A)" "NODATA for b.example"
matches 'status: NXDOMAIN' "$(on A dig missing.example A)" "a name that does not exist"

# The LANs, and hosts with the same address on different ones.
same "This is B." "$(fetch C 192.168.0.2/)" "B's page at C"
same "This is B2." "$(fetch Y2 192.168.0.2/)" "192.168.0.2 at Y2"

# Masquerading: W sees the boxes.
matches '^203\.0\.113\.1:' "$(fetch B www.example/whoami)" "B as W sees it"
matches '^198\.51\.100\.20:' "$(fetch A1 www.example/whoami)" "A1 as W sees it"
matches '^198\.51\.100\.21:' "$(fetch A2 www.example/whoami)" "A2 as W sees it"
matches '^198\.51\.100\.10:' "$(fetch A www.example/whoami)" "A as W sees it"

# The classic port forward, TCP and UDP.
same "This is C." "$(fetch A 203.0.113.1:5555/)" "the port forward"
matches '^C saw 198\.51\.100\.20:' "$(ask A1 203.0.113.1 5555 hello)" "the UDP port forward"

# What nobody opened stays closed: the name at A, B from outside, A from outside.
refused "b.example without natttd" fetch A b.example/
matches 'Could not resolve' "$OUTPUT" "why curl gave up"
ip -n "$PREFIX-R" route add 192.168.0.0/24 via 203.0.113.1
PATIENCE=1 refused "B from outside, past the FORWARD chain" fetch W 192.168.0.2/
PATIENCE=1 refused "Y's inside from outside" fetch W 203.0.113.1/
