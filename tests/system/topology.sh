# The networks of the paper's Figures 1 and 2. Sourced by lib.sh.
#
#                198.51.100.0/24      router       203.0.113.0/24
#   fig1:                           (no NAT)
#     A  .10 ---------+                               +--- Y  .1 --- 192.168.0.1/24 --+-- B .2
#     N  .53 (DNS) ---+------ .1 --- R --- .254 ------+    (gateway)                  +-- C .3
#     W  .80 (web) ---+                               |
#                     |                               +--- Y2 .2 --- 192.168.0.1/24 ----- B2 .2
#   fig2, in addition:|                                    (gateway)
#     X  .20 ---------+     A1 192.168.0.2 behind X,
#     X2 .21 ---------+     A2 192.168.0.2 behind X2; both masquerade and know no tunnel
#
# Hosts have one interface, eth0; boxes have `wan` and `lan`. B, C, B2 and W run peers/server.py;
# N serves example.zone and plain.zone. A has a stateful firewall that drops what it did not ask for; so have all
# boxes, for FORWARD and INPUT. Y also forwards its port 5555 (TCP, UDP) to C the classic way.

fig1() {
    internet
    host A 198.51.100.10/24 198.51.100.1 R pub
    workstation_firewall A
    nat_box Y 203.0.113.1 203.0.113.254 gw
    nat_box Y2 203.0.113.2 203.0.113.254 gw
    accept_tunnelled Y Y2
    port_forward Y 5555 192.168.0.3
    host B 192.168.0.2/24 192.168.0.1 Y lan
    host C 192.168.0.3/24 192.168.0.1 Y lan
    host B2 192.168.0.2/24 192.168.0.1 Y2 lan
    serve W B C B2
}

fig2() {
    fig1
    nat_box X 198.51.100.20 198.51.100.1 pub
    nat_box X2 198.51.100.21 198.51.100.1 pub
    host A1 192.168.0.2/24 192.168.0.1 X lan
    host A2 192.168.0.2/24 192.168.0.1 X2 lan
}

# The public networks, their router, the DNS server and a web server.
internet() {
    node R
    hub R pub 198.51.100.1/24
    hub R gw 203.0.113.254/24
    # A router of the Internet's core filters nothing, spoofed sources included.
    on R sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 \
        net.ipv4.conf.pub.rp_filter=0 net.ipv4.conf.gw.rp_filter=0
    host N 198.51.100.53/24 198.51.100.1 R pub
    host W 198.51.100.80/24 198.51.100.1 R pub
    name_server
}

# host NODE ADDRESS/LENGTH ROUTER HUBNODE HUB
host() {
    node "$1"
    plug "$1" eth0 "$2" "$4" "$5"
    ip -n "$PREFIX-$1" route add default via "$3"
}

# nat_box NODE OUTSIDE ROUTER HUB: a masquerading router in front of 192.168.0.0/24.
nat_box() {
    node "$1"
    plug "$1" wan "$2/24" R "$4"
    hub "$1" lan 192.168.0.1/24
    ip -n "$PREFIX-$1" route add default via "$3"
    nat_rules "$1"
}

# box_behind OUTER BOX: a router at 10.0.0.9 behind OUTER, whose inside becomes 10.0.0.0/24, in front of
# 192.168.0.0/24. It does not masquerade.
box_behind() {
    on "$1" ip address flush dev lan
    on "$1" ip address add 10.0.0.1/24 dev lan
    node "$2"
    plug "$2" wan 10.0.0.9/24 "$1" lan
    hub "$2" lan 192.168.0.1/24
    ip -n "$PREFIX-$2" route add default via 10.0.0.1
    on "$2" sysctl -qw net.ipv4.ip_forward=1
}

# two_gateways: Y, T behind it, and B behind T, which serves; each box exports what is next.
two_gateways() {
    nat_box Y 203.0.113.1 203.0.113.254 gw
    box_behind Y T
    host B 192.168.0.2/24 192.168.0.1 T lan
    serve B
    accept_tunnelled Y
    nattt_gateway Y 10.0.0.0/24
    nattt_gateway T
}

# nat_rules NODE: forwarding, masquerading to `wan`, and a firewall that lets nothing in unasked.
nat_rules() {
    on "$1" sysctl -qw net.ipv4.ip_forward=1
    on "$1" nft -f - <<'NFT'
table ip site {
    chain prerouting {
        type nat hook prerouting priority dstnat
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade
    }
    chain input {
        type filter hook input priority filter; policy drop
        ct state established,related accept
        iifname { "lo", "lan" } accept
        icmp type echo-request accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname "lan" oifname "wan" accept
        ct status dnat accept
    }
}
NFT
}

# The one rule that the README asks of a gateway whose FORWARD chain drops by default.
accept_tunnelled() {
    local box
    for box in "$@"; do
        on "$box" nft add rule ip site forward ct mark and 0x04000000 != 0 accept
    done
}

# port_forward BOX PORT HOST: BOX's outside PORT leads to HOST's web server and UDP echo.
port_forward() {
    on "$1" nft add rule ip site prerouting iifname wan tcp dport "$2" dnat to "$3:80"
    on "$1" nft add rule ip site prerouting iifname wan udp dport "$2" dnat to "$3:7"
}

workstation_firewall() {
    on "$1" nft -f - <<'NFT'
table ip site {
    chain input {
        type filter hook input priority filter; policy drop
        ct state established,related accept
        iifname "lo" accept
    }
}
NFT
}

# The authoritative server of all topologies, on N.
name_server() {
    mkdir "$RUN/named"
    cp "$TESTS"/system/*.zone "$RUN/named/"
    named_on N named 198.51.100.53 'zone "example" { type primary; file "example.zone"; };
        zone "plain" { type primary; file "plain.zone"; };'
    wait_for 20 "the DNS server" on N dig +time=1 +tries=1 @198.51.100.53 example. SOA
}

# named_on NODE NAME ADDRESS STATEMENTS: BIND with the zone files in $RUN/NAME. Its binary is copied,
# because AppArmor profiles that go by the path of the original forbid it to read files here.
named_on() {
    mkdir -p "$RUN/$2"
    cp "$(command -v named)" "$RUN/$2/"
    cat >"$RUN/$2/named.conf" <<CONF
options {
    directory "$RUN/$2";
    listen-on { $3; };
    listen-on-v6 { none; };
    recursion no;
    dnssec-validation no;
    pid-file none;
    session-keyfile none;
};
controls { };
$4
CONF
    start "$1" "$2" "$RUN/$2/named" -g -4 -n 1 -c "$RUN/$2/named.conf"
}

# serve NODE...: a web server and a UDP echo on each, whose answers begin with the node's name.
serve() {
    local name
    for name in "$@"; do
        start "$name" server "$PYTHON" "$PEERS/server.py" "$name" --files "$RUN"
    done
    for name in "$@"; do
        wait_for 20 "the server on $name" grep -q ready "$(log "$name" server)"
    done
}

# upstream_of_a: A at 198.51.100.10 and, at the other end of its cable, N with a server whose names say how it
# behaves (peers/upstream.py).
upstream_of_a() {
    ip -n "$PREFIX-A" link add eth0 type veth peer name eth0 netns "$PREFIX-N"
    ip -n "$PREFIX-A" address add 198.51.100.10/24 dev eth0
    ip -n "$PREFIX-N" address add 198.51.100.53/24 dev eth0
    local name
    for name in A N; do ip -n "$PREFIX-$name" link set eth0 up; done
    ip -n "$PREFIX-A" route add default via 198.51.100.53
    start N upstream "$PYTHON" "$PEERS/upstream.py" 198.51.100.53 5310
    wait_for 20 "the server" grep -q ready "$(log N upstream)"
}
