# Every transport protocol from one node to another. Sourced by lib.sh.

# answer_every_protocol NODE BOX...: peers/raw.py on NODE answers those for which this kernel may have
# no sockets. On BOX..., which track its connections, Linux's conntrack verifies UDP-Lite as if it were
# UDP (it puts 17 into the pseudo header) and calls what is right invalid, wherever no network card has
# verified it before.
answer_every_protocol() {
    local box
    for box in "${@:2}"; do
        on "$box" sysctl -qw net.netfilter.nf_conntrack_checksum=0
    done
    start "$1" raw "$PYTHON" "$PEERS/raw.py" answer "$1"
    wait_for 10 "raw.py on $1" grep -q ready "$(log "$1" raw)"
}

# every_protocol CLIENT NAME SEEN [SERVER]: NAME leads to SERVER (B), which sees SEEN.
every_protocol() {
    same "This is ${4:-B}." "$(fetch "$1" "$2/")" "the page at $1"
    matches "^${3//./\\.}:" "$(fetch "$1" "$2/whoami")" "$1 as ${4:-B} sees it by TCP"
    matches "^${4:-B} saw ${3//./\\.}:[0-9]+: hello\$" "$(ask "$1" "$2" 7 hello)" "UDP from $1"
    on "$1" ping -n -c 1 -W 5 "$2" >/dev/null || fail "no answer to a ping from $1"
    with_ports "$@"
    addresses_only "$@"
}

# with_ports CLIENT NAME SEEN [SERVER]: protocols with ports, of which NATTT may change the client's. Where
# the kernel translates a source (MASQUERADED), it must know DCCP: Linux from 6.17 on does not, and leaves
# the checksum wrong. tests/vm/topologies.sh has a kernel that does.
with_ports() {
    local protocol protocols="sctp dccp udplite"
    if [ -n "${MASQUERADED:-}" ] && ! on "$1" sysctl -n net.netfilter.nf_conntrack_dccp_loose; then
        protocols="sctp udplite"
    fi >/dev/null 2>&1
    for protocol in $protocols; do
        matches "^${4:-B} saw ${3//./\\.}:[0-9]+: hello $protocol\$" \
            "$(raw "$1" "$2" "$protocol" "hello $protocol")" "$protocol from $1"
    done
}

# addresses_only CLIENT NAME SEEN [SERVER]: GRE, ESP, and a protocol nobody has named.
addresses_only() {
    local protocol
    for protocol in 47 50 253; do
        same "${4:-B} saw $3:0: hello $protocol" \
            "$(raw "$1" "$2" "$protocol" "hello $protocol")" "protocol $protocol from $1"
    done
}

# raw NODE NAME PROTOCOL TEXT [PORTS]: one packet and its answer, see peers/raw.py.
raw() {
    on "$1" "$PYTHON" "$PEERS/raw.py" ask "$3" "$(mapped "$1" "$2")" "${5:-4000:4001}" "$4"
}
