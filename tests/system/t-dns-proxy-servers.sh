#!/bin/bash
# What natttd's DNS proxy makes of the servers it asks, dead, slow, lying and in circles, and of clients
# that ask too much. N has a server (peers/upstream.py) at port 5310 whose names say how it behaves.
. "$(dirname "$0")/lib.sh"

# proxy LINE...: natttd on A with these lines under [client].
proxy() {
    [ -z "${PID[A-natttd]:-}" ] || stop A natttd
    client_config A
    printf '%s\n' "$@" >>"$RUN/A.toml"
    start_natttd A
}

# asked NAME [OPTION...]: dig at the proxy: status, flags, answers.
asked() { on A dig @127.0.0.1 -p 5300 +tries=1 +time=8 "${@:2}" "$1"; }
short() { asked "$@" +short; }
# within SECONDS PATTERN WHAT COMMAND...: what the command says, and that it says so in time.
within() {
    local start=$EPOCHREALTIME said
    said=$("${@:4}" || true)
    awk -v start="$start" -v end="$EPOCHREALTIME" -v most="$1" 'BEGIN { exit end - start > most * '"${SLOW:-1}"' }' ||
        fail "longer than $1 s: $3"
    matches "$2" "$said" "$3"
}
talk() { on A "$PYTHON" "$PEERS/dns_tcp.py" 127.0.0.1 5300 "$@"; }
questions() { grep -c "^$1 $2" "$(log N upstream)" || true; }

node A N
upstream_of_a

proxy 'listen = ["127.0.0.1:5300"]' 'upstream = ["198.51.100.53:5310"]'
same 1.1.1.1 "$(short some.test)" "a plain answer"
same 1.1.1.1 "$(short some.test +tcp)" "the same over TCP"
same 1 "$(questions TCP some.test)" "a question over TCP goes on over TCP"

# For later: connections on which nothing happens.
talk idle >"$RUN/idle" &
talk drip >"$RUN/drip" &

# Lies, nonsense, silence.
same 1.1.1.1 "$(short Forged.test)" "the true answer among forged ones"
within 6 'status: SERVFAIL' "nothing but nonsense" asked junk.test
within 6 'status: SERVFAIL' "no answer" asked lost.test
matches 'status: SERVFAIL' "$(asked fail.test)" "the server's own failure"
same 1 "$(questions UDP fail.test)" "questions to a server that failed"
same 1.1.1.1 "$(short slow-2.test)" "an answer that is slower than a second question"
same 1.1.1.1 "$(short half.test +notcp || true)$(short some.test)" "half an answer over TCP: only what follows"
matches 'flags: qr [a-z ]*tc' "$(asked half.test +ignore)" "half an answer over TCP leaves the cut one"
echo "ok - lies, nonsense and silence"

# Every question has an ID and a port of its own.
for n in 1 2 3 4 5 6 7 8; do short "id$n.test" >/dev/null; done
more 6 "$(grep '^UDP id' "$(log N upstream)" | cut -d' ' -f4 | sort -u | wc -l)" "source ports of 8 questions"
more 6 "$(grep '^UDP id' "$(log N upstream)" | cut -d' ' -f5 | sort -u | wc -l)" "IDs of 8 questions"

# Sizes: what the client takes over UDP, else TCP.
same 60 "$(short cut.test +bufsize=4096 | wc -l)" "a cut reply is fetched over TCP"
matches 'flags: qr [a-z ]*tc' "$(asked cut.test +ignore +bufsize=900)" "more than the client takes"
matches 'flags: qr [a-z ]*tc' "$(asked long.test +ignore +noedns)" "more than a client without EDNS takes"
same 60 "$(short long.test +noedns | wc -l)" "the same client, over TCP then"
same 60 "$(short long.test +bufsize=1232 | wc -l)" "as much as the client takes"
echo "ok - sizes"

# Many questions on one connection, answered as the answers come, after the end of writing, too.
same "b.test c.test slow-1.test" "$(talk order slow-1.test b.test c.test | sort | xargs)" "all are answered"
same slow-1.test "$(talk order slow-1.test b.test c.test | tail -n 1)" "the slow one comes last"
same some.test "$(talk garbage)" "a question behind nonsense"
wait_for 20 "idle connections to end" test -s "$RUN/idle" -a -s "$RUN/drip"
matches '^1[0-2] 1[0-2]$' "$(cat "$RUN/idle" "$RUN/drip" | xargs)" "seconds until an idle connection ends"
same 128 "$(talk many 200)" "connections that are served at one time"
same 1.1.1.1 "$(short some.test +tcp)" "one more afterwards"
echo "ok - TCP"

# The next server, where one is dead: silent, unreachable or refusing.
on N nft -f - <<'NFT'
table ip dead { chain input { type filter hook input priority 0; th dport 5399 counter drop; }; }
NFT
proxy 'listen = ["127.0.0.1:5300"]' 'upstream = ["198.51.100.53:5399", "198.51.100.53:5310"]'
within 4 '^1\.1\.1\.1$' "the second server's answer" short some.test
dead() { on N nft list chain ip dead input | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
before=$(dead)
more 0 "$before" "questions to the dead one"
within 3 '^1\.1\.1\.1$' "once more" short some.test
same "$before" "$(dead)" "questions to the dead one, now that it is known"
same 1.1.1.1 "$(short some.test +tcp)" "and over TCP"
proxy 'listen = ["127.0.0.1:5300"]' 'upstream = ["198.51.100.53:5398", "198.51.100.53:5310"]'
within 3 '^1\.1\.1\.1$' "the second server's answer, the first refuses" short some.test
same 1.1.1.1 "$(short none.test || true)$(short some.test)" "NODATA without an SOA"
proxy 'listen = ["127.0.0.1:5300"]' 'upstream = ["198.51.100.53:5398"]'
within 3 'status: SERVFAIL' "all refuse" asked some.test
within 3 'status: SERVFAIL' "all refuse, over TCP" asked some.test +tcp
proxy 'listen = ["127.0.0.1:5300"]' 'upstream = ["192.0.2.1"]'
ip -n "$PREFIX-A" route add unreachable 192.0.2.1
within 3 'status: SERVFAIL' "no way there" asked some.test
more 0 "$(counter A proxy_no_answer)" "questions without an answer"
echo "ok - dead servers"

# In circles: dnsmasq sends natttd the names that natttd asks dnsmasq for.
[ -x "$(command -v dnsmasq)" ] || skip "dnsmasq is not installed"
start A dnsmasq dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-hosts --no-resolv \
    --server=/example/127.0.0.1#5300 --server=198.51.100.53#5310 --listen-address=127.0.0.1 --bind-interfaces --user=root
resolver A 127.0.0.1
proxy 'listen = ["127.0.0.1:5300", "127.0.0.2"]'
wait_for 10 dnsmasq on A dig +time=1 +tries=1 some.test A
same 1.1.1.1 "$(short some.test)" "a name that does not go round"
before=$(counter A proxy_questions)
within 6 'status: (SERVFAIL|REFUSED)' "one that does" on A dig +tries=1 +time=8 round.example
more "$(counter A proxy_questions)" $((before + 250)) "the most questions that come of it"
same 1.1.1.1 "$(short some.test)" "others afterwards"

# resolv.conf with nobody but natttd itself: it says so, and gives an answer at once.
resolver A 127.0.0.2
proxy 'listen = ["127.0.0.2"]'
wait_for 10 "the warning" grep -q 'names none but natttd itself' "$(log A natttd)"
within 3 'status: SERVFAIL' "nobody to ask" on A dig +tries=1 +time=8 some.test
printf 'nameserver 127.0.0.2\nnameserver 127.0.0.1\n' >"/etc/netns/$PREFIX-A/resolv.conf"
wait_for 10 "a server that came later" on A sh -c 'dig +short +tries=1 some.test @127.0.0.2 | grep -q 1.1.1.1'
echo "ok - circles"

# What cannot be listened at.
stop A natttd
for addr in 127.0.0.1:53 198.51.100.10:5300; do
    client_config A
    case $addr in
        127*) printf 'listen = ["%s"]\n' "$addr" ;;
        *) printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\nlisten = ["%s"]\n' "$addr" ;;
    esac >>"$RUN/A.toml"
    rules A apply
    refused "listening at $addr" on A timeout 10 "$BIN/natttd" --config "$RUN/A.toml"
    ((STATUS != 124)) || fail "natttd runs and listens at $addr"
    matches "(another program listens at 127.0.0.1:53|198.51.100.10:5300 of .listen. is no address of an interface in .serve.)" \
        "$OUTPUT" "what natttd says about $addr"
done
