#!/bin/bash
# B behind Y and B2 behind Y2 are both 192.168.0.2; A tells them apart.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_gateway Y2
nattt_client A

[ "$(mapped A b.example)" != "$(mapped A c.example)" ] || fail "one address for two hosts"
same "This is B." "$(fetch A b.example/)" "b.example"
same "This is B2." "$(fetch A c.example/)" "c.example"

# The same application port towards both at once.
ask A b.example 7 'delay 1 one' --source-port 3456 >"$RUN/b.log" &
matches '^B2 saw ' "$(ask A c.example 7 two)" "c.example by UDP"
wait $!
matches '^B saw ' "$(cat "$RUN/b.log")" "b.example by UDP"
