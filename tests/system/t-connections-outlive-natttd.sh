#!/bin/bash
# Downloads, a silent connection and a late UDP answer go on while natttd on either side, or both, is
# stopped or killed and started again.
#
#   A1 --- X 198.51.100.20 (NAT) --- R --- Y 203.0.113.1 --- B
. "$(dirname "$0")/lib.sh"

# again NODE SIGNAL: ends natttd and starts it again, with the rules as they are.
again() {
    stop "$1" natttd "$2"
    start "$1" natttd "$BIN/natttd" --config "$RUN/$1.toml"
    wait_for 20 "natttd on $1" control "$1" status
}

# octets: how much of the download A1 has.
octets() { stat -c %s "$RUN/got" 2>/dev/null || echo 0; }
has_more() { (($(octets) > $1)); }

# newest_flow NODE ROLE: whether the file has the connection that curl has open now.
newest_flow() {
    local port
    port=$(on A1 ss -Htn state established dport = :80 | awk '{ sub(".*:", "", $3); print $3 }')
    grep -q "^$2 6 .*:$port " "$RUN/$1-state/flows"
}

# download FILE NODE SIGNAL...: pairs of what happens while A1 fetches the file.
download() {
    local file=$1 before
    shift
    rm -f "$RUN/got"
    start A1 curl curl -sS --max-time 300 --limit-rate 80M -o "$RUN/got" "http://b.example/$file"
    wait_for 20 "the first octets" has_more 0
    # Written within milliseconds; killed sooner, natttd would forget the flow.
    wait_for 20 "the flow in A1's file" newest_flow A1 client
    wait_for 20 "the flow in Y's file" newest_flow Y gateway
    while (($# > 0)); do
        before=$(octets)
        again "$1" "$2"
        wait_for 60 "more octets after $2 of $1" has_more "$before"
        shift 2
    done
    wait "${PID[A1-curl]}" || fail "curl: $(cat "$(log A1 curl)")"
    unset "PID[A1-curl]"
    same "$(sha256sum <"$RUN/$file")" "$(sha256sum <"$RUN/got")" "SHA-256 of the download"
}

fig2
head -c 100M /dev/urandom >"$RUN/some"
head -c "${BIG_MB:-1024}M" /dev/urandom >"$RUN/big"
nattt_gateway Y
client_config A1
echo 'keepalive_s = 1' >>"$RUN/A1.toml"
start_natttd A1

download some A1 TERM
download some A1 KILL
download some Y TERM
download some Y KILL
download big Y KILL A1 KILL Y TERM A1 TERM

# B speaks after both were started again, and nobody before it. X has forgotten the flow by then, but
# for the keepalives.
on X sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 net.netfilter.nf_conntrack_udp_timeout_stream=3
start A1 talk "$PYTHON" "$PEERS/talk.py" b.example 7 one 'delay 8 two' three
start A1 ask "$PYTHON" "$PEERS/ask.py" b.example 7 'delay 8 late'
wait_for 20 "the first answer" grep -q one "$(log A1 talk)"
flows() { (($(control Y flows --json | jq .total) >= 2)); }
wait_for 20 "both flows at Y" flows
wait_for 20 "both flows in A1's file" grep -q '^client 17 ' "$RUN/A1-state/flows"
wait_for 20 "both flows in Y's file" grep -q '^gateway 17 ' "$RUN/Y-state/flows"
again Y KILL
again A1 KILL
wait "${PID[A1-talk]}" || fail "the silent connection: $(cat "$(log A1 talk)")"
wait "${PID[A1-ask]}" || fail "the late answer: $(cat "$(log A1 ask)")"
unset "PID[A1-talk]" "PID[A1-ask]"
matches 'three' "$(cat "$(log A1 talk)")" "what was said after the silence"
same 1 "$(grep -oE '198\.51\.100\.20:[0-9]+' "$(log A1 talk)" | sort -u | wc -l)" "ports of X that it used"
matches 'late$' "$(cat "$(log A1 ask)")" "the late answer"

# Flows of another boot are dead.
stop Y natttd
sed -i '1s/ [^ ]*$/ another-boot/' "$RUN/Y-state/flows"
start Y natttd "$BIN/natttd" --config "$RUN/Y.toml"
wait_for 20 "natttd on Y" control Y status
same 0 "$(control Y flows --json | jq .total)" "flows of another boot"
