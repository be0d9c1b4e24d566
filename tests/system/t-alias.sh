#!/bin/bash
# A CNAME is followed to the name that has the NAT record; both names get one mapped address.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
nattt_client A

matches '^b\.example\.' "$(lookup A alias.example)" "the CNAME in the reply"
same "$(mapped A b.example)" "$(mapped A alias.example)" "the address behind the alias"
same "This is B." "$(fetch A alias.example/)" "the page"
