//! The rules in nft's language (1.0.6 and later): tables of our own, replaced atomically.

use std::net::Ipv4Addr;

use super::timeouts::{TIMEOUTS, TimeoutPolicy};
use super::{answers, exported_tcp};
use crate::config::{Client, Config, Export, Gateway, Mark, Queues};

/// Our table, of family inet; one of the same name, of family ip, holds `rules::answers`.
pub const TABLE: &str = "nattt";

/// The text that removes our tables, whether they are there or not.
pub fn remove() -> String {
    // nft 1.0.6 knows no `destroy`; declaring a table first makes deleting it always succeed.
    let remove = |family| format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n");
    remove("inet") + &remove("ip")
}

pub(super) fn render(config: &Config, fingerprint: &str) -> String {
    let mut text = String::from(HEADER);
    text += &remove();
    text += &table_head(fingerprint);
    if config.gateway.is_some() {
        text += &timeout_objects();
    }
    if let Some(client) = &config.client {
        text += &client_chains(config, client);
        if client.is_routed() {
            text += &routed_pool(config, client);
        }
        if !client.serve.is_empty() {
            text += &served_hosts(config, client);
        }
        // The gateway's own chain queues replies on all marked connections.
        if !client.serve.is_empty() && config.gateway.is_none() {
            text += &served_replies(config, client);
        }
    }
    if let Some(gateway) = &config.gateway {
        text += &gateway_prerouting(config, gateway);
        let turning = config.turning();
        text += &gateway_guards(config.mark, gateway, &turning);
        if !turning.is_empty() {
            text += &gateway_hairpin(config.mark);
        }
        text += &gateway_forgotten(config, gateway);
        text += &gateway_postrouting(config, gateway);
    }
    text + "}\n" + &answers::table(config.mark)
}

const HEADER: &str = "\
# NATTT's rules for `nft -f`, which replaces them as a whole. Made from /etc/nattt/nattt.toml:
# change that file, not this one, then run `nattt rules apply`. `nattt rules print` shows the text.
";

/// ICMP errors that may be passed on. What they quote begins 64 bits behind the ICMP header's start.
pub(super) const ICMP_ERRORS: &str =
    "icmp type { destination-unreachable, time-exceeded, parameter-problem }";

fn table_head(fingerprint: &str) -> String {
    format!(
        "table inet {TABLE} {{
	# The configuration these rules were made from; natttd compares it with its own.
	chain config_{fingerprint} {{
	}}

	# Filled by natttd for people and other rules to read: the addresses that stand for remote
	# hosts now, and the NAT boxes (address and UDP port) behind which they are.
	set mapped {{
		type ipv4_addr
	}}
	set gateways {{
		type ipv4_addr . inet_service
	}}
"
    )
}

fn client_chains(config: &Config, client: &Client) -> String {
    let pool = client.pool;
    let queue = data_queue(config.queues);
    let dns = config.queues.dns();
    let errors = config.queues.data().start;
    let (packet_has, has_mark) = (has_mark("meta", config.mark), has_mark("ct", config.mark));
    let save = save_mark(config.mark);
    // To hosts right behind the gateway role there is no tunnel, and no keepalive either.
    let timeouts = config.gateway.as_ref().map_or(String::new(), |_| {
        let why = "\t\t# To hosts right behind the gateway role: without a tunnel, and without a keepalive.\n";
        why.to_owned() + &timeout_rules(config.mark)
    });
    let direct = config.gateway.as_ref().map_or(String::new(), |_| {
        format!(
            "		meta l4proto tcp {has_mark} ct direction reply counter {queue}
		meta l4proto icmp ct state established {has_mark} ct direction reply counter {queue}
		meta l4proto tcp ct state untracked {packet_has} counter queue to {errors}
"
        )
    });
    format!(
        "
	# Before conntrack, which then sees one ordinary outer UDP flow. A source in the pool can only
	# be forged, but for the answers of `reject` below. Without natttd, packets to the pool are
	# dropped: all of 127.0.0.0/8 is local, and a listener here would answer for the remote host.
	chain client_output {{
		type filter hook output priority raw; policy accept;
		ip saddr {pool} tcp flags & rst == rst accept
		ip saddr {pool} {ICMP_ERRORS} accept
		ip saddr {pool} counter drop
		ip daddr {pool} counter {queue}
	}}

	# Still addressed to the pool: it stands for no host. The application fails at once.
	chain client_unmapped {{
		type filter hook output priority raw + 10; policy accept;
		ip daddr {pool} meta l4proto tcp counter reject with tcp reset
		ip daddr {pool} counter reject with icmp type admin-prohibited
	}}

	# After conntrack: the connection keeps the mark, the packet does not. (Answers of this host to its
	# own packets have the mark and no connection.)
	chain client_mark {{
		type filter hook output priority mangle; policy accept;
		ct state != untracked {save}
{timeouts}	}}

	# After the user's own filter, which saw established UDP, and related ICMP errors about packets
	# of ours, or such answers of this host. DNS and others' ICMP go on without natttd.
	chain client_input {{
		type filter hook input priority security + 10; policy accept;
		meta l4proto udp {has_mark} ct direction reply counter {queue}
{direct}		meta l4proto icmp ct state related {has_mark} ct direction reply counter queue flags bypass to {errors}
		meta l4proto icmp ct state untracked {packet_has} counter queue to {errors}
		udp sport 53 ct direction reply counter queue flags bypass to {dns}
	}}
"
    )
}

/// Other hosts can send to a routed pool, whose route leads here.
fn routed_pool(config: &Config, client: &Client) -> String {
    let pool = client.pool;
    let queue = data_queue(config.queues);
    let served = match client.serve.is_empty() {
        true => String::new(),
        false => {
            let serve = interfaces(&client.serve);
            format!("\t\tiifname {serve} ip daddr {pool} counter {queue}\n")
        }
    };
    format!(
        "
	# Before conntrack. No other host has an address of the pool.
	chain client_prerouting {{
		type filter hook prerouting priority raw; policy accept;
		iifname != \"lo\" ip saddr {pool} counter drop
{served}	}}

	# The pool is local, but what is addressed to it is for nobody's published port: it stays as it is
	# until it is refused.
	chain client_identity {{
		type nat hook prerouting priority dstnat - 1; policy accept;
		ip daddr {pool} dnat ip to ip daddr
	}}

	# It stands for no host, or comes from where nobody is served: the sender fails at once.
	chain client_unserved {{
		type filter hook input priority filter - 1; policy accept;
		ip daddr {pool} meta l4proto tcp counter reject with tcp reset
		ip daddr {pool} counter reject with icmp type admin-prohibited
	}}
"
    )
}

fn served_hosts(config: &Config, client: &Client) -> String {
    let serve = interfaces(&client.serve);
    let dns = config.queues.dns();
    let save = save_mark_of_arrivals(config.mark);
    format!(
        "
	# The outer packets of served hosts are forwarded, as if the hosts had sent them.
	chain client_served_mark {{
		type filter hook prerouting priority mangle; policy accept;
{save}	}}

	# After the user's own filter, as in `client_input`.
	chain client_served_dns {{
		type filter hook forward priority security + 10; policy accept;
		oifname {serve} udp sport 53 ct direction reply counter queue flags bypass to {dns}
	}}

"
    )
}

fn served_replies(config: &Config, client: &Client) -> String {
    let serve = interfaces(&client.serve);
    let (queue, errors) = (data_queue(config.queues), config.queues.data().start);
    let (packet_has, has_mark) = (has_mark("meta", config.mark), has_mark("ct", config.mark));
    format!(
        "
	# What this host itself answers to a first packet: before others' rules that set the whole mark.
	chain client_copies {{
		type filter hook postrouting priority mangle - 10; policy accept;
		oifname {serve} ct state untracked {packet_has} counter queue to {errors}
	}}

	# After NAT, when they have the served host's address again.
	chain client_postrouting {{
		type filter hook postrouting priority srcnat + 200; policy accept;
		oifname {serve} meta l4proto udp {has_mark} ct direction reply counter {queue}
		oifname {serve} meta l4proto icmp ct state related {has_mark} ct direction reply counter queue flags bypass to {errors}
	}}
"
    )
}

fn timeout_objects() -> String {
    TIMEOUTS.iter().filter_map(timeout_object).collect()
}

fn timeout_object(policy: &TimeoutPolicy) -> Option<String> {
    let states: Vec<String> =
        policy.states.iter().map(|(state, _, seconds)| format!("{state} : {seconds}")).collect();
    let (name, protocol, states) = (policy.nft_name?, policy.protocol, states.join(", "));
    Some(format!(
        "
	ct timeout {name} {{
		protocol {protocol}
		l3proto ip
		policy = {{ {states} }}
	}}
"
    ))
}

fn gateway_prerouting(config: &Config, gateway: &Gateway) -> String {
    let queue = data_queue(config.queues);
    let packet_has = has_mark("meta", config.mark);
    let ct_has = has_mark("ct", config.mark);
    let save = save_mark_of_arrivals(config.mark);
    let arrivals = interfaces(gateway.arrivals());
    let port = gateway.port;
    // A routed pool is local, too.
    let routed = config.client.as_ref().filter(|client| client.is_routed());
    let own = routed.map_or(String::new(), |client| format!("ip daddr != {} ", client.pool));
    let errors = config.queues.data().start;
    let timeouts = timeout_rules(config.mark);
    format!(
        "
	# Before conntrack. The verdict on a tunnel packet sends the inner packet through here again,
	# marked. Only what is addressed to this host is taken: tunnels through it are not its own.
	# ICMP errors about its tunnel packets quote IPv4 without options, UDP and the tunnel port.
	chain gateway_prerouting {{
		type filter hook prerouting priority raw; policy accept;
		{packet_has} accept
		iifname {arrivals} meta nfproto ipv4 udp dport {port} {own}fib daddr type local counter {queue}
		iifname {arrivals} {ICMP_ERRORS} @th,64,8 0x45 @th,136,8 17 @th,224,16 {port} {own}fib daddr type local counter queue flags bypass to {errors}
	}}

	# After conntrack: the connection keeps the mark, and is remembered at least as long as
	# natttd's own flow (a policy can be set only while the connection is new). Not if the packet passes for
	# an answer in a host's own connection: whoever has forged it must not make a tunnel's of that.
	chain gateway_mark {{
		type filter hook prerouting priority mangle; policy accept;
{save}{timeouts}	}}

	# Binds decapsulated flows to the destination they have, before an ordinary port forward
	# can catch them.
	chain gateway_identity {{
		type nat hook prerouting priority dstnat - 1; policy accept;
		{ct_has} dnat ip to ip daddr
	}}
"
    )
}

fn timeout_rules(mark: Mark) -> String {
    TIMEOUTS.iter().filter_map(|policy| timeout_rule(policy, mark)).collect()
}

// conntrack must have made the connection, and not yet confirmed it.
fn timeout_rule(policy: &TimeoutPolicy, mark: Mark) -> Option<String> {
    let (name, protocol, has_mark) = (policy.nft_name?, policy.protocol, has_mark("ct", mark));
    Some(format!("\t\tct state new {has_mark} meta l4proto {protocol} ct timeout set \"{name}\"\n"))
}

fn gateway_guards(mark: Mark, gateway: &Gateway, turning: &[&String]) -> String {
    let has_mark = has_mark("ct", mark);
    let (arrivals, outside) = (interfaces(gateway.arrivals()), interfaces(&gateway.outside));
    let unlisted = unlisted(&gateway.exports);
    let hairpins: String = turning.iter().map(|name| hairpin(name, mark)).collect();
    format!(
        "
	# Decapsulated packets go to what is behind this host: never back out again,
	chain gateway_forward {{
		type filter hook forward priority filter - 1; policy accept;
{hairpins}		{has_mark} ct direction original iifname {arrivals} oifname {outside} counter drop
	}}

	# and never to this host itself, unless its address is exported by itself.
	chain gateway_input {{
		type filter hook input priority filter - 1; policy accept;
		{has_mark} ct direction original iifname {arrivals} {unlisted}counter drop
	}}
"
    )
}

/// Flows may leave where they came in. The mark of their first packet asks for this host's address;
/// it stays on that packet, which leaves this host with it.
fn hairpin(interface: &str, mark: Mark) -> String {
    let has_mark = has_mark("ct", mark);
    format!(
        "		{has_mark} ct state new iifname \"{interface}\" oifname \"{interface}\" meta mark set meta mark | {mark} accept
		{has_mark} ct direction original iifname \"{interface}\" oifname \"{interface}\" accept
"
    )
}

fn gateway_hairpin(mark: Mark) -> String {
    let packet_has = has_mark("meta", mark);
    format!(
        "
	# Flows that leave where they came in do so with this host's own address: the answers would
	# pass it by otherwise.
	chain gateway_source {{
		type nat hook postrouting priority srcnat - 1; policy accept;
		{packet_has} counter masquerade
	}}
"
    )
}

fn gateway_forgotten(config: &Config, gateway: &Gateway) -> String {
    let has_none = format!("ct mark & {} == 0x00000000", config.mark);
    let errors = config.queues.data().start;
    let rule = |(prefix, ports): (String, Option<String>)| {
        let ports = ports.map_or(String::new(), |ports| format!("tcp sport {ports} "));
        format!(
            "		ip saddr {prefix} {ports}tcp flags & (fin | syn | rst | ack) != syn ct state new ct status & confirmed == 0 {has_none} counter queue flags bypass to {errors}\n"
        )
    };
    let rules: String = exported_tcp(gateway, "-").into_iter().map(rule).collect();
    format!(
        "
	# After the user's filter: what exported hosts send in the middle of connections that conntrack does
	# not know (has somebody flushed it?), the first packet of each. Those of tunnels natttd gives back to it;
	# others pass, also without natttd.
	chain gateway_forgotten {{
		type filter hook forward priority security + 10; policy accept;
{rules}	}}
"
    )
}

fn gateway_postrouting(config: &Config, gateway: &Gateway) -> String {
    let served = config.client.iter().flat_map(|client| &client.serve);
    let arrivals = interfaces(gateway.arrivals().chain(served));
    let errors = config.queues.data().start;
    let queue = data_queue(config.queues);
    let (packet_has, has_mark) = (has_mark("meta", config.mark), has_mark("ct", config.mark));
    format!(
        "
	# What this host itself answers to a first packet, to be encapsulated: before others' rules that set
	# the whole mark. It has no connection, so there is no NAT to wait for.
	chain gateway_copies {{
		type filter hook postrouting priority mangle - 10; policy accept;
		oifname != \"lo\" ct state untracked {packet_has} counter queue to {errors}
	}}

	# After the user's chains and NAT: replies to decapsulated packets, to be encapsulated. The
	# client role's connections of this host never match: their replies arrive here, over lo too. Those of
	# served hosts do.
	# Errors of which conntrack knows no connection: natttd sees whether they are about a packet that came
	# through a tunnel. Others pass, also without natttd.
	chain gateway_postrouting {{
		type filter hook postrouting priority srcnat + 200; policy accept;
		oifname != \"lo\" {has_mark} ct direction reply counter {queue}
		oifname {arrivals} {ICMP_ERRORS} ct state invalid,untracked counter queue flags bypass to {errors}
	}}
"
    )
}

/// By a hash of addresses and ports: each direction of a flow stays in one queue, and so in order.
/// Fan-out by CPU would tear it apart.
fn data_queue(queues: Queues) -> String {
    let first = queues.data().start;
    match queues.workers {
        0 | 1 => format!("queue to {first}"),
        workers => format!("queue to symhash mod {workers} offset {first}"),
    }
}

/// `of` is `meta` (the packet's mark) or `ct` (the connection's).
pub(super) fn has_mark(of: &str, mark: Mark) -> String {
    format!("{of} mark & {mark} != 0x00000000")
}

fn save_mark(mark: Mark) -> String {
    let others = mark.others();
    let has_mark = has_mark("meta", mark);
    format!("{has_mark} ct mark set ct mark | {mark} meta mark set meta mark & {others:#010x}")
}

/// Of what has come from the network.
fn save_mark_of_arrivals(mark: Mark) -> String {
    let (others, has_mark) = (mark.others(), has_mark("meta", mark));
    format!(
        "		iifname != \"lo\" {has_mark} ct direction original ct mark set ct mark | {mark}
		iifname != \"lo\" {has_mark} meta mark set meta mark & {others:#010x}
"
    )
}

fn interfaces<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    format!("{{ {} }}", names.join(", "))
}

/// A match for every address but those exported by themselves, with a space behind.
fn unlisted(exports: &[Export]) -> String {
    let mut listed: Vec<Ipv4Addr> = exports.iter().filter_map(Export::exact).collect();
    listed.sort_unstable();
    listed.dedup();
    match listed.is_empty() {
        true => String::new(),
        false => {
            let listed: Vec<String> = listed.iter().map(Ipv4Addr::to_string).collect();
            format!("ip daddr != {{ {} }} ", listed.join(", "))
        }
    }
}
