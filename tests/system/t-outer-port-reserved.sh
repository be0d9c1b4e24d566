#!/bin/bash
# natttd owns its outer ports: no other process can get one and be handed tunnel packets. (A
# connected UDP socket there would receive them before the INPUT hook, by UDP early demux.)
. "$(dirname "$0")/lib.sh"

owned_ports() {
    on A ss -Huanp | grep "pid=${PID[A-natttd]}," | awk '{ print $4 }' | grep -oE '[0-9]+$'
}

fig1
nattt_gateway Y
nattt_client A
same 0 "$(on A sysctl -n net.ipv4.udp_early_demux)" "net.ipv4.udp_early_demux"

ask A b.example 7 'delay 3 held' >"$RUN/held.log" &
held=$!
wait_for 5 "natttd's outer port" owned_ports
for port in $(owned_ports); do
    for address in 0.0.0.0 198.51.100.10; do
        same EADDRINUSE "$(on A "$PYTHON" "$PEERS/grab.py" "$address" "$port")" "$address:$port"
    done
done
wait "$held"
matches '^B saw .*: delay 3 held$' "$(cat "$RUN/held.log")" "the flow that owns the port"
