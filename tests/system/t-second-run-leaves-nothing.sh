#!/bin/bash
# A whole run leaves nothing behind on this host, and `rules remove` nothing in a namespace; what
# is loaded twice is there once.
. "$(dirname "$0")/lib.sh"

# What the run named $1 could leave on this host.
host_state() {
    ip netns list | grep -F "$1" || true
    find /etc/netns /tmp -maxdepth 1 -name "$1*" 2>/dev/null || true
    pgrep -af "$1" || true
    sysctl -a 2>/dev/null | grep -E '^net\.(ipv4\.(tcp|udp|ip)_|netfilter\.nf_conntrack_(tcp|udp|icmp))'
    nft -s list ruleset | grep -i nattt || true
    ip rule
    ip route show table local
}

# What rules and daemon change in a namespace.
node_state() {
    on "$1" nft -s list table inet nattt 2>/dev/null || true
    on "$1" nft -s list table ip nattt 2>/dev/null || true
    on "$1" iptables-save | grep -E '^-A|NATTT' || true
    on "$1" ip rule
    on "$1" ip route show table all
    on "$1" sysctl -a 2>/dev/null | grep -E '^net\.ipv4\.(conf|udp_early|ip_forward)' || true
}

run=$(mktemp -d /tmp/nattt-run-XXXX)
rmdir "$run"
before=$(host_state "${run##*/}")
for round in first second; do
    mkdir "$run"
    NATTT_RUN=$run bash "$TESTS/system/t-tcp-fig1.sh" || fail "the $round run"
    same "$before" "$(host_state "${run##*/}")" "the state of this host after the $round run"
done

fig1
gateway_config Y
client_config A
for node in A Y; do
    clean=$(node_state "$node")
    rules "$node" apply
    once=$(node_state "$node")
    [ "$clean" != "$once" ] || fail "apply did nothing on $node"
    rules "$node" apply
    same "$once" "$(node_state "$node")" "rules loaded twice on $node"
    rules "$node" remove
    same "$clean" "$(node_state "$node")" "rules removed on $node"
    rules "$node" remove
done
nattt_gateway Y
nattt_client A
same "This is B." "$(fetch A b.example/)" "the page after all that"
