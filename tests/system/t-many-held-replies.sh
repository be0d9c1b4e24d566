#!/bin/bash
# Any user can make many replies wait for one lookup: 800 verdicts that become due at once are
# more than one system call sends. All of them are answered, and natttd lives on.
. "$(dirname "$0")/lib.sh"

fig1
start W slow_dns "$PYTHON" "$PEERS/slow_dns.py" 198.51.100.80 0.6
wait_for 10 "the slow name server" grep -q ready "$(log W slow_dns)"
nattt_gateway Y
nattt_client A

chmod 755 "$RUN"
answers=$(on A setpriv --reuid 65534 --regid 65534 --clear-groups \
    "$PYTHON" "$PEERS/ask_many.py" 198.51.100.80 many.example 800)
read -r answered mapped <<<"$answers"
same 800 "$answered" "answers"
# The others' time was over before the lookup was: those are passed on as they came.
more 500 "$mapped" "answers that hold a mapped address"
kill -0 "${PID[A-natttd]}" || fail "natttd has ended"
same 0 "$(counter A verdict_refused)" "verdicts that the kernel refused"
same "This is B." "$(fetch A b.example/)" "the page afterwards"
