//! What a gateway lets be reached from outside.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use super::raw::{self, NumberOrText};

/// A whole /8 is the most that one entry may open: more is a mistake, not a network behind a NAT.
const SHORTEST_PREFIX: u8 = 8;

/// Protocols that can be named (IANA, assigned Internet protocol numbers).
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("sctp", 132),
    ("udplite", 136),
];

/// Protocols whose ports are read: the others never match an entry with ports.
const WITH_PORTS: &[u8] = &[6, 17, 33, 132, 136];

/// One entry of `exports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Addresses that may be reached.
    pub prefix: Ipv4Net,
    /// The only protocol that may be used; none: all.
    pub protocol: Option<u8>,
    /// The only ports that may be reached; empty: all, and protocols without ports.
    pub ports: Vec<RangeInclusive<u16>>,
}

impl Export {
    /// Whether a packet to `addr` may be forwarded; `port` is the destination port (host order)
    /// of a protocol that has ports.
    pub fn allows(&self, addr: Ipv4Addr, protocol: u8, port: Option<u16>) -> bool {
        self.prefix.contains(&addr)
            && self.protocol.is_none_or(|only| only == protocol)
            && (self.ports.is_empty() || port.is_some_and(|port| self.lists(port)))
    }

    /// Whether the entry names this one address: only so the gateway's own addresses are reached.
    pub fn names_exactly(&self, addr: Ipv4Addr) -> bool {
        self.exact() == Some(addr)
    }

    /// The address, if the entry names exactly one.
    pub fn exact(&self) -> Option<Ipv4Addr> {
        (self.prefix.prefix_len() == 32).then(|| self.prefix.addr())
    }

    pub(super) fn from_raw(raw: &raw::ExportTable) -> Result<Self, String> {
        let prefix =
            network(&raw.prefix).map_err(|wrong| with_port(&raw.prefix).unwrap_or(wrong))?;
        refuse_prefix(prefix)?;
        let protocol = raw.protocol.as_ref().map(protocol).transpose()?;
        let ports = raw.ports.iter().map(ports).collect::<Result<Vec<_>, _>>()?;
        if let Some(number) = protocol.filter(|_| !ports.is_empty())
            && !WITH_PORTS.contains(&number)
        {
            return Err(format!(
                "ports of protocol {number} are not read, so this would match nothing; leave \
                 `ports` out (they are for tcp, udp, dccp, sctp and udplite)"
            ));
        }
        Ok(Self { prefix, protocol, ports })
    }

    fn lists(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(&port))
    }
}

/// `192.168.0.2/32, tcp, ports 80, 8000-8010`.
impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if let Some(number) = self.protocol {
            match PROTOCOLS.iter().find(|(_, known)| *known == number) {
                Some((name, _)) => write!(f, ", {name}")?,
                None => write!(f, ", protocol {number}")?,
            }
        }
        if !self.ports.is_empty() {
            let ports: Vec<String> = self.ports.iter().map(shown_ports).collect();
            write!(f, ", ports {}", ports.join(", "))?;
        }
        Ok(())
    }
}

fn shown_ports(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// Reads `192.168.0.0/24`; an address alone is a /32.
pub(super) fn network(text: &str) -> Result<Ipv4Net, String> {
    let single = text.parse::<Ipv4Addr>().map(Ipv4Net::from);
    let network: Ipv4Net = match single {
        Ok(network) => network,
        Err(_) => text
            .parse()
            .map_err(|_| format!("`{text}` is no IPv4 network; write one like `192.168.0.0/24`"))?,
    };
    if network != network.trunc() {
        return Err(format!(
            "`{text}` has bits set behind its prefix; write `{}`",
            network.trunc()
        ));
    }
    Ok(network)
}

/// What is meant by `192.168.0.2:80`.
fn with_port(text: &str) -> Option<String> {
    let meant: SocketAddrV4 = text.parse().ok()?;
    let (addr, port) = (meant.ip(), meant.port());
    Some(format!(
        "`{text}` is no IPv4 network; write `{{ prefix = \"{addr}\", protocol = \"tcp\", ports = [{port}] }}`"
    ))
}

fn refuse_prefix(prefix: Ipv4Net) -> Result<(), String> {
    let addr = prefix.network();
    if prefix.prefix_len() < SHORTEST_PREFIX {
        return Err(format!(
            "`{prefix}` would let anybody use this host as an open relay; list the networks behind \
             it, each /{SHORTEST_PREFIX} or longer"
        ));
    }
    if addr.is_loopback() || addr.octets()[0] == 0 || addr.octets()[0] >= 224 {
        return Err(format!("`{prefix}` holds no addresses of other hosts; list networks that do"));
    }
    Ok(())
}

fn protocol(raw: &NumberOrText) -> Result<u8, String> {
    let text = raw.to_string();
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is no protocol; write a number up to 255, or {}", names.join(", "))
    })
}

fn ports(raw: &NumberOrText) -> Result<RangeInclusive<u16>, String> {
    let text = raw.to_string();
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let range = first.trim().parse().ok().zip(last.trim().parse().ok());
    range
        .filter(|(first, last)| first <= last && *first > 0)
        .map(|(first, last)| first..=last)
        .ok_or_else(|| {
            format!(
                "`{text}` is no port; write a number from 1 to 65535, or a range like \"8000-8010\""
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn export(prefix: &str, protocol: Option<u8>, ports: &[RangeInclusive<u16>]) -> Export {
        Export { prefix: network(prefix).expect("network"), protocol, ports: ports.to_vec() }
    }

    #[test]
    fn ports_are_asked_of_protocols_that_have_them() {
        let web = export("192.168.0.0/24", Some(6), &[80..=80, 8000..=8010]);
        let host = Ipv4Addr::new(192, 168, 0, 2);
        assert!(web.allows(host, 6, Some(80)));
        assert!(web.allows(host, 6, Some(8005)));
        assert!(!web.allows(host, 6, Some(81)));
        assert!(!web.allows(host, 17, Some(80)));
        assert!(!web.allows(host, 6, None));
        assert!(!web.allows(Ipv4Addr::new(192, 168, 1, 2), 6, Some(80)));
    }

    #[test]
    fn only_a_single_address_is_named_exactly() {
        let addr = Ipv4Addr::new(10, 0, 0, 1);
        assert!(export("10.0.0.1", None, &[]).names_exactly(addr));
        assert!(export("10.0.0.1/32", None, &[]).names_exactly(addr));
        assert!(!export("10.0.0.0/31", None, &[]).names_exactly(addr));
    }

    proptest! {
        #[test]
        fn a_prefix_alone_allows_everything_inside(
            addr: u32, len in 8u8..=32, other: u32, protocol: u8, port: Option<u16>,
        ) {
            let prefix = Ipv4Net::new(addr.into(), len).expect("length").trunc();
            let export = Export { prefix, protocol: None, ports: Vec::new() };
            let inside = (u32::from(prefix.addr()) ^ other) & u32::from(prefix.netmask()) == 0;
            prop_assert_eq!(export.allows(other.into(), protocol, port), inside);
        }

        #[test]
        fn any_text_is_a_network_port_or_protocol_or_an_error(text in "\\PC{0,24}") {
            let raw = NumberOrText::Text(text.clone());
            let _ = (protocol(&raw), ports(&raw));
            if let Ok(network) = network(&text) {
                prop_assert_eq!(network, network.trunc());
            }
        }
    }
}
