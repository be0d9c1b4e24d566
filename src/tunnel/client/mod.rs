//! The client role: packets of applications to mapped addresses leave through tunnels, and what
//! comes back is delivered as if it came from the mapped address.

mod direct;
mod errors;
mod flow;
mod incoming;
mod keepalive;
mod outer_port;
mod outgoing;
mod path_mtu;
mod paths;
mod restore;
mod silence;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::mapping::Mappings;
use crate::path::Hop;
use crate::time::Time;
use crate::wire::Endpoint;

use super::common::{Connection, Identifications, Quotas};
use super::path_mtu::PathMtus;
use super::route::{Fragmented, Routes};
use super::table::{FlowTable, Sharded, ShardedMap};
pub use direct::OwnGateway;
pub use flow::Flow;
use flow::{AppKey, OuterKey, PortKey, WireKey};
pub use keepalive::{Body, Keepalive};
use outer_port::ServedPorts;
pub use outer_port::{OuterPort, PortKind, ServedPort};

/// A port that nobody else on this host can use while the lease lives.
pub trait Lease: Send + Sync {
    /// The port, host order.
    fn port(&self) -> u16;
}

/// What the client role asks of the system around it.
pub trait Environment: Routes {
    /// How an outer port is owned.
    type Lease: Lease;

    /// Reserves a port, the preferred one (host order, 0 for any) if it is free.
    fn reserve(&self, kind: PortKind, preferred: u16) -> Option<Self::Lease>;
    /// Whether this host serves the networks that it has this address in: what comes with it may be forged.
    fn is_served(&self, addr: Ipv4Addr) -> bool;
    /// Whether there are few ports left, so that what is over has to give its own back.
    fn ports_are_scarce(&self) -> bool;
}

/// Settings of the client role.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest outer packet in octets, where the route's MTU is not smaller.
    pub mtu: u16,
    /// A live flow that has sent nothing for so long sends a keepalive.
    pub keepalive: Duration,
    /// Cap of the flow table.
    pub max_flows: usize,
    /// Cap of one served host.
    pub max_flows_per_host: u32,
    /// The gateway role of the same host.
    pub gateway: Option<OwnGateway>,
    /// What is known of whole paths; without it, only first links count.
    pub path_mtus: Option<Arc<PathMtus>>,
}

/// The client role. Shared by all workers.
pub struct Client<E: Environment> {
    settings: Settings,
    env: E,
    mappings: Arc<Mappings>,
    flows: FlowTable<AppKey, Flow<E::Lease>>,
    ports: ShardedMap<(PortKey, PortKind), Weak<OuterPort<E::Lease>>>,
    served_ports: ServedPorts,
    quotas: Quotas,
    /// For errors that quote no more than the outer header.
    by_port: ShardedMap<OuterKey, Vec<Weak<Flow<E::Lease>>>>,
    ids: Identifications,
    rerouted: AtomicU64,
    fragmented: Fragmented,
}

/// Where an application's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From this host.
    Here,
    /// From a host that it serves.
    Served,
}

impl<E: Environment> Client<E> {
    /// A client role without flows.
    pub fn new(settings: Settings, env: E, mappings: Arc<Mappings>) -> Self {
        let flows = FlowTable::new(settings.max_flows);
        let (ports, by_port) = (Sharded::new(), Sharded::new());
        let (served_ports, ids) = (ServedPorts::new(), Identifications::new());
        let quotas = Quotas::new(settings.max_flows_per_host);
        let (rerouted, fragmented) = (AtomicU64::new(0), Fragmented::default());
        Self {
            settings,
            env,
            mappings,
            flows,
            ports,
            served_ports,
            quotas,
            by_port,
            ids,
            rerouted,
            fragmented,
        }
    }

    /// The mapped addresses that it serves.
    pub fn mappings(&self) -> &Arc<Mappings> {
        &self.mappings
    }

    /// Removes what has expired, and notes which paths stay silent; call it about once a second.
    pub fn expire(&self, now: Time) -> usize {
        self.flows.each(|_, flow| _ = flow.has_given_up(now));
        let no_ports = self.env.ports_are_scarce();
        let removed = self.flows.expire(now, |flow| flow.has_little_room(no_ports));
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

    /// What the kernel tracks of at least `least` flows that were answered, in turns (see `FlowTable::some`).
    pub fn some_connections(&self, turn: &mut usize, least: usize) -> HashSet<Connection> {
        let mut connections = HashSet::new();
        self.flows.some(turn, least, |flow| {
            flow.connection().is_some_and(|connection| connections.insert(connection))
        });
        connections
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

    /// How many packets with DF left in fragments of their outer packet; the first box of the last
    /// one, and the MTU of the route there in octets.
    pub fn fragmented(&self) -> (u64, Ipv4Addr, u16) {
        self.fragmented.seen()
    }

    /// Visits every flow.
    pub fn each_flow(&self, mut visit: impl FnMut(&Flow<E::Lease>)) {
        self.flows.each(|_, flow| visit(flow));
    }
}

#[cfg(test)]
impl<E: Environment> Client<E> {
    /// How many keys of flows are noted for eviction.
    pub(super) fn noted(&self) -> usize {
        self.flows.noted()
    }
}

fn endpoint(hop: Hop) -> Endpoint {
    Endpoint { addr: hop.addr, port: hop.port }
}
