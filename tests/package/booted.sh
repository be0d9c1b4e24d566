#!/bin/bash
# The package in a booted system with systemd, from the repository in /out/apt: install, use,
# firewall restarts, failures, upgrade, remove, purge. Started by tests/package.sh.

set -uo pipefail
. /out/lib.sh

main() {
    local firewall unit
    nft add table ip mine
    nft add chain ip mine forward '{ type filter hook forward priority 0; policy drop; }'
    nft list ruleset >/run/mine.nft
    printf '#!/usr/sbin/nft -f\nflush ruleset\n' | cat - /run/mine.nft >/etc/nftables.conf
    systemctl start nftables
    firewall=$(nft list ruleset)

    install
    runs
    tunnels
    reloads
    comes_back
    in_iptables_language
    stopped
    hangs
    upgrade
    removed "$firewall"
    ((failed == 0))
}

# ---- steps ---------------------------------------------------------------------------------------

install() {
    cp /out/apt/nattt.gpg /usr/share/keyrings/
    echo "deb [signed-by=/usr/share/keyrings/nattt.gpg] file:/out/apt stable main" \
        >/etc/apt/sources.list
    rm -f /etc/apt/sources.list.d/*
    check "apt update trusts the repository" apt-get -q update
    check "apt install nattt" apt-get -q install -y --no-install-recommends nattt
}

runs() {
    check "nattt.service is active" systemctl is-active nattt
    check "nattt.service is enabled" systemctl is-enabled nattt nattt-rules
    check "the journal has its messages" grep -q 'natttd .* runs: client' <(journalctl -u nattt)
    check "the rules are loaded" rules_loaded
    check "nattt status says so" status_says loaded
    check "it runs as user nattt" [ "$(ps_field user)" = nattt ]
    check "with three capabilities" grep -qx 'CapEff:.0000000000003400' "/proc/$(pid)/status"
    check "members of the group may ask" [ "$(stat -c %G:%a /run/nattt/control.sock)" = nattt:660 ]
    check "early demux is off" [ "$(cat /proc/sys/net/ipv4/udp_early_demux)" = 0 ]
    check "as many descriptors as ports" grep -q 'open files *65536 ' "/proc/$(pid)/limits"
    check "the pool is routed" grep -q '127.64.0.0/10.*mtu' <(ip route show table local)
    check "rules.nft is of the configuration" cmp /etc/nattt/rules.nft <(nattt rules print)
    sed -i 's/^# answer_ttl_s = 60/answer_ttl_s = 61/; s/^# mark = .*/mark = 0x02000000/' /etc/nattt/nattt.toml
    check "restart after a change" systemctl restart nattt
    check "loads the rules anew" status_says loaded
    check "with the new mark" grep -q 0x02000000 <(nft list table inet nattt)
    check "rules.nft followed" cmp /etc/nattt/rules.nft <(nattt rules print)
    check "nft -f /etc/nattt/rules.nft" nft -f /etc/nattt/rules.nft
    check "is what natttd means" status_says loaded
}

# What a sandboxed daemon must be able to do: ask, map, own a port, encapsulate, save.
tunnels() {
    ip link add wan type dummy
    ip address add 198.51.100.10/24 dev wan
    ip link set wan up
    ip route add default via 198.51.100.1
    ip neighbour add 198.51.100.1 lladdr 02:00:00:00:00:01 dev wan
    echo 'nameserver 198.51.100.10' >/etc/resolv.conf
    perl /out/name_server.pl 198.51.100.10 &
    check "a name gets a mapped address" eventually mapped
    (exec 3<>"/dev/tcp/$(address)/80") 2>/dev/null &
    check "a flow has its outer port" eventually flows
    check "packets went into the tunnel" eventually sent
    check "the mapping is saved" eventually grep -q b.example /var/lib/nattt/mappings.json
    check "the set is filled" eventually set_filled
    kill %1 %2 2>/dev/null
    cp /etc/nattt/nattt.toml /run
    printf '[gateway]\noutside = ["wan"]\nexports = ["192.168.0.0/24"]\nenable_forwarding = true\n[metrics]\nlisten = "127.0.0.1:9810"\n' >>/etc/nattt/nattt.toml
    check "both roles start" systemctl restart nattt
    check "forwarding is on" [ "$(cat /proc/sys/net/ipv4/conf/wan/forwarding)" = 1 ]
    check "and run" grep -q 'runs: client and gateway' <(journalctl -u nattt)
    check "metrics by HTTP" grep -qx 'nattt_up 1' <(scraped)
    check "without what only root may read" not grep -q '^nattt_queue_dropped' <(scraped)
    check "without a warning" not grep -i 'not permitted\|denied\|warn' <(journalctl -u nattt -p warning)
    mv /run/nattt.toml /etc/nattt/nattt.toml
    systemctl restart nattt
}

# In the sandbox: another file, also a wrong one, and roles that come and go.
reloads() {
    local before config=/etc/nattt/nattt.toml
    cp $config /run
    before=$(pid)
    sed -i 's/^mark = .*/mark = 0x01000000/; s/^answer_ttl_s = .*/answer_ttl_s = 62/' $config
    check "systemctl reload nattt" systemctl reload nattt
    check "loads the rules anew" grep -q 0x01000000 <(nft list table inet nattt)
    check "natttd means the same" status_says loaded
    check "rules.nft followed" cmp /etc/nattt/rules.nft <(nattt rules print)
    check "it is the same process" [ "$(pid)" = "$before" ]
    check "and active" [ "$(systemctl show -P ActiveState nattt)" = active ]
    printf '[gateway]\noutside = ["wan"]\nexports = ["192.168.0.0/24"]\nenable_forwarding = true\n' >>$config
    check "a role is added" systemctl reload nattt
    check "and is there" grep -q 'client, gateway' <(nattt status)
    check "forwarding is on" [ "$(cat /proc/sys/net/ipv4/conf/wan/forwarding)" = 1 ]
    sed -i 's/^outside = /outsyde = /' $config
    check "a wrong file is refused" not systemctl reload nattt
    check "with its line" eventually grep -q 'line [0-9]*:.*outsyde' <(journalctl -u nattt)
    check "natttd goes on as before" grep -q 'client, gateway' <(nattt status)
    check "its rules are loaded" status_says loaded
    check "in the same process" [ "$(pid)" = "$before" ]
    check "which is active" [ "$(systemctl show -P ActiveState nattt)" = active ]
    cp /run/nattt.toml $config
    check "a signal will do" systemctl kill -s HUP nattt
    check "then natttd asks for the rules" eventually without_gateway
    check "forwarding is as it was" [ "$(cat /proc/sys/net/ipv4/conf/wan/forwarding)" = 0 ]
    check "and has them" status_says loaded
    check "still in the same process" [ "$(pid)" = "$before" ]
    check "and active" eventually [ "$(systemctl show -P ActiveState nattt)" = active ]
}
without_gateway() { not grep -q gateway <(nattt status); }
scraped() {
    exec 4<>/dev/tcp/127.0.0.1/9810
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&4
    cat <&4
    exec 4>&-
}

comes_back() {
    for action in restart reload; do
        check "systemctl $action nftables" systemctl $action nftables
        check "the rules come back after $action" eventually rules_loaded
    done
    nft flush ruleset
    check "the rules come back after a flush" eventually rules_loaded
    nft delete table inet nattt
    check "and after our table was deleted" eventually rules_loaded
    nft flush chain inet nattt client_output
    check "and when they are half gone" eventually pool_is_queued
    check "natttd is content" eventually status_says loaded
    systemctl restart nftables
    check "their rules come back, too" grep -q 'policy drop' <(nft list table ip mine)
}

# Those rules are in tables that others flush: iptables-restore, and firewalld at every start and reload.
in_iptables_language() {
    local before config=/etc/nattt/nattt.toml
    before=$(pid)
    sed -i 's/^# firewall = .*/firewall = "iptables"/' $config
    check "a reload into iptables' language" systemctl reload nattt
    check "loads its rules" iptables_queues_pool
    check "which natttd means" status_says loaded
    check "and takes nft's away" not rules_loaded
    iptables-restore <<<$'*raw\nCOMMIT\n*mangle\nCOMMIT\n*filter\nCOMMIT\n*security\nCOMMIT'
    check "they come back after an iptables-restore" eventually iptables_queues_pool
    check "as a whole" eventually status_says loaded
    systemctl restart nftables
    check "and after a restart of nftables" eventually iptables_queues_pool
    check "natttd is content" eventually status_says loaded
    sed -i 's/^firewall = .*/# firewall = "nft"/' $config
    check "a reload back" systemctl reload nattt
    check "loads nft's rules" rules_loaded
    check "which natttd means, too" status_says loaded
    check "and leaves none of iptables'" not grep NATTT <(iptables-save; ip6tables-save)
    check "in the same process" [ "$(pid)" = "$before" ]
    # With the empty tables that iptables leaves.
    systemctl restart nftables
    check "and the rules come back as before" eventually status_says loaded
}
iptables_queues_pool() { iptables -t raw -S OUTPUT | grep -q NATTT && iptables -t raw -S NATTT-OUTPUT | grep -q 'd 127.64.0.0/10'; }

stopped() {
    check "systemctl stop nattt" systemctl stop nattt
    check "the rules stay" rules_loaded
    check "the pool is closed" grep -q 'unreachable 127.64.0.0/10' <(ip route show table local)
    systemctl restart nftables
    check "the rules come back without natttd" eventually rules_loaded
    systemctl reload nftables
    check "after a reload as well" eventually rules_loaded
    cp /etc/nftables.conf /run/nftables.conf
    echo 'include "/etc/nattt/rules.nft"' >>/etc/nftables.conf
    systemctl stop nattt-rules
    systemctl reload nftables
    check "included in nftables.conf they are never away" rules_loaded
    mv /run/nftables.conf /etc/nftables.conf
    check "systemctl start nattt" systemctl start nattt
}

# A daemon that does nothing: its watchdog is not fed.
hangs() {
    local before
    mkdir -p /run/systemd/system/nattt.service.d
    printf '[Service]\nWatchdogSec=12\nTimeoutAbortSec=2\n' >/run/systemd/system/nattt.service.d/t.conf
    systemctl daemon-reload
    systemctl restart nattt
    before=$(pid)
    check "the watchdog is fed while nothing happens" eventually fed_after "$(fed)"
    kill -STOP "$before"
    check "a hanging daemon is replaced" eventually another_than "$before"
    check "by one that runs" eventually status_says loaded
    before=$(pid)
    kill -KILL "$before"
    check "a killed daemon is replaced" eventually another_than "$before"
    rm -r /run/systemd/system/nattt.service.d
    systemctl daemon-reload
}

upgrade() {
    systemctl restart nattt
    nft monitor chains >/run/monitor &
    local monitor=$! before handle
    before=$(pid)
    handle=$(nft -a list table inet nattt | sed -n 's/^table.*handle //p')
    check "an upgrade" dpkg -i --force-confold /out/newer.deb
    check "runs another daemon" another_than "$before"
    check "never unloads the rules" [ "$handle" = "$(nft -a list table inet nattt | sed -n 's/^table.*handle //p')" ]
    check "keeps the configuration" grep -q '^mark = 0x02000000' /etc/nattt/nattt.toml
    kill $monitor
    check "nattt.service is active" systemctl is-active nattt
}

removed() { # FIREWALL
    check "apt remove" apt-get -q remove -y nattt
    check "the firewall is as it was" [ "$1" = "$(nft list ruleset)" ]
    check "the pool is plain loopback" not grep -q 127.64 <(ip route show table local)
    check "early demux is as it was" [ "$(cat /proc/sys/net/ipv4/udp_early_demux)" = 1 ]
    check "nothing of it runs" not grep -lx natttd /proc/[0-9]*/comm
    check "apt purge" apt-get -q purge -y nattt
    check "nothing is left" not ls -d /etc/nattt /var/lib/nattt /run/nattt
    check "no unit failed" [ -z "$(systemctl --failed --plain --no-legend)" ]
}

main
