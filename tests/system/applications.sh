# What the tests of real applications share: servers on B. Sourced by them, after lib.sh.

needs() {
    local tool
    for tool in "$@"; do [ -x "$(command -v "$tool")" ] || skip "$tool is not installed"; done
}

sum() { sha256sum "$1" | cut -d' ' -f1; }

listening() { on B ss -Hlntu "sport = :$1" | grep -q .; }

# served PORT NODE NAME COMMAND...: a server of its own on B.
served() {
    start "$2" "$3" "${@:4}"
    wait_for 20 "$3 at port $1" listening "$1"
}

# certificate: of b.example, in $RUN/cert.pem, its key in $RUN/key.pem.
certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$RUN/key.pem" -out "$RUN/cert.pem" -days 2 \
        -subj /CN=b.example -addext subjectAltName=DNS:b.example 2>/dev/null
}
