//! Several paths to one host: which of them a flow takes, and when it goes on through another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::flow::Served;
use super::{Client, Environment, Flow, PortKey};
use crate::counters::Counter;
use crate::mapping::{Mapping, Standing};
use crate::path::Path;
use crate::time::Time;
use crate::tunnel::lifetime::Direction;
use crate::wire::datagram::Transport;

/// A path that has not answered a flow for so long is given up for another. TCP has sent its SYN
/// three times by the next packet (RFC 6298 §2.1: after 1 s, then 2 s).
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Where a flow begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outset {
    pub(super) path_index: usize,
    pub(super) source: Ipv4Addr,
    /// Octets; `None` if there is no tunnel.
    pub(super) route_mtu: Option<u16>,
    /// The state of the routes that say so.
    pub(super) epoch: u64,
}

impl<E: Environment> Client<E> {
    /// How a new flow goes: through the best path whose first box can be reached. If none is good,
    /// through one that is not.
    pub(super) fn way(
        &self,
        mapping: &Mapping,
        key: PortKey,
        now: Time,
    ) -> Result<Outset, Counter> {
        if !mapping.health().has_choice() {
            return self.outset(mapping, 0, key.served);
        }
        let ranking = ranking(mapping, &key, now);
        let outsets = || ranking.iter().map(|&path| self.outset(mapping, path, key.served));
        let good = outsets().flatten().find(|way| mapping.health().take(way.path_index, now));
        match good.or_else(|| outsets().flatten().next()) {
            Some(way) => Ok(way),
            None => outsets().next().unwrap_or(Err(Counter::ClientUnmapped)),
        }
    }

    fn outset(
        &self,
        mapping: &Mapping,
        path_index: usize,
        served: Served,
    ) -> Result<Outset, Counter> {
        let path = &mapping.paths().paths()[path_index];
        let (first, epoch) = (path.first(), self.env.route_epoch());
        if !self.leads(path, served) {
            return Err(Counter::ClientLoop);
        }
        let (source, route_mtu) = match served.filter(|_| self.is_direct(path)) {
            Some(source) => (source, None),
            None => {
                let route = self.env.route(first.addr).ok_or(Counter::ClientNoRoute)?;
                (route.source, Some(route.mtu))
            }
        };
        Ok(Outset { path_index, source, route_mtu, epoch })
    }

    /// The flow itself, or the one that takes its place if its path does not answer and another
    /// may.
    pub(super) fn rerouted(
        &self,
        flow: Arc<Flow<E::Lease>>,
        transport: Transport,
        now: Time,
    ) -> Result<Arc<Flow<E::Lease>>, Counter> {
        if !flow.has_given_up(now) {
            return Ok(flow);
        }
        let Some(way) = self.other_way(&flow, now) else { return Ok(flow) };
        self.flows.remove(&flow.key);
        self.rerouted.fetch_add(1, Relaxed);
        // The old flow lives to here: the new one finds its outer port still reserved.
        self.open_on(Arc::clone(&flow.mapping), way, flow.key, transport, now)
    }

    fn other_way(&self, flow: &Flow<E::Lease>, now: Time) -> Option<Outset> {
        let health = flow.mapping.health();
        let may_serve =
            |path: &usize| *path != flow.path_index && health.standing(*path, now) != Standing::Bad;
        let ranking = ranking(&flow.mapping, &PortKey::of(&flow.key), now);
        let others = ranking.into_iter().filter(may_serve);
        let mut ways =
            others.filter_map(|path| self.outset(&flow.mapping, path, flow.key.served).ok());
        ways.find(|way| health.take(way.path_index, now))
    }
}

impl<L> Flow<L> {
    /// A packet of the application's. Its endpoints may be used again for a new connection, which
    /// waits for an answer of its own.
    pub(super) fn note_sent(&self, transport: Transport, now: Time) {
        let answered = self.lifetime.answered();
        self.lifetime.note(transport, Direction::Forward, now);
        if answered && !self.lifetime.answered() {
            self.began.store(now.as_millis(), Relaxed);
        }
    }

    /// Whether it waits in vain for its first answer while there are other paths: nothing came
    /// back through this one since, or an error about it did.
    pub(super) fn has_given_up(&self, now: Time) -> bool {
        let health = self.mapping.health();
        if !health.has_choice() || self.lifetime.answered() {
            return false;
        }
        let began = Time::from_millis(self.began.load(Relaxed));
        if health.failed_since(self.path_index, began) {
            return true;
        }
        let silent = now.since(began) >= PATIENCE && !health.answered_since(self.path_index, began);
        if silent {
            health.failed(self.path_index, now);
        }
        silent
    }

    /// An error about the path: says whether the application is better not told, because another
    /// path may serve its next packet.
    pub(super) fn path_failed(&self, now: Time) -> bool {
        let health = self.mapping.health();
        // After the flow began, though the clock may not have moved since.
        let began = Time::from_millis(self.began.load(Relaxed));
        health.failed(self.path_index, now.max(began + Duration::from_millis(1)));
        let may_serve =
            |path| path != self.path_index && health.standing(path, now) != Standing::Bad;
        !self.lifetime.answered() && (0..self.mapping.paths().paths().len()).any(may_serve)
    }
}

/// Paths by rendezvous hashing: an application's socket prefers one path to all hosts behind it, and
/// keeps to it when others come or go, also after a restart.
fn ranking(mapping: &Mapping, key: &PortKey, now: Time) -> Vec<usize> {
    let paths = mapping.paths().paths();
    mapping.health().ranking(now, |path| weight(key, &paths[path]))
}

fn weight(key: &PortKey, path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, path).hash(&mut hasher);
    hasher.finish()
}
