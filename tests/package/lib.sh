# To be sourced by the scripts that tests/package.sh runs in a booted system.

count=0 failed=0

check() { # DESCRIPTION COMMAND...
    local what=$1 said
    shift
    count=$((count + 1))
    if said=$("$@" 2>&1); then
        echo "ok $count - $what"
    else
        echo "not ok $count - $what"
        sed 's/^/#  /' <<<"$said"
        journalctl -b --no-pager -n 15 | sed 's/^/#  /'
        failed=1
    fi
}

# eventually COMMAND...: within a minute; this machine is slow.
eventually() {
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { "$@"; return; }
        sleep 0.2
    done
}

pool_is_queued() { grep -q 'daddr 127.64.0.0/10.*queue' <(nft list chain inet nattt client_output); }
earlier() { [ "$(since "$1")" -le "$(since "$2")" ]; }
since() { systemctl show -P ActiveEnterTimestampMonotonic "$1" | grep -v '^0$'; }
not() { ! "$@"; }
pid() { systemctl show -P MainPID nattt; }
ps_field() { stat -c %U "/proc/$(pid)"; }
rules_loaded() { nft list chain inet nattt client_output; }
status_says() { nattt status --json | grep -q "\"state\": *\"$1\""; }
another_than() { local now; now=$(pid); [ "$now" != 0 ] && [ "$now" != "$1" ]; }
address() { getent ahostsv4 b.example | awk '{ print $1; exit }'; }
mapped() { grep -q '^127' <(address); }
flows() { grep -q '203.0.113.1' <(nattt flows); }
sent() { grep -q '^ *[a-z_]*encapsulated' <(nattt counters); }
set_filled() { grep -q ' 127' <(nft list set inet nattt mapped); }
fed() { systemctl show -P WatchdogTimestampMonotonic nattt; }
fed_after() { [ "$(fed)" -gt "$1" ]; }
