//! A flow that an application opened, and the keys by which it is found.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::errors::LastPacket;
use super::outer_port::{OuterPort, PortKind};
use super::path_mtu::KnownMtu;
use crate::mapping::Mapping;
use crate::path::{Hop, Path};
use crate::time::Time;
use crate::tunnel::common::{Connection, Quota, Traffic};
use crate::tunnel::lifetime::Lifetime;
use crate::tunnel::route::Told;
use crate::tunnel::table::Entry;
use crate::wire::datagram::{Transport, protocol};
use crate::wire::{Datagram, Endpoint};

/// The host whose application it is: one that this host serves, or, if `None`, this host. A served
/// host's outer packets are from and to its own address; they only pass through.
pub(super) type Served = Option<Ipv4Addr>;

/// A flow as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AppKey {
    pub(super) served: Served,
    pub(super) protocol: u8,
    pub(super) application: Endpoint,
    pub(super) mapped: Endpoint,
}

/// The exact shape of the packets that may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::tunnel) struct WireKey {
    pub(super) served: Served,
    pub(super) hop: Endpoint,
    pub(super) port: u16,
    pub(super) levels: usize,
    pub(super) protocol: u8,
    pub(super) host: Endpoint,
    pub(super) inner: Endpoint,
}

/// One outer port per inner source endpoint: endpoint-independent mapping (RFC 4787 REQ-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PortKey {
    pub(super) served: Served,
    pub(super) protocol: u8,
    pub(super) application: Endpoint,
}

/// What an error tells at least: the outer port and the first box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct OuterKey {
    pub(super) served: Served,
    pub(super) port: u16,
    pub(super) hop: Endpoint,
}

/// A flow that an application opened.
pub struct Flow<L> {
    pub(super) key: AppKey,
    pub(super) wire: WireKey,
    pub(super) transport: Transport,
    pub(super) path: Path,
    /// Which of the mapping's paths that is.
    pub(super) path_index: usize,
    /// Which paths its endpoints have tried before, in vain: a bit for each of the first 64.
    pub(super) tried: u64,
    /// When it began to wait for its first answer.
    pub(super) began: AtomicU64,
    pub(super) lease: Arc<OuterPort<L>>,
    pub(super) source: AtomicU32,
    /// Of the route to the first box, octets; 0 if it is not known.
    pub(super) route_mtu: AtomicU16,
    pub(super) path_mtu: KnownMtu,
    pub(super) told: Told,
    pub(super) epoch: AtomicU64,
    pub(super) last_sent: AtomicU64,
    pub(super) last_packet: LastPacket,
    pub(super) lifetime: Lifetime,
    pub(super) sent: Traffic,
    pub(super) received: Traffic,
    pub(super) mapping: Arc<Mapping>,
    /// A served host's share; a flow that takes another's place has the same.
    pub(super) quota: Option<Arc<Quota>>,
}

impl PortKey {
    pub(super) fn of(key: &AppKey) -> Self {
        Self { served: key.served, protocol: key.protocol, application: key.application }
    }

    /// What it takes for a flow that meets these boxes.
    pub(super) fn kind(&self, boxes: &[Hop]) -> PortKind {
        match boxes {
            [] if self.served.is_none() && self.protocol == protocol::TCP => PortKind::Tcp,
            _ => PortKind::Udp,
        }
    }
}

impl WireKey {
    pub(super) fn of_reply(
        served: Served,
        outer: &Datagram,
        levels: usize,
        inner: &Datagram,
    ) -> Self {
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

impl<L> Flow<L> {
    /// Whether its host, or if `no_ports` this one, has little room for others.
    pub(super) fn has_little_room(&self, no_ports: bool) -> bool {
        self.quota.as_ref().map_or(no_ports, |quota| quota.is_scarce())
    }

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

    pub(super) fn route_mtu(&self) -> Option<u16> {
        Some(self.route_mtu.load(Relaxed)).filter(|&octets| octets > 0)
    }

    /// What the kernel tracks of it, once it was answered and while somebody may still speak: the outer
    /// connection, or the one without a tunnel. Served hosts' outer ones are theirs.
    pub(super) fn connection(&self) -> Option<Connection> {
        let live = self.lifetime.answered() && self.lifetime.may_speak(self.transport);
        let tracked = matches!(self.transport, Transport::Tcp(_) | Transport::Udp);
        let (known, protocol, from, to) = match self.is_direct() {
            true => (tracked, self.key.protocol, self.wire.inner, self.wire.host),
            false => (self.wire.served.is_none(), protocol::UDP, self.outer(), self.wire.hop),
        };
        (known && live).then_some(Connection { protocol, from, to })
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

    fn expires_if_scarce(&self) -> Time {
        self.lifetime.expires_if_scarce(self.transport)
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
