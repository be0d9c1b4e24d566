#!/bin/bash
# SCTP, DCCP, UDP-Lite, GRE, ESP and a protocol nobody has named, from a public client and from two
# behind a NAT. The packets are made and their checksums verified by peers/raw.py, because this kernel
# has no sockets for most of them.
. "$(dirname "$0")/lib.sh"

# raw NODE HOST PROTOCOL TEXT [PORTS]
raw() {
    on "$1" "$PYTHON" "$PEERS/raw.py" ask "$3" "$(mapped "$1" "$2")" "${5:-4000:4001}" "$4"
}

# with_ports NODE AS_SEEN: a client whom B sees as AS_SEEN, with a port that NATTT keeps.
with_ports() {
    local protocol
    for protocol in sctp dccp udplite; do
        matches "^B saw $2:[0-9]+: hello $protocol\$" \
            "$(raw "$1" b.example "$protocol" "hello $protocol")" "$protocol from $1"
    done
}

addresses_only() {
    local protocol
    for protocol in 47 50 253; do
        same "B saw $2:0: hello $protocol" \
            "$(raw "$1" b.example "$protocol" "hello $protocol")" "protocol $protocol from $1"
    done
}

fig2
start B raw "$PYTHON" "$PEERS/raw.py" answer B
wait_for 10 "raw.py on B" grep -q ready "$(log B raw)"
# Linux's conntrack verifies UDP-Lite as if it were UDP (it puts 17 into the pseudo header) and calls
# what is right invalid, wherever no network card has verified it before.
on Y sysctl -qw net.netfilter.nf_conntrack_checksum=0
nattt_gateway Y
nattt_client A A1
with_ports A 198.51.100.10
addresses_only A 198.51.100.10
with_ports A1 198.51.100.20
addresses_only A1 198.51.100.20
# The application's own port stays, where it is nobody else's.
matches 'B saw 198\.51\.100\.10:4100: ' "$(raw A b.example sctp x 4100:4001)" "SCTP's source port"

# A second client behind X has no port to tell it apart: refused, counted, and told of.
host A3 192.168.0.3/24 192.168.0.1 X lan
nattt_client A3
refused "GRE from a second client behind X" raw A3 b.example 47 "me too"
more 0 "$(counter Y gateway_conflict)" "gateway_conflict"
wait_for 5 "the log line" grep -q 'gateway_conflict' "$(log Y natttd)"
same "B saw 198.51.100.20:0: still" "$(raw A1 b.example 47 still)" "the first client's GRE"
with_ports A3 198.51.100.20
