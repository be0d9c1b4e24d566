#!/bin/bash
# Resolvers that people have between an application and the network, each as its distribution sets it
# up: the application gets the mapped address of b.example, and the real one of elsewhere.example.
#
#   application --- 127.0.0.x:53 resolver --- N 198.51.100.53 (all on A but N)
. "$(dirname "$0")/lib.sh"

RESOLVED=$TESTS/../target/resolved/lib/systemd/systemd-resolved

# works WHAT: what an application sees.
works() {
    same "This is B." "$(fetch A b.example/)" "the page, $1"
    matches '^127\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.' "$(on A getent ahostsv4 b.example)" "getent, $1"
    same 1.1.1.1 "$(lookup A elsewhere.example)" "a name with an address, $1"
    same "" "$(lookup A nothing.example)" "a name with nothing, $1"
    matches 'status: NXDOMAIN' "$(on A dig +tries=1 +time=5 missing.example A)" "a name that is not there, $1"
    # From its cache, too.
    same "$(mapped A b.example)" "$(mapped A b.example)" "b.example once more, $1"
    echo "ok - $1"
}

# through NAME ADDRESS COMMAND...: a resolver of A's, at a loopback address.
through() {
    start A "$1" "${@:3}"
    wait_for 20 "$1" resolves "$2"
    resolver A "$2"
    works "$1"
    [ -z "${ALSO:-}" ] || "$ALSO"
    stop A "$1"
}

resolves() { on A dig +short +time=1 +tries=1 "@$1" elsewhere.example A | grep -qx 1.1.1.1; }

dnsmasq_with() {
    through "$1" 127.0.0.1 dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-hosts \
        --no-resolv --server=198.51.100.53 --listen-address=127.0.0.1 --bind-interfaces --user=root "${@:2}"
}

# dnsmasq as NetworkManager starts it (its command line, caching or not), told its servers by D-Bus.
network_manager() {
    cat >"$RUN/bus.conf" <<XML
<busconfig><type>system</type><listen>unix:path=$RUN/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_type="*"/><allow receive_type="*"/></policy></busconfig>
XML
    local cache service=org.freedesktop.NetworkManager.dnsmasq
    start A bus dbus-daemon --nofork --config-file="$RUN/bus.conf"
    for cache in 400 0; do
        start A servers sh -c "until busctl --address=unix:path=$RUN/bus call $service /uk/org/thekelleys/dnsmasq \
            $service SetServersEx aas 1 1 198.51.100.53; do sleep 0.1; done"
        through "network-manager-$cache" 127.0.0.1 env "DBUS_SYSTEM_BUS_ADDRESS=unix:path=$RUN/bus" dnsmasq \
            --no-resolv --keep-in-foreground --no-hosts --bind-interfaces --pid-file="$RUN/nm-dnsmasq.pid" \
            --listen-address=127.0.0.1 --cache-size="$cache" --clear-on-reload --conf-file=/dev/null \
            --proxy-dnssec --enable-dbus="$service" --conf-dir="$RUN/dnsmasq.d" --user=root
    done
    stop A bus
}

# unbound_with NAME LINE...: lines of its `server` section.
unbound_with() {
    {
        printf '%s\n' server: '  interface: 127.0.0.1' '  username: ""' '  chroot: ""' '  pidfile: ""' \
            "  directory: \"$RUN\"" '  use-syslog: no' '  do-ip6: no' '  do-not-query-localhost: no' "${@:2}"
        printf '%s\n' remote-control: '  control-enable: no' forward-zone: '  name: "."' \
            '  forward-addr: 198.51.100.53'
    } >"$RUN/$1.conf"
    through "$1" 127.0.0.1 unbound -d -c "$RUN/$1.conf"
}

# resolved_with NAME LINE...: systemd-resolved, with /run and /etc/systemd of its own.
resolved_with() {
    mkdir -p "$RUN/etc-$1"
    printf '%s\n' '[Resolve]' DNS=198.51.100.53 'Domains=~.' LLMNR=no MulticastDNS=no "${@:2}" >"$RUN/etc-$1/resolved.conf"
    { cat /etc/passwd; echo 'systemd-resolve:x:65000:65000::/:/bin/false'; } >"$RUN/passwd"
    through "$1" 127.0.0.53 unshare -m sh -c "mount -t tmpfs run /run && mkdir -p /run/systemd/resolve &&
        chown 65000:65000 /run/systemd/resolve && mount --bind '$RUN/etc-$1' /etc/systemd &&
        mount --bind '$RUN/passwd' /etc/passwd && mkdir /run/dnssec-trust-anchors.d &&
        echo example >/run/dnssec-trust-anchors.d/none.negative && exec '$RESOLVED'"
}

# A second server on N, 198.51.100.54, with a zone that it signs itself.
signed_zone() {
    on N ip address add 198.51.100.54/24 dev eth0
    mkdir "$RUN/signed"
    sed 's/\$ORIGIN example\./$ORIGIN signed./' "$TESTS/system/example.zone" >"$RUN/signed/signed.zone"
    named_on N signed 198.51.100.54 \
        'zone "signed" { type primary; file "signed.zone"; dnssec-policy default; inline-signing yes; };'
    wait_for 30 "a signed zone" signature
    on N dig +short @198.51.100.54 signed. DNSKEY | sed 's/^/signed. IN DNSKEY /' >"$RUN/anchor"
}

signature() { on N dig +dnssec +time=1 +tries=1 @198.51.100.54 b.signed A | grep -q RRSIG; }

# The resolver believes only what is signed; the application still gets the address.
validating() {
    unbound_with unbound-validating "  trust-anchor-file: \"$RUN/anchor\"" forward-zone: '  name: "signed"' \
        '  forward-addr: 198.51.100.54'
}

signed_names() {
    matches 'flags: [a-z ]*ad[; ]' "$(on A dig +adflag elsewhere.signed A)" "the resolver validates"
    same "This is B." "$(fetch A b.signed/)" "the page of a name in a signed zone"
    # Who validates for himself is left alone: the answer could not be signed.
    same "" "$(on A dig +short +dnssec b.signed A)" "b.signed for one who validates"
    echo "ok - a signed zone"
}

fig1
nattt_gateway Y
nattt_client A

for name in dnsmasq unbound dbus-daemon busctl; do [ -x "$(command -v "$name")" ] || skip "$name is not installed"; done
[ -x "$RESOLVED" ] || skip "systemd-resolved is not unpacked: tests/setup.sh"
works "plain resolv.conf"
dnsmasq_with dnsmasq
dnsmasq_with dnsmasq-stop-dns-rebind --stop-dns-rebind
mkdir "$RUN/dnsmasq.d"
network_manager
unbound_with unbound
unbound_with unbound-private-address '  private-address: 127.0.0.0/8' '  private-address: 10.0.0.0/8'
resolved_with resolved
resolved_with resolved-allow-downgrade DNSSEC=allow-downgrade
signed_zone
ALSO=signed_names validating
