#!/bin/bash
# package.sh: builds the Debian package as `make deb` does, and tests it: what it holds, install,
# upgrade, remove and purge in a throw-away root, and then in a booted system (tests/package/booted.sh).
# Needs root. KEEP=1 leaves the throw-away root.

set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/crates.sh
CARGO=${CARGO:-$(tests/cargo.sh)}
# A minimal Debian, kept for the next time.
BASE=/var/tmp/nattt-package/base
WORK=$(mktemp -d /var/tmp/nattt-package-XXXX)
ROOT=$WORK/root
OUT=$WORK/out
trap end EXIT

main() {
    copyright_names_all_crates
    packaging/deb.sh
    packaging/apt-repo.sh
    step "the source package builds without a network"
    lintian --fail-on error,warning target/deb/nattt_*.changes
    step "lintian has no errors or warnings"
    sandbox 1.7
    step "the unit is sandboxed"
    base
    mkdir "$OUT"
    chmod 755 "$WORK" "$OUT"
    newer target/deb/nattt_*_*.deb "$OUT/newer.deb"
    in_a_root target/deb/nattt_*_*.deb
    tests/vm/vm.sh setup
    cp -r target/apt tests/package/* "$OUT"
    booted
    boots_with_it target/deb/nattt_*_*.deb
}

step() { echo "ok - $*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# ---- steps ---------------------------------------------------------------------------------------

copyright_names_all_crates() {
    local missing
    missing=$(comm -23 <(crates | cut -d' ' -f1 | sort) \
        <(grep -o 'vendor/[^/]*' debian/copyright | cut -d/ -f2 | sort))
    [ -z "$missing" ] ||
        fail "debian/copyright lacks ${missing//$'\n'/ }: packaging/copyright.py says how to make it anew"
    step "debian/copyright names every crate"
}

# sandbox EXPOSURE: at most so much, as systemd counts it.
sandbox() {
    local found
    found=$(systemd-analyze security --offline=yes --no-pager packaging/systemd/nattt.service |
        sed -n 's/.*Overall exposure level for nattt.service: \([0-9.]*\).*/\1/p')
    echo "exposure $found"
    awk -v found="$found" -v most="$1" 'BEGIN { exit !(found != "" && found <= most) }' ||
        fail "exposure $found, at most $1 is wanted"
}

base() {
    [ ! -e "$BASE/made" ] || return 0
    rm -rf "$BASE"
    mkdir -p "$BASE"
    # What the package depends on, so that nothing else need be fetched.
    debootstrap --variant=minbase \
        --include=systemd-sysv,nftables,iptables,iproute2,libmnl0,libnftnl11 \
        bookworm "$BASE" "$(mirror)" >"$WORK/debootstrap.log" ||
        fail "debootstrap: $(tail -n 3 "$WORK/debootstrap.log")"
    touch "$BASE/made"
}

# Where this machine's apt gets the release from.
mirror() {
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "bookworm" { sub("/$", "", $2); print $2; exit }'
}

# newer PACKAGE NEW: the same, with a higher version and another conffile.
newer() {
    dpkg-deb -R "$1" "$WORK/newer"
    sed -i 's/^Version: .*/&+1/' "$WORK/newer/DEBIAN/control"
    echo "# A new line." >>"$WORK/newer/etc/nattt/nattt.toml"
    dpkg-deb --root-owner-group -b "$WORK/newer" "$2" >/dev/null
}

in_a_root() { # PACKAGE
    cp -a "$BASE" "$ROOT"
    cp "$1" "$ROOT/tmp/nattt.deb"
    cp "$OUT/newer.deb" "$ROOT/tmp"
    files >"$WORK/before"
    in_root dpkg -i /tmp/nattt.deb
    in_root natttd --check
    in_root nattt rules print | cmp - "$ROOT/etc/nattt/rules.nft"
    in_root dpkg --verify nattt
    [ -n "$(in_root getent group nattt)" ] || fail "no group nattt"
    [ "$(in_root dpkg-query -W -f '${Conffiles}' nattt | awk '{ print $1 }')" = /etc/nattt/nattt.toml ] ||
        fail "conffiles"
    man_pages
    completions
    documents
    step "install in a root of its own"
    echo "# The administrator's line." >>"$ROOT/etc/nattt/nattt.toml"
    in_root dpkg -i --force-confold /tmp/newer.deb
    grep -q "administrator" "$ROOT/etc/nattt/nattt.toml" || fail "an upgrade lost the configuration"
    step "upgrade"
    in_root dpkg -r nattt
    grep -q "administrator" "$ROOT/etc/nattt/nattt.toml" || fail "removing took the configuration"
    [ ! -e "$ROOT/usr/sbin/natttd" ] || fail "removing left natttd"
    in_root dpkg -P nattt
    files >"$WORK/after"
    diff "$WORK/before" "$WORK/after" || fail "purge left something, or took too much"
    step "remove and purge leave nothing"
}

man_pages() {
    local page
    for page in man1/nattt.1 man5/nattt.toml.5 man7/nattt-record.7 man8/natttd.8; do
        [ -e "$ROOT/usr/share/man/$page.gz" ] || fail "no $page"
    done
}

completions() {
    local file
    for file in bash-completion/completions/nattt zsh/vendor-completions/_nattt fish/vendor_completions.d/nattt.fish; do
        [ -s "$ROOT/usr/share/$file" ] || fail "no $file"
    done
}

# Every relative link in a document leads to a file.
documents() {
    local documents=$ROOT/usr/share/doc/nattt file link
    [ -e "$documents/README.md" ] || fail "no README.md"
    while IFS=: read -r file link; do
        link=${link#*(}
        link=${link%)}
        link=${link%%#*}
        case $link in '' | *:*) continue ;; esac
        [ -e "$(dirname "$file")/$link" ] || fail "${file#"$documents/"}: a link leads nowhere: $link"
    done < <(grep -roE '\]\([^)]*\)' --include='*.md' "$documents")
}

booted() {
    boot "$BASE" booted
    step "the package in a booted system"
}

boots_with_it() { # PACKAGE
    cp "$1" "$ROOT/tmp/nattt.deb"
    in_root dpkg -i /tmp/nattt.deb
    in_root systemctl enable nftables
    boot "$ROOT" boot
    step "a system boots with it"
}

# boot ROOT SCRIPT
boot() {
    VM_OUT=$OUT VM_ROOT=$1 VM_BOOT=1 VM_TIMEOUT=900 tests/vm/vm.sh run bash "/out/$2.sh"
}

# ---- tools ---------------------------------------------------------------------------------------

in_root() { unshare --net chroot "$ROOT" env LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

# Every file with its mode and owner, but for what dpkg and systemd keep for themselves: logs and
# caches, backups, and the user nattt, who may own files elsewhere.
files() {
    (cd "$ROOT" && find . -xdev \( -path ./tmp -o -path ./var/log -o -path ./var/cache \
        -o -path ./var/lib/dpkg -o -path './etc/*-' -o -path ./etc/.pwd.lock \) -prune \
        -o -printf '%p %m %U:%G %y\n') | sort
}

end() {
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}

main
