#!/bin/bash
# vm.sh run tests/vm/firewalls.sh: nft's rules beside other firewalls on a stock kernel, whose tables no
# foreign reload touches. The tests are those of tests/system, in one boot. ONLY="ufw" picks others
# than the one that `make test` has time for.
set -uo pipefail
system=$(cd "$(dirname "$0")/../system" && pwd)
export FLAVOUR=nft SLOW=8 PATIENCE=60 SHORT=6
failed=0

for name in ${ONLY:-firewalld}; do
    began=$SECONDS status=0
    bash "$system/t-$name.sh" || status=$?
    case $status in
        0) echo "ok - $name ($((SECONDS - began))s)" ;;
        77) echo "skipped - $name" ;;
        *) echo "not ok - $name ($((SECONDS - began))s)"; failed=1 ;;
    esac
done
exit $failed
