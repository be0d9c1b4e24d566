#!/bin/bash
# The gateway forwards to its exports only: not to another host of the LAN, not to itself, not back
# out to the Internet.
. "$(dirname "$0")/lib.sh"

# denied NAME COUNTER WHAT: A cannot reach it, and Y counts why.
denied() {
    local before
    before=$(counter Y "$2")
    PATIENCE=2 refused "$3 by TCP" fetch A "$1/"
    refused "$3 by UDP" ask A "$1" 7 hello --timeout 1
    more "$before" "$(counter Y "$2")" "$2 at Y"
}

fig1
serve Y
nattt_gateway Y 192.168.0.2/32
nattt_client A

same "This is B." "$(fetch A b.example/)" "the exported host"
denied unexported.example gateway_not_exported "a host that is not exported"
denied relay.example gateway_not_exported "a public host through the gateway"
refused "traces of it at C" grep -E '^(tcp|udp)' "$(log C server)"
refused "traces of it at W" grep -E '^(tcp|udp)' "$(log W server)"

# Y's own inside address, although it is inside the exported prefix now.
stop Y natttd
nattt_gateway Y 192.168.0.0/24
same "This is C." "$(fetch A unexported.example/)" "C, exported now"
denied gateway.example gateway_own_address "the gateway itself"
refused "traces of it at Y" grep -E '^(tcp|udp)' "$(log Y server)"
