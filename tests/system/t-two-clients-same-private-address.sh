#!/bin/bash
# A1 behind X and A2 behind X2 are both 192.168.0.2 and use the same port at the same time.
. "$(dirname "$0")/lib.sh"

fig2
nattt_gateway Y
nattt_client A1 A2

# Both requests are under way together, because B answers only after a second.
ask A1 b.example 7 'delay 1 one' --source-port 3456 >"$RUN/one.log" &
one=$!
ask A2 b.example 7 'delay 1 two' --source-port 3456 >"$RUN/two.log" &
two=$!
wait "$one"
wait "$two"
matches '^B saw 198\.51\.100\.20:[0-9]+: delay 1 one$' "$(cat "$RUN/one.log")" "answer at A1"
matches '^B saw 198\.51\.100\.21:[0-9]+: delay 1 two$' "$(cat "$RUN/two.log")" "answer at A2"

matches '^198\.51\.100\.20:' "$(fetch A1 b.example/whoami --local-port 3457)" "A1 by TCP"
matches '^198\.51\.100\.21:' "$(fetch A2 b.example/whoami --local-port 3457)" "A2 by TCP"
