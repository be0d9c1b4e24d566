#!/bin/bash
# Installs what building and testing need on a bare Debian 12, if it is missing. Needs root.
#
#   tests/setup.sh build    only what building, `make deb` and `make apt-repo` need
#   tests/setup.sh demo     the same, and what `make demo` needs

set -euo pipefail
cd "$(dirname "$0")/.."

BUILDING="gcc libc6-dev pkg-config make libmnl-dev libnftnl-dev
    nftables iptables iproute2 python3 xz-utils ca-certificates
    debhelper dpkg-dev apt-utils gpg gpg-agent"
SHOWING="procps bind9 bind9-dnsutils curl iputils-ping tcpdump jq"
TESTING="conntrack ethtool kmod
    dnsmasq-base knot nsd pdns-server pdns-backend-bind unbound
    netcat-openbsd socat iperf3
    openssl openssh-server openssh-client rsync git nghttp2-server sip-tester
    ufw firewalld docker.io fail2ban
    samba smbclient python3-libtorrent python3-websockets mtr-tiny traceroute
    prometheus chromium golang-go openjdk-17-jdk-headless musl-tools dbus-daemon
    caddy libnfs-utils nfs-ganesha nfs-ganesha-vfs rpcbind
    qemu-system-x86 busybox-static cpio
    lintian debootstrap systemd"
# Too old in Debian 12 itself; its security archive has newer ones for building browsers.
RUST="cargo-web rustc-web rustfmt-web"
# Services that packages would start at every boot, where this script installs them.
declare -A SERVICES=([bind9]=named [caddy]=caddy [docker.io]="docker.socket docker containerd"
    [fail2ban]=fail2ban [firewalld]=firewalld [knot]=knot [nfs-ganesha]="nfs-ganesha nfs-ganesha-lock"
    [nsd]=nsd [openssh-server]=ssh [pdns-server]=pdns [prometheus]=prometheus
    [rpcbind]="rpcbind.service rpcbind.socket" [rsync]=rsync [samba]="smbd nmbd samba-ad-dc" [ufw]=ufw
    [unbound]=unbound)

main() {
    local wanted missing
    case "${1:-all}" in
        build) wanted=$BUILDING ;;
        demo) wanted="$BUILDING $SHOWING" ;;
        all) wanted="$BUILDING $SHOWING $TESTING" ;;
        *) echo "setup: build or demo, not $1" >&2 && exit 2 ;;
    esac
    missing=$(missing_of $wanted)
    tests/cargo.sh >/dev/null 2>&1 || missing="$missing $(missing_of $RUST)"
    # The Debian package is built by Debian's own toolchain, whatever else is here.
    dpkg-checkbuilddeps >/dev/null 2>&1 || missing="$missing $(missing_of $RUST)"
    if [ -n "${missing// /}" ]; then
        install_quietly $missing
    fi
    tests/cargo.sh >/dev/null
    [ "${1:-all}" != all ] || for_tests_only
}

for_tests_only() {
    unpack systemd-resolved resolved/lib/systemd/systemd-resolved
    cargo_deny
}

# The licences of crates are looked at by a crate that Debian has no package of.
cargo_deny() {
    [ ! -x target/tools/bin/cargo-deny ] || return 0
    echo "setup: building cargo-deny"
    "$(tests/cargo.sh)" install -q --locked --root target/tools cargo-deny@^0.20 ||
        echo "setup: cargo-deny cannot be built; its check is skipped"
}

# unpack PACKAGE FILE: into target, where a package would take over the machine if it were installed:
# systemd-resolved replaces /etc/resolv.conf.
unpack() {
    local into=target/${2%%/*} download
    [ ! -x "target/$2" ] || return 0
    download=$(mktemp -d)
    chmod 755 "$download"
    if (cd "$download" && apt-get -q download "$1" >/dev/null 2>&1); then
        mkdir -p "$into"
        dpkg -x "$download"/*.deb "$into"
    else
        echo "setup: $1 cannot be downloaded; tests that need it are skipped"
    fi
    rm -rf "$download"
}

missing_of() {
    comm -23 <(printf '%s\n' "$@" | sort) \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
            awk '$1 == "installed" { print $2 }' | sort) | xargs
}

install_quietly() {
    [ "$(id -u)" = 0 ] || { echo "setup: run as root to install: $*" >&2; exit 1; }
    echo "setup: installing $*"
    hold_services
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q install -y --no-install-recommends "$@"
    disable_services "$@"
}

# A policy-rc.d that answers 101 keeps packages from starting their services (Debian policy).
hold_services() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
}

disable_services() {
    [ -d /run/systemd/system ] || return 0
    local package
    for package in "$@"; do
        [ -z "${SERVICES[$package]:-}" ] || systemctl disable --now ${SERVICES[$package]}
    done
}

main "$@"
