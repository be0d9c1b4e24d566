#!/bin/bash
# BIG_MB megabytes (1024 by default) in each direction, compared by SHA-256.
. "$(dirname "$0")/lib.sh"

PATIENCE=600
megabytes=${BIG_MB:-1024}
free=$(df --output=avail -BM "$RUN" | tail -n 1)
((${free//[!0-9]/} > megabytes + 200)) || skip "needs $megabytes MB in $RUN"

fig1
nattt_gateway Y
nattt_client A

# Random, so that nothing on the way can have guessed them.
head -c "${megabytes}M" /dev/urandom >"$RUN/big"
sum=$(sha256sum <"$RUN/big")
sum=${sum%% *}

down=$(fetch A b.example/big | sha256sum)
same "$sum" "${down%% *}" "SHA-256 of the download"
same "$sum" "$(fetch A b.example/ -T "$RUN/big")" "SHA-256 of the upload"
