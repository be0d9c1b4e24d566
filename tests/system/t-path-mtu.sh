#!/bin/bash
# The first link carries less than `mtu` says, or more: PPPoE, WireGuard, jumbo frames. natttd is told
# nothing, and full segments of TCP leave in one piece each, in both directions.
#
#   A1 --- X ---+
#               R --- Y --- B       the uplinks of A (client), X (client for A1) and Y (gateway) change
#   A ----------+
. "$(dirname "$0")/lib.sh"

# ---- helpers -------------------------------------------------------------------------------------

# uplink NODE OCTETS: the MTU of its link to R, at both ends.
uplink() {
    local interface=wan hub=pub
    [ "$1" != A ] || interface=eth0
    [ "$1" != Y ] || hub=gw
    ip -n "$PREFIX-$1" link set "$interface" mtu "$2"
    ip -n "$PREFIX-R" link set "to-$1" mtu "$2"
    ip -n "$PREFIX-R" link set "$hub" mtu "$2"
}

# pool_mtu NODE OCTETS: waits until applications there learn this MTU.
pool_mtu() {
    pool_has() { on "$1" ip route show table local | grep -Eq "^local (127.64|198.18).* mtu $2"; }
    wait_for 10 "the MTU $2 of the pool's route at $1" pool_has "$1" "$2"
}

# headers NODE INTERFACE FILTER: as `capture`, but of headers only. The kernel's buffer then holds
# thousands of packets, not eight.
headers() {
    start "$1" "tcpdump-$2" tcpdump -n -l --immediate-mode -s 128 -i "$2" "$3"
    wait_for 10 "tcpdump on $1 $2" grep -q 'listening on' "$(log "$1" "tcpdump-$2")"
}

# watch NODE...: collects fragments on all their links. `marked` ends that.
watch() {
    WATCHED="$*"
    local name
    for name in "$@"; do
        headers "$name" any 'ip[6:2] & 0x3fff != 0'
    done
}

# marked: ends what `watch` began. A ping of several fragments is the last that is seen; without it, seeing
# nothing would prove nothing.
marked() {
    local name
    on "${WATCHED%% *}" ping -n -q -c 1 -s 20000 -W 5 203.0.113.1 >/dev/null
    for name in $WATCHED; do
        wait_for 10 "the end of the capture on $name" seen "$name" any '203\.0\.113\.1 > .*ip-proto-1$'
        stop "$name" tcpdump-any
    done
}

# pieces NODE: fragments of anything but that ping.
pieces() {
    seen "$1" any ' > ' | grep -Evc 'ICMP|ip-proto-1$' || true
}

# in_one_piece WHAT
in_one_piece() {
    local name
    marked
    for name in $WATCHED; do
        same 0 "$(pieces "$name")" "fragments at $name, $1"
        grep -q '^0 packets dropped by kernel' "$(log "$name" tcpdump-any)" || fail "tcpdump missed some, $1"
    done
}

# megabytes NODE WHAT: down and up.
megabytes() {
    local sum
    sum=$(sha256sum <"$RUN/big")
    same "$sum" "$(fetch "$1" b.example/big | sha256sum)" "2 MB down, $2"
    same "${sum%% *}" "$(fetch "$1" b.example/ -T "$RUN/big")" "2 MB up, $2"
}

sizes() {
    on "$1" "$PYTHON" "$PEERS/sizes.py" b.example 7 "${@:2}"
}

# under_way NODE COUNTER: another hundred packets.
under_way() {
    local before
    before=$(counter "$1" "$2")
    beyond() { more $((before + 100)) "$(counter "$1" "$2")" "packets"; }
    wait_for 20 "packets, counter $2 at $1" beyond "$1" "$2"
}

# ---- uplinks of other sizes ----------------------------------------------------------------------

fig2
head -c 2000000 /dev/urandom >"$RUN/big"
nattt_gateway Y
nattt_client A
client_config X
printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\n' >>"$RUN/X.toml"
start_natttd X
pool_mtu A 1472
matches 'Client MTU: +1500 octets, as configured and as the default route has it' \
    "$(control A status)" "status at A"

for mtu in 1492 1420 1280; do
    uplink A "$mtu"
    pool_mtu A $((mtu - 28))
    watch A R Y
    megabytes A "the client's uplink $mtu"
    in_one_piece "the client's uplink $mtu"
    inner=$((mtu - 28 - 28))
    same "$inner; EMSGSIZE from $((inner + 1)) on" "$(sizes A do 1 "$inner" $((inner + 1)))" \
        "datagrams with DF, the client's uplink $mtu"
    matches "MTU +$((mtu - 28)) octets; with the tunnel's headers $mtu octets, the MTU of the route to 203.0.113.1 \(.mtu. = 1500\)" \
        "$(control A explain b.example)" "what explain says"
    uplink A 1500

    uplink Y "$mtu"
    watch A R Y
    megabytes A "the gateway's uplink $mtu"
    in_one_piece "the gateway's uplink $mtu"
    matches "Gateway MTU: +$mtu octets, the MTU of the default route" "$(control Y status)" "status at Y"
    uplink Y 1500

    uplink X "$mtu"
    watch X R Y
    megabytes A1 "the router's uplink $mtu"
    in_one_piece "the router's uplink $mtu"
    uplink X 1500
done
pool_mtu A 1472
pool_mtu X 1472

# What is larger than that against its will still arrives, in fragments, and is counted; its sender is told.
# What X has measured is its uplink as it was.
stop X natttd
start_natttd X
pool_mtu X 1472
capture B eth0 'udp port 7'
same "1; EMSGSIZE from 1472 on" "$(sizes A1 do 1 1472)" "datagrams of A1 with DF"
wait_for 10 "a datagram of A1 with DF" seen B eth0 '\.7: UDP, length 1472'
stop B tcpdump-eth0
matches ' mtu 1472' "$(on A1 ip route get "$(mapped A1 b.example)")" "what A1 was told"
same 1472 "$(sizes A1 dont 1472)" "datagrams of A1 without DF"
counted() { more 0 "$(counter X client_fragmented)" "packets of A1 that left in fragments"; }
wait_for 10 "the counter at X" counted
matches "Fragments: +[0-9]+ packets that forbid them travelled in fragments, the last one to 203.0.113.1, where the way has an MTU of 1500" \
    "$(control X status)" "status at X"

# ---- what a route says, and which route ----------------------------------------------------------

on A ip route replace default via 198.51.100.1 mtu 1400
pool_mtu A 1372
on A ip route add table 7 default via 198.51.100.1 mtu 1350
on A ip rule add to 192.0.2.0/24 lookup 7
pool_mtu A 1322
on A ip rule delete to 192.0.2.0/24
on A ip route replace default via 198.51.100.1
pool_mtu A 1472

# ---- a smaller link in the middle ----------------------------------------------------------------

on R ip link set pub mtu 1300
on R ip link set gw mtu 1300

# measures yes|no: a natttd at A that has measured nothing.
measures() {
    stop A natttd
    configure A '/measure_mtu/d'
    [ "$1" = yes ] || configure A '/^\[client\]/a measure_mtu = false'
    start_natttd A
}

# natttd finds it out, and what follows fits.
measures yes
fetch A b.example/ >/dev/null || fail "a first connection"
# The kernel may have heard of it, too.
known() { matches ' 1300 octets, .*hat gets through whole, as measured' "$(control A explain b.example)"; }
wait_for 20 "a measurement of a link of 1300 in the middle" known
watch A R Y
megabytes A "a link of 1300 that natttd has measured"
in_one_piece "a link of 1300 that natttd has measured"

# Nobody knows of it: R, the router between, makes fragments of what A and Y send.
measures no
on A ip route flush cache
watch A R
megabytes A "a link of 1300 in the middle"
marked
more 0 "$(pieces R)" "fragments at R"
same 1444 "$(sizes A do 1 1444)" "datagrams with DF over a link of 1300 in the middle"

# told OCTETS: R tells A's kernel what the link carries, about a ping of this size.
told() {
    refused "a ping with DF" on A ping -n -q -c 1 -W 2 -M do -s "$1" 203.0.113.1
}

# Once A's kernel knows it, by another program's packets, new connections fit.
told 1400
matches ' 1300 octets, the MTU of the route to 203\.0\.113\.1 ' "$(control A explain b.example)" "what explain says"
watch A R Y
megabytes A "a link of 1300 that the kernel knows of"
in_one_piece "a link of 1300 that the kernel knows of"

# But no route counts for less than 1280: what the kernel was told may be forged.
on R ip link set gw mtu 600
told 1000
matches "1280 octets, the least that a route counts for: the MTU of the route to 203.0.113.1 is 600" \
    "$(control A explain b.example)" "what explain says of a route of 600"
watch A R
megabytes A "a route of 600"
marked
more 0 "$(pieces A)" "fragments at A over a route of 600"
on R ip link set pub mtu 1500
on R ip link set gw mtu 1500
on A ip route flush cache
measures yes

# ---- under way -----------------------------------------------------------------------------------

head -c 4000000 /dev/urandom >"$RUN/large"
large=$(sha256sum <"$RUN/large")
slowly=(--limit-rate 400k --max-time 100)

# The client's link becomes smaller. What the application sends fits at once; what the host sends was
# agreed on before, and arrives in fragments.
fetch A b.example/large "${slowly[@]}" >"$RUN/down" &
down=$!
fetch A b.example/ -T "$RUN/large" "${slowly[@]}" >"$RUN/up" &
up=$!
under_way A client_encapsulated
uplink A 1280
pool_mtu A 1252
under_way A client_encapsulated
watch A
under_way A client_encapsulated
marked
upload() { seen A any ' Out ' | grep -Evc 'ICMP|ip-proto-1$' || true; }
same 0 "$(upload)" "fragments of an upload that went on over a smaller link"
wait "$down" || fail "the download did not outlive the change of the client's link"
wait "$up" || fail "the upload did not outlive the change of the client's link"
same "$large" "$(sha256sum <"$RUN/down")" "the download"
same "${large%% *}" "$(cat "$RUN/up")" "the upload"
uplink A 1500

# The gateway's link becomes smaller. What the host sends is counted.
fetch A b.example/large "${slowly[@]}" >"$RUN/down" &
down=$!
under_way Y gateway_encapsulated
uplink Y 1280
reported() {
    matches 'Fragments: +[0-9]+ packets .* to 198\.51\.100\.10, where the way has an MTU of 1280' \
        "$(control Y status)" "status at Y"
    more 0 "$(counter Y gateway_fragmented)" "replies that left Y in fragments"
}
wait_for 10 "the fragments in Y's status" reported
wait "$down" || fail "the download did not outlive the change of the gateway's link"
same "$large" "$(sha256sum <"$RUN/down")" "the second download"
uplink Y 1500
# Y's kernel told the host of 1280, which would remember it for ten minutes.
on B ip route flush cache

# ---- jumbo frames --------------------------------------------------------------------------------

for link in "A eth0" "R to-A" "R to-N" "R to-W" "R to-X" "R to-X2" "R to-Y" "R to-Y2" "R pub" "R gw" \
    "Y wan" "Y lan" "Y to-B" "Y to-C" "B eth0"; do
    ip -n "$PREFIX-${link% *}" link set "${link#* }" mtu 9000
done
# Nobody says that the Internet carries them.
watch A R Y
headers R gw 'udp port 100 and greater 1515'
megabytes A "jumbo links, natttd not told"
in_one_piece "jumbo links, natttd not told"
stop R tcpdump-gw
same "" "$(seen R gw ' > ' || true)" "packets of more than 1500 octets, natttd not told"

stop A natttd
stop Y natttd
echo 'mtu = 9000' >>"$RUN/A.toml"
echo 'mtu = 9000' >>"$RUN/Y.toml"
start_natttd Y
start_natttd A
pool_mtu A 8972
headers R gw 'udp port 100 and greater 1515'
watch A R Y
megabytes A "jumbo links"
in_one_piece "jumbo links"
wait_for 10 "packets of 9000 octets up" seen R gw '198\.51\.100\.10.* > 203\.0\.113\.1\.100: UDP, length 8972'
wait_for 10 "packets of 9000 octets down" seen R gw '203\.0\.113\.1\.100 > 198\.51\.100\.10.* UDP, length 8972'

# With `mtu = 9000` a small uplink needs no other setting.
uplink A 1420
pool_mtu A 1392
watch A R Y
megabytes A "mtu = 9000, the client's uplink 1420"
in_one_piece "mtu = 9000, the client's uplink 1420"
