//! Which servers the DNS proxy asks, in which order: those that failed lately come last.

use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// The most attempts that one question is worth.
pub const MAX_ATTEMPTS: usize = 6;
/// How long a server that did not answer stays behind the others.
const SHUNNED: Duration = Duration::from_secs(30);

/// The servers, as the configuration or resolv.conf(5) lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams(Vec<Upstream>);

/// One of the attempts that a question is worth. A datagram may be lost, so every server is asked twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Whom to ask.
    pub server: SocketAddr,
    /// Whether it was asked before.
    pub again: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Upstream {
    addr: SocketAddr,
    /// It did not answer; until then others come first.
    shunned_until: Time,
}

impl Upstreams {
    /// Takes another list; what is known of a server that is in both stays known.
    pub fn replace(&mut self, servers: impl IntoIterator<Item = SocketAddr>) {
        let known = |addr| self.0.iter().find(|one| one.addr == addr).cloned();
        let fresh = |addr| Upstream { addr, shunned_until: Time::default() };
        self.0 = servers.into_iter().map(|addr| known(addr).unwrap_or(fresh(addr))).collect();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whom to ask, one after the other until one answers.
    pub fn plan(&self, now: Time) -> Vec<Attempt> {
        let shunned = |one: &&Upstream| one.shunned_until > now;
        let (last, first): (Vec<_>, Vec<_>) = self.0.iter().partition(shunned);
        let all = |again| {
            let servers = first.iter().chain(&last);
            servers.map(move |one| Attempt { server: one.addr, again })
        };
        all(false).chain(all(true)).take(MAX_ATTEMPTS).collect()
    }

    /// A server did not answer in time, or could not.
    pub fn failed(&mut self, server: SocketAddr, now: Time) {
        self.set(server, now + SHUNNED);
    }

    /// A server answered.
    pub fn answered(&mut self, server: SocketAddr) {
        self.set(server, Time::default());
    }

    fn set(&mut self, server: SocketAddr, shunned_until: Time) {
        for one in self.0.iter_mut().filter(|one| one.addr == server) {
            one.shunned_until = shunned_until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Time = Time::from_millis(1_000_000);

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 53))
    }

    fn upstreams(count: u8) -> Upstreams {
        let mut upstreams = Upstreams::default();
        upstreams.replace((1..=count).map(addr));
        upstreams
    }

    fn plan(upstreams: &Upstreams, now: Time) -> Vec<u8> {
        let last = |addr: SocketAddr| match addr {
            SocketAddr::V4(addr) => addr.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        };
        upstreams.plan(now).into_iter().map(|attempt| last(attempt.server)).collect()
    }

    #[test]
    fn all_are_asked_in_their_order_and_once_more() {
        assert_eq!(plan(&upstreams(1), NOW), [1, 1]);
        assert_eq!(plan(&upstreams(2), NOW), [1, 2, 1, 2]);
        assert_eq!(
            upstreams(1).plan(NOW).iter().map(|one| one.again).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(plan(&upstreams(9), NOW), [1, 2, 3, 4, 5, 6]);
        assert!(upstreams(0).is_empty() && plan(&upstreams(0), NOW).is_empty());
    }

    #[test]
    fn one_that_failed_comes_last_for_a_while() {
        let mut upstreams = upstreams(2);
        upstreams.failed(addr(1), NOW);
        assert_eq!(plan(&upstreams, NOW), [2, 1, 2, 1]);
        assert_eq!(plan(&upstreams, NOW + SHUNNED), [1, 2, 1, 2]);
        upstreams.answered(addr(1));
        assert_eq!(plan(&upstreams, NOW), [1, 2, 1, 2]);
    }

    #[test]
    fn what_is_known_outlives_a_new_list() {
        let mut upstreams = upstreams(2);
        upstreams.failed(addr(1), NOW);
        upstreams.replace([addr(1), addr(3)]);
        assert_eq!(plan(&upstreams, NOW), [3, 1, 3, 1]);
    }

    proptest! {
        #[test]
        fn nobody_is_forgotten_in_a_round(count in 1u8..6, failed in prop::collection::vec(1u8..6, 0..6)) {
            let mut upstreams = upstreams(count);
            failed.iter().for_each(|&last| upstreams.failed(addr(last), NOW));
            let mut first_round = plan(&upstreams, NOW);
            first_round.truncate(count.into());
            first_round.sort();
            prop_assert_eq!(first_round, (1..=count).collect::<Vec<_>>());
        }
    }
}
