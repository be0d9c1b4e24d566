#!/bin/bash
# A loop of tunnels: X leads every address of its pool to Y, and Y exports that very pool and has a route
# for it back to X, which serves Y. No packet can leave it, and each time a flow is opened on both. It ends
# by the inner TTL, which Y's forwarding takes one off, whatever the outer one is.
#
#   A 192.0.2.2 --- X 198.51.100.20 --- R --- Y 203.0.113.1
#                   X 192.168.0.9 ------------- Y 192.168.0.1
. "$(dirname "$0")/lib.sh"

internet
node X Y
plug X wan 198.51.100.20/24 R pub
plug Y wan 203.0.113.1/24 R gw
hub X lan 192.0.2.1/24
hub Y lan 192.168.0.1/24
plug X back 192.168.0.9/24 Y lan
host A 192.0.2.2/24 192.0.2.1 X lan
ip -n "$PREFIX-X" route add default via 198.51.100.1
ip -n "$PREFIX-Y" route add default via 203.0.113.254
ip -n "$PREFIX-R" route add 192.0.2.0/24 via 198.51.100.20
ip -n "$PREFIX-Y" route add 198.18.0.0/24 via 192.168.0.9
for box in X Y; do
    on "$box" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
done
on X sysctl -qw net.ipv4.conf.back.rp_filter=0

# Whatever addresses they get, each of these names leads to one of those addresses.
for number in {1..254}; do
    printf 'loop%d TYPE65324 \\# 10 CB0071010064C61200%02X\n' "$number" "$number"
done >>"$RUN/named/example.zone"
stop N named
start N named "$RUN/named/named" -g -4 -n 1 -c "$RUN/named/named.conf"
wait_for 20 "the DNS server" on N dig +time=1 +tries=1 @198.51.100.53 loop1.example. TYPE65324

nattt_gateway Y 198.18.0.0/24
client_config X
printf 'pool = "198.18.0.0/24"\nserve = ["lan", "back"]\n' >>"$RUN/X.toml"
start_natttd X
printf 'loop%d.example A\n' {1..254} >"$RUN/names"
on A dig +short +tries=1 +time=5 -f "$RUN/names" | sort -u >"$RUN/addresses"
address=$(head -n 1 "$RUN/addresses")
same 254 "$(control X mappings --json | jq '[.. | objects | select(has("paths"))] | length')" "mapped addresses"

# lost TTL: a ping gets no answer.
lost() { ! on A ping -q -c 1 -W 1 -t "$1" "$address" >/dev/null || fail "an answer out of the loop"; }

# Once round for each of its TTL; the second of waiting for an answer shows that it has ended.
rounds=0
for ttl in 1 20 64; do
    lost "$ttl"
    rounds=$((rounds + ttl))
    same "$rounds" "$(counter Y gateway_decapsulated)" "rounds with a TTL of $ttl more"
    same "$rounds" "$(counter X client_encapsulated)" "times that X sent it into a tunnel"
done
# No more flows than rounds, at either end.
for box in X Y; do
    more "$(control "$box" flows --json | jq '[.. | objects | select(has("role"))] | length')" $((rounds + 1)) \
        "flows at $box"
done
