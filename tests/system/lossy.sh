# A link that carries less than those around it, and what is lost behind it; sourced by tests after lib.sh.
#
#   192.0.2.128/25, hub pub of M --- M --- R

# middle: the nodes and the link.
middle() {
    internet
    hub R mid 192.0.2.1/25
    node M
    plug M wan 192.0.2.2/25 R mid
    hub M pub 192.0.2.129/25
    on M sysctl -qw net.ipv4.ip_forward=1
    ip -n "$PREFIX-M" route add default via 192.0.2.1
    ip -n "$PREFIX-R" route add 192.0.2.128/25 via 192.0.2.2
}

# link_mtu OCTETS: of the link between M and R, which no natttd has a part in.
link_mtu() {
    ip -n "$PREFIX-R" link set to-M mtu "$1"
    ip -n "$PREFIX-R" link set mid mtu "$1"
    ip -n "$PREFIX-M" link set wan mtu "$1"
}

# lose TABLE CHAIN RULE NODE...: that is lost there from now on; nobody hears of it.
lose() {
    local name
    for name in "${@:4}"; do
        on "$name" nft -f - <<NFT
table ip $1 {
    chain lossy {
        $2
        $3
    }
}
NFT
    done
}

# drop_fragments NODE...: what comes in, before connection tracking would put it together.
drop_fragments() {
    lose fragments 'type filter hook prerouting priority -450' 'ip frag-off & 0x3fff != 0 drop' "$@"
}

# hide_errors NODE...: of its own, about what it should have fragmented.
hide_errors() {
    lose errors 'type filter hook output priority filter' \
        'icmp type destination-unreachable icmp code frag-needed drop' "$@"
}

# heal TABLE NODE...
heal() {
    local name
    for name in "${@:2}"; do
        on "$name" nft delete table ip "$1"
    done
}
