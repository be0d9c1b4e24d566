#!/bin/bash
# A user's rules as iptables-restore loads them, at A and at Y: default drop, masquerading, a port forward. First
# of iptables-nft, then of iptables-legacy. The rule of README.md lets the tunnel through Y and nothing else,
# whoever loads first, and after iptables-restore has flushed everything that was there.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/firewalls.sh"
needs iptables-nft-restore iptables-legacy-restore

workstation() {
    cat <<'R'
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
COMMIT
R
}

# router [RULE]: with one more rule in FORWARD
router() {
    cat <<R
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i wan -p tcp --dport 5555 -j DNAT --to-destination 192.168.0.3:80
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
${1:-}
COMMIT
R
}

# The whole of both nodes' rules, as at a boot or a reload.
restore() {
    workstation | on A "iptables-$kind-restore"
    router "${1:-}" | on Y "iptables-$kind-restore"
    repaired A
    repaired Y
}

# doctor reads `iptables-save`, which is that of the kind here.
iptables_is() {
    local tool
    mkdir -p "$RUN/bin"
    for tool in iptables iptables-save iptables-restore; do
        ln -sf "$(command -v "${tool/tables/tables-$1}")" "$RUN/bin/$tool"
    done
}

gateway_without_site
on A nft delete table ip site
serve A Y
plain_path=$PATH
for kind in nft legacy; do
    workstation | on A "iptables-$kind-restore"
    router | on Y "iptables-$kind-restore"
    guards "before NATTT, $kind"
    nattt_gateway Y
    nattt_client A
    tunnel_is_dropped "without the rule, $kind"
    iptables_is $kind
    PATH=$RUN/bin:$plain_path advice Y '^run `iptables -t filter -I FORWARD -m connmark --mark 0x04000000/0x04000000 -j ACCEPT`'
    restore "$(sed 's/^run `iptables -t filter -I/-A/; s/`.*//' <<<"$FIX")"
    PATH=$RUN/bin:$plain_path content Y
    holds_as_gateway "after a restore, $kind"
    refused "A's own page, $kind" fetch W 198.51.100.10/ --max-time "$SHORT"
    for node in A Y; do
        rules $node remove
        wait_for 10 "natttd on $node to miss its rules" rules_are missing $node
        rules $node apply
        wait_for 10 "natttd on $node to see them" rules_are loaded $node
    done
    holds_as_gateway "with NATTT's rules last, $kind"
    for node in A Y; do
        stop $node natttd
        rules $node remove
        on $node "iptables-$kind-restore" <<<$'*nat\nCOMMIT\n*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT'
    done
done
