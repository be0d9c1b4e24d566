#!/bin/bash
# A1 and B are behind the same gateway, which both have as their router: the name leads A1 to Y's
# outside address and back into its own LAN.
#
#   R --- Y 203.0.113.1 | 192.168.0.1 ---+-- B  .2
#         (gateway)                      +-- A1 .7 (client)
. "$(dirname "$0")/lib.sh"

fig1
host A1 192.168.0.7/24 192.168.0.1 Y lan
capture A1 eth0 'icmp[icmptype] == icmp-redirect'
nattt_client A A1
gateway_config Y
echo 'hairpin = ["lan"]' >>"$RUN/Y.toml"
start_natttd Y

answer_every_protocol B Y
MASQUERADED=1 every_protocol A1 b.example 192.168.0.1
refused "a closed UDP port in the same LAN" ask A1 b.example 9 hello --timeout 15
same ECONNREFUSED "$OUTPUT" "what a closed UDP port in the same LAN reports"
# The kernel sends none about what it translates.
same "" "$(seen A1 eth0 redirect || true)" "ICMP redirects that would lead A1 past Y"

# Clients outside are served as before, with their own address.
matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it"

# An inside address from outside is still refused.
before=$(counter Y gateway_bad_outer_source)
on R "$PYTHON" "$PEERS/forge.py" udp 192.168.0.7:5000 203.0.113.1:100 10.0.0.1:5000 192.168.0.2:7 hello
forged() { more "$before" "$(counter Y gateway_bad_outer_source)"; }
wait_for 5 "the forged packet to be counted" forged
