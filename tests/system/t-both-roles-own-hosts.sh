#!/bin/bash
# Y is the gateway of B and leads the hosts it serves to B, too: those of another network of its own, and
# those of B's.
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
for name in G C; do
    start "$name" talk "$PYTHON" "$PEERS/talk.py" b.example 7 one 'delay 3 two' three
done
for client in "G 192.168.7.2" "C 192.168.0.3"; do
    read -r name address <<<"$client"
    wait_for 20 "the first answer at $name" grep -q one "$(log "$name" talk)"
    wait_for 20 "$name's flow in the file" grep -q "^client 6 $address:.* served " "$RUN/Y-state/flows"
done
stop Y natttd KILL
start Y natttd "$BIN/natttd" --config "$RUN/Y.toml"
wait_for 20 "natttd on Y" control Y status
for name in G C; do
    wait "${PID[$name-talk]}" || fail "$name's connection: $(cat "$(log "$name" talk)")"
    unset "PID[$name-talk]"
    matches 'three' "$(cat "$(log "$name" talk)")" "what $name heard after the kill"
done

# B sees a host of another network as it is, one of its own network as the router: its answers would pass
# the router by otherwise.
for client in "G 192.168.7.2" "C 192.168.0.1" "B 192.168.0.1"; do
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
# The way can be seen: Y, then B.
matches " 1 192\.168\.7\.1 .* 2 $(mapped G b.example) " \
    "$(on G traceroute -n -q 1 -w 5 -m 4 b.example | xargs)" "traceroute at G"
# What Y's own firewall refuses is refused at once, too.
on Y nft add table ip refuse
on Y nft add chain ip refuse forward '{ type filter hook forward priority filter - 5; }'
for with in 'tcp reset' 'icmp type admin-prohibited'; do
    on Y nft flush chain ip refuse forward
    on Y nft add rule ip refuse forward iifname guests meta l4proto tcp reject with "$with"
    refused "TCP that Y refuses with $with" fetch G b.example/
    same 7 "$STATUS" "curl's exit status at G"
done
on Y nft delete table ip refuse
# Others still come through the tunnel.
matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it"

# What tunnels may not reach, nobody may: C is not exported, and Y not by itself.
for name in unexported gateway; do
    refused "$name" fetch G "$name.example/"
    same 7 "$STATUS" "curl's exit status for $name"
done
more 0 "$(counter Y gateway_not_exported)" "refused"
more 0 "$(counter Y gateway_own_address)" "refused as Y itself"
# Y's own programs cannot be led so, and learn it at once.
refused "Y itself" fetch Y b.example/
same 7 "$STATUS" "curl's exit status at Y"
more 0 "$(counter Y client_loop)" "loops at Y"
refused "explain at Y" control Y explain b.example
matches 'MTU +1500 .*client_loop: .*hosts of `serve` reach it without a tunnel' "${OUTPUT//$'\n'/ }" "what explain says at Y"
for name in gateway_no_flow client_conflict unexpected_hook; do
    same 0 "$(counter Y "$name")" "$name at Y"
done
