//! The pieces of the topologies.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::Export;
use crate::counters::Counter;
use crate::mapping::Mappings;
use crate::path::PathSet;
use crate::time::Time;
use crate::tunnel::{
    Addresses, Client, Environment, Fate, Front, Gateway, Lease, Origin, PortKind, Route, Routes,
    client, gateway,
};
use crate::wire::tests::assert_checksums;
use crate::wire::{Datagram, Endpoint};

pub(super) const START: Time = Time::from_millis(1_700_000_000_000);

/// Interface indexes: of a gateway's outside, and of a hairpin.
pub(super) const OUTSIDE: u32 = 2;
pub(super) const HAIRPIN: u32 = 3;

pub(super) fn at(text: &str) -> Endpoint {
    let (addr, port) = text.split_once(':').expect("ADDR:PORT");
    Endpoint { addr: addr.parse().expect("an address"), port: port.parse().expect("a port") }
}

/// A host's surroundings, without a kernel.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) own: HashSet<Ipv4Addr>,
    pub(super) inside: Vec<ipnet::Ipv4Net>,
    pub(super) source: Arc<Mutex<Option<Ipv4Addr>>>,
    pub(super) epoch: Arc<AtomicU64>,
    pub(super) taken: Arc<Mutex<HashSet<(PortKind, u16)>>>,
    /// A network inside, and the address here that packets to it come from.
    pub(super) lan: Option<(ipnet::Ipv4Net, Ipv4Addr)>,
    pub(super) few_ports: Arc<AtomicBool>,
    /// Boxes to which there is no route.
    pub(super) unreachable: Arc<Mutex<HashSet<Ipv4Addr>>>,
    /// ICMP errors of its own: to whom, and the whole packets.
    pub(super) reports: Arc<Mutex<Vec<Report>>>,
    /// MTUs of routes that have another than 1500.
    pub(super) mtus: Arc<Mutex<HashMap<Ipv4Addr, u16>>>,
    /// An address of its own that has become another.
    pub(super) renumbered: Arc<Mutex<Option<[Ipv4Addr; 2]>>>,
}

/// An ICMP error, and to whom.
type Report = (Ipv4Addr, Vec<u8>);

pub(super) struct Reserved {
    kind: PortKind,
    port: u16,
    taken: Arc<Mutex<HashSet<(PortKind, u16)>>>,
}

impl Lease for Reserved {
    fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.taken.lock().expect("no panic").remove(&(self.kind, self.port));
    }
}

impl Addresses for World {
    fn is_own(&self, addr: Ipv4Addr) -> bool {
        match *self.renumbered.lock().expect("no panic") {
            Some([old, new]) if addr == old || addr == new => addr == new,
            _ => self.own.contains(&addr),
        }
    }

    fn is_inside(&self, addr: Ipv4Addr) -> bool {
        self.inside.iter().any(|net| net.contains(&addr))
    }

    fn is_hairpin(&self, interface: u32, addr: Ipv4Addr) -> bool {
        interface == HAIRPIN && addr.octets()[..3] == [192, 168, 0]
    }
}

impl Routes for World {
    fn route(&self, to: Ipv4Addr) -> Option<Route> {
        let reachable = !self.unreachable.lock().expect("no panic").contains(&to);
        let inside = self.lan.filter(|(net, _)| net.contains(&to)).map(|(_, source)| source);
        let source = inside.or(*self.source.lock().expect("no panic")).filter(|_| reachable)?;
        let mtu = self.mtus.lock().expect("no panic").get(&to).copied().unwrap_or(1500);
        let source = match *self.renumbered.lock().expect("no panic") {
            Some([old, new]) if source == old => new,
            _ => source,
        };
        Some(Route { source, mtu })
    }

    fn route_epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    fn report(&self, to: Ipv4Addr, error: &[u8]) {
        assert_checksums(error);
        self.reports.lock().expect("no panic").push((to, error.to_vec()));
    }
}

impl World {
    /// The route to `to` has another MTU from now on.
    pub(super) fn set_mtu(&self, to: &str, mtu: u16) {
        self.mtus.lock().expect("no panic").insert(to.parse().expect("an address"), mtu);
        self.epoch.fetch_add(1, Relaxed);
    }
}

impl Environment for World {
    type Lease = Reserved;

    fn reserve(&self, kind: PortKind, preferred: u16) -> Option<Reserved> {
        let mut taken = self.taken.lock().expect("no panic");
        let port = std::iter::once(preferred)
            .chain(40_000..=u16::MAX)
            .find(|p| *p != 0 && !taken.contains(&(kind, *p)))?;
        taken.insert((kind, port));
        Some(Reserved { kind, port, taken: Arc::clone(&self.taken) })
    }

    fn is_served(&self, addr: Ipv4Addr) -> bool {
        // Most tests serve one network.
        addr.octets()[..2] == [192, 168]
    }

    fn ports_are_scarce(&self) -> bool {
        self.few_ports.load(Relaxed)
    }
}

/// A host with the client role.
pub(super) struct Peer {
    pub(super) world: World,
    pub(super) mappings: Arc<Mappings>,
    pub(super) client: Client<World>,
}

impl Peer {
    pub(super) fn new(addr: &str) -> Self {
        Self::with_cap(addr, 1000)
    }

    pub(super) fn with_cap(addr: &str, max_flows: usize) -> Self {
        let addr: Ipv4Addr = addr.parse().expect("an address");
        let world = World {
            own: [addr, Ipv4Addr::LOCALHOST].into(),
            source: Arc::new(Mutex::new(Some(addr))),
            ..World::default()
        };
        let pool = "127.64.0.0/10".parse().expect("a prefix");
        let mappings = Arc::new(Mappings::new(pool, 100, Duration::from_secs(60)));
        let settings = settings(max_flows);
        let client = Client::new(settings, world.clone(), Arc::clone(&mappings));
        Self { world, mappings, client }
    }

    /// Takes the gateway role, too; before there are flows.
    pub(super) fn become_gateway(&mut self, exports: &[&str]) {
        let exports = exports.iter().map(|prefix| export(prefix)).collect();
        self.client = self.client_beside(Some(client::OwnGateway { port: 100, exports }));
    }

    /// A client role without flows, with the same mapped addresses.
    pub(super) fn client_beside(&self, gateway: Option<client::OwnGateway>) -> Client<World> {
        client_with(gateway, &self.world, &self.mappings)
    }

    /// The mapped address of a path.
    pub(super) fn map(&self, path: &str) -> Ipv4Addr {
        self.map_all(&[path])
    }

    /// The mapped address of several paths to one host.
    pub(super) fn map_all(&self, paths: &[&str]) -> Ipv4Addr {
        let paths = paths.iter().map(|path| path.parse().expect("a path")).collect();
        let paths = PathSet::new(paths).expect("a path");
        self.mappings
            .map("b.example", &paths, Duration::from_secs(60), START)
            .expect("a free address")
    }

    pub(super) fn send(&self, packet: Vec<u8>, now: Time) -> Result<Vec<u8>, Fate> {
        self.send_from(Origin::Here, packet, now)
    }

    pub(super) fn receive(&self, packet: Vec<u8>, now: Time) -> Result<Vec<u8>, Fate> {
        self.receive_for(Origin::Here, packet, now)
    }

    pub(super) fn send_from(
        &self,
        origin: Origin,
        mut packet: Vec<u8>,
        now: Time,
    ) -> Result<Vec<u8>, Fate> {
        let mut front = Front::default();
        let fate = self.client.outgoing(&mut packet, origin, &mut front, now);
        finish(fate, &front, packet)
    }

    pub(super) fn receive_for(
        &self,
        to: Origin,
        mut packet: Vec<u8>,
        now: Time,
    ) -> Result<Vec<u8>, Fate> {
        let fate = self.client.incoming(&mut packet, to, now);
        finish(fate, &Front::default(), packet)
    }
}

pub(super) fn client_with(
    gateway: Option<client::OwnGateway>,
    world: &World,
    mappings: &Arc<Mappings>,
) -> Client<World> {
    let settings = client::Settings { gateway, ..settings(1000) };
    Client::new(settings, world.clone(), Arc::clone(mappings))
}

pub(super) fn settings(max_flows: usize) -> client::Settings {
    client::Settings {
        mtu: 1500,
        keepalive: Duration::from_secs(20),
        max_flows,
        max_flows_per_host: max_flows as u32 * 9 / 10,
        gateway: None,
        path_mtus: None,
    }
}

/// A gateway that exports 192.168.0.0/24.
pub(super) fn gateway(own: &[&str]) -> Gateway<World> {
    gateway_with(own, |_| {})
}

pub(super) fn gateway_with(
    own: &[&str],
    change: impl FnOnce(&mut gateway::Settings),
) -> Gateway<World> {
    let own = own.iter().map(|addr| addr.parse().expect("an address")).collect();
    gateway_in(World { own, ..World::default() }, change)
}

pub(super) fn gateway_in(
    world: World,
    change: impl FnOnce(&mut gateway::Settings),
) -> Gateway<World> {
    let mut settings = gateway::Settings {
        port: 100,
        exports: vec![export("192.168.0.0/24")],
        inside_sources: Vec::new(),
        mtu: 1500,
        max_flows: 1000,
        max_flows_per_source: 1000,
    };
    change(&mut settings);
    Gateway::new(settings, world)
}

pub(super) fn export(prefix: &str) -> Export {
    Export { prefix: prefix.parse().expect("a prefix"), protocol: None, ports: Vec::new() }
}

pub(super) fn arrive(
    gateway: &Gateway<World>,
    mut packet: Vec<u8>,
    now: Time,
) -> Result<Vec<u8>, Fate> {
    let fate = gateway.incoming(&mut packet, OUTSIDE, now);
    finish(fate, &Front::default(), packet)
}

pub(super) fn reply(
    gateway: &Gateway<World>,
    mut packet: Vec<u8>,
    now: Time,
) -> Result<Vec<u8>, Fate> {
    let mut front = Front::default();
    let fate = gateway.outgoing(&mut packet, &mut front, now);
    finish(fate, &front, packet)
}

/// What goes out, with all its checksums verified, or the fate of what does not.
fn finish(fate: Fate, front: &Front, packet: Vec<u8>) -> Result<Vec<u8>, Fate> {
    let sent = match fate {
        Fate::Encapsulated(_) => [front.bytes(), &packet].concat(),
        Fate::Decapsulated { skip, .. } => packet[skip..].to_vec(),
        fate => return Err(fate),
    };
    assert_checksums(&sent);
    Ok(sent)
}

pub(super) fn dropped(counter: Counter) -> Result<Vec<u8>, Fate> {
    Err(Fate::Dropped(counter))
}

pub(super) fn rejected(counter: Counter) -> Result<Vec<u8>, Fate> {
    Err(Fate::Rejected(counter))
}

/// A legacy NAT with endpoint-independent mapping; it gives every inside endpoint another port.
pub(super) struct LegacyNat {
    public: Ipv4Addr,
    ports: HashMap<Endpoint, u16>,
}

impl LegacyNat {
    pub(super) fn new(public: &str) -> Self {
        Self { public: public.parse().expect("an address"), ports: HashMap::new() }
    }

    pub(super) fn out(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let mut datagram = Datagram::parse(&packet).expect("well formed");
        let next = 5000 + self.ports.len() as u16;
        let port = *self.ports.entry(datagram.src).or_insert(next);
        let (src, dst) = (Endpoint { addr: self.public, port }, datagram.dst);
        datagram.readdress(&mut packet, src, dst);
        packet
    }

    pub(super) fn back(&self, mut packet: Vec<u8>) -> Vec<u8> {
        let mut datagram = Datagram::parse(&packet).expect("well formed");
        let inside =
            self.ports.iter().find(|(_, port)| **port == datagram.dst.port).expect("known").0;
        let src = datagram.src;
        datagram.readdress(&mut packet, src, *inside);
        packet
    }
}

/// Who a packet is from and to.
pub(super) fn ends(packet: &[u8]) -> (Endpoint, Endpoint) {
    let datagram = Datagram::parse(packet).expect("well formed");
    (datagram.src, datagram.dst)
}

/// The host's answer to a packet: the same bytes, the other way.
pub(super) fn answer(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let mut datagram = Datagram::parse(&bytes).expect("well formed");
    if datagram.protocol == 1 {
        // Echo request to echo reply: the type is in the checksum.
        bytes[20] = 0;
        let sum = u16::from_be_bytes([bytes[22], bytes[23]]);
        let sum = (u32::from(sum) + 0x0800) % 0xffff;
        bytes[22..24].copy_from_slice(&(sum as u16).to_be_bytes());
        datagram = Datagram::parse(&bytes).expect("well formed");
        let id = datagram.dst.port;
        let (from, to) = (ends(packet).1, ends(packet).0);
        datagram.readdress(&mut bytes, from, Endpoint { port: id, ..to });
    } else {
        let (src, dst) = (datagram.dst, datagram.src);
        datagram.readdress(&mut bytes, src, dst);
    }
    bytes
}
