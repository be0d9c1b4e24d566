#!/bin/bash
# Figure 2: the client A1 and the server B are both 192.168.0.2, and both run the same services.
. "$(dirname "$0")/lib.sh"

fig2
serve A1
nattt_gateway Y
nattt_client A1

same "This is A1." "$(fetch A1 192.168.0.2/)" "A1's own page"
same "This is B." "$(fetch A1 b.example/)" "B's page"
matches '^B saw 198\.51\.100\.20:' "$(ask A1 b.example 7 hello)" "B's answer"
matches ' 1 received' "$(on A1 ping -n -c 1 -W 5 b.example)" "B's echo"
same "This is A1." "$(fetch A1 192.168.0.2/)" "A1's own page afterwards"
