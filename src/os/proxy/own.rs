//! What the proxy gets and gives over UDP. The packet filter sees those replies too; they are left to
//! the proxy, or they would be held twice.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::dns::packet::DNS_PORT;

/// The proxy's addresses and its open questions; by default, no proxy's.
#[derive(Debug, Default)]
pub struct OwnTraffic {
    /// Where it listens, of those that the packet filter sees replies from.
    listening: Vec<IpAddr>,
    asking: Mutex<HashSet<(IpAddr, u16)>>,
}

impl OwnTraffic {
    /// Of a proxy that listens at these addresses and asks nothing yet.
    pub fn new(listen: &[SocketAddr]) -> Self {
        let seen = listen.iter().filter(|addr| addr.port() == DNS_PORT);
        Self { listening: seen.map(SocketAddr::ip).collect(), asking: Mutex::default() }
    }

    /// Whether a reply from port 53 of `server` to `client` is the proxy's. A client that is served may
    /// ask from the same port as the proxy.
    pub fn includes(&self, server: IpAddr, client: SocketAddr) -> bool {
        self.listening.contains(&server) || self.asked().contains(&from(client))
    }

    /// Notes that the proxy asks from this address, until the guard is dropped.
    pub(super) fn asking(&self, local: SocketAddr) -> Asking<'_> {
        let from = from(local);
        self.asked().insert(from);
        Asking { own: self, from }
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<(IpAddr, u16)>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the scope of a link-local address, which a packet does not tell.
fn from(addr: SocketAddr) -> (IpAddr, u16) {
    (addr.ip(), addr.port())
}

pub(super) struct Asking<'a> {
    own: &'a OwnTraffic,
    from: (IpAddr, u16),
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.own.asked().remove(&self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn replies_of_and_to_the_proxy_are_its_own() {
        let own = OwnTraffic::new(&[addr("127.0.0.1:53"), addr("127.0.0.2:300")]);
        let includes = |server: &str, client| own.includes(addr(server).ip(), addr(client));
        assert!(includes("127.0.0.1:53", "127.0.0.1:40000"));
        // Another server on the address of a listener at another port.
        assert!(!includes("127.0.0.2:53", "127.0.0.1:40000"));
        let asking = own.asking(addr("192.0.2.1:40001"));
        assert!(includes("192.0.2.53:53", "192.0.2.1:40001"));
        assert!(!includes("192.0.2.53:53", "192.0.2.1:40000"));
        // A host that is served.
        assert!(!includes("192.0.2.53:53", "198.18.0.2:40001"));
        drop(asking);
        assert!(!includes("192.0.2.53:53", "192.0.2.1:40001"));
    }
}
