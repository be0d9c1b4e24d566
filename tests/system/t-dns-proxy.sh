#!/bin/bash
# natttd as a DNS proxy on A's loopback: over UDP and TCP, by itself, and behind the resolvers that people
# point at it; beside the packet filter's captures.
. "$(dirname "$0")/lib.sh"

RESOLVED=$TESTS/../target/resolved/lib/systemd/systemd-resolved

# proxy LINE...: natttd on A with these lines under [client].
proxy() {
    [ -z "${PID[A-natttd]:-}" ] || stop A natttd
    client_config A
    printf '%s\n' "$@" >>"$RUN/A.toml"
    start_natttd A
}

# asked OPTION...: dig, the answers only.
asked() { on A dig +short +tries=1 +time=8 "$@"; }

# is_mapped WHAT ADDRESS
is_mapped() { matches '^127\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.' "$2" "the address of b.example, $1"; }

# works WHAT: what an application sees that asks as /etc/resolv.conf says.
works() {
    same "This is B." "$(fetch A b.example/)" "the page, $1"
    is_mapped "getent, $1" "$(on A getent ahostsv4 b.example)"
    same 1.1.1.1 "$(on A getent ahostsv4 elsewhere.example | awk 'NR == 1 { print $1 }')" "an address, $1"
    refused "a name with nothing, $1" on A getent ahostsv4 nothing.example
    refused "a name that is not there, $1" on A getent ahostsv4 missing.example
    matches 'status: NXDOMAIN' "$(on A dig +tries=1 +time=5 missing.example A)" "a name that is not there, $1"
    echo "ok - $1"
}

# through NAME ADDRESS COMMAND...: another resolver of A's, which sends some names to natttd.
through() {
    start A "$1" "${@:3}"
    wait_for 20 "$1" on A dig +time=1 +tries=1 "@$2" elsewhere.example A
    resolver A "$2"
    works "$1"
    is_mapped "over TCP, $1" "$(asked +tcp b.example)"
    stop A "$1"
}

fig1
nattt_gateway Y

# At a port of its own; it asks the server of resolv.conf.
proxy 'listen = ["127.0.0.1:300", "127.0.0.1:5301"]'
for how in +notcp +tcp; do
    address=$(asked @127.0.0.1 -p 300 $how b.example)
    is_mapped "$how" "$address"
    same "This is B." "$(fetch A "$address/")" "the page behind that address, $how"
    same 1.1.1.1 "$(asked @127.0.0.1 -p 5301 $how elsewhere.example)" "a name with an address, $how"
    same "" "$(asked @127.0.0.1 -p 300 $how nothing.example)" "a name with nothing, $how"
    same b.example. "$(asked @127.0.0.1 -p 300 $how -x "$address")" "the address's name, $how"
    matches 'status: NXDOMAIN' "$(on A dig @127.0.0.1 -p 300 $how missing.example)" "NXDOMAIN, $how"
    same "$address" "$(asked @127.0.0.1 -p 300 $how +dnssec b.example)" "one who validates, $how"
    same "" "$(asked @127.0.0.1 -p 300 $how hinted.example HTTPS | grep -v alpn)" "hints, $how"
done
echo "ok - by itself"

# Nobody else may ask, whatever is translated to it.
refused "a question from N" on N dig +tries=1 +time=1 @198.51.100.10 -p 300 elsewhere.example
on A sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1
on A nft -f - <<'NFT'
table ip open {
    chain prerouting {
        type nat hook prerouting priority dstnat
        meta l4proto { tcp, udp } th dport 300 counter dnat to 127.0.0.1:300
    }
    chain input {
        type filter hook input priority -10
        th dport 300 counter accept
    }
}
NFT
on A nft insert rule ip site input meta l4proto '{ tcp, udp }' th dport 300 accept
for how in +notcp +tcp; do
    refused "a question from N that is translated, $how" \
        on N dig +tries=1 +time=2 $how @198.51.100.10 -p 300 elsewhere.example
done
more 1 "$(on A nft list chain ip open input | sed -n 's/.*packets \([0-9]*\).*/\1/p')" "such packets at INPUT"
on A sysctl -qw net.ipv4.conf.all.route_localnet=0 net.ipv4.conf.eth0.route_localnet=0
on A nft delete table ip open
echo "ok - nobody else"

# Behind other resolvers. They are what resolv.conf names, so natttd is told whom to ask.
proxy 'listen = ["127.0.0.1:300"]' 'upstream = ["198.51.100.53"]'
for name in dnsmasq unbound; do [ -x "$(command -v "$name")" ] || skip "$name is not installed"; done
through dnsmasq 127.0.0.1 dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-hosts \
    --no-resolv --server=198.51.100.53 --server=/example/127.0.0.1#300 --listen-address=127.0.0.1 \
    --bind-interfaces --user=root
printf '%s\n' server: '  interface: 127.0.0.1' '  username: ""' '  chroot: ""' '  pidfile: ""' \
    "  directory: \"$RUN\"" '  use-syslog: no' '  do-ip6: no' '  do-not-query-localhost: no' \
    remote-control: '  control-enable: no' \
    forward-zone: '  name: "example"' '  forward-addr: 127.0.0.1@300' \
    forward-zone: '  name: "."' '  forward-addr: 198.51.100.53' >"$RUN/unbound.conf"
through unbound 127.0.0.1 unbound -d -c "$RUN/unbound.conf"
if [ -x "$RESOLVED" ]; then
    mkdir "$RUN/resolved"
    printf '%s\n' '[Resolve]' DNS=127.0.0.1:300 'Domains=~example' LLMNR=no MulticastDNS=no \
        >"$RUN/resolved/resolved.conf"
    { cat /etc/passwd; echo 'systemd-resolve:x:65000:65000::/:/bin/false'; } >"$RUN/passwd"
    through resolved 127.0.0.53 unshare -m sh -c "mount -t tmpfs run /run && mkdir -p /run/systemd/resolve &&
        chown 65000:65000 /run/systemd/resolve && mount --bind '$RUN/resolved' /etc/systemd &&
        mount --bind '$RUN/passwd' /etc/passwd && exec '$RESOLVED'"
else
    echo "systemd-resolved is not unpacked: tests/setup.sh"
fi

# At the port of DNS, where the packet filter captures what it gets and gives, too.
proxy 'listen = ["127.0.0.1"]' 'upstream = ["198.51.100.53"]'
resolver A 127.0.0.1
works "at port 53"
before=$(counter A dns_held)
for name in once.example twice-once.example nothing.example; do lookup A "$name" >/dev/null; done
mapped A alias.example >/dev/null
# NXDOMAIN is never held, and nothing.example is known by now; alias.example leads to b.example.
same "$before" "$(counter A dns_held)" "replies that waited where nothing is new"
mapped A c.example >/dev/null
same $((before + 1)) "$(counter A dns_held)" "a new name's reply waits once, not twice"
echo 'options use-vc' >>"/etc/netns/$PREFIX-A/resolv.conf"
works "use-vc"

# Where the server is slow about NAT records, the reply is held for a second, once.
on N ip address add 198.51.100.55/24 dev eth0
start N slow "$PYTHON" "$PEERS/slow_dns.py" 198.51.100.55 2
wait_for 20 "the slow server" grep -q ready "$(log N slow)"
proxy 'listen = ["127.0.0.1"]' 'upstream = ["198.51.100.55"]'
said=$(on A dig +tries=1 +time=8 late.test)
matches 'ANSWER: 0' "$said" "a name whose NAT record comes too late"
took=$(sed -n 's/.*Query time: \([0-9]*\) msec/\1/p' <<<"$said")
more 950 "$took" "milliseconds that its reply waits"
more "$took" $((1900 * ${SLOW:-1})) "no longer"
# Who waits when natttd ends gets the reply as it came.
held=$(counter A dns_held)
on A dig +tries=1 +time=5 ended.test >"$RUN/ended" &
asking=$!
is_held() { (("$(counter A dns_held)" > held)); }
wait_for 5 "a reply to wait" is_held
stop A natttd
same 0 "$STATUS" "natttd's exit status"
wait "$asking" || fail "no answer at natttd's end"
matches 'status: NOERROR.*ANSWER: 0' "$(xargs <"$RUN/ended")" "the answer at natttd's end"
start_natttd A
asked late.test >/dev/null
late() { [ -n "$(asked late.test)" ]; }
wait_for 10 "the late answer to serve the next question" late
echo "ok - slow NAT records"
