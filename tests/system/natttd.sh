# natttd on the nodes of a topology. Sourced by lib.sh.

# Which kind of rules: kernels without nft's `queue` statement need the iptables flavour.
FLAVOUR=${FLAVOUR:-iptables}

# nattt_client NODE...: configures and starts the client role.
nattt_client() {
    local name
    for name in "$@"; do
        client_config "$name"
        start_natttd "$name"
    done
}

# nattt_gateway NODE [EXPORT]: configures and starts the gateway role.
nattt_gateway() {
    gateway_config "$@"
    start_natttd "$1"
}

client_config() {
    { daemon_config "$1" && echo '[client]'; } >"$RUN/$1.toml"
}

gateway_config() {
    {
        daemon_config "$1"
        echo '[gateway]'
        echo 'outside = ["wan"]'
        echo "exports = [\"${2:-192.168.0.0/24}\"]"
    } >"$RUN/$1.toml"
}

daemon_config() {
    cat <<TOML
firewall = "$FLAVOUR"

[daemon]
state_dir = "$RUN/$1-state"
control_socket = "$RUN/$1.sock"

TOML
}

# start_natttd NODE: loads the rules, starts the daemon, waits until it answers.
start_natttd() {
    mkdir -p "$RUN/$1-state"
    rules "$1" apply
    start "$1" natttd "$BIN/natttd" --config "$RUN/$1.toml"
    wait_for 20 "natttd on $1" control "$1" status
}

# rules NODE apply|print|remove
rules() {
    on "$1" "$BIN/nattt" rules "$2" --config "$RUN/$1.toml" --flavour "$FLAVOUR"
}

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

# control NODE status|mappings|flows|counters [--json]: asks the daemon on NODE.
control() {
    on "$1" "$BIN/nattt" --socket "$RUN/$1.sock" "${@:2}"
}

# counter NODE NAME: a counter's value.
counter() {
    control "$1" counters --json |
        jq -e --arg name "$2" 'first(.. | objects | select(.name? == $name) | .value)'
}

# queued NODE: packets that the kernel has handed to the daemon so far, by the kernel's own count.
queued() {
    on "$1" awk '{ packets += $8 } END { print packets + 0 }' /proc/net/netfilter/nfnetlink_queue
}

# ---- what an application on a node sees ----------------------------------------------------------

# lookup NODE NAME: the addresses that the name server's answer holds.
lookup() {
    on "$1" dig +short +tries=1 +time=5 "$2" A
}

has_address() { [ -n "$(lookup "$1" "$2")" ]; }

# mapped NODE NAME: the same, and it must be an address of the default pool, or of 198.18.0.0/15.
mapped() {
    local address
    address=$(lookup "$1" "$2" | tail -n 1)
    # natttd lets a reply go after a second, which the first one may exceed where a machine is emulated.
    if [ -z "$address" ] && [ -n "${SLOW:-}" ]; then
        wait_for 5 "an address of $2 at $1" has_address "$1" "$2"
        address=$(lookup "$1" "$2" | tail -n 1)
    fi
    matches '^(127\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])|198\.1[89])\.' "$address" "address of $2 at $1"
    echo "$address"
}

# fetch NODE URL [OPTION...]: an HTTP GET by curl. Exit 7 is "refused", 28 is "timed out".
fetch() {
    on "$1" curl -sS --max-time "${PATIENCE:-20}" "${@:3}" "http://$2"
}

# ask NODE HOST PORT TEXT [OPTION...]: one UDP datagram and its answer, see peers/ask.py.
ask() {
    on "$1" "$PYTHON" "$PEERS/ask.py" "${@:2}"
}
