//! What keeps a flow's mapping alive in the NAT boxes on the way.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Client, Environment, Flow, OuterPort, endpoint};
use crate::path::Hop;
use crate::time::Time;
use crate::tunnel::fate::Front;
use crate::wire::checksum::Sum;
use crate::wire::outer::Content;

/// The payload of a keepalive (RFC 3948 §2.3).
const KEEPALIVE: u8 = 0xff;

/// A datagram that keeps a flow's mapping alive in NAT boxes on the way.
pub struct Keepalive<L> {
    /// The port to send it from.
    pub from: Arc<OuterPort<L>>,
    /// The outermost box.
    pub to: Hop,
    /// UDP payload; for a served host's port the whole packet.
    pub payload: Vec<u8>,
}

impl<E: Environment> Client<E> {
    /// The keepalives that are due: one per outer port and path.
    pub fn keepalives(&self, now: Time) -> Vec<Keepalive<E::Lease>> {
        let mut due = Vec::new();
        let mut seen = HashSet::new();
        self.flows.each(|_, flow| {
            let quiet = now.since(Time::from_millis(flow.last_sent.load(Relaxed)));
            if flow.is_direct()
                || quiet < self.settings.keepalive
                || flow.lifetime.expires(flow.transport) <= now
                || flow.lifetime.is_over(flow.transport)
            {
                return;
            }
            flow.last_sent.store(now.as_millis(), Relaxed);
            if seen.insert((flow.wire.served, flow.wire.port, flow.path.clone())) {
                due.extend(self.keepalive(flow));
            }
        });
        due
    }

    /// The outermost level is written by the kernel, as for any datagram of a socket; but not that of a
    /// served host.
    fn keepalive(&self, flow: &Flow<E::Lease>) -> Option<Keepalive<E::Lease>> {
        let mut front = Front::default();
        let content = Content { octets: 1, sum: Sum::of(&[KEEPALIVE]) };
        let written_here = match *flow.lease {
            OuterPort::Own(_) => &flow.path.hops()[1..],
            OuterPort::Served(_) => flow.path.hops(),
        };
        let hops = written_here.iter().rev().map(|&hop| endpoint(hop));
        self.ids.encapsulate(&mut front, flow.outer(), hops, 0, content)?;
        let payload = [front.bytes(), &[KEEPALIVE]].concat();
        Some(Keepalive { from: Arc::clone(&flow.lease), to: flow.path.first(), payload })
    }
}
