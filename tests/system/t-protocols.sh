#!/bin/bash
# TCP, UDP, ping, SCTP, DCCP, UDP-Lite, GRE, ESP and a protocol nobody has named, from a public client
# and from two behind a NAT (figures 1 and 2; the other topologies' tests do the same). What this kernel
# may have no sockets for is made, and its checksums verified, by peers/raw.py.
#
#   A 198.51.100.10 ---------------------- R --- Y 203.0.113.1 --- B 192.168.0.2
#   A1, A3 --- X 198.51.100.20 (NAT) ------+
. "$(dirname "$0")/lib.sh"

fig2
answer_every_protocol B Y
nattt_gateway Y
nattt_client A A1
every_protocol A b.example 198.51.100.10
every_protocol A1 b.example 198.51.100.20
# The application's own port stays, where it is nobody else's.
matches 'B saw 198\.51\.100\.10:4100: ' "$(raw A b.example sctp x 4100:4001)" "SCTP's source port"

# A second client behind X has no port to tell it apart: refused, counted, and told of.
host A3 192.168.0.3/24 192.168.0.1 X lan
nattt_client A3
refused "GRE from a second client behind X" raw A3 b.example 47 "me too"
more 0 "$(counter Y gateway_conflict)" "gateway_conflict"
wait_for 5 "the log line" grep -q 'gateway_conflict' "$(log Y natttd)"
same "B saw 198.51.100.20:0: still" "$(raw A1 b.example 47 still)" "the first client's GRE"
with_ports A3 b.example 198.51.100.20
