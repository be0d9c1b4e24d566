# Sourced by every system test: nodes (network namespaces), processes in them, waiting, asserting.
#
# A test is a bash script that sources this file and runs to its end. Exit status 0 is "ok", 77 is
# "skipped", anything else is "FAILED". Everything a test makes is named after its own prefix
# (nattt-PID-XXXX) and is removed when it ends, however it ends; nothing else is touched. KEEP=1
# keeps it for a look.

set -Eeuo pipefail

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${NATTT_BIN:-${CARGO_TARGET_DIR:-$TESTS/../target}/release}
PYTHON=/usr/bin/python3
PEERS=$TESTS/system/peers

# The directory of this run; its last part is the prefix of all names.
RUN=${NATTT_RUN:-$(mktemp -d "/tmp/nattt-$$-XXXX")}
PREFIX=${RUN##*/}
declare -A PID=()

. "$TESTS/system/topology.sh"
. "$TESTS/system/natttd.sh"
. "$TESTS/system/protocols.sh"

# ---- nodes -------------------------------------------------------------------------------------

# node NAME...: namespaces without IPv6 noise, whose only name server is N.
node() {
    local name
    for name in "$@"; do
        ip netns add "$PREFIX-$name"
        ip -n "$PREFIX-$name" link set lo up
        on "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
            net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
        # Refused where the host does not list cubic in tcp_allowed_congestion_control.
        on "$name" sysctl -qw net.ipv4.tcp_congestion_control=cubic 2>/dev/null || true
        resolver "$name" 198.51.100.53
    done
}

# resolver NODE ADDRESS: NODE's /etc/resolv.conf, which `ip netns exec` mounts over the host's.
resolver() {
    mkdir -p "/etc/netns/$PREFIX-$1"
    printf 'nameserver %s\noptions timeout:3 attempts:2\n' "$2" >"/etc/netns/$PREFIX-$1/resolv.conf"
}

# on NODE COMMAND...: runs a command in a node.
on() {
    ip netns exec "$PREFIX-$1" "${@:2}"
}

# hub NODE NAME ADDRESS/LENGTH: an Ethernet switch, with NODE itself on it.
hub() {
    # Where br_netfilter is loaded, hosts of one LAN would pass the box's FORWARD chain.
    on "$1" sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
    ip -n "$PREFIX-$1" link add "$2" type bridge
    ip -n "$PREFIX-$1" link set "$2" up
    ip -n "$PREFIX-$1" address add "$3" dev "$2"
}

# plug NODE INTERFACE ADDRESS/LENGTH HUBNODE HUB: a cable from NODE to a switch.
plug() {
    local port="to-$1"
    ip -n "$PREFIX-$1" link add "$2" type veth peer name "$port" netns "$PREFIX-$4"
    ip -n "$PREFIX-$4" link set "$port" master "$5" up
    ip -n "$PREFIX-$1" address add "$3" dev "$2"
    ip -n "$PREFIX-$1" link set "$2" up
}

# ---- processes ---------------------------------------------------------------------------------

# start NODE NAME COMMAND...: a background process; output in "$(log NODE NAME)", PID[NODE-NAME].
start() {
    ip netns exec "$PREFIX-$1" "${@:3}" >"$(log "$1" "$2")" 2>&1 </dev/null &
    PID[$1-$2]=$!
}

# stop NODE NAME [SIGNAL]: ends such a process; its exit status in STATUS.
stop() {
    kill "-${3:-TERM}" "${PID[$1-$2]}"
    STATUS=0
    wait "${PID[$1-$2]}" 2>/dev/null || STATUS=$?
    unset "PID[$1-$2]"
}

# log NODE NAME: where a background process writes.
log() {
    echo "$RUN/$1-$2.log"
}

# capture NODE INTERFACE FILTER: tcpdump from now on; look into it with `seen`.
capture() {
    start "$1" "tcpdump-$2" tcpdump -n -l --immediate-mode -i "$2" "$3"
    wait_for 10 "tcpdump on $1 $2" grep -q 'listening on' "$(log "$1" "tcpdump-$2")"
}

# seen NODE INTERFACE PATTERN: true once a captured line matches the extended regular expression.
seen() {
    grep -E "$3" "$(log "$1" "tcpdump-$2")"
}

# ---- waiting and asserting -----------------------------------------------------------------------

# wait_for SECONDS DESCRIPTION COMMAND...: polls until the command succeeds. SLOW multiplies all
# deadlines, for machines that are emulated.
wait_for() {
    local deadline=$((SECONDS + $1 * ${SLOW:-1})) what=$2
    shift 2
    # In a subshell: a helper that fails would end the test at its first try.
    until ("$@") >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "waited in vain for: $what"
        sleep 0.05
    done
}

# same EXPECTED ACTUAL WHAT
same() {
    [ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"
}

# matches PATTERN ACTUAL WHAT: extended regular expression, anywhere in the text.
matches() {
    [[ "$2" =~ $1 ]] || fail "$3: expected /$1/, got '$2'"
}

# more THAN ACTUAL WHAT
more() {
    (("$2" > "$1")) || fail "$3: expected more than $1, got $2"
}

# refused WHAT COMMAND...: the command must fail; its output in OUTPUT, its exit status in STATUS.
refused() {
    STATUS=0
    OUTPUT=$("${@:2}" 2>&1) || STATUS=$?
    [ "$STATUS" != 0 ] || fail "$1: it should have failed, and said '$OUTPUT'"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# skip REASON: this test cannot run here.
skip() {
    echo "skip: $*"
    exit 77
}

# ---- the end -------------------------------------------------------------------------------------

# Names the test's own line when `set -e` ends it.
blame() {
    [ "$BASH_SUBSHELL" != 0 ] || fail "$BASH_COMMAND (line ${BASH_LINENO[-2]})"
}

finish() {
    local status=$?
    trap - EXIT ERR
    set +e
    case $status in 0 | 77) ;; *) show_logs >&2 ;; esac
    if [ -n "${KEEP:-}" ]; then
        echo "kept $PREFIX; remove it with: tests/demo.sh clean $PREFIX"
    else
        remove_run 2>/dev/null
    fi
    exit "$status"
}

show_logs() {
    local file lines
    for file in "$RUN"/*.log; do
        case $file in *natttd.log) lines=60 ;; *) lines=8 ;; esac
        [ -s "$file" ] && echo "--- ${file##*/}" && tail -n "$lines" "$file"
    done
}

# Everything a test starts lives in one of its namespaces, so nobody else's process can be meant.
remove_run() {
    local name pids
    for name in $(our_namespaces); do
        pids=$(ip netns pids "$name")
        [ -z "$pids" ] || kill -9 $pids
    done
    wait
    for name in $(our_namespaces); do
        ip netns delete "$name"
    done
    rm -rf "/etc/netns/$PREFIX"-* "$RUN"
    rmdir --ignore-fail-on-non-empty /etc/netns
}

our_namespaces() {
    ip netns list | awk -v prefix="$PREFIX-" 'index($1, prefix) == 1 { print $1 }'
}

trap blame ERR
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
