#!/bin/bash
# Y is the gateway of B and leads its own programs and the hosts it serves to B, too: those of another
# network of its own, and those of B's.
#
#   G 192.168.7.2 --- 192.168.7.1 (guests) --+-- Y 203.0.113.1 --- R
#   B .2, C .3    --- 192.168.0.1 (lan) -----+   (gateway, client; serves lan, guests)
. "$(dirname "$0")/lib.sh"

fig1
hub Y guests 192.168.7.1/24
host G 192.168.7.2/24 192.168.7.1 Y guests
on Y nft insert rule ip site forward iifname guests oifname wan accept
on Y nft insert rule ip site input iifname guests accept
head -c 3000000 /dev/urandom >"$RUN/big"
{
    daemon_config Y
    printf '%s\n' '[client]' 'pool = "198.18.0.0/15"' 'serve = ["lan", "guests"]' \
        '[gateway]' 'outside = ["wan"]' 'exports = ["192.168.0.0/31", "192.168.0.2"]'
} >"$RUN/Y.toml"
start_natttd Y
nattt_client A

# Connections outlive a kill, though the mapped address is as new as they are. B speaks next.
for name in G C Y; do
    wait_for 10 "a mapped address at $name" mapped "$name" b.example
    start "$name" talk "$PYTHON" "$PEERS/talk.py" b.example 7 one 'delay 3 two' three
done
for client in "G 192.168.7.2 served" "C 192.168.0.3 served" "Y 127.0.0.1 here"; do
    read -r name address whose <<<"$client"
    wait_for 20 "the first answer at $name" grep -q one "$(log "$name" talk)"
    wait_for 20 "$name's flow in the file" grep -q "^client 6 $address:.* $whose " "$RUN/Y-state/flows"
done
stop Y natttd KILL
start Y natttd "$BIN/natttd" --config "$RUN/Y.toml"
wait_for 20 "natttd on Y" control Y status
for name in G C Y; do
    wait "${PID[$name-talk]}" || fail "$name's connection: $(cat "$(log "$name" talk)")"
    unset "PID[$name-talk]"
    matches 'three' "$(cat "$(log "$name" talk)")" "what $name heard after the kill"
done

# B sees a host of another network as it is, one of its own network as the router: its answers would pass
# the router by otherwise. And the router as itself.
for client in "G 192.168.7.2" "C 192.168.0.1" "B 192.168.0.1" "Y 192.168.0.1"; do
    read -r name seen <<<"$client"
    address=$(mapped "$name" b.example)
    matches "^$seen:" "$(fetch "$name" b.example/whoami)" "$name as B sees it"
    same "$(sha256sum <"$RUN/big")" "$(fetch "$name" b.example/big | sha256sum)" "3 MB at $name"
    matches "^B saw ${seen//./\\.}:[0-9]+: hello\$" "$(ask "$name" b.example 7 hello)" "UDP at $name"
    on "$name" ping -q -c 2 -i 0.2 -W 5 "$address" >/dev/null || fail "ping at $name"
    # What B refuses is refused at once.
    refused "a closed port" fetch "$name" b.example:81/
    same 7 "$STATUS" "curl's exit status at $name"
    refused "a closed UDP port" ask "$name" b.example 9 hello --timeout 10
    same ECONNREFUSED "$OUTPUT" "what a closed UDP port reports at $name"
done
# An answer comes as late as natttd knows the flow, whatever Y's connection tracking does with other traffic.
on Y sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2 \
    net.netfilter.nf_conntrack_tcp_timeout_established=2
for name in G Y; do
    start "$name" late-udp "$PYTHON" "$PEERS/ask.py" b.example 7 'delay 6 late'
    start "$name" late-tcp "$PYTHON" "$PEERS/talk.py" b.example 7 one 'delay 6 late'
done
for name in G Y; do
    for kind in udp tcp; do
        wait "${PID[$name-late-$kind]}" || fail "$name's $kind: $(cat "$(log "$name" "late-$kind")")"
        unset "PID[$name-late-$kind]"
        matches 'delay 6 late' "$(cat "$(log "$name" "late-$kind")")" "late $kind at $name"
    done
done
on Y sysctl -qw net.netfilter.nf_conntrack_udp_timeout=30 net.netfilter.nf_conntrack_udp_timeout_stream=120 \
    net.netfilter.nf_conntrack_tcp_timeout_established=432000
# Other protocols are led on for those whose port is their own business.
answer_every_protocol B Y
for client in "G 192.168.7.2" "C 192.168.0.1"; do
    read -r name seen <<<"$client"
    MASQUERADED=1 with_ports "$name" b.example "$seen"
    addresses_only "$name" b.example "$seen"
done
for protocol in sctp dccp udplite 47; do
    refused "$protocol of Y's own" raw Y b.example "$protocol" hello
done
more 3 "$(counter Y client_loop)" "refused protocols of Y's own"
# The way can be seen: Y, then B.
matches " 1 192\.168\.7\.1 .* 2 $(mapped G b.example) " \
    "$(on G traceroute -n -q 1 -w 5 -m 4 b.example | xargs)" "traceroute at G"
# What Y's own firewall refuses is refused at once, too.
on Y nft add table ip refuse
on Y nft add chain ip refuse forward '{ type filter hook forward priority filter - 5; }'
on Y nft add chain ip refuse output '{ type filter hook output priority filter - 5; }'
for with in 'tcp reset' 'icmp type admin-prohibited'; do
    on Y nft flush chain ip refuse forward
    on Y nft add rule ip refuse forward iifname guests meta l4proto tcp reject with "$with"
    on Y nft flush chain ip refuse output
    on Y nft add rule ip refuse output ip daddr 192.168.0.2 tcp dport 80 reject with "$with"
    for name in G Y; do
        refused "TCP that Y refuses with $with" fetch "$name" b.example/
        same 7 "$STATUS" "curl's exit status at $name"
    done
done
on Y nft delete table ip refuse
# Others still come through the tunnel.
matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it"

# What tunnels may not reach, nobody may: C is not exported, and Y not by itself. Such names have no
# address.
for client in G Y; do
    for name in unexported gateway; do
        refused "$name" fetch "$client" "$name.example/"
        same 6 "$STATUS" "curl's exit status for $name at $client"
    done
done
more 0 "$(counter Y dns_refused_record)" "refused records"
refused "explain a host that is not exported" control Y explain unexported.example
matches 'REFUSED +it begins at this host, whose `exports`' "$OUTPUT" "what explain says of it"
matches 'MTU +1500 .*right behind this host' "$(control Y explain b.example | xargs -0)" "what explain says at Y"
matches 'no tunnel +192\.168\.0\.1:[0-9]+ -> 192\.168\.0\.2:80 ' "$(control Y flows)" "flows at Y"

# Y's own address, once it is listed by itself.
sed -i 's|"192.168.0.0/31"|"192.168.0.1"|' "$RUN/Y.toml"
on Y "$BIN/nattt" --socket "$RUN/Y.sock" reload --config "$RUN/Y.toml" >/dev/null
serve Y
for client in "G 192.168.7.2" "Y 192.168.0.1"; do
    read -r name seen <<<"$client"
    matches "^$seen:" "$(fetch "$name" gateway.example/whoami)" "$name as Y's server sees it"
    on "$name" ping -q -c 2 -i 0.2 -W 5 gateway.example >/dev/null || fail "ping from $name to Y"
done
# (A server of UDP that is bound to no address answers G from 192.168.7.1.)
matches '^Y saw 192\.168\.0\.1:[0-9]+: hello$' "$(ask Y gateway.example 7 hello)" "UDP from Y to itself"
for name in gateway_no_flow client_conflict unexpected_hook; do
    same 0 "$(counter Y "$name")" "$name at Y"
done

# Y's inside address becomes another. A socket of UDP goes on from there, a connection is told at once.
address=$(mapped Y b.example)
matches '^B saw 192\.168\.0\.1:' "$(ask Y "$address" 7 hello --source-port 20567)" "UDP before"
mkfifo "$RUN/go"
on Y bash -c 'exec 3<>"/dev/tcp/$1/7"
    echo one >&3; read -r -t 30 line <&3; echo "$line"
    read -r _ <"$0"
    echo two >&3; read -r -t 30 line <&3; echo "$line"' "$RUN/go" "$address" >"$RUN/moved" 2>&1 &
wait_for 10 "an answer to Y" grep -q 'saw 192\.168\.0\.1:.*: one' "$RUN/moved"
ip -n "$PREFIX-Y" address add 192.168.0.77/24 dev lan
ip -n "$PREFIX-Y" address delete 192.168.0.1/24 dev lan
ip -n "$PREFIX-Y" address show dev lan | grep -q 192.168.0.77 || \
    ip -n "$PREFIX-Y" address add 192.168.0.77/24 dev lan
goes_on() { [[ $(ask Y "$address" 7 hello --source-port 20567 --timeout 1) = "B saw 192.168.0.77:"* ]]; }
wait_for 10 "UDP from the new address" goes_on
echo >"$RUN/go"
wait $! || true
matches 'reset by peer' "$(cat "$RUN/moved")" "a connection from the old address"
more 0 "$(counter Y client_renumbered)" "packets of it"
