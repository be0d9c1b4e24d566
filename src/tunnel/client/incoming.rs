//! What comes back: tunnel packets to deliver to the application that opened their flow, and nobody
//! else.

use super::errors::Way;
use super::flow::WireKey;
use super::{Client, Environment, Flow, Origin, endpoint};
use crate::counters::Counter;
use crate::path::MAX_HOPS;
use crate::time::Time;
use crate::tunnel::common::take_congestion;
use crate::tunnel::fate::Fate;
use crate::wire::datagram::Transport;
use crate::wire::outer::LEVEL;
use crate::wire::{Datagram, Endpoint, ecn};

impl<E: Environment> Client<E> {
    /// A packet that came back on a flow's outer port, or an ICMP error about one from there.
    /// `to` tells whether it is for this host or passes through.
    pub fn incoming(&self, packet: &mut [u8], to: Origin, now: Time) -> Fate {
        let served = |packet: &Datagram| (to == Origin::Served).then_some(packet.dst.addr);
        let parsed = Datagram::parse(packet);
        if let Ok(reply) = parsed
            && let Some(flow) = self.direct_flow(served(&reply), &reply)
        {
            return self.deliver_direct(&flow, reply, packet, now);
        }
        let outer = match parsed {
            Ok(outer) if outer.transport == Transport::Udp => outer,
            Ok(error) if error.transport == Transport::IcmpError => {
                return self.error_from_way(Way::of(served(&error)), &error, packet, now);
            }
            Ok(_) => return Fate::Dropped(Counter::ClientStrayReply),
            Err(flaw) => return flaw.into(),
        };
        let mut middle = Levels::default();
        for levels in 1..=MAX_HOPS {
            let skip = levels * LEVEL;
            let mut inner = match Datagram::parse(&packet[skip..]) {
                Ok(inner) => inner,
                Err(flaw) if levels == 1 => return flaw.into(),
                // The payload of an unknown UDP datagram need not be a packet.
                Err(_) => break,
            };
            if inner.transport == Transport::IcmpError {
                let way = Way::of(served(&outer));
                return self.error_from_tunnel(way, &outer, &middle, packet, now);
            }
            let key = WireKey::of_reply(served(&outer), &outer, levels, &inner);
            if let Some(flow) = self.flows.reverse(&key) {
                return self.deliver(&flow, &middle, &outer, &mut inner, &mut packet[skip..], now);
            }
            if inner.transport != Transport::Udp {
                break;
            }
            middle.push(inner);
        }
        Fate::Dropped(Counter::ClientStrayReply)
    }

    pub(super) fn deliver(
        &self,
        flow: &Flow<E::Lease>,
        middle: &Levels,
        outer: &Datagram,
        inner: &mut Datagram,
        bytes: &mut [u8],
        now: Time,
    ) -> Fate {
        if !middle.answer(flow) || !flow.transport.is_answered_by(inner.transport) {
            return Fate::Dropped(Counter::ClientStrayReply);
        }
        // Simultaneous open (RFC 5382 REQ-2) is an answer to our SYN; later, a SYN without an ACK
        // would open a connection from outside.
        if inner.transport.opens_connection() && flow.lifetime.answered() {
            return Fate::Dropped(Counter::ClientOpening);
        }
        if flow.lifetime.expires(flow.transport) <= now {
            return Fate::Dropped(Counter::ClientStale);
        }
        let outer_class = middle.traffic_class_below(outer.traffic_class);
        if outer_class.and_then(|class| take_congestion(inner, bytes, class)).is_none() {
            return Fate::Dropped(Counter::Congestion);
        }
        flow.note_answer(inner.transport, now);
        flow.received.add(inner);
        self.clamp(flow, inner, bytes);
        self.note_path(flow, now);
        inner.readdress(bytes, flow.key.mapped, flow.key.application);
        let skip = flow.wire.levels * LEVEL;
        Fate::Decapsulated { skip, counter: Counter::ClientDecapsulated }
    }
}

/// The levels between the outermost and the innermost header, as they arrived.
#[derive(Default)]
pub(super) struct Levels {
    pub(super) levels: [Option<Datagram>; MAX_HOPS],
    len: usize,
}

impl Levels {
    pub(super) fn push(&mut self, level: Datagram) {
        if let Some(slot) = self.levels.get_mut(self.len) {
            *slot = Some(level);
            self.len += 1;
        }
    }

    /// What the innermost header meets when all levels are taken off one after the other
    /// (RFC 6040 §4.2). `None`: drop.
    pub(super) fn traffic_class_below(&self, outermost: u8) -> Option<u8> {
        let levels = self.levels.iter().flatten();
        levels
            .map(|level| level.traffic_class)
            .try_fold(outermost, |outer, inner| ecn::decapsulated(inner, outer))
    }

    /// Whether they are the exact reverse of the flow's levels behind the first box.
    pub(super) fn answer<L>(&self, flow: &Flow<L>) -> bool {
        let boxes = flow.boxes().get(1..).unwrap_or_default();
        // Answers to packets from before a change of this host's address may still be on the way.
        let ours = [flow.outer(), Endpoint { addr: flow.wire.inner.addr, port: flow.wire.port }];
        let matches =
            |level: &Datagram, hop| level.src == endpoint(hop) && ours.contains(&level.dst);
        let levels = self.levels.iter().flatten();
        self.len == boxes.len() && levels.zip(boxes).all(|(level, &hop)| matches(level, hop))
    }
}
