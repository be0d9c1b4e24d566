//! One mapped address and what holds it.

use std::net::Ipv4Addr;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::health::Health;
use crate::path::PathSet;
use crate::time::Time;

/// The most names one mapping remembers; the newest are kept.
pub const MAX_NAMES: usize = 8;

/// The longest that an address rests which no flow ever used: few applications connect so long after
/// the TTL of what they were told, and anybody's zone can make this host map addresses.
const UNUSED_REST: Duration = Duration::from_secs(120);

/// The shortest that an address stays after an answer or a flow, whatever the TTL, however full the
/// table: an application connects to what it was told, even if that was valid for no time at all.
const GRACE: Duration = Duration::from_secs(10);

/// How long an address rests after its TTL and its last flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// After a flow used it.
    used: Duration,
    /// If no flow ever did.
    unused: Duration,
}

impl Rest {
    pub(super) fn new(quarantine: Duration) -> Self {
        Self { used: quarantine, unused: quarantine.min(UNUSED_REST) }
    }

    /// While there is no room for a new mapping, unused addresses do not rest after their TTL.
    pub(super) fn without_room(self) -> Self {
        Self { unused: Duration::ZERO, ..self }
    }
}

/// Stands in the flow count of a mapping that has left the table.
const RETIRED: u32 = u32::MAX;

/// A mapped address: the path set it stands for, the names that led to it, and what holds it.
///
/// Shared by all workers. Only the table makes and retires one.
#[derive(Debug)]
pub struct Mapping {
    addr: Ipv4Addr,
    paths: PathSet,
    health: Health,
    /// Newest first; at most [`MAX_NAMES`].
    names: Mutex<Vec<String>>,
    /// Live flows, or [`RETIRED`].
    flows: AtomicU32,
    /// Whether a flow ever used it, or may have before a restart.
    used: AtomicBool,
    /// Counts the mappings of a table that became used.
    first_uses: Arc<AtomicU64>,
    /// When the last TTL that was told to an application ends, as [`Time`] milliseconds.
    expires: AtomicU64,
    /// When a flow last ended or a DNS answer was last given, as [`Time`] milliseconds.
    last_used: AtomicU64,
    /// When it was read back from disk: flows that lived then are not counted any more, but the
    /// applications behind them may have survived the restart.
    restored: Option<Time>,
}

impl Mapping {
    /// The mapped address.
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// The paths to the host it stands for.
    pub fn paths(&self) -> &PathSet {
        &self.paths
    }

    /// Which of them answer, by their index. It is not saved.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The names that led to it in presentation form, newest first.
    pub fn names(&self) -> Vec<String> {
        self.lock_names().clone()
    }

    /// The name that led to it last.
    pub fn name(&self) -> Option<String> {
        self.lock_names().first().cloned()
    }

    /// Whether a flow ever used it, or may have.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Relaxed)
    }

    /// How many flows use it.
    pub fn flows(&self) -> u32 {
        match self.flows.load(Relaxed) {
            RETIRED => 0,
            flows => flows,
        }
    }

    /// When the last TTL told to an application ends.
    pub fn expires(&self) -> Time {
        Time::from_millis(self.expires.load(Relaxed))
    }

    /// When a flow last ended or a DNS answer was last given.
    pub fn last_used(&self) -> Time {
        Time::from_millis(self.last_used.load(Relaxed))
    }

    /// Whether a TTL or a flow holds it; otherwise only the quarantine does.
    pub fn is_live(&self, now: Time) -> bool {
        self.flows() > 0 || now < self.expires()
    }

    /// A flow begins to use the address; [`unpin`](Self::unpin) once it ends.
    ///
    /// False if the mapping left the table since it was looked up: its address may stand for
    /// another host by now, so the packet must be treated as one to an unmapped address.
    #[must_use = "a mapping that could not be pinned must not be used"]
    pub fn pin(&self) -> bool {
        // Before the count rises: whoever sees the flow gone must see that there was one.
        if !self.used.swap(true, Relaxed) {
            self.first_uses.fetch_add(1, Relaxed);
        }
        let one_more = |flows: u32| flows.checked_add(1).filter(|&flows| flows != RETIRED);
        self.flows.fetch_update(AcqRel, Acquire, one_more).is_ok()
    }

    /// A flow that had pinned the mapping ended.
    pub fn unpin(&self, now: Time) {
        // Before the count falls: whoever sees no flow must see the quarantine that follows it.
        self.last_used.fetch_max(now.as_millis(), Relaxed);
        let one_less = |flows: u32| if flows == RETIRED { None } else { flows.checked_sub(1) };
        let before = self.flows.fetch_update(AcqRel, Acquire, one_less);
        debug_assert!(before.is_ok(), "unpin without pin");
    }

    /// A mapping that nothing holds yet. Its first use will be counted.
    pub(super) fn new(addr: Ipv4Addr, paths: PathSet, first_uses: &Arc<AtomicU64>) -> Self {
        Self {
            addr,
            health: Health::new(paths.paths().len()),
            paths,
            names: Mutex::default(),
            flows: AtomicU32::new(0),
            used: AtomicBool::new(false),
            first_uses: Arc::clone(first_uses),
            expires: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            restored: None,
        }
    }

    /// The same mapping as it was read from disk at `now`.
    pub(super) fn restored(self, used: bool, now: Time) -> Self {
        Self { restored: Some(now), used: AtomicBool::new(used), ..self }
    }

    /// An answer with this address was given: it stays valid until `expires`.
    pub(super) fn answered(&self, expires: Time, last_used: Time) {
        self.expires.fetch_max(expires.as_millis(), Relaxed);
        self.last_used.fetch_max(last_used.as_millis(), Relaxed);
    }

    /// Remembers `name` as the newest, and forgets the oldest if there are too many.
    pub(super) fn add_name(&self, name: &str) {
        let mut names = self.lock_names();
        match names.iter().position(|known| known == name) {
            Some(known) => names[..=known].rotate_right(1),
            None => names.insert(0, name.to_owned()),
        }
        names.truncate(MAX_NAMES);
    }

    /// When the address can be given to another path set, if no flow begins in the meantime.
    ///
    /// A flow that lives at `now` ends at `now` or later, and the quarantine follows it.
    pub(super) fn held_until(&self, rest: Rest, now: Time) -> Time {
        let rest = if self.is_used() { rest.used } else { rest.unused };
        let flow = if self.flows() > 0 { now } else { Time::default() };
        let restored = self.restored.unwrap_or_default();
        let last = flow.max(restored).max(self.last_used());
        (last + GRACE).max(last.max(self.expires()) + rest)
    }

    /// Takes the mapping out of use if nothing holds it: no flow can pin it any more.
    pub(super) fn retire(&self, rest: Rest, now: Time) -> bool {
        if self.flows() > 0 || now < self.held_until(rest, now) {
            return false;
        }
        if self.flows.compare_exchange(0, RETIRED, AcqRel, Acquire).is_err() {
            return false;
        }
        // A flow may have come and gone between the two checks; its quarantine counts.
        let held = now < self.held_until(rest, now);
        if held {
            self.flows.store(0, Relaxed);
        }
        !held
    }

    fn lock_names(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarantine() -> Rest {
        Rest::new(Duration::from_secs(60))
    }

    fn mapping() -> Mapping {
        let path = "203.0.113.1:100 192.168.0.2".parse().expect("a path");
        let paths = PathSet::new(vec![path]).expect("a path");
        Mapping::new(Ipv4Addr::new(127, 64, 0, 1), paths, &Arc::default())
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_retired_mapping_cannot_be_pinned() {
        let mapping = mapping();
        mapping.answered(at(10), at(0));
        assert!(!mapping.retire(quarantine(), at(69)));
        assert!(mapping.retire(quarantine(), at(70)));
        assert!(!mapping.pin());
        assert_eq!(mapping.flows(), 0);
    }

    #[test]
    fn the_quarantine_begins_when_the_last_flow_ends() {
        let mapping = mapping();
        assert!(mapping.pin() && mapping.pin());
        mapping.unpin(at(100));
        assert!(!mapping.retire(quarantine(), at(1000)));
        mapping.unpin(at(2000));
        assert!(!mapping.retire(quarantine(), at(2059)));
        assert!(mapping.retire(quarantine(), at(2060)));
    }

    #[test]
    fn an_address_that_no_flow_used_rests_shortly() {
        let long = Rest::new(Duration::from_secs(3600));
        let (unused, used) = (mapping(), mapping());
        unused.answered(at(10), at(0));
        used.answered(at(10), at(0));
        assert!(used.pin());
        used.unpin(at(5));
        assert!(!unused.retire(long, at(129)) && !used.retire(long, at(3609)));
        assert!(unused.retire(long, at(130)) && used.retire(long, at(3610)));
    }

    #[test]
    fn without_room_only_unused_addresses_lose_their_rest() {
        let hard = Rest::new(Duration::from_secs(60)).without_room();
        let (unused, restored) = (mapping(), mapping().restored(true, at(0)));
        unused.answered(at(10), at(0));
        assert!(!unused.retire(hard, at(9)) && !restored.retire(hard, at(59)));
        assert!(unused.retire(hard, at(10)) && restored.retire(hard, at(60)));
    }

    #[test]
    fn an_address_just_told_is_kept_whatever_the_ttl() {
        let hard = Rest::new(Duration::ZERO).without_room();
        let (told, used, restored) = (mapping(), mapping(), mapping().restored(false, at(100)));
        told.answered(at(100), at(100));
        assert!(used.pin());
        used.unpin(at(100));
        for mapping in [told, used, restored] {
            assert!(!mapping.retire(hard, at(109)));
            assert!(mapping.retire(hard, at(110)));
        }
    }

    #[test]
    fn a_restart_begins_a_quarantine() {
        let mapping = mapping().restored(true, at(500));
        assert!(!mapping.retire(quarantine(), at(559)));
        assert!(mapping.retire(quarantine(), at(560)));
    }

    #[test]
    fn the_newest_names_are_kept() {
        let mapping = mapping();
        (0..10).for_each(|n| mapping.add_name(&format!("n{n}.")));
        mapping.add_name("n3.");
        assert_eq!(mapping.names(), ["n3.", "n9.", "n8.", "n7.", "n6.", "n5.", "n4.", "n2."]);
        assert_eq!(mapping.names().len(), MAX_NAMES);
    }
}
