//! Flow tables that workers share: every flow is found by two keys, one for each direction.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::time::Time;

/// Many small locks instead of one, so that workers seldom meet.
const SHARDS: usize = 64;
/// How many flows one packet may look at for one that can be evicted.
const EVICTION_STEPS: usize = 256;
/// How many new flows are remembered until somebody looks.
const MAX_FRESH: usize = 65_536;

/// Whether so few places are left that what is over must make room: less than a quarter.
pub(super) fn is_scarce(used: usize, cap: usize) -> bool {
    used > cap / 4 * 3
}

/// What a table must know of its flows.
pub(super) trait Entry {
    /// Key for the packets that come back.
    type Reverse: Hash + Eq + Copy;

    fn reverse_key(&self) -> Self::Reverse;
    fn expires(&self) -> Time;
    /// When it ends where room is scarce; no later than it ends anyway.
    fn expires_if_scarce(&self) -> Time;
    fn answered(&self) -> bool;
}

/// Values in small locks, found by a key that is hashed with a random one: peers choose the
/// addresses and ports in it.
pub(super) struct Sharded<S> {
    shards: Vec<RwLock<S>>,
    hasher: RandomState,
}

/// A map of small locks.
pub(super) type ShardedMap<K, V> = Sharded<HashMap<K, V>>;

impl<S: Default> Sharded<S> {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    pub(super) fn read(&self, key: &impl Hash) -> RwLockReadGuard<'_, S> {
        self.shards[self.index(key)].read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, key: &impl Hash) -> RwLockWriteGuard<'_, S> {
        write(&self.shards[self.index(key)])
    }

    pub(super) fn shards(&self) -> &[RwLock<S>] {
        &self.shards
    }

    fn index(&self, key: &impl Hash) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }
}

fn write<S>(shard: &RwLock<S>) -> RwLockWriteGuard<'_, S> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// Why a flow was not added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The cap is reached and nothing may be evicted.
    Full,
    /// None of the reverse keys on offer was free.
    Conflict,
}

/// Flows by forward key and by reverse key.
///
/// Locks are taken in this order only: a shard of the forward map, then one of the reverse map.
pub(super) struct FlowTable<F, V: Entry> {
    forward: Sharded<Forward<F, V>>,
    reverse: ShardedMap<V::Reverse, Arc<V>>,
    /// Keys of flows that were added since the last look.
    fresh: Mutex<Vec<F>>,
    any_fresh: AtomicBool,
    len: AtomicUsize,
    evicted: AtomicU64,
    cap: usize,
}

/// A shard of the forward map.
struct Forward<F, V> {
    flows: HashMap<F, Opened<V>>,
    /// Keys in the order in which their flows were opened, with their turns. Some have gone, some were
    /// answered since.
    opened: VecDeque<(u64, F)>,
    turn: u64,
}

/// A flow, and when it was opened: keys come and go, and come again.
struct Opened<V> {
    flow: Arc<V>,
    turn: u64,
}

impl<F, V> Default for Forward<F, V> {
    fn default() -> Self {
        Self { flows: HashMap::new(), opened: VecDeque::new(), turn: 0 }
    }
}

impl<F: Hash + Eq + Copy, V: Entry> FlowTable<F, V> {
    pub(super) fn new(cap: usize) -> Self {
        let (len, evicted) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (forward, reverse) = (Sharded::new(), Sharded::new());
        Self {
            forward,
            reverse,
            fresh: Mutex::default(),
            any_fresh: AtomicBool::new(false),
            len,
            evicted,
            cap,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// How many unanswered flows have made room for others.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    pub(super) fn forward(&self, key: &F) -> Option<Arc<V>> {
        self.forward.read(key).flows.get(key).map(|opened| Arc::clone(&opened.flow))
    }

    pub(super) fn reverse(&self, key: &V::Reverse) -> Option<Arc<V>> {
        self.reverse.read(key).get(key).cloned()
    }

    /// Adds the flow that `make` returns for one of the reverse keys on offer, or returns the one
    /// that another worker was first to add.
    pub(super) fn add(
        &self,
        key: F,
        offers: impl IntoIterator<Item = V::Reverse>,
        make: impl FnOnce(V::Reverse) -> V,
    ) -> Result<Arc<V>, Refusal> {
        let (flow, new) = self.insert(key, offers, make).ok_or(Refusal::Conflict)?;
        // Only now: a flow that finds no free key must cost no other.
        if new && self.len() > self.cap && !self.evict(&key) {
            self.remove(&key);
            return Err(Refusal::Full);
        }
        if new {
            self.note_fresh(key);
        }
        Ok(flow)
    }

    /// Puts a flow in the place of `old`, if its reverse key is free: either that, or `old` stays. If `old`
    /// has left its place in the meantime, the new one is added like any.
    pub(super) fn replace(&self, key: F, old: &Arc<V>, new: V) -> Result<Arc<V>, Refusal> {
        let back = new.reverse_key();
        let mut forward = self.forward.write(&key);
        if !forward.flows.get(&key).is_some_and(|opened| Arc::ptr_eq(&opened.flow, old)) {
            drop(forward);
            return self.add(key, [back], |_| new);
        }
        let new = Arc::new(new);
        if old.reverse_key() != back {
            let mut reverse = self.reverse.write(&back);
            if reverse.contains_key(&back) {
                return Err(Refusal::Conflict);
            }
            reverse.insert(back, Arc::clone(&new));
            drop(reverse);
            self.reverse.write(&old.reverse_key()).remove(&old.reverse_key());
        } else {
            self.reverse.write(&back).insert(back, Arc::clone(&new));
        }
        forward.insert(key, Arc::clone(&new));
        drop(forward);
        self.note_fresh(key);
        Ok(new)
    }

    /// Whoever looks seldom sees only the first of many.
    fn note_fresh(&self, key: F) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.len() < MAX_FRESH {
            fresh.push(key);
        }
        self.any_fresh.store(true, Release);
    }

    /// Whether flows were added since this was last asked.
    pub(super) fn any_fresh(&self) -> bool {
        self.any_fresh.load(Relaxed) && self.any_fresh.swap(false, AcqRel)
    }

    /// The flows that were added since the last look and are still there.
    pub(super) fn take_fresh(&self) -> Vec<Arc<V>> {
        let fresh = std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        fresh.iter().filter_map(|key| self.forward(key)).collect()
    }

    /// The flow, and whether it is new.
    fn insert(
        &self,
        key: F,
        offers: impl IntoIterator<Item = V::Reverse>,
        make: impl FnOnce(V::Reverse) -> V,
    ) -> Option<(Arc<V>, bool)> {
        let mut forward = self.forward.write(&key);
        if let Some(opened) = forward.flows.get(&key) {
            return Some((Arc::clone(&opened.flow), false));
        }
        for offer in offers {
            let mut reverse = self.reverse.write(&offer);
            if reverse.contains_key(&offer) {
                continue;
            }
            let flow = Arc::new(make(offer));
            reverse.insert(offer, Arc::clone(&flow));
            forward.insert(key, Arc::clone(&flow));
            self.len.fetch_add(1, Relaxed);
            return Some((flow, true));
        }
        None
    }

    /// Removes an unanswered flow, one of the oldest of its shard but never `newest`. Answered ones
    /// stay, and are not looked at again.
    fn evict(&self, newest: &F) -> bool {
        let first = self.forward.index(newest);
        let mut steps = EVICTION_STEPS;
        (0..SHARDS).any(|n| {
            let shard = &self.forward.shards()[(first + n) % SHARDS];
            self.evict_from(&mut write(shard), newest, &mut steps)
        })
    }

    fn evict_from(&self, forward: &mut Forward<F, V>, newest: &F, steps: &mut usize) -> bool {
        while *steps > 0
            && let Some((turn, key)) = forward.opened.pop_front()
        {
            *steps -= 1;
            let evictable = forward.is_evictable(turn, &key);
            if evictable && key == *newest {
                forward.opened.push_back((turn, key));
                return false;
            }
            if evictable {
                self.unlink(forward, &key);
                self.evicted.fetch_add(1, Relaxed);
                return true;
            }
        }
        false
    }

    fn unlink(&self, forward: &mut Forward<F, V>, key: &F) {
        let Some(opened) = forward.flows.remove(key) else { return };
        let back = opened.flow.reverse_key();
        self.reverse.write(&back).remove(&back);
        self.len.fetch_sub(1, Relaxed);
    }

    /// Removes a flow.
    pub(super) fn remove(&self, key: &F) {
        self.unlink(&mut self.forward.write(key), key);
    }

    /// Removes what has expired and returns how many flows that were. `scarce`: whether something besides
    /// the table has little room for others like this. Writers are kept out of a shard only while there is
    /// something to remove.
    pub(super) fn expire(&self, now: Time, scarce: impl Fn(&V) -> bool) -> usize {
        let full = is_scarce(self.len(), self.cap);
        let due = |flow: &V| match full || scarce(flow) {
            true => flow.expires_if_scarce() <= now,
            false => flow.expires() <= now,
        };
        self.forward.shards().iter().map(|shard| self.expire_shard(shard, &due)).sum()
    }

    fn expire_shard(&self, shard: &RwLock<Forward<F, V>>, is_due: &impl Fn(&V) -> bool) -> usize {
        let due: Vec<F> = shard
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .flows
            .iter()
            .filter(|(_, opened)| is_due(&opened.flow))
            .map(|(key, _)| *key)
            .collect();
        if due.is_empty() {
            return 0;
        }
        let mut forward = write(shard);
        let mut removed = 0;
        for key in due {
            // A packet may have come in between.
            if forward.flows.get(&key).is_some_and(|opened| is_due(&opened.flow)) {
                self.unlink(&mut forward, &key);
                removed += 1;
            }
        }
        forward.forget_the_gone();
        removed
    }

    /// Visits flows until `visit` has returned true for at least `least`, or for all that there are; the next
    /// call goes on where this one ended, by `turn`, and begins anew after the last.
    pub(super) fn some(
        &self,
        turn: &mut usize,
        least: usize,
        mut visit: impl FnMut(&Arc<V>) -> bool,
    ) {
        let mut visited = 0;
        for _ in 0..SHARDS {
            let shard = &self.forward.shards()[*turn % SHARDS];
            *turn = (*turn + 1) % SHARDS;
            let forward = shard.read().unwrap_or_else(PoisonError::into_inner);
            visited += forward.flows.values().filter(|opened| visit(&opened.flow)).count();
            if visited >= least {
                return;
            }
        }
    }

    /// Visits every flow; shards are locked for reading one after the other.
    pub(super) fn each(&self, mut visit: impl FnMut(&F, &Arc<V>)) {
        for shard in self.forward.shards() {
            let forward = shard.read().unwrap_or_else(PoisonError::into_inner);
            forward.flows.iter().for_each(|(key, opened)| visit(key, &opened.flow));
        }
    }
}

impl<F: Hash + Eq + Copy, V: Entry> Forward<F, V> {
    fn insert(&mut self, key: F, flow: Arc<V>) {
        self.turn += 1;
        self.flows.insert(key, Opened { flow, turn: self.turn });
        self.opened.push_back((self.turn, key));
        self.forget_the_gone();
    }

    /// Whether this was the last turn of an unanswered flow.
    fn is_evictable(&self, turn: u64, key: &F) -> bool {
        self.flows.get(key).is_some_and(|opened| opened.turn == turn && !opened.flow.answered())
    }

    /// Once most keys are of no use any more, so that it costs little for each flow.
    fn forget_the_gone(&mut self) {
        if self.opened.len() > 2 * self.flows.len() {
            let opened = std::mem::take(&mut self.opened);
            self.opened =
                opened.into_iter().filter(|(turn, key)| self.is_evictable(*turn, key)).collect();
        }
    }
}

#[cfg(test)]
impl<F: Hash + Eq + Copy, V: Entry> FlowTable<F, V> {
    /// How many keys are noted in the order of opening.
    pub(super) fn noted(&self) -> usize {
        let noted = |shard: &RwLock<Forward<F, V>>| shard.read().expect("no panic").opened.len();
        self.forward.shards().iter().map(noted).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap as Model;

    #[derive(Debug)]
    struct Flow {
        reverse: u8,
        expires: Time,
        answered: bool,
    }

    impl Entry for Flow {
        type Reverse = u8;
        fn reverse_key(&self) -> u8 {
            self.reverse
        }
        fn expires(&self) -> Time {
            self.expires
        }
        fn expires_if_scarce(&self) -> Time {
            self.expires
        }
        fn answered(&self) -> bool {
            self.answered
        }
    }

    fn flow(expires: u64, answered: bool) -> impl FnOnce(u8) -> Flow {
        move |reverse| Flow { reverse, expires: Time::from_millis(expires), answered }
    }

    #[test]
    fn answered_flows_are_never_evicted() {
        let table = FlowTable::<u8, Flow>::new(1);
        table.add(1, [1], flow(10, true)).expect("there is room");
        assert_eq!(table.add(1, [2], flow(10, true)).expect("the same flow").reverse, 1);
        assert!(matches!(table.add(2, [2], flow(10, false)), Err(Refusal::Full)));
        assert_eq!(table.expire(Time::from_millis(10), |_| false), 1);
        assert_eq!(table.len(), 0);
        table.add(2, [2], flow(10, false)).expect("there is room again");
    }

    #[test]
    fn some_flows_at_a_time_are_all_flows_in_the_end() {
        let table = FlowTable::<u32, Wide>::new(1000);
        for key in 0..1000 {
            table.add(key, [key], |reverse| Wide(reverse, true)).expect("there is room");
        }
        let (mut turn, mut seen) = (0, std::collections::HashSet::new());
        for _ in 0..10 {
            let before = seen.len();
            table.some(&mut turn, 100, |flow| seen.insert(flow.0));
            assert!(seen.len() >= before + 100 || seen.len() == 1000);
            if seen.len() == 1000 {
                break;
            }
        }
        assert_eq!(seen.len(), 1000);
        let mut all = 0;
        table.some(&mut turn, usize::MAX, |_| {
            all += 1;
            true
        });
        assert_eq!(all, 1000, "each once, however many are asked for");
    }

    #[test]
    fn a_taken_reverse_key_is_passed_over() {
        let table = FlowTable::<u8, Flow>::new(9);
        table.add(1, [7], flow(1, true)).expect("free");
        assert_eq!(table.add(2, [7, 8], flow(1, true)).expect("8 is free").reverse, 8);
        assert!(matches!(table.add(3, [7, 8], flow(1, true)), Err(Refusal::Conflict)));
        assert_eq!(table.len(), 2);
    }

    struct Wide(u32, bool);

    impl Entry for Wide {
        type Reverse = u32;
        fn reverse_key(&self) -> u32 {
            self.0
        }
        fn expires(&self) -> Time {
            Time::from_millis(self.0.into())
        }
        fn expires_if_scarce(&self) -> Time {
            self.expires()
        }
        fn answered(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn unanswered_flows_make_room_as_long_as_there_are_any() {
        const CAP: u32 = 16_384;
        let table = FlowTable::<u32, Wide>::new(CAP as usize);
        let wide = |answered| move |reverse| Wide(reverse, answered);
        for key in 0..CAP {
            table.add(key, [key], wide(key % 4 == 0)).expect("there is room");
        }
        for key in CAP..4 * CAP {
            table.add(key, [key], wide(false)).expect("an unanswered one makes room");
            assert!(table.forward(&key).is_some());
        }
        assert_eq!(table.len(), CAP as usize);
        assert_eq!(table.evicted(), u64::from(3 * CAP));
        assert!((0..CAP).step_by(4).all(|key| table.forward(&key).is_some()), "answered");
        let gone = (0..CAP).filter(|key| table.forward(key).is_none()).count();
        assert_eq!(gone, 3 * CAP as usize / 4, "the oldest went first");
    }

    #[test]
    fn a_flow_that_finds_no_key_costs_no_other() {
        let table = FlowTable::<u8, Flow>::new(2);
        table.add(1, [1], flow(10, false)).expect("there is room");
        table.add(2, [2], flow(10, false)).expect("there is room");
        assert!(matches!(table.add(3, [1, 2], flow(10, false)), Err(Refusal::Conflict)));
        assert_eq!((table.len(), table.evicted()), (2, 0));
    }

    /// The order of opening is kept for living flows only.
    #[test]
    fn what_has_gone_is_forgotten() {
        let table = FlowTable::<u32, Wide>::new(usize::MAX);
        for key in 0..100_000 {
            table.add(key, [key], |reverse| Wide(reverse, false)).expect("there is room");
            if key % 1000 == 999 {
                table.expire(Time::from_millis(key.into()), |_| false);
            }
        }
        let kept: usize =
            table.forward.shards().iter().map(|s| s.read().expect("no panic").opened.len()).sum();
        assert!(kept <= 2000, "{kept} keys for {} flows", table.len());
    }

    /// A key that is removed and added again (`Client::make_way`).
    #[test]
    fn a_flow_that_comes_and_goes_is_noted_once() {
        let table = FlowTable::<u32, Wide>::new(usize::MAX);
        for _ in 0..10_000 {
            table.add(1, [1_000_000], |reverse| Wide(reverse, false)).expect("there is room");
            table.remove(&1);
        }
        table.add(1, [1_000_000], |reverse| Wide(reverse, false)).expect("there is room");
        // Something else that expires makes every shard tidy up.
        for key in 2..10_000 {
            table.add(key, [key], |reverse| Wide(reverse, false)).expect("there is room");
        }
        table.expire(Time::from_millis(10_000), |_| false);
        assert_eq!(table.len(), 1);
        assert!(table.noted() <= 2, "{} keys for {} flow", table.noted(), table.len());
    }

    #[test]
    fn age_counts_from_the_last_time_it_was_opened() {
        let table = FlowTable::<u32, Wide>::new(3);
        let unanswered = |reverse| Wide(reverse, false);
        let mut same_shard =
            (0u32..).filter(|key| table.forward.index(key) == table.forward.index(&0));
        let mut next = || same_shard.next().expect("endless");
        let (young, old, other, newest) = (next(), next(), next(), next());
        table.add(young, [young], unanswered).expect("there is room");
        table.remove(&young);
        table.add(old, [old], unanswered).expect("there is room");
        table.add(other, [other], unanswered).expect("there is room");
        table.add(young, [young], unanswered).expect("there is room");
        table.add(newest, [newest], unanswered).expect("one makes room");
        assert!(table.forward(&old).is_none(), "the oldest stays");
        assert!(table.forward(&young).is_some(), "a younger one went");
    }

    proptest! {
        #[test]
        fn both_maps_agree_with_a_model(steps in prop::collection::vec((any::<u8>(), any::<u8>(), 0u64..50, any::<bool>()), 0..200)) {
            let table = FlowTable::<u8, Flow>::new(usize::MAX);
            let mut model: Model<u8, (u8, u64)> = Model::new();
            for (now, (key, reverse, life, expire)) in steps.into_iter().enumerate() {
                let now = now as u64;
                if expire {
                    table.expire(Time::from_millis(now), |_| false);
                    model.retain(|_, (_, expires)| *expires > now);
                } else if table.add(key, [reverse], flow(now + life, true)).is_ok() {
                    model.entry(key).or_insert((reverse, now + life));
                }
                prop_assert_eq!(table.len(), model.len());
                for (key, (reverse, _)) in &model {
                    prop_assert_eq!(table.forward(key).expect("in the model").reverse, *reverse);
                    prop_assert!(table.reverse(reverse).is_some());
                }
            }
        }
    }
}
