//! What is asked about NAT records, and what is answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::counters::Counter;
use crate::dns::Name;
use crate::dns::packet::DNS_PORT;
use crate::path::{Path, PathSet};

use super::{MAX_PATHS, MAX_TTL};

/// The server that sent a reply, to be asked for the NAT record too: split-horizon DNS keeps
/// working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Server(SocketAddr);

impl Server {
    /// A server whose reply came from port 53 through the interface with the index `interface`. The
    /// index counts for link-local IPv6 addresses only (RFC 4007 §6): those mean nothing without it.
    pub fn new(addr: IpAddr, interface: u32) -> Self {
        Self(match addr {
            IpAddr::V6(addr) if addr.is_unicast_link_local() => {
                SocketAddrV6::new(addr, DNS_PORT, 0, interface).into()
            }
            addr => SocketAddr::from((addr, DNS_PORT)),
        })
    }

    /// A server at any port.
    pub fn at(addr: SocketAddr) -> Self {
        Self(addr)
    }

    /// Where to send the question.
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }
}

/// The record that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// NAT records.
    Nat,
    /// A records, where those emulate a NAT record.
    Address,
}

/// One question. Equal questions are asked once at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupKey {
    /// Whom to ask.
    pub server: Server,
    /// The name whose records are wanted.
    pub name: Name,
    /// Which records.
    pub wanted: Wanted,
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
    /// There are A records.
    Addresses {
        /// Their addresses.
        addrs: Vec<Ipv4Addr>,
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
    Addresses(Vec<Ipv4Addr>),
    NoRecord,
    Failed,
    /// Never kept: what stands for the answer of a server that is known to be silent.
    Silent,
}

impl Answer {
    /// What A records are worth, and for how long.
    pub(super) fn of_addresses(mut addrs: Vec<Ipv4Addr>, ttl: u32) -> (Self, Duration) {
        // Sorted, so that the same records always make the same paths.
        addrs.sort();
        addrs.dedup();
        addrs.truncate(MAX_PATHS);
        (Self::Addresses(addrs), sound_ttl(ttl).min(MAX_TTL))
    }

    /// Why a reply stays as it is with this answer.
    pub(super) fn absence(&self) -> Counter {
        match self {
            Self::Silent => Counter::DnsServerSilent,
            Self::Failed => Counter::DnsLookupFailed,
            Self::Paths(_) | Self::Addresses(_) | Self::NoRecord => Counter::DnsNoRecord,
        }
    }
}

/// A TTL with its top bit set counts as zero (RFC 2181 §8).
pub(super) fn sound_ttl(ttl: u32) -> Duration {
    let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
    Duration::from_secs(ttl.into())
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
