#!/bin/bash
# dnsmasq serves what `nattt record make` prints, and a client gets through by the published name:
# for a zone of its own, and for a name beside those of a server that knows no such name.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"
needs dnsmasq

# dnsmasq_with LINE: dnsmasq on N.
dnsmasq_with() {
    {
        printf '%s\n' no-resolv no-hosts bind-interfaces listen-address=198.51.100.53 local-ttl=60
        echo "$1"
        made dnsmasq
    } >"$RUN/dnsmasq.conf"
    start N dnsmasq dnsmasq --keep-in-foreground --log-facility=- --conf-file="$RUN/dnsmasq.conf" \
        --pid-file= --user=root
}

fig1
stop N named
dnsmasq_with local=/example/
served N 198.51.100.53
nattt_gateway Y
nattt_client A
same "This is B." "$(fetch A b.example/)" "the page"
refused "an odd name" record make 'a\.b.example' 203.0.113.1 192.168.0.2 --format dnsmasq
same "$(printf '%s\n' "${PATHS[@]}" | tr '|' '\n' | sort)" \
    "$(record decode --json <"$RUN/dnsmasq.conf" 2>/dev/null | paths)" "the whole configuration"

stop N dnsmasq
printf '@ 60 SOA ns h 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n' |
    bind N 127.0.0.1 'zone "." { type primary; file "example.zone"; };'
dnsmasq_with server=127.0.0.1
served N 198.51.100.53
same "This is B." "$(fetch A b.example/)" "the page, by way of another server"
