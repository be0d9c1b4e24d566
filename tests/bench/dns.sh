#!/bin/bash
# What natttd adds to the time of DNS answers, in microseconds: the same questions with its rules loaded
# and removed, in turns within one run. It reports; it never judges.
#
#   A (natttd; unbound at 127.0.0.1) --- R --- N: BIND at 198.51.100.53; at .55 a server whose answers
#   about NAT records are slow; at .56 one that is 10 ms away
#
#   ROUNDS=7 COUNT=400 tests/bench/dns.sh       questions per measurement; those of new names: a quarter
#   CASES="address nat_cold" LOADS="quiet stuck" picks some

set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/system/lib.sh

ROUNDS=${ROUNDS:-7}
COUNT=${COUNT:-400}
LOADS=${LOADS:-quiet stuck}
CASES=${CASES:-address local nothing nothing_cold nat_warm nat_cold far_cold}
BIND=198.51.100.53 LATE=198.51.100.55 FAR=198.51.100.56

declare -A SERVER=([local]=127.0.0.1 [far_cold]=$FAR)
declare -A NAME=([address]=elsewhere.example [local]=elsewhere.example [nothing]=nothing.example
    [nothing_cold]='#.nothing.example' [nat_warm]=b.example [nat_cold]='#.cold.example' [far_cold]='#.far.example')

main() {
    internet
    host A 198.51.100.10/24 198.51.100.1 R pub
    workstation_firewall A
    servers
    client_config A
    start_natttd A
    echo "Linux $(uname -r), $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)," \
        "rules in the language of $FLAVOUR, $ROUNDS rounds of $COUNT questions"
    local load round
    for load in $LOADS; do
        for ((round = 1; round <= ROUNDS; round++)); do
            "$load" "$round"
            echo -n "$load $round/$ROUNDS  " >&2
        done
    done
    echo >&2
    [ ! -s "$RUN/waiting" ] || echo "Replies that waited meanwhile: $(sort -n "$RUN/waiting" | xargs)"
    "$PYTHON" tests/bench/dns_report.py "$RUN/results"
}

servers() {
    cat >>"$RUN/named/example.zone" <<'ZONE'
*.cold      TYPE65324 \# 10 CB0071010064C0A80002
*.nothing   TXT   "no address at all"
ZONE
    stop N named
    start N named "$RUN/named/named" -g -4 -n 1 -c "$RUN/named/named.conf"
    ip -n "$PREFIX-N" address add "$LATE/24" dev eth0
    start N slow "$PYTHON" "$PEERS/slow_dns.py" "$LATE" 2.5
    ip -n "$PREFIX-N" address add "$FAR/24" dev eth0
    start N far "$PYTHON" "$PEERS/slow_dns.py" "$FAR" 0.01 0.01
    printf '%s\n' server: '  interface: 127.0.0.1' '  username: ""' '  chroot: ""' '  pidfile: ""' \
        "  directory: \"$RUN\"" '  use-syslog: no' '  do-ip6: no' forward-zone: '  name: "."' \
        "  forward-addr: $BIND" remote-control: '  control-enable: no' >"$RUN/unbound.conf"
    start A unbound unbound -d -c "$RUN/unbound.conf"
    wait_for 20 "the servers" answering
}

answering() {
    local server
    for server in "$BIND" "$LATE" "$FAR" 127.0.0.1; do
        on A dig +time=1 +tries=1 "@$server" elsewhere.example A
    done
}

# ---- loads ---------------------------------------------------------------------------------------

quiet() {
    both quiet "$1"
}

# The load is there in both arms; only natttd has something to wait for.
stuck() {
    start A stuck "$PYTHON" tests/bench/dns_ask.py "$LATE" stuck 600
    both stuck "$1"
    stop A stuck KILL
}

# both LOAD ROUND: every other round begins with the other arm.
both() {
    if (($2 % 2)); then
        arm "$@" with && arm "$@" without
    else
        arm "$@" without && arm "$@" with
    fi
}

# arm LOAD ROUND with|without
arm() {
    local case
    if [ "$3" = with ]; then
        rules A apply
        wait_for 10 "loaded rules" loaded
        [ "$1" = quiet ] || wait_for 10 "replies that wait" waiting_at_least 800
    else
        rules A remove
    fi
    for case in $CASES; do
        # Once before, so that it is known.
        ask "$case" 20 >/dev/null
        echo "$1 $2 $case $3 $(ask "$case" "$COUNT")" >>"$RUN/results"
    done
    [ "$1 $3" != "stuck with" ] || waiting >>"$RUN/waiting"
}

loaded() { control A status | grep -q '^Rules: *loaded'; }

# waiting: packets in the queue of replies that wait.
waiting() { on A awk '$1 == 26817 { print $3 }' /proc/net/netfilter/nfnetlink_queue; }

waiting_at_least() { (($(waiting) >= $1)); }

# ask CASE COUNT
ask() {
    local count=$2
    case $1 in *_cold) count=$((count / 4)) ;; esac
    on A "$PYTHON" tests/bench/dns_ask.py "${SERVER[$1]:-$BIND}" "${NAME[$1]}" "$count"
}

main
