#!/bin/bash
# Names that NATTT does not concern behave as if natttd were not there.
. "$(dirname "$0")/lib.sh"

# answer NAME TYPE: the whole reply, without what differs from one query to the next.
answer() {
    on A dig +nocookie +noall +comments +answer +authority +additional "$1" "$2" |
        sed -E 's/, id: [0-9]+//; /^;; (Got answer|OPT PSEUDO)/d'
}

answers() {
    local name
    for name in www.example nothing.example missing.example ns.example; do
        answer "$name" A
    done
    answer nothing.example TXT
    answer b.example AAAA
    answer b.example TYPE65324
}

fig1
before=$(answers)
nattt_client A
nattt_gateway Y
same "This is B." "$(fetch A b.example/)" "the tunnel"

same "$before" "$(answers)" "replies for names without NAT"
same 198.51.100.80 "$(lookup A www.example)" "the address of www.example"
refused "a name that does not exist" fetch A missing.example/
same 6 "$STATUS" "curl's exit status for a name without address"

# Not one packet of a connection to a public host is queued; the tunnel's are.
queued=$(queued A)
same "This is W." "$(fetch A www.example/ --resolve www.example:80:198.51.100.80)" "W's page"
matches '^W saw 198\.51\.100\.10:' "$(ask A 198.51.100.80 7 hello)" "W's answer"
on A ping -n -c 1 -W 5 198.51.100.80 >/dev/null
same "$queued" "$(queued A)" "packets queued meanwhile"
fetch A b.example/ >/dev/null
more "$queued" "$(queued A)" "packets queued for the tunnel"
