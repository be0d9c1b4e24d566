#!/bin/bash
# Datagrams of every size, with and without DF, and segments of TCP, where the paths differ in MTU.
#
#   A --- R --- Y --- B        R-Y: 1500, then 1280 (natttd not told), then 9000 (told: mtu = 9000)
. "$(dirname "$0")/lib.sh"

SMALL="1 2 3 63 64 65 511 512 1200 1251 1252 1253 1280 1400 1443 1444"
LARGE="1445 1471 1472 1473 1500 2000 4095 8192 16384 40000 65000"

# sizes MODE SIZE...
sizes() {
    on A "$PYTHON" "$PEERS/sizes.py" b.example 7 "$@"
}

# link_mtu OCTETS: of the link between R and Y.
link_mtu() {
    ip -n "$PREFIX-Y" link set wan mtu "$1"
    ip -n "$PREFIX-R" link set to-Y mtu "$1"
    ip -n "$PREFIX-R" link set gw mtu "$1"
}

megabytes() {
    local sum
    sum=$(sha256sum <"$RUN/big")
    same "$sum" "$(fetch A b.example/big | sha256sum)" "10 MB down, $1"
    same "${sum%% *}" "$(fetch A b.example/ -T "$RUN/big")" "10 MB up, $1"
}

fig1
head -c 10000000 /dev/urandom >"$RUN/big"
nattt_gateway Y
nattt_client A

same 65000 "$(sizes want $SMALL $LARGE)" "sizes of an ordinary socket"
same 65000 "$(sizes dont $SMALL $LARGE)" "sizes with DF clear"
same "1444; EMSGSIZE from 1445 on" "$(sizes do $SMALL $LARGE)" "sizes with DF set"
megabytes "an MTU of 1500"

# Outer headers have DF clear: a smaller link than natttd assumes costs fragments, not connections.
link_mtu 1280
same 65000 "$(sizes want $SMALL $LARGE)" "sizes over a link of 1280"
same "1444; EMSGSIZE from 1445 on" "$(sizes do $SMALL $LARGE)" "sizes with DF set over a link of 1280"
megabytes "a link of 1280"
on A sysctl -qw net.ipv4.tcp_timestamps=0
megabytes "without TCP timestamps"

# Jumbo frames all the way: larger segments, and larger datagrams with DF.
for link in "A eth0" "R to-A" "R pub" "B eth0" "Y to-B" "Y lan"; do
    ip -n "$PREFIX-${link% *}" link set "${link#* }" mtu 9000
done
link_mtu 9000
stop A natttd
stop Y natttd
echo 'mtu = 9000' >>"$RUN/A.toml"
echo 'mtu = 9000' >>"$RUN/Y.toml"
start_natttd Y
start_natttd A
same "8944; EMSGSIZE from 8945 on" "$(sizes do 1 1444 1445 8943 8944 8945 9000)" "sizes with DF set, jumbo"
same 65000 "$(sizes want $SMALL $LARGE)" "sizes of an ordinary socket, jumbo"
megabytes "jumbo frames"
