#!/bin/bash
# One served host takes as much of natttd's DNS proxy as it can get; the others, and A's own programs,
# still get answers. N has a server (peers/upstream.py) whose names say how it behaves.
#
#   H1 192.168.0.2 --+-- A 198.51.100.10 --- N 198.51.100.53
#   H2 192.168.0.3 --+   (client, serves lan)
. "$(dirname "$0")/lib.sh"

node A N H1 H2
hub A lan 192.168.0.1/24
plug H1 eth0 192.168.0.2/24 A lan
plug H2 eth0 192.168.0.3/24 A lan
upstream_of_a
client_config A
printf '%s\n' 'pool = "198.18.0.0/15"' 'serve = ["lan"]' 'listen = ["127.0.0.1", "192.168.0.1"]' \
    'upstream = ["198.51.100.53:5310"]' >>"$RUN/A.toml"
start_natttd A

# asked NODE ADDRESS [OPTION...]: an answer there, once.
asked() { on "$1" dig @"$2" +short +tries=1 +time=3 "${@:3}" some.test; }
hog() { start "$1" "hog-$3" "$PYTHON" "$PEERS/dns_hog.py" "$2" "${@:3}"; }
others_are_served() {
    for how in +notcp +tcp; do
        same 1.1.1.1 "$(asked H2 192.168.0.1 $how)" "the other host's answer, $how"
        same 1.1.1.1 "$(asked A 127.0.0.1 $how)" "A's own answer, $how"
    done
}

# Questions: a half of the 256 for all hosts.
hog H1 192.168.0.1 udp 600
wait_for 10 "the questions" grep -q asked "$(log H1 hog-udp)"
others_are_served
more 0 "$(counter A proxy_host_full)" "questions refused for their host's share"
wait_for 70 "the hog's end" grep -qx '[0-9]*' "$(log H1 hog-udp)"
same 128 "$(tail -n 1 "$(log H1 hog-udp)")" "questions of one host that are open"
wait_for 10 "a line in the log" grep -q 'more, counter proxy_host_full' "$(log A natttd)"
same 0 "$(counter A proxy_full)" "questions refused because there was no room at all"
echo "ok - questions"

# The same on loopback: A's own programs are one, with the other half.
hog A 127.0.0.1 udp 600
wait_for 10 "the questions" grep -q asked "$(log A hog-udp)"
same 1.1.1.1 "$(asked H2 192.168.0.1)" "a host's answer"
wait_for 70 "the hog's end" grep -qx '[0-9]*' "$(log A hog-udp)"
same 256 "$(tail -n 1 "$(log A hog-udp)")" "questions of this host that are open"
echo "ok - questions of this host's own"

# Connections: a half of 64.
hog H1 192.168.0.1 tcp 150
wait_for 20 "the connections" grep -qx '[0-9]*' "$(log H1 hog-tcp)"
same 32 "$(cat "$(log H1 hog-tcp)")" "connections of one host"
others_are_served
same 118 "$(counter A proxy_connection_refused)" "connections refused"
kill -0 "${PID[H1-hog-tcp]}" || fail "the hog's connections have ended"
stop H1 hog-tcp
answered() { asked "$@" | grep -qx 1.1.1.1; }
wait_for 10 "places to come back" answered H1 192.168.0.1 +tcp
echo "ok - connections"
