#!/bin/bash
# firewalld at A and at Y, with its own masquerading and port forward: the files of packaging/firewall let
# the tunnel through Y and nothing else, whoever loads first, after its reload and its restart.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/firewalls.sh"
needs firewalld dbus-daemon

gateway_without_site
on A nft delete table ip site
serve A Y
firewalld_on Y
firewall_cmd Y -q --permanent --zone=external --add-interface=wan
firewall_cmd Y -q --permanent --zone=internal --add-interface=lan
firewall_cmd Y -q --permanent --zone=external --add-forward-port=port=5555:proto=tcp:toport=80:toaddr=192.168.0.3
firewall_cmd Y -q --permanent --new-policy out
firewall_cmd Y -q --permanent --policy=out --add-ingress-zone=internal
firewall_cmd Y -q --permanent --policy=out --add-egress-zone=external
firewall_cmd Y -q --permanent --policy=out --set-target=ACCEPT
firewalld_reloads Y --reload
firewalld_on A
guards "before NATTT"
nattt_gateway Y
nattt_client A

tunnel_is_dropped "before firewalld was told"
advice Y 'firewalld-policy.xml.*/etc/firewalld/policies/nattt.xml.*firewall-cmd --reload'
cp "$PACKAGING/firewall/firewalld-policy.xml" "$RUN/Y-firewalld/policies/nattt.xml"
firewalld_reloads Y --reload
repaired Y
content Y
same "This is B." "$(fetch A b.example/)" "the page with the policy alone"
same "This is B." "$(fetch W 192.168.0.2/)" "B without a tunnel, which the policy alone lets in"
cp "$PACKAGING/firewall/firewalld-direct.xml" "$RUN/Y-firewalld/direct.xml"
firewalld_reloads Y --reload
for node in A Y; do repaired $node; done
content Y
holds_as_gateway "after a reload"
refused "A's own page" fetch W 198.51.100.10/ --max-time "$SHORT"
for node in A Y; do stop $node firewalld; done
for node in A Y; do firewalld_on $node; done
for node in A Y; do repaired $node; done
holds_as_gateway "after a restart: firewalld came last"
refused "A's own page" fetch W 198.51.100.10/ --max-time "$SHORT"
firewalld_reloads A --complete-reload
firewalld_reloads Y --complete-reload
for node in A Y; do repaired $node; done
holds_as_gateway "after a complete reload"
content A
