#!/bin/bash
# `only_names` and `except_names`: replies about other names are never held, whoever captures them.
. "$(dirname "$0")/lib.sh"

# chosen LINE...: natttd on A with these lines under [client], and a proxy at port 5300.
chosen() {
    [ -z "${PID[A-natttd]:-}" ] || stop A natttd
    client_config A
    printf '%s\n' 'listen = ["127.0.0.1:5300"]' "$@" >>"$RUN/A.toml"
    start_natttd A
}
proxied() { on A dig +short +tries=1 +time=5 @127.0.0.1 -p 5300 "$1" A; }

# alone NAME: left alone, at once.
alone() {
    local held
    held=$(counter A dns_held)
    same "" "$(lookup A "$1")$(proxied "$1")" "the address of $1"
    same "$held" "$(counter A dns_held)" "replies that waited, after $1"
    same left-alone "$(control A explain "$1" --json | jq -r .conclusion)" "what explain says of $1"
}

fig1
nattt_gateway Y
chosen 'only_names = ["B.Example", "alias.example."]'
address=$(mapped A b.example)
same "$address" "$(proxied b.example)" "b.example by the proxy"
same "This is B." "$(fetch A b.example/)" "the page"
alone c.example
# The name that is asked for counts, not the end of its aliases.
same "$address" "$(mapped A alias.example)" "an alias"

chosen 'except_names = ["*.example"]'
alone b.example
matches 'leaves this name alone' "$(control A explain b.example || true)" "explain in words"
matches 'Names: +all but \*\.example' "$("$BIN/nattt" check --config "$RUN/A.toml")" "nattt check"
chosen 'only_names = ["example"]' 'except_names = ["b.example"]'
alone b.example
mapped A c.example >/dev/null
