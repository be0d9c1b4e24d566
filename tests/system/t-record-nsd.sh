#!/bin/bash
# NSD serves what `nattt record make` prints.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"
needs nsd

node N
with_name 'a\.b\;\"c.example'
zone_file nsd >"$RUN/example.zone"
cat >"$RUN/nsd.conf" <<CONF
server:
    ip-address: 127.0.0.1
    username: ""
    zonesdir: "$RUN"
    database: ""
    pidfile: ""
    zonelistfile: "$RUN/zone.list"
    xfrdfile: "$RUN/xfrd.state"
    xfrdir: "$RUN"
remote-control:
    control-enable: no
zone:
    name: example
    zonefile: example.zone
CONF
start N nsd nsd -d -c "$RUN/nsd.conf"
served N 127.0.0.1
