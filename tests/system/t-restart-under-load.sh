#!/bin/bash
# natttd is killed and started again while packets keep coming: none of them stays in a kernel queue
# without an answer, where it would take a place until the next restart.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A
address=$(mapped A b.example)

# unanswered NODE: packets that the kernel still holds for the daemon.
unanswered() {
    on "$1" awk '{ waiting += $3 } END { print waiting + 0 }' /proc/net/netfilter/nfnetlink_queue
}
settled() { [ "$(unanswered "$1")" = 0 ]; }

# Sends as fast as it can, whatever becomes of it.
flood='
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        sender.sendto(b"flood", (sys.argv[1], 9))
    except OSError:
        pass
'

for round in 1 2 3 4 5 6; do
    start A "flood$round" timeout 60 "$PYTHON" -c "$flood" "$address"
    for node in A Y; do
        stop "$node" natttd KILL
        start_natttd "$node"
    done
    stop A "flood$round" TERM
    for node in A Y; do
        wait_for 5 "every packet on $node to be answered, round $round" settled "$node"
    done
done
same "This is B." "$(fetch A b.example/)" "the page after all restarts"
