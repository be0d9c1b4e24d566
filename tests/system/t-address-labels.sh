#!/bin/bash
# Y's further addresses carry labels, as old tools want them: they still belong to their interfaces.
#
#   M 203.0.113.66 --- 203.0.113.1, .3 (wan:1), .4 (wan4) Y 192.168.0.1 ----------- B  .2
#                                                           192.168.7.1 (lan:1) --- A1 .7
. "$(dirname "$0")/lib.sh"

fig1
host M 203.0.113.66/24 203.0.113.254 R gw
label() { on Y ip address add "$1" dev "$2" label "$3"; }
label 203.0.113.3/24 wan wan:1
label 203.0.113.4/24 wan wan4
label 192.168.7.1/24 lan lan:1
host A1 192.168.7.7/24 192.168.7.1 Y lan

nattt_client M A1
gateway_config Y
echo 'hairpin = ["lan"]' >>"$RUN/Y.toml"
start_natttd Y

same "This is B." "$(fetch M b.example/)" "the page outside, in the network of labelled addresses"
same "This is B." "$(fetch A1 b.example/)" "the page inside, in the network of a labelled address"
