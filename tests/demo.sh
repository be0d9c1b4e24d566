#!/bin/bash
# The main job, shown to a person: A1 behind a legacy NAT opens http://b.example/, whose server B is
# behind another NAT. Exit status 0 only if the page came, and came through the tunnel.
#
#   tests/demo.sh                 shows it and cleans up
#   KEEP=1 tests/demo.sh          leaves the network up
#   tests/demo.sh clean NAME      removes what an earlier KEEP=1 left; it printed the NAME

set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = clean ]; then
    [[ "${2:-}" =~ ^nattt-[0-9]+-[A-Za-z0-9]{4}$ ]] || { echo "which one? KEEP=1 printed its name"; exit 1; }
    NATTT_RUN=/tmp/$2
    unset KEEP
fi
. tests/system/lib.sh

main() {
    picture
    fig2
    capture R pub 'udp port 100'
    capture Y lan 'tcp port 80'
    without_natttd
    with_natttd
    tables
    wire_lines
    verdict
}

picture() {
    title "The network"
    cat <<'ART'
 A1 192.168.0.2 --- X ------------ 198.51.100.20     203.0.113.1 ------------ Y --- 192.168.0.2 B
    (natttd)        masquerades;               Internet               (natttd)       web server
                    knows no tunnel     DNS: N 198.51.100.53     masquerades too
 In the DNS, b.example has a NAT record and no address; A1 and B have the same private address.
ART
}

without_natttd() {
    title "Without natttd, b.example cannot be reached"
    show A1 dig +short b.example A
    show A1 dig +short b.example TYPE65324
    show A1 curl -sS --max-time 5 http://b.example/ || true
}

with_natttd() {
    nattt_gateway Y
    nattt_client A1
    title "With natttd on A1 and Y"
    show A1 dig +noall +answer b.example A
    show A1 curl -sS --max-time 10 http://b.example/ | tee "$RUN/page"
    show A1 curl -sS --max-time 10 http://b.example/whoami | tee "$RUN/whoami"
    show A1 "$PYTHON" "$PEERS/ask.py" b.example 7 'hello over UDP' --timeout 5 || true
    show A1 ping -n -c 1 -W 5 b.example || true
}

tables() {
    title "What natttd on A1 and on Y know"
    ask_daemon A1 mappings
    ask_daemon A1 flows
    ask_daemon Y flows
}

wire_lines() {
    title "On the wire"
    wait_for 5 "the tunnel on the wire" through_tunnel
    wait_for 5 "TCP behind Y" inside_plain
    echo "# between X and Y: $(seen R pub 'length' | wc -l) packets, all of them UDP port 100, such as"
    seen R pub 'UDP' | head -n 4
    echo "# behind Y: ordinary TCP from X's public address to B, such as"
    seen Y lan '\.80' | head -n 4
}

verdict() {
    title "Result"
    echo "B served $(grep -c '^tcp' "$(log B server)") pages and saw them come from $(tail -n 1 "$RUN/whoami")"
    grep -q '^This is B\.$' "$RUN/page" || fail "the page is not B's"
    grep -q '^198\.51\.100\.20:' "$RUN/whoami" || fail "B did not see X's public address"
    echo "The page came from B through the tunnel."
    [ -z "${KEEP:-}" ] || how_to_enter
}

through_tunnel() {
    seen R pub '198\.51\.100\.20\.[0-9]+ > 203\.0\.113\.1\.100: UDP' &&
        seen R pub '203\.0\.113\.1\.100 > 198\.51\.100\.20\.[0-9]+: UDP'
}

inside_plain() {
    seen Y lan '198\.51\.100\.20\.[0-9]+ > 192\.168\.0\.2\.80: Flags'
}

how_to_enter() {
    title "The network is still up"
    cat <<TEXT
 enter a node:    sudo ip netns exec $PREFIX-A1 bash      (also A A2 B B2 C N R W X X2 Y Y2)
 ask a daemon:    sudo $(realpath --relative-to=. "$BIN")/nattt --socket $RUN/A1.sock flows
 the logs:        $RUN/*.log
TEXT
}

title() {
    printf '\n== %s ==\n' "$*"
}

# show NODE COMMAND...: like a terminal on that node.
show() {
    local words="${*:2}"
    words=${words//"$PYTHON $PEERS/"/}
    echo "$1# $words" >&2
    on "$@" 2>&1
}

ask_daemon() {
    echo "$1# nattt $2"
    control "$1" "$2"
}

if [ "${1:-}" = clean ]; then
    exit 0 # `finish`, the exit trap of lib.sh, removes the run.
fi
main 2>&1
