//! What is asked about NAT records, and what is answered.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::dns::Name;
use crate::dns::packet::DNS_PORT;
use crate::path::{Path, PathSet};

/// The server that sent a reply, to be asked for the NAT record too: split-horizon DNS keeps
/// working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Server {
    addr: IpAddr,
    scope: u32,
}

impl Server {
    /// A server whose reply came in through the interface with the index `interface`. The index
    /// counts for link-local IPv6 addresses only (RFC 4007 §6): those mean nothing without it.
    pub fn new(addr: IpAddr, interface: u32) -> Self {
        let scoped = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
        Self { addr, scope: if scoped { interface } else { 0 } }
    }

    /// Where to send the question.
    pub fn socket_addr(self) -> SocketAddr {
        match self.addr {
            IpAddr::V4(addr) => SocketAddr::from((addr, DNS_PORT)),
            IpAddr::V6(addr) => SocketAddrV6::new(addr, DNS_PORT, 0, self.scope).into(),
        }
    }
}

/// One question for NAT records. Equal questions are asked once at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupKey {
    /// Whom to ask.
    pub server: Server,
    /// The name whose NAT records are wanted.
    pub name: Name,
}

/// What became of a question. TTLs in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatAnswer {
    /// There are NAT records.
    Found {
        /// The path of each record that is well-formed.
        paths: Vec<Path>,
        /// The records' TTL.
        ttl: u32,
    },
    /// There is none.
    None {
        /// How long that holds (RFC 2308 §5).
        ttl: u32,
    },
    /// The server said that it cannot answer, or the question could not be sent.
    Failed,
    /// The server said nothing.
    Silent,
}

/// An answer that was judged, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Paths(PathSet),
    NoRecord,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_counts_for_link_local_servers_only() {
        let shown = |addr: &str| {
            let addr = addr.parse().expect("an address");
            Server::new(addr, 7).socket_addr().to_string()
        };
        assert_eq!(shown("fe80::53"), "[fe80::53%7]:53");
        assert_eq!(shown("2001:db8::53"), "[2001:db8::53]:53");
        assert_eq!(shown("192.0.2.53"), "192.0.2.53:53");
    }
}
