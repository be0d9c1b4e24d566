#!/bin/bash
# `nattt doctor` finds nothing wrong on sound hosts, and names what is broken on purpose, one thing
# after another, each with what to do.
. "$(dirname "$0")/lib.sh"

# doctor NODE [CONFIG]: its findings, `SEVERITY ID` a line, in the file findings; STATUS.
doctor() {
    STATUS=0
    on "$1" "$BIN/nattt" --json doctor --config "${2:-$RUN/$1.toml}" >"$RUN/report" || STATUS=$?
    jq -r '.findings[] | .severity + " " + .id' "$RUN/report" >"$RUN/findings"
    [ "$(jq '[.findings[] | select(.what == "" or .fix == "")] | length' "$RUN/report")" = 0 ] ||
        fail "a finding without words: $(cat "$RUN/report")"
}

sound() {
    doctor "$1"
    same 0 "$STATUS" "the exit status for $1, which is sound: $(cat "$RUN/report")"
    refused "a problem of $1" grep '^problem' "$RUN/findings"
}

# finds NODE "SEVERITY ID" [CONFIG]: and what exit status belongs to it.
finds() {
    doctor "$1" "${3:-}"
    grep -qx "$2" "$RUN/findings" || fail "'$2' is not found on $1: $(cat "$RUN/report")"
    [ "${2%% *}" != problem ] || same 1 "$STATUS" "the exit status with a problem on $1"
}

# lacks NODE ID
lacks() {
    doctor "$1"
    refused "$2 on $1" grep " $2\$" "$RUN/findings"
}

# words PATTERN: of the last report.
words() { matches "$1" "$(cat "$RUN/report")" "the report"; }

# variant NODE NAME SED-EXPRESSION: another configuration of NODE, in $RUN/NAME.toml.
variant() { sed "$3" "$RUN/$1.toml" >"$RUN/$2.toml"; }

# The firewall of lib.sh's hosts stands in nft's table `site`; so do the boxes'.
fig1
nattt_gateway Y
nattt_client A
same "This is B." "$(fetch A b.example/)" "the page"
sound A
sound Y
matches 'Nothing is wrong' "$(on A "$BIN/nattt" doctor --config "$RUN/A.toml")" "the words for A"

# ---- daemon and configuration --------------------------------------------------------------------
variant A broken 's/client/cleint/'
finds A "problem config-wrong" "$RUN/broken.toml"
words 'did you mean `client`'
variant A other 's/\[client\]/[client]\npool = "127.128.0.0\/10"/'
finds A "warning other-configuration" "$RUN/other.toml"
finds A "problem rules-stale" "$RUN/other.toml"

# ---- rules of our own, and of others -------------------------------------------------------------
if [ "$FLAVOUR" = nft ]; then on A nft flush chain inet nattt client_output; else on A iptables -t raw -F; fi
finds A "problem rules-damaged"
rules A apply
on A nft flush chain ip site input
finds A "problem firewall-drops"
words 'from NAT boxes are dropped by nft.s chain input of table ip site'
words 'nft insert rule ip site input ct mark and 0x04000000 != 0 accept'
# As it says:
on A nft insert rule ip site input ct mark and 0x04000000 != 0 accept
sound A
on A nft delete table ip site
workstation_firewall A
on A iptables -P OUTPUT DROP
finds A "problem firewall-drops"
words 'iptables. chain OUTPUT of table filter'
on A iptables -t filter -I OUTPUT -m connmark --mark 0x04000000/0x04000000 -j ACCEPT
sound A
on A iptables -P OUTPUT ACCEPT
on Y nft flush chain ip site forward
finds Y "problem firewall-drops"
words 'packets from tunnels to 192.168.0.0/24'
refused "a page through that" fetch A b.example/ --max-time 2
on Y nft insert rule ip site forward ct mark and 0x04000000 != 0 accept
sound Y
same "This is B." "$(fetch A b.example/)" "the page, after what it said was done"

refused "a page that is not exported" fetch A relay.example/ --max-time 2
finds Y "information gateway_not_exported"
words 'list in `exports` what shall be reached'
sound Y

# ---- kernel settings -----------------------------------------------------------------------------
on A sysctl -qw net.ipv4.conf.eth0.route_localnet=1 net.ipv4.udp_early_demux=1
finds A "warning route-localnet"
finds A "warning early-demux"
on A sysctl -qw net.ipv4.conf.eth0.route_localnet=0 net.ipv4.udp_early_demux=0
sound A
on Y sysctl -qw net.ipv4.conf.wan.forwarding=0
finds Y "problem no-forwarding"
words 'sysctl -w net/ipv4/conf/wan/forwarding=1'
on Y sysctl -qw net.ipv4.conf.wan.forwarding=1
variant Y inside 's/"wan"/"lan"/'
finds Y "warning reverse-path-filter" "$RUN/inside.toml"
finds Y "problem export-outside" "$RUN/inside.toml"
words 'if lan is the inside, write `outside = \[\\"wan\\"\]`'

# ---- exports, interfaces, ports ------------------------------------------------------------------
variant Y wide 's/192.168.0.0\/24/192.168.0.0\/16/'
finds Y "warning export-too-wide" "$RUN/wide.toml"
words 'write what is behind it: 192.168.0.0/24'
variant Y elsewhere 's/192.168.0.0\/24/10.0.0.0\/24/'
finds Y "warning export-not-here" "$RUN/elsewhere.toml"
variant Y absent 's/"wan"/"ppp0"/'
finds Y "problem no-interface" "$RUN/absent.toml"
words 'this host has lan, .*wan'
stop Y natttd
cp "$RUN/absent.toml" "$RUN/Y.toml"
start_natttd Y
matches 'there is no interface ppp0, so no tunnel packet arrives' "$(control Y status)" "status"
matches 'there is no interface ppp0' "$(cat "$(log Y natttd)")" "natttd's log"
stop Y natttd
gateway_config Y
start Y squatter "$PYTHON" -c 'import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 100)); time.sleep(999)'
squatting() { finds Y "problem tunnel-port-taken"; }
wait_for 10 "the squatter on UDP port 100" squatting
words 'python3[^ ]* \('
finds Y "problem daemon-absent"
stop Y squatter
lacks Y tunnel-port-taken

# ---- a disk that is full ----------------------------------------------------------------------------
lacks A state-not-saved
mkdir "$RUN/full"
on A unshare -m sh -c "mount -t tmpfs -o size=16k full '$RUN/full' && { cat /dev/zero >'$RUN/full/x'; true; } 2>/dev/null
    sed 's|$RUN/A-state|$RUN/full|' '$RUN/A.toml' >'$RUN/full.toml'
    '$BIN/nattt' --json doctor --config '$RUN/full.toml'" >"$RUN/report" || true
matches 'state-not-saved' "$(cat "$RUN/report")" 'the id'
words 'its file system is full'

# ---- the pool ------------------------------------------------------------------------------------
ip -n "$PREFIX-A" address add 127.66.0.1/32 dev lo
finds A "problem pool-clash"
words '127.66.0.1 of interface lo'
ip -n "$PREFIX-A" address delete 127.66.0.1/32 dev lo
ip -n "$PREFIX-A" route add 127.100.0.0/16 dev eth0
finds A "problem pool-clash"
words 'a route to 127.100.0.0/16'
ip -n "$PREFIX-A" route delete 127.100.0.0/16 dev eth0
echo '127.64.0.1 games' >"/etc/netns/$PREFIX-A/hosts"
finds A "problem pool-clash"
rm "/etc/netns/$PREFIX-A/hosts"
sound A

# ---- DNS -----------------------------------------------------------------------------------------
echo 'options use-vc' >>"/etc/netns/$PREFIX-A/resolv.conf"
finds A "problem dns-over-tcp"
resolver A 198.51.100.53
echo 'hosts: files' >"/etc/netns/$PREFIX-A/nsswitch.conf"
finds A "warning dns-unused"
rm "/etc/netns/$PREFIX-A/nsswitch.conf"
start A dns "$PYTHON" -c 'import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("198.51.100.10", 53)); time.sleep(999)'
serving() { finds A "warning dns-for-others"; }
wait_for 10 "a name server for others" serving
stop A dns
sound A
# A port that any user could have instead of natttd, and one that none could.
as_nobody() {
    on A setpriv --reuid=65534 --regid=65534 --clear-groups "$PYTHON" -c 'import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", int(sys.argv[1])))' "$1"
}
variant A low 's/\[client\]/&\nlisten = ["127.0.0.1:300"]/'
refused "a low port for nobody" as_nobody 300
doctor A "$RUN/low.toml"
refused "a finding about a low port" grep free-for-all "$RUN/findings"
sed 's/:300"/:5300"/' "$RUN/low.toml" >"$RUN/high.toml"
as_nobody 5300
finds A "warning dns-port-free-for-all" "$RUN/high.toml"
printf '[metrics]\nlisten = "127.0.0.1:9810"\n' >>"$RUN/low.toml"
finds A "information metrics-port-free-for-all" "$RUN/low.toml"

# ---- queues, and the end -------------------------------------------------------------------------
variant A second "s|$RUN/A.sock|$RUN/second.sock|"
finds A "problem queue-taken" "$RUN/second.toml"
stop A natttd
finds A "problem daemon-absent"
lacks A queue-taken
on A nft flush ruleset
finds A "problem rules-missing"

# ---- a router whose hosts run nothing ------------------------------------------------------------
client_config Y2
printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\n' >>"$RUN/Y2.toml"
start_natttd Y2
sound Y2
on Y2 nft flush chain ip site forward
finds Y2 "problem firewall-drops"
words 'tunnel packets of hosts behind lan are dropped'
on Y2 sysctl -qw net.ipv4.conf.lan.forwarding=0
finds Y2 "problem no-forwarding"
words 'hosts there cannot be served'
