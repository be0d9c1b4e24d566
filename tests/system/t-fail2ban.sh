#!/bin/bash
# fail2ban at B, with its nftables action, bans a client's real address that misbehaved through the tunnel, and no
# other client. At Y its actions for FORWARD do the same for B; one for INPUT does not.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/firewalls.sh"
needs fail2ban-server fail2ban-client

# fail2ban_on NODE ACTION LOG: bans who asks for /secret, as LOG tells.
fail2ban_on() {
    local etc=$RUN/$1-fail2ban
    cp -r /etc/fail2ban "$etc"
    rm -f "$etc"/jail.d/* "$etc"/{jail,fail2ban}.local
    printf '[Definition]\nfailregex = ^tcp <HOST>:\\d+ GET /secret\n' >"$etc/filter.d/server.conf"
    printf '[Definition]\nallowipv6 = no\nlogtarget = STDOUT\ndbfile = None\n' >"$etc/fail2ban.local"
    cat >"$etc/jail.local" <<INI
[server]
enabled = true
backend = polling
filter = server
datepattern = {NONE}
logpath = $3
maxretry = 2
bantime = 600
ignoreip =
action = $2
INI
    start "$1" fail2ban fail2ban-server -f -c "$etc" -s "$etc/socket" -p "$etc/pid" start
    wait_for 20 "fail2ban on $1" fail2ban "$1" status server
}

fail2ban() { on "$1" fail2ban-client -c "$RUN/$1-fail2ban" -s "$RUN/$1-fail2ban/socket" "${@:2}"; }

# misbehaves NODE: twice, so that B's log shows its real address.
misbehaves() {
    fetch "$1" b.example/secret1 >/dev/null
    fetch "$1" b.example/secret2 >/dev/null
}

# shut_out WHERE: A is, and A1 is not.
shut_out() {
    wait_for 20 "A to be banned $1" is_refused
    refused "the page for A $1" fetch A b.example/ --max-time "$SHORT"
    same "This is B." "$(fetch A1 b.example/)" "the page for A1 $1"
}
is_refused() { ! fetch A b.example/ --max-time "$SHORT"; }

fig2
nattt_gateway Y
nattt_client A A1
same "This is B." "$(fetch A b.example/)" "the page for A"
same "This is B." "$(fetch A1 b.example/)" "the page for A1"

fail2ban_on B 'nftables[type=allports, name=server, protocol=tcp]' "$(log B server)"
misbehaves A
shut_out "at B"
same 7 "$STATUS" "curl's exit status: B's reject arrives through the tunnel"
fail2ban B set server unbanip 198.51.100.10 >/dev/null
same "This is B." "$(fetch A b.example/)" "the page for A after its ban"
stop B fail2ban

fail2ban_on Y 'iptables-allports[name=server, chain=INPUT]' "$(log B server)"
misbehaves A
in_input() { on Y iptables -S f2b-server | grep -q 198.51.100.10; }
wait_for 20 "a ban of A in INPUT" in_input
matches '-A INPUT .*f2b-server' "$(on Y iptables -S)" "where Y bans"
same "This is B." "$(fetch A b.example/)" "the page for A, whom Y bans in INPUT: tunnels are forwarded"
stop Y fail2ban
rm -rf "$RUN/Y-fail2ban"
for action in 'iptables-allports[name=server, chain=FORWARD, blocktype=DROP]' \
    'nftables[type=allports, name=server, protocol=tcp, chain_hook=forward, blocktype=drop]'; do
    fail2ban_on Y "$action" "$(log B server)"
    misbehaves A
    shut_out "by Y's $action"
    same "This is C." "$(fetch W 203.0.113.1:5555/)" "Y's port forward meanwhile"
    fail2ban Y set server unbanip 198.51.100.10 >/dev/null
    same "This is B." "$(fetch A b.example/)" "the page for A after its ban by Y"
    stop Y fail2ban
    rm -rf "$RUN/Y-fail2ban"
done
