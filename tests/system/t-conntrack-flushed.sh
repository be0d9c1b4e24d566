#!/bin/bash
# When somebody empties the client's conntrack table, the next keepalive marks the outer connection
# again: late answers arrive although the application says nothing meanwhile.
. "$(dirname "$0")/lib.sh"
type conntrack >/dev/null || skip "no conntrack"

# marked: A's outer connections that carry the mark.
marked() {
    on A conntrack -L -p udp --orig-port-dst 100 2>/dev/null | grep -v 'mark=0 '
}

fig1
nattt_gateway Y
client_config A
echo 'keepalive_s = 1' >>"$RUN/A.toml"
start_natttd A

ask A b.example 7 "delay 5 late" >"$RUN/late" &
asking=$!
wait_for 10 "the marked connection" marked
on A conntrack -F 2>/dev/null
wait_for 10 "the mark after a keepalive" marked
wait "$asking"
matches 'late' "$(<"$RUN/late")" "B's late answer"
