#!/bin/bash
# An address of the pool that stands for no host is refused, although every 127/8 address is local
# and A has a listener on all of them. What is asserted is the kind of the error: never a timeout.
. "$(dirname "$0")/lib.sh"

fig1
serve A
nattt_gateway Y
nattt_client A

same "This is A." "$(fetch A 127.0.0.1/)" "A's own page"
same "This is B." "$(fetch A b.example/)" "the tunnel"

unmapped=127.65.43.21
[ "$(mapped A b.example)" != "$unmapped" ] || unmapped=127.65.43.22

PATIENCE=60 refused "TCP to an unmapped address" fetch A "$unmapped/"
same 7 "$STATUS" "curl's exit status (7 is refused, 28 is timed out)"

refused "UDP to an unmapped address" ask A "$unmapped" 7 hello --timeout 60
same 2 "$STATUS" "ask.py's exit status (2 is an error of the kernel, 3 is no answer)"
matches '^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EPERM|EACCES)$' "$OUTPUT" "the error"

refused "ping to an unmapped address" on A ping -n -c 1 -W 60 "$unmapped"
matches '[Uu]nreachable|not permitted|filtered' "$OUTPUT" "ping's complaint"
