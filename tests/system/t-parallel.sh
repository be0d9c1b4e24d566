#!/bin/bash
# Two hundred curls at once; each is a connection of its own at B.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A

# In one network namespace entry: starting `ip netns exec` 200 times would pace them.
on A bash -c 'seq 200 | xargs -P 200 -I@ curl -sS --max-time 120 http://b.example/whoami' >"$RUN/seen"
same 200 "$(grep -c '^198\.51\.100\.10:' "$RUN/seen")" "answers"
same 200 "$(sort -u "$RUN/seen" | wc -l)" "different sources at B"
