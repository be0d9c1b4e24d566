#!/bin/bash
# Review: with `serve`, the gateway's rule that queues replies spares what leaves to served interfaces. If
# the way to a client leads there (asymmetric or changed routing), B's answers leave unencapsulated, from
# its private address. Without `serve` they do not: the rule knows no interface.
. "$(dirname "$0")/lib.sh"

fig1
{
    daemon_config Y
    [ -n "${WITHOUT_SERVE:-}" ] || printf '%s\n' '[client]' 'pool = "198.18.0.0/15"' 'serve = ["lan"]'
    printf '%s\n' '[gateway]' 'outside = ["wan"]' 'exports = ["192.168.0.0/24"]'
} >"$RUN/Y.toml"
start_natttd Y
nattt_client A
matches '^B saw' "$(ask A b.example 7 hello --source-port 4000)" "UDP"
capture C eth0 'dst 198.51.100.10'
on Y sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan.rp_filter=0
ip -n "$PREFIX-Y" route add 198.51.100.10 via 192.168.0.3 dev lan
PATIENCE=2 fetch A b.example/ || true
sleep 0.5
leaked=$(seen C eth0 '192\.168\.0\.2\.80 > 198\.51\.100\.10' || true)
seen C eth0 'IP' || true
same "" "$leaked" "answers that left unencapsulated"
