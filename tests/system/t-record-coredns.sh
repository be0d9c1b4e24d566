#!/bin/bash
# CoreDNS serves what `nattt record make` prints. Debian 12 has no package of it.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"
needs coredns

node N
with_name 'a\.b\;\"c.example'
zone_file coredns >"$RUN/example.zone"
printf 'example:53 {\n    bind 127.0.0.1\n    file %s\n    errors\n}\n' "$RUN/example.zone" >"$RUN/Corefile"
start N coredns coredns -conf "$RUN/Corefile"
served N 127.0.0.1
