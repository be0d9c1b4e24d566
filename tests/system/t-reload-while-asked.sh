#!/bin/bash
# A reload while natttd makes long answers for `nattt`: 65,536 mapped addresses, and a client that asks
# for all of them without a pause. No packet waits for such an answer.
. "$(dirname "$0")/lib.sh"

reload() { on A "$BIN/nattt" --socket "$RUN/A.sock" reload --config "$RUN/A.toml"; }

node A N
ip -n "$PREFIX-A" link add eth0 type veth peer name eth0 netns "$PREFIX-N"
ip -n "$PREFIX-A" address add 198.51.100.10/24 dev eth0
ip -n "$PREFIX-A" link set eth0 up
client_config A
mkdir -p "$RUN/A-state"
"$PYTHON" - >"$RUN/A-state/mappings.json" <<'PY'
import time
hour = int(time.time() + 3600) * 1000
entries = (f'{{"address":"127.65.{n // 256}.{n % 256}","paths":["20.0.{n // 256}.{n % 256} '
           f'192.168.0.2"],"names":[],"expires_ms":{hour},"last_used_ms":0}}'
           for n in range(65536))
print('{"version":1,"mappings":[', ',\n'.join(entries), ']}')
PY
start_natttd A

# How long each whole answer takes, in milliseconds.
start A asking "$PYTHON" -c 'import socket, sys, time
def asked():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        sock.sendall(b"{\"version\":1,\"request\":\"mappings\"}\n")
        return sock.makefile("rb").readline()
while True:
    start = time.monotonic()
    try:
        answer = asked()
    except ConnectionError:
        continue
    if len(answer) > 65536 and answer.endswith(b"\n"):
        print(round(1000 * (time.monotonic() - start)), flush=True)' "$RUN/A.sock"
answers() { grep -c . "$(log A asking)" || true; }
for seconds in 5 6 7 8; do
    before=$(answers)
    another() { (($(answers) > before)); }
    wait_for 60 "another answer" another
    sed -i "/^keepalive_s/d; s/^\[client\]/&\nkeepalive_s = $seconds/" "$RUN/A.toml"
    reload
done
waited=$(grep -o 'packets waited [0-9]*' "$(log A natttd)" | grep -o '[0-9]*' | sort -n | xargs)
took=$(sort -n "$(log A asking)" | xargs)
# middle NUMBER...: of numbers in order. On a busy machine single ones say little.
middle() { echo "$@" | awk '{ print $(int((NF + 1) / 2)) }'; }
(("$(middle $waited)" * 2 < "$(middle $took)")) || fail "packets waited $waited ms, answers took $took ms"
