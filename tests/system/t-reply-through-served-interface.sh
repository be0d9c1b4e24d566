#!/bin/bash
# The way to a client leads through an interface of `serve`, by a route that somebody changed. B's answers
# are encapsulated there as anywhere else, and never leave from its private address.
. "$(dirname "$0")/lib.sh"

fig1
{
    daemon_config Y
    printf '%s\n' '[client]' 'pool = "198.18.0.0/15"' 'serve = ["lan"]'
    printf '%s\n' '[gateway]' 'outside = ["wan"]' 'exports = ["192.168.0.0/24"]'
} >"$RUN/Y.toml"
start_natttd Y
nattt_client A
matches '^B saw' "$(ask A b.example 7 hello --source-port 4000)" "UDP"
capture C eth0 'dst 198.51.100.10'
on Y sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan.rp_filter=0
ip -n "$PREFIX-Y" route add 198.51.100.10 via 192.168.0.3 dev lan
PATIENCE=2 fetch A b.example/ || true
wait_for 10 "B's answer at C" seen C eth0 '203\.0\.113\.1\.100 > 198\.51\.100\.10'
refused "an answer outside the tunnel" seen C eth0 '192\.168\.0\.2\.80 > 198\.51\.100\.10'
