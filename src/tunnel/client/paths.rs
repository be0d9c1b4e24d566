//! Several paths to one host: which of them a flow takes, and when it goes on through another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::silence::{bit, take};
use super::{AppKey, Client, Environment, Flow, PortKey};
use crate::counters::Counter;
use crate::mapping::Mapping;
use crate::path::Path;
use crate::time::Time;
use crate::wire::datagram::Transport;

/// Where a flow begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outset {
    pub(super) path_index: usize,
    /// Paths that were tried before: a bit for each of the first 64.
    pub(super) tried: u64,
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
        key: &AppKey,
        transport: Transport,
        now: Time,
    ) -> Result<Outset, Counter> {
        if !mapping.health().has_choice() {
            return self.outset(mapping, 0, key, transport);
        }
        let ranking = self.ranking(mapping, key, now);
        let outsets = || ranking.iter().map(|&path| self.outset(mapping, path, key, transport));
        let takes = |way: &Outset| take(mapping, key, way.path_index, now);
        let good = outsets().flatten().find(takes);
        match good.or_else(|| outsets().flatten().next()) {
            Some(way) => Ok(way),
            None => outsets().next().unwrap_or(Err(Counter::ClientUnmapped)),
        }
    }

    pub(super) fn outset(
        &self,
        mapping: &Mapping,
        path_index: usize,
        key: &AppKey,
        transport: Transport,
    ) -> Result<Outset, Counter> {
        let path = &mapping.paths().paths()[path_index];
        let epoch = self.env.route_epoch();
        let boxes = self.admitted(key, path, transport)?;
        let start = self.start(key.served, path, boxes).ok_or(Counter::ClientNoRoute)?;
        let (source, route_mtu) = start;
        Ok(Outset { path_index, tried: 0, source, route_mtu, epoch })
    }

    /// The flow itself, or the one that takes its place if its path does not answer and another
    /// may. What is not answered yet may still be: it is kept until the other one is there.
    pub(super) fn rerouted(
        &self,
        flow: Arc<Flow<E::Lease>>,
        transport: Transport,
        now: Time,
    ) -> Arc<Flow<E::Lease>> {
        if !flow.has_given_up(now) {
            return flow;
        }
        let Some(way) = self.other_way(&flow, transport, now) else { return flow };
        let old = Arc::clone(&flow);
        let new = self.succeed(flow, way, transport, now);
        if !Arc::ptr_eq(&old, &new) {
            self.rerouted.fetch_add(1, Relaxed);
        }
        new
    }

    fn other_way(&self, flow: &Flow<E::Lease>, transport: Transport, now: Time) -> Option<Outset> {
        let may_serve = |path: &usize| flow.may_leave_for(*path, now);
        // Asked for every packet of a program that only sends.
        if !(0..flow.mapping.paths().paths().len()).any(|path| may_serve(&path)) {
            return None;
        }
        let others = self.ranking(&flow.mapping, &flow.key, now).into_iter().filter(may_serve);
        let mut ways =
            others.filter_map(|path| self.outset(&flow.mapping, path, &flow.key, transport).ok());
        let way = ways.find(|way| take(&flow.mapping, &flow.key, way.path_index, now))?;
        Some(Outset { tried: flow.tried | bit(flow.path_index), ..way })
    }

    /// An error about a flow's path: says whether the application is better not told, because another
    /// path may serve its next packet.
    pub(super) fn path_failed(&self, flow: &Flow<E::Lease>, now: Time) -> bool {
        // After the flow began, though the clock may not have moved since.
        let began = flow.began() + Duration::from_millis(1);
        flow.mapping.health().failed(flow.path_index, now.max(began));
        let may_serve = |(index, path)| {
            flow.may_leave_for(index, now) && self.admitted(&flow.key, path, flow.transport).is_ok()
        };
        let mut paths = flow.mapping.paths().paths().iter().enumerate();
        !flow.lifetime.answered() && paths.any(may_serve)
    }

    /// Paths by rendezvous hashing: an application's socket prefers one path to all hosts behind it, and
    /// keeps to it when others come or go, also after a restart. Those that begin at this host itself
    /// come first: no other is shorter.
    fn ranking(&self, mapping: &Mapping, key: &AppKey, now: Time) -> Vec<usize> {
        const SHORT: u64 = 1 << 63;
        let paths = mapping.paths().paths();
        let is_short =
            |path: &Path| self.boxes(path).is_some_and(|boxes| boxes.len() < path.hops().len());
        mapping.health().ranking(now, |path| {
            let path = &paths[path];
            weight(&PortKey::of(key), path) >> 1 | if is_short(path) { SHORT } else { 0 }
        })
    }
}

fn weight(key: &PortKey, path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, path).hash(&mut hasher);
    hasher.finish()
}
