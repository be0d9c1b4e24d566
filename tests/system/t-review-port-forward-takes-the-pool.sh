#!/bin/bash
# Review: a routed pool is "local" to everybody's NAT rules. What natttd refuses (unmapped, no flow to be
# had) is rejected by address, in INPUT and, with iptables, in filter OUTPUT: after the user's DNAT. A
# published port (Docker's rules match --dst-type LOCAL and spare 127/8 only) answers for the remote host.
. "$(dirname "$0")/lib.sh"

fig2
nattt_gateway Y
client_config A
echo 'pool = "198.18.0.0/15"' >>"$RUN/A.toml"
start_natttd A
client_config X
printf 'pool = "198.18.0.0/15"\nserve = ["lan"]\n' >>"$RUN/X.toml"
start_natttd X

refused "an unmapped address at A, before" fetch A 198.19.255.1:8080/
same 7 "$STATUS" "curl's exit status"
refused "an unmapped address at A1, before" fetch A1 198.19.255.1:8080/
same 7 "$STATUS" "curl's exit status"

# As Docker writes it for a container with `-p 8080:80`; W stands for the container.
for name in A X; do
    on "$name" nft -f - <<'NFT'
table ip docker {
    chain prerouting {
        type nat hook prerouting priority dstnat
        fib daddr type local jump published
    }
    chain output {
        type nat hook output priority -100
        ip daddr != 127.0.0.0/8 fib daddr type local jump published
    }
    chain published {
        tcp dport 8080 counter dnat to 198.51.100.80:80
    }
}
NFT
done
failures=()
refused_not() { fetch "$1" 198.19.255.1:8080/ "${@:2}" 2>&1 || true; }
for name in A A1; do
    # From 127.0.0.1, the source of the pool's route, W would get a martian.
    bind=()
    [ "$name" = A1 ] || bind=(--interface 198.51.100.10)
    answer=$(PATIENCE=5 refused_not "$name" "${bind[@]}")
    echo "$name: $answer"
    [[ "$answer" != *"This is"* ]] || failures+=("$name")
done
same "" "${failures[*]:-}" "hosts to which a published port answered for an unmapped address"
