#!/bin/bash
# A daemon with both roles does not serve those outside who send UDP to the tunnel port of a *pool*
# address, which is as local to the kernel as the gateway's own.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y2
{
    daemon_config Y
    printf '%s\n' '[client]' 'pool = "198.18.0.0/15"' 'serve = ["lan"]' \
        '[gateway]' 'outside = ["wan"]' 'exports = ["192.168.0.0/24"]'
} >"$RUN/Y.toml"
start_natttd Y
# Y's own user lets tunnels of its LAN out; here also what comes from outside and is not established,
# as many routers without a default-drop FORWARD do.
on Y nft add rule ip site forward iifname wan oifname wan accept

address=$(lookup B c.example | tail -n 1)
matches '^198\.1[89]\.' "$address" "the address of c.example at B"
ip -n "$PREFIX-R" route add 198.18.0.0/15 via 203.0.113.1
capture R gw 'udp port 100'

before=$(counter Y client_encapsulated)
refused "port 100 of the pool from outside" ask R "$address" 100 "from outside" --timeout 2
same "$before" "$(counter Y client_encapsulated)" "packets of an outside host that entered a tunnel"
