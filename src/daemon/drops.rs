//! The packets that were not passed on last, for people who ask why.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use crate::counters::Counter;
use crate::time::Time;

/// So many are remembered.
const CAP: usize = 256;
/// Places of the addresses in an IPv4 header (RFC 791 §3.1).
const ADDRESSES: std::ops::Range<usize> = 12..20;

/// A packet that was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) reason: Counter,
    pub(super) at: Time,
    ends: [Ipv4Addr; 2],
}

/// The last of them. Only packets that go no further take its lock.
#[derive(Debug, Default)]
pub(super) struct Drops(Mutex<VecDeque<Dropped>>);

impl Drops {
    /// Remembers a packet, by its outermost header. What is no IPv4 has no addresses.
    pub(super) fn note(&self, packet: &[u8], reason: Counter, at: Time) {
        let Some(ends) = ends(packet) else { return };
        let mut drops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if drops.len() >= CAP {
            drops.pop_front();
        }
        drops.push_back(Dropped { reason, at, ends });
    }

    /// The last one to or from one of these addresses.
    pub(super) fn last(&self, addresses: &[Ipv4Addr]) -> Option<Dropped> {
        let drops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drops.iter().rev().find(|drop| drop.ends.iter().any(|end| addresses.contains(end))).copied()
    }
}

fn ends(packet: &[u8]) -> Option<[Ipv4Addr; 2]> {
    let octets: [u8; 8] = packet.get(ADDRESSES)?.try_into().ok()?;
    let [a, b, c, d, e, f, g, h] = octets;
    Some([Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: u8, to: u8) -> [u8; 20] {
        let mut packet = [0; 20];
        packet[15] = from;
        packet[19] = to;
        packet
    }

    fn host(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(0, 0, 0, last)
    }

    #[test]
    fn the_last_one_of_an_address_is_found_at_either_end() {
        let drops = Drops::default();
        drops.note(&packet(1, 2), Counter::Fragment, Time::from_millis(1));
        drops.note(&packet(2, 3), Counter::Malformed, Time::from_millis(2));
        let reason = |addresses: &[Ipv4Addr]| drops.last(addresses).map(|drop| drop.reason);
        assert_eq!(reason(&[host(1)]), Some(Counter::Fragment));
        assert_eq!(reason(&[host(2), host(1)]), Some(Counter::Malformed));
        assert_eq!(reason(&[host(9)]), None);
        assert_eq!(drops.last(&[host(3)]).map(|drop| drop.at), Some(Time::from_millis(2)));
    }

    #[test]
    fn the_oldest_are_forgotten_and_fragments_of_headers_ignored() {
        let drops = Drops::default();
        drops.note(&packet(1, 1)[..19], Counter::Truncated, Time::default());
        assert_eq!(drops.last(&[host(1)]), None);
        drops.note(&packet(1, 1), Counter::Truncated, Time::default());
        (0..CAP).for_each(|_| drops.note(&packet(2, 2), Counter::Malformed, Time::default()));
        assert_eq!(drops.last(&[host(1)]), None);
    }
}
