#!/bin/bash
# `nattt explain NAME`: what the DNS says, what natttd makes of it, flows, the last drop; and what
# follows, for each kind of name.
. "$(dirname "$0")/lib.sh"

# explain NODE NAME [OPTION...]: its output in TEXT, its exit status in STATUS.
explain() {
    STATUS=0
    TEXT=$(control "$1" explain "${@:2}") || STATUS=$?
}

# concludes NODE NAME STATUS CONCLUSION
concludes() {
    explain "$1" "$2" --json
    same "$4" "$(jq -r .conclusion <<<"$TEXT")" "the conclusion about $2"
    same "$3" "$STATUS" "the exit status for $2"
}

# 203.0.113.1:100 with a hop's port missing; a private first hop; a record like b's.
bad_records() {
    cat >>"$RUN/named/example.zone" <<'ZONE'
malformed   TYPE65324 \# 8 CB007101C0A80002
private     TYPE65324 \# 10 C0A801010064C0A80002
both        A         203.0.113.1
            TYPE65324 \# 10 CB0071010064C0A80002
moved       TYPE65324 \# 10 CB0071630064C0A80002
late        TXT       "no NAT record yet"
ZONE
    stop N named
    start N named "$RUN/named/named" -g -4 -n 1 -c "$RUN/named/named.conf"
    wait_for 20 "the DNS server" in_dns malformed.example. CB007101C0A80002
}

in_dns() { on N dig +short +time=1 +tries=1 @198.51.100.53 "$1" TYPE65324 | grep -q "$2"; }

# now_says NAME HEX: the zone's record changes.
now_says() {
    sed -i "s/^\($1  *\).*/\1TYPE65324 \\\\# 10 $2/" "$RUN/named/example.zone"
    kill -HUP "${PID[N-named]}"
    wait_for 20 "the other record of $1" in_dns "$1.example." "$2"
}

fig1
bad_records
nattt_gateway Y
nattt_client A

concludes A b.example 0 tunnelled
address=$(mapped A b.example)
explain A B.example
matches 'b\.example, asked of 198\.51\.100\.53:' "$TEXT" "the name and its server"
matches "address +$address \(of b" "$TEXT" "the mapped address"
matches 'Record CB0071010064C0A80002:' "$TEXT" "the record"
matches 'NAT box 1 +203\.0\.113\.1, UDP port 100' "$TEXT" "the record, decoded"
matches 'host +192\.168\.0\.2' "$TEXT" "the host"
matches 'MTU +1472 octets' "$TEXT" "the MTU"
matches 'No flow is open' "$TEXT" "no flow"
matches 'reach it through a tunnel' "$TEXT" "what follows"

# A flow, and a packet that was not passed on.
same "This is B." "$(fetch A b.example/)" "the page"
explain A b.example
matches "tcp +[a-z-]+ +[0-9.:]+ +$address:80 +b\.example" "$TEXT" "the flow"
[[ "$TEXT" != *"not passed on"* ]] || fail "a drop that was none: $TEXT"
ip -n "$PREFIX-A" route delete default
refused "a page without a route" fetch A "$address/" --max-time 3
explain A b.example
matches 'not passed on, [0-9]+s ago:.*client_no_route: .*no route' "${TEXT//$'\n'/ }" "the last drop"
ip -n "$PREFIX-A" route add default via 198.51.100.1

# Other names.
concludes A alias.example 0 tunnelled
explain A alias.example
matches 'alias +b\.example\. \(of alias\.example' "$TEXT" "the alias"
concludes A deep.example 0 tunnelled
explain A deep.example
matches 'NAT box 2 +10\.0\.0\.9, UDP port 100' "$TEXT" "the second level"
matches 'MTU +1444 octets' "$TEXT" "the MTU of two levels"
concludes A www.example 0 ordinary
concludes A nothing.example 1 no-record
concludes A missing.example 1 no-name
concludes A malformed.example 1 malformed
explain A malformed.example
matches 'malformed: a NAT record has 6n\+4 octets' "$TEXT" "why it is malformed"
concludes A private.example 1 refused
explain A private.example
matches 'REFUSED +the outermost NAT box 192\.168\.1\.1 is private' "$TEXT" "why it is refused"

concludes A both.example 0 address-wins
explain A both.example
matches 'wins over its NAT record: remove its A record' "$TEXT" "an address beside the record"

# Where nothing comes back, that is said.
refused "a page that is not exported" fetch A relay.example/ --max-time 2
concludes A relay.example 1 unanswered
explain A relay.example
matches 'nothing has come back: `nattt trace`' "$TEXT" "a name that does not answer"

# What natttd remembers of another record, or of none, until it is restarted.
concludes A moved.example 0 tunnelled
concludes A late.example 1 no-record
now_says moved CB0071010064C0A80002
now_says late CB0071010064C0A80002
concludes A moved.example 1 outdated
concludes A late.example 1 not-mapped
explain A late.example
matches 'If the record is new' "$TEXT" "a record that is new"
stop A natttd
start_natttd A
concludes A moved.example 0 tunnelled
concludes A late.example 0 tunnelled
same "This is B." "$(fetch A moved.example/)" "the page of a name that moved"

# Without rules natttd sees no reply; who may not ask it does not guess.
rules A remove
concludes A b.example 1 no-rules
rules A apply
works_again() { concludes A b.example 0 tunnelled; }
wait_for 10 "natttd to see its rules" works_again
same unknown "$(on A "$BIN/nattt" --socket "$RUN/nobody.sock" --json explain b.example | jq -r .conclusion)" \
    "the conclusion without the daemon"

# A name server that says nothing; a word that is no name; no client here.
explain A b.example --server 198.51.100.77
matches 'no answer' "$TEXT" "a server that is not there"
same 1 "$STATUS" "the exit status then"
explain A 'a..b'
same 2 "$STATUS" "the exit status for what is no name"
explain Y b.example
matches 'no client role' "$TEXT" "a gateway's answer"
same 1 "$STATUS" "the exit status of a gateway's answer"

stop A natttd
concludes A b.example 3 no-daemon
matches 'no natttd listens' "$(jq -r .daemon <<<"$TEXT")" "why the daemon says nothing"
