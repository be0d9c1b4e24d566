//! The firewall rules that bring packets to the daemon, as text for `nft -f` or
//! `iptables-restore --noflush`, made from the configuration so that text and daemon agree.
//!
//! Both flavours say the same. `M` is the mark's bit; every flow has one data queue. A spread by
//! CPU lets workers overtake each other within a flow, which TCP takes for loss; a spread by address
//! puts every flow between two hosts on one queue.
//!
//! | hook and priority | client role |
//! |---|---|
//! | output, raw | to the pool: to the data queues. From the pool: drop, but for the answers of `reject`. What this host itself answers to a first packet: copied |
//! | output, raw + 10 (iptables: filter) | still to the pool, so not mapped: reject |
//! | output, mangle | M moves from the packet to its connection. With the gateway role this gets our timeouts (iptables: in raw, if there is no tunnel). Such copies get M |
//! | prerouting, raw (routed pool) | to the pool, from `serve`: to the data queues. From the pool: drop |
//! | prerouting, mangle (`serve`) | M moves from the packet to its connection |
//! | input, filter - 1 (routed pool) | to the pool, from the network: reject |
//! | forward, security + 10 (`serve`; iptables: end of security) | DNS replies: to the DNS queue |
//! | postrouting, srcnat + 200 (`serve`; iptables: end of mangle) | replies on M's UDP connections, ICMP errors about them: to the data queues |
//! | postrouting, mangle - 10 (`serve`; iptables: before others in mangle) | copies of such answers: to the data queues |
//! | input, security + 10 (iptables: end of security) | replies on M's UDP connections (with the gateway role: also TCP and ping, which have no tunnel to hosts right behind), ICMP errors about them, copies: to the data queues; DNS replies: to the DNS queue |
//!
//! | hook and priority | gateway role |
//! |---|---|
//! | prerouting, raw | marked: decapsulated just now, let through. UDP to the tunnel port, ICMP errors about UDP from there: to the data queues |
//! | prerouting, mangle | M moves to the connection, which gets our timeouts (iptables: in raw). Not to one in which the packet would be a reply |
//! | prerouting, dstnat - 1 | M's connections: bound to the destination they have, so no port forward catches them |
//! | forward, filter - 1 (iptables: mangle) | M's connections never leave through an outside interface; a hairpin's, and those of `serve`, may leave where they came in, their first packet marked |
//! | forward, security + 10 (iptables: end of security) | the first packet, from exported TCP, of a connection without M that conntrack meets in the middle: to the data queues |
//! | input, filter - 1 | M's connections never reach this host itself, unless the address is exported by itself |
//! | postrouting, srcnat - 1 (only with `hairpin` or `serve`) | marked: this host's address as the source |
//! | output, raw and mangle | what this host itself answers to a first packet: copied, the copies get M |
//! | postrouting, srcnat + 200 (iptables: end of mangle) | replies on M's connections, ICMP errors without a connection: to the data queues |
//! | postrouting, mangle - 10 (iptables: before others in mangle) | copies of such answers: to the data queues |
//!
//! The data queues have no `bypass`: while the daemon is gone, packets are dropped. For the pool
//! anything else would let a listener on this host answer for the remote one; for the gateway,
//! replies would leave unencapsulated. DNS has it: names must resolve without the daemon. So have
//! ICMP errors outside M's inner connections, but for copies, and what conntrack meets in the middle: without the
//! daemon they are the kernel's, as if there were no rules.
//!
//! Loading nft's text anew deletes its timeout objects, so connections that live then go on with the
//! kernel's own timeouts (iptables' policies stay): load when the configuration changed, not at
//! every start.
//!
//! The text names the configuration it was made from by an empty chain: `config_<16 hex digits>`
//! in nft's table, `NATTT-<16 hex digits>` in iptables' raw table. That chain survives a flush of the
//! others, so the daemon also compares their [`shape`].

mod answers;
mod fnv;
mod iptables;
mod nft;
mod replace;
mod shape;
mod timeouts;

pub use iptables::{PREFIX as IPTABLES_PREFIX, render_ip6tables};
pub use nft::{TABLE as NFT_TABLE, remove as nft_removal};
pub use replace::{removal, replacement};
pub use shape::{Chain, Family, Fault, Shape, shape};
pub use timeouts::{TIMEOUTS, TimeoutPolicy};

use std::ops::RangeInclusive;

use crate::config::{Config, Export, Flavour, Gateway};

const TCP: u8 = 6;

/// The whole text of the rules, fingerprint included. For iptables this is IPv4's part;
/// [`render_ip6tables`] is the other.
pub fn render(config: &Config, flavour: Flavour) -> String {
    with_fingerprint(config, flavour, &fingerprint(config, flavour))
}

/// What distinguishes the rules of this configuration from any other's: 16 hexadecimal digits.
pub fn fingerprint(config: &Config, flavour: Flavour) -> String {
    let mut text = with_fingerprint(config, flavour, "");
    if flavour == Flavour::Iptables {
        text += &render_ip6tables(config);
    }
    format!("{:016x}", fnv::fnv1a(text.as_bytes()))
}

/// What exported hosts send by TCP: the hosts, and the ports unless it is all. `to` stands between the ends
/// of a range.
fn exported_tcp(gateway: &Gateway, to: &str) -> Vec<(String, Option<String>)> {
    let tcp = |export: &&Export| export.protocol.is_none_or(|only| only == TCP);
    let ports = |export: &Export| match &export.ports[..] {
        [] => vec![None],
        ports => ports.iter().map(|ports| Some(range(ports, to))).collect(),
    };
    let exports = gateway.exports.iter().filter(tcp);
    exports
        .flat_map(|of| ports(of).into_iter().map(|ports| (of.prefix.to_string(), ports)))
        .collect()
}

fn range(ports: &RangeInclusive<u16>, to: &str) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}{to}{last}"),
    }
}

fn with_fingerprint(config: &Config, flavour: Flavour, fingerprint: &str) -> String {
    match flavour {
        Flavour::Nft => nft::render(config, fingerprint),
        Flavour::Iptables => iptables::render(config, fingerprint),
    }
}

#[cfg(test)]
mod tests;
