#!/bin/bash
# Somebody flushes rules of A, the whole ruleset or a part that leaves our chains standing: the pool
# fails closed until our rules are back, and a listener of A's own never answers for the remote host.
# The same at Y: it takes no tunnel packet while its rules are not whole.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A
serve A
address=$(mapped A b.example)
unmapped=127.65.43.21
same "This is B." "$(fetch A "$address/")" "the page"

# state NODE STATE
state() { [ "$(control "$1" status --json | jq -r .rules.state)" = "$2" ]; }

closed() {
    local to
    for to in "$address" "$unmapped"; do
        status=0
        fetch A "$to/" >"$RUN/page" 2>&1 || status=$?
        same 7 $status "curl's exit status for $to after '$1', refused at once"
        refused "a page of A's own after '$1'" grep -q 'This is A' "$RUN/page"
    done
    same "This is A." "$(fetch A 127.0.0.1/)" "A's own listener"
}

# flushed STATE COMMAND...: closed after the command, open again after the rules are back.
flushed() {
    state A loaded || fail "natttd does not see its own rules"
    on A "${@:2}"
    wait_for 10 "natttd to notice '${*:2}'" state A "$1"
    closed "${*:2}"
    rules A apply
    wait_for 10 "natttd to notice that the rules are back" state A loaded
    same "This is B." "$(fetch A "$address/")" "the page after '${*:2}' and apply"
}

# One of ours, and what takes packets to it.
if [ "$FLAVOUR" = nft ]; then
    flushed damaged nft flush chain inet nattt client_output
    flushed damaged nft delete chain inet nattt client_unmapped
    flushed missing nft add table inet nattt '{ flags dormant; }'
    flushed damaged nft flush chain ip nattt answer
    flushed damaged nft delete table ip nattt
    flushed damaged nft add table ip nattt '{ flags dormant; }'
    at_gateway=(nft flush chain inet nattt gateway_forward)
else
    flushed damaged iptables -t raw -F
    flushed damaged iptables -F
    flushed damaged iptables -t raw -D OUTPUT -j NATTT-OUTPUT
    flushed damaged iptables -t raw -I NATTT-OUTPUT -j ACCEPT
    at_gateway=(iptables -t mangle -F FORWARD)
fi
matches 'rules apply' "$(grep 'changed by somebody' "$(log A natttd)")" "natttd's advice"
flushed missing nft flush ruleset

before=$(counter Y gateway_decapsulated)
on Y "${at_gateway[@]}"
wait_for 10 "natttd on Y to notice" state Y damaged
refused "a page through half of Y's rules" fetch A "$address/" --max-time 2
more 0 "$(counter Y rules_missing)" "tunnel packets dropped at Y"
same "$before" "$(counter Y gateway_decapsulated)" "tunnel packets forwarded by Y meanwhile"
rules Y apply
wait_for 10 "natttd on Y to notice that the rules are back" state Y loaded
same "This is B." "$(fetch A "$address/")" "the page after Y's rules are back"

# Rules that are loaded anew under a running transfer close nothing.
before=$(grep -c 'changed by somebody' "$(log A natttd)")
for _ in 1 2 3 4 5; do rules A apply; done
same "This is B." "$(fetch A "$address/")" "the page after five reloads"
state A loaded || fail "the rules are not loaded after five reloads"
same "$before" "$(grep -c 'changed by somebody' "$(log A natttd)")" "reloads taken for damage"

# After a clean stop `remove` takes the pool's route, too; a running natttd looks after it itself.
pool_route() { on A ip route show table local | grep -F 127.64.0.0/10; }
rules A remove
wait_for 10 "natttd to notice that the rules are removed" state A missing
matches unreachable "$(pool_route)" "the route of the pool"
rules A apply
stop A natttd
matches unreachable "$(pool_route)" "the route of the pool after a clean stop"
rules A remove
refused "the route of the pool after remove" pool_route
