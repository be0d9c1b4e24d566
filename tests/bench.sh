#!/bin/bash
# Throughput, packet rate and round-trip time of NATTT, against plain forwarding and kernel VXLAN
# on the same path. It reports; it never judges.
#
#      A ------------- R ------------- Y ------------- B
#   198.51.100.10   (no NAT)   203.0.113.1, NAT    192.168.0.2, .3
#
#   plain   A -> 192.168.0.2, by a route through R that the real Internet would not have
#   vxlan   A -> 192.168.0.3, by a VXLAN between A and Y
#   nattt   A -> 127.64.0.9, natttd's mapped address of 192.168.0.2
#
# All three are up the whole time, and each round measures them one after the other: what else the
# machine does meets all of them, and ratios are taken within a round. Two regimes: default
# offloads (plain forwarding then moves 64 KiB at a time), and every frame at most 1500 octets.
#
#   ROUNDS=7 DURATION=4 tests/bench.sh         seconds per measurement
#   CASES="plain nattt" METRICS="tcp_up rtt" REGIMES="offloads frames" picks some
#   WORKERS=1 NATTT_BIN=...                    another number of workers, other binaries
#   PERF=tcp_up tests/bench.sh                 /tmp/bench-REGIME-ROUND-tcp_up.perf for `perf report`

set -euo pipefail
cd "$(dirname "$0")/.."
. tests/system/lib.sh

ROUNDS=${ROUNDS:-7}
DURATION=${DURATION:-4}
REGIMES=${REGIMES:-offloads frames}
CASES=${CASES:-plain vxlan nattt}
METRICS=${METRICS:-tcp_up tcp_down udp_up rtt}
PINGS=300

declare -A TARGET=([plain]=192.168.0.2 [vxlan]=192.168.0.3 [nattt]=127.64.0.9)

main() {
    network
    vxlan
    tunnel
    iperf_server 192.168.0.2
    iperf_server 192.168.0.3
    conditions
    local regime round
    for regime in $REGIMES; do
        "$regime"
        for ((round = 1; round <= ROUNDS; round++)); do
            measure_round "$regime" "$round"
        done
    done
    echo >&2
    "$PYTHON" tests/bench/report.py "$RUN/results"
}

# ---- the network ---------------------------------------------------------------------------------

network() {
    node A R Y B
    cable A eth0 198.51.100.10/24 R pub 198.51.100.1/24
    cable R gw 203.0.113.254/24 Y wan 203.0.113.1/24
    cable Y lan 192.168.0.1/24 B eth0 192.168.0.2/24
    ip -n "$PREFIX-B" address add 192.168.0.3/24 dev eth0
    on R sysctl -qw net.ipv4.ip_forward=1
    ip -n "$PREFIX-A" route add default via 198.51.100.1
    ip -n "$PREFIX-R" route add 192.168.0.0/24 via 203.0.113.1
    ip -n "$PREFIX-Y" route add default via 203.0.113.254
    ip -n "$PREFIX-B" route add default via 192.168.0.1
    nat_rules Y
    accept_tunnelled Y
    on Y nft add rule ip site forward ip daddr 192.168.0.0/24 accept
    workstation_firewall A
}

# cable NODE INTERFACE ADDRESS/LENGTH NODE INTERFACE ADDRESS/LENGTH
cable() {
    ip -n "$PREFIX-$1" link add "$2" type veth peer name "$5" netns "$PREFIX-$4"
    ip -n "$PREFIX-$1" address add "$3" dev "$2"
    ip -n "$PREFIX-$4" address add "$6" dev "$5"
    ip -n "$PREFIX-$1" link set "$2" up
    ip -n "$PREFIX-$4" link set "$5" up
}

vxlan() {
    vxlan_end A 198.51.100.10 203.0.113.1 10.9.0.1/30
    vxlan_end Y 203.0.113.1 198.51.100.10 10.9.0.2/30
    ip -n "$PREFIX-A" route add 192.168.0.3/32 via 10.9.0.2
}

# vxlan_end NODE LOCAL REMOTE ADDRESS/LENGTH
vxlan_end() {
    ip -n "$PREFIX-$1" link add vx0 mtu 1450 type vxlan id 9 local "$2" remote "$3" dstport 4789
    ip -n "$PREFIX-$1" address add "$4" dev vx0
    ip -n "$PREFIX-$1" link set vx0 up
    on "$1" nft add rule ip site input udp dport 4789 accept
}

# No DNS here: the mapping is one that natttd finds in its state directory.
tunnel() {
    mkdir "$RUN/A-state"
    cat >"$RUN/A-state/mappings.json" <<'JSON'
{"version":1,"mappings":[{"address":"127.64.0.9","paths":["203.0.113.1:100 192.168.0.2"],
"names":["b.example."],"expires_ms":9999999999999,"last_used_ms":1}]}
JSON
    gateway_config Y
    client_config A
    local name
    for name in Y A; do
        [ -z "${WORKERS:-}" ] || printf '[queues]\nworkers = %s\n' "$WORKERS" >>"$RUN/$name.toml"
        start_natttd "$name"
    done
    # A first connection has smaller segments. Older binaries measure nothing.
    on A ping -n -q -c 3 -W 5 "${TARGET[nattt]}" >/dev/null
    measured() { [ "$(counter A paths_measured)" != 0 ]; }
    wait_for 20 "what the path carries" measured
}

# iperf_server ADDRESS: one for each address, because a wildcard socket would answer UDP from the
# first of them.
iperf_server() {
    start B "iperf3-$1" iperf3 -s -B "$1" --forceflush
    wait_for 10 "iperf3 on $1" grep -q listening "$(log B "iperf3-$1")"
}

# ---- regimes -------------------------------------------------------------------------------------

offloads() {
    :
}

frames() {
    local end
    for end in A:eth0 A:vx0 R:pub R:gw Y:wan Y:vx0 Y:lan B:eth0; do
        on "${end%:*}" ethtool -K "${end#*:}" tso off gso off gro off >/dev/null
    done
}

# ---- measuring -----------------------------------------------------------------------------------

conditions() {
    echo "Linux $(uname -r), $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)," \
        "TCP cubic, $ROUNDS rounds of $DURATION s"
}

# Every other round goes the other way round.
measure_round() {
    local metric case cases=$CASES
    (($2 % 2)) || cases=$(tac -s ' ' <<<"$CASES " | xargs)
    for metric in $METRICS; do
        # Small packets never meet the offloads.
        case $1:$metric in frames:udp_up | frames:rtt) continue ;; esac
        for case in $cases; do
            record "$1" "$2" "$metric" "$case"
        done
    done
    echo -n "$1 $2/$ROUNDS  " >&2
}

# record REGIME ROUND METRIC CASE
record() {
    local values
    [ "${PERF:-}:$4" != "$3:nattt" ] || profile "$1-$2-$3"
    # Once more if the server was still busy with the end of the one before.
    values=$("$3" "${TARGET[$4]}") || { sleep 1; values=$("$3" "${TARGET[$4]}"); }
    for value in $values; do
        echo "$1 $2 ${value%=*} $4 ${value#*=}" >>"$RUN/results"
    done
}

tcp_up() {
    iperf "$1" | jq -re '"tcp_up=\(.end.sum_received.bits_per_second / 1e9)"'
}

tcp_down() {
    iperf "$1" -R | jq -re '"tcp_down=\(.end.sum_received.bits_per_second / 1e9)"'
}

# Datagrams received; the sender sends as fast as it can.
udp_up() {
    iperf "$1" -u -l 64 -b 0 |
        jq -re '.end.sum | "udp_up=\((.packets - .lost_packets) / .seconds / 1e3)"'
}

rtt() {
    on A ping -n -i 0.004 -c "$PINGS" -W 2 -w 20 "$1" | sed -n 's/.*time=\([0-9.]*\) ms/\1/p' |
        sort -n | awk '{ rtt[NR] = $1 * 1000 }
            END { print "rtt_median=" rtt[int((NR + 1) / 2)], "rtt_p90=" rtt[int(NR * 0.9)] }'
}

iperf() {
    on A timeout $((DURATION + 15)) iperf3 -J -t "$DURATION" -C cubic -c "$@"
}

# The profile stays when everything else is removed.
profile() {
    perf record -q -a -g -o "/tmp/bench-$1.perf" -- sleep "$DURATION" >/dev/null 2>&1 &
}

main
