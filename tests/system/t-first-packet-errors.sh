#!/bin/bash
# What a host's own kernel answers to the first packet of a tunnelled flow: ICMP errors and TCP resets of
# Y's FORWARD and INPUT chains and of Y's routing, of a router that serves others, of A's own OUTPUT chain.
#
#   A --- R --- Y --- B (192.168.0.2), C (192.168.0.3)
#   W ----+---- X --- A1
. "$(dirname "$0")/lib.sh"
LONG=$((15 * ${SLOW:-1}))

# refuse NODE HOOK RULE: NODE's user has one more rule.
refuse() {
    on "$1" nft -f - <<NFT
table ip refuse
delete table ip refuse
table ip refuse {
    chain refuse {
        type filter hook $2 priority filter - 5
        $3
    }
}
NFT
}

# udp_fails ERROR NODE HOST PORT: a connected UDP socket is told.
udp_fails() {
    refused "UDP to $3:$4 from $2" ask "$2" "$3" "$4" hello --timeout "$LONG"
    same "$1" "$OUTPUT" "what UDP to $3:$4 from $2 reports"
}

# tcp_fails ERROR NODE HOST PORT
tcp_fails() {
    refused "TCP to $3:$4 from $2" on "$2" "$PYTHON" - "$3" "$4" "$LONG" <<'PY'
import errno, socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
except OSError as error:
    sys.exit(errno.errorcode.get(error.errno, str(error)))
PY
    same "$1" "$OUTPUT" "what TCP to $3:$4 from $2 reports"
}

fig2
# Linux limits how often it reports to one address, here at routing only.
for box in A X Y; do on "$box" sysctl -qw net.ipv4.icmp_ratemask=0; done
# Y's user lets out what is new only over lo.
on Y nft add chain ip site output '{ type filter hook output priority filter; policy drop; }'
on Y nft add rule ip site output ct state established,related accept
on Y nft add rule ip site output oifname lo accept
nattt_gateway Y '192.168.0.0/24", "192.168.0.1'
client_config X
printf '%s\n' 'pool = "198.18.0.0/15"' 'serve = ["lan"]' >>"$RUN/X.toml"
start_natttd X
nattt_client A
ours='ct mark and 0x04000000 != 0'
capture Y wan 'icmp or tcp'

# Y's FORWARD chain. A1 runs nothing and is served by X.
for node in A A1; do
    before=$(counter Y gateway_error_sent)
    refuse Y forward "$ours tcp dport 80 reject; $ours udp dport 7 reject"
    tcp_fails ECONNREFUSED $node b.example 80
    udp_fails ECONNREFUSED $node b.example 7
    refuse Y forward "$ours reject with icmp type host-prohibited"
    tcp_fails EHOSTUNREACH $node b.example 80
    udp_fails EHOSTUNREACH $node b.example 7
    on $node ping -n -c 1 -W "$LONG" b.example >"$RUN/ping" || true
    matches 'From 203\.0\.113\.1.* Destination Host Prohibited' "$(xargs <"$RUN/ping")" "ping at $node"
    more $((before + 4)) "$(counter Y gateway_error_sent)" "errors through the tunnel"
    before=$(counter Y gateway_encapsulated)
    refuse Y forward "$ours meta l4proto tcp reject with tcp reset"
    tcp_fails ECONNREFUSED $node b.example 80
    more "$before" "$(counter Y gateway_encapsulated)" "resets through the tunnel"
done
on Y nft delete table ip refuse
same "This is B." "$(fetch A b.example/)" "the page, when nothing forbids it"

# Other rules of Y's user, older than ours: one that sets the whole mark of what leaves, and a mirror of what
# arrives.
on Y iptables -w -t mangle -A POSTROUTING -o wan -j MARK --set-mark 0x10
rules Y apply
on Y nft insert rule ip site output oifname lan accept
on Y nft -f - <<'NFT'
table ip mirror {
    chain prerouting {
        type filter hook prerouting priority -290
        iifname wan tcp dport 80 dup to 192.168.0.3 device lan
    }
}
NFT
capture C eth0 'tcp dst port 80'
refuse Y forward "$ours meta l4proto tcp reject with tcp reset; $ours reject"
tcp_fails ECONNREFUSED A b.example 80
udp_fails ECONNREFUSED A b.example 7
wait_for 10 "the mirrored packet at C" seen C eth0 '198\.51\.100\.10\.[0-9]+ > 192\.168\.0\.2\.80'
on Y nft delete table ip refuse
on Y iptables -w -t mangle -D POSTROUTING -o wan -j MARK --set-mark 0x10
on Y nft delete table ip mirror

# Y's INPUT chain, about a service of Y's own.
refuse Y input "$ours tcp dport 80 reject with tcp reset; $ours reject with icmp type admin-prohibited"
tcp_fails ECONNREFUSED A gateway.example 80
udp_fails EHOSTUNREACH A gateway.example 7
on Y nft delete table ip refuse

# Y has no way to a host. (Of an unreachable host Linux tells TCP only.)
ip -n "$PREFIX-Y" route add unreachable 192.168.0.99
tcp_fails EHOSTUNREACH A nohost.example 80
tcp_fails EHOSTUNREACH A1 nohost.example 80
ip -n "$PREFIX-Y" route delete unreachable 192.168.0.99
ip -n "$PREFIX-Y" route add prohibit 192.168.0.99
udp_fails EHOSTUNREACH A nohost.example 7
udp_fails EHOSTUNREACH A1 nohost.example 7

# The very first packet is too long for B's link.
ip -n "$PREFIX-Y" link set lan mtu 1300
for node in A A1; do
    on $node "$PYTHON" - "$LONG" <<'PY'
import errno, socket, sys, time
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
sock.connect(("b.example", 7))
sock.settimeout(float(sys.argv[1]))
sock.send(b"x" * 1400)
try:
    sock.recv(9)
except OSError as error:
    assert error.errno == errno.EMSGSIZE, error
mtu = sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
assert mtu == 1300, mtu
PY
done
ip -n "$PREFIX-Y" link set lan mtu 1500

# The serving router's own FORWARD chain, about the outer packet.
refuse X forward 'iifname lan udp dport 100 reject with icmp type admin-prohibited'
tcp_fails EHOSTUNREACH A1 b.example 80
udp_fails EHOSTUNREACH A1 b.example 7
refuse X forward 'iifname lan udp dport 100 reject'
tcp_fails ECONNREFUSED A1 b.example 80
more 0 "$(counter X client_error_delivered)" "errors delivered by X"
on X nft delete table ip refuse

# The client's own OUTPUT chain.
refuse A output 'udp dport 100 reject'
tcp_fails ECONNREFUSED A b.example 80
udp_fails ECONNREFUSED A b.example 7
refuse A output 'udp dport 100 reject with icmp type admin-prohibited'
tcp_fails EHOSTUNREACH A b.example 80
on A nft delete table ip refuse
same "This is B." "$(fetch A b.example/)" "the page, when nothing forbids it any more"

# What came out of no tunnel that natttd knows of (here N's packets have the mark by somebody else) is not
# answered outside a tunnel either.
same 0 "$(counter Y icmp_error)" "errors dropped by Y"
ip -n "$PREFIX-R" route add 192.168.0.0/24 via 203.0.113.1
on Y nft -f - <<'NFT'
table ip feint {
    chain prerouting {
        type filter hook prerouting priority -310
        iifname wan ip saddr 198.51.100.53 meta mark set meta mark | 0x04000000
    }
}
NFT
refuse Y forward "$ours tcp dport 80 reject with tcp reset; $ours reject"
for ask in "ask N 192.168.0.2 7 hello --timeout 2" "fetch N 192.168.0.2/ --max-time 2"; do
    refused "$ask" $ask
done
more 0 "$(counter Y icmp_error)" "errors about no flow"
more 0 "$(counter Y gateway_no_flow)" "resets of no flow"
on Y nft delete table ip feint
on Y nft delete table ip refuse

# Ordinary traffic through the same box, refused by the same rules: its errors are the kernel's own, also
# while natttd is stopped. Nothing was said to A and X outside the tunnel before.
sent=$(counter Y gateway_error_sent)
plain() {
    refuse Y forward 'tcp dport 80 reject; udp dport 7 reject with icmp type host-prohibited'
    tcp_fails ECONNREFUSED W 203.0.113.1 5555
    udp_fails EHOSTUNREACH W 203.0.113.1 5555
    tcp_fails ECONNREFUSED B 198.51.100.80 80
    refuse Y forward 'tcp dport 80 reject with tcp reset'
    tcp_fails ECONNREFUSED W 203.0.113.1 5555
    on Y nft delete table ip refuse
    refuse W output 'udp dport 5555 reject'
    # The kernel tells the sender itself.
    udp_fails EPERM W 203.0.113.1 5555
    on W nft delete table ip refuse
}
plain
same "$sent" "$(counter Y gateway_error_sent)" "errors about ordinary packets in the tunnel"
same 0 "$(counter Y gateway_error_passed)" "errors about ordinary packets that natttd saw"
wait_for 10 "what Y says to W" seen Y wan '203\.0\.113\.1 > 198\.51\.100\.80: ICMP'
same "" "$(seen Y wan '> 198\.51\.100\.(10|20|53)' || true)" "what Y says outside the tunnel"
stop Y natttd
plain
