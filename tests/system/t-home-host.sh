#!/bin/bash
# Figure 5: the router Y knows no tunnels; it forwards UDP port 100 to T, an ordinary host of the
# LAN with one interface, whose LAN's default router is Y, not T. T serves B, and itself.
#
#                    UDP 100 -> T              +-- B .2
#   A --- R --- Y 203.0.113.1 | 192.168.0.1 ---+-- C .3
#                                              +-- T .9 (gateway)
. "$(dirname "$0")/lib.sh"

# t_config EXPORTS [LINE]: T's configuration.
t_config() {
    {
        daemon_config T
        printf '%s\n' '[gateway]' 'outside = ["eth0"]' 'hairpin = ["eth0"]' "exports = $1" "${2:-}"
    } >"$RUN/T.toml"
}

fig1
host T 192.168.0.9/24 192.168.0.1 Y lan
serve T
# Settings of others, which must stay: a hardened one, and another program's bridge.
ip -n "$PREFIX-T" link add br7 type bridge
on T sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.send_redirects=1 \
    net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.br7.forwarding=1
settings() {
    on T sysctl net.ipv4.ip_forward net.ipv4.conf.{all.accept_redirects,br7.forwarding,eth0.forwarding}
}
before=$(settings)
on Y nft add rule ip site prerouting iifname wan udp dport 100 dnat to 192.168.0.9
capture B eth0 'icmp[icmptype] == icmp-redirect'
nattt_client A

# A host does not forward: the daemon says so, and how to change it.
t_config '["192.168.0.0/24", "192.168.0.9"]'
start_natttd T
wait_for 5 "the advice about forwarding" grep -q 'sysctl -w net/ipv4/conf/eth0/forwarding=1' "$(log T natttd)"
matches 'conf/eth0/forwarding' "$(control T status)" "status"
same "This is T." "$(fetch A home.example/)" "T's own service needs no forwarding"
matches '^198\.51\.100\.10:' "$(fetch A home.example/whoami)" "A as T sees it"
stop T natttd
same "$before" "$(settings)" "settings that nobody asked to change"

# It sets it where it is told to, and puts it back.
t_config '["192.168.0.0/24", "192.168.0.9"]' 'enable_forwarding = true'
start_natttd T
same 1 "$(on T sysctl -n net.ipv4.conf.eth0.forwarding)" "forwarding while natttd runs"
answer_every_protocol B T
MASQUERADED=1 every_protocol A b.example 192.168.0.9
same "This is T." "$(fetch A home.example/)" "T's own service"
head -c 3000000 /dev/urandom >"$RUN/big"
same "$(sha256sum <"$RUN/big")" "$(fetch A b.example/big | sha256sum)" "3 MB from B"
same "" "$(seen B eth0 redirect || true)" "ICMP redirects that would lead B past T"
# Probed from outside and from inside, which Y cannot lead back in.
matches 'NAT box 1 .* ms  takes tunnel packets' "$(control A trace b.example -p tcp/80)" "T in a trace"
matches 'NAT box 1 .* ms  takes tunnel packets' "$(control A trace home.example -p tcp/80)" "T itself in a trace"
refused "a probe from inside" control C probe b.example -p tcp/80
matches 'nobody takes tunnel packets on its UDP port 100.*without NAT loopback' "$OUTPUT" "why C cannot"
# Only to exports, never out to the Internet again.
refused "out again through T" fetch A relay.example/ --max-time 3
stop T natttd
same "$before" "$(settings)" "settings after the end"
