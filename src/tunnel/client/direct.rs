//! Paths that begin at this host's own gateway role. What it would take off a packet is not put
//! around it: a flow to a host behind further boxes begins at the next one, and a flow to a host right
//! behind this one has no tunnel. Its packets get the addresses that they would have inside a tunnel,
//! and the replies get the mapped address back.
//!
//! What tunnels may not reach, these flows may not either.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::flow::Served;
use super::incoming::Levels;
use super::paths::Outset;
use super::{AppKey, Client, Environment, Flow, OuterKey, WireKey, endpoint};
use crate::config::Export;
use crate::counters::Counter;
use crate::mapping::Mapping;
use crate::path::{Hop, Path};
use crate::time::Time;
use crate::tunnel::common::Connection;
use crate::tunnel::exports;
use crate::tunnel::fate::Fate;
use crate::tunnel::table::Entry;
use crate::wire::datagram::{Transport, protocol};
use crate::wire::{Datagram, Endpoint};

/// The gateway role of the host whose client role this is.
#[derive(Debug, Clone)]
pub struct OwnGateway {
    /// UDP port of tunnel packets, host order.
    pub port: u16,
    /// What tunnels may reach.
    pub exports: Vec<Export>,
}

/// In place of the outer port and first box of a flow without a tunnel.
pub(super) fn no_box(served: Served) -> OuterKey {
    OuterKey { served, port: 0, hop: Endpoint { addr: Ipv4Addr::UNSPECIFIED, port: 0 } }
}

impl<E: Environment> Client<E> {
    /// Whether a first box is this host, without leading anywhere.
    pub fn is_dead_end(&self, first: Ipv4Addr) -> bool {
        self.env.is_own(first) && self.settings.gateway.is_none()
    }

    /// The boxes that a flow along a path meets, outermost first: those of the path without this host's
    /// own gateway, so none if the host is right behind this one. `None` if it leads back to this host.
    pub fn boxes<'a>(&self, path: &'a Path) -> Option<&'a [Hop]> {
        let is_own = |hop: &Hop| self.env.is_own(hop.addr);
        match path.hops() {
            [first, ..] if !is_own(first) => Some(path.hops()),
            // Taken off here once; what a tunnel would bring to this host again ends here.
            [first, rest @ ..]
                if self.is_own_gateway(first) && !rest.first().is_some_and(is_own) =>
            {
                Some(rest)
            }
            _ => None,
        }
    }

    fn is_own_gateway(&self, hop: &Hop) -> bool {
        let port = self.settings.gateway.as_ref().map(|own| own.port);
        port == Some(hop.port) && self.env.is_own(hop.addr)
    }

    /// Why no flow can take a path, whatever it is for.
    pub fn refusal(&self, path: &Path) -> Option<Counter> {
        let Some(boxes) = self.boxes(path) else { return Some(Counter::ClientLoop) };
        if boxes.len() == path.hops().len() {
            return None;
        }
        match (boxes.first(), &self.settings.gateway) {
            (Some(&hop), _) => self.admit_box(hop).err(),
            (None, Some(own)) => {
                let host = path.host();
                let exported = || exports::admit_any(&own.exports, &self.env, host);
                self.admit_outside_pool(host).and_then(|()| exported()).err()
            }
            (None, None) => None,
        }
    }

    /// Whether all paths of a mapping lead to a host right behind this one.
    pub fn is_direct(&self, mapping: &Mapping) -> bool {
        mapping.paths().paths().iter().all(|path| self.boxes(path).is_some_and(<[Hop]>::is_empty))
    }

    /// The boxes of a flow along a path; or why it may not take it.
    pub(super) fn admitted<'a>(
        &self,
        key: &AppKey,
        path: &'a Path,
        transport: Transport,
    ) -> Result<&'a [Hop], Counter> {
        let boxes = self.boxes(path).ok_or(Counter::ClientLoop)?;
        match boxes.first() {
            Some(_) if boxes.len() == path.hops().len() => {}
            Some(&hop) => self.admit_box(hop)?,
            None => self.admit_host(key, path, transport)?,
        }
        Ok(boxes)
    }

    /// The next box is reached by UDP, as any exported host.
    fn admit_box(&self, hop: Hop) -> Result<(), Counter> {
        self.admit_export(endpoint(hop), protocol::UDP, Transport::Udp)
    }

    fn admit_host(&self, key: &AppKey, path: &Path, transport: Transport) -> Result<(), Counter> {
        // A program here needs a source that nobody else here uses.
        let may_be_here = matches!(transport, Transport::Tcp(_) | Transport::Udp)
            || transport == Transport::IcmpQuery;
        if key.served.is_none() && !may_be_here {
            return Err(Counter::ClientLoop);
        }
        let host = Endpoint { addr: path.host(), port: key.mapped.port };
        self.admit_export(host, key.protocol, transport)
    }

    /// What is for an address of the pool would come here again, and again.
    fn admit_outside_pool(&self, addr: Ipv4Addr) -> Result<(), Counter> {
        match self.mappings.pool().contains(&addr) {
            true => Err(Counter::ClientLoop),
            false => Ok(()),
        }
    }

    fn admit_export(
        &self,
        host: Endpoint,
        protocol: u8,
        transport: Transport,
    ) -> Result<(), Counter> {
        let own = self.settings.gateway.as_ref().ok_or(Counter::ClientLoop)?;
        self.admit_outside_pool(host.addr)?;
        exports::admit(&own.exports, &self.env, host, protocol, transport)
    }

    /// Where the packets of a flow come from, and the MTU of their route in octets if there is a
    /// tunnel; `None` without a route.
    pub(super) fn start(
        &self,
        served: Served,
        path: &Path,
        boxes: &[Hop],
    ) -> Option<(Ipv4Addr, Option<u16>)> {
        let Some(next) = boxes.first() else {
            let source = || self.env.route(path.host()).map(|route| route.source);
            return Some((served.or_else(source)?, None));
        };
        let route = self.env.route(next.addr)?;
        // The next box sees what it would see if the first had taken its level off.
        let is_peeled = boxes.len() < path.hops().len();
        let own = if is_peeled { path.first().addr } else { route.source };
        Some((served.unwrap_or(own), Some(route.mtu)))
    }

    /// The flow itself, or the one that takes its place if it has no tunnel and began with an address that
    /// is this host's no more. A TCP connection cannot be taken along. While there is no route, the
    /// address may come back.
    pub(super) fn readdressed(
        &self,
        flow: Arc<Flow<E::Lease>>,
        transport: Transport,
        now: Time,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        let is_own = |flow: &Flow<E::Lease>| self.env.is_own(flow.wire.inner.addr);
        if !flow.is_direct() || flow.wire.served.is_some() || is_own(&flow) {
            return Ok(flow);
        }
        let way = self.outset(&flow.mapping, flow.path_index, &flow.key, transport);
        let Ok(way) = way else { return Ok(flow) };
        match transport {
            Transport::Tcp(_) if !transport.opens_connection() => Err(Counter::ClientRenumbered),
            _ => {
                let tried = flow.tried;
                Ok(self.succeed(flow, Outset { tried, ..way }, transport, now))
            }
        }
    }

    /// The shape of what comes back to `source`.
    pub(super) fn wire_key(
        &self,
        key: &AppKey,
        path: &Path,
        boxes: &[Hop],
        (port, source): (u16, Ipv4Addr),
    ) -> WireKey {
        let first = boxes.first().map(|&hop| endpoint(hop));
        let through = first.map(|hop| OuterKey { served: key.served, port, hop });
        let OuterKey { served, port: outer, hop } = through.unwrap_or(no_box(key.served));
        // Without a tunnel the packets of programs here are this host's own, and so is their port.
        let keeps_port =
            key.served.is_some() || !boxes.is_empty() || key.protocol == protocol::ICMP;
        let inner_port = if keeps_port { key.application.port } else { port };
        WireKey {
            served,
            hop,
            port: outer,
            levels: boxes.len(),
            protocol: key.protocol,
            host: Endpoint { addr: path.host(), port: key.mapped.port },
            inner: Endpoint { addr: source, port: inner_port },
        }
    }

    /// The flow without a tunnel that a packet answers.
    pub(super) fn direct_flow(
        &self,
        served: Served,
        reply: &Datagram,
    ) -> Option<Arc<Flow<E::Lease>>> {
        // An error has no ports, and an identifier may be 0.
        let is_error = reply.transport == Transport::IcmpError;
        if self.settings.gateway.is_none() || is_error {
            return None;
        }
        let OuterKey { served, port, hop } = no_box(served);
        self.flows.reverse(&WireKey {
            served,
            hop,
            port,
            levels: 0,
            protocol: reply.protocol,
            host: reply.src,
            inner: reply.dst,
        })
    }

    /// What the kernel should know of a served host's flow without a tunnel whose reply this is, if it is a
    /// TCP connection that stands.
    pub fn standing(&self, reply: &Datagram, now: Time) -> Option<Connection> {
        let flow = self.direct_flow(Some(reply.dst.addr), reply)?;
        let stands = flow.lifetime.stands(flow.transport) && flow.expires() > now;
        flow.connection().filter(|_| stands)
    }

    /// There is no header whose congestion marks would have to be taken over.
    pub(super) fn deliver_direct(
        &self,
        flow: &Flow<E::Lease>,
        mut reply: Datagram,
        packet: &mut [u8],
        now: Time,
    ) -> Fate {
        let outer = reply;
        self.deliver(flow, &Levels::default(), &outer, &mut reply, packet, now)
    }
}

impl<L> Flow<L> {
    /// The boxes that its packets meet, outermost first: those of its path behind this host itself.
    pub fn boxes(&self) -> &[Hop] {
        let hops = self.path.hops();
        &hops[hops.len().saturating_sub(self.wire.levels)..]
    }

    /// Whether its packets need no tunnel.
    pub fn is_direct(&self) -> bool {
        self.wire.levels == 0
    }

    /// Whether its tunnel begins behind this host's own gateway.
    pub(super) fn is_peeled(&self) -> bool {
        !self.is_direct() && self.wire.levels < self.path.hops().len()
    }
}
