//! This host's addresses and routes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ipnet::Ipv4Net;
use rustix::net::connect_unspec;
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::sockopt::ip_mtu;

use crate::tunnel::client::{Body, Keepalive};
use crate::tunnel::{Addresses, Environment, OuterPort, PortKind, Route, Routes};

use super::addresses::{self, InterfaceAddress};
use super::ports::{Port, Ports};
use super::reports::Reporter;

/// What is known of the network around this host. Clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    attached: Arc<RwLock<Attached>>,
    interfaces: Arc<Interfaces>,
    epoch: Arc<AtomicU64>,
    ports: Ports,
    reporter: Arc<Reporter>,
}

/// Names of interfaces, by what is behind them.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Clients of the gateway role, and the Internet.
    pub outside: Vec<String>,
    /// Clients of the gateway role that are served like those outside, and exported hosts.
    pub hairpin: Vec<String>,
    /// Hosts that open connections through this one.
    pub serve: Vec<String>,
}

/// What this host's interfaces say.
#[derive(Debug, Default)]
struct Attached {
    own: HashSet<Ipv4Addr>,
    networks: Vec<Ipv4Net>,
    inside: Vec<Ipv4Net>,
    /// Networks of hairpin interfaces, with their indexes.
    hairpin: Vec<(u32, Ipv4Net)>,
    /// Indexes of interfaces whose hosts are served, and their networks.
    serve: HashSet<u32>,
    served: Vec<Ipv4Net>,
}

impl Network {
    /// Reads the addresses of this host. All networks but those of outside interfaces are inside.
    pub fn new(ports: Ports, interfaces: Interfaces) -> io::Result<Self> {
        let attached = Arc::new(RwLock::new(Attached::read(&interfaces)?));
        let (interfaces, reporter) = (Arc::new(interfaces), Arc::default());
        Ok(Self { attached, interfaces, epoch: Arc::default(), ports, reporter })
    }

    /// Reads the addresses again, and lets every flow look up its route again.
    pub fn refresh(&self) -> io::Result<()> {
        let attached = Attached::read(&self.interfaces)?;
        *self.attached.write().unwrap_or_else(PoisonError::into_inner) = attached;
        self.epoch.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Outer ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Sends a keepalive from its flow's outer port.
    pub fn send(&self, keepalive: &Keepalive<Port>) -> io::Result<()> {
        match (&*keepalive.from, &keepalive.body) {
            (OuterPort::Own(port), Body::Payload(payload)) => port.send(keepalive.to, payload),
            (_, Body::Payload(octets) | Body::Packet(octets)) => {
                self.ports.send_raw(keepalive.to.addr, octets)
            }
        }
    }

    /// Whether the hosts behind the interface of this index are served.
    pub fn serves(&self, interface: u32) -> bool {
        self.attached().serve.contains(&interface)
    }

    /// A network of this host's that shares addresses with `pool`.
    pub fn clash(&self, pool: Ipv4Net) -> Option<Ipv4Net> {
        let shares = |net: &&Ipv4Net| pool.contains(*net) || net.contains(&pool);
        self.attached().networks.iter().find(shares).copied()
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

/// An address of the Internet that nobody has (RFC 5737): its route is the default route.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How packets to an address leave. Connecting a UDP socket sends nothing and makes the kernel choose
/// the route. Its MTU is that of the link, or what the route says, or what the kernel learned from ICMP
/// errors (ip(7), IP_MTU).
pub fn route(to: Ipv4Addr) -> Option<Route> {
    // One for all questions of a thread costs a third of one for each: 3 µs, not 8.
    thread_local!(static ASKER: RefCell<Option<UdpSocket>> = const { RefCell::new(None) });
    ASKER.with_borrow_mut(|asker| {
        let socket = match asker {
            Some(socket) => socket,
            None => asker.insert(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?),
        };
        let route = ask(socket, to);
        // It keeps neither the port nor the source, which would be that of the next question.
        if connect_unspec(&*socket).is_err() {
            *asker = None;
        }
        route
    })
}

fn ask(socket: &UdpSocket, to: Ipv4Addr) -> Option<Route> {
    // The port does not matter to the route.
    socket.connect((to, 9)).ok()?;
    let mtu = u16::try_from(ip_mtu(socket).ok()?).unwrap_or(u16::MAX);
    match socket.local_addr().ok()? {
        SocketAddr::V4(source) => Some(Route { source: *source.ip(), mtu }),
        SocketAddr::V6(_) => None,
    }
}

/// The MTU of the default route in octets, if there is one.
pub fn default_mtu() -> Option<u16> {
    route(INTERNET).map(|route| route.mtu)
}

impl Routes for Network {
    fn route(&self, to: Ipv4Addr) -> Option<Route> {
        route(to).filter(|route| !route.source.is_loopback())
    }

    fn route_epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    fn report(&self, to: Ipv4Addr, error: &[u8]) {
        if let Err(failure) = self.reporter.send(to, error) {
            log::debug!("telling {to} that its packets are too long: {failure}");
        }
    }
}

impl Environment for Network {
    type Lease = Port;

    fn reserve(&self, kind: PortKind, preferred: u16) -> Option<Port> {
        self.ports.reserve(kind, preferred)
    }

    fn is_served(&self, addr: Ipv4Addr) -> bool {
        self.attached().served.iter().any(|net| net.contains(&addr))
    }

    fn ports_are_scarce(&self) -> bool {
        self.ports.are_scarce()
    }
}

/// Every IPv4 address of this host: its interface, and the address with the length of its prefix.
pub fn addresses() -> io::Result<Vec<(String, Ipv4Net)>> {
    let asker = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    // An interface may be gone by now.
    let named = |InterfaceAddress { interface, addr }: InterfaceAddress| {
        index_to_name(&asker, interface).ok().map(|name| (name, addr))
    };
    Ok(addresses::list()?.into_iter().filter_map(named).collect())
}

/// The number of an interface; nothing if there is none of this name.
pub(super) fn index_of(interface: &str) -> Option<u32> {
    let asker = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    name_to_index(&asker, interface).ok()
}

impl Attached {
    fn read(interfaces: &Interfaces) -> io::Result<Self> {
        let asker = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        let indexes = |names: &[String]| -> HashSet<u32> {
            names.iter().filter_map(|name| name_to_index(&asker, name).ok()).collect()
        };
        let (outside, hairpin) = (indexes(&interfaces.outside), indexes(&interfaces.hairpin));
        let mut attached = Self { serve: indexes(&interfaces.serve), ..Self::default() };
        for InterfaceAddress { interface, addr } in addresses::list()? {
            attached.own.insert(addr.addr());
            attached.networks.push(addr.trunc());
            if !outside.contains(&interface) {
                attached.inside.push(addr.trunc());
            }
            if attached.serve.contains(&interface) {
                attached.served.push(addr.trunc());
            }
            if hairpin.contains(&interface) {
                attached.hairpin.push((interface, addr.trunc()));
            }
        }
        Ok(attached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_our_own_and_no_route_leads_to_it() {
        let network =
            Network::new(Ports::new(1, 0), Interfaces::default()).expect("addresses can be read");
        assert!(network.is_own(Ipv4Addr::LOCALHOST));
        assert!(network.is_own(Ipv4Addr::new(127, 9, 9, 9)));
        assert!(!network.is_own(Ipv4Addr::new(192, 0, 2, 77)));
        assert_eq!(network.route(Ipv4Addr::LOCALHOST), None);
        assert!(network.is_inside(Ipv4Addr::new(127, 9, 9, 9)), "of the interface lo");
        let names = || vec!["lo".into(), "none".into()];
        let outside = Network::new(
            Ports::new(1, 0),
            Interfaces { outside: names(), hairpin: names(), ..Interfaces::default() },
        )
        .expect("addresses can be read");
        let (lo, other) = (Ipv4Addr::new(127, 9, 9, 9), Ipv4Addr::new(192, 0, 2, 77));
        assert!(outside.is_hairpin(1, lo) && !network.is_hairpin(1, lo));
        assert!(!outside.is_hairpin(2, lo) && !outside.is_hairpin(1, other));
        assert!(!outside.is_inside(Ipv4Addr::new(127, 9, 9, 9)));
    }

    #[test]
    fn a_route_has_a_source_and_an_mtu() {
        let loopback = Ipv4Addr::new(127, 9, 9, 9);
        let found = route(loopback).expect("a route");
        assert!(found.source.is_loopback() && found.mtu >= 1500, "{found:?}");
        assert_eq!(route(Ipv4Addr::BROADCAST), None, "a socket may not send there");
        assert_eq!(route(loopback), Some(found), "the question before changes nothing");
    }

    #[test]
    fn a_refresh_starts_a_new_epoch() {
        let network =
            Network::new(Ports::new(1, 0), Interfaces::default()).expect("addresses can be read");
        let before = network.route_epoch();
        network.refresh().expect("addresses can be read");
        assert_ne!(network.route_epoch(), before);
    }
}
