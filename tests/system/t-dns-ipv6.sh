#!/bin/bash
# Name servers that are reached over IPv6, by a unique local address and, as routers announce theirs, by a
# link-local one, which means nothing without the interface.
. "$(dirname "$0")/lib.sh"

fig1
for name in A N; do
    on "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0 \
        net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.lo.disable_ipv6=0
done
ip -n "$PREFIX-A" address add fd00::10/64 dev eth0 nodad
ip -n "$PREFIX-N" address add fd00::53/64 dev eth0 nodad
ip -n "$PREFIX-A" address add fe80::10/64 dev eth0 nodad
ip -n "$PREFIX-N" address add fe80::53/64 dev eth0 nodad
sed -i 's/listen-on-v6 { none; }/listen-on-v6 { any; }/; s/listen-on { 198.51.100.53; }/listen-on { none; }/' \
    "$RUN/named/named.conf"
start N named6 "$RUN/named/named" -g -6 -n 1 -c "$RUN/named/named.conf"
nattt_gateway Y
nattt_client A

for server in fd00::53 'fe80::53%eth0'; do
    wait_for 20 "the DNS server at $server" on A dig +time=1 +tries=1 "@$server" example. SOA
    resolver A "$server"
    same "This is B." "$(fetch A b.example/)" "the page, with the name server $server"
    same 198.51.100.80 "$(on A dig +short +tries=1 +time=5 "@$server" www.example A)" "a name with an address"
done
same 0 "$(counter A dns_lookup_failed)" "lookups that failed"
