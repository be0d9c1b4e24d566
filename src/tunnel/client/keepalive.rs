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

/// What a keepalive consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A UDP payload, which leaves from the address that the route gives.
    Payload(Vec<u8>),
    /// A whole packet, because its source is another one.
    Packet(Vec<u8>),
}

/// A datagram that keeps a flow's mapping alive in NAT boxes on the way.
pub struct Keepalive<L> {
    /// The port to send it from.
    pub from: Arc<OuterPort<L>>,
    /// The outermost box.
    pub to: Hop,
    /// What to send from it.
    pub body: Body,
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
                || !flow.lifetime.may_speak(flow.transport)
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

    /// The outermost level is written by the kernel, as for any datagram of a socket, where it would
    /// write the flow's source.
    fn keepalive(&self, flow: &Flow<E::Lease>) -> Option<Keepalive<E::Lease>> {
        let mut front = Front::default();
        let content = Content { octets: 1, sum: Sum::of(&[KEEPALIVE]) };
        let (first, others) = flow.boxes().split_first()?;
        let by_kernel = matches!(*flow.lease, OuterPort::Own(_)) && !flow.is_peeled();
        let hops = if by_kernel { others } else { flow.boxes() };
        let hops = hops.iter().rev().map(|&hop| endpoint(hop));
        self.ids.encapsulate(&mut front, flow.outer(), hops, 0, content)?;
        let octets = [front.bytes(), &[KEEPALIVE]].concat();
        let body = if by_kernel { Body::Payload(octets) } else { Body::Packet(octets) };
        Some(Keepalive { from: Arc::clone(&flow.lease), to: *first, body })
    }
}
