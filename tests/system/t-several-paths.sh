#!/bin/bash
# Two gateways to one LAN, two NAT records at one name. Both up: flows use both. One down, in
# whatever way: connections get through the other one within seconds.
#
#   A --- R --+-- Y 203.0.113.1 | 192.168.0.1 --+-- B 192.168.0.2, whose default router is Y
#             +-- Z 203.0.113.3 | 192.168.0.9 --+
. "$(dirname "$0")/lib.sh"

# seen_as TRIES: under which addresses B saw that many connections of A, one a line.
seen_as() {
    local n
    for ((n = 0; n < $1; n++)); do
        fetch A twice.example/whoami | sed 's/:[0-9]*$//'
    done | sort -u | xargs
}

# connects WHAT: every one of some connections gets through, quickly enough.
connects() {
    local n
    for n in 1 2 3 4 5 6; do
        PATIENCE=$((8 * ${SLOW:-1})) fetch A twice.example/ >/dev/null || fail "$1: connection $n"
    done
}

# It is counted once a second.
rerouted() {
    (($(counter A flows_rerouted) > 0))
}

fig1
node Z
plug Z wan 203.0.113.3/24 R gw
plug Z lan 192.168.0.9/24 Y lan
ip -n "$PREFIX-Z" route add default via 203.0.113.254
nat_rules Z
accept_tunnelled Z
# B's answers have to come back here, though Y is its router.
on Z nft add rule ip site postrouting ct mark and 0x04000000 != 0 oifname lan masquerade
nattt_gateway Y
nattt_gateway Z
nattt_client A

mapped A twice.example >/dev/null
same "192.168.0.9 198.51.100.10" "$(seen_as 24)" "both gateways are used"
same 0 "$(counter A flows_rerouted)" "flows that had to change"

# Silent: nobody answers, nobody refuses.
on R nft -f - <<'NFT'
table ip filter {
    chain forward {
        type filter hook forward priority filter
        ip daddr 203.0.113.1 drop
    }
}
NFT
connects "Y is silent"
same 192.168.0.9 "$(seen_as 8)" "the gateway that answers"
matches '203\.0\.113\.1:100 192\.168\.0\.2 \(silent\)' "$(control A mappings)" "the silent path"
wait_for 5 "flows that changed" rerouted
# Protocols whose sender says a thing once, too.
answer_every_protocol B Y Z
MASQUERADED=1 every_protocol A twice.example 192.168.0.9
on R nft delete table ip filter

# A fresh start, and now Z's daemon is stopped: its rules drop what arrives.
stop A natttd
rm -r "$RUN/A-state"
start_natttd A
stop Z natttd
connects "Z's daemon is stopped"
same 198.51.100.10 "$(seen_as 8)" "the gateway that answers"

# Errors are believed at once: R says that it does not reach Y.
start_natttd Z
stop A natttd
rm -r "$RUN/A-state"
start_natttd A
on R ip route add unreachable 203.0.113.1/32
connects "there is no way to Y"
same 192.168.0.9 "$(seen_as 8)" "the gateway that can be reached"
more 0 "$(counter A client_error_spared)" "errors that ended no connection attempt"
