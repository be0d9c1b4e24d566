#!/bin/bash
# A system that boots with the package installed, and with a firewall of its own that begins by
# flushing everything. Started by tests/package.sh.

set -uo pipefail
. /out/lib.sh

check "natttd runs" eventually systemctl is-active nattt
check "the rules are loaded" rules_loaded
check "natttd knows them" eventually status_says loaded
check "nftables.service was before" earlier nftables.service nattt-rules.service
check "the network comes after" earlier nattt-rules.service network-pre.target
check "early demux is off" [ "$(cat /proc/sys/net/ipv4/udp_early_demux)" = 0 ]
check "no unit of ours failed" not grep nattt <(systemctl --failed --plain --no-legend)
exit "$failed"
