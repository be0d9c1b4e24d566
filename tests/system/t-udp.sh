#!/bin/bash
# UDP through the tunnel, from a public client and from one behind a NAT.
. "$(dirname "$0")/lib.sh"

fig2
nattt_gateway Y
nattt_client A A1

matches '^B saw 198\.51\.100\.10:[0-9]+: hello$' "$(ask A b.example 7 hello)" "B's answer to A"
matches '^B saw 198\.51\.100\.20:[0-9]+: hello$' "$(ask A1 b.example 7 hello)" "B's answer to A1"

# The outer port is never one that a socket here has: the application's own UDP port is taken.
refused_port=$(ask A b.example 7 again --source-port 40000)
matches '^B saw 198\.51\.100\.10:[0-9]+: again$' "$refused_port" "from a port of the application's choice"
[[ $refused_port != *:40000:* ]] || fail "natttd uses a port that the application's socket has"

# A datagram that fills the tunnel's path: 1500 - 28 (outer) - 28 (inner headers).
text=$(head -c 1400 /dev/zero | tr '\0' x)
matches ": $text\$" "$(ask A b.example 7 "$text")" "a long datagram"
