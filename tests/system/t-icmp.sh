#!/bin/bash
# ICMP echo through the tunnel, in both figures, two at once.
. "$(dirname "$0")/lib.sh"

fig2
capture B eth0 icmp
nattt_gateway Y
nattt_client A A1

address=$(mapped A b.example)
for node in A A1; do
    matches ' 3 received' "$(on "$node" ping -n -c 3 -i 0.2 -W 5 b.example)" "echoes at $node"
done
matches "bytes from $address" "$(on A ping -n -c 1 -W 5 b.example)" "who answers"
wait_for 5 "A's echo at B" seen B eth0 '198\.51\.100\.10 > 192\.168\.0\.2: ICMP echo request'
wait_for 5 "X's echo at B" seen B eth0 '198\.51\.100\.20 > 192\.168\.0\.2: ICMP echo request'

# Two processes whose identifiers differ get their own answers.
on A ping -n -c 5 -i 0.2 -W 5 b.example >"$RUN/first.log" &
matches ' 5 received' "$(on A ping -n -c 5 -i 0.2 -W 5 b.example)" "echoes of the second ping"
wait $!
matches ' 5 received' "$(cat "$RUN/first.log")" "echoes of the first ping"
