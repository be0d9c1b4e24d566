#!/bin/bash
# natttd refuses a bad configuration: exit status, file, line, and no start. `nattt check` says the same.
. "$(dirname "$0")/lib.sh"

# complains LINE ABOUT <<< TEXT: natttd must refuse the text and name the line.
complains() {
    cat >"$RUN/bad.toml"
    refused "natttd with $2" on A timeout 10 "$BIN/natttd" --config "$RUN/bad.toml"
    ((STATUS != 124)) || fail "natttd runs with $2"
    ((STATUS < 128 && STATUS != 101)) || fail "natttd crashed on $2: $OUTPUT"
    matches 'bad\.toml' "$OUTPUT" "the file in the message about $2"
    [ -z "$1" ] || matches "(line |:)$1([^0-9]|\$)" "$OUTPUT" "the line in the message about $2"
    said=${OUTPUT#*bad.toml: }
    refused "nattt check of $2" "$BIN/nattt" check --config "$RUN/bad.toml"
    same 1 "$STATUS" "the exit status of nattt check"
    same "$said" "${OUTPUT#*bad.toml: }" "natttd's words about $2, and nattt's"
}

node A
complains 3 "an unknown key" <<'TOML'
firewall = "iptables"
[client]
pol = "127.64.0.0/10"
TOML
complains 2 "something that is not TOML" <<'TOML'
[client]
pool 127.64.0.0/10
TOML
complains 3 "a pool that resolvers and distributions use" <<'TOML'
[client]
# The whole of 127/8 is too much.
pool = "127.0.0.0/8"
TOML
complains 3 "an export that is no prefix" <<'TOML'
[gateway]
outside = ["wan"]
exports = ["192.168.0.0/33"]
TOML
complains 3 "a wrong type" <<'TOML'
[client]
[daemon]
control_socket = 7
TOML
complains 2 "a DNS proxy for everybody" <<'TOML'
[client]
listen = ["0.0.0.0:53"]
TOML
complains 3 "a DNS proxy that asks itself" <<'TOML'
[client]
listen = ["127.0.0.1:53"]
upstream = ["127.0.0.1"]
TOML
complains 2 "a name in another alphabet" <<'TOML'
[client]
except_names = ["bücher.example"]
TOML
complains "" "a gateway without exports" <<'TOML'
[gateway]
outside = ["wan"]
TOML
complains "" "no role at all" <<'TOML'
firewall = "iptables"
TOML

refused "natttd without its file" on A timeout 10 "$BIN/natttd" --config "$RUN/absent.toml"
matches 'absent\.toml' "$OUTPUT" "the file in the message"

# And a good one starts.
nattt_client A
matches '127\.64\.0\.0/10' "$("$BIN/nattt" check --config "$RUN/A.toml")" "what it means"
control A status >/dev/null
