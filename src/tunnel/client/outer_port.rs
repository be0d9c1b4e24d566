//! Outer ports: those of this host, which the system around reserves, and those of the hosts that
//! it serves, which are numbers only. Their packets keep their addresses and are forwarded, so no
//! socket of this host can ever get in their way.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Lease;
use crate::tunnel::table::Sharded;
use crate::wire::Endpoint;

/// The ports that applications usually have.
const FIRST: u16 = 1024;
/// How many ports are tried before a host is said to have none left.
const TRIES: u16 = 256;

/// What a port of this host's own is a port of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// UDP: outer packets, and UDP that needs no tunnel.
    Udp,
    /// TCP that needs no tunnel.
    Tcp,
}

/// An outer port that is used for nothing else while this lives.
pub enum OuterPort<L> {
    /// One of this host.
    Own(L),
    /// One of a host that it serves.
    Served(ServedPort),
}

impl<L: Lease> OuterPort<L> {
    /// The port, host order.
    pub fn port(&self) -> u16 {
        match self {
            Self::Own(lease) => lease.port(),
            Self::Served(port) => port.endpoint.port,
        }
    }
}

/// A served host's address and outer port.
pub struct ServedPort {
    endpoint: Endpoint,
    taken: Taken,
}

type Taken = Arc<Sharded<HashSet<Endpoint>>>;

impl ServedPort {
    /// The host's address and the port.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }
}

impl Drop for ServedPort {
    fn drop(&mut self) {
        self.taken.write(&self.endpoint).remove(&self.endpoint);
    }
}

/// The outer ports that served hosts use now.
pub(super) struct ServedPorts {
    taken: Taken,
    hasher: RandomState,
    asked: AtomicU64,
}

impl ServedPorts {
    pub(super) fn new() -> Self {
        let (hasher, asked) = (RandomState::new(), AtomicU64::new(0));
        Self { taken: Arc::new(Sharded::new()), hasher, asked }
    }

    /// The preferred endpoint, if its port is not 0 and free; otherwise another port of its address.
    pub(super) fn reserve(&self, preferred: Endpoint) -> Option<ServedPort> {
        let ports = u64::from(u16::MAX - FIRST) + 1;
        // Another place each time: many ask for no port in particular.
        let start = self.hasher.hash_one((preferred, self.asked.fetch_add(1, Relaxed)));
        let others = (0..u64::from(TRIES)).map(|n| FIRST + ((start % ports + n) % ports) as u16);
        std::iter::once(preferred.port)
            .filter(|&port| port != 0)
            .chain(others)
            .find_map(|port| self.take(Endpoint { port, ..preferred }))
    }

    fn take(&self, endpoint: Endpoint) -> Option<ServedPort> {
        let taken = Arc::clone(&self.taken);
        let free = taken.write(&endpoint).insert(endpoint);
        free.then(|| ServedPort { endpoint, taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(port: u16) -> Endpoint {
        Endpoint { addr: std::net::Ipv4Addr::new(192, 168, 0, 2), port }
    }

    #[test]
    fn a_port_is_given_once_and_comes_back() {
        let ports = ServedPorts::new();
        let first = ports.reserve(host(5000)).expect("free");
        assert_eq!(first.endpoint(), host(5000));
        let second = ports.reserve(host(5000)).expect("another");
        assert_ne!(second.endpoint().port, 5000);
        drop(first);
        assert_eq!(ports.reserve(host(5000)).expect("free again").endpoint(), host(5000));
    }

    #[test]
    fn hosts_do_not_share_ports() {
        let ports = ServedPorts::new();
        let other = Endpoint { addr: std::net::Ipv4Addr::new(192, 168, 0, 3), port: 5000 };
        let both = [ports.reserve(host(5000)), ports.reserve(other)];
        assert!(both.iter().flatten().all(|port| port.endpoint().port == 5000));
    }

    /// Ping's identifiers, protocols without ports and ports below 1024 prefer no port.
    #[test]
    fn a_host_that_prefers_no_port_has_more_than_256() {
        let ports = ServedPorts::new();
        let held: Vec<_> = (0..300).map_while(|_| ports.reserve(host(0))).collect();
        assert_eq!(held.len(), 300, "of {} ports", u16::MAX - FIRST + 1);
    }

    proptest! {
        #[test]
        fn all_ports_held_at_one_time_differ(wanted in prop::collection::vec(0u16..3, 0..200)) {
            let ports = ServedPorts::new();
            let held: Vec<_> = wanted.iter().filter_map(|&port| ports.reserve(host(port))).collect();
            let distinct: HashSet<_> = held.iter().map(ServedPort::endpoint).collect();
            prop_assert_eq!(distinct.len(), held.len());
            prop_assert!(distinct.iter().all(|endpoint| endpoint.port != 0));
        }
    }
}
