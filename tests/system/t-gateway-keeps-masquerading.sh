#!/bin/bash
# Y goes on masquerading its LAN while it serves the tunnel, B's own connections included.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A

same "This is B." "$(fetch A b.example/)" "the tunnel"
ask A b.example 7 'delay 2 held' >"$RUN/held.log" &
for host in B C; do
    matches '^203\.0\.113\.1:' "$(fetch "$host" www.example/whoami)" "$host as W sees it"
    matches '^W saw 203\.0\.113\.1:' "$(ask "$host" www.example 7 hello)" "$host by UDP"
    matches ' 1 received' "$(on "$host" ping -n -c 1 -W 5 www.example)" "$host by ICMP"
done
wait $!
matches '^B saw 198\.51\.100\.10:[0-9]+: delay 2 held$' "$(cat "$RUN/held.log")" "the tunnel meanwhile"

# B to the very port of A's that its tunnel flow uses: a connection of its own, masqueraded.
queued=$(queued Y)
fetch B www.example/ >/dev/null
same "$queued" "$(queued Y)" "packets queued for B's own connection"
