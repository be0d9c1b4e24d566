#!/bin/bash
# The log: a flood of what is refused does not become a flood of lines, and no name and no address of
# others stands in it but at level debug.
. "$(dirname "$0")/lib.sh"

NAMES='example|192\.168\.|198\.51\.100\.|203\.0\.113\.|127\.(6[4-9]|[7-9][0-9]|1[0-9]{2})\.'

# told NODE: what natttd there said above level debug, without the time.
told() { grep -vE '^\[[^ ]+ (DEBUG|TRACE) ' "$(log "$1" natttd)"; }

# flood NODE CODE [ARGUMENT...]: a Python program on that node that goes on until `until`.
flood() {
    on "$1" "$PYTHON" -c "import socket, struct, sys, time
until = time.monotonic() + 5
$2" "${@:3}"
}

# Connections to addresses that stand for no host, and datagrams to one that does, from many ports.
applications() {
    flood A '
while time.monotonic() < until:
    for port in range(1, 400):
        sock = socket.socket()
        sock.connect_ex(("127.99.%d.%d" % (port % 250, port % 200 + 1), port))
        sock.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try: sock.sendto(b"x", (sys.argv[1], port))
            except OSError: pass' "$1"
}

# Questions for names with a record that is refused, that find the table full, and that have none.
questions() {
    flood A '
name = lambda text: b"".join(bytes([len(l)]) + l.encode() for l in text.split(".")) + b"\0"
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setblocking(False)
number = 0
while time.monotonic() < until:
    number += 1
    one = ("hostile", "c", "twice", "nothing")[number % 4]
    query = struct.pack("!HHHHHH", number % 65536, 0x100, 1, 0, 0, 0) + name(one + ".example") + b"\0\1\0\1"
    sock.sendto(query, ("198.51.100.53", 53))
    time.sleep(0.0005)'
}

# Tunnel packets from outside: damaged ones, to hosts that are not exported, from impossible sources.
tunnels() {
    local forge="$PYTHON $PEERS/forge.py fuzz"
    on M $forge 203.0.113.66:4003 203.0.113.1:100 10.1.1.1 192.168.0.2 20000
    on M $forge 192.168.0.9:4003 203.0.113.1:100 10.1.1.1 192.168.0.2 2000
    on M $forge 203.0.113.66:4003 203.0.113.1:100 10.1.1.1 192.168.0.99 2000
}

fig1
# On Y's own segment, where no router drops impossible sources first.
host M 203.0.113.66/24 203.0.113.254 R gw
cat >>"$RUN/named/example.zone" <<'ZONE'
; A path that nobody believes: its first box is a loopback address.
hostile     TYPE65324 \# 10 7F0000010064C0A80002
ZONE
stop N named
rm -f "$RUN"/named/*.jnl
start N named "$RUN/named/named" -g -4 -n 1 -c "$RUN/named/named.conf"
wait_for 20 "the DNS server" on N dig +time=1 +tries=1 @198.51.100.53 hostile.example TYPE65324
export RUST_LOG=debug
gateway_config Y 192.168.0.2
printf 'max_flows_per_source = 2\n' >>"$RUN/Y.toml"
start_natttd Y
client_config A
printf 'max_mappings = 1\nmax_ports = 4\n' >>"$RUN/A.toml"
start_natttd A
address=$(mapped A b.example)
same "This is B." "$(fetch A b.example/)" "the page"

applications "$address" &
floods=$!
questions &
floods="$floods $!"
tunnels
wait $floods

# It was a flood, and it was refused.
more 2000 "$(counter A client_unmapped)" "client_unmapped"
more 1000 "$(counter A client_no_port)" "client_no_port"
more 100 "$(counter A mappings_full)" "mappings_full"
more 0 "$(counter A dns_refused_record)" "dns_refused_record"
more 1000 "$(counter Y malformed)" "malformed"
more 100 "$(counter Y gateway_bad_outer_source)" "gateway_bad_outer_source"
more 100 "$(counter Y gateway_not_exported)" "gateway_not_exported"
more 0 "$(counter Y gateway_source_full)" "gateway_source_full"

# An administrator hears of it, in a few lines without anybody's name or address.
for node in A Y; do
    told "$node" >"$RUN/told-$node"
    (($(wc -l <"$RUN/told-$node") < 12)) || fail "natttd on $node said too much: $(cat "$RUN/told-$node")"
    refused "names and addresses in $node's log" grep -E "$NAMES" "$RUN/told-$node"
done
grep -q 'counter client_no_port' "$RUN/told-A" || fail "A was not told of client_no_port"
grep -q 'counter gateway_source_full' "$RUN/told-Y" || fail "Y was not told of gateway_source_full"
# What this test looks for can be found: level debug names names.
grep -qE "^\[[^ ]+ DEBUG nattt.*($NAMES)" "$(log A natttd)" || fail "no name at level debug"
echo "ok - $(cat "$RUN"/told-* | wc -l) lines"
