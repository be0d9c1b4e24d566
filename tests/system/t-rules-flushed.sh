#!/bin/bash
# Somebody flushes the whole ruleset of A: the pool fails closed until our rules are back, and a
# listener of A's own never answers for the remote host.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A
serve A
address=$(mapped A b.example)
same "This is B." "$(fetch A "$address/")" "the page"

state() { [ "$(control A status --json | jq -r .rules.state)" = "$1" ]; }
state loaded || fail "natttd does not see its own rules"

on A nft flush ruleset
wait_for 10 "natttd to notice" state missing
status=0
fetch A "$address/" >"$RUN/page" 2>&1 || status=$?
same 7 $status "curl's exit status, refused at once"
refused "a page of A's own" grep -q 'This is A' "$RUN/page"
same "This is A." "$(fetch A 127.0.0.1/)" "A's own listener"

rules A apply
wait_for 10 "natttd to notice" state loaded
same "This is B." "$(fetch A "$address/")" "the page after the rules are back"
