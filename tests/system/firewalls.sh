# Firewall managers on the nodes of a topology, each as Debian ships it, with a configuration, a bus and
# a state of its own. Sourced by the tests that need them, after lib.sh.

PACKAGING=$TESTS/../packaging
# Seconds after which what does not answer is taken for forbidden.
SHORT=${SHORT:-1}

# needs COMMAND...: skips the test where one is not installed.
needs() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || skip "$command is not installed"
    done
}

# gateway_without_site: Figure 1's networks where Y has no rules at all, and a host W that could reach
# Y's LAN directly, if Y let it.
gateway_without_site() {
    fig1
    on Y nft delete table ip site
    ip -n "$PREFIX-R" route add 192.168.0.0/24 via 203.0.113.1
}

# holds_as_gateway WHEN: the tunnel works, and so does all that Y's firewall was told: B's connections
# are masqueraded, port 5555 leads to C, nothing else comes in.
holds_as_gateway() {
    same "This is B." "$(fetch A b.example/)" "the page through the tunnel $1"
    matches '^198\.51\.100\.10:' "$(fetch A b.example/whoami)" "A as B sees it $1"
    guards "$1"
}

# guards WHEN: what Y's firewall was told, the tunnel apart.
guards() {
    matches '^203\.0\.113\.1:' "$(fetch B www.example/whoami)" "B as W sees it $1"
    same "This is C." "$(fetch W 203.0.113.1:5555/)" "Y's port forward $1"
    refused "B without a tunnel $1" fetch W 192.168.0.2/ --max-time "$SHORT"
    refused "a service of Y's own $1" fetch W 203.0.113.1/ --max-time "$SHORT"
}

# rules_are STATE NODE
rules_are() { [ "$(control "$2" status --json | jq -r .rules.state)" = "$1" ]; }

# repaired NODE: somebody has loaded other rules. What the package's nattt-repair.service does when natttd
# misses rules of ours: an iptables-restore, and firewalld at every reload, flush iptables' tables.
repaired() {
    rules_are loaded "$1" || rules "$1" apply
    wait_for 10 "natttd on $1 to see its rules" rules_are loaded "$1"
}

# tunnel_is_dropped WHEN
tunnel_is_dropped() {
    refused "the tunnel $1" fetch A b.example/ --max-time "$SHORT"
}

# advice NODE PATTERN: doctor sees that the firewall drops packets of ours, and what it says to do.
advice() {
    on "$1" "$BIN/nattt" --json doctor --config "$RUN/$1.toml" >"$RUN/report" || true
    FIX=$(jq -r '[.findings[] | select(.id == "firewall-drops") | .fix] | first // ""' "$RUN/report")
    matches "$2" "$FIX" "doctor's advice on $1"
}

# content NODE: doctor finds no packet of ours dropped.
content() {
    on "$1" "$BIN/nattt" --json doctor --config "$RUN/$1.toml" >"$RUN/report" || true
    same "" "$(jq -r '.findings[] | select(.id == "firewall-drops") | .what' "$RUN/report")" \
        "what doctor says is dropped on $1"
}

# ---- ufw -----------------------------------------------------------------------------------------

# ufw_on NODE [ARG...]: `ufw` with NODE's own /etc/ufw; made at the first call.
ufw_on() {
    local etc=$RUN/$1-ufw
    if [ ! -d "$etc" ]; then
        mkdir -p "$etc"
        cp -a /etc/ufw/. "$etc/"
        sed 's/^IPV6=.*/IPV6=no/' /etc/default/ufw >"$etc/default"
    fi
    on "$1" unshare -m bash -c 'mount --bind "$0" /etc/ufw && mount --bind "$0/default" /etc/default/ufw &&
        exec ufw "$@"' "$etc" "${@:2}"
}

# ---- firewalld -----------------------------------------------------------------------------------

# firewalld_on NODE: starts it, or starts it again, on a message bus of its own.
firewalld_on() {
    local etc=$RUN/$1-firewalld
    if [ ! -d "$etc" ]; then
        mkdir -p "$etc"/{zones,policies,services,icmptypes,ipsets,helpers}
        cp /etc/firewalld/firewalld.conf "$etc/"
        cat >"$etc/bus.conf" <<XML
<busconfig>
  <type>system</type>
  <listen>unix:path=$etc/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/>
  </policy>
</busconfig>
XML
        start "$1" bus dbus-daemon --nofork --nopidfile --config-file="$etc/bus.conf"
        wait_for 20 "a message bus on $1" test -S "$etc/bus"
    fi
    start "$1" firewalld env DBUS_SYSTEM_BUS_ADDRESS="unix:path=$etc/bus" \
        firewalld --nofork --nopid --system-config "$etc" --log-target console
    wait_for 30 "firewalld on $1" firewall_cmd "$1" --state
}

# firewall_cmd NODE ARG...
firewall_cmd() {
    on "$1" env DBUS_SYSTEM_BUS_ADDRESS="unix:path=$RUN/$1-firewalld/bus" firewall-cmd "${@:2}"
}

# firewalld_reloads NODE --reload|--complete-reload. An emulated machine under load takes longer than the 25 s
# after which D-Bus gives up waiting.
firewalld_reloads() {
    local said
    said=$(firewall_cmd "$@" 2>&1) || [[ "$said" == *'Did not receive a reply'* ]] || fail "firewall-cmd $2 on $1: $said"
    wait_for 30 "firewalld on $1" firewall_cmd "$1" --state
}

# ---- docker --------------------------------------------------------------------------------------

# With DOCKER=replayed there is no dockerd, which takes minutes to start where a machine is emulated: its rules
# are those that t-docker has seen it load, and a host has the container's place.
DOCKER_RULES=$TESTS/system/docker.rules
replayed() { [ "${DOCKER:-}" = replayed ]; }

# docker_on NODE: starts dockerd, or starts it again.
docker_on() {
    local state=$RUN/$1-docker
    if replayed; then
        hub "$1" docker0 172.17.0.1/16
        on "$1" sysctl -qw net.ipv4.ip_forward=1
        on "$1" iptables-restore <"$DOCKER_RULES"
        return
    fi
    mkdir -p "$state"
    start "$1" dockerd unshare -m "$TESTS/system/peers/dockerd.sh" "$state"
    wait_for 60 "dockerd on $1" docker_cmd "$1" info
}

# container NODE: answers port 80, published as 8080, and port 81, which is not. Programs are the host's.
container() {
    local port serve='/bin/busybox httpd -p 81 -h /www; exec /bin/busybox httpd -f -p 80 -h /www'
    mkdir -p "$RUN/$1-image/bin" "$RUN/$1-image/www"
    echo "This is a container of $1." >"$RUN/$1-image/www/index.html"
    if replayed; then
        host "$1-web" 172.17.0.2/16 172.17.0.1 "$1" docker0
        for port in 80 81; do
            start "$1-web" "port-$port" busybox httpd -f -p "$port" -h "$RUN/$1-image/www"
        done
        wait_for 20 "the host in the container's place on $1" fetch "$1" 172.17.0.2/
        return
    fi
    cp "$(command -v busybox)" "$RUN/$1-image/bin/"
    tar -C "$RUN/$1-image" -c . | docker_cmd "$1" import - box >/dev/null
    docker_cmd "$1" run -d --restart always --stop-timeout 0 -p 8080:80 --name web \
        -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro box /bin/busybox sh -c "$serve" >/dev/null
    wait_for 20 "the container on $1" fetch "$1" 127.0.0.1:8080/
}

# contained NODE URL: an HTTP GET by curl in the container.
contained() {
    if replayed; then
        fetch "$1-web" "$2"
    else
        docker_cmd "$1" exec web /usr/bin/curl -sS --max-time "${PATIENCE:-20}" "http://$2"
    fi
}

# docker_rules_are_known NODE: dockerd and its container have loaded what is replayed elsewhere. WRITE=1 records it.
docker_rules_are_known() {
    local rules
    ! replayed || return 0
    rules=$(on "$1" iptables-save | sed '/^#/d; s/\[[0-9]*:[0-9]*\]/[0:0]/')
    [ -z "${WRITE:-}" ] || echo "$rules" >"$DOCKER_RULES"
    same "$(cat "$DOCKER_RULES")" "$rules" "dockerd's rules (WRITE=1 records them anew)"
}

# docker_off NODE: stops it. `unshare` itself ignores the signal.
docker_off() {
    kill -TERM "$(ps -o pid= --ppid "${PID[$1-dockerd]}" | tr -d ' ')"
    wait "${PID[$1-dockerd]}" 2>/dev/null || true
    unset "PID[$1-dockerd]"
}

docker_cmd() {
    on "$1" docker -H "unix://$RUN/$1-docker/docker.sock" "${@:2}"
}
