//! What both roles share.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use crate::wire::outer::{self, Content};
use crate::wire::{Datagram, Endpoint};

use super::fate::Front;
use super::table::{Sharded, ShardedMap, is_scarce};

/// The host's own addresses.
pub trait Addresses: Send + Sync {
    /// Whether this host has the address on one of its interfaces.
    fn is_own(&self, addr: Ipv4Addr) -> bool;
    /// Whether the address belongs to a network that this host is attached to from inside.
    fn is_inside(&self, addr: Ipv4Addr) -> bool;
    /// Whether the address belongs to a network of this interface (its index), whose clients are
    /// served as well as those outside.
    fn is_hairpin(&self, interface: u32, addr: Ipv4Addr) -> bool;
}

/// A connection as the kernel's connection tracking has to know it: `from` is who opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: u8,
    /// Source of its first packet.
    pub from: Endpoint,
    /// Destination of its first packet.
    pub to: Endpoint,
}

/// Packets and octets of one direction of a flow, inner headers included.
#[derive(Debug, Default)]
pub struct Traffic {
    packets: AtomicU64,
    octets: AtomicU64,
}

impl Traffic {
    pub(super) fn add(&self, datagram: &Datagram) {
        self.packets.fetch_add(1, Relaxed);
        self.octets.fetch_add(datagram.octets.into(), Relaxed);
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Octets so far.
    pub fn octets(&self) -> u64 {
        self.octets.load(Relaxed)
    }
}

/// IPv4 identifications for outer headers, counted per destination (RFC 4963): destinations that
/// share a counter only use it up faster.
pub(super) struct Identifications {
    counters: Box<[AtomicU16; Self::COUNTERS]>,
    hasher: RandomState,
}

impl Identifications {
    const COUNTERS: usize = 1024;

    pub(super) fn new() -> Self {
        let hasher = RandomState::new();
        let first = |index: usize| AtomicU16::new(hasher.hash_one(index) as u16);
        Self { counters: Box::new(std::array::from_fn(first)), hasher }
    }

    fn next(&self, dst: Ipv4Addr) -> u16 {
        let index = self.hasher.hash_one(dst) as usize % Self::COUNTERS;
        self.counters[index].fetch_add(1, Relaxed)
    }

    /// Puts one level per hop in front, innermost written first; `None` if it does not fit.
    pub(super) fn encapsulate(
        &self,
        front: &mut Front,
        src: Endpoint,
        hops: impl Iterator<Item = Endpoint>,
        traffic_class: u8,
        mut content: Content,
    ) -> Option<Content> {
        front.clear();
        for hop in hops {
            let id = self.next(hop.addr);
            content = outer::write(front.level()?, src, hop, traffic_class, id, content)?;
        }
        Some(content)
    }
}

/// How many flows each host has, and may have.
pub(super) struct Quotas {
    hosts: ShardedMap<Ipv4Addr, Arc<AtomicU32>>,
    most: u32,
}

/// One of the flows that a host may have.
pub(super) struct Quota {
    taken: Arc<AtomicU32>,
    most: u32,
}

impl Quotas {
    pub(super) fn new(most: u32) -> Self {
        Self { hosts: Sharded::new(), most }
    }

    pub(super) fn take(&self, host: Ipv4Addr) -> Option<Quota> {
        let count = Arc::clone(self.hosts.write(&host).entry(host).or_default());
        let quota = Quota { taken: Arc::clone(&count), most: self.most };
        (count.fetch_add(1, Relaxed) < self.most).then_some(quota)
    }

    /// Forgets hosts without flows; call it now and then.
    pub(super) fn tidy(&self) {
        for shard in self.hosts.shards() {
            let mut hosts = shard.write().unwrap_or_else(PoisonError::into_inner);
            // Nobody can take a new reference while the shard is locked.
            hosts.retain(|_, count| Arc::strong_count(count) > 1);
        }
    }
}

impl Quota {
    /// Whether the host has few left.
    pub(super) fn is_scarce(&self) -> bool {
        is_scarce(self.taken.load(Relaxed) as usize, self.most as usize)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

/// An address that one host can have.
pub(super) fn is_host(addr: Ipv4Addr) -> bool {
    let first = addr.octets()[0];
    first != 0 && first != 127 && first < 224 && !addr.is_link_local()
}

/// A complete datagram as the content of a level.
pub(super) fn content_of(datagram: &Datagram, bytes: &[u8]) -> Content {
    Content { octets: bytes.len(), sum: datagram.sum(bytes) }
}

/// Combines the congestion marks of the headers that are taken off (RFC 6040). `None`: drop.
pub(super) fn take_congestion(inner: &mut Datagram, bytes: &mut [u8], outer: u8) -> Option<()> {
    let combined = crate::wire::ecn::decapsulated(inner.traffic_class, outer)?;
    if combined != inner.traffic_class {
        inner.set_traffic_class(bytes, combined);
    }
    Some(())
}
