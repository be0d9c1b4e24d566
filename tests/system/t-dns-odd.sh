#!/bin/bash
# Odd DNS replies: crafted ones come through as they were sent or mapped, each once; 1,000 names whose NAT
# record is never told keep no ordinary name waiting and do not make their server count as silent, as one that
# is does; wildcards, empty non-terminals, DNAME and names of
# other scripts with a real server. And a state directory that is full or damaged stops nothing.
. "$(dirname "$0")/lib.sh"

ODD=198.51.100.80 REAL=198.51.100.81 MUTE=198.51.100.82
fig1
add_to_W() { ip -n "$PREFIX-W" address add "$1/24" dev "$(on W ip -o -4 route get 198.51.100.53 | sed 's/.* dev \([^ ]*\).*/\1/')"; }
add_to_W "$MUTE"
start W odd_dns "$PYTHON" "$PEERS/odd_dns.py" "$ODD"
start W mute_dns "$PYTHON" "$PEERS/odd_dns.py" "$MUTE" mute
wait_for 10 "the odd name server" grep -q ready "$(log W odd_dns)"
wait_for 10 "the silent name server" grep -q ready "$(log W mute_dns)"
nattt_gateway Y
client_config A
echo 'lookup_patience_ms = 4000' >>"$RUN/A.toml"

# ---- damaged state, and a disk of 48 KiB ---------------------------------------------------------

rules A apply
mkdir "$RUN/A-state"
# The mount is seen by natttd only, and goes with it.
# shellcheck disable=SC2016
start A natttd bash -ec '
    mount -t tmpfs -o size=48k tmpfs "$1"
    echo "nattt-flows 9 later" >"$1/flows"
    echo "{\"version\":9,\"mappings\":[]}" >"$1/mappings.json"
    exec "$2" --config "$3"' - "$RUN/A-state" "$BIN/natttd" "$RUN/A.toml"
wait_for 20 "natttd on A" control A status
STATE=/proc/${PID[A-natttd]}/root$RUN/A-state
said() { grep -q "$1" "$(log A natttd)"; }
said "the saved flows: the file is damaged, or another version" || fail "nothing about the flows"
said "version 9.*moved to .*mappings.json.aside" || fail "nothing about the mapping table"

# flows COUNT: so many at once, no two from the same port.
flows() {
    on A "$PYTHON" -c 'import socket, sys
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(int(sys.argv[1]))]
for each in sockets:
    each.sendto(b"x", ("b.example", 7))' "$1"
}

# A save of the mapping table that fails may leave a page to the flows: there are more than fit into that.
wait_for 20 "the flows' file" grep -q "^nattt-flows 1 " "$STATE/flows"
dd if=/dev/zero of="$STATE/ballast" bs=4k 2>/dev/null || true
flows 200
wait_for 20 "a word about the flows" said "saving the flows.*No space left"
wait_for 20 "a word about the table" said "saving mapped addresses.*free some space"
same "This is B." "$(fetch A b.example/)" "the page with a full disk"
[ ! -e "$STATE/flows.new" ] || fail "half a file takes room on a full disk"
same 0 "$(grep -cvE '^(nattt-flows 1 [^ ]+|client [0-9. :]+ here [0-9. :]+)$' "$STATE/flows" || true)" "lines that are no flow"
kept() { (($(grep -c "^client 17 " "$STATE/flows") >= 200)); }
! kept || fail "no flow is missing: the disk was not full"
rm "$STATE/ballast" "$STATE/mappings.json.aside"
wait_for 20 "all flows in the file, once there is room" kept

# ---- crafted replies -----------------------------------------------------------------------------

# raw NODE NAME [REPLIES]: what arrives.
raw() { on "$1" "$PYTHON" "$PEERS/ask_odd.py" "$ODD" raw "$2" "${3:-1}"; }

for name in plain.odd PlAiN.oDd alias.odd redirected.odd x.y.z.odd big.odd; do
    matches '^mapped 127\.' "$(raw A "$name")" "the reply for $name"
done
big=$(raw R big.odd)
more 2000 $((${#big} / 2)) "octets of a reply in fragments"
for name in here denied broken cut circle loop forward beyond label missing trailing long none; do
    same "$(raw R "$name.odd")" "$(raw A "$name.odd")" "the reply for $name.odd"
done
same "$(raw A plain.odd)" "$(raw A twice.odd 2 | sort -u | sed "s/ [0-9]*$//") $(raw A plain.odd | cut -d' ' -f3)" \
    "the reply that came twice"
garbage=$(raw A garbage.odd 4)
same "$(raw R garbage.odd 4 | sed -n 1,3p)" "$(head -n 3 <<<"$garbage")" "garbage before the reply"
matches '^mapped 127\.' "$(tail -n 1 <<<"$garbage")" "the reply after garbage"

# One question for each name, whatever its answer.
for _ in {1..20}; do raw A none.odd; raw A plain.odd; done >/dev/null
for name in none plain alias; do
    want=1
    [ "$name" != alias ] || want=0
    same "$want" "$(grep -c "^nat $name\.odd$" "$(log W odd_dns)" || true)" "questions for the NAT record of $name.odd"
done

# ---- names that hang -----------------------------------------------------------------------------

read -r hanging ordinary overtaken <<<"$(on A "$PYTHON" "$PEERS/ask_odd.py" "$ODD" overtake 1000)"
same 1000 "$hanging" "answers for names that hang"
same 100 "$ordinary" "answers for ordinary names"
# The first 512 of those that hang are held; the others are passed on at once.
more 49 "$overtaken" "ordinary answers that came before a held one"
more 400 "$(counter A dns_hold_full)" "replies that found too many waiting"
# The root was asked about, and that was answered: the server does not count as silent.
wait_for 20 "a question about the root" grep -q "^nat $" "$(log W odd_dns)"
matches '^mapped 127\.' "$(raw A after.odd)" "the reply for a name after those that hang"
same 0 "$(counter A dns_server_silent)" "replies that did not wait for a server that speaks"

# ---- a server that says nothing about NAT records, not even the root's ---------------------------

# The first reply waits for 4 s; then the two questions are given up, after 6 s each.
ODD=$MUTE raw A first.odd >/dev/null
known() { ODD=$MUTE raw A "$RANDOM$RANDOM.odd" >/dev/null; (($(counter A dns_server_silent) > 0)); }
wait_for 30 "a server known to be silent" known
same "$(ODD=$MUTE raw R here.odd)" "$(ODD=$MUTE raw A here.odd)" "an ordinary reply of a silent server"

# ---- a real server -------------------------------------------------------------------------------

add_to_W "$REAL"
mkdir "$RUN/real"
cat >"$RUN/real/real.zone" <<'ZONE'
$ORIGIN real.
$TTL 300
@            SOA   ns hostmaster 1 3600 600 86400 60
             NS    ns
ns           A     198.51.100.81
*.wild       TYPE65324 \# 10 CB0071010064C0A80002
is.wild      TXT   "no NAT record here"
below.empty  TYPE65324 \# 10 CB0071010064C0A80002
old          DNAME new
b.new        TYPE65324 \# 10 CB0071010064C0A80002
xn--bcher-kva TYPE65324 \# 10 CB0071010064C0A80002
b\195\188cher TYPE65324 \# 10 CB0071010064C0A80002
ZONE
named_on W real "$REAL" 'zone "real" { type primary; file "real.zone"; };'
wait_for 20 "the real name server" on W dig +time=1 +tries=1 "@$REAL" real. SOA

# real NAME: status and last address of the reply.
real() {
    on A dig +tries=1 +time=5 +noidnin "@$REAL" "$1" A |
        awk '/status:/ { status = $6 } $4 == "A" { address = $5 } END { print status address }'
}
for name in any.wild.real a.b.wild.real below.empty.real b.old.real xn--bcher-kva.real 'b\195\188cher.real'; do
    matches '^NOERROR,127\.' "$(real "$name")" "the reply for $name"
done
for name in is.wild.real empty.real; do same "NOERROR," "$(real "$name")" "the reply for $name"; done
for name in no.is.wild.real none.real; do same "NXDOMAIN," "$(real "$name")" "the reply for $name"; done
matches 'b\\195\\188cher\.real' "$(control A mappings)" "the name of other octets, as it is shown"

kill -0 "${PID[A-natttd]}" || fail "natttd has ended"
same "This is B." "$(fetch A b.example/)" "the page afterwards"
