#!/bin/bash
# A router whose public address changes keeps its NAT record right, by signed updates to a real BIND;
# whoever may not do that is told why.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"

# publish NODE ARGUMENT...: with the key of home, to N's zone, unless the arguments say otherwise.
publish() {
    on "$1" "$BIN/nattt" record publish "${@:2}"
}
WITH=(--server 198.51.100.53 --zone example --key-file)
AT=("${WITH[@]}" "$RUN/home.key")

# published: the octets of b.example's records.
published() {
    on N dig +short @198.51.100.53 b.example TYPE65324 | octets
}

serial() {
    on N dig +short @198.51.100.53 example SOA | cut -d' ' -f3
}

# key NAME SECRET [ALGORITHM]: as tsig-keygen writes it.
key() {
    printf 'key "%s" {\n\talgorithm %s;\n\tsecret "%s";\n};\n' "$1" "${3:-hmac-sha256}" "$2"
}

fig1
stop N named
tsig-keygen home >"$RUN/home.key"
tsig-keygen -a hmac-sha512 other >"$RUN/other.key"
PATHS=()
zone_file bind | bind N 198.51.100.53 "$(cat "$RUN/home.key" "$RUN/other.key")
zone \"example\" {
    type primary;
    file \"example.zone\";
    update-policy {
        grant home name b.example TYPE65324;
        grant home name www.example TYPE65324;
        grant other zonesub ANY;
    };
};"
wait_for 20 "the DNS server" on N dig +time=1 +tries=1 @198.51.100.53 example SOA
nattt_gateway Y
nattt_client A
same "" "$(lookup A b.example)" "b.example before"

# Y's own address is found out.
said=$(publish Y b.example auto 192.168.0.2 "${AT[@]}" --ttl 1)
matches '203\.0\.113\.1:100 192\.168\.0\.2' "$said" "what it says"
same CB0071010064C0A80002 "$(published)" "the record"
wait_for 20 "a mapped address" mapped A b.example
same "This is B." "$(fetch A b.example/)" "the page"

# Again: nothing changes. Two paths replace one. A new address replaces both.
before=$(serial)
publish Y b.example auto 192.168.0.2 "${AT[@]}" --ttl 1
same "$before" "$(serial)" "the serial of a zone that did not change"
publish Y b.example '203.0.113.1 192.168.0.2' 'auto:101 192.168.0.2' "${AT[@]}" 2>/dev/null
same $'CB0071010064C0A80002\nCB0071010065C0A80002' "$(published)" "two records"
ip -n "$PREFIX-Y" address del 203.0.113.1/24 dev wan
ip -n "$PREFIX-Y" address add 203.0.113.7/24 dev wan
ip -n "$PREFIX-Y" route add default via 203.0.113.254
publish Y b.example auto 192.168.0.2 "${AT[@]}" --json | jq -e '.records | length == 1' >/dev/null
same CB0071070064C0A80002 "$(published)" "the record after the change"
more "$before" "$(serial)" "the serial of a zone that changed"

# nsupdate does the same with the lines made for it, and another algorithm.
{
    echo 'server 198.51.100.53'
    record make b.example 203.0.113.1 192.168.0.2 --format nsupdate
} | on Y nsupdate -k "$RUN/other.key"
same CB0071010064C0A80002 "$(published)" "the record by nsupdate"
publish Y b.example 203.0.113.2 192.168.0.2 "${WITH[@]}" "$RUN/other.key"
same CB0071020064C0A80002 "$(published)" "the record by the other key"

# denied PATTERN ARGUMENT...: from Y, must fail with status 1 and say so.
denied() {
    refused "publish ${*:2}" publish Y "${@:2}"
    matches "$1" "$OUTPUT" "the reason"
    same 1 "$STATUS" "exit status"
}
key home c2VjcmV0 >"$RUN/secret.key"
key nobody c2VjcmV0 >"$RUN/nobody.key"
key home "$(sed -n 's/.*secret "\(.*\)";/\1/p' "$RUN/home.key")" hmac-sha384 >"$RUN/algorithm.key"
echo nothing >"$RUN/no.key"
path=(203.0.113.9 192.168.0.2)
denied BADSIG b.example "${path[@]}" "${WITH[@]}" "$RUN/secret.key"
denied BADKEY b.example "${path[@]}" "${WITH[@]}" "$RUN/nobody.key"
denied BADKEY b.example "${path[@]}" "${WITH[@]}" "$RUN/algorithm.key"
denied tsig-keygen b.example "${path[@]}" "${WITH[@]}" "$RUN/no.key"
denied REFUSED other.example "${path[@]}" "${AT[@]}"
denied 'has an A record' www.example "${path[@]}" "${AT[@]}"
denied NOTAUTH b.other "${path[@]}" "${WITH[@]/#example/other}" "$RUN/home.key"
denied 198.51.100.80:53 b.example "${path[@]}" --server 198.51.100.80 --zone example --key-file "$RUN/home.key"
same CB0071020064C0A80002 "$(published)" "the record after all that"

# Behind a NAT there is no public address to find.
refused "auto on B" publish B b.example auto 192.168.0.2 "${AT[@]}"
matches '192\.168\.0\.2: it is behind a NAT' "$OUTPUT" "the reason"
refused "a name outside the zone" publish Y b.other "${path[@]}" "${AT[@]}"
same 2 "$STATUS" "exit status of wrong usage"
