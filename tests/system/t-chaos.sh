#!/bin/bash
# Traffic of many kinds, every octet of it checked, while things happen to both sides at random: killed and
# stopped daemons, reloads, flushed rules and connection tracking, lost packets, links down, other MTUs, forged
# packets. Connections go on, names are looked up, nothing of ours goes past the tunnel or to a wrong listener.
#
#   A1 --- X 198.51.100.20 (NAT) --- R --- Y 203.0.113.1 --- B
#                                    +--- M (forges)
#
# SEED chooses the order, EVENTS how many of them happen. The same seed is the same order. Not among them is
# what SECURITY.md does not guarantee: a flush of the client's whole ruleset leaves the pool open for
# milliseconds, which so much traffic finds; one of the gateway's connection tracking lets B's packets past the
# tunnel for a second (t-rules-flushed, t-conntrack-flushed).
. "$(dirname "$0")/lib.sh"

RANDOM=${SEED:-1}
left=()
EVENTS=${EVENTS:-18}

# ---- what happens --------------------------------------------------------------------------------

again() { # NODE SIGNAL
    stop "$1" natttd "$2"
    start "$1" natttd "$BIN/natttd" --config "$RUN/$1.toml"
    wait_for 20 "natttd on $1" control "$1" status
}
reloaded() {
    sed -i "s/^mtu = .*/mtu = $((1400 + RANDOM % 100))/" "$RUN/$1.toml"
    control "$1" reload --config "$RUN/$1.toml" >/dev/null
}
state() { [ "$(control "$1" status --json | jq -r .rules.state)" = "$2" ]; }
# rules_gone NODE STATE COMMAND...: and loaded again, as the package's units do.
rules_gone() {
    on "$1" "${@:3}"
    wait_for 10 "natttd on $1 to notice '${*:3}'" state "$1" "$2"
    rules "$1" apply
    wait_for 10 "natttd on $1 to notice that the rules are back" state "$1" loaded
}
mtu() {
    ip -n "$PREFIX-R" link set to-X mtu "$1"
    ip -n "$PREFIX-X" link set wan mtu "$1"
}

kill_client() { again A1 KILL; }
kill_gateway() { again Y KILL; }
stop_client() { again A1 TERM; }
stop_gateway() { again Y TERM; }
reload_client() { reloaded A1; }
reload_gateway() { reloaded Y; }
flush_filter_client() { rules_gone A1 damaged iptables -F; }
flush_raw_gateway() { rules_gone Y damaged iptables -t raw -F; }
forget_client() { on A1 conntrack -F 2>/dev/null; }
forget_nat() { on X conntrack -F 2>/dev/null; }
lose_packets() {
    on R iptables -A FORWARD -m statistic --mode random --probability 0.1 -j DROP
    all_go_on "a tenth of the packets being lost"
    on R iptables -F FORWARD
}
link_down_client() {
    ip -n "$PREFIX-A1" link set eth0 down
    ip -n "$PREFIX-A1" link set eth0 up
    ip -n "$PREFIX-A1" route replace default via 192.168.0.1
}
link_down_gateway() {
    ip -n "$PREFIX-Y" link set wan down
    ip -n "$PREFIX-Y" link set wan up
    ip -n "$PREFIX-Y" route replace default via 203.0.113.254
}
other_mtu() {
    mtu 1280
    all_go_on "the MTU being 1280"
    mtu 1500
}
# A machine that has no time for natttd: its queues fill.
freeze_client() { freeze A1; }
freeze_gateway() { freeze Y; }
freeze() {
    kill -STOP "${PID[$1-natttd]}"
    wait_for 10 "packets for natttd on $1" waiting "$1"
    kill -CONT "${PID[$1-natttd]}"
}
waiting() { on "$1" awk '{ packets += $3 } END { exit packets < 20 }' /proc/net/netfilter/nfnetlink_queue; }
name_server_again() {
    stop N named
    start N named "$RUN/named/named" -g -4 -n 1 -c "$RUN/named/named.conf"
}
forged() {
    local port
    for port in $(outer_ports | shuf -n 3 --random-source=<(yes)); do
        on M "$PYTHON" "$PEERS/forge.py" fuzz 203.0.113.1:100 "198.51.100.20:$port" 192.168.0.2 127.0.0.1 300 $RANDOM
    done
    on M "$PYTHON" "$PEERS/forge.py" fuzz 198.51.100.20:4003 203.0.113.1:100 192.168.0.2 192.168.0.2 500 $RANDOM
}
outer_ports() {
    on A1 ss -Huanp | grep "pid=${PID[A1-natttd]}," | awk '{ print $4 }' | grep -oE '[0-9]+$'
}
HAPPENINGS=(kill_client kill_gateway stop_client stop_gateway reload_client reload_gateway
    flush_filter_client flush_raw_gateway forget_client forget_nat
    lose_packets link_down_client link_down_gateway other_mtu freeze_client freeze_gateway
    name_server_again forged)

# ---- what must hold ------------------------------------------------------------------------------

came() { awk -v kind="$1" '$1 == kind { print $2 }' "$RUN/progress"; }
further() { (($(came "$1") > $2)); }
# all_go_on WHAT: traffic of every kind gets on.
all_go_on() {
    local kind
    declare -A before
    for kind in $KINDS; do before[$kind]=$(came "$kind"); done
    for kind in $KINDS; do
        wait_for 30 "$kind after $1" further "$kind" "${before[$kind]}"
    done
}
KINDS="down up short udp ports ping names"

# Packets on the Internet that belong in a tunnel.
leaked() { cat "$RUN"/R-tcpdump-*.log | grep -c ' IP ' || true; }
broken() { grep -cE ' (down|up) failed' "$(log A1 traffic)" || true; }
no_wrong_octets() {
    refused "wrong octets after $1" grep -h WRONG "$(log A1 traffic)" "$(log B server4000)"
}

happen() {
    local leaks broken
    leaks=$(leaked)
    broken=$(broken)
    "$1"
    all_go_on "$1"
    no_wrong_octets "$1"
    same "$broken" "$(broken)" "transfers that broke after $1"
    same "$leaks" "$(leaked)" "packets past the tunnel after $1"
}

# ---- the test ------------------------------------------------------------------------------------

fig2
host M 203.0.113.66/24 203.0.113.254 R gw
for name in A1 X Y B; do
    start "$name" server4000 "$PYTHON" "$PEERS/traffic.py" serve "$name"
    wait_for 10 "the server on $name" grep -q ready "$(log "$name" server4000)"
done
gateway_config Y
echo 'mtu = 1500' >>"$RUN/Y.toml"
start_natttd Y
client_config A1
printf 'keepalive_s = 2\nmtu = 1500\n' >>"$RUN/A1.toml"
start_natttd A1
inside='(src net 192.168.0.0/16 or dst net 192.168.0.0/16 or net 127.0.0.0/8)'
for hub in pub gw; do
    capture R "$hub" "ip and ($inside or (host 203.0.113.1 and (tcp or (udp and not port 100)) and ip[6:2] & 0x1fff = 0)) and not host 203.0.113.66"
done

start A1 traffic "$PYTHON" "$PEERS/traffic.py" run b.example B "$RUN/progress"
wait_for 10 "traffic" test -s "$RUN/progress"
all_go_on "the start"
descriptors=$(ls "/proc/${PID[Y-natttd]}/fd" | wc -l)

echo "seed ${SEED:-1}"
for ((number = 0; number < EVENTS; number++)); do
    # All of them happen once before any happens again.
    ((${#left[@]} > 0)) || left=("${HAPPENINGS[@]}")
    chosen=$((RANDOM % ${#left[@]}))
    echo "${left[chosen]}"
    happen "${left[chosen]}"
    left=("${left[@]:0:chosen}" "${left[@]:chosen + 1}")
done

stop A1 traffic
no_wrong_octets "all"
grep ' done ' "$(log A1 traffic)"
# Nobody else was asked for B, whatever was missing.
for name in A1 X Y; do
    refused "what $name's own server was asked" grep -v ready "$(log "$name" server4000)"
done
for name in A1 Y; do
    state "$name" loaded || fail "the rules on $name are not loaded"
    (($(wc -l <"$(log "$name" natttd)") < 40)) || fail "natttd on $name said too much"
done
(($(ls "/proc/${PID[Y-natttd]}/fd" | wc -l) <= descriptors + 8)) || fail "descriptors of natttd on Y grow"
