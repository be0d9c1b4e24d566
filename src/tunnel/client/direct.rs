//! Flows of served hosts to hosts behind this host itself: the first box of their path is this host's
//! own gateway role. There is nothing to put into a tunnel. Their packets get the addresses that they
//! would have inside it, and the replies get the mapped address back.
//!
//! What tunnels may not reach, they may not either. An application of this host cannot be led so: the
//! source of its packets would be a port of this host that nobody owns.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::flow::Served;
use super::incoming::Levels;
use super::{AppKey, Client, Environment, Flow, OuterKey, WireKey, endpoint};
use crate::config::Export;
use crate::counters::Counter;
use crate::mapping::Mapping;
use crate::path::{Hop, Path};
use crate::time::Time;
use crate::tunnel::exports;
use crate::tunnel::fate::Fate;
use crate::wire::datagram::Transport;
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

    /// Whether no path of a mapping is for programs here: all lead back to this host.
    pub fn serves_only(&self, mapping: &Mapping) -> bool {
        !mapping.paths().paths().iter().any(|path| self.leads(path, None))
    }

    /// Whether a path leads anywhere: back to this host only for those it serves.
    pub(super) fn leads(&self, path: &Path, served: Served) -> bool {
        !self.env.is_own(path.first().addr) || served.is_some() && self.is_direct(path)
    }

    /// Whether a path leads to a host right behind this one.
    pub fn is_direct(&self, path: &Path) -> bool {
        let is_gateway = |hop: &Hop| {
            let gateway = self.settings.gateway.as_ref();
            gateway.is_some_and(|own| own.port == hop.port) && self.env.is_own(hop.addr)
        };
        matches!(path.hops(), [hop] if is_gateway(hop))
    }

    /// The shape of what comes back to `source`.
    pub(super) fn wire_key(
        &self,
        key: &AppKey,
        path: &Path,
        port: u16,
        source: Ipv4Addr,
    ) -> WireKey {
        let direct = key.served.is_some() && self.is_direct(path);
        let through = OuterKey { served: key.served, port, hop: endpoint(path.first()) };
        let OuterKey { served, port, hop } = if direct { no_box(key.served) } else { through };
        WireKey {
            served,
            hop,
            port,
            levels: if direct { 0 } else { path.hops().len() },
            protocol: key.protocol,
            host: Endpoint { addr: path.host(), port: key.mapped.port },
            inner: Endpoint { addr: source, port: key.application.port },
        }
    }

    /// A flow without a tunnel reaches exports only.
    pub(super) fn admit(&self, wire: &WireKey, transport: Transport) -> Result<(), Counter> {
        match &self.settings.gateway {
            Some(own) if wire.levels == 0 => {
                exports::admit(&own.exports, &self.env, wire.host, wire.protocol, transport)
            }
            _ => Ok(()),
        }
    }

    /// The flow without a tunnel that a packet to a served host answers.
    pub(super) fn direct_flow(
        &self,
        served: Served,
        reply: &Datagram,
    ) -> Option<Arc<Flow<E::Lease>>> {
        // An error has no ports, and an identifier may be 0.
        let is_error = reply.transport == Transport::IcmpError;
        if served.is_none() || self.settings.gateway.is_none() || is_error {
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
    /// Whether its packets need no tunnel.
    pub(super) fn is_direct(&self) -> bool {
        self.wire.levels == 0
    }
}
