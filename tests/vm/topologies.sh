#!/bin/bash
# vm.sh run tests/vm/topologies.sh: nft's rules with hairpins, a router as the client, and real sockets of
# SCTP, DCCP and UDP-Lite, on a stock kernel. The network is that of tests/system/topology.sh, with a
# home host T (.9) in Y's LAN that takes over from Y halfway.
. "$(cd "$(dirname "$0")/../system" && pwd)/lib.sh"
FLAVOUR=nft SLOW=8 PATIENCE=60

step() { echo "ok - $*"; }

# real PROTOCOL OCTETS SEEN NODE
real() {
    same "B saw $3" "$(on "$4" "$PYTHON" "$PEERS/sockets.py" ask "$1" "$(mapped "$4" b.example)" "$2")" \
        "$2 octets by $1 from $4"
}

# Not at boot: such a kernel would answer the packets of peers/raw.py, too, in the other tests.
modprobe -a sctp dccp_ipv4
fig2
start B sockets "$PYTHON" "$PEERS/sockets.py" serve B
wait_for 20 "sockets.py" grep -q ready "$(log B sockets)"
host A3 192.168.0.7/24 192.168.0.1 Y lan
on Y sysctl -qw net.netfilter.nf_conntrack_checksum=0
gateway_config Y
echo 'hairpin = ["lan"]' >>"$RUN/Y.toml"
start_natttd Y
nattt_client A A1 A3

real sctp 1000 198.51.100.10 A
real sctp 300000 198.51.100.20 A1
step "SCTP sockets"
real dccp 1000 198.51.100.10 A
real dccp 1000 198.51.100.20 A1
step "DCCP sockets"
real udplite 1000 198.51.100.10 A
real udplite 1000 198.51.100.20 A1
step "UDP-Lite sockets"

same "This is B." "$(fetch A3 b.example/)" "the page from the same LAN"
matches '^192\.168\.0\.1:' "$(fetch A3 b.example/whoami)" "Y as B sees it"
matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it"
step "a hairpin, and clients outside beside it"

stop Y natttd
echo '[client]' >>"$RUN/Y.toml"
start_natttd Y
same "This is B." "$(fetch Y b.example/)" "the page at Y itself"
matches '^B saw 192\.168\.0\.1:[0-9]+: hello$' "$(ask Y b.example 7 hello --timeout 60)" "UDP from Y itself"
on Y ping -q -c 1 -W 60 b.example >/dev/null || fail "ping at Y itself"
matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it"
step "the router's own programs, without a tunnel"

stop Y natttd
rules Y remove
host T 192.168.0.9/24 192.168.0.1 Y lan
on Y nft add rule ip site prerouting iifname wan udp dport 100 dnat to 192.168.0.9
{
    daemon_config T
    printf '%s\n' '[gateway]' 'outside = ["eth0"]' 'hairpin = ["eth0"]' 'enable_forwarding = true' \
        'exports = ["192.168.0.0/24", "192.168.0.9"]'
} >"$RUN/T.toml"
start_natttd T
serve T
same "This is B." "$(fetch A b.example/)" "the page"
matches '^192\.168\.0\.9:' "$(fetch A1 b.example/whoami)" "T as B sees it"
same "This is T." "$(fetch A home.example/)" "T's own service"
on T sysctl -qw net.netfilter.nf_conntrack_checksum=0
for protocol in sctp dccp udplite; do
    real "$protocol" 1000 192.168.0.9 A
done
refused "out again through T" fetch A relay.example/ --max-time 20
step "a home host behind a router that knows no tunnels"

stop A1 natttd
rules A1 remove
client_config X
printf '%s\n' 'pool = "198.18.0.0/15"' 'serve = ["lan"]' >>"$RUN/X.toml"
start_natttd X
matches '^198\.1[89]\.' "$(lookup A1 b.example)" "the address at A1"
same "This is B." "$(fetch A1 b.example/)" "the page at A1"
matches '^B saw 192\.168\.0\.9:[0-9]+: hello$' "$(ask A1 b.example 7 hello)" "UDP at A1"
refused "a closed UDP port" ask A1 b.example 9 hello --timeout 60
same ECONNREFUSED "$OUTPUT" "what a closed UDP port reports"
refused "an unmapped address" fetch A1 198.19.255.1/
same 7 "$STATUS" "curl's exit status for an unmapped address"
for protocol in sctp dccp udplite; do
    real "$protocol" 1000 192.168.0.9 A1
done
step "a router as the client of a host that runs nothing"
