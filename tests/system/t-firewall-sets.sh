#!/bin/bash
# The sets in nft's table tell people and other rules what is mapped, also after a reload.
. "$(dirname "$0")/lib.sh"

[ "$FLAVOUR" = nft ] || skip "only nft's table has sets; the test in the booted kernel runs it"

fig1
nattt_gateway Y
nattt_client A
address=$(mapped A b.example)
mapped A c.example >/dev/null

in_set() { grep -qF "$2" <<<"$(on A nft list set inet nattt "$1")"; }
filled() {
    wait_for 10 "the mapped address in its set" in_set mapped "$address"
    wait_for 10 "the first gateway in its set" in_set gateways '203.0.113.1 . 100'
    wait_for 10 "the second gateway in its set" in_set gateways '203.0.113.2 . 100'
}
filled
on A nft flush set inet nattt mapped
rules A apply
filled
