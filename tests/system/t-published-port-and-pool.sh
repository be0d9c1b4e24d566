#!/bin/bash
# A routed pool is "local" to everybody's NAT rules. What natttd refuses must not reach a published port:
# Docker's rules match --dst-type LOCAL and spare 127/8 only.
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
    on "$name" iptables-restore --noflush <<'RULES'
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -p tcp --dport 8080 -j DNAT --to-destination 198.51.100.80:80
COMMIT
RULES
done
same "This is W." "$(fetch A1 192.168.0.1:8080/)" "the published port itself"
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
