#!/bin/bash
# Figure 3: B is behind two NATTT boxes. Each peels one level and knows nothing of the other.
#
#   A 198.51.100.10 --- R --- Y 203.0.113.1 | 10.0.0.1 --- T 10.0.0.9 | 192.168.0.1 --- B 192.168.0.2
. "$(dirname "$0")/lib.sh"

internet
host A 198.51.100.10/24 198.51.100.1 R pub
nat_box Y 203.0.113.1 203.0.113.254 gw
box_behind Y T
host B 192.168.0.2/24 192.168.0.1 T lan
serve B
accept_tunnelled Y
capture T wan 'udp port 100'
# As docs/setups.md says: of the network around T the tunnel port of T is enough.
{
    daemon_config Y
    printf '%s\n' '[gateway]' 'outside = ["wan"]' \
        'exports = [{ prefix = "10.0.0.9", protocol = "udp", ports = [100] }]'
} >"$RUN/Y.toml"
start_natttd Y
nattt_gateway T
nattt_client A

answer_every_protocol B Y T
every_protocol A deep.example 198.51.100.10
wait_for 5 "the second level at T" seen T wan '198\.51\.100\.10\.[0-9]+ > 10\.0\.0\.9\.100: UDP'
