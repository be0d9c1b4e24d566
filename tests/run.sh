#!/bin/bash
# run.sh PART...: runs parts of the tests (quick, system, vm, package), one line each:
#   ok|FAILED|skipped NAME (reason) SECONDS
# and at the end one line that sums up everything, cargo's own tests included:
#   N passed, N failed, N skipped
# Exit status 0 means that nothing failed. ONLY="NAME..." picks system tests.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
CARGO=${CARGO:-$(tests/cargo.sh)}
export CARGO
# Where setup puts what cargo builds.
export PATH="$PWD/target/tools/bin:$PATH"
LOG=$(mktemp /tmp/nattt-log-XXXX)
trap 'rm -f "$LOG"*; kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null' EXIT
passed=0 failed=0 skipped=0

main() {
    local part
    for part in "$@"; do
        "$part"
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0))
}

# ---- parts ---------------------------------------------------------------------------------------

quick() {
    if_installed fmt check "rustfmt" "$CARGO" fmt --check
    if_installed clippy check "clippy" "$CARGO" clippy --all-targets -- -D warnings
    cargo_tests
    check rustdoc env RUSTDOCFLAGS="-D warnings" "$CARGO" doc --no-deps --lib
    if_installed deny check "cargo-deny" "$CARGO" deny check bans licenses sources
}

system() {
    local name
    for name in ${ONLY:-$(names tests/system t-)}; do
        check "$name" timeout -k 30 "${TEST_TIMEOUT:-900}" bash "tests/system/t-$name.sh"
    done
}

# Every script beside vm.sh runs as root in a kernel of its own: Debian 12's, and the newer one it offers. Both
# at once: most of what runs there keeps one processor busy, or waits.
vm() {
    local newer=$LOG.newer
    # A group of its own, so that the end of this script ends it, too.
    set -m
    (
        LOG=$newer.log
        vm_with linux-image-6.12-amd64 "firewalld iptables-rules docker measured-mtu"
        echo complete
    ) >"$newer" 2>&1 &
    set +m
    vm_with "" "ufw fail2ban both-roles-own-hosts"
    wait $!
    grep -vx complete "$newer"
    grep -qx complete "$newer" || {
        echo "FAILED vm-6.12 (ended early)"
        failed=$((failed + 1))
    }
    passed=$((passed + $(grep -c '^ok ' "$newer")))
    failed=$((failed + $(grep -c '^FAILED ' "$newer")))
    skipped=$((skipped + $(grep -c '^skipped ' "$newer")))
}

# vm_with PACKAGE TESTS: a kernel's package, and which of tests/system run there: Python is slow in it, firewalld
# and ufw take minutes. Where the kernel is not to be had, its tests are skipped.
vm_with() {
    local name which=${1#linux-image-}
    which=${which%-amd64}
    check "vm${which:+-$which}-setup" env VM_KERNEL="$1" tests/vm/vm.sh setup
    [ "$outcome" = ok ] || return 0
    for name in $(names tests/vm | grep -vx vm); do
        check "vm${which:+-$which}-$name" env VM_KERNEL="$1" VM_TIMEOUT=1500 VM_ENV="NATTT ONLY" ONLY="$2" \
            NATTT="$PWD/target/release/nattt" tests/vm/vm.sh run "tests/vm/$name.sh"
    done
}

package() {
    check package timeout -k 30 1800 tests/package.sh
}

# names FOLDER [PREFIX]: of the scripts in it.
names() {
    local file
    for file in "$1/${2:-}"*.sh; do
        file=${file##*/}
        file=${file#"${2:-}"}
        echo "${file%.sh}"
    done
}

# ---- one check -----------------------------------------------------------------------------------

# check NAME COMMAND...: runs it, reports it; its output is shown only if it failed.
check() {
    local name=$1 began=$SECONDS status=0
    shift
    "$@" >"$LOG" 2>&1 </dev/null || status=$?
    case $status in
        0) report ok "$name" "" "$began" ;;
        77) report skipped "$name" "$(sed -n 's/^skip: //p' "$LOG" | tail -n 1)" "$began" ;;
        124 | 137) report FAILED "$name" "not finished in time" "$began" && indent ;;
        *) report FAILED "$name" "exit status $status" "$began" && indent ;;
    esac
}

# if_installed SUBCOMMAND check NAME COMMAND...: a check that needs an optional part of cargo.
if_installed() {
    if "$CARGO" "$1" --version >/dev/null 2>&1; then
        "${@:2}"
    else
        report skipped "$3" "cargo $1 is not installed" "$SECONDS"
    fi
}

# cargo's own tests count one by one; a build that fails counts as one failure.
cargo_tests() {
    local began=$SECONDS status=0 tests
    "$CARGO" test --no-fail-fast >"$LOG" 2>&1 </dev/null || status=$?
    tests=$(awk '/^test result:/ { ok += $4; bad += $6; ignored += $8 }
                 END { print ok + 0, bad + 0, ignored + 0 }' "$LOG")
    set -- $tests
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    if ((status == 0)); then
        echo "ok cargo-test ($1 passed, $3 ignored) $((SECONDS - began))s"
    else
        (($2 > 0)) || failed=$((failed + 1))
        echo "FAILED cargo-test ($1 passed, $2 failed) $((SECONDS - began))s"
        indent
    fi
}

report() {
    outcome=$1
    case $1 in
        ok) passed=$((passed + 1)) ;;
        FAILED) failed=$((failed + 1)) ;;
        skipped) skipped=$((skipped + 1)) ;;
    esac
    echo "$1 $2${3:+ ($3)} $((SECONDS - $4))s"
}

indent() {
    tail -n 200 "$LOG" | sed 's/^/    /'
}

main "$@"
