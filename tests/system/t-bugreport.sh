#!/bin/bash
# `nattt bugreport`: with and without natttd; what must not be in it is not; no file is overwritten.
. "$(dirname "$0")/lib.sh"

# report NODE [OPTION...]: in $RUN/report.
report() {
    on "$1" "$BIN/nattt" --socket "$RUN/$1.sock" bugreport --config "$RUN/$1.toml" "${@:2}" >"$RUN/report"
}

# has PATTERN WHAT
has() {
    grep -qE "$1" "$RUN/report" || fail "$2: /$1/ is not in $(cat "$RUN/report")"
}

lacks() {
    ! grep -E "$1" "$RUN/report" || fail "$2 is in the report"
}

fig1
on A nft add rule ip site input ip saddr 192.0.2.66 counter drop comment \"competitor\"
on A iptables -A OUTPUT -d 192.0.2.67 -j DROP
nattt_gateway Y
client_config A
# A key that this release does not know is wrong, and stays at home all the same.
cp "$RUN/A.toml" "$RUN/A.good"
echo 'api_key = "open sesame"' >>"$RUN/A.toml"

report A
has '^WRONG: .*api_key' "what is wrong with the configuration"
has '^api_key = \(left out\)' "the place of the key"
lacks 'open sesame' "a key"
has '^no natttd listens' "no daemon"
has '^PROBLEM ' "a finding"

mv "$RUN/A.good" "$RUN/A.toml"
start_natttd A
same "This is B." "$(fetch A b.example/)" "the page"
report A --lines 5
has '^nattt [0-9.]+$' "the version"
has "^Linux $(uname -r) " "the kernel"
has '^firewall = ' "the configuration"
has '^Daemon: +natttd [0-9.]+, process' "the status"
has '^client_encapsulated +[1-9]' "the counters"
has 'NATTT-OUTPUT' "our rules"
has '^ip site input: input 0 drop, [34] rules' "the chain of somebody else"
has '^net/ipv4/udp_early_demux = 0' "a setting"
has '^eth0 198\.51\.100\.10/24' "an address"
has '^nameserver 198\.51\.100\.53' "the name server"
lacks '192\.0\.2\.6[67]|competitor' "a rule of somebody else"
lacks 'b\.example|203\.0\.113\.1([^0-9]|$)' "whom this host talks to"

report A --anonymous
lacks '198\.51\.100\.|'"$(on A cat /proc/sys/kernel/hostname)" "an address or the host's name"
has '^nameserver public-' "the place of the name server"
on A "$BIN/nattt" --json --socket "$RUN/A.sock" bugreport --config "$RUN/A.toml" |
    jq -e '[.sections[] | select(.title == "Status")] | length == 1' >/dev/null || fail "JSON"

report Y --output "$RUN/file"
has 'read it before you send it' "advice"
same 600 "$(stat -c %a "$RUN/file")" "who may read the file"
grep -q '^Roles: *gateway' "$RUN/file" || fail "the gateway's report"
refused "a second report to the same file" report Y --output "$RUN/file"
same 1 "$STATUS" "its exit status"
