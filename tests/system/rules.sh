#!/bin/bash
# rules.sh nft|iptables|iptables-legacy: the rules of both roles on a real kernel, without natttd.
#
#      A ----------------- Y ----------------- B (192.168.0.2, 192.168.0.3)
#   203.0.113.2   wan0 203.0.113.1, 192.168.0.1 lan0
#
# What the daemon's verdict would mark as decapsulated, a table of this test marks: all that comes
# from A. Queues have no listener, so what is queued without bypass ends there and is counted.
# Needs root, ip, nft, conntrack, ping, and the tools of the flavour. Touches only namespaces of its own.
set -euo pipefail
flavour=${1:?nft, iptables or iptables-legacy}
nattt=${NATTT:-$(cd "$(dirname "$0")/../.." && pwd)/target/debug/nattt}
work=$(mktemp -d)
A=nattt-a-$$ Y=nattt-y-$$ B=nattt-b-$$ failed=0 count=0

cleanup() {
  for ns in $A $Y $B; do ip netns del "$ns" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

y() { ip netns exec "$Y" "$@"; }
check() { # DESCRIPTION COMMAND...
  local what=$1; shift; count=$((count + 1))
  if "$@" >"$work/said" 2>&1; then echo "ok $count - $flavour: $what"
  else echo "not ok $count - $flavour: $what"; sed 's/^/#  /' "$work/said"; failed=1; fi
}
not() { ! "$@"; }
rules() { y "$nattt" rules "$@" --config "$work/nattt.toml"; }

topology() {
  for ns in $A $Y $B; do ip netns add "$ns"; ip -n "$ns" link set lo up; done
  ip -n "$Y" link add wan0 type veth peer name eth0 netns "$A"
  ip -n "$Y" link add lan0 type veth peer name eth0 netns "$B"
  ip -n "$A" addr add 203.0.113.2/24 dev eth0
  ip -n "$Y" addr add 203.0.113.1/24 dev wan0
  ip -n "$Y" addr add 192.168.0.1/24 dev lan0
  ip -n "$B" addr add 192.168.0.2/24 dev eth0
  ip -n "$B" addr add 192.168.0.3/24 dev eth0
  for end in $A:eth0 $Y:wan0 $Y:lan0 $B:eth0; do ip -n "${end%:*}" link set "${end#*:}" up; done
  ip -n "$A" route add default via 203.0.113.1
  ip -n "$B" route add default via 192.168.0.1
  ip -n "$Y" route add 198.51.100.0/24 via 203.0.113.2
  y sysctl -qw net.ipv4.ip_forward=1
}

configuration() { # EXPORTS
  printf '[client]\n[gateway]\noutside = ["wan0"]\nexports = [%s]\n' "$1" >"$work/nattt.toml"
}

# Rules that are not ours: the marker, and an ordinary port forward.
foreign() {
  y nft -f - <<'N'
table ip feint {
  chain prerouting {
    type filter hook prerouting priority -310
    iifname "wan0" ip saddr 203.0.113.2 meta mark set meta mark | 0x04000000
  }
}
N
  if [ "$flavour" = nft ]; then
    y nft -f - <<'N'
table ip mine {
  chain prerouting {
    type nat hook prerouting priority dstnat
    iifname "wan0" udp dport 5555 dnat to 192.168.0.3
  }
}
N
  else
    y iptables -t nat -A PREROUTING -i wan0 -p udp --dport 5555 -j DNAT --to-destination 192.168.0.3
    for at in raw:OUTPUT raw:PREROUTING mangle:OUTPUT mangle:FORWARD filter:INPUT filter:OUTPUT security:INPUT; do
      y iptables -t "${at%:*}" -A "${at#*:}" -p tcp --dport 9 -m comment --comment "mine, not theirs"
    done
    y ip6tables -t security -A INPUT -p tcp --dport 9
  fi
}

listing() {
  if [ "$flavour" = nft ]; then y nft -s list ruleset
  else { y iptables-save; y ip6tables-save; } | sed -E '/^#/d; s/\[[0-9]+:[0-9]+\]//'; fi
}

# Packets counted by the first rule of a chain that contains all of the given texts.
packets() { # CHAIN TEXT...
  local rules text
  if [ "$flavour" = nft ]; then
    rules=$(y nft list chain inet nattt "$1" | sed -nE 's/^(.*)counter packets ([0-9]+).*bytes [0-9]+(.*)$/\2 \1\3/p')
  else
    rules=$(y iptables-save -c | sed -nE 's/^\[([0-9]+):[0-9]+\] (.*)$/\1 \2/p' | grep -F -- "-A $1 ")
  fi
  for text in "${@:2}"; do rules=$(grep -F -- "$text" <<<"$rules"); done
  awk 'NR == 1 { print $1 }' <<<"$rules"
}
counted() { [ "$(packets "$@")" -ge 1 ]; }
uncounted() { [ "$(packets "$@")" = 0 ]; }

loading() {
  listing >"$work/before"
  check "rules load" rules apply "${as[@]}"
  listing >"$work/once"
  check "rules load again" rules apply "${as[@]}"
  listing >"$work/twice"
  check "a second load changes nothing" diff "$work/once" "$work/twice"
  if [ "$flavour" != nft ]; then
    rules print "${as[@]}" >"$work/text"
    check "a plain second restore works" y iptables-restore --noflush <"$work/text"
    rules apply "${as[@]}"
    listing >"$work/third"
    check "apply removes the doubled jumps of a plain restore" diff "$work/once" "$work/third"
    y iptables-save >"$work/saved"
    check "what iptables-save shows can be restored" y iptables-restore --test "$work/saved"
  else
    { rules print "${as[@]}"; echo "add rule inet nattt no_such_chain drop"; } >"$work/broken"
    check "a broken text is refused" not y nft -f "$work/broken"
    listing >"$work/third"
    check "and leaves the old rules" diff "$work/once" "$work/third"
  fi
}

client() {
  y bash -c 'echo > /dev/udp/127.64.0.1/7777' || true
  check "packets to the pool are queued" counted "${to_pool[@]}"
  check "and do not pass without the daemon" uncounted "${unmapped[@]}"
  check "a forged source in the pool is stopped" not y ping -q -c 1 -W 1 -I 127.64.0.9 127.0.0.1
  check "and counted" counted "${from_pool[@]}"
  check "other loopback addresses are free" y ping -q -c 1 -W 5 127.0.0.2
}

tracked() { y conntrack -L "$@" 2>/dev/null; }
tracks() { grep -qF -- "$1" <<<"$(tracked "${@:2}")"; } # TEXT CONNTRACK-ARGUMENTS...
timeout_above() { # SECONDS CONNTRACK-ARGUMENTS...
  local least=$1; shift
  tracked "$@" | awk -v least="$least" '$3 > least { found = 1 } END { exit !found }'
}

gateway() {
  ip netns exec "$A" bash -c 'echo > /dev/udp/192.168.0.2/5555' || true
  # B answers port unreachable: the packet has gone there and back when that is queued.
  for ((end = SECONDS + 10; SECONDS < end; )); do counted "${replies[@]}" && break; done
  check "a reply of a decapsulated flow is queued" counted "${replies[@]}"
  check "the connection has the mark" tracks 'mark=67108864' -p udp --dport 5555
  check "a port forward does not catch it" tracks 'src=192.168.0.2 dst=203.0.113.2' -p udp --dport 5555
  check "conntrack remembers it longer than natttd" timeout_above 300 -p udp --dport 5555
  ip netns exec "$A" ping -q -c 1 -W 1 192.168.0.2 >/dev/null || true
  [ "$flavour" = nft ] || check "ICMP, too" timeout_above 60 -p icmp
  check "nothing goes back out" not ip netns exec "$A" ping -q -c 1 -W 1 198.51.100.9
  check "it is counted" counted "${back_out[@]}"
  check "the gateway itself is out of reach" not ip netns exec "$A" ping -q -c 1 -W 1 192.168.0.1
  check "and that is counted" counted "${own[@]}"
  y conntrack -F 2>/dev/null
  y nft flush chain ip feint prerouting
  check "the gateway forwards ordinary packets as ever" ip netns exec "$A" ping -q -c 1 -W 5 192.168.0.2
  check "and answers them" ip netns exec "$A" ping -q -c 1 -W 5 203.0.113.1
  ip netns exec "$A" bash -c 'echo > /dev/udp/203.0.113.1/5555' || true
  check "the port forward works" tracks 'src=192.168.0.3 dst=203.0.113.2' -p udp --dport 5555
  ip netns exec "$A" bash -c 'echo > /dev/udp/203.0.113.1/100' || true
  check "tunnel packets are queued" counted "${arrivals[@]}"
}

answers() {
  y nft add rule ip feint prerouting iifname wan0 ip saddr 203.0.113.2 meta mark set meta mark \| 0x04000000
  y nft -f - <<'N'
table ip refuse {
  chain forward {
    type filter hook forward priority 0
    udp dport 4444 reject
    tcp dport 4444 reject with tcp reset
  }
}
N
  local before
  before=$(packets "${copies[@]}")
  ip netns exec "$A" bash -c 'echo > /dev/udp/192.168.0.2/4444' || true
  check "an ICMP error about a first packet is queued, once" [ "$(packets "${copies[@]}")" = $((before + 1)) ]
  ip netns exec "$A" timeout 1 bash -c 'echo > /dev/tcp/192.168.0.2/4444' || true
  check "a reset, too" [ "$(packets "${copies[@]}")" -gt $((before + 1)) ]
  y nft delete table ip refuse
  y nft flush chain ip feint prerouting
}

exported_by_itself() {
  configuration '"192.168.0.0/24", "192.168.0.1"'
  rules apply "${as[@]}"
  y nft add rule ip feint prerouting iifname wan0 meta mark set meta mark \| 0x04000000
  ip netns exec "$A" ping -q -c 1 -W 1 192.168.0.1 >/dev/null || true
  check "an address exported by itself is reached" uncounted "${own[@]}"
  check "and its reply queued" counted "${replies[@]}"
  y nft flush chain ip feint prerouting
}

removing() {
  y nft add rule ip feint prerouting iifname wan0 ip saddr 203.0.113.2 meta mark set meta mark \| 0x04000000
  check "rules are removed" rules remove
  listing >"$work/after"
  check "and leave what was there" diff "$work/before" "$work/after"
  check "removing nothing is no error" rules remove
}

if [ "$flavour" = nft ]; then
  to_pool=(client_output daddr queue)       from_pool=(client_output saddr drop)
  unmapped=(client_unmapped admin-prohibited)
  arrivals=(gateway_prerouting queue)       replies=(gateway_postrouting queue)
  back_out=(gateway_forward drop)           own=(gateway_input drop)
  copies=(gateway_copies 'ct state untracked')
else
  to_pool=(NATTT-OUTPUT '-d 127' NFQUEUE)   from_pool=(NATTT-OUTPUT '-s 127' DROP)
  unmapped=(NATTT-OUTPUT admin-prohibited)
  arrivals=(NATTT-PREROUTING NFQUEUE)       replies=(NATTT-POSTROUTING NFQUEUE)
  back_out=(NATTT-FORWARD DROP)             own=(NATTT-INPUT DROP)
  copies=(NATTT-COPIES '-m mark' NFQUEUE)
fi
as=(--flavour "${flavour%-legacy}")
if [ "$flavour" = iptables-legacy ]; then
  for tool in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s "$(command -v "${tool/tables/tables-legacy}")" "$work/$tool"
  done
  PATH=$work:$PATH
fi
topology
configuration '"192.168.0.0/24"'
foreign
loading
client
gateway
answers
exported_by_itself
removing
echo "1..$count"
exit $failed
