#!/bin/bash
# The interface of served hosts is deleted and made anew, as containers' bridges and VPNs are: natttd's
# DNS proxy listens there again.
#
#   H1 192.168.0.2 --- A 192.168.0.1 | 198.51.100.10 --- N 198.51.100.53
. "$(dirname "$0")/lib.sh"

node A N H1
ip -n "$PREFIX-A" link add eth0 type veth peer name eth0 netns "$PREFIX-N"
ip -n "$PREFIX-A" address add 198.51.100.10/24 dev eth0
ip -n "$PREFIX-N" address add 198.51.100.53/24 dev eth0
for name in A N; do ip -n "$PREFIX-$name" link set eth0 up; done
start N upstream "$PYTHON" "$PEERS/upstream.py" 198.51.100.53 5310
wait_for 20 "the server" grep -q ready "$(log N upstream)"

# lan: the interface, and its address later than that.
lan() {
    ip -n "$PREFIX-A" link add lan type veth peer name eth0 netns "$PREFIX-H1"
    ip -n "$PREFIX-H1" address add 192.168.0.2/24 dev eth0
    ip -n "$PREFIX-H1" link set eth0 up
    ip -n "$PREFIX-A" link set lan up
    ip -n "$PREFIX-A" address add 192.168.0.1/24 dev lan
}
answered() { on H1 dig @192.168.0.1 +short +tries=1 +time=1 "$@" some.test | grep -qx 1.1.1.1; }
again() { (($(grep -c "listens at 192.168.0.1:53 again" "$(log A natttd)") == $1)); }

lan
client_config A
printf '%s\n' 'pool = "198.18.0.0/15"' 'serve = ["lan"]' 'listen = ["127.0.0.1", "192.168.0.1"]' \
    'upstream = ["198.51.100.53:5310"]' >>"$RUN/A.toml"
start_natttd A
wait_for 10 "an answer" answered

# Once, and once more.
for times in 1 2; do
    ip -n "$PREFIX-A" link delete lan
    lan
    wait_for 10 "natttd to listen again" again "$times"
    for how in +notcp +tcp; do wait_for 10 "an answer after it, $how" answered "$how"; done
done
same 2 "$(on A ss -Hlnut 'src 192.168.0.1' | grep -c :53)" "sockets there"
echo "ok - the interface came back"

# Another configuration while it is away.
ip -n "$PREFIX-A" link delete lan
sed -i 's/^\[client\]/&\nkeepalive_s = 5/' "$RUN/A.toml"
on A "$BIN/nattt" --socket "$RUN/A.sock" reload --config "$RUN/A.toml"
lan
wait_for 10 "natttd to listen again" again 3
wait_for 10 "an answer after a reload" answered
same 1.1.1.1 "$(on A dig @127.0.0.1 +short some.test)" "an answer on loopback"
echo "ok - a reload meanwhile"
