#!/bin/bash
# Figure 3 seen from inside: B is behind Y and T, and Y, which has both roles, leads its own programs and
# the hosts that it serves to T, without the level that it would take off itself.
#
#   A 198.51.100.10 --- R --- Y 203.0.113.1 | 10.0.0.1 (lan) --+-- T 10.0.0.9 | 192.168.0.1 --- B 192.168.0.2
#                             (gateway, client; |              +-- L 10.0.0.5
#                              serves both)     +- 192.168.7.1 (guests) --- G 192.168.7.2
. "$(dirname "$0")/lib.sh"

# reaches NODE SEEN: by TCP, both ways, by UDP and by ping.
reaches() {
    local address
    address=$(mapped "$1" deep.example)
    matches "^${2//./\\.}:" "$(fetch "$1" deep.example/whoami)" "$1 as B sees it"
    same "$(sha256sum <"$RUN/big")" "$(fetch "$1" deep.example/big | sha256sum)" "3 MB at $1"
    matches "^B saw ${2//./\\.}:[0-9]+: hello\$" "$(ask "$1" deep.example 7 hello)" "UDP at $1"
    on "$1" ping -q -c 2 -i 0.2 -W 5 "$address" >/dev/null || fail "ping at $1"
    # What B refuses is refused at once.
    refused "a closed port" fetch "$1" deep.example:81/
    same 7 "$STATUS" "curl's exit status at $1"
    refused "a closed UDP port" ask "$1" deep.example 9 hello --timeout 10
    same ECONNREFUSED "$OUTPUT" "what a closed UDP port reports at $1"
}

# reload NODE
reload() {
    on "$1" "$BIN/nattt" --socket "$RUN/$1.sock" reload --config "$RUN/$1.toml" >/dev/null
}

internet
host A 198.51.100.10/24 198.51.100.1 R pub
nat_box Y 203.0.113.1 203.0.113.254 gw
box_behind Y T
hub Y guests 192.168.7.1/24
host G 192.168.7.2/24 192.168.7.1 Y guests
host L 10.0.0.5/24 10.0.0.1 Y lan
host B 192.168.0.2/24 192.168.0.1 T lan
on Y nft insert rule ip site forward iifname guests oifname wan accept
on Y nft insert rule ip site input iifname guests accept
accept_tunnelled Y
head -c 3000000 /dev/urandom >"$RUN/big"
serve B
capture T wan 'udp port 100'
nattt_client A

# configure_y EXPORT SETTING...: of the client role.
configure_y() {
    {
        daemon_config Y
        printf '%s\n' '[client]' 'keepalive_s = 1' "${@:2}" '[gateway]' 'outside = ["wan"]' "exports = [$1]"
    } >"$RUN/Y.toml"
}
BOX='{ prefix = "10.0.0.9", protocol = "udp", ports = [100] }'
SERVING=('pool = "198.18.0.0/15"' 'serve = ["lan", "guests"]')
configure_y "$BOX"
start_natttd Y

# Y serves nobody yet. T knows nothing of Y's inside: what Y's own programs send looks as if it came through Y's gateway role.
nattt_gateway T
reaches Y 203.0.113.1
reaches A 198.51.100.10
wait_for 5 "one level at T" seen T wan '203\.0\.113\.1\.[0-9]+ > 10\.0\.0\.9\.100: UDP'
# What the path carries is measured as its packets go: T takes none from Y's inside.
measured() { matches 'That gets through whole, as measured' "$(control Y explain deep.example)"; }
wait_for 20 "a measurement behind Y's own level" measured
same 0 "$(counter T gateway_bad_outer_source)" "refused by T"
configure_y "$BOX" "${SERVING[@]}"
reload Y
PATIENCE=2 refused "a source that T does not expect" fetch G deep.example/
more 0 "$(counter T gateway_bad_outer_source)" "refused by T"

# Hosts that Y serves have private addresses. One in T's own network speaks as Y: T's answers would pass
# Y by otherwise.
stop T natttd
gateway_config T
echo 'inside_sources = ["10.0.0.0/24", "192.168.7.0/24"]' >>"$RUN/T.toml"
start_natttd T
answer_every_protocol B Y T
for client in "G 192.168.7.2" "L 10.0.0.1" "Y 203.0.113.1" "A 198.51.100.10"; do
    read -r name seen <<<"$client"
    reaches "$name" "$seen"
    with_ports "$name" deep.example "$seen"
    addresses_only "$name" deep.example "$seen"
done

# Connections outlive a kill.
for name in G L Y; do
    start "$name" talk "$PYTHON" "$PEERS/talk.py" deep.example 7 one 'delay 3 two' three
done
for name in G L Y; do
    wait_for 20 "the first answer at $name" grep -q one "$(log "$name" talk)"
done
for client in '192.168.7.2 served' '10.0.0.5 served' '127.0.0.1 here'; do
    read -r address whose <<<"$client"
    wait_for 20 "the flow in the file" grep -Eq "^client 6 $address:[0-9]+ [0-9.]+:7 $whose " "$RUN/Y-state/flows"
done
stop Y natttd KILL
start Y natttd "$BIN/natttd" --config "$RUN/Y.toml"
wait_for 20 "natttd on Y" control Y status
for name in G L Y; do
    wait "${PID[$name-talk]}" || fail "$name's connection: $(cat "$(log "$name" talk)")"
    unset "PID[$name-talk]"
    matches 'three' "$(cat "$(log "$name" talk)")" "what $name heard after the kill"
done

# Late answers come through, though connection tracking forgets UDP after 3 s. Keepalives of Y's own flows have
# their flow's source, which is not the one that the route gives.
for name in Y T; do
    on "$name" sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 \
        net.netfilter.nf_conntrack_udp_timeout_stream=3
done
for client in "G 192.168.7.2" "L 10.0.0.1" "Y 203.0.113.1"; do
    read -r name seen <<<"$client"
    matches "^B saw ${seen//./\\.}:[0-9]+: delay 7 late\$" \
        "$(ask "$name" deep.example 7 'delay 7 late')" "an answer after 7 s at $name"
done
seen T wan '203\.0\.113\.1\.[0-9]+ > 10\.0\.0\.9\.100: UDP, length 1$' >/dev/null || fail "no keepalive of Y's own"
matches 'MTU +1472 ' "$(control Y explain deep.example)" "one level"

# A box that is not exported is not reached, by nobody.
configure_y '"10.0.0.5"' "${SERVING[@]}"
reload Y
for name in G L Y; do
    refused "a box that is not exported" fetch "$name" deep.example/
    same 6 "$STATUS" "curl's exit status at $name"
done
for name in gateway_no_flow client_conflict unexpected_hook client_loop; do
    same 0 "$(counter Y "$name")" "$name at Y"
done
