#!/bin/bash
# M forges tunnel packets towards the gateway and the client. Both go on working, and nothing
# reaches a place it must not reach.
. "$(dirname "$0")/lib.sh"

forge() {
    on M "$PYTHON" "$PEERS/forge.py" "$@"
}

# owned_ports: the outer UDP ports that natttd holds at A.
owned_ports() {
    on A ss -Huanp | grep "pid=${PID[A-natttd]}," | awk '{ print $4 }' | grep -oE '[0-9]+$'
}

fig1
# On Y's own segment, where no router drops impossible sources first.
host M 203.0.113.66/24 203.0.113.254 R gw
serve A Y
nattt_gateway Y
nattt_client A
same "This is B." "$(fetch A b.example/)" "the tunnel before"
daemons="${PID[A-natttd]} ${PID[Y-natttd]}"

# M itself may speak to B through Y, as any client: this proves that the forger's packets are right.
forge udp 203.0.113.66:4000 203.0.113.1:100 10.1.1.1:4000 192.168.0.2:7 lawful
wait_for 5 "M's lawful packet at B" grep -q '^udp 203\.0\.113\.66:4000 lawful' "$(log B server)"

# The gateway: loopback, its own addresses, back out to the Internet, outer sources that cannot be.
for target in 127.0.0.1 192.168.0.1 203.0.113.1 198.51.100.80 255.255.255.255 224.0.0.1; do
    forge udp 203.0.113.66:4001 203.0.113.1:100 10.1.1.1:4001 "$target:7" "to $target"
    forge tcp 203.0.113.66:4001 203.0.113.1:100 10.1.1.1:4001 "$target:80"
done
for source in 127.0.0.1 192.168.0.9 192.168.0.1 224.0.0.1 255.255.255.255; do
    forge udp "$source:4002" 203.0.113.1:100 10.1.1.1:4002 192.168.0.2:7 "from $source"
done

# The client: everything that Y could send to the ports natttd owns, towards services of A's own
# loopback, from the right peer and from a wrong one.
ask A b.example 7 'delay 3 held' >"$RUN/held.log" &
held=$!
wait_for 5 "natttd's outer ports" owned_ports
for port in $(owned_ports); do
    for peer in 203.0.113.1 203.0.113.66; do
        for target in 127.0.0.1 198.51.100.10 "$(mapped A b.example)"; do
            forge udp "$peer:100" "198.51.100.10:$port" 192.168.0.2:7777 "$target:7" "at $target"
            forge tcp "$peer:100" "198.51.100.10:$port" 192.168.0.2:7777 "$target:80"
        done
    done
    forge fuzz 203.0.113.1:100 "198.51.100.10:$port" 192.168.0.2 127.0.0.1 500
done
forge fuzz 203.0.113.66:4003 203.0.113.1:100 10.1.1.1 192.168.0.2 3000

# Both daemons are the same processes, count what they refused, and serve.
wait "$held"
matches ': delay 3 held$' "$(cat "$RUN/held.log")" "an answer that was under way"
kill -0 $daemons
same "This is B." "$(fetch A b.example/)" "the tunnel afterwards"
for name in malformed gateway_bad_outer_source gateway_own_address gateway_not_exported; do
    more 0 "$(counter Y "$name")" "$name at Y"
done
more 0 "$(counter A client_stray_reply)" "client_stray_reply at A"
for node in A Y W; do
    refused "forged requests at $node" grep -E '^(tcp|udp)' "$(log "$node" server)"
done
refused "forged sources at B" grep -E '^udp .* from ' "$(log B server)"
