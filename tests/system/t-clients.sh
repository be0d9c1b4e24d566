#!/bin/bash
# Programs with DNS clients of their own, unchanged, reach one mapped host by its name: each finds the
# same address, and B's page. The browser also in the places where browsers are careful.
. "$(dirname "$0")/lib.sh"

needs() {
    local tool
    for tool in "$@"; do [ -x "$(command -v "$tool")" ] || skip "$tool is not installed"; done
}

# as_of_b TEXT WHAT [ADDRESSES]: a line for each resolver with the mapped address, then the page.
as_of_b() {
    same "$(printf '%s\n' ${3:-$MAPPED} "This is B.")" "$1" "$2"
    echo "ok - $2"
}

# ---- resolvers of libraries and languages --------------------------------------------------------

libraries() {
    same "$MAPPED" "$(on A getent ahostsv4 b.example | awk '{ print $1; exit }')" "getent (glibc)"
    musl-gcc -O2 -static -o "$RUN/lookup-musl" "$PEERS/lookup.c"
    same "$MAPPED" "$(on A "$RUN/lookup-musl" b.example)" "musl's getaddrinfo"
    same "$MAPPED" "$(on A busybox nslookup b.example | awk '/^Address:/ { found = $2 } END { print found }')" \
        "busybox nslookup"
    same "This is B." "$(on A busybox wget -q -O - http://b.example/)" "busybox wget"
    same "This is B." "$(fetch A b.example/)" "curl"
    echo "ok - glibc, musl, busybox, dig, curl"
}

go_program() {
    GO111MODULE=off GOCACHE=$RUN/go-cache go build -o "$RUN/lookup-go" "$PEERS/lookup.go"
    local resolver
    for resolver in go cgo; do
        as_of_b "$(on A env GODEBUG=netdns=$resolver "$RUN/lookup-go" b.example)" "Go, netdns=$resolver"
    done
}

jvm_program() {
    as_of_b "$(on A java "$PEERS/Lookup.java" b.example)" "Java, InetAddress and JNDI" "$MAPPED $MAPPED"
}

secure_shell() {
    ssh-keygen -q -t ed25519 -N '' -f "$RUN/hostkey"
    ssh-keygen -q -t ed25519 -N '' -f "$RUN/id"
    echo "b.example $(cut -d' ' -f1,2 "$RUN/hostkey.pub")" >"$RUN/known_hosts"
    printf '%s\n' "HostKey $RUN/hostkey" "AuthorizedKeysFile $RUN/id.pub" 'PermitRootLogin yes' \
        'StrictModes no' 'UsePAM no' 'PidFile none' >"$RUN/sshd_config"
    # Its directory in /run is made in a mount namespace: nothing of it stays.
    start B sshd unshare -m sh -c \
        "mount -t tmpfs run /run && mkdir /run/sshd && exec $(command -v sshd) -D -e -f $RUN/sshd_config"
    wait_for 20 "sshd" listening 22
    same hello "$(on A ssh -o BatchMode=yes -o UserKnownHostsFile="$RUN/known_hosts" -i "$RUN/id" \
        root@b.example echo hello)" "ssh"
    echo "ok - ssh"
}

listening() { on B ss -Hlnt "sport = :$1" | grep -q .; }

# ---- the browser ---------------------------------------------------------------------------------

# browse URL [OPTION...]: the page as Chromium has it when all of it is loaded, by a new profile.
browse() {
    rm -rf "$RUN/profile"
    on A env HOME="$RUN" timeout 60 chromium --headless --no-sandbox --disable-gpu --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$RUN/profile" --virtual-time-budget=10000 "${@:2}" --dump-dom "$1" 2>>"$RUN/A-chromium.log"
}

pages() {
    matches 'This is B\.' "$(browse http://b.example/)" "the page in Chromium"
    # It asks for itself, and for HTTPS records first.
    wait_for 5 "Chromium's own question" seen A eth0 ' HTTPS\? b\.example\.| Type65\? b\.example\.'
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$RUN/key.pem" -out "$RUN/cert.pem" -days 2 \
        -subj /CN=b.example 2>/dev/null
    mkdir "$RUN/tls" && echo 'The page of B by TLS.' >"$RUN/tls/index.html"
    start B nghttpd nghttpd -d "$RUN/tls" 443 "$RUN/key.pem" "$RUN/cert.pem"
    wait_for 20 "nghttpd" listening 443
    # Its HTTPS record names HTTP/2 and, as a hint, B's private address.
    matches 'by TLS' "$(browse https://hinted.example/ --ignore-certificate-errors)" "HTTPS record and TLS"
    echo "ok - Chromium: pages of mapped names, by HTTP and HTTPS"
}

# A page of W's, which is public, asks B for something.
public_page() {
    cat >"$RUN/public.html" <<'HTML'
<!doctype html><p id=r>waiting</p><script>
fetch("http://b.example/from-a-public-page", {mode: "no-cors"})
    .then(() => "fetched", error => "refused: " + error)
    .then(text => { document.getElementById("r").textContent = text; });
</script>
HTML
    browse http://www.example/public.html "$@" | grep -oE 'id="r">[^<]*' | cut -d'>' -f2
}

# with_pool POOL: natttd on A with another pool.
with_pool() {
    stop A natttd
    client_config A
    printf 'pool = "%s"\n' "$1" >>"$RUN/A.toml"
    start_natttd A
}

public_pages() {
    echo "note: $(chromium --version 2>/dev/null | cut -d' ' -f1,2), a public page asks a mapped name in 127/8: $(public_page)"
    with_pool 198.18.0.0/15
    same fetched "$(public_page)" "a public page asks a mapped name in 198.18.0.0/15"
    wait_for 5 "the question at B" grep -qa from-a-public-page "$(log B server)"
    with_pool 100.64.0.0/10
    echo "note: a public page asks a mapped name in 100.64.0.0/10: $(public_page)"
    echo "ok - Chromium: public pages"
}

needs busybox chromium go java musl-gcc nghttpd openssl ssh sshd
fig1
nattt_gateway Y
nattt_client A
capture A eth0 'udp port 53'
MAPPED=$(mapped A b.example)
libraries
go_program
jvm_program
secure_shell
pages
public_pages
