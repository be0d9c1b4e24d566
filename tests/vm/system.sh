#!/bin/bash
# vm.sh run tests/vm/system.sh: tests of tests/system with nft's rules on a stock kernel, in one boot: those
# beside other firewalls, and of places that the rules of the two languages fill in different ways. ONLY="ufw" picks
# some; run.sh says which `make test` has time for.
set -uo pipefail
system=$(cd "$(dirname "$0")/../system" && pwd)
export FLAVOUR=nft SLOW=8 PATIENCE=60 SHORT=6 DOCKER=replayed
failed=0 skipped=""

for name in ${ONLY:-ufw firewalld iptables-rules docker fail2ban both-roles-own-hosts measured-mtu}; do
    began=$SECONDS status=0
    bash "$system/t-$name.sh" || status=$?
    case $status in
        0) echo "ok - $name ($((SECONDS - began))s)" ;;
        77) skipped+=" $name" ;;
        *) echo "not ok - $name ($((SECONDS - began))s)"; failed=1 ;;
    esac
done
[ $failed = 0 ] && [ -n "$skipped" ] && echo "skip: without$skipped" && exit 77
exit $failed
