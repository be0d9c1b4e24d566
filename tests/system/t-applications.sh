#!/bin/bash
# Applications as they are, from A1 (behind a legacy NAT X) to servers on B (behind the gateway Y), by
# B's name. Each compares every octet with what it should be.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/applications.sh"

PATIENCE=60
SSH="-o BatchMode=yes -o UserKnownHostsFile=$RUN/known_hosts -o ConnectTimeout=20 -i $RUN/id"

https() {
    certificate
    served 443 B nghttpd nghttpd -d "$RUN/www" 443 "$RUN/key.pem" "$RUN/cert.pem"
    local version
    version=$(on A1 curl -sS --http2 --cacert "$RUN/cert.pem" --max-time 60 -o "$RUN/got" \
        -w '%{http_version}' https://b.example/big)
    same 2 "$version" "HTTP version"
    same "$(sum "$RUN/www/big")" "$(sum "$RUN/got")" "the file by HTTP/2 over TLS"
}

ssh_server() {
    ssh-keygen -q -t ed25519 -N '' -f "$RUN/hostkey"
    ssh-keygen -q -t ed25519 -N '' -f "$RUN/id"
    echo "b.example $(cut -d' ' -f1,2 "$RUN/hostkey.pub")" >"$RUN/known_hosts"
    cat >"$RUN/sshd_config" <<CONF
HostKey $RUN/hostkey
AuthorizedKeysFile $RUN/id.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
CONF
    # Its directory in /run is made in a mount namespace: nothing of it stays.
    served 22 B sshd unshare -m sh -c \
        "mount -t tmpfs run /run && mkdir /run/sshd && exec $(command -v sshd) -D -e -f $RUN/sshd_config"
}

secure_shell() {
    same hello "$(on A1 ssh $SSH root@b.example echo hello)" "ssh"
    on A1 scp -q $SSH "$RUN/www/big" root@b.example:"$RUN/by-scp"
    same "$(sum "$RUN/www/big")" "$(sum "$RUN/by-scp")" "the file by scp"
}

remote_sync() {
    on A1 rsync -a -e "ssh $SSH" "$RUN/www/" root@b.example:"$RUN/by-rsync/"
    diff -r "$RUN/www" "$RUN/by-rsync" || fail "rsync: directories differ"
}

version_control() {
    git init -q --bare "$RUN/repository.git"
    git init -q -b main "$RUN/work"
    cp "$RUN/www/big" "$RUN/work/"
    git -C "$RUN/work" add big
    git -C "$RUN/work" -c user.name=A -c user.email=a@example commit -q -m one
    on A1 env GIT_SSH_COMMAND="ssh $SSH" git -C "$RUN/work" push -q root@b.example:"$RUN/repository.git" main
    on A1 env GIT_SSH_COMMAND="ssh $SSH" git clone -q -b main root@b.example:"$RUN/repository.git" "$RUN/clone"
    same "$(git -C "$RUN/work" rev-parse HEAD)" "$(git -C "$RUN/clone" rev-parse HEAD)" "the commit by git"
    git -C "$RUN/clone" fsck --full >/dev/null
}

throughput() {
    served 5201 B iperf3 iperf3 -s
    local mode report
    for mode in "" "-R" "--bidir" "-u -b 20M -l 1200"; do
        report=$(on A1 iperf3 -c b.example -t 1 -J $mode)
        more 100000 "$(jq '.end.sum_received.bytes // .end.sum.bytes' <<<"$report")" "octets by iperf3 $mode"
    done
    same 0 "$(jq '.end.sum.lost_packets' <<<"$report")" "datagrams lost at 20 Mb/s"
}

web_socket() {
    served 8765 B websocket "$PYTHON" "$PEERS/websocket.py" serve 8765
    same 100 "$(on A1 "$PYTHON" "$PEERS/websocket.py" ask ws://b.example:8765/ 100)" "WebSocket messages"
}

inner_dns() {
    served 53 B dnsmasq dnsmasq -k -C /dev/null -p 53 --no-resolv --no-hosts \
        --address=/inside.test/10.20.30.40 --pid-file= --user=root
    same 10.20.30.40 "$(on A1 dig +short +tries=1 +time=10 @b.example inside.test A)" "DNS by UDP"
    same 10.20.30.40 "$(on A1 dig +short +tcp +tries=1 +time=10 @b.example inside.test A)" "DNS by TCP"
}

# Signalling by UDP: five calls, each INVITE, 180, 200, ACK, BYE, 200.
calls() {
    served 5060 B sipp sipp -sn uas -p 5060 -i 192.168.0.2 -nostdin
    (cd "$RUN" && TERM=dumb on A1 sipp -sn uac b.example:5060 -m 5 -r 5 -d 200 -nostdin -timeout 40 \
        -timeout_error >"$RUN/uac.txt" 2>&1) || fail "sipp: $(tail -n 20 "$RUN/uac.txt")"
}

bit_torrent() {
    start B torrent "$PYTHON" "$PEERS/torrent.py" seed "$RUN/www/big" "$RUN/big.torrent" 6881
    wait_for 20 "the seed" grep -q ready "$(log B torrent)"
    mkdir "$RUN/leech"
    on A1 "$PYTHON" "$PEERS/torrent.py" fetch "$RUN/big.torrent" "$RUN/leech" "$(mapped A1 b.example)" 6881
    same "$(sum "$RUN/www/big")" "$(sum "$RUN/leech/big")" "the file by BitTorrent"
}

file_sharing() {
    mkdir -p "$RUN/samba"/{private,lock,state,cache,pid,ncalrpc}
    cat >"$RUN/smb.conf" <<CONF
[global]
    server role = standalone
    map to guest = bad user
    guest account = root
    disable netbios = yes
    disable spoolss = yes
    private dir = $RUN/samba/private
    lock directory = $RUN/samba/lock
    state directory = $RUN/samba/state
    cache directory = $RUN/samba/cache
    pid directory = $RUN/samba/pid
    ncalrpc dir = $RUN/samba/ncalrpc
    log file = $RUN/samba/log
[files]
    path = $RUN/www
    guest ok = yes
CONF
    served 445 B smbd smbd -F --no-process-group -s "$RUN/smb.conf"
    (cd "$RUN" && on A1 smbclient -s "$RUN/smb.conf" -N //b.example/files -c "get big by-smb" 2>/dev/null) >/dev/null
    same "$(sum "$RUN/www/big")" "$(sum "$RUN/by-smb")" "the file by SMB"
}

needs openssl nghttpd sshd ssh rsync git iperf3 dnsmasq sipp smbd smbclient
"$PYTHON" -c 'import libtorrent, websockets' || skip "python3-libtorrent or python3-websockets is missing"
fig2
nattt_gateway Y
nattt_client A1
mkdir -p "$RUN/www/directory"
head -c 5000000 /dev/urandom >"$RUN/www/big"
for number in {1..50}; do head -c $((number * 100)) /dev/urandom >"$RUN/www/directory/$number"; done
for part in https ssh_server secure_shell remote_sync version_control throughput web_socket inner_dns \
    calls bit_torrent file_sharing; do
    "$part"
    echo "ok - $part"
done
