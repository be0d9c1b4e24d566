#!/bin/bash
# A changed configuration takes effect without losing connections, or not at all: while a download, a
# connection, a UDP flow and a ping go on, both sides are told of other settings, exports, queues, pools,
# roles, of wrong files, and of what cannot be had.
#
#   A 198.51.100.10 --- R --- Y 203.0.113.1 | 192.168.0.1 --- B 192.168.0.2, C 192.168.0.3
. "$(dirname "$0")/lib.sh"

# configure NODE SED-SCRIPT: changes its file.
configure() {
    sed -i "$2" "$RUN/$1.toml"
}

# reload NODE: `nattt reload`.
reload() {
    on "$1" "$BIN/nattt" --socket "$RUN/$1.sock" reload --config "$RUN/$1.toml"
}

# changed NODE SED-SCRIPT: the changed file is in effect, with its rules, in the same process.
changed() {
    configure "$@"
    matches 'is in effect' "$(reload "$1")" "nattt reload on $1"
    same loaded "$(control "$1" status --json | jq -r .rules.state)" "rules on $1 with $2"
    same "${PID[$1-natttd]}" "$(control "$1" status --json | jq .pid)" "process on $1"
}

# hang_up NODE...: SIGHUP.
hang_up() {
    kill -HUP "${PID[$1-natttd]}"
}

# calls NODE, state NODE: how often natttd was called, and what became of the last one.
calls() { control "$1" status --json | jq '.reload.number // 0'; }
state() { control "$1" status --json | jq -c '.reload.state'; }
has_state() { [[ "$(state "$1")" == $2 ]]; }
has_calls() { [ "$(calls "$1")" = "$2" ]; }

# refuses NODE SED-SCRIPT WHY: neither way is it put into effect, both say why, and everything goes on.
refuses() {
    local before config=$RUN/$1.toml
    cp "$config" "$RUN/right"
    before=$(calls "$1")
    configure "$1" "$2"
    refused "nattt reload with $2" reload "$1"
    same 1 "$STATUS" "exit status of nattt reload"
    matches "$3" "$OUTPUT" "what nattt reload says of $2"
    before=$(calls "$1")
    hang_up "$1"
    wait_for 10 "the call to be counted" has_calls "$1" $((before + 1))
    matches "refused.*$3" "$(state "$1")" "what became of $2"
    matches "WARNING.*$3" "$(control "$1" status)" "the warning about $2"
    matches "$3.*goes on with the configuration" "$(cat "$(log "$1" natttd)")" "the log about $2"
    same loaded "$(control "$1" status --json | jq -r .rules.state)" "rules on $1 in spite of $2"
    cp "$RUN/right" "$config"
}

# has_line NODE PATTERN NAME: in the log of that process.
has_line() { grep -q "$2" "$(log "$1" "$3")"; }

fig1
head -c "${BIG_MB:-500}M" /dev/urandom >"$RUN/big"
nattt_gateway Y
nattt_client A
address=$(mapped A b.example)

# ---- what goes on while everything changes -----------------------------------------------------------

start A curl curl -sS --max-time 200 --limit-rate 30M -o "$RUN/got" "http://b.example/big"
start A ping ping -n -i 0.01 "$address"
start A talk "$PYTHON" "$PEERS/talk.py" b.example 7 one 'quiet 8' two
start A ask "$PYTHON" "$PEERS/ask.py" b.example 7 'delay 8 late'
wait_for 20 "the connection" has_line A one talk
wait_for 20 "a ping" has_line A 'icmp_seq=9' ping

changed A 's/^\[client\]/&\nanswer_ttl_s = 61/'
changed Y 's/^exports = .*/exports = ["192.168.0.0\/24", "192.168.0.1"]/'
# Three fewer queues, then others, then the first ones again.
changed A '$a [queues]\nworkers = 1'
changed Y '$a [queues]\nfirst = 27000'
changed A 's/^workers = 1/first = 27000/'
changed Y '/^\[queues\]/,$d'
changed A '/^\[queues\]/,$d'
changed A 's/^answer_ttl_s.*/keepalive_s = 5\nprivate_zones = ["example"]/'

# Another role comes and goes, and with it its port.
tunnel_port() { on A ss -Hlun 'sport = :100' | grep -c . || true; }
changed A '$a [gateway]\noutside = ["eth0"]\nexports = ["192.168.77.0/24"]'
matches 'client, gateway' "$(control A status)" "roles"
same 1 "$(tunnel_port)" "sockets on A's tunnel port"
changed A '/^\[gateway\]/,$d'
same 0 "$(tunnel_port)" "sockets on A's tunnel port"

# So does the DNS proxy, and so do names that are left alone.
asked() { on A dig +short +tries=1 +time=5 @127.0.0.1 -p 5300 "$@" b.example; }
changed A 's/^\[client\]/&\nlisten = ["127.0.0.1:5300"]/'
same "$address" "$(asked)" "what the proxy answers"
changed A 's/^listen/except_names = ["b.example"]\n&/'
same "" "$(asked +tcp)$(asked)$(lookup A b.example)" "answers for a name that is left alone"
changed A '/^except_names/d'
same "$address" "$(asked +tcp)" "what the same proxy answers"
same "$address" "$(lookup A b.example)" "what the name server answers"
# A question to a server that says nothing is open: no packet waits for that, and who asks again is
# answered by the next proxy.
changed A 's/^listen/upstream = ["198.51.100.99"]\n&/'
start A open dig +short +tries=2 +time=2 @127.0.0.1 -p 5300 b.example
asks() { on A ss -Hun dst 198.51.100.99 | grep -q .; }
wait_for 10 "the proxy to ask" asks
changed A '/^upstream/d'
waited=$(grep -o 'packets waited [0-9]*' "$(log A natttd)" | tail -n 1)
((${waited##* } < 290)) || fail "with a question open, $waited ms"
wait "${PID[A-open]}" || fail "dig: $(cat "$(log A open)")"
unset "PID[A-open]"
same "$address" "$(tail -n 1 "$(log A open)")" "the answer for whom the reload came in between"
changed A '/^listen/d'
same 0 "$(on A ss -Hln 'sport = :5300' | grep -c . || true)" "sockets on the proxy's port"

# The same file once more, ten times a second, and all at once.
before=$(calls A)
for number in {1..10}; do
    hang_up A
    hang_up Y
done
wait_for 10 "a call to be heard" has_state A '"done"'
for number in 1 2 3; do
    sed "s/^keepalive_s = .*/keepalive_s = 1$number/" "$RUN/A.toml" >"$RUN/A.new"
    mv "$RUN/A.new" "$RUN/A.toml"
    reload A >"$RUN/reload-$number.log" &
    hang_up A
done
wait $! || fail "the last of three reloads: $(cat "$RUN"/reload-*.log)"
wait_for 10 "all of them" has_state A '"done"'
more "$before" "$(calls A)" "calls"

# Packets wait in their queues meanwhile. Where the queue itself went, a few may go with it.
stop A ping INT
# Those on their way when ping ended are not lost.
lost=$(grep -oP 'bytes from .*icmp_seq=\K[0-9]+' "$(log A ping)" | sort -nu | awk '{ last = $1 } END { print last - NR }')
((lost <= 5)) || fail "pings: $(tail -n 2 "$(log A ping)")"

# ---- what is wrong, and what cannot be had -------------------------------------------------------------

line=$(grep -n '^keepalive_s' "$RUN/A.toml" | cut -d: -f1)
refuses A 's/^keepalive_s = /keepalife_s = /' "line $line: .*keepalive_s"
refuses Y 's/^exports = .*/exports = ["192.168.0.0\/33"]/' 'line [0-9]+: .*192\.168\.0\.0/33'
start Y grab "$PYTHON" -c 'import socket, time
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("", 101))
print("ready", flush=True)
time.sleep(600)'
wait_for 10 "port 101 to be taken" has_line Y ready grab
refuses Y 's/^exports/port = 101\n&/' 'UDP port 101 is taken'
refuses A 's/^state_dir = .*/state_dir = "\/proc\/none"/' 'state directory /proc/none'
refuses A '$a [queues]\nfirst = 26815' 'queue 268[0-9]+ is natttd.s own'
first=$(grep -o 'write .first = [0-9]*' <<<"$OUTPUT" | grep -o '[0-9]*$')
changed A "\$a [queues]\nfirst = $first"
changed A '/^\[queues\]/,$d'
on A ip address add 198.18.7.1/24 dev eth0
refuses A 's/^\[client\]/&\npool = "198.18.0.0\/15"/' 'shares addresses with this host'
on A ip address del 198.18.7.1/24 dev eth0
# A second natttd has the queues that the first one wants.
{
    sed "s/Y\.sock/Y-other.sock/; s/Y-state/Y-other-state/" "$RUN/Y.toml"
    printf 'port = 102\n[queues]\nfirst = 28000\nworkers = 1\n'
} >"$RUN/Y-other.toml"
start Y other "$BIN/natttd" --config "$RUN/Y-other.toml"
wait_for 20 "the other natttd" on Y "$BIN/nattt" --socket "$RUN/Y-other.sock" status
refuses Y '$a [queues]\nfirst = 28000' 'queue 28000: .*another program has bound it'
stop Y other

# natttd's own file has not changed, and rules of another one must not be loaded.
sed 's/^exports = .*/exports = ["192.168.0.3"]/' "$RUN/Y.toml" >"$RUN/another.toml"
refused "nattt reload of another file" \
    on Y "$BIN/nattt" --socket "$RUN/Y.sock" reload --config "$RUN/another.toml"
same 1 "$STATUS" "exit status of nattt reload of another file"
matches 'reads another file' "$OUTPUT" "what nattt reload says of another file"
same loaded "$(control Y status --json | jq -r .rules.state)" "rules on Y"

# ---- rules and daemon, one after the other, by hand -------------------------------------------------

configure A 's/^keepalive_s.*/&\nmax_flows = 5000/; $a [queues]\nworkers = 2'
hang_up A
wait_for 10 "natttd to wait for its rules" has_state A '*waiting*'
same "This is B." "$(fetch A b.example/)" "the page before the rules"
rules A apply
wait_for 10 "the new configuration" has_state A '"done"'
same 2 "$(control A status --json | jq '[.queues[] | select(.purpose == "data")] | length')" "queues"
configure A 's/^workers = 2/workers = 3/'
rules A apply
stale() { [ "$(control A status --json | jq -r .rules.state)" = stale ]; }
wait_for 10 "natttd to see rules that are not its own" stale
hang_up A
wait_for 10 "the new configuration" has_state A '"done"'
wait_for 10 "three queues" eval '[ "$(control A status --json | jq "[.queues[] | select(.purpose == \"data\")] | length")" = 3 ]'
same loaded "$(control A status --json | jq -r .rules.state)" "rules"
configure A '/^\[queues\]/,$d'
reload A

# ---- none of that was noticed ------------------------------------------------------------------------

wait "${PID[A-talk]}" || fail "the connection: $(cat "$(log A talk)")"
matches two "$(cat "$(log A talk)")" "the connection"
same 1 "$(grep -oE '198\.51\.100\.10:[0-9]+' "$(log A talk)" | sort -u | wc -l)" "ports that it had"
wait "${PID[A-ask]}" || fail "the late answer: $(cat "$(log A ask)")"
matches 'late$' "$(cat "$(log A ask)")" "the late answer"
wait "${PID[A-curl]}" || fail "curl: $(cat "$(log A curl)")"
same "$(sha256sum <"$RUN/big")" "$(sha256sum <"$RUN/got")" "SHA-256 of the download"
unset "PID[A-talk]" "PID[A-ask]" "PID[A-curl]"

# ---- hosts that are no longer exported ------------------------------------------------------------------

start A talk "$PYTHON" "$PEERS/talk.py" --timeout 3 unexported.example 7 one 'quiet 1' two
wait_for 20 "the connection to C" has_line A one talk
changed Y 's/^exports = .*/exports = ["192.168.0.2"]/'
STATUS=0
wait "${PID[A-talk]}" || STATUS=$?
unset "PID[A-talk]"
same 1 "$STATUS" "exit status of the old connection to C"
PATIENCE=1 refused "a new connection to C" fetch A unexported.example/
same "This is B." "$(fetch A b.example/)" "B's page"
same 0 "$(control Y flows --json | jq '[.. | strings | select(startswith("192.168.0.3"))] | length')" "flows to C"
changed Y 's/^exports = .*/exports = ["192.168.0.0\/24"]/'
same "This is C." "$(fetch A unexported.example/)" "C's page"

# ---- another mark, another pool, another socket --------------------------------------------------------

start A listener "$PYTHON" "$PEERS/server.py" A --files "$RUN"
wait_for 20 "the server on A" grep -q ready "$(log A listener)"
changed A '1i mark = 0x02000000'
same "This is B." "$(fetch A b.example/)" "the page with another mark"
changed A '/^mark/d'
changed A 's/^\[client\]/&\npool = "127.32.0.0\/16"/'
same "" "$(on A ip route show table local | grep '127\.64\.0\.0/10' || true)" "the route of the old pool"
matches '^127\.32\.' "$(lookup A b.example)" "an address of the new pool"
same "This is B." "$(fetch A b.example/)" "the page through the new pool"
changed A '/^pool/d'
same "" "$(on A ip route show table local | grep '127\.32\.0\.0/16' || true)" "the route of the new pool"
same "$address" "$(lookup A b.example)" "the address of b.example"
configure A "s|^control_socket.*|control_socket = \"$RUN/A-2.sock\"|"
reload A
[ ! -e "$RUN/A.sock" ] || fail "the old control socket is still there"
configure A "s|^control_socket.*|control_socket = \"$RUN/A.sock\"|"
on A "$BIN/nattt" --socket "$RUN/A-2.sock" reload --config "$RUN/A.toml"
control A status >/dev/null

# ---- a reply that waits for its NAT record --------------------------------------------------------------

start W slow_dns "$PYTHON" "$PEERS/slow_dns.py" 198.51.100.80 0.7
wait_for 10 "the slow name server" grep -q ready "$(log W slow_dns)"
held=$(counter A dns_held)
start A dig dig +short +tries=1 +time=5 @198.51.100.80 slow.example A
holds() { (($(counter A dns_held) > held)); }
wait_for 10 "a reply to wait" holds
changed A 's/^keepalive_s.*/keepalive_s = 20/'
wait "${PID[A-dig]}" || fail "dig: $(cat "$(log A dig)")"
unset "PID[A-dig]"
matches '^127\.' "$(cat "$(log A dig)")" "the answer that waited"

# The same at the proxy.
changed A 's/^\[client\]/&\nlisten = ["127.0.0.1:5300"]\nupstream = ["198.51.100.80"]/'
held=$(counter A dns_held)
start A dig dig +short +tries=1 +time=5 @127.0.0.1 -p 5300 slow.example A
wait_for 10 "a reply to wait at the proxy" holds
changed A 's/^keepalive_s.*/keepalive_s = 21/'
wait "${PID[A-dig]}" || fail "dig: $(cat "$(log A dig)")"
unset "PID[A-dig]"
matches '^127\.' "$(cat "$(log A dig)")" "the answer that waited at the proxy"

# ---- the end -----------------------------------------------------------------------------------------

# A stop in the middle of it is a stop.
for times in 1 2 3; do
    configure A "s/^keepalive_s.*/keepalive_s = 3$times/"
    hang_up A
    stop A natttd
    same 0 "$STATUS" "exit status of natttd"
    same "" "$(on A ip route show table local | grep 'local 127\.64\.' || true)" "an open route"
    start_natttd A
    same "This is B." "$(fetch A b.example/)" "the page after a stop"
done
stop A natttd
same 0 "$STATUS" "exit status of natttd"
refused "nattt reload without natttd" reload A
same 3 "$STATUS" "exit status of nattt reload without natttd"
