#!/bin/bash
# Knot DNS serves what `nattt record make` prints.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"
needs knotd

node N
with_name 'a\.b\;\"c.example'
mkdir "$RUN/knot"
zone_file knot >"$RUN/knot/example.zone"
cat >"$RUN/knot/knot.conf" <<CONF
server:
    rundir: "$RUN/knot"
    listen: 127.0.0.1@53
database:
    storage: "$RUN/knot"
log:
  - target: stderr
    any: info
zone:
  - domain: example
    storage: "$RUN/knot"
    file: example.zone
CONF
start N knot knotd -c "$RUN/knot/knot.conf"
served N 127.0.0.1
