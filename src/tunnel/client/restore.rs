//! Flows that outlive the daemon: the same outer port, so that gateways and NAT boxes on the way see
//! the connection go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};
use std::time::Duration;

use super::errors::LastPacket;
use super::path_mtu::KnownMtu;
use super::{AppKey, Client, Environment, Flow, Lease};
use crate::time::Time;
use crate::tunnel::common::Traffic;
use crate::tunnel::lifetime::Lifetime;
use crate::tunnel::route::Told;
use crate::tunnel::saved::SavedClient;
use crate::tunnel::table::Entry;
use crate::wire::datagram::Transport;

impl<E: Environment> Client<E> {
    /// Takes a saved flow back, if its mapping and its outer port can still be had, and its path leads
    /// where it may. `slack`: how old what was saved may be.
    pub fn restore(&self, saved: SavedClient, slack: Duration, now: Time) -> bool {
        let Some(flow) = self.restored(saved, slack, now) else { return false };
        let alive = flow.expires() > now;
        // The newest come first: what has either key of theirs had ended before.
        let ended =
            self.flows.forward(&flow.key).is_some() || self.flows.reverse(&flow.wire).is_some();
        alive && !ended && self.add(flow).is_ok()
    }

    fn restored(&self, saved: SavedClient, slack: Duration, now: Time) -> Option<Flow<E::Lease>> {
        let SavedClient { protocol, application, mapped, served, port, source, life, path } = saved;
        let mapping = self.mappings.lookup(mapped.addr)?;
        let path_index = mapping.paths().paths().iter().position(|known| *known == path)?;
        let served = served.then_some(application.addr);
        let key = AppKey { served, protocol, application, mapped };
        let transport = Transport::of_flow(protocol);
        let boxes = self.admitted(&key, &path, transport).ok()?;
        // Without a tunnel, an address that is this host's no more would leave as it is.
        if boxes.is_empty() && served.is_none() && !self.env.is_own(source) {
            return None;
        }
        let quota = self.quota(served).ok()?.map(Arc::new);
        let lease = self.lease(&key, boxes, port)?;
        let wire = self.wire_key(&key, &path, boxes, (port, source));
        if lease.port() != port || !mapping.pin() {
            return None;
        }
        // From here on the flow's end unpins the mapping.
        Some(Flow {
            key,
            wire,
            transport,
            path,
            path_index,
            tried: 0,
            began: AtomicU64::new(now.as_millis()),
            lease,
            source: AtomicU32::new(source.into()),
            route_mtu: AtomicU16::new(0),
            path_mtu: KnownMtu::default(),
            told: Told::default(),
            // The route is asked for with the first packet.
            epoch: AtomicU64::new(u64::MAX),
            last_sent: AtomicU64::new(0),
            last_packet: LastPacket::default(),
            lifetime: Lifetime::restored(life, slack, now),
            sent: Traffic::default(),
            received: Traffic::default(),
            mapping,
            quota,
        })
    }

    /// Whether flows were opened since this was last asked. Costs next to nothing if not.
    pub fn any_fresh(&self) -> bool {
        self.flows.any_fresh()
    }

    /// The flows that were opened since the last look, to be saved.
    pub fn fresh(&self) -> Vec<SavedClient> {
        self.flows.take_fresh().iter().map(|flow| flow.saved()).collect()
    }

    /// All flows, to be saved.
    pub fn saved(&self) -> Vec<SavedClient> {
        let mut saved = Vec::new();
        self.flows.each(|_, flow: &Arc<Flow<E::Lease>>| saved.push(flow.saved()));
        saved
    }
}

impl<L: Lease> Flow<L> {
    fn saved(&self) -> SavedClient {
        SavedClient {
            protocol: self.key.protocol,
            application: self.key.application,
            mapped: self.key.mapped,
            served: self.wire.served.is_some(),
            port: self.lease.port(),
            source: self.wire.inner.addr,
            life: self.lifetime.saved(),
            path: self.path.clone(),
        }
    }
}
