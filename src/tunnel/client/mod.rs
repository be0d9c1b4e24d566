//! The client role: packets of applications to mapped addresses leave through tunnels, and what
//! comes back is delivered as if it came from the mapped address.

mod direct;
mod errors;
mod outer_port;
mod paths;
mod restore;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::counters::Counter;
use crate::mapping::{Mapping, Mappings};
use crate::path::{Hop, MAX_HOPS, Path};
use crate::time::Time;
use crate::wire::checksum::Sum;
use crate::wire::datagram::{Transport, protocol};
use crate::wire::outer::{Content, LEVEL};
use crate::wire::{Datagram, Endpoint, ecn, mss};

use super::common::{
    Addresses, Identifications, Quota, Quotas, Traffic, content_of, is_host, take_congestion,
};
use super::fate::{Fate, Front};
use super::lifetime::{Direction, Lifetime};
use super::table::{Entry, FlowTable, Refusal, Sharded, ShardedMap};
pub use direct::OwnGateway;
use errors::{LastPacket, Way};
use outer_port::ServedPorts;
pub use outer_port::{OuterPort, ServedPort};
use paths::Outset;

/// The payload of a keepalive (RFC 3948 §2.3).
const KEEPALIVE: u8 = 0xff;

/// An outer UDP port that nobody else on this host can use while the lease lives.
pub trait Lease: Send + Sync {
    /// The port, host order.
    fn port(&self) -> u16;
}

/// What the client role asks of the system around it.
pub trait Environment: Addresses {
    /// How an outer port is owned.
    type Lease: Lease;

    /// The source address of packets to the outermost box; `None` without a route.
    fn source_for(&self, hop: Ipv4Addr) -> Option<Ipv4Addr>;
    /// Changes whenever routes or addresses may have changed.
    fn route_epoch(&self) -> u64;
    /// Reserves an outer port, the preferred one (host order, 0 for any) if it is free.
    fn reserve(&self, preferred: u16) -> Option<Self::Lease>;
}

/// Settings of the client role.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Assumed path MTU in octets, outer headers included.
    pub mtu: u16,
    /// A live flow that has sent nothing for so long sends a keepalive.
    pub keepalive: Duration,
    /// Cap of the flow table.
    pub max_flows: usize,
    /// Cap of one served host.
    pub max_flows_per_host: u32,
    /// The gateway role of the same host.
    pub gateway: Option<OwnGateway>,
}

/// The client role. Shared by all workers.
pub struct Client<E: Environment> {
    settings: Settings,
    env: E,
    mappings: Arc<Mappings>,
    flows: FlowTable<AppKey, Flow<E::Lease>>,
    ports: ShardedMap<PortKey, Weak<OuterPort<E::Lease>>>,
    served_ports: ServedPorts,
    quotas: Quotas,
    /// For errors that quote no more than the outer header.
    by_port: ShardedMap<OuterKey, Vec<Weak<Flow<E::Lease>>>>,
    ids: Identifications,
    rerouted: AtomicU64,
}

/// The host whose application it is: one that this host serves, or, if `None`, this host. A served
/// host's outer packets are from and to its own address; they only pass through.
type Served = Option<Ipv4Addr>;

/// Where an application's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From this host.
    Here,
    /// From a host that it serves.
    Served,
}

/// A flow as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct AppKey {
    served: Served,
    protocol: u8,
    application: Endpoint,
    mapped: Endpoint,
}

/// The exact shape of the packets that may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WireKey {
    served: Served,
    hop: Endpoint,
    port: u16,
    levels: usize,
    protocol: u8,
    host: Endpoint,
    inner: Endpoint,
}

/// One outer port per inner source endpoint: endpoint-independent mapping (RFC 4787 REQ-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PortKey {
    served: Served,
    protocol: u8,
    application: Endpoint,
}

/// What an error tells at least: the outer port and the first box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct OuterKey {
    served: Served,
    port: u16,
    hop: Endpoint,
}

/// A flow that an application opened.
pub struct Flow<L> {
    key: AppKey,
    wire: WireKey,
    transport: Transport,
    path: Path,
    /// Which of the mapping's paths that is.
    path_index: usize,
    /// When it began to wait for its first answer.
    began: AtomicU64,
    lease: Arc<OuterPort<L>>,
    source: AtomicU32,
    epoch: AtomicU64,
    last_sent: AtomicU64,
    last_packet: LastPacket,
    lifetime: Lifetime,
    sent: Traffic,
    received: Traffic,
    mapping: Arc<Mapping>,
    /// A served host's share.
    _quota: Option<Quota>,
}

/// A datagram that keeps a flow's mapping alive in NAT boxes on the way.
pub struct Keepalive<L> {
    /// The port to send it from.
    pub from: Arc<OuterPort<L>>,
    /// The outermost box.
    pub to: Hop,
    /// UDP payload; for a served host's port the whole packet.
    pub payload: Vec<u8>,
}

impl<E: Environment> Client<E> {
    /// A client role without flows.
    pub fn new(settings: Settings, env: E, mappings: Arc<Mappings>) -> Self {
        let flows = FlowTable::new(settings.max_flows);
        let (ports, by_port) = (Sharded::new(), Sharded::new());
        let (served_ports, ids) = (ServedPorts::new(), Identifications::new());
        let quotas = Quotas::new(settings.max_flows_per_host);
        let rerouted = AtomicU64::new(0);
        Self { settings, env, mappings, flows, ports, served_ports, quotas, by_port, ids, rerouted }
    }

    /// The mapped addresses that it serves.
    pub fn mappings(&self) -> &Arc<Mappings> {
        &self.mappings
    }

    /// A packet that an application sends to an address of the pool.
    pub fn outgoing(
        &self,
        packet: &mut [u8],
        origin: Origin,
        front: &mut Front,
        now: Time,
    ) -> Fate {
        let mut datagram = match Datagram::parse(packet) {
            Ok(datagram) => datagram,
            Err(flaw) => return flaw.into(),
        };
        let served = match self.served(&datagram, origin) {
            Ok(served) => served,
            Err(counter) => return Fate::Dropped(counter),
        };
        match datagram.transport {
            Transport::IcmpError => {
                return self.error_to_peer(&datagram, origin, packet, front, now);
            }
            Transport::IcmpAnswer => return Fate::Dropped(Counter::IcmpUnasked),
            _ => {}
        }
        let flow = match self.flow_of(&datagram, served, now) {
            Ok(flow) => flow,
            Err(counter) => return Fate::Rejected(counter),
        };
        flow.note_sent(datagram.transport, now);
        flow.last_sent.store(now.as_millis(), Relaxed);
        flow.sent.add(&datagram);
        self.renew_source(&flow);
        mss::clamp(&datagram, packet, self.segment_limit(&flow));
        flow.last_packet.note(packet);
        datagram.readdress(packet, flow.wire.inner, flow.wire.host);
        if flow.is_direct() {
            return Fate::Decapsulated { skip: 0, counter: Counter::ClientDirect };
        }
        let content = content_of(&datagram, packet);
        match self.encapsulate(&flow, front, datagram.traffic_class, content) {
            Some(_) => Fate::Encapsulated(Counter::ClientEncapsulated),
            None => Fate::Dropped(Counter::TooLong),
        }
    }

    /// Nobody on the network may speak for this host's applications.
    fn served(&self, datagram: &Datagram, origin: Origin) -> Result<Served, Counter> {
        let addr = datagram.src.addr;
        match origin {
            Origin::Here => Ok(None),
            Origin::Served if is_host(addr) && !self.env.is_own(addr) => Ok(Some(addr)),
            Origin::Served => Err(Counter::ClientBadSource),
        }
    }

    /// A packet that came back on a flow's outer port, or an ICMP error about one from there.
    /// `to` tells whether it is for this host or passes through.
    pub fn incoming(&self, packet: &mut [u8], to: Origin, now: Time) -> Fate {
        let served = |packet: &Datagram| (to == Origin::Served).then_some(packet.dst.addr);
        let parsed = Datagram::parse(packet);
        if let Ok(reply) = parsed
            && let Some(flow) = self.direct_flow(served(&reply), &reply)
        {
            return self.deliver_direct(&flow, reply, packet, now);
        }
        let outer = match parsed {
            Ok(outer) if outer.transport == Transport::Udp => outer,
            Ok(error) if error.transport == Transport::IcmpError => {
                return self.error_from_way(Way::of(served(&error)), &error, packet, now);
            }
            Ok(_) => return Fate::Dropped(Counter::ClientStrayReply),
            Err(flaw) => return flaw.into(),
        };
        let mut middle = Levels::default();
        for levels in 1..=MAX_HOPS {
            let skip = levels * LEVEL;
            let mut inner = match Datagram::parse(&packet[skip..]) {
                Ok(inner) => inner,
                Err(flaw) if levels == 1 => return flaw.into(),
                // The payload of an unknown UDP datagram need not be a packet.
                Err(_) => break,
            };
            if inner.transport == Transport::IcmpError {
                let way = Way::of(served(&outer));
                return self.error_from_tunnel(way, &outer, &middle, packet, now);
            }
            let key = WireKey::of_reply(served(&outer), &outer, levels, &inner);
            if let Some(flow) = self.flows.reverse(&key) {
                return self.deliver(&flow, &middle, &outer, &mut inner, &mut packet[skip..], now);
            }
            if inner.transport != Transport::Udp {
                break;
            }
            middle.push(inner);
        }
        Fate::Dropped(Counter::ClientStrayReply)
    }

    fn deliver(
        &self,
        flow: &Flow<E::Lease>,
        middle: &Levels,
        outer: &Datagram,
        inner: &mut Datagram,
        bytes: &mut [u8],
        now: Time,
    ) -> Fate {
        if !middle.answer(flow) || !flow.transport.is_answered_by(inner.transport) {
            return Fate::Dropped(Counter::ClientStrayReply);
        }
        // Simultaneous open (RFC 5382 REQ-2) is an answer to our SYN; later, a SYN without an ACK
        // would open a connection from outside.
        if inner.transport.opens_connection() && flow.lifetime.answered() {
            return Fate::Dropped(Counter::ClientOpening);
        }
        if flow.lifetime.expires(flow.transport) <= now {
            return Fate::Dropped(Counter::ClientStale);
        }
        let outer_class = middle.traffic_class_below(outer.traffic_class);
        if outer_class.and_then(|class| take_congestion(inner, bytes, class)).is_none() {
            return Fate::Dropped(Counter::Congestion);
        }
        flow.lifetime.note(inner.transport, Direction::Reverse, now);
        flow.mapping.health().answered(flow.path_index, now);
        flow.received.add(inner);
        mss::clamp(inner, bytes, self.segment_limit(flow));
        inner.readdress(bytes, flow.key.mapped, flow.key.application);
        let skip = flow.wire.levels * LEVEL;
        Fate::Decapsulated { skip, counter: Counter::ClientDecapsulated }
    }

    fn flow_of(
        &self,
        datagram: &Datagram,
        served: Served,
        now: Time,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let Datagram { protocol, src: application, dst: mapped, .. } = *datagram;
        let key = AppKey { served, protocol, application, mapped };
        match self.flows.forward(&key) {
            Some(flow) => self.rerouted(flow, datagram.transport, now),
            None => self.open(key, datagram.transport, now),
        }
    }

    fn open(
        &self,
        key: AppKey,
        transport: Transport,
        now: Time,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let mapping = self.mappings.lookup(key.mapped.addr).ok_or(Counter::ClientUnmapped)?;
        let way = self.way(&mapping, PortKey::of(&key), now)?;
        self.open_on(mapping, way, key, transport, now)
    }

    fn open_on(
        &self,
        mapping: Arc<Mapping>,
        way: Outset,
        key: AppKey,
        transport: Transport,
        now: Time,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let Outset { path_index, source, epoch } = way;
        let source = key.served.unwrap_or(source);
        let quota = self.quota(key.served)?;
        let path = mapping.paths().paths()[path_index].clone();
        let lease = self.lease(PortKey::of(&key), preferred_port(&key));
        let lease = lease.ok_or(Counter::ClientNoPort)?;
        let wire = self.wire_key(&key, &path, lease.port(), source);
        self.admit(&wire, transport)?;
        if !mapping.pin() {
            return Err(Counter::ClientUnmapped);
        }
        // From here on the flow's end unpins it.
        let flow = Flow {
            key,
            wire,
            transport,
            path,
            path_index,
            began: AtomicU64::new(now.as_millis()),
            lease,
            source: AtomicU32::new(source.into()),
            epoch: AtomicU64::new(epoch),
            last_sent: AtomicU64::new(now.as_millis()),
            last_packet: LastPacket::default(),
            lifetime: Lifetime::new(now),
            sent: Traffic::default(),
            received: Traffic::default(),
            mapping,
            _quota: quota,
        };
        self.add(flow)
    }

    fn add(&self, flow: Flow<E::Lease>) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let (key, wire) = (flow.key, flow.wire);
        self.make_way(&flow);
        let flow = self.flows.add(key, [wire], |_| flow).map_err(|refusal| match refusal {
            Refusal::Full => Counter::ClientFlowsFull,
            Refusal::Conflict => Counter::ClientConflict,
        })?;
        if flow.is_direct() {
            return Ok(flow);
        }
        let key = OuterKey { served: wire.served, port: wire.port, hop: wire.hop };
        self.by_port.write(&key).entry(key).or_default().push(Arc::downgrade(&flow));
        Ok(flow)
    }

    /// When a name's records change, the same host gets another mapped address. A socket that goes
    /// on to the new one takes its flow along; a TCP connection cannot be taken along.
    fn make_way(&self, flow: &Flow<E::Lease>) {
        if let Some(other) = self.flows.reverse(&flow.wire)
            && other.key.application == flow.key.application
            && other.key.mapped != flow.key.mapped
            && !matches!(flow.transport, Transport::Tcp(_))
        {
            self.flows.remove(&other.key);
        }
    }

    /// A served host must not take all flows for itself.
    fn quota(&self, served: Served) -> Result<Option<Quota>, Counter> {
        let take = |host| self.quotas.take(host).ok_or(Counter::ClientHostFull);
        served.map(take).transpose()
    }

    fn lease(&self, key: PortKey, preferred: u16) -> Option<Arc<OuterPort<E::Lease>>> {
        let mut ports = self.ports.write(&key);
        if let Some(lease) = ports.get(&key).and_then(Weak::upgrade) {
            return Some(lease);
        }
        let lease = Arc::new(match key.served {
            None => OuterPort::Own(self.env.reserve(preferred)?),
            Some(addr) => {
                let preferred = Endpoint { addr, port: preferred };
                OuterPort::Served(self.served_ports.reserve(preferred)?)
            }
        });
        ports.insert(key, Arc::downgrade(&lease));
        Some(lease)
    }

    /// After a route change the outer source may be another; without a route the old one stays.
    fn renew_source(&self, flow: &Flow<E::Lease>) {
        if flow.wire.served.is_some() {
            return;
        }
        let epoch = self.env.route_epoch();
        if flow.epoch.swap(epoch, Relaxed) != epoch
            && let Some(source) = self.env.source_for(flow.path.first().addr)
        {
            flow.source.store(source.into(), Relaxed);
        }
    }

    fn encapsulate(
        &self,
        flow: &Flow<E::Lease>,
        front: &mut Front,
        traffic_class: u8,
        content: Content,
    ) -> Option<Content> {
        let hops = flow.path.hops().iter().rev().map(|&hop| endpoint(hop));
        self.ids.encapsulate(front, flow.outer(), hops, traffic_class, content)
    }

    fn segment_limit(&self, flow: &Flow<E::Lease>) -> u16 {
        mss::largest_segment(self.settings.mtu, flow.wire.levels)
    }

    /// Removes what has expired, and notes which paths stay silent; call it about once a second.
    pub fn expire(&self, now: Time) -> usize {
        self.flows.each(|_, flow| _ = flow.has_given_up(now));
        let removed = self.flows.expire(now);
        self.quotas.tidy();
        for shard in self.ports.shards() {
            let mut ports = shard.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            ports.retain(|_, lease| lease.strong_count() > 0);
        }
        for shard in self.by_port.shards() {
            let mut keys = shard.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            keys.retain(|_, flows| {
                flows.retain(|flow| flow.strong_count() > 0);
                !flows.is_empty()
            });
        }
        removed
    }

    /// The keepalives that are due: one per outer port and path.
    pub fn keepalives(&self, now: Time) -> Vec<Keepalive<E::Lease>> {
        let mut due = Vec::new();
        let mut seen = HashSet::new();
        self.flows.each(|_, flow| {
            let quiet = now.since(Time::from_millis(flow.last_sent.load(Relaxed)));
            if flow.is_direct()
                || quiet < self.settings.keepalive
                || flow.lifetime.expires(flow.transport) <= now
            {
                return;
            }
            flow.last_sent.store(now.as_millis(), Relaxed);
            if seen.insert((flow.wire.served, flow.wire.port, flow.path.clone())) {
                due.extend(self.keepalive(flow));
            }
        });
        due
    }

    /// The outermost level is written by the kernel, as for any datagram of a socket; but not that of a
    /// served host.
    fn keepalive(&self, flow: &Flow<E::Lease>) -> Option<Keepalive<E::Lease>> {
        let mut front = Front::default();
        let content = Content { octets: 1, sum: Sum::of(&[KEEPALIVE]) };
        let written_here = match *flow.lease {
            OuterPort::Own(_) => &flow.path.hops()[1..],
            OuterPort::Served(_) => flow.path.hops(),
        };
        let hops = written_here.iter().rev().map(|&hop| endpoint(hop));
        self.ids.encapsulate(&mut front, flow.outer(), hops, 0, content)?;
        let payload = [front.bytes(), &[KEEPALIVE]].concat();
        Some(Keepalive { from: Arc::clone(&flow.lease), to: flow.path.first(), payload })
    }

    /// How many flows there are, and how many there may be.
    pub fn usage(&self) -> (usize, usize) {
        (self.flows.len(), self.flows.cap())
    }

    /// How many unanswered flows have made room for others.
    pub fn evicted(&self) -> u64 {
        self.flows.evicted()
    }

    /// How many flows went on through another path.
    pub fn rerouted_flows(&self) -> u64 {
        self.rerouted.load(Relaxed)
    }

    /// Visits every flow.
    pub fn each_flow(&self, mut visit: impl FnMut(&Flow<E::Lease>)) {
        self.flows.each(|_, flow| visit(flow));
    }
}

impl PortKey {
    fn of(key: &AppKey) -> Self {
        Self { served: key.served, protocol: key.protocol, application: key.application }
    }
}

#[cfg(test)]
impl<E: Environment> Client<E> {
    /// How many keys of flows are noted for eviction.
    pub(super) fn noted(&self) -> usize {
        self.flows.noted()
    }
}

impl WireKey {
    fn of_reply(served: Served, outer: &Datagram, levels: usize, inner: &Datagram) -> Self {
        Self {
            served,
            hop: outer.src,
            port: outer.dst.port,
            levels,
            protocol: inner.protocol,
            host: inner.src,
            inner: inner.dst,
        }
    }
}

/// The application's own port where it is a port that anybody may have: the daemon is root, and an
/// unprivileged ping chooses its identifier.
fn preferred_port(key: &AppKey) -> u16 {
    const FIRST_UNPRIVILEGED: u16 = 1024;
    let port = key.application.port;
    if key.protocol != protocol::ICMP && port >= FIRST_UNPRIVILEGED { port } else { 0 }
}

fn endpoint(hop: Hop) -> Endpoint {
    Endpoint { addr: hop.addr, port: hop.port }
}

/// The levels between the outermost and the innermost header, as they arrived.
#[derive(Default)]
struct Levels {
    levels: [Option<Datagram>; MAX_HOPS],
    len: usize,
}

impl Levels {
    fn push(&mut self, level: Datagram) {
        if let Some(slot) = self.levels.get_mut(self.len) {
            *slot = Some(level);
            self.len += 1;
        }
    }

    /// What the innermost header meets when all levels are taken off one after the other
    /// (RFC 6040 §4.2). `None`: drop.
    fn traffic_class_below(&self, outermost: u8) -> Option<u8> {
        let levels = self.levels.iter().flatten();
        levels
            .map(|level| level.traffic_class)
            .try_fold(outermost, |outer, inner| ecn::decapsulated(inner, outer))
    }

    /// Whether they are the exact reverse of the flow's levels behind the first box.
    fn answer<L>(&self, flow: &Flow<L>) -> bool {
        let boxes = &flow.path.hops()[1..];
        // Answers to packets from before a change of this host's address may still be on the way.
        let ours = [flow.outer(), Endpoint { addr: flow.wire.inner.addr, port: flow.wire.port }];
        let matches =
            |level: &Datagram, hop| level.src == endpoint(hop) && ours.contains(&level.dst);
        let levels = self.levels.iter().flatten();
        self.len == boxes.len() && levels.zip(boxes).all(|(level, &hop)| matches(level, hop))
    }
}

impl<L> Flow<L> {
    /// Protocol number.
    pub fn protocol(&self) -> u8 {
        self.key.protocol
    }

    /// The application's endpoint.
    pub fn application(&self) -> Endpoint {
        self.key.application
    }

    /// The mapped address and the port the application wants.
    pub fn mapped(&self) -> Endpoint {
        self.key.mapped
    }

    /// Where its outer packets come from.
    pub fn outer(&self) -> Endpoint {
        Endpoint { addr: self.source.load(Relaxed).into(), port: self.wire.port }
    }

    /// Inner source and destination.
    pub fn inner(&self) -> (Endpoint, Endpoint) {
        (self.wire.inner, self.wire.host)
    }

    /// The path it takes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mapping it belongs to.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Sent and received.
    pub fn traffic(&self) -> (&Traffic, &Traffic) {
        (&self.sent, &self.received)
    }

    /// Last use, end and state.
    pub fn life(&self) -> (Time, Time, &'static str) {
        let life = &self.lifetime;
        (life.last_used(), life.expires(self.transport), life.state(self.transport))
    }
}

impl<L> Entry for Flow<L> {
    type Reverse = WireKey;

    fn reverse_key(&self) -> WireKey {
        self.wire
    }

    fn expires(&self) -> Time {
        self.lifetime.expires(self.transport)
    }

    fn answered(&self) -> bool {
        self.lifetime.answered()
    }
}

impl<L> Drop for Flow<L> {
    fn drop(&mut self) {
        self.mapping.unpin(self.lifetime.expires(self.transport));
    }
}
