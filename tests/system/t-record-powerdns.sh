#!/bin/bash
# PowerDNS serves what `nattt record make` prints.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"
needs pdns_server

node N
# It loads names with ; or " in them, but does not find them again.
with_name 'a\.b\@c.example'
mkdir "$RUN/pdns"
zone_file powerdns >"$RUN/pdns/example.zone"
echo "zone \"example\" { type master; file \"$RUN/pdns/example.zone\"; };" >"$RUN/pdns/named.conf"
start N pdns pdns_server --config-dir="$RUN/pdns" --socket-dir="$RUN/pdns" --daemon=no --guardian=no \
    --launch=bind --bind-config="$RUN/pdns/named.conf" --local-address=127.0.0.1 --write-pid=no
served N 127.0.0.1
