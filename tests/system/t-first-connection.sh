#!/bin/bash
# README.md, followed to the letter: a new home server behind a NAT, then a new user's first connection
# to it. What is typed stands in README.md, and so does what README.md says will be printed. The
# recording is docs/first-connection.txt: this test fails when the two have come to differ.
#
#   client (A) 198.51.100.10 --- R --- 203.0.113.1, eth0, router (Y), lan --- B 192.168.0.2
#
#   WRITE=1 tests/system/t-first-connection.sh    records it anew
. "$(dirname "$0")/lib.sh"

README=$TESTS/../README.md
RECORDING=$TESTS/../docs/first-connection.txt

# ---- machines ------------------------------------------------------------------------------------

# machine NODE: a node with an /etc, a /run and a /var/lib/nattt of its own.
machine() {
    cp -a /etc "$RUN/$1-etc"
    rm -rf "$RUN/$1-etc/nattt"
    mkdir "$RUN/$1-etc/nattt" "$RUN/$1-lib"
    rm -f "$RUN/$1-etc/resolv.conf"
    printf 'nameserver 198.51.100.53\n' >"$RUN/$1-etc/resolv.conf"
    start "$1" machine unshare -m sh -c "umount /etc/resolv.conf; mount --bind '$RUN/$1-etc' /etc &&
        mount -t tmpfs run /run && mkdir /run/nattt && mount --bind '$RUN/$1-lib' /var/lib &&
        mkdir /var/lib/nattt && echo ready && exec sleep 1000"
    wait_for 10 "machine $1" grep -q ready "$(log "$1" machine)"
}

# inside NODE COMMAND...: runs it on that machine.
inside() {
    # curl draws a progress bar where its output is no terminal; the file in CURL_HOME forbids it.
    nsenter -t "${PID[$1-machine]}" -m -n -- \
        env "PATH=$BIN:/usr/sbin:/usr/bin:/sbin:/bin" CURL_HOME="$RUN" "${@:2}"
}

# ---- what is typed -------------------------------------------------------------------------------

declare -A PROMPT=([A]=client [Y]=router)

# types NODE COMMAND: like a terminal there. The command stands in README.md.
types() {
    grep -qF -- "$2" "$README" || fail "README.md does not say: $2"
    echo "${PROMPT[$1]}# $2"
    inside "$1" bash -c "$2" 2>&1 || true
    echo
}

# starts_natttd NODE: what README.md calls staying in the foreground.
starts_natttd() {
    grep -q '^sudo natttd ' "$README" || fail "README.md does not say: natttd"
    echo "${PROMPT[$1]}# natttd"
    nsenter -t "${PID[$1-machine]}" -m -n -- env "PATH=$BIN:/usr/sbin:/usr/bin" natttd >"$(log "$1" natttd)" 2>&1 &
    PID[$1-natttd]=$!
    wait_for 20 "natttd on $1" inside "$1" nattt status
    cat "$(log "$1" natttd)"
    echo
}

# settings NODE: shows its configuration, without comments.
settings() {
    echo "${PROMPT[$1]}# cat /etc/nattt/nattt.toml"
    grep -vE '^ *(#|$)' "$RUN/$1-etc/nattt/nattt.toml"
    echo
}

says() { printf '# %s\n' "$@"; }

# ---- the two stories -----------------------------------------------------------------------------

# The configuration of README.md's step 1, in the language that this kernel's rules need.
home_server() {
    says "A home server in ten minutes: the router Y, the default router of B." \
        "Steps 1 and 2: the configuration, the rules, natttd."
    {
        echo "firewall = \"$FLAVOUR\""
        awk '/^## / { here = /^## A home server/ } /```/ { block = here && !seen && /toml/; seen += block; next }
            block { sub(/^   /, ""); print }' "$README"
    } >"$RUN/Y-etc/nattt/nattt.toml"
    settings Y
    types Y "nattt check"
    types Y "nattt rules apply"
    starts_natttd Y
    says "Step 3: the FORWARD chain drops by default."
    types Y "nattt doctor"
    types Y "nft insert rule inet filter forward ct mark and 0x04000000 != 0 accept"
    types Y "nattt doctor"
    says "Step 4: the NAT record, which then goes into the zone."
    types Y "nattt record make b.example 203.0.113.1 192.168.0.2"
    inside Y nattt record make b.example 203.0.113.1 192.168.0.2 >>"$RUN/named/example.zone"
    kill -HUP "${PID[N-named]}"
    wait_for 20 "the record in the DNS" in_dns
    types Y "nattt record lookup b.example"
}

in_dns() { on N dig +short +time=1 @198.51.100.53 b.example TYPE65324 | grep -q .; }

measured() { inside A nattt counters | grep -q paths_measured; }

new_user() {
    says "A first connection: the client A. The configuration is the packaged one."
    {
        echo "firewall = \"$FLAVOUR\""
        cat "$TESTS/../packaging/nattt.toml"
    } >"$RUN/A-etc/nattt/nattt.toml"
    settings A
    types A "nattt rules apply"
    starts_natttd A
    types A "dig +short b.example TYPE65324"
    types A "dig +short b.example"
    types A "curl http://b.example/"
    wait_for 20 "a measurement of the path" measured
    types A "nattt explain b.example"
    types A "nattt doctor"
    types A "nattt status"
    types A "nattt mappings"
    types A "nattt flows"
    types A "nattt counters --explain"
    says "Step 5: B has seen the client's own address, and the router knows the flow; the other one is how natttd"
    says "has measured what the path carries: it went no further than the router."
    types Y "nattt flows"
    says "What B's web server says:"
    grep -oE '^tcp [0-9.]+' "$(log B server)"
}

# Without what differs from run to run (times, ports, counts, and so the width of columns), and without
# what doctor finds, which differs from host to host.
stable() {
    awk '/^[a-z]+# / { doctor = /nattt doctor$/ } !doctor || /^[a-z]+# /' |
        sed -E -e 's/\b[0-9a-f]{16}\b/HASH/g' -e 's/\[[-0-9TZ:]+ /[TIME /' \
            -e 's/\b([0-9]+h)?([0-9]+m)?[0-9]+s\b/TIME/g' -e 's/:[0-9]{4,}\b/:PORT/g' \
            -e 's/\b[0-9]+ \([0-9.]+ [kKMi]*B\)/TRAFFIC/g' -e 's/process [0-9]+/process N/' \
            -e 's/^([a-z_]+ +)[0-9]+ /\1N /' -e 's/natttd [0-9.]+/natttd VERSION/' -e 's/ +/ /g'
}

# ---- the network ---------------------------------------------------------------------------------

[ "$FLAVOUR" = iptables ] || skip "the recording is of rules for iptables"
internet
sed -i '/^b  /d' "$RUN/named/example.zone"
kill -HUP "${PID[N-named]}"
host A 198.51.100.10/24 198.51.100.1 R pub
workstation_firewall A
host Y 203.0.113.1/24 203.0.113.254 R gw
hub Y lan 192.168.0.1/24
host B 192.168.0.2/24 192.168.0.1 Y lan
serve B
on Y sysctl -qw net.ipv4.ip_forward=1
on Y nft -f - <<'NFT'
table inet filter {
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname "lan" oifname "eth0" accept
    }
}
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "eth0" masquerade
    }
}
NFT
printf 'silent\nshow-error\n' >"$RUN/.curlrc"
machine A
machine Y

{
    says "Made by tests/system/t-first-connection.sh, which types what README.md says; firewall = \"iptables\" as" \
        "this kernel needs it. natttd stays in the foreground, in another terminal."
    echo
    home_server
    new_user
} >"$RUN/recording"

# ---- what README.md promises ---------------------------------------------------------------------

grep -q '^This is B\.$' "$RUN/recording" || fail "the page did not come: $(cat "$RUN/recording")"
grep -q '^tcp 198\.51\.100\.10$' "$RUN/recording" || fail "B did not see the client's address"
for printed in '\# 10 CB0071010064C0A80002' 127.118.232.255 'b.example. 300 IN TYPE65324 \# 10 CB0071010064C0A80002'; do
    for file in "$RUN/recording" "$README"; do
        grep -qF -- "$printed" "$file" || fail "$file does not show: $printed"
    done
done
if [ -n "${WRITE:-}" ]; then
    cp "$RUN/recording" "$RECORDING"
elif ! diff <(stable <"$RECORDING") <(stable <"$RUN/recording"); then
    fail "docs/first-connection.txt is not what happens; record it anew: WRITE=1 $0"
fi
