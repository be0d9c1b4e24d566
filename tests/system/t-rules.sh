#!/bin/bash
# The rules alone, on a real kernel, without the daemon: see rules.sh.
. "$(dirname "$0")/lib.sh"

NATTT=$BIN/nattt bash "$TESTS/system/rules.sh" "$FLAVOUR"
