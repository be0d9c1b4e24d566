#!/bin/bash
# `nattt probe` finds out what becomes of large packets: links that fragment, routers and boxes that drop
# fragments, routers whose errors get lost, jumbo frames; what it advises then is written and helps.
#
#   A 192.0.2.130 --- M --- R --- Y 203.0.113.1 | 10.0.0.1 --- T 10.0.0.9 | 192.168.0.1 --- B
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/lossy.sh"

# inner_mtu OCTETS: of the link between Y and T.
inner_mtu() {
    ip -n "$PREFIX-Y" link set to-T mtu "$1"
    ip -n "$PREFIX-Y" link set lan mtu "$1"
    ip -n "$PREFIX-T" link set wan mtu "$1"
}

# sizes WHAT EXPECTED ARGUMENT...: what a probe from A says: tried; whole and larger of each box; whole and
# larger of the way back; the advice.
sizes() {
    local said
    said=$(control A --json probe "${@:3}") || fail "$1: $said"
    same "$2" "$(jq -r '.paths[0].sizes | [.tried] + [.levels[] | .whole, .larger] +
        [.back.whole, .back.larger, .mtu] | map(. // "-") | join(" ")' <<<"$said")" "$1"
}

# says WHAT PATTERN ARGUMENT...
says() {
    matches "$2" "$(control A probe "${@:3}")" "$1"
}

middle
host A 192.0.2.130/25 192.0.2.129 M pub
workstation_firewall A
two_gateways

sizes "all is well" "1500 1500 - 1500 - 1500 - -" deep.example
sizes "by a kind that is not answered with as much" "1500 1500 - 1500 - - - -" deep.example -p tcp/80
sizes "less is asked for" "1300 1300 - 1300 - 1300 - -" deep.example --mtu 1300
says "words" 'Sizes: packets of 1500 octets arrive whole; answers of 1500 octets come back whole\.' deep.example

# A smaller link: the router says so, or does not.
link_mtu 1420
fragments="1500 1420 fragments 1420 fragments 1420 fragments 1420"
sizes "a small link" "$fragments" deep.example
says "a small link, in words" 'Sizes: packets over 1420 octets travel in fragments between this host and NAT box 1, 203\.0\.113\.1, and arrive; answers over 1420 octets come back in fragments\..*write `mtu = 1420` under \[client\]' deep.example
hide_errors M
sizes "a small link that tells nobody" "$fragments" deep.example
sizes "the same without ping" "1500 1420 fragments 1420 fragments - - 1420" deep.example -p tcp/80
heal errors M

# So far with Linux' limit of six errors at once and then one a second; from here on without, which is quicker.
for name in Y T; do
    on "$name" sysctl -qw net.ipv4.icmp_ratelimit=0
done

# Fragments are dropped, in one direction or in both.
drop_fragments M
sizes "answers in fragments are lost" "1500 1420 fragments 1420 fragments 1420 lost 1420" deep.example
says "the same in words" 'answers over 1420 octets are lost on the way back' deep.example
drop_fragments R
lost="1500 1420 lost 1420 - 1420 - 1420"
sizes "fragments are lost" "$lost" deep.example
says "the same in words" 'packets over 1420 octets are lost between this host and NAT box 1, 203\.0\.113\.1: something drops fragments there.*So that what is large gets through: write `mtu = 1420` under \[client\]' deep.example
hide_errors M
sizes "a black hole" "$lost" deep.example
heal errors M

# The symptom where natttd does not measure by itself, and that the advice helps: what natttd makes then is
# what a probe tries.
head -c 300000 /dev/urandom >"$RUN/big"
on A ip route flush cache
client_config A
echo 'measure_mtu = false' >>"$RUN/A.toml"
start_natttd A
PATIENCE=3
refused "a large answer through the black hole" fetch A deep.example/big
fetch A deep.example/ >/dev/null || fail "a small answer"
stop A natttd
echo 'mtu = 1420' >>"$RUN/A.toml"
start_natttd A
sum=$(sha256sum <"$RUN/big")
same "$sum" "$(PATIENCE=20 fetch A deep.example/big | sha256sum)" "a large answer with the mtu that was advised"
same "${sum%% *}" "$(PATIENCE=20 fetch A deep.example/ -T "$RUN/big")" "the same the other way"
sizes "with that mtu" "1420 1420 - 1420 - 1420 - -" deep.example
stop A natttd
heal fragments M R

# Between the boxes, where the first level is off already.
link_mtu 1500
inner_mtu 1380
sizes "a small link between the boxes" "1500 1500 - 1408 fragments - - 1408" \
    deep.example --mtu 1500 -p tcp/80
drop_fragments T
sizes "fragments are lost between the boxes" "1500 1500 - 1408 lost 1408 - 1408" deep.example
says "the same in words" 'between NAT box 1 and NAT box 2, 10\.0\.0\.9: something drops fragments.*`mtu = 1380` under \[gateway\] on NAT box 2' deep.example
hide_errors Y
sizes "a black hole between the boxes" "1500 1500 - 1408 lost 1408 - 1408" deep.example
heal errors Y
heal fragments T

# A's own interface; jumbo frames, with and without a LAN that takes them.
inner_mtu 1500
ip -n "$PREFIX-A" link set eth0 mtu 1400
sizes "a small interface" "1400 1400 - 1400 - 1400 - -" deep.example
says "the same in words" "this host's interface sends no more than 1400 octets" deep.example
for link in "A eth0" "M to-A" "M pub" "R to-Y" "R gw" "Y wan" "B eth0" "T to-B" "T lan"; do
    ip -n "$PREFIX-${link% *}" link set "${link#* }" mtu 9000
done
link_mtu 9000
inner_mtu 9000
# What it learned of the smaller links above.
on B ip route flush cache
sizes "jumbo frames" "9000 9000 - 9000 - 9000 - -" deep.example --mtu 9000
ip -n "$PREFIX-B" link set eth0 mtu 1500
for link in to-B lan; do
    ip -n "$PREFIX-T" link set "$link" mtu 1500
done
sizes "jumbo frames to the last box" "9000 9000 - 9000 - 1556 - -" deep.example --mtu 9000
