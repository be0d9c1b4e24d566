#!/bin/bash
# 65,536 mapped addresses, the most by default: they are read back and fill nft's sets, also those of
# a table loaded anew; half of them end, and leave the sets and the file. The rules are nft's without
# `queue`, which some kernels lack: natttd calls them damaged and fills their sets all the same.
. "$(dirname "$0")/lib.sh"

FLAVOUR=nft
node A
client_config A
echo 'quarantine_s = 20' >>"$RUN/A.toml"
state=$RUN/A-state/mappings.json
mkdir -p "$RUN/A-state"
"$PYTHON" - >"$state" <<'PY'
import time
hour = int(time.time() + 3600) * 1000
entries = (f'{{"address":"127.65.{n // 256}.{n % 256}","paths":["20.0.{n // 256}.{n % 256} '
           f'192.168.0.2"],"names":[],"expires_ms":{hour * (n % 2)},"last_used_ms":0}}'
           for n in range(65536))
print('{"version":1,"mappings":[', ',\n'.join(entries), ']}')
PY

load() { "$BIN/nattt" rules print --config "$RUN/A.toml" --flavour nft | sed '/queue/d' | on A nft -f -; }
elements() {
    on A nft -j list set inet nattt "$1" | jq '[.nftables[].set // empty | .elem // [] | length] | add'
}
filled() { [ "$(elements mapped)" = "$1" ] && [ "$(elements gateways)" = "$1" ]; }
saved() { [ "$(jq '.mappings | length' "$state")" = "$1" ]; }

load
start A natttd "$BIN/natttd" --config "$RUN/A.toml"
wait_for 30 "natttd on A" control A status
same 65536 "$(control A mappings --json | jq '.mappings | length')" "mappings read back"
wait_for 60 "every mapping in the sets" filled 65536
load
wait_for 60 "every mapping in the sets of the new table" filled 65536
wait_for 60 "half of them in the sets" filled 32768
wait_for 60 "half of them in the file" saved 32768
refused "a warning about the sets" grep filling "$(log A natttd)"

stop A natttd
same 0 "$STATUS" "exit status of natttd"
saved 32768
