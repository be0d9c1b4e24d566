#!/bin/bash
# apt-repo.sh: makes an apt repository in target/apt of the packages in target/deb, signed.
#
# SIGN_KEY names a key of gpg's key ring; without it a key is made, and kept in target/apt-key.

set -euo pipefail
cd "$(dirname "$0")/../target"
SUITE=stable

main() {
    rm -rf apt
    mkdir -p apt/pool
    cp deb/nattt_*.deb apt/pool
    cd apt
    index
    sign
    echo "apt-repo: in $PWD; on a machine that can read it:"
    echo "  cp $PWD/nattt.gpg /usr/share/keyrings/"
    echo "  echo 'deb [signed-by=/usr/share/keyrings/nattt.gpg] file:$PWD $SUITE main' >/etc/apt/sources.list.d/nattt.list"
    echo "  apt update && apt install nattt"
}

index() {
    local architecture folder
    for architecture in $(printf '%s\n' pool/*.deb | sed 's/.*_\(.*\)\.deb/\1/' | sort -u); do
        folder=dists/$SUITE/main/binary-$architecture
        mkdir -p "$folder"
        apt-ftparchive --arch "$architecture" packages pool >"$folder/Packages"
        gzip -9nk "$folder/Packages"
    done
    apt-ftparchive -o APT::FTPArchive::Release::Origin=NATTT \
        -o APT::FTPArchive::Release::Suite=$SUITE -o APT::FTPArchive::Release::Codename=$SUITE \
        -o APT::FTPArchive::Release::Components=main \
        -o APT::FTPArchive::Release::Architectures="$(ls dists/$SUITE/main | sed 's/^binary-//' | xargs)" \
        release dists/$SUITE >Release
    mv Release dists/$SUITE/Release
}

sign() {
    if [ -z "${SIGN_KEY:-}" ]; then
        make_key
    fi
    gpg --batch --yes --local-user "$SIGN_KEY" --clearsign -o dists/$SUITE/InRelease dists/$SUITE/Release
    gpg --batch --yes --export "$SIGN_KEY" >nattt.gpg
}

make_key() {
    SIGN_KEY=nattt@localhost
    export GNUPGHOME=$PWD/../apt-key
    mkdir -p -m 700 "$GNUPGHOME"
    gpg --batch --list-secret-keys "$SIGN_KEY" >/dev/null 2>&1 ||
        gpg --batch --quiet --passphrase '' --quick-generate-key "NATTT packages <$SIGN_KEY>" ed25519 sign 2y
    # gpg starts an agent for the key; it ends when nobody needs it any more.
    trap 'gpgconf --kill gpg-agent' EXIT
}

main
