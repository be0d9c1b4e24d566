#!/bin/bash
# deb.sh: makes the Debian package, source and binary, in target/deb.
#
# What is built is the source package: the tree as it is (nattt_V.orig.tar.xz), the crates
# (nattt_V.orig-vendor.tar.xz) and debian/. Compiled crates are kept for the next time.

set -euo pipefail
cd "$(dirname "$0")/.."
OUT=$PWD/target/deb
VERSION=$(dpkg-parsechangelog -S Version)
UPSTREAM=${VERSION%-*}
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)
export SOURCE_DATE_EPOCH

main() {
    grep -qx "version = \"$UPSTREAM\"" Cargo.toml || die "debian/changelog and Cargo.toml: different versions"
    mkdir -p "$OUT"
    rm -rf "$OUT"/nattt?* "$OUT/vendor"
    packaging/vendor.sh "$OUT/vendor"
    pack orig-vendor -C "$OUT" vendor
    pack orig --exclude=./debian --exclude=./target --exclude=./.git --transform="s,^\.,nattt-$UPSTREAM," .
    unpack
    cd "$OUT/nattt-$UPSTREAM"
    CARGO_TARGET_DIR=$OUT/compiled DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-} \
        dpkg-buildpackage --unsigned-source --unsigned-changes "$@"
    echo "deb: $(ls "$OUT"/nattt_"$VERSION"_*.deb)"
}

# pack COMPONENT ARGUMENT...: a tarball that depends on nothing but its content.
pack() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u+rw,go+r-w -c "${@:2}" | xz -T0 -3 >"$OUT/nattt_$UPSTREAM.$1.tar.xz"
}

unpack() {
    # With new times: cargo must not take a changed file for one that it has compiled.
    tar -C "$OUT" --touch -xf "$OUT/nattt_$UPSTREAM.orig.tar.xz"
    mv "$OUT/vendor" "$OUT/nattt-$UPSTREAM/vendor"
    cp -a debian "$OUT/nattt-$UPSTREAM/debian"
}

die() {
    echo "deb: $*" >&2
    exit 1
}

main "$@"
