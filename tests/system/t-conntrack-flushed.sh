#!/bin/bash
# Somebody empties a conntrack table. On the client the next keepalive marks the outer connection again:
# late answers arrive although the application says nothing meanwhile. Where the far side speaks first, on the
# client or on the gateway, the kernel takes it for the one that opens the connection; natttd sets that right.
#
#   A 198.51.100.10 (firewall) --------+
#   A1 --- X 198.51.100.20 (NAT) ------+--- R --- Y 203.0.113.1 --- B
. "$(dirname "$0")/lib.sh"
type conntrack >/dev/null || skip "no conntrack"

# marked: A's outer connections that carry the mark.
marked() {
    on A conntrack -L -p udp --orig-port-dst 100 2>/dev/null | grep -v 'mark=0 '
}

# turned NODE: natttd there has set connections right.
turned() { (($(counter "$1" connections_turned) > 0)); }

# flow_to_b: Y has the flow of the forged packet.
flow_to_b() { control Y flows --json | grep -q '192\.168\.0\.2:40000'; }

# forgotten NODE: A1 waits for what B says after 3 s; by then NODE has forgotten the connection.
forgotten() {
    start A1 talk "$PYTHON" "$PEERS/talk.py" b.example 7 "delay 3 $1"
    wait_for 10 "the line at B" grep -q "delay 3 $1" "$(log B server)"
    on "$1" conntrack -F 2>/dev/null
    wait_for 20 "natttd on $1 to set the connection right" turned "$1"
    wait "${PID[A1-talk]}" || fail "the connection that $1 forgot: $(cat "$(log A1 talk)")"
    unset "PID[A1-talk]"
    matches "delay 3 $1" "$(cat "$(log A1 talk)")" "what B said"
}

# grown NODE OCTETS: the file that NODE fetches has more than that.
grown() { (($(stat -c %s "$RUN/$1-got") > $2)); }

# busy FETCHER ADDRESS: Y forgets a connection again and again while B sends.
busy() {
    : >"$RUN/$1-got"
    start "$1" fetch curl -sS --max-time $((60 * ${SLOW:-1})) --limit-rate 2M -o "$RUN/$1-got" "http://$2/big"
    for octets in {1..8}00000; do
        wait_for 20 "$octets octets at $1" grown "$1" "$octets"
        on Y conntrack -F 2>/dev/null
    done
    wait "${PID[$1-fetch]}" || fail "$1's download: $(cat "$(log "$1" fetch)")"
    unset "PID[$1-fetch]"
    same "$(sha256sum <"$RUN/big")" "$(sha256sum <"$RUN/$1-got")" "what $1 fetched"
}

fig2
head -c 5000000 /dev/urandom >"$RUN/big"
nattt_gateway Y
nattt_client A1
capture R gw 'ip and host 198.51.100.20 and not port 100'
forgotten Y
busy A1 b.example
refused "a packet outside the tunnel" seen R gw '198\.51\.100\.20'
forgotten A1
same 1 "$(grep -c 'counter connections_turned' "$(log Y natttd)")" "lines about it in Y's log"

# B's own connection from an exported port to an address and port that somebody lets a tunnel packet come
# from, whose answer is a reset: it is not taken for the reverse of the tunnel's.
start B talk "$PYTHON" "$PEERS/talk.py" --source-port 40000 198.51.100.80 7007 \
    one 'delay 4 two' three 'quiet 3' four 'quiet 3' five
wait_for 10 "B's connection to W" grep -q one "$(log B talk)"
before=$(counter Y connections_turned)
on R "$PYTHON" "$PEERS/forge.py" tcp 198.51.100.80:7007 203.0.113.1:100 10.0.0.1:5000 192.168.0.2:40000
wait_for 10 "the forged flow" flow_to_b
# Nor after a flush, when the kernel meets it in the middle.
wait_for 20 "B's third line" grep -q three "$(log B talk)"
on Y conntrack -F 2>/dev/null
wait "${PID[B-talk]}" || fail "B's own connection: $(cat "$(log B talk)")"
unset "PID[B-talk]"
matches 'five' "$(cat "$(log B talk)")" "what B heard at last"
same "$before" "$(counter Y connections_turned)" "connections turned"
more 0 "$(counter Y gateway_middle_passed)" "packets of B's own connections that natttd saw"

client_config A
echo 'keepalive_s = 1' >>"$RUN/A.toml"
start_natttd A

ask A b.example 7 "delay 5 late" >"$RUN/late" &
asking=$!
wait_for 10 "the marked connection" marked
on A conntrack -F 2>/dev/null
wait_for 10 "the mark after a keepalive" marked
wait "$asking"
matches 'late' "$(<"$RUN/late")" "B's late answer"
