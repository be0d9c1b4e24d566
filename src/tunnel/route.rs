//! How outer packets leave this host, and the MTU that follows: that of their route, if it is smaller
//! than the configured one.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::common::Addresses;
use crate::time::Time;
use crate::wire::Datagram;
use crate::wire::outer::LEVEL;

/// No route counts for less, in octets. What the kernel knows of a path's MTU may come from a forged
/// ICMP error about another program's socket (RFC 5927 §7), and hardly any link carries less.
pub const LEAST_ROUTE_MTU: u16 = 1280;

/// A gateway's flow asks for its route again after this time at the earliest: a router's routes may
/// change all the time. A sender is told again after the same time.
const RENEWAL: Duration = Duration::from_secs(1);

/// How packets to some address leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Their source address.
    pub source: Ipv4Addr,
    /// The largest one that leaves in one piece, octets.
    pub mtu: u16,
}

/// This host's routes.
pub trait Routes: Addresses {
    /// How packets to `to` leave; `None` without a route.
    fn route(&self, to: Ipv4Addr) -> Option<Route>;
    /// Changes whenever routes or addresses may have changed.
    fn route_epoch(&self) -> u64;
    /// Sends an ICMP error of this host's own, a whole packet; the kernel fills its source in.
    fn report(&self, to: Ipv4Addr, error: &[u8]);
}

/// The largest outer packet to send, in octets, given what is configured and the route's MTU, if there
/// is a route.
pub fn working_mtu(configured: u16, route: Option<u16>) -> u16 {
    route.map_or(configured, |route| configured.min(route.max(LEAST_ROUTE_MTU)))
}

/// The MTU of a flow's route, as it was last asked for.
pub(super) struct RouteMtu {
    /// 0 without a route.
    octets: AtomicU16,
    epoch: AtomicU64,
    /// Milliseconds, as [`Time`] has them.
    asked: AtomicU64,
}

impl RouteMtu {
    /// It is asked for when it is needed.
    pub(super) fn unknown() -> Self {
        let (octets, epoch) = (AtomicU16::new(0), AtomicU64::new(u64::MAX));
        Self { octets, epoch, asked: AtomicU64::new(0) }
    }

    /// In octets; `ask` is called if the routes may have changed since the last time.
    pub(super) fn renewed(
        &self,
        epoch: u64,
        now: Time,
        ask: impl FnOnce() -> Option<u16>,
    ) -> Option<u16> {
        let asked = Time::from_millis(self.asked.load(Relaxed));
        if self.epoch.load(Relaxed) != epoch && now.since(asked) >= RENEWAL {
            self.octets.store(ask().unwrap_or(0), Relaxed);
            self.asked.store(now.as_millis(), Relaxed);
            self.epoch.store(epoch, Relaxed);
        }
        Some(self.octets.load(Relaxed)).filter(|&octets| octets > 0)
    }
}

/// When a sender was told last that its packets are too long.
#[derive(Debug, Default)]
pub(super) struct Told(AtomicU64);

impl Told {
    /// Whether to tell it now. It may need a while to take it in, and has more packets on the way.
    pub(super) fn is_due(&self, now: Time) -> bool {
        let last = self.0.load(Relaxed);
        let due = now.since(Time::from_millis(last)) >= RENEWAL;
        due && self.0.compare_exchange(last, now.as_millis(), Relaxed, Relaxed).is_ok()
    }
}

/// Packets that forbid fragments, but were larger than the MTU of their route with the tunnel's
/// headers: what left is fragments of an outer packet, whose DF is clear.
#[derive(Debug, Default)]
pub(super) struct Fragmented {
    packets: AtomicU64,
    /// Address of the last one, then 16 bits of MTU.
    last: AtomicU64,
}

impl Fragmented {
    /// A packet that is about to leave to `to` with so many levels in front; `mtu` is asked for only if it
    /// can matter. Says how large it should have been, octets, if its sender is to be told.
    pub(super) fn note(
        &self,
        packet: &[u8],
        levels: usize,
        to: Ipv4Addr,
        mtu: impl FnOnce() -> Option<u16>,
    ) -> Option<u16> {
        let headers = levels * LEVEL;
        let octets = packet.len() + headers;
        if octets <= usize::from(LEAST_ROUTE_MTU) || !Datagram::forbids_fragments(packet) {
            return None;
        }
        let mtu = mtu().filter(|&mtu| octets > usize::from(mtu))?;
        self.packets.fetch_add(1, Relaxed);
        self.last.store(u64::from(u32::from(to)) << 16 | u64::from(mtu), Relaxed);
        // Nobody's forged error takes others below that.
        let allowed = usize::from(mtu.max(LEAST_ROUTE_MTU));
        (octets > allowed).then_some((allowed - headers) as u16)
    }

    /// How many so far, where the last one went, and the MTU of the route there in octets.
    pub(super) fn seen(&self) -> (u64, Ipv4Addr, u16) {
        let last = self.last.load(Relaxed);
        (self.packets.load(Relaxed), ((last >> 16) as u32).into(), last as u16)
    }
}
