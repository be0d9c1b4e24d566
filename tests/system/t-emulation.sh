#!/bin/bash
# A DNS service that holds no NAT records: A records of other names emulate them, behind one box and
# behind two. Names without such records, and names of other zones, stay as they are.
#
#   fig1, and   Y | 192.168.0.1 --- T 192.168.0.9 | 192.168.1.1 --- D 192.168.1.2
. "$(dirname "$0")/lib.sh"

# answer NAME TYPE: the whole reply, without what differs from one query to the next.
answer() {
    on A dig +nocookie +noall +comments +answer +authority +additional "$1" "$2" |
        sed -E 's/, id: [0-9]+//; /^;; (Got answer|OPT PSEUDO)/d'
}

untouched() {
    local name
    for name in half.plain hostile.plain b-nat1.plain b-in.plain none-nat1.plain none.plain \
        none.own.plain www.own.plain printer.own.plain missing.example www.example nothing.example; do
        answer "$name" A
    done
    answer none.plain AAAA
    answer missing.example AAAA
    answer b-in.plain AAAA
}

status() {
    on A dig +noall +comments "$1" "$2" | grep -oE 'status: [A-Z]+, |ANSWER: [0-9]+' | xargs
}

fig1
node T
plug T wan 192.168.0.9/24 Y lan
hub T lan 192.168.1.1/24
ip -n "$PREFIX-T" route add default via 192.168.0.1
on T sysctl -qw net.ipv4.ip_forward=1
host D 192.168.1.2/24 192.168.1.1 T lan
serve D
before=$(untouched)
capture N eth0 'udp dst port 53'

nattt_gateway Y
nattt_gateway Y2
nattt_gateway T 192.168.1.0/24
client_config A
cat >>"$RUN/A.toml" <<'TOML'
[[client.emulation]]
zones = ["plain"]
host = "{label}-in.{parent}"
boxes = ["{label}-nat1.{parent}"]
[[client.emulation]]
zones = ["deep.plain"]
host = "{label}-in.{parent}"
boxes = ["{label}-nat1.{parent}", "{label}-nat2.{parent}"]
[[client.emulation]]
zones = ["own.plain"]
boxes = ["{label}-nat1.{parent}"]
TOML
start_natttd A

same "This is B." "$(fetch A b.plain/)" "a name that does not exist"
refused "explain of a name with half of its emulation" control A explain half.plain
matches 'half-nat1\.plain:.*NAT box 1 .*no such name.*half-in\.plain:.*host +192\.168\.0\.2.*add what is missing' \
    "$OUTPUT" "what explain says of it"
matches 'b-nat1\.plain:.*203\.0\.113\.1.*through a tunnel' "$(control A explain b.plain)" "a whole emulation"
same "This is B2." "$(fetch A c.plain/)" "a name without an address"
same "This is B." "$(fetch A alias.plain/)" "an alias of a name that does not exist"
same "This is D." "$(fetch A d.deep.plain/)" "a host behind two boxes"
same "This is B." "$(fetch A b.own.plain/)" "a name with the host's private address"
answer_every_protocol B Y
answer_every_protocol D Y T
every_protocol A b.plain 198.51.100.10
every_protocol A d.deep.plain 198.51.100.10 D
# The same path has the same address, whatever says so.
same "$(mapped A b.example)" "$(mapped A b.plain)" "the address of the NAT record's path"
same "status: NOERROR, ANSWER: 1" "$(status b.plain A)" "the reply for a name that does not exist"
same "status: NOERROR, ANSWER: 0" "$(status b.plain AAAA)" "its reply for another type"
same 1 "$(lookup A b.own.plain | wc -l)" "addresses in place of the private one"

same "$before" "$(untouched)" "replies for names that nothing emulates"
same "This is W." "$(fetch A www.own.plain/)" "a public address in such a zone"
more 0 "$(counter A dns_emulated)" "the counter"
more 0 "$(counter A dns_refused_record)" "refused addresses"

# Nobody asks about names of other zones, nor about names that were made.
wait_for 5 "the questions at N" seen N eth0 'A\? d-nat2\.deep\.plain'
asked=$(grep -oE 'A\? [^ ]+' "$(log N tcpdump-eth0)")
refused "questions outside the zones" grep -E -- '-(nat1|in)\.example' <<<"$asked"
refused "questions without end" grep -E -- '-(nat[12]|in)-(nat[12]|in)\.' <<<"$asked"
