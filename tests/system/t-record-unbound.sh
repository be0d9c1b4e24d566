#!/bin/bash
# Unbound serves what `nattt record make` prints.
. "$(dirname "$0")/lib.sh"
. "$TESTS/system/record.sh"
needs unbound

node N
with_name 'a\.b\;\"c.example'
# The binary is copied, because AppArmor profiles that go by the path of the original forbid it to
# read files here.
mkdir "$RUN/unbound"
cp "$(command -v unbound)" "$RUN/unbound/"
{
    cat <<CONF
server:
    interface: 127.0.0.1
    username: ""
    chroot: ""
    directory: "$RUN/unbound"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
CONF
    made unbound | sed 's/^/    /'
    printf 'remote-control:\n    control-enable: no\n'
} >"$RUN/unbound/unbound.conf"
start N unbound "$RUN/unbound/unbound" -d -c "$RUN/unbound/unbound.conf"
served N 127.0.0.1
