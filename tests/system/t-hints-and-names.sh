#!/bin/bash
# What else DNS says about a mapped name: HTTPS records, whose address hints would lead past the NAT box,
# and the name of a mapped address.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A

# records NODE NAME TYPE: all that the answer holds.
records() { on "$1" dig +short +tries=1 +time=5 "$2" "$3"; }

matches 'ipv4hint=1\.1\.1\.1' "$(records A elsewhere.example HTTPS)" "HTTPS records of a name with an address"
matches 'ipv4hint=192\.168\.0\.2' "$(records A hinted.example HTTPS)" "before anybody asked for the address"
address=$(mapped A hinted.example)
same "" "$(records A hinted.example HTTPS)" "HTTPS records of a mapped name"
matches 'status: NOERROR' "$(on A dig +tries=1 +time=5 hinted.example HTTPS)" "the response code"
matches 'ipv4hint=1\.1\.1\.1' "$(records A elsewhere.example HTTPS)" "others keep theirs"

same hinted.example. "$(on A dig +short +tries=1 +time=5 -x "$address")" "the name of $address"
matches "hinted\.example" "$(on A getent hosts "$address")" "the name of $address by getent"
same "" "$(on A dig +short +tries=1 +time=5 -x 127.64.0.9)" "an address that stands for nothing"
same "" "$(on A dig +short +tries=1 +time=5 -x 192.0.2.1)" "somebody's address"
