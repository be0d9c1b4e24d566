#!/bin/bash
# vm.sh run tests/vm/tunnel.sh: the tunnel with nft's rules on a stock kernel, where nft has its
# `queue` statement: the network of tests/system/topology.sh, made once, because starting processes
# is slow here.
. "$(cd "$(dirname "$0")/../system" && pwd)/lib.sh"
FLAVOUR=nft SLOW=8 PATIENCE=60

step() { echo "ok - $*"; }

fig2
on Y nft add rule ip site prerouting iifname wan tcp dport 80 dnat to 192.168.0.3
nattt_gateway Y
nattt_gateway Y2
nattt_client A A1
state() { [ "$(control A status --json | jq -r .rules.state)" = "$1" ]; }
state loaded || fail "natttd does not see its own rules"
step "natttd finds its own table"

address=$(mapped A b.example)
same "This is B." "$(fetch A b.example/)" "the page, Figure 1"
matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it"
step "TCP, Figure 1"
mapped A1 b.example >/dev/null
same "This is B." "$(fetch A1 b.example/)" "the page, Figure 2"
matches '^198\.51\.100\.20:' "$(fetch A1 b.example/whoami)" "A1 as B sees it"
step "TCP, Figure 2, A1 and B with the same private address"
matches '^B saw 198\.51\.100\.20:[0-9]+: hello$' \
    "$(ask A1 b.example 7 hello --timeout 60)" "UDP from A1"
on A1 ping -n -c 1 -W 60 b.example >/dev/null
step "UDP and ICMP echo"
matches 'NAT box 1 .* ms  takes tunnel packets.*tcp/80 .* open' \
    "$(control A1 trace b.example --port tcp/80)" "a trace from A1"
step "a trace"
same "This is B2." "$(fetch A c.example/)" "the other gateway's page"
step "two servers with the same private address"
same "This is C." "$(fetch A 203.0.113.1/)" "Y's own forward of port 80"
step "a port forward of the same port keeps working and catches no tunnel"
same "This is W." "$(fetch A www.example/)" "a public page"
step "a name with an address"

in_set() { grep -qF "$2" <<<"$(on A nft list set inet nattt "$1")"; }
filled() {
    wait_for 10 "the mapped address in its set" in_set mapped "$address"
    wait_for 10 "the first gateway in its set" in_set gateways '203.0.113.1 . 100'
    wait_for 10 "the second gateway in its set" in_set gateways '203.0.113.2 . 100'
}
filled
rules A apply
filled
same "This is B." "$(fetch A "$address/")" "the page after a reload"
step "the sets are filled, and again after a reload"

on A nft delete table ip nattt
wait_for 10 "natttd to notice" state damaged
matches 'chain answer of table nattt is missing' "$(control A status)" "what status says"
rules A apply
wait_for 10 "natttd to notice" state loaded
step "its second table is missed, too"

# In the order of the fates: rejected, dropped by the guard of the route, dropped by the queue.
refused "TCP to an unmapped address" fetch A 127.65.43.21/
same 7 "$STATUS" "curl's exit status for an unmapped address"
step "an unmapped address fails at once"
serve A
on A nft flush ruleset
wait_for 10 "natttd to notice" state missing
refused "TCP to the mapped address without rules" fetch A "$address/"
same 7 "$STATUS" "curl's exit status without rules"
rules A apply
wait_for 10 "natttd to notice" state loaded
same "This is B." "$(fetch A "$address/")" "the page after the rules are back"
step "a foreign flush of the ruleset closes the pool until the rules are back"
stop A natttd KILL
PATIENCE=10 refused "TCP to the mapped address without natttd" fetch A "$address/"
same 28 "$STATUS" "curl's exit status without natttd"
same "This is W." "$(fetch A www.example/)" "a public page without natttd"
step "natttd gone: the pool is closed, names resolve"
