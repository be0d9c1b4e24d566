//! Which of a mapping's alternative paths answer. Nothing probes them: what flows meet is remembered.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Time;

/// A path that did not answer is avoided for so long; then one flow tries it again.
pub const RETRY: Duration = Duration::from_secs(60);

/// What is known of each path of a set, by its index. Shared by all workers.
#[derive(Debug)]
pub struct Health {
    paths: Vec<State>,
    talkers: Talkers,
}

/// The ports of the host that answered last, whatever the path.
#[derive(Debug, Default)]
struct Talkers {
    /// Protocol and port; 0 is none.
    ports: [AtomicU32; Self::MOST],
    next: AtomicUsize,
}

impl Talkers {
    const MOST: usize = 32;

    fn key(protocol: u8, port: u16) -> u32 {
        1 << 24 | u32::from(protocol) << 16 | u32::from(port)
    }

    fn includes(&self, key: u32) -> bool {
        self.ports.iter().any(|port| port.load(Relaxed) == key)
    }

    /// The one that was noted first makes room.
    fn note(&self, key: u32) {
        if !self.includes(key) {
            let next = self.next.fetch_add(1, Relaxed) % Self::MOST;
            self.ports[next].store(key, Relaxed);
        }
    }
}

/// Times as [`Time`] milliseconds; 0 is never.
#[derive(Debug, Default)]
struct State {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Whether a path is worth using.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Good,
    /// It did not answer, but that was long ago.
    Due,
    /// It did not answer.
    Bad,
}

impl Health {
    /// Nothing is known of any path.
    pub(super) fn new(paths: usize) -> Self {
        let paths = (0..paths).map(|_| State::default()).collect();
        Self { paths, talkers: Talkers::default() }
    }

    /// Whether there is a choice at all.
    pub fn has_choice(&self) -> bool {
        self.paths.len() > 1
    }

    /// A port of the host has answered. `port` is 0 where there are none.
    pub fn port_answered(&self, protocol: u8, port: u16) {
        if self.has_choice() {
            self.talkers.note(Talkers::key(protocol, port));
        }
    }

    /// Whether a port of the host is known to answer.
    pub fn port_answers(&self, protocol: u8, port: u16) -> bool {
        self.talkers.includes(Talkers::key(protocol, port))
    }

    /// Something came back through a path.
    pub fn answered(&self, path: usize, now: Time) {
        let Some(state) = self.paths.get(path).filter(|_| self.has_choice()) else { return };
        // Every packet is an answer: workers write where they share no more than once a millisecond.
        if state.answered.load(Relaxed) < now.as_millis() {
            state.answered.fetch_max(now.as_millis(), Relaxed);
        }
    }

    /// Nothing came back through a path, or an error did.
    pub fn failed(&self, path: usize, now: Time) {
        if let Some(state) = self.paths.get(path).filter(|_| self.has_choice()) {
            state.failed.fetch_max(now.as_millis(), Relaxed);
        }
    }

    /// Whether a path has answered at `since` or later.
    pub fn answered_since(&self, path: usize, since: Time) -> bool {
        let answered = self.paths.get(path).map_or(0, |state| state.answered.load(Relaxed));
        answered > 0 && answered >= since.as_millis()
    }

    /// Whether a path failed after `since`, and has not answered after that.
    pub fn failed_since(&self, path: usize, since: Time) -> bool {
        self.paths.get(path).is_some_and(|state| {
            let failed = state.failed.load(Relaxed);
            failed > since.as_millis() && failed > state.answered.load(Relaxed)
        })
    }

    /// Whether a path is worth using now.
    pub fn standing(&self, path: usize, now: Time) -> Standing {
        let Some(state) = self.paths.get(path) else { return Standing::Bad };
        let failed = state.failed.load(Relaxed);
        if failed == 0 || state.answered.load(Relaxed) >= failed {
            Standing::Good
        } else if now >= Time::from_millis(failed) + RETRY {
            Standing::Due
        } else {
            Standing::Bad
        }
    }

    /// Takes a path for a flow, unless it is bad. One that is due is taken by one flow only; the
    /// others wait for what that one meets.
    pub fn take(&self, path: usize, now: Time) -> bool {
        match (self.standing(path, now), self.paths.get(path)) {
            (Standing::Good, _) => true,
            (Standing::Due, Some(state)) => {
                let failed = state.failed.load(Relaxed);
                let is_due = now >= Time::from_millis(failed) + RETRY;
                let now = now.as_millis();
                is_due && state.failed.compare_exchange(failed, now, Relaxed, Relaxed).is_ok()
            }
            _ => false,
        }
    }

    /// Every path, the best first: those of highest `weight`, then the bad ones, of which the one
    /// that failed longest ago is the most likely to work again.
    pub fn ranking(&self, now: Time, weight: impl Fn(usize) -> u64) -> Vec<usize> {
        let mut paths: Vec<usize> = (0..self.paths.len()).collect();
        paths.sort_by_cached_key(|&path| {
            let state = &self.paths[path];
            match self.standing(path, now) {
                Standing::Bad => (true, state.failed.load(Relaxed), Reverse(0)),
                Standing::Good | Standing::Due => (false, 0, Reverse(weight(path))),
            }
        });
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Time = Time::from_millis(1_000_000);

    fn at(millis: u64) -> Time {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn a_path_that_failed_is_tried_again_by_one_flow() {
        let health = Health::new(2);
        assert!(health.take(0, at(0)));
        health.failed(0, at(10));
        assert_eq!(health.standing(0, at(60_009)), Standing::Bad);
        assert!(!health.take(0, at(60_009)) && health.take(1, at(60_009)));
        assert_eq!(health.standing(0, at(60_010)), Standing::Due);
        assert!(health.take(0, at(60_010)));
        assert!(!health.take(0, at(60_010)) && !health.take(0, at(100_000)));
        health.answered(0, at(60_020));
        assert!(health.take(0, at(60_020)));
    }

    #[test]
    fn an_answer_after_a_failure_counts() {
        let health = Health::new(2);
        health.answered(0, at(0));
        health.failed(0, at(50));
        assert!(health.failed_since(0, at(49)) && !health.failed_since(0, at(50)));
        health.answered(0, at(60));
        assert_eq!(health.standing(0, at(60)), Standing::Good);
        assert!(!health.failed_since(0, at(49)));
        assert!(health.answered_since(0, at(60)) && !health.answered_since(1, at(0)));
    }

    /// A flow that begins between two packets of a busy path is answered by the second.
    #[test]
    fn no_answer_is_forgotten() {
        let health = Health::new(2);
        health.answered(0, at(0));
        health.answered(0, at(3));
        assert!(health.answered_since(0, at(2)) && !health.answered_since(0, at(4)));
        health.answered(0, at(1));
        assert!(health.answered_since(0, at(3)), "workers' clocks differ");
    }

    #[test]
    fn the_ports_that_answered_last_are_known() {
        let (health, only) = (Health::new(2), Health::new(1));
        for port in 0..40 {
            health.port_answered(17, port);
            health.port_answered(17, port);
        }
        only.port_answered(17, 1);
        let known = (0..=u16::MAX).filter(|&port| health.port_answers(17, port));
        assert!(known.eq(8..40));
        assert!(!health.port_answers(136, 20) && !only.port_answers(17, 1));
    }

    #[test]
    fn the_only_path_is_always_good() {
        let health = Health::new(1);
        health.failed(0, at(0));
        assert_eq!(health.standing(0, at(1)), Standing::Good);
    }

    #[test]
    fn bad_paths_come_last_and_the_longest_bad_of_them_first() {
        let health = Health::new(4);
        let ranking = |now| health.ranking(now, |path| [5, 9, 7, 8][path]);
        assert_eq!(ranking(at(0)), [1, 3, 2, 0]);
        health.failed(1, at(2));
        health.failed(3, at(1));
        assert_eq!(ranking(at(3)), [2, 0, 3, 1]);
        assert_eq!(ranking(at(60_001)), [3, 2, 0, 1], "3 is due again");
    }

    #[derive(Debug, Clone)]
    enum Act {
        Answered(usize),
        Failed(usize),
        Take(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0usize..3).prop_map(Act::Answered),
            (0usize..3).prop_map(Act::Failed),
            (0usize..3).prop_map(Act::Take),
        ]
    }

    proptest! {
        /// Between a failure and the next answer a path is taken at most once in a minute.
        #[test]
        fn a_bad_path_is_seldom_tried(acts in prop::collection::vec((act(), 0u64..40_000), 0..60)) {
            let health = Health::new(3);
            let mut bad_since = [None; 3];
            let mut now = at(0);
            for (act, wait) in acts {
                now = now + Duration::from_millis(wait + 1);
                match act {
                    Act::Answered(path) => {
                        health.answered(path, now);
                        bad_since[path] = None;
                    }
                    Act::Failed(path) => {
                        health.failed(path, now);
                        bad_since[path] = Some(now);
                    }
                    Act::Take(path) => {
                        let expected = bad_since[path].is_none_or(|since| now >= since + RETRY);
                        prop_assert_eq!(health.take(path, now), expected);
                        if bad_since[path].is_some() && expected {
                            bad_since[path] = Some(now);
                        }
                    }
                }
                let mut ranking = health.ranking(now, |path| path as u64);
                let bad = |path: &usize| health.standing(*path, now) == Standing::Bad;
                prop_assert!(ranking.is_sorted_by_key(bad));
                ranking.sort();
                prop_assert_eq!(ranking, [0, 1, 2]);
            }
        }
    }
}
