//! A flow that somebody opened through the tunnel, and the keys by which it is found.

use crate::time::Time;
use crate::tunnel::common::{Connection, Quota, Traffic};
use crate::tunnel::lifetime::Lifetime;
use crate::tunnel::route::{RouteMtu, Told};
use crate::tunnel::table::Entry;
use crate::wire::Endpoint;
use crate::wire::datagram::Transport;

/// A flow as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TunnelKey {
    pub(super) protocol: u8,
    /// X:x.
    pub(super) outer: Endpoint,
    /// Our own address and port.
    pub(super) gateway: Endpoint,
    /// A:p.
    pub(super) inner: Endpoint,
    /// B:d.
    pub(super) host: Endpoint,
}

/// A reply as the host sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::tunnel) struct LanKey {
    pub(super) protocol: u8,
    pub(super) host: Endpoint,
    pub(super) peer: Endpoint,
}

/// A flow that somebody opened through the tunnel.
pub struct Flow {
    pub(super) key: TunnelKey,
    pub(super) lan: LanKey,
    pub(super) transport: Transport,
    pub(super) lifetime: Lifetime,
    pub(super) route_mtu: RouteMtu,
    pub(super) told: Told,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
    pub(super) quota: Quota,
}

impl Flow {
    /// Protocol number.
    pub fn protocol(&self) -> u8 {
        self.key.protocol
    }

    /// The client's outer endpoint, X:x.
    pub fn outer(&self) -> Endpoint {
        self.key.outer
    }

    /// The address and port here that the client sends to.
    pub fn gateway(&self) -> Endpoint {
        self.key.gateway
    }

    /// The client's own endpoint, A:p.
    pub fn inner(&self) -> Endpoint {
        self.key.inner
    }

    /// The host, B:d.
    pub fn host(&self) -> Endpoint {
        self.key.host
    }

    /// The client as the host sees it.
    pub fn peer(&self) -> Endpoint {
        self.lan.peer
    }

    /// What the kernel tracks of it, once the host has answered and while somebody may still speak.
    pub(super) fn connection(&self) -> Option<Connection> {
        let tracked = matches!(self.transport, Transport::Tcp(_) | Transport::Udp);
        let live = self.lifetime.answered() && self.lifetime.may_speak(self.transport);
        let LanKey { protocol, host, peer } = self.lan;
        (tracked && live).then_some(Connection { protocol, from: peer, to: host })
    }

    /// Received from the client and sent to it.
    pub fn traffic(&self) -> (&Traffic, &Traffic) {
        (&self.received, &self.sent)
    }

    /// Last use, end and state.
    pub fn life(&self) -> (Time, Time, &'static str) {
        let life = &self.lifetime;
        (life.last_used(), life.expires(self.transport), life.state(self.transport))
    }
}

impl Entry for Flow {
    type Reverse = LanKey;

    fn reverse_key(&self) -> LanKey {
        self.lan
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
