#!/bin/bash
# Y's FORWARD chain drops by default; the one accept rule of the README lets the tunnel through,
# and nothing else.
. "$(dirname "$0")/lib.sh"

fig1
ip -n "$PREFIX-R" route add 192.168.0.0/24 via 203.0.113.1
nattt_gateway Y
nattt_client A

same "This is B." "$(fetch A b.example/)" "with the rule"
PATIENCE=1 refused "B without a tunnel" fetch W 192.168.0.2/

rule=$(on Y nft -a list chain ip site forward | awk '/ct mark/ { print $NF }')
on Y nft delete rule ip site forward handle "$rule"
PATIENCE=2 refused "the tunnel without the rule" fetch A b.example/

accept_tunnelled Y
same "This is B." "$(fetch A b.example/)" "with the rule again"
