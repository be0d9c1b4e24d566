#!/bin/bash
# Y forwards its port 80 to C with a rule that names no address, as many do. It must catch
# connections to Y and not what comes out of the tunnel for B:80, in either kind of firewall.
. "$(dirname "$0")/lib.sh"

both_work() {
    same "This is C." "$(fetch A 203.0.113.1/)" "the forward of port 80 by $1"
    same "This is B." "$(fetch A b.example/)" "B through the tunnel beside $1's forward"
    matches '^C saw ' "$(ask A 203.0.113.1 7 hello)" "the forward of UDP port 7 by $1"
    matches '^B saw ' "$(ask A b.example 7 hello)" "B's UDP through the tunnel beside $1's"
    same "This is C." "$(fetch A 203.0.113.1:5555/)" "the classic forward of port 5555"
}

fig1
on Y nft add rule ip site prerouting iifname wan tcp dport 80 dnat to 192.168.0.3
on Y nft add rule ip site prerouting iifname wan udp dport 7 dnat to 192.168.0.3
nattt_gateway Y
nattt_client A
both_work nft

# The same rules in an iptables firewall, added after natttd's own.
on Y nft flush chain ip site prerouting
port_forward Y 5555 192.168.0.3
on Y iptables -t nat -A PREROUTING -i wan -p tcp --dport 80 -j DNAT --to-destination 192.168.0.3
on Y iptables -t nat -A PREROUTING -i wan -p udp --dport 7 -j DNAT --to-destination 192.168.0.3
both_work iptables
