//! This host's addresses and routes.
#![allow(unsafe_code, reason = "getifaddrs has no safe wrapper in the crates we use")]

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ipnet::Ipv4Net;

use crate::tunnel::{Addresses, Environment};

use super::ports::{Port, Ports};

/// What is known of the network around this host. Clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    attached: Arc<RwLock<Attached>>,
    outside: Vec<String>,
    hairpin: Vec<String>,
    epoch: Arc<AtomicU64>,
    ports: Ports,
}

/// What this host's interfaces say.
#[derive(Debug, Default)]
struct Attached {
    own: HashSet<Ipv4Addr>,
    inside: Vec<Ipv4Net>,
    /// Networks of hairpin interfaces, with their indexes.
    hairpin: Vec<(u32, Ipv4Net)>,
}

impl Network {
    /// Reads the addresses of this host. All networks but those of `outside` interfaces are inside;
    /// clients behind `hairpin` interfaces are served like those outside.
    pub fn new(ports: Ports, outside: Vec<String>, hairpin: Vec<String>) -> io::Result<Self> {
        let attached = Arc::new(RwLock::new(Attached::read(&outside, &hairpin)?));
        Ok(Self { attached, outside, hairpin, epoch: Arc::default(), ports })
    }

    /// Reads the addresses again, and lets every flow look up its route again.
    pub fn refresh(&self) -> io::Result<()> {
        let attached = Attached::read(&self.outside, &self.hairpin)?;
        *self.attached.write().unwrap_or_else(PoisonError::into_inner) = attached;
        self.epoch.fetch_add(1, Relaxed);
        Ok(())
    }

    fn attached(&self) -> RwLockReadGuard<'_, Attached> {
        self.attached.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses for Network {
    fn is_own(&self, addr: Ipv4Addr) -> bool {
        addr.is_loopback() || self.attached().own.contains(&addr)
    }

    fn is_inside(&self, addr: Ipv4Addr) -> bool {
        self.attached().inside.iter().any(|net| net.contains(&addr))
    }

    fn is_hairpin(&self, interface: u32, addr: Ipv4Addr) -> bool {
        let of = |(index, net): &(u32, Ipv4Net)| *index == interface && net.contains(&addr);
        self.attached().hairpin.iter().any(of)
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

impl Attached {
    fn read(outside: &[String], hairpin: &[String]) -> io::Result<Self> {
        let mut attached = Self::default();
        each_address(|interface, addr, mask| {
            attached.own.insert(addr);
            // The mask of an interface address is always one of a prefix.
            let Ok(net) = Ipv4Net::with_netmask(addr, mask) else { return };
            let is_in = |names: &[String]| names.iter().any(|name| name == interface);
            if !is_in(outside) {
                attached.inside.push(net.trunc());
            }
            if is_in(hairpin) {
                attached
                    .hairpin
                    .extend(interface_index(interface).map(|index| (index, net.trunc())));
            }
        })?;
        Ok(attached)
    }
}

/// Every IPv4 address of this host: interface, address with the length of its prefix.
pub fn addresses() -> io::Result<Vec<(String, Ipv4Net)>> {
    let mut list = Vec::new();
    each_address(|interface, addr, mask| {
        list.extend(Ipv4Net::with_netmask(addr, mask).map(|net| (interface.to_owned(), net)));
    })?;
    Ok(list)
}

/// The index of an interface that is there; 0 is never one.
fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a C string.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|&index| index != 0)
}

/// Visits every IPv4 address of this host: interface, address, network mask.
fn each_address(mut visit: impl FnMut(&str, Ipv4Addr, Ipv4Addr)) -> io::Result<()> {
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs writes a list to `list`, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, which is not freed yet. Its name is a C string;
        // address and mask are null or point to addresses of the family they name.
        unsafe {
            let entry = &*next;
            if let (Some(addr), Some(mask)) = (ipv4(entry.ifa_addr), ipv4(entry.ifa_netmask)) {
                visit(&CStr::from_ptr(entry.ifa_name).to_string_lossy(), addr, mask);
            }
            next = entry.ifa_next;
        }
    }
    // SAFETY: `list` came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(())
}

/// # Safety
/// `addr` is null or points to a socket address of the family it names.
unsafe fn ipv4(addr: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: not null, and of the family whose structure is read.
    unsafe {
        if addr.is_null() || i32::from((*addr).sa_family) != libc::AF_INET {
            return None;
        }
        let addr = addr.cast::<libc::sockaddr_in>().read_unaligned();
        Some(Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_our_own_and_no_route_leads_to_it() {
        let network =
            Network::new(Ports::new(1, 0), Vec::new(), Vec::new()).expect("addresses can be read");
        assert!(network.is_own(Ipv4Addr::LOCALHOST));
        assert!(network.is_own(Ipv4Addr::new(127, 9, 9, 9)));
        assert!(!network.is_own(Ipv4Addr::new(192, 0, 2, 77)));
        assert_eq!(network.source_for(Ipv4Addr::LOCALHOST), None);
        assert!(network.is_inside(Ipv4Addr::new(127, 9, 9, 9)), "of the interface lo");
        let names = || vec!["lo".into(), "none".into()];
        let outside =
            Network::new(Ports::new(1, 0), names(), names()).expect("addresses can be read");
        let (lo, other) = (Ipv4Addr::new(127, 9, 9, 9), Ipv4Addr::new(192, 0, 2, 77));
        assert!(outside.is_hairpin(1, lo) && !network.is_hairpin(1, lo));
        assert!(!outside.is_hairpin(2, lo) && !outside.is_hairpin(1, other));
        assert!(!outside.is_inside(Ipv4Addr::new(127, 9, 9, 9)));
    }

    #[test]
    fn a_refresh_starts_a_new_epoch() {
        let network =
            Network::new(Ports::new(1, 0), Vec::new(), Vec::new()).expect("addresses can be read");
        let before = network.route_epoch();
        network.refresh().expect("addresses can be read");
        assert_ne!(network.route_epoch(), before);
    }
}
