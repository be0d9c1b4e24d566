#!/bin/bash
# After a clean stop and a change of the pool, the old one does not stay unreachable: it may be somebody's
# network. `nattt rules remove` takes away whatever pool there is.
. "$(dirname "$0")/lib.sh"

fig1
nattt_gateway Y
client_config A
cp "$RUN/A.toml" "$RUN/A.without"
echo 'pool = "10.64.0.0/16"' >>"$RUN/A.toml"
start_natttd A
stop A natttd
# "That is our VPN's": the user takes another one.
{ cat "$RUN/A.without"; echo 'pool = "198.18.0.0/15"'; } >"$RUN/A.toml"
start_natttd A
ip -n "$PREFIX-A" route add 10.0.0.0/8 via 198.51.100.1
old_routes() { on A ip route show table local | grep '10\.64\.0\.0/16' || true; }
same "" "$(old_routes)" "the route of the old pool"
stop A natttd
rules A remove
same "" "$(on A ip route show table local proto 100)" "routes of pools"
