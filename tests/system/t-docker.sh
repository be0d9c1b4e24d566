#!/bin/bash
# dockerd and a container with a published port on Y, beside a user's own masquerading and port forward.
# Docker sets FORWARD to drop; packaging/firewall/docker.conf lets the tunnel through, whoever comes first,
# and docker's rules hold. On A a container is a client of the tunnel, through `serve`.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/firewalls.sh"
replayed || needs dockerd runc
needs busybox

# A user's own, in iptables' language, and where docker says that a user's rules belong.
own_rules() {
    on Y iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
    on Y iptables -t nat -I PREROUTING -i wan -p tcp --dport 5555 -j DNAT --to-destination 192.168.0.3:80
    on Y iptables -A INPUT -i wan -p tcp --dport 80 -j DROP
    on Y iptables -I DOCKER-USER -i lan -o wan -j ACCEPT
    on Y iptables -I DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
    on Y iptables -I DOCKER-USER -i wan -s 198.51.100.53 -m conntrack --ctstate NEW -j DROP
}

published() {
    same "This is a container of Y." "$(fetch W 203.0.113.1:8080/)" "the published port $1"
    refused "the published port for N, whom DOCKER-USER forbids it, $1" fetch N 203.0.113.1:8080/ --max-time "$SHORT"
    refused "a port that is not published $1" fetch W 172.17.0.2:81/ --max-time "$SHORT"
}

# told NODE: what docker.conf has systemd run after dockerd.
told() { on "$1" bash -c "$(sed -n 's/^ExecStartPost=//p' "$PACKAGING/firewall/docker.conf")"; }

gateway_without_site
on A nft delete table ip site
serve Y
ip -n "$PREFIX-R" route add 172.17.0.0/16 via 203.0.113.1
on Y sysctl -qw net.ipv4.ip_forward=0
docker_on Y
container Y
docker_rules_are_known Y
own_rules
guards "before NATTT"
published "before NATTT"

nattt_gateway Y
nattt_client A
tunnel_is_dropped "before docker was told"
advice Y '^run `iptables -I DOCKER-USER -m connmark --mark 0x04000000/0x04000000 -j ACCEPT`'
on Y bash -c "$(sed 's/^run `//; s/`.*//' <<<"$FIX")"
content Y
holds_as_gateway "as doctor said"
on Y iptables -D DOCKER-USER -m connmark --mark 0x04000000/0x04000000 -j ACCEPT
tunnel_is_dropped "without that again"
told Y
holds_as_gateway "by docker.conf"
published "by docker.conf"

if ! replayed; then
    docker_off Y
    docker_on Y
    told Y
    wait_for 20 "the container after a restart" fetch Y 127.0.0.1:8080/
    same 1 "$(on Y iptables -S DOCKER-USER | grep -c connmark)" "rules of docker.conf after a restart"
    content Y
    holds_as_gateway "after a restart: docker came last"
    published "after a restart"
    docker_off Y
fi

# ---- a container as the client, of A --------------------------------------------------------------
on A sysctl -qw net.ipv4.ip_forward=0
docker_on A
container A
stop A natttd
rules A remove
printf '%s\n' 'pool = "198.18.0.0/15"' 'serve = ["docker0"]' >>"$RUN/A.toml"
start_natttd A
content A
same "This is B." "$(contained A b.example/)" "B's page in a container"
matches '^198\.51\.100\.10:' "$(contained A b.example/whoami)" "it, as B sees it"
same "This is W." "$(contained A www.example/)" "a public page in a container"
same "This is B." "$(fetch A b.example/)" "B's page at A itself"
same "This is a container of A." "$(fetch W 198.51.100.10:8080/)" "A's published port"
refused "an unpublished port of A's container" fetch B 172.17.0.2:81/ --max-time "$SHORT"
if ! replayed; then
    docker_cmd A restart -t 0 web >/dev/null
    wait_for 20 "the container after a restart" fetch A 127.0.0.1:8080/
    same "This is B." "$(contained A b.example/)" "B's page after a restart"
fi
