//! What applications send: the flow that a packet belongs to, or begins, and its way into the tunnel.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use super::errors::LastPacket;
use super::flow::{AppKey, OuterKey, PortKey, Served};
use super::outer_port::OuterPort;
use super::path_mtu::KnownMtu;
use super::paths::Outset;
use super::{Client, Environment, Flow, Origin, endpoint};
use crate::counters::Counter;
use crate::mapping::Mapping;
use crate::path::Hop;
use crate::time::Time;
use crate::tunnel::common::{Quota, Traffic, content_of, is_host};
use crate::tunnel::fate::{Fate, Front};
use crate::tunnel::lifetime::Lifetime;
use crate::tunnel::route::Told;
use crate::tunnel::table::Refusal;
use crate::wire::datagram::{Transport, protocol};
use crate::wire::outer::Content;
use crate::wire::{Datagram, Endpoint};

impl<E: Environment> Client<E> {
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
        self.renew_route(&flow);
        self.note_size(&flow, packet, now);
        self.clamp(&flow, &datagram, packet);
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

    fn flow_of(
        &self,
        datagram: &Datagram,
        served: Served,
        now: Time,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let Datagram { protocol, src: application, dst: mapped, .. } = *datagram;
        let key = AppKey { served, protocol, application, mapped };
        match self.flows.forward(&key) {
            Some(flow) => {
                let flow = self.readdressed(flow, datagram.transport, now)?;
                Ok(self.rerouted(flow, datagram.transport, now))
            }
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
        let way = self.way(&mapping, &key, transport, now)?;
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
        let quota = self.quota(key.served)?;
        let flow = self.begun(mapping, way, key, transport, quota.map(Arc::new), now)?;
        self.add(flow)
    }

    /// Has its mapping pinned and its port reserved, but is found by nobody yet.
    pub(super) fn begun(
        &self,
        mapping: Arc<Mapping>,
        way: Outset,
        key: AppKey,
        transport: Transport,
        quota: Option<Arc<Quota>>,
        now: Time,
    ) -> Result<Flow<E::Lease>, Counter> {
        let Outset { path_index, tried, source, route_mtu, epoch } = way;
        let path = mapping.paths().paths()[path_index].clone();
        let boxes = self.admitted(&key, &path, transport)?;
        let lease = self.lease(&key, boxes, preferred_port(&key)).ok_or(Counter::ClientNoPort)?;
        let source = key.served.unwrap_or(source);
        let wire = self.wire_key(&key, &path, boxes, (lease.port(), source));
        if !mapping.pin() {
            return Err(Counter::ClientUnmapped);
        }
        // From here on the flow's end unpins it.
        Ok(Flow {
            key,
            wire,
            transport,
            path,
            path_index,
            tried,
            began: AtomicU64::new(now.as_millis()),
            lease,
            source: AtomicU32::new(source.into()),
            route_mtu: AtomicU16::new(route_mtu.unwrap_or(0)),
            path_mtu: KnownMtu::default(),
            told: Told::default(),
            epoch: AtomicU64::new(epoch),
            last_sent: AtomicU64::new(now.as_millis()),
            last_packet: LastPacket::default(),
            lifetime: Lifetime::new(now),
            sent: Traffic::default(),
            received: Traffic::default(),
            mapping,
            quota,
        })
    }

    pub(super) fn add(&self, flow: Flow<E::Lease>) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let (key, wire) = (flow.key, flow.wire);
        self.make_way(&flow);
        let added = self.flows.add(key, [wire], |_| flow);
        self.added(added)
    }

    /// The flow of the same application to the same mapped address, but on another way. It takes over its
    /// predecessor's share and, where the kind is the same, its port; if it cannot be, that one goes on.
    pub(super) fn succeed(
        &self,
        old: Arc<Flow<E::Lease>>,
        way: Outset,
        transport: Transport,
        now: Time,
    ) -> Arc<Flow<E::Lease>> {
        let (mapping, quota) = (Arc::clone(&old.mapping), old.quota.clone());
        let Ok(new) = self.begun(mapping, way, old.key, transport, quota, now) else { return old };
        self.make_way(&new);
        let replaced = self.flows.replace(old.key, &old, new);
        // It may have ended meanwhile, and another one have begun.
        self.added(replaced).unwrap_or_else(|_| self.flows.forward(&old.key).unwrap_or(old))
    }

    fn added(
        &self,
        added: Result<Arc<Flow<E::Lease>>, Refusal>,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let flow = added.map_err(|refusal| match refusal {
            Refusal::Full => Counter::ClientFlowsFull,
            Refusal::Conflict => Counter::ClientConflict,
        })?;
        if flow.is_direct() {
            return Ok(flow);
        }
        let wire = flow.wire;
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
    pub(super) fn quota(&self, served: Served) -> Result<Option<Quota>, Counter> {
        let take = |host| self.quotas.take(host).ok_or(Counter::ClientHostFull);
        served.map(take).transpose()
    }

    pub(super) fn lease(
        &self,
        key: &AppKey,
        boxes: &[Hop],
        preferred: u16,
    ) -> Option<Arc<OuterPort<E::Lease>>> {
        let key = PortKey::of(key);
        let kind = key.kind(boxes);
        let mut ports = self.ports.write(&(key, kind));
        if let Some(lease) = ports.get(&(key, kind)).and_then(Weak::upgrade) {
            return Some(lease);
        }
        let lease = Arc::new(match key.served {
            None => OuterPort::Own(self.env.reserve(kind, preferred)?),
            Some(addr) => {
                let preferred = Endpoint { addr, port: preferred };
                OuterPort::Served(self.served_ports.reserve(preferred)?)
            }
        });
        ports.insert((key, kind), Arc::downgrade(&lease));
        Some(lease)
    }

    /// After a route change the outer source and the MTU may be others; without a route the old ones
    /// stay. A served host's packets keep its address, and a peeled flow's that of the first box.
    pub(super) fn renew_route(&self, flow: &Flow<E::Lease>) {
        let epoch = self.env.route_epoch();
        let Some(next) = flow.boxes().first() else { return };
        if flow.epoch.swap(epoch, Relaxed) == epoch {
            return;
        }
        if let Some(route) = self.env.route(next.addr) {
            flow.route_mtu.store(route.mtu, Relaxed);
            if flow.wire.served.is_none() && !flow.is_peeled() {
                flow.source.store(route.source.into(), Relaxed);
            }
        }
    }

    pub(super) fn encapsulate(
        &self,
        flow: &Flow<E::Lease>,
        front: &mut Front,
        traffic_class: u8,
        content: Content,
    ) -> Option<Content> {
        let hops = flow.boxes().iter().rev().map(|&hop| endpoint(hop));
        self.ids.encapsulate(front, flow.outer(), hops, traffic_class, content)
    }
}

/// The application's own port where it is a port that anybody may have: the daemon is root, and an
/// unprivileged ping chooses its identifier.
fn preferred_port(key: &AppKey) -> u16 {
    const FIRST_UNPRIVILEGED: u16 = 1024;
    let port = key.application.port;
    if key.protocol != protocol::ICMP && port >= FIRST_UNPRIVILEGED { port } else { 0 }
}
