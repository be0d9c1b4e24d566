#!/bin/bash
# vendor.sh DIRECTORY: puts the crates of Cargo.lock there, for builds without a network.
#
# Cargo wants every crate of Cargo.lock to be there. Those that are not part of the binaries on
# Linux (for tests, for other systems; some hold prebuilt libraries) become empty ones.

set -euo pipefail
cd "$(dirname "$0")/.."
CARGO=${CARGO:-$(tests/cargo.sh)}
. packaging/crates.sh
directory=$1

main() {
    local crate
    rm -rf "$directory"
    "$CARGO" vendor --quiet --locked --versioned-dirs "$directory" >/dev/null
    comm -23 <(ls "$directory" | sort) <(crates | cut -d' ' -f1 | sort) |
        while read -r crate; do
            empty "$directory/$crate"
        done
    without_objects
}

# empty CRATE: its manifest stays, without the checksums of the files that go.
empty() {
    local manifest sum
    manifest=$(cat "$1/Cargo.toml")
    sum=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["package"])' \
        "$1/.cargo-checksum.json")
    rm -rf "$1"
    mkdir -p "$1/src"
    printf '%s\n' "$manifest" >"$1/Cargo.toml"
    : >"$1/src/lib.rs"
    printf '{"files":{},"package":"%s"}\n' "$sum" >"$1/.cargo-checksum.json"
}

# without_objects: drops what crates bring compiled for Windows (ring does, beside the sources). Cargo
# must not miss it.
without_objects() {
    find "$directory" -name '*.o' -print -delete | python3 -c '
import json, pathlib, sys
for line in sys.stdin:
    crate, file = pathlib.Path(line.strip()).relative_to(sys.argv[1]).as_posix().split("/", 1)
    sums = pathlib.Path(sys.argv[1], crate, ".cargo-checksum.json")
    known = json.loads(sums.read_text())
    del known["files"][file]
    sums.write_text(json.dumps(known))
' "$directory"
}

main
