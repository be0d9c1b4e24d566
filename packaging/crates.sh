# To be sourced: which crates the binaries consist of on Linux. Needs $CARGO.

LINUX="x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf
    i686-unknown-linux-gnu powerpc64le-unknown-linux-gnu riscv64gc-unknown-linux-gnu
    s390x-unknown-linux-gnu"

# crates: a line each, `NAME-VERSION LICENCE`, but for our own.
crates() {
    local targets=() target
    for target in $LINUX; do
        targets+=(--target "$target")
    done
    "$CARGO" tree --locked --edges normal,build "${targets[@]}" --prefix none --format '{p}|{l}' |
        sed -n 's/^\([^ ]*\) v\([^ |]*\)[^|]*|\(.*\)$/\1-\2 \3/p' | sed 's/ (\*)$//' |
        grep -v '^nattt-' | sort -u
}
