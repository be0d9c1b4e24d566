#!/bin/bash
# BIND serves what `nattt record make` prints, and a client gets through by the published name.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"

fig1
stop N named
with_name 'a\.b\;\"c.example'
zone_file bind | bind N 198.51.100.53 'zone "example" { type primary; file "example.zone"; };'
served N 198.51.100.53
nattt_gateway Y
nattt_client A
same "This is B." "$(fetch A b.example/)" "the page"
same "203.0.113.1:100 192.168.0.2" "$(on A "$BIN/nattt" record lookup b.example --json | paths)" \
    "lookup by way of resolv.conf"

# A whole zone file is read back, too; and nsupdate takes its lines.
same "$(printf '%s\n' "${PATHS[@]}" | tr '|' '\n' | sort)" \
    "$(record decode --json <"$RUN/bind/example.zone" 2>/dev/null | paths)" "the zone file"
