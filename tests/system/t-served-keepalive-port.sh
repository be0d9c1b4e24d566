#!/bin/bash
# A served host's flow is kept alive, also if a socket of the router has the same port at the wildcard
# address: a WireGuard or SIP server's, or one of natttd's own outer ports.
. "$(dirname "$0")/lib.sh"

fig2
nattt_gateway Y
client_config X
printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\nkeepalive_s = 1\n' >>"$RUN/X.toml"
start_natttd X
lookup A1 b.example >/dev/null
on X sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 net.netfilter.nf_conntrack_udp_timeout_stream=3
start X server "$PYTHON" -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 51820)); print("ready", flush=True); time.sleep(600)'
wait_for 10 "a server on X" grep -q ready "$(log X server)"
matches '^B saw 198\.51\.100\.20:[0-9]+: delay 8 late$' \
    "$(ask A1 b.example 7 'delay 8 late' --source-port 51821)" "an answer after 8 s, from port 51821"
matches '^B saw 198\.51\.100\.20:[0-9]+: delay 8 late$' \
    "$(ask A1 b.example 7 'delay 8 late' --source-port 51820)" "an answer after 8 s, from port 51820"
