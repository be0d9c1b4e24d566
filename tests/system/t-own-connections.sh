#!/bin/bash
# Exported hosts' own connections are theirs, also behind a gateway that translates none of their addresses: a
# stranger who speaks through the tunnel as the other end changes nothing for them.
. "$(dirname "$0")/lib.sh"

# decapsulated: Y has taken the forged packet for B out of its tunnel.
decapsulated() { (($(counter Y gateway_decapsulated) > 0)); }

fig1
on Y nft flush chain ip site postrouting
on R ip route add 192.168.0.0/24 via 203.0.113.1
nattt_gateway Y

matches '^W saw 192\.168\.0\.2:40000: one$' "$(ask B 198.51.100.80 7007 one --source-port 40000)" "W's answer"
on R "$PYTHON" "$PEERS/forge.py" udp 198.51.100.80:7007 203.0.113.1:100 10.0.0.1:5000 192.168.0.2:40000 forged
wait_for 10 "the forged packet" decapsulated
matches '^W saw 192\.168\.0\.2:40000: two$' "$(ask B 198.51.100.80 7007 two --source-port 40000)" "W's next answer"
