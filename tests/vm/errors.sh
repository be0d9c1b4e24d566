#!/bin/bash
# vm.sh run tests/vm/errors.sh: what a host's own kernel answers to first packets, with nft's rules on a stock
# kernel: nft's `dup`, the table of family ip.
export FLAVOUR=nft SLOW=8 PATIENCE=60
exec bash "$(cd "$(dirname "$0")/../system" && pwd)/t-first-packet-errors.sh"
