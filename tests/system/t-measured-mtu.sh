#!/bin/bash
# A link in the middle carries less than the first, and what is behind it drops fragments: natttd finds out
# what gets through, and TCP connections fit, from the very first on, in both directions. Others are told.
#
#                             A1 --- X ---+
#   A 192.0.2.130 ------------------------+--- M --- R --- Y 203.0.113.1 | 10.0.0.1 --- T --- B
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/lossy.sh"

# ---- helpers -------------------------------------------------------------------------------------

# transfers NODE WHAT NAME: down and up.
transfers() {
    local sum
    sum=$(sha256sum <"$RUN/big")
    same "$sum" "$(PATIENCE=20 fetch "$1" "$3/big" | sha256sum)" "a large answer, $2"
    same "${sum%% *}" "$(PATIENCE=20 fetch "$1" "$3/" -T "$RUN/big")" "a large request, $2"
}

# knows NODE OCTETS NAME: what natttd there says about the first path.
knows() {
    [ "$(control "$1" explain "$3" --json | jq .known.judgements[0].path.measured.octets)" = "$2" ]
}

# anew NODE: a natttd that has measured nothing.
anew() {
    stop "$1" natttd
    rm -rf "$RUN/$1-state"
    on "$1" ip route flush cache
    start_natttd "$1"
}

# route_of NODE NAME: that of the name's mapped address, if it has one of its own.
route_of() {
    on "$1" ip -4 route show table local "$(lookup "$1" "$2")/32"
}

sizes() {
    on "$1" "$PYTHON" "$PEERS/sizes.py" "$2" 7 "${@:3}"
}

# ---- topology ------------------------------------------------------------------------------------

middle
host A 192.0.2.130/25 192.0.2.129 M pub
workstation_firewall A
node X
plug X wan 192.0.2.131/25 M pub
hub X lan 192.168.7.1/24
ip -n "$PREFIX-X" route add default via 192.0.2.129
nat_rules X
host A1 192.168.7.2/24 192.168.7.1 X lan
two_gateways
head -c 300000 /dev/urandom >"$RUN/big"

# ---- a path on which all is well -----------------------------------------------------------------

nattt_client A
fetch A deep.example/ >/dev/null || fail "a first connection"
wait_for 20 "a measurement of a good path" knows A 1500 deep.example
matches 'MTU +1444 octets; with the tunnel.s headers 1500 octets, as configured and as the route to 203\.0\.113\.1 has it\. That gets through whole, as measured [0-9]+s ago' \
    "$(control A explain deep.example)" "explain, all is well"
# A level more than the pool's route counts on: programs are told.
has_route() { matches " mtu $3 " "$(route_of "$1" "$2") "; }
wait_for 10 "the route of a mapped address behind two boxes" has_route A deep.example 1444
same "1416; EMSGSIZE from 1417 on" "$(sizes A deep.example do 1416 1417)" "datagrams with DF"

# ---- a smaller link, and fragments are dropped behind it, in both directions ---------------------

link_mtu 1420
drop_fragments M R
for errors in told hidden; do
    [ "$errors" = told ] || hide_errors M
    anew A
    # The first connection of all: nothing is known of the path.
    transfers A "errors are $errors" deep.example
    wait_for 20 "a measurement, errors are $errors" knows A 1420 deep.example
    transfers A "measured, errors are $errors" deep.example
    wait_for 10 "the route of the mapped address" has_route A deep.example 1364
    # Answers are a little longer.
    same "1290; EMSGSIZE from 1337 on" "$(sizes A deep.example do 1290 1337)" "datagrams with DF"
done
matches 'a path carries 1420 octets, not the 1500 of its first link: TCP connections fit from now on' \
    "$(cat "$(log A natttd)")" "the log"
refused "names of others in the log" grep -q '203\.0\.113\.1\|192\.168\.0\.2' "$(log A natttd)"
matches 'MTU +1364 octets; with the tunnel.s headers 1420 octets, what gets through whole, as measured [0-9]+s ago; the first link takes 1500 octets' \
    "$(control A explain deep.example)" "what explain says"
more 0 "$(counter A paths_measured)" "measurements"
# What is tried is what the first link takes, so that the loss is seen; it needs no setting.
said=$(control A trace deep.example)
matches 'packets over 1420 octets are lost .*natttd here measures that by itself' "$said" "what trace says"

# A reload forgets nothing; a stop and a loss of the rules leave no route open.
reload A >/dev/null
same 1420 "$(control A explain deep.example --json | jq .known.judgements[0].path.measured.octets)" "after a reload"
wait_for 10 "the route after a reload" has_route A deep.example 1364
address=$(lookup A deep.example)
rules A remove
closed() { [ -z "$(on A ip -4 route show table local "$address/32")" ]; }
wait_for 10 "no route of a mapped address without rules" closed
rules A apply
wait_for 10 "the route with rules again" has_route A deep.example 1364
stop A natttd
closed || fail "natttd left a route of a mapped address"
matches 'No route to host|Destination Host Unreachable' "$(on A ping -n -c 1 -W 5 "$address" 2>&1)" \
    "a mapped address without natttd"

# The uplink of the outer of two boxes, which sees no SYN: only the client can know of it.
link_mtu 1500
heal errors M
heal fragments M
for link in "R to-Y" "R gw" "Y wan"; do
    ip -n "$PREFIX-${link% *}" link set "${link#* }" mtu 1400
done
drop_fragments A
start_natttd A
for known in nothing 1400; do
    [ "$known" = nothing ] || wait_for 20 "a measurement of the outer box's uplink" knows A 1400 deep.example
    transfers A "the outer box's uplink is smaller, $known known" deep.example
done
heal fragments A
for link in "R to-Y" "R gw" "Y wan"; do
    ip -n "$PREFIX-${link% *}" link set "${link#* }" mtu 1500
done
stop A natttd
link_mtu 1420
drop_fragments M
hide_errors M

# A host that refuses pings: the boxes are asked.
on B nft -f - <<'NFT'
table ip lossy {
    chain input {
        type filter hook input priority filter
        icmp type echo-request reject with icmp type host-prohibited
    }
}
NFT
rm -rf "$RUN/A-state"
on A ip route flush cache
start_natttd A
transfers A "a host that refuses pings" deep.example
wait_for 20 "a measurement by the boxes" knows A 1420 deep.example
stop A natttd
heal lossy B

# Boxes and a host that answer nothing which is asked of them: TCP fits all the same.
lose silence 'type filter hook output priority filter' \
    'icmp type { time-exceeded, destination-unreachable, echo-reply } drop' Y T B
rm -rf "$RUN/A-state"
on A ip route flush cache
start_natttd A
transfers A "boxes that answer nothing" deep.example
measured() { more 0 "$(counter A paths_measured)" "measurements"; }
wait_for 30 "a measurement that ends with nothing" measured
matches 'What the whole path carries is not known: TCP counts on 1280' "$(control A explain deep.example)" "what explain says of silent boxes"
transfers A "boxes that answered nothing" deep.example
stop A natttd
heal silence Y T B

# Without measurements: what this is all about.
echo 'measure_mtu = false' >>"$RUN/A.toml"
start_natttd A
PATIENCE=3 refused "a large answer through the black hole" fetch A deep.example/big
stop A natttd

# ---- a host that is served, and its router -------------------------------------------------------

client_config X
printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\n' >>"$RUN/X.toml"
start_natttd X
transfers A1 "a served host" deep.example
wait_for 20 "a measurement of a router" knows X 1420 deep.example
transfers A1 "a served host, measured" deep.example
# It sends what the first link takes; the router tells it what gets through.
same "1290; EMSGSIZE from 1337 on" "$(sizes A1 deep.example do 1290 1337)" "datagrams with DF of a served host"
