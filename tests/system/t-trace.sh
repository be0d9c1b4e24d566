#!/bin/bash
# `nattt probe`, `trace` and `ping` find out how far one gets, as an ordinary user, with and without
# natttd on the host they run on; every cause that they can tell is produced.
#
#   A 198.51.100.10 ------------- R --- Y 203.0.113.1 | 10.0.0.1 --- T 10.0.0.9 | 192.168.0.1 --- B
#   A1 192.168.0.2 --- X .20 -----+
. "$(dirname "$0")/lib.sh"

# as_user NODE ARGUMENT...: `nattt` as nobody; what it says in SAID, its exit status in STATUS.
as_user() {
    STATUS=0
    SAID=$(on "$1" setpriv --reuid 65534 --regid 65534 --clear-groups \
        "$RUN/nattt" --socket "$RUN/$1.sock" "${@:2}" 2>&1) || STATUS=$?
}

# ends STATUS PATTERN WHAT: how the last one ended, and what it said.
ends() {
    matches "$2" "$SAID" "$3"
    same "$1" "$STATUS" "exit status: $3"
}

# expect NODE STATUS PATTERN WHAT ARGUMENT...: the same beside others, for what takes its time.
expect() {
    (as_user "$1" "${@:5}" && ends "$2" "$3" "$4") &
    WAITING+=($!)
}

settled() {
    local job
    for job in "${WAITING[@]}"; do
        wait "$job" || fail "see above"
    done
    WAITING=()
}
WAITING=()

internet
host A 198.51.100.10/24 198.51.100.1 R pub
workstation_firewall A
nat_box X 198.51.100.20 198.51.100.1 pub
host A1 192.168.0.2/24 192.168.0.1 X lan
two_gateways
# Where nobody can enter, nobody can run it.
chmod 711 "$RUN"
install -m 755 "$BIN/nattt" "$RUN/nattt"
path=(203.0.113.1 10.0.0.9 192.168.0.2)

# All is well: without natttd here, and behind a NAT that knows nothing.
for name in A A1; do
    as_user "$name" trace deep.example -p ping,tcp/80,tcp/81,udp/7,udp/9
    ends 0 'NAT box 1  203\.0\.113\.1:100 .* ms  takes tunnel packets' "box 1 from $name"
    ends 0 'NAT box 2  10\.0\.0\.9:100 .* ms  takes tunnel packets' "box 2 from $name"
    ends 0 'ping .* ms  answers.*tcp/80 .* ms  open.*tcp/81 .* ms  closed.*udp/7 .* ms  answers.*udp/9 .* ms  closed' \
        "the host from $name"
    ends 0 'Result: the host 192\.168\.0\.2 is reached\.' "result from $name"
    ends 0 'Note: No natttd listens' "a note about natttd on $name"
done
as_user A --json trace deep.example
same '"reached" "forwards" "forwards" "open" 0.1' "$(jq -c '.paths[0] |
    .conclusion.result, .levels[].state, (.kinds[] | select(.kind == "tcp/80").host), 0.1' <<<"$SAID" |
    tr '\n' ' ' | sed 's/ $//')" "JSON"
as_user A ping -c 3 -i 0.2 deep.example
ends 0 'seq=3 time=[0-9.]+ ms.*3 sent, 3 received, 0% loss.*mdev' "ping"
start A ping "$BIN/nattt" --socket "$RUN/A.sock" ping "${path[@]}"
wait_for 5 "a second reply" grep -q seq=2 "$(log A ping)"
stop A ping INT
same 0 "$STATUS" "status of an interrupted ping"
wait_for 5 "the summary of an interrupted ping" grep -q '0% loss' "$(log A ping)"

# With natttd here nothing of it passes through its queues, and nothing is counted.
nattt_client A
before=$(queued A)
as_user A trace "${path[@]}"
ends 0 'is reached' "beside natttd"
same "$before" "$(queued A)" "packets of a probe in natttd's queues"
control A trace deep.example >"$RUN/said"
same "" "$(grep Note: "$RUN/said" || true)" "notes beside a natttd that is well"
rules A remove
control A trace deep.example >"$RUN/said"
grep -q "Note: natttd's firewall rules" "$RUN/said" || fail "no note about the rules: $(cat "$RUN/said")"
stop A natttd

# Exports of one port: that one is open, what else was tried says why. Nobody on the host's address,
# and in the next box's network; what the first box does not export; no first box, and none there.
stop T natttd
sed -i 's/^exports.*/exports = [{ prefix = "192.168.0.0\/24", protocol = "tcp", ports = [80] }]/' "$RUN/T.toml"
start_natttd T
expect A 0 'tcp/80 .* open.*NAT box 2 said nothing about ping, tcp/22, tcp/443: its `exports`' \
    "one exported port" probe deep.example
expect A 1 'NAT box 1 works, NAT box 2, 10\.0\.0\.9:100, is silent.*exports.* list 192\.168\.0\.2 \(for ping\)' \
    "no exported port" probe deep.example -p ping
expect A 1 'every NAT box works, the host 192\.168\.0\.77 is not reached: 10\.0\.0\.9 reports "host unreachable"' \
    "no host" probe 203.0.113.1 10.0.0.9 192.168.0.77 -p tcp/80
expect A 1 'NAT box 2, 10\.0\.0\.8:100, takes no tunnel packets: 203\.0\.113\.1 reports "host unreachable"' \
    "no second box" probe 203.0.113.1 10.0.0.8 192.168.0.2 -p tcp/80
expect A 1 'NAT box 1, 203\.0\.113\.1:100, is silent.*list 10\.1\.0\.9 \(UDP port 100\).*NAT loopback' \
    "the next box is not exported" probe 203.0.113.1 10.1.0.9 192.168.0.2 -p tcp/80
expect A 1 'no way to NAT box 1, 203\.0\.113\.9: 198\.51\.100\.1 reports "host unreachable"' \
    "no first box" probe 203.0.113.9 192.168.0.2 -p tcp/80
expect A 1 'NAT box 1, 198\.51\.100\.53, is there, but nobody takes tunnel packets on its UDP port 100' \
    "no natttd there" probe 198.51.100.53
expect A 1 'nothing is known about 203\.0\.113\.1:100: silence, and no refusal' \
    "a gateway and no host" probe 203.0.113.1
expect A 1 'Path 203\.0\.113\.1:100 192.*is silent.*Path 203\.0\.113\.3:100 192.*host unreachable' \
    "two paths" trace twice.example -p tcp/80
settled

# The host is silent: T's FORWARD chain or B's own firewall drops what T takes from the tunnel.
on B nft -f - <<<'table ip site { chain input { type filter hook input priority filter; tcp dport 80 drop; }; }'
as_user A trace "${path[@]}" -p tcp/80
ends 1 'tcp/80 .* silent; NAT box 2 lets it in.*every NAT box works, the host 192\.168\.0\.2 is silent.*default router' \
    "a silent host"

# The second box: silent while its daemon is away, and nobody's port without its rules.
stop T natttd
as_user A probe "${path[@]}" -p tcp/80
ends 1 'NAT box 1 works, NAT box 2, 10\.0\.0\.9:100, is silent' "the second box without its daemon"
rules T remove
as_user A probe "${path[@]}" -p tcp/80
ends 1 'NAT box 2, 10\.0\.0\.9:100, takes no tunnel packets: 10\.0\.0\.9 reports "port unreachable"' \
    "the second box without its rules"

# A firewall on the way; what is never sent; wrong usage.
on R nft -f - <<<'table ip site { chain forward { type filter hook forward priority filter; udp dport 100 reject with icmp type admin-prohibited; }; }'
expect A 1 'no way to NAT box 1.*198\.51\.100\.1 reports "prohibited by a firewall"' \
    "a firewall in between" probe "${path[@]}" -p tcp/80
expect A 1 '198\.51\.100\.1 reports "prohibited by a firewall".*1 sent, 0 received, \+1 errors, 100% loss.*nattt trace' \
    "a ping that fails" ping -c 1 "${path[@]}"
expect A 1 'is this host itself' "this host as a box" probe 198.51.100.10 192.168.0.2
expect A 1 'cannot be a NAT box or a host' "loopback as a box" probe 127.0.0.1 192.168.0.2
expect A 1 'it has an address of its own' "an ordinary name" trace www.own.plain
expect A 2 'give one name, or a path' "two names" trace deep.example b.example
expect A 2 'name the host behind it' "a ping to a gateway" ping 203.0.113.1
settled
