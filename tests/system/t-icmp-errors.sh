#!/bin/bash
# ICMP errors both ways: of B and of routers behind Y, of A, about the tunnel's own packets.
#
#   A --- R --- Y --- B (192.168.0.2)
#               +---- nobody (192.168.0.99)
# Between R and `notunnel.example` (R itself) or `nobody.example` (203.0.113.99) there is no tunnel.
. "$(dirname "$0")/lib.sh"

fig2
nattt_gateway Y
nattt_client A A1

# udp_fails EXPECTED NODE HOST PORT: a connected UDP socket is told, and long before its patience ends.
udp_fails() {
    refused "UDP to $3:$4 from $2" ask "$2" "$3" "$4" hello --timeout 15
    same "$1" "$OUTPUT" "what UDP to $3:$4 from $2 reports"
}

# B's closed port, from a public client and from one behind a NAT.
udp_fails ECONNREFUSED A b.example 9
udp_fails ECONNREFUSED A1 b.example 9
more 0 "$(counter Y gateway_error_sent)" "errors through the tunnel"
more 0 "$(counter A client_error_delivered)" "errors delivered"

# A host that is not there: Y says so after it has asked for it. (Linux tells TCP only.)
refused "TCP to a host that is not there" fetch A nohost.example/
same 7 "$STATUS" "curl at a host that is not there: could not connect"

# The first box has no tunnel port open, or is not there at all.
udp_fails ECONNREFUSED A notunnel.example 7
udp_fails ECONNREFUSED A1 notunnel.example 7
for node in A A1; do
    for name in notunnel nobody; do
        refused "TCP through no box from $node" fetch "$node" "$name.example/"
        same 7 "$STATUS" "curl at $name.example from $node: could not connect, not timed out"
    done
done
matches 'Destination Port Unreachable' "$(on A ping -n -c 1 -W 5 notunnel.example || true)" "ping"

# The way behind the gateway: Y, then B, whatever traceroute sends.
b=$(mapped A b.example)
for kind in -U -I -T; do
    matches " 1 203\.0\.113\.1 .* 2 $b " \
        "$(on A traceroute -n -q 1 -w 5 -m 4 "$kind" b.example | xargs)" "traceroute $kind"
done

matches "203\.0\.113\.1 .* $b " "$(on A mtr -n -r -c 2 -i 0.2 -m 4 b.example | tail -n 2 | xargs)" "mtr"

# A's closed port: B learns it.
capture B eth0 icmp
on A "$PYTHON" - <<'PY'
import socket
# The second answer finds no socket any more.
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(15)
sock.connect(("b.example", 7))
sock.send(b"hello")
sock.recv(99)
sock.send(b"bye")
sock.close()
PY
wait_for 10 "A's refusal at B" seen B eth0 '198\.51\.100\.10 > 192\.168\.0\.2: ICMP 198\.51\.100\.10 udp port [0-9]+ unreachable'

# A segment behind Y with a smaller MTU than the tunnel assumes: the sender learns it.
ip -n "$PREFIX-Y" link set lan mtu 1300
on A "$PYTHON" - <<'PY'
import errno, socket, time
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
sock.connect(("b.example", 7))
sock.settimeout(15)
sock.send(b"small")
sock.recv(99)
deadline = time.monotonic() + 15
while time.monotonic() < deadline:
    try:
        sock.send(b"x" * 1400)
    except OSError as error:
        assert error.errno == errno.EMSGSIZE, error
        break
assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1300, sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
PY

# An error that quotes no packet of ours ends here.
before=$(counter A icmp_error)
same 0 "$before" "errors dropped so far"
