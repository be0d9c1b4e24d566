#!/bin/bash
# Three clients behind one legacy NAT X, all with the same source port, while X keeps ports, changes
# them, gives every destination another one, forgets UDP within seconds, or forgets a connection that stands.
#
#   A1 192.168.0.2 --+
#   A3 192.168.0.3 --+-- X 198.51.100.20 --- R --+-- Y  203.0.113.1 --- B
#   A4 192.168.0.4 --+                           +-- Y2 203.0.113.2 --- B2
. "$(dirname "$0")/lib.sh"

CLIENTS="A1 A3 A4"
PORT=34000

# x_masquerades HOW: X's NAT from now on, with its old flows forgotten.
x_masquerades() {
    on X nft flush chain ip site postrouting
    on X nft add rule ip site postrouting oifname wan udp dport 0-65535 masquerade $1
    on X nft add rule ip site postrouting oifname wan masquerade
    on X conntrack -F 2>/dev/null
}

# all KIND: every client talks to both gateways, from the same port of its own, at the same time.
all() {
    local client pids=() pid
    PORT=$((PORT + 10))
    for client in $CLIENTS; do
        talk_from "$client" >"$RUN/talk-$client" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || fail "$1: a client: $(cat "$RUN"/talk-*)"; done
    for client in $CLIENTS; do
        same "4" "$(grep -c -E '^B2? saw 198\.51\.100\.20:[0-9]+: .*'"$client\$" "$RUN/talk-$client")" \
            "$1: answers to $client"
    done
    with_ports A1 b.example 198.51.100.20
    # Whoever X and Y made look the same must have been told apart: three clients, three ports.
    same 3 "$(cat "$RUN"/talk-* | grep -E '^B saw .*tcp' | cut -d' ' -f3 | sort -u | wc -l)" \
        "$1: clients as B sees them"
}

talk_from() {
    local host port=$PORT
    for host in b.example c.example; do
        on "$1" "$PYTHON" "$PEERS/talk.py" --source-port $((port++)) "$host" 7 "tcp $1"
        ask "$1" "$host" 7 "udp $1" --source-port 33000
    done
}

fig2
answer_every_protocol B X Y
host A3 192.168.0.3/24 192.168.0.1 X lan
host A4 192.168.0.4/24 192.168.0.1 X lan
nattt_gateway Y
nattt_gateway Y2
for name in $CLIENTS; do
    client_config "$name"
    echo 'keepalive_s = 1' >>"$RUN/$name.toml"
    start_natttd "$name"
done

all "X keeps ports where it can"
x_masquerades random
all "X gives random ports"
x_masquerades fully-random
all "X is symmetric"
x_masquerades 'to :20000-20099'
all "X has a hundred ports for all"

# X forgets UDP after 3 s; nothing is said for 8 s, and then B speaks first, or the client.
x_masquerades ''
on X sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 net.netfilter.nf_conntrack_udp_timeout_stream=3
said=$(on A1 "$PYTHON" "$PEERS/talk.py" b.example 7 one 'delay 8 two' 'quiet 8' three)
matches 'saw 198\.51\.100\.20:[0-9]+: one.*: delay 8 two.*: three$' "${said//$'\n'/ }" "a silent connection"
same 1 "$(grep -oE '198\.51\.100\.20:[0-9]+' <<<"$said" | sort -u | wc -l)" "ports of X that it used"
matches ': delay 8 late$' "$(ask A1 b.example 7 'delay 8 late')" "a late UDP answer"

# X gives a connection that stands another port: to Y and B that is another client, and B resets it.
mkfifo "$RUN/go"
on A1 bash -c 'exec 3<>/dev/tcp/b.example/7
    echo one >&3; read -r -t 30 line <&3; echo "$line"
    read -r _ <"$0"
    echo two >&3; read -r -t 30 line <&3; echo "$line"' "$RUN/go" >"$RUN/moved" 2>&1 &
wait_for 10 "an answer to A1" grep -q 'saw .*: one' "$RUN/moved"
x_masquerades 'to :30000-30099'
echo >"$RUN/go"
wait $! || true
matches 'reset by peer' "$(cat "$RUN/moved")" "a connection that X gave another port"
matches 'saw 198\.51\.100\.20:300[0-9][0-9]: again' "$(ask A1 b.example 7 again)" "what begins anew"
