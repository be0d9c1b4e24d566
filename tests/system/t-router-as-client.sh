#!/bin/bash
# X is a router whose hosts run nothing of ours; it masquerades, too. It takes their packets to
# addresses of a routed pool, and gives them such addresses as it passes on their DNS replies.
#
#   A1 192.168.0.2 --+-- X 198.51.100.20 --- R --- Y 203.0.113.1 --- B 192.168.0.2
#   A3 192.168.0.3 --+   (client, serves lan)      (gateway)
. "$(dirname "$0")/lib.sh"

fig2
host A3 192.168.0.3/24 192.168.0.1 X lan
capture X wan 'udp port 100'
capture A1 eth0 'udp port 100'
nattt_gateway Y
client_config X
printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\nkeepalive_s = 1\n' >>"$RUN/X.toml"
start_natttd X

# routed NODE NAME: the address in the answer, which must be one of the pool.
routed() {
    local address
    address=$(lookup "$1" "$2" | tail -n 1)
    matches '^198\.1[89]\.' "$address" "address of $2 at $1"
    echo "$address"
}

# From hosts that know nothing of tunnels; B sees X's outside address.
address=$(routed A1 b.example)
answer_every_protocol B Y
every_protocol A1 b.example 198.51.100.20
matches '^B saw 198\.51\.100\.20:[0-9]+: hello$' "$(ask A3 b.example 7 hello)" "UDP at A3"

# Two hosts with the same source port.
for name in A1 A3; do
    matches "^B saw 198\.51\.100\.20:[0-9]+: from $name$" \
        "$(ask "$name" b.example 7 "from $name" --source-port 4000)" "the answer for $name's port"
done

# The router itself, with the same pool.
same "$address" "$(routed X b.example)" "the address that X's own applications get"
same "This is B." "$(fetch X b.example/)" "the page at X"
seen X wan '198\.51\.100\.20\.[0-9]+ > 203\.0\.113\.1\.100' >/dev/null || fail "no tunnel at X"
same "" "$(seen A1 eth0 '\.100' || true)" "tunnel packets in the LAN"

# Much data, and datagrams of every size, with and without DF: what is too large for the tunnel
# leaves X in fragments.
head -c 4000000 /dev/urandom >"$RUN/large"
same "$(sha256sum <"$RUN/large")" "$(fetch A1 b.example/large | sha256sum)" "4 MB down"
for mode in want dont; do
    same 65000 "$(on A1 "$PYTHON" "$PEERS/sizes.py" b.example 7 "$mode" \
        1 512 1443 1444 1445 1472 1473 2000 9000 65000)" "sizes at A1, $mode"
done

# Names with an address are left alone.
same "198.51.100.80" "$(lookup A1 www.example)" "a name with an A record"

# A port nobody listens on is refused, and so is an address that stands for nothing.
refused "a closed port" fetch A1 b.example:81/
same 7 "$STATUS" "curl's exit status for a closed port"
refused "an unmapped address" fetch A1 198.19.255.1/
same 7 "$STATUS" "curl's exit status for an unmapped address"
# An interface that is not served gets nothing.
ip -n "$PREFIX-R" route add 198.18.0.0/15 via 198.51.100.20
refused "the pool from outside" fetch R "$address/"

# A closed UDP port is an error at once; the way behind the gateway can be seen.
refused "a closed UDP port" ask A1 b.example 9 hello --timeout 15
same ECONNREFUSED "$OUTPUT" "what a closed UDP port reports"
matches " 1 203\.0\.113\.1 .* 2 $address " \
    "$(on A1 traceroute -n -q 1 -w 5 -m 4 b.example | xargs)" "traceroute at A1"

# A quiet flow is kept alive from A1's own outer port, though X sends it: its own NAT would forget.
on X sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 net.netfilter.nf_conntrack_udp_timeout_stream=3
matches '^B saw 198\.51\.100\.20:[0-9]+: delay 8 late$' \
    "$(ask A1 b.example 7 'delay 8 late')" "an answer after 8 s"
more 0 "$(counter X keepalives_sent)" "keepalives"

# What a resolver on the router learns is good for those behind it.
start X dnsmasq dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-hosts --no-resolv \
    --server=198.51.100.53 --listen-address=192.168.0.1 --bind-interfaces
wait_for 10 "dnsmasq" on A3 dig +time=1 +tries=1 @192.168.0.1 b.example A
resolver A3 192.168.0.1
same "$address" "$(routed A3 b.example)" "the address from the router's resolver"
same "This is B." "$(fetch A3 b.example/)" "the page at A3"

# natttd as their resolver, over TCP too; it asks the server of X's own resolv.conf.
stop X dnsmasq
stop X natttd
printf 'listen = ["192.168.0.1"]\n' >>"$RUN/X.toml"
start_natttd X
for how in +notcp +tcp; do
    same "$address" "$(on A3 dig +short +tries=1 +time=5 $how @192.168.0.1 b.example)" "natttd's answer, $how"
done
same "This is B." "$(fetch A3 b.example/)" "the page at A3, natttd answers"
# Whoever is not in that LAN gets none, though its packets arrive.
ip -n "$PREFIX-R" route add 192.168.0.1 via 198.51.100.20
on X nft insert rule ip site input meta l4proto '{ tcp, udp }' th dport 53 accept
for how in +notcp +tcp; do
    refused "a question from outside, $how" on R dig +tries=1 +time=2 $how @192.168.0.1 b.example
done

# A pool that is somebody's network.
sed 's|198.18.0.0/15|192.168.0.0/24|; s|X.sock|X-clash.sock|; /^listen/d' "$RUN/X.toml" >"$RUN/X-clash.toml"
refused "a pool that is the LAN" on X "$BIN/natttd" --config "$RUN/X-clash.toml"
matches "shares addresses with this host's network 192.168.0.0/24" "$OUTPUT" "what natttd says"

# Without natttd, nothing answers for B.
start X listener "$PYTHON" "$PEERS/server.py" X --files "$RUN"
wait_for 20 "the server on X" grep -q ready "$(log X listener)"
stop X natttd KILL
PATIENCE=2 refused "the pool without natttd" fetch A1 "$address/"
