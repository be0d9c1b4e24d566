#!/bin/bash
# vm.sh run tests/vm/rules.sh: the shipped rules and those of both roles on a stock kernel, where
# nft has its `queue` statement.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
failed=0 count=0

check() { # DESCRIPTION COMMAND...
  local what=$1 said; shift; count=$((count + 1))
  if said=$("$@" 2>&1); then echo "ok $count - shipped: $what"
  else echo "not ok $count - shipped: $what"; sed 's/^/#  /' <<<"$said"; failed=1; fi
}
shows() { grep -qF -- "$1" <<<"$(nft list table inet nattt)"; }
not() { ! "$@"; }

nft add table ip mine
nft add chain ip mine forward '{ type filter hook forward priority 0; policy drop; }'
foreign=$(nft list table ip mine)
check "rules.nft loads" nft -f "$root/nft-rules/rules.nft"
once=$(nft -s list ruleset)
check "rules.nft loads again" nft -f "$root/nft-rules/rules.nft"
check "a second load changes nothing" [ "$once" = "$(nft -s list ruleset)" ]
check "a foreign table is left alone" [ "$foreign" = "$(nft list table ip mine)" ]
for chain in client_output client_unmapped client_mark client_input config_; do
  check "chain $chain is there" shows "chain $chain"
done
check "the pool is queued, one queue a flow, without bypass" shows "queue to symhash mod 4 offset 26800"
check "DNS is queued with bypass" shows "queue flags bypass to 26816"
check "so are errors about tunnel packets" shows "queue flags bypass to 26800"
check "answers to first packets are copied" grep -qF "dup to 127.0.0.1" <(nft list table ip nattt)
check "nothing else has a bypass" [ "$(nft list table inet nattt | grep -c bypass)" = 2 ]
nft add element inet nattt mapped '{ 127.64.0.1 }'
nft add element inet nattt gateways '{ 203.0.113.1 . 100 }'
check "the sets can be filled" shows "203.0.113.1 . 100"
check "a broken text is refused" not nft -f - <<<"$(cat "$root/nft-rules/rules.nft"; echo 'add rule inet nattt none drop')"
check "and leaves the old table, sets filled" shows "203.0.113.1 . 100"
nft flush ruleset

for flavour in nft iptables; do
  "$root/tests/system/rules.sh" $flavour || failed=1
done
exit $failed
