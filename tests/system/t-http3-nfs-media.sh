#!/bin/bash
# More applications as they are, see t-applications: a browser with HTTP/3, NFS, and the media of a call.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/applications.sh"

PATIENCE=60

# The browser may use nothing but HTTP/3 and trusts nothing but the test's certificate. The page is the
# file's octets, in hex.
http3() {
    certificate
    basenc --base16 -w 100 "$RUN/big" >"$RUN/www/page.txt"
    cat >"$RUN/Caddyfile" <<CONF
{
    admin off
    auto_https off
    skip_install_trust
}
https://b.example {
    tls $RUN/cert.pem $RUN/key.pem
    root * $RUN/www
    file_server
    log {
        output file $RUN/access.log
        format json
    }
}
CONF
    served 443 B caddy env HOME="$RUN" caddy run --config "$RUN/Caddyfile" --adapter caddyfile
    local key
    key=$(openssl x509 -in "$RUN/cert.pem" -pubkey -noout | openssl pkey -pubin -outform der |
        openssl dgst -sha256 -binary | base64)
    on A1 timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$RUN/browser" \
        --origin-to-force-quic-on=b.example:443 --ignore-certificate-errors-spki-list="$key" \
        --virtual-time-budget=60000 --dump-dom https://b.example/page.txt >"$RUN/dom" 2>"$RUN/browser.log"
    grep -oE '[0-9A-F]{20,}' "$RUN/dom" | basenc --base16 -d -i >"$RUN/by-http3"
    same "$(sum "$RUN/big")" "$(sum "$RUN/by-http3")" "the file by HTTP/3"
    same HTTP/3.0 "$(jq -r 'select(.request.uri == "/page.txt") | .request.proto' "$RUN/access.log")" "protocol"
}

# Version 3, which asks the port mapper first, both ways, and version 4.
nfs() {
    cat >"$RUN/ganesha.conf" <<CONF
NFS_CORE_PARAM {
    Protocols = 3, 4;
    Enable_NLM = false;
    Enable_RQUOTA = false;
}
NFSv4 {
    Graceless = true;
    RecoveryRoot = "$RUN/ganesha";
}
EXPORT {
    Export_Id = 1;
    Path = "$RUN/files";
    Pseudo = "/files";
    Access_Type = RW;
    Squash = None;
    SecType = sys;
    FSAL { Name = VFS; }
}
CONF
    mkdir "$RUN/ganesha" "$RUN/files"
    # In a mount namespace with file systems of its own: nothing of them stays.
    served 2049 B ganesha unshare -m sh -c "mount -t tmpfs run /run && rpcbind &&
        mount -t tmpfs files $RUN/files && chmod 777 $RUN/files &&
        exec ganesha.nfsd -F -f $RUN/ganesha.conf -p $RUN/ganesha.pid -L /dev/stdout"
    on A1 nfs-cp "$RUN/big" "nfs://b.example$RUN/files/big" >/dev/null
    on A1 nfs-cp "nfs://b.example$RUN/files/big" "$RUN/by-nfs3" >/dev/null
    same "$(sum "$RUN/big")" "$(sum "$RUN/by-nfs3")" "the file by NFS version 3, there and back"
    on A1 nfs-cp "nfs://b.example/files/big?version=4" "$RUN/by-nfs4" >/dev/null
    same "$(sum "$RUN/big")" "$(sum "$RUN/by-nfs4")" "the file by NFS version 4"
}

# recorded NODE INTERFACE FILTER: into $RUN/NODE.pcap.
recorded() {
    start "$1" record tcpdump -n -U --immediate-mode -i "$2" -w "$RUN/$1.pcap" "$3"
    wait_for 10 "tcpdump on $1" grep -q 'listening on' "$(log "$1" record)"
}

# heard NODE from|to PORT: the media that were seen.
heard() { "$PYTHON" "$PEERS/rtp.py" "$RUN/$1.pcap" "$2" "$3" | sha256sum | cut -d' ' -f1; }

# Two seconds of sound to B, which sends it back to where it came from, not to where the
# caller says it is: that is 127.0.0.1. B names the address that A has for
# it; sipp takes no name there.
media() {
    local where
    where=$(mapped A1 b.example)
    head -c 16000 /dev/urandom >"$RUN/media.raw"
    # What A's kernel hands to the program, and what reaches B.
    on A1 nft -f - <<'NFT'
table ip heard {
    chain input {
        type filter hook input priority 300
        udp sport 7000 log group 5
    }
}
NFT
    recorded A1 nflog:5 ""
    recorded B eth0 "udp port 7000"
    TERM=dumb served 5060 B sipp sipp -sf "$PEERS/callee.xml" -key media "$where" -rtp_echo -mp 7000 \
        -p 5060 -i 192.168.0.2 -mi 192.168.0.2 -nostdin
    (cd "$RUN" && TERM=dumb on A1 sipp -sf "$PEERS/caller.xml" b.example:5060 -m 1 -nostdin -timeout 40 \
        -timeout_error >"$RUN/uac.txt" 2>&1) || fail "sipp: $(tail -n 20 "$RUN/uac.txt")"
    local sent
    sent=$(sum "$RUN/media.raw")
    wait_for 5 "the sound at B" eval '[ "$(heard B to 7000)" = "$sent" ]'
    wait_for 5 "the sound at A1" eval '[ "$(heard A1 from 7000)" = "$sent" ]'
}

needs caddy chromium openssl ganesha.nfsd rpcbind nfs-cp sipp tcpdump
fig2
nattt_gateway Y
nattt_client A1
mkdir "$RUN/www"
head -c 1000000 /dev/urandom >"$RUN/big"
for part in http3 nfs media; do
    "$part"
    echo "ok - $part"
done
