#!/bin/bash
# Two legacy NATs in front of the client, three NATTT boxes in front of B, keepalives through all of
# them: every box forgets UDP after 3 s.
#
#   A1 192.168.0.2 | X1 10.9.0.2 | X 198.51.100.20 --- R --- Y 203.0.113.1 | 10.0.0.1 ---
#      --- T 10.0.0.9 | 10.1.0.1 --- U 10.1.0.9 | 192.168.0.1 --- B 192.168.0.2
. "$(dirname "$0")/lib.sh"

# box NODE ADDRESS ROUTER OUTSIDE-NODE INSIDE: a box inside another box's LAN, without a firewall.
box() {
    node "$1"
    plug "$1" wan "$2/24" "$4" lan
    hub "$1" lan "$5/24"
    ip -n "$PREFIX-$1" route add default via "$3"
    on "$1" sysctl -qw net.ipv4.ip_forward=1
}

# lan_is NODE ADDRESS: another address for a nat_box's inside.
lan_is() {
    on "$1" ip address flush dev lan
    on "$1" ip address add "$2/24" dev lan
}

internet
nat_box X 198.51.100.20 198.51.100.1 pub
lan_is X 10.9.0.1
nat_box Y 203.0.113.1 203.0.113.254 gw
lan_is Y 10.0.0.1
accept_tunnelled Y
box X1 10.9.0.2 10.9.0.1 X 192.168.0.1
on X1 nft -f - <<'NFT'
table ip site { chain postrouting { type nat hook postrouting priority srcnat; oifname "wan" masquerade random; }; }
NFT
box T 10.0.0.9 10.0.0.1 Y 10.1.0.1
box U 10.1.0.9 10.1.0.1 T 192.168.0.1
host A1 192.168.0.2/24 192.168.0.1 X1 lan
host B 192.168.0.2/24 192.168.0.1 U lan
serve B
nattt_gateway Y 10.0.0.0/24
nattt_gateway T 10.1.0.0/24
nattt_gateway U
client_config A1
echo 'keepalive_s = 1' >>"$RUN/A1.toml"
start_natttd A1

answer_every_protocol B Y T U
every_protocol A1 deeper.example 198.51.100.20
head -c 10000000 /dev/urandom >"$RUN/big"
same "$(sha256sum <"$RUN/big")" "$(fetch A1 deeper.example/big | sha256sum)" "10 MB through three levels"
# Larger than three levels leave room for, 1388, goes in outer fragments.
same "1444; EMSGSIZE from 1445 on" \
    "$(on A1 "$PYTHON" "$PEERS/sizes.py" deeper.example 7 do 1 1388 1389 1444 1445)" "sizes with DF set"
same 40000 "$(on A1 "$PYTHON" "$PEERS/sizes.py" deeper.example 7 want 1 1388 1389 1472 9000 40000)" "sizes"

for name in X X1 Y T U; do
    on "$name" sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 \
        net.netfilter.nf_conntrack_udp_timeout_stream=3
done
said=$(on A1 "$PYTHON" "$PEERS/talk.py" deeper.example 7 one 'delay 8 two' 'quiet 8' three)
matches ': one.*: delay 8 two.*: three$' "${said//$'\n'/ }" "a silent connection through six boxes"
