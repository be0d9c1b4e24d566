# Records made by `nattt record make`, served by real name servers. Sourced by t-record-*.sh, one for
# each server.

# The names that are served, and their paths: one box; two ways; eight boxes; a port; odd labels.
declare -A PATHS=(
    [b.example]="203.0.113.1:100 192.168.0.2"
    [two.example]="203.0.113.1:100 192.168.0.2|203.0.113.2:100 192.168.0.2"
    [eight.example]="203.0.113.1:100 10.0.0.2:100 10.0.0.3:100 10.0.0.4:100 10.0.0.5:100 10.0.0.6:100 10.0.0.7:100 10.0.0.8:65535 192.168.0.2"
    [_x-1.sub.example]="203.0.113.1:4500 192.168.0.2"
)

# needs PROGRAM: skips the test where the server is not installed.
needs() {
    command -v "$1" >/dev/null || skip "$1 is not installed"
}

# record ARGUMENT...: nattt record, which needs no daemon and no rights.
record() {
    "$BIN/nattt" record "$@"
}

# with_name NAME: such a name is served, too, where the syntax has escapes.
with_name() {
    PATHS[$1]="203.0.113.1:100 192.168.0.2"
}

# made FORMAT: the lines for all names.
made() {
    local name paths
    for name in "${!PATHS[@]}"; do
        IFS='|' read -ra paths <<<"${PATHS[$name]}"
        record make "$name" "${paths[@]}" --format "$1" 2>/dev/null
    done
}

# zone_file FORMAT: a whole zone.
zone_file() {
    cat <<'ZONE'
$ORIGIN example.
$TTL 300
@    SOA ns.example. hostmaster.example. 1 3600 600 86400 60
     NS  ns.example.
ns   A   198.51.100.53
www  A   198.51.100.80
ZONE
    made "$1"
}

# served NODE SERVER: waits until the server answers; then every name's records are what was asked
# for, octet by octet, by dig and by nattt; and A is answered by NODATA, without which no client
# would ask for them.
served() {
    local name expected reply
    wait_for 20 "the server on $1" on "$1" dig +time=1 +tries=1 "@$2" b.example TYPE65324 +short
    for name in "${!PATHS[@]}"; do
        expected=$(tr '|' '\n' <<<"${PATHS[$name]}" | sort)
        same "$(hex_of "$name")" "$(on "$1" dig +short "@$2" "$name" TYPE65324 | octets)" \
            "octets of $name"
        reply=$(on "$1" dig "@$2" "$name" TYPE65324)
        same "$expected" "$(record decode "$reply" --json 2>/dev/null | paths)" "dig about $name"
        same "$expected" "$(on "$1" "$BIN/nattt" record lookup "$name" --server "$2" --json 2>/dev/null | paths)" \
            "lookup of $name"
        reply=$(on "$1" dig "@$2" "$name" A)
        matches 'status: NOERROR' "$reply" "A of $name"
        matches 'ANSWER: 0' "$reply" "A of $name"
    done
}

# hex_of NAME: what the octets must be, by another way than nattt's.
hex_of() {
    tr '|' '\n' <<<"${PATHS[$1]}" | while read -r path; do
        for part in $path; do
            IFS='.:' read -r a b c d port <<<"$part"
            printf '%02X%02X%02X%02X' "$a" "$b" "$c" "$d"
            [ -z "$port" ] || printf '%04X' "$port"
        done
        echo
    done | sort
}

# octets: the hex of dig's short lines `\# LENGTH HEX [HEX...]`, whose length must be right.
octets() {
    local length hex
    while read -r _ length hex; do
        hex=${hex// /}
        ((${#hex} == 2 * length)) || fail "$length octets, but $hex"
        echo "$hex"
    done | sort
}

# paths: those in nattt's JSON.
paths() {
    jq -r '.records[].path' | sort
}

# bind NODE ADDRESS STATEMENTS: BIND with the zone file from standard input.
bind() {
    mkdir -p "$RUN/bind"
    cat >"$RUN/bind/example.zone"
    named_on "$1" bind "$2" "$3"
}
