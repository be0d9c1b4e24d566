#!/bin/bash
# Y is the gateway of B and a client of its own, and the client of B as well, all at once and with the
# same mark: A talks to B while Y and B talk to B2.
#
#   A 198.51.100.10 --- R --+-- Y  203.0.113.1 | 192.168.0.1 --- B  192.168.0.2
#                           |   (gateway, client; serves lan)
#                           +-- Y2 203.0.113.2 | 192.168.0.1 --- B2 192.168.0.2
#                               (gateway)
. "$(dirname "$0")/lib.sh"

# busy NODE NAME WHO SEEN: ten pages and ten datagrams, all from WHO, who sees SEEN.
busy() {
    local number
    for number in {1..10}; do
        same "This is $3." "$(fetch "$1" "$2/")" "page $number of $3 at $1"
        matches "^$3 saw ${4//./\\.}:[0-9]+: datagram $number\$" \
            "$(ask "$1" "$2" 7 "datagram $number")" "datagram $number from $1"
    done
}

fig1
head -c 3000000 /dev/urandom >"$RUN/big"
nattt_gateway Y2
nattt_client A
{
    daemon_config Y
    printf '%s\n' '[client]' 'pool = "198.18.0.0/15"' 'serve = ["lan"]' \
        '[gateway]' 'outside = ["wan"]' 'exports = ["192.168.0.0/24"]'
} >"$RUN/Y.toml"
start_natttd Y

pids=()
busy A b.example B 198.51.100.10 & pids+=($!)
busy Y c.example B2 203.0.113.1 & pids+=($!)
busy B c.example B2 203.0.113.1 & pids+=($!)
(same "$(sha256sum <"$RUN/big")" "$(fetch A b.example/big | sha256sum)" "3 MB from B at A") & pids+=($!)
(same "$(sha256sum <"$RUN/big")" "$(fetch B c.example/big | sha256sum)" "3 MB from B2 at B") & pids+=($!)
for pid in "${pids[@]}"; do
    wait "$pid" || fail "one of those who talk at once"
done

# The other protocols, from all three. Y and B look the same to B2, which only ports tell apart.
answer_every_protocol B Y
answer_every_protocol B2 Y2
every_protocol A b.example 198.51.100.10
every_protocol Y c.example 203.0.113.1 B2
with_ports B c.example 203.0.113.1 B2
refused "GRE from B, with Y's own under way" raw B c.example 47 "me too"

# Each role has its own flows, and none lost a packet to the other.
more 0 "$(control Y flows --json | jq '[.. | objects | select(.role? == "client")] | length')" "client flows"
same 0 "$(counter Y2 gateway_no_flow)" "gateway_no_flow at Y2"
for name in client_stray_reply gateway_no_flow gateway_conflict client_conflict unexpected_hook; do
    same 0 "$(counter Y "$name")" "$name at Y"
done
# The port forward that Y had, and its own masquerading, go on.
same "This is C." "$(fetch A 203.0.113.1:5555/)" "the port forward"
matches '^203\.0\.113\.1:' "$(fetch B www.example/whoami)" "B as W sees it"
