#!/bin/bash
# ufw at A and at Y, with its own masquerading and port forward: the line of packaging/firewall lets the
# tunnel through Y and nothing else, whoever loads first, after its reload, and after disable and enable.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/firewalls.sh"
needs ufw

# As ufw's own manual has masquerading and port forwards: a table `nat` in before.rules. It must flush its
# chains, or every reload doubles its rules; in iptables' language, NATTT's jump goes with them.
own_rules() {
    ufw_on Y --version >/dev/null
    sed -i "1i *nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-F PREROUTING\n-F POSTROUTING\n\
-A PREROUTING -i wan -p tcp --dport 5555 -j DNAT --to-destination 192.168.0.3:80\n\
-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT" "$RUN/Y-ufw/before.rules"
    ufw_on Y route allow in on lan out on wan
    ufw_on Y route allow in on wan out on lan to 192.168.0.3 port 80 proto tcp
    ufw_on Y --force enable
}

gateway_without_site
on A nft delete table ip site
serve A Y
{
    own_rules
    ufw_on A default deny outgoing
    ufw_on A allow out 53
    ufw_on A allow out 80/tcp
    ufw_on A --force enable
} >"$RUN/ufw.log"
guards "before NATTT"
nattt_gateway Y 192.168.0.2
nattt_client A

refused "the tunnel before ufw on A was told" fetch A b.example/ --max-time "$SHORT"
advice A '^run `ufw allow out 100/udp`$'
ufw_on A $(sed 's/^run `ufw //; s/`.*//' <<<"$FIX") >>"$RUN/ufw.log"
content A
tunnel_is_dropped "before ufw on Y was told"
advice Y 'the line `-A ufw-before-forward -m connmark --mark 0x04000000/0x04000000 -j ACCEPT` to /etc/ufw/before.rules'
line=$(grep '^-A' "$PACKAGING/firewall/ufw-before.rules")
matches "$line" "$FIX" "the line that doctor says"
sed -i "/^# don't delete the 'COMMIT'/i $line" "$RUN/Y-ufw/before.rules"
same 1 "$(grep -c connmark "$RUN/Y-ufw/before.rules")" "lines that accept the tunnel"
for node in A Y; do ufw_on $node reload >>"$RUN/ufw.log"; done
repaired Y
content Y
holds_as_gateway "after a reload"
refused "A's own page" fetch W 198.51.100.10/ --max-time "$SHORT"
refused "what A may not send" on A nc -w "$SHORT" 198.51.100.80 7
for node in A Y; do ufw_on $node disable >>"$RUN/ufw.log"; done
same "This is A." "$(fetch W 198.51.100.10/)" "A's own page without ufw"
for node in A Y; do ufw_on $node --force enable >>"$RUN/ufw.log"; done
repaired Y
content A
content Y
holds_as_gateway "after disable and enable: ufw came last"
refused "A's own page" fetch W 198.51.100.10/ --max-time "$SHORT"
