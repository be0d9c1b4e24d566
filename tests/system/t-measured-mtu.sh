#!/bin/bash
# A link in the middle carries less than the first, and what is behind it drops fragments: natttd finds out
# what gets through, and TCP connections fit, in both directions, from the very first on.
#
#   A 192.0.2.130 --- M --- R --- Y 203.0.113.1 | 10.0.0.1 --- T 10.0.0.9 | 192.168.0.1 --- B
. "$(dirname "$0")/lib.sh"

link_mtu() {
    ip -n "$PREFIX-R" link set to-M mtu "$1"
    ip -n "$PREFIX-R" link set mid mtu "$1"
    ip -n "$PREFIX-M" link set wan mtu "$1"
}

drop_fragments() {
    local name
    for name in "$@"; do
        on "$name" nft -f - <<'NFT'
table ip lossy {
    chain prerouting {
        type filter hook prerouting priority -450
        ip frag-off & 0x3fff != 0 drop
    }
}
NFT
    done
}

internet
hub R mid 192.0.2.1/25
node M
plug M wan 192.0.2.2/25 R mid
hub M pub 192.0.2.129/25
on M sysctl -qw net.ipv4.ip_forward=1
ip -n "$PREFIX-M" route add default via 192.0.2.1
ip -n "$PREFIX-R" route add 192.0.2.128/25 via 192.0.2.2
host A 192.0.2.130/25 192.0.2.129 M pub
workstation_firewall A
nat_box Y 203.0.113.1 203.0.113.254 gw
box_behind Y T
host B 192.168.0.2/24 192.168.0.1 T lan
serve B
accept_tunnelled Y
nattt_gateway Y 10.0.0.0/24
nattt_gateway T
link_mtu 1420
drop_fragments M R
head -c 300000 /dev/urandom >"$RUN/big"
nattt_client A
sum=$(sha256sum <"$RUN/big")
same "$sum" "$(PATIENCE=20 fetch A deep.example/big | sha256sum)" "a large answer"
same "${sum%% *}" "$(PATIENCE=20 fetch A deep.example/ -T "$RUN/big")" "the same the other way"
sleep 3
cat "$(log A natttd)"
control A explain deep.example
control A counters | grep -E "path|frag"
same "$sum" "$(PATIENCE=20 fetch A deep.example/big | sha256sum)" "a large answer"
control A flows
