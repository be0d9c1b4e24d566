//! This host's addresses and routes.
#![allow(unsafe_code, reason = "getifaddrs has no safe wrapper in the crates we use")]

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use crate::tunnel::{Addresses, Environment};

use super::ports::{Port, Ports};

/// What is known of the network around this host. Clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    own: Arc<RwLock<HashSet<Ipv4Addr>>>,
    epoch: Arc<AtomicU64>,
    ports: Ports,
}

impl Network {
    /// Reads the addresses of this host.
    pub fn new(ports: Ports) -> io::Result<Self> {
        let own = Arc::new(RwLock::new(own_addresses()?));
        Ok(Self { own, epoch: Arc::default(), ports })
    }

    /// Reads the addresses again, and lets every flow look up its route again.
    pub fn refresh(&self) -> io::Result<()> {
        let own = own_addresses()?;
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
        self.epoch.fetch_add(1, Relaxed);
        Ok(())
    }

    /// The outer ports in use, and how many may be.
    pub fn ports(&self) -> (usize, usize) {
        self.ports.usage()
    }
}

impl Addresses for Network {
    fn is_own(&self, addr: Ipv4Addr) -> bool {
        addr.is_loopback()
            || self.own.read().unwrap_or_else(PoisonError::into_inner).contains(&addr)
    }
}

impl Environment for Network {
    type Lease = Port;

    /// Connecting a UDP socket sends nothing and makes the kernel choose route and source.
    fn source_for(&self, hop: Ipv4Addr) -> Option<Ipv4Addr> {
        let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // The port does not matter to the route.
        socket.connect(SocketAddrV4::new(hop, 9)).ok()?;
        match socket.local_addr().ok()? {
            SocketAddr::V4(source) if !source.ip().is_loopback() => Some(*source.ip()),
            _ => None,
        }
    }

    fn route_epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    fn reserve(&self, preferred: u16) -> Option<Port> {
        self.ports.reserve(preferred)
    }
}

fn own_addresses() -> io::Result<HashSet<Ipv4Addr>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs writes a list to `list`, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = HashSet::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, which is not freed yet; `ifa_addr` is null or
        // points to an address of the family it names.
        unsafe {
            let addr = (*next).ifa_addr;
            if !addr.is_null() && i32::from((*addr).sa_family) == libc::AF_INET {
                let addr = addr.cast::<libc::sockaddr_in>().read_unaligned();
                addresses.insert(Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr)));
            }
            next = (*next).ifa_next;
        }
    }
    // SAFETY: `list` came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_our_own_and_no_route_leads_to_it() {
        let network = Network::new(Ports::new(1)).expect("addresses can be read");
        assert!(network.is_own(Ipv4Addr::LOCALHOST));
        assert!(network.is_own(Ipv4Addr::new(127, 9, 9, 9)));
        assert!(!network.is_own(Ipv4Addr::new(192, 0, 2, 77)));
        assert_eq!(network.source_for(Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn a_refresh_starts_a_new_epoch() {
        let network = Network::new(Ports::new(1)).expect("addresses can be read");
        let before = network.route_epoch();
        network.refresh().expect("addresses can be read");
        assert_ne!(network.route_epoch(), before);
    }
}
