#!/bin/bash
# `nattt record` by itself: what goes to which output, with which exit status. The servers' own tests
# are t-record-*.sh.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"

# status EXPECTED ARGUMENT...: its exit status; OUT and ERR are what it wrote.
status() {
    local status=0
    record "${@:2}" >"$RUN/out" 2>"$RUN/err" </dev/null || status=$?
    OUT=$(<"$RUN/out") ERR=$(<"$RUN/err")
    same "$1" "$status" "exit status of record ${*:2}"
}

line='b.example. 300 IN TYPE65324 \# 10 CB0071010064C0A80002'
status 0 make b.example 203.0.113.1 192.168.0.2
same "$line" "$OUT" "the line"
same "" "$ERR" "warnings"

# Warnings are no errors, and never among what is piped on.
status 0 make b.example 127.0.0.1 192.168.0.2
matches '^b\.example\. 300 IN TYPE65324 [^ ]+ 10 7F0000010064C0A80002$' "$OUT" "the line"
matches 'warning: .*clients refuse' "$ERR" "the warning"
status 0 make b.example 203.0.113.1:4500 192.168.0.2
matches 'port = 4500' "$ERR" "the advice about the port"

status 2 make b.example 203.0.113.1
status 2 make b..example 203.0.113.1 192.168.0.2
status 2 make b.example 203.0.113.1 192.168.0.2 --format zone9
status 2 make b.example 192.0.2.{1..10}
matches '1 to 8 NAT boxes, not 9' "$ERR" "the reason"
same "" "$OUT" "output of an error"
status 1 make b.example 203.0.113.1:7 192.168.0.2 --format a-records
status 1 decode hello
matches 'no NAT record' "$ERR" "the reason"
status 1 decode
matches 'no NAT record' "$ERR" "an empty standard input"

# A line, words of a line, hex, a path, and all formats at once.
for text in "$line" CB0071010064C0A80002 '203.0.113.1 192.168.0.2'; do
    status 0 decode "$text" --json
    same "203.0.113.1:100 192.168.0.2" "$(paths <<<"$OUT")" "decode $text"
done
status 0 decode 203.0.113.1 192.168.0.2
matches '203\.0\.113\.1:100 192\.168\.0\.2' "$OUT" "a path in two words"
all=$(record make b.example 203.0.113.1 192.168.0.2 --format all | record decode --json | paths | uniq)
same "203.0.113.1:100 192.168.0.2" "$all" "all formats"
# Nobody reads to the end.
record make b.example 203.0.113.1 192.168.0.2 --format all | head -n 1 >/dev/null
# The defaults fit the emulation that they are made for.
same $'b-nat1.example. 300 IN A 203.0.113.1\nb-in.example. 300 IN A 192.168.0.2' \
    "$(record make b.example 203.0.113.1 192.168.0.2 --format a-records)" "A records"
