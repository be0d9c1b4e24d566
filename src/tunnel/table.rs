//! Flow tables that workers share: every flow is found by two keys, one for each direction.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::time::Time;

/// Many small locks instead of one, so that workers seldom meet.
const SHARDS: usize = 64;
/// How many entries are looked at for one that may be evicted.
const EVICTION_SAMPLE: usize = 64;

/// What a table must know of its flows.
pub(super) trait Entry {
    /// Key for the packets that come back.
    type Reverse: Hash + Eq + Copy;

    fn reverse_key(&self) -> Self::Reverse;
    fn expires(&self) -> Time;
    fn answered(&self) -> bool;
}

/// A map of small locks, hashed with a random key: peers choose the addresses and ports in it.
pub(super) struct Sharded<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K: Hash + Eq, V> Sharded<K, V> {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    pub(super) fn read(&self, key: &K) -> RwLockReadGuard<'_, HashMap<K, V>> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, key: &K) -> RwLockWriteGuard<'_, HashMap<K, V>> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shards(&self) -> &[RwLock<HashMap<K, V>>] {
        &self.shards
    }

    fn shard(&self, key: &K) -> &RwLock<HashMap<K, V>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

/// Why a flow was not added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal<E> {
    /// The cap is reached and nothing may be evicted.
    Full,
    /// None of the reverse keys on offer was free.
    Conflict,
    /// The flow could not be made.
    Make(E),
}

/// Flows by forward key and by reverse key.
///
/// Locks are taken in this order only: a shard of the forward map, then one of the reverse map.
pub(super) struct FlowTable<F, V: Entry> {
    forward: Sharded<F, Arc<V>>,
    reverse: Sharded<V::Reverse, Arc<V>>,
    len: AtomicUsize,
    evicted: AtomicU64,
    cap: usize,
}

impl<F: Hash + Eq + Copy, V: Entry> FlowTable<F, V> {
    pub(super) fn new(cap: usize) -> Self {
        let (len, evicted) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { forward: Sharded::new(), reverse: Sharded::new(), len, evicted, cap }
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
        self.forward.read(key).get(key).cloned()
    }

    pub(super) fn reverse(&self, key: &V::Reverse) -> Option<Arc<V>> {
        self.reverse.read(key).get(key).cloned()
    }

    /// Adds the flow that `make` returns for one of the reverse keys on offer, or returns the one
    /// that another worker was first to add.
    pub(super) fn add<E>(
        &self,
        key: F,
        offers: impl IntoIterator<Item = V::Reverse>,
        make: impl FnOnce(V::Reverse) -> Result<V, E>,
    ) -> Result<Arc<V>, Refusal<E>> {
        let mut forward = self.forward.write(&key);
        if let Some(flow) = forward.get(&key) {
            return Ok(Arc::clone(flow));
        }
        if !self.make_room(&mut forward) {
            return Err(Refusal::Full);
        }
        for offer in offers {
            let mut reverse = self.reverse.write(&offer);
            if reverse.contains_key(&offer) {
                continue;
            }
            let flow = Arc::new(make(offer).map_err(Refusal::Make)?);
            reverse.insert(offer, Arc::clone(&flow));
            forward.insert(key, Arc::clone(&flow));
            self.len.fetch_add(1, Relaxed);
            return Ok(flow);
        }
        Err(Refusal::Conflict)
    }

    /// At the cap an unanswered flow of the same shard goes first; answered ones never go.
    fn make_room(&self, forward: &mut HashMap<F, Arc<V>>) -> bool {
        if self.len() < self.cap {
            return true;
        }
        let victim = forward
            .iter()
            .take(EVICTION_SAMPLE)
            .filter(|(_, flow)| !flow.answered())
            .min_by_key(|(_, flow)| flow.expires())
            .map(|(key, _)| *key);
        let Some(victim) = victim else { return false };
        self.unlink(forward, &victim);
        self.evicted.fetch_add(1, Relaxed);
        true
    }

    fn unlink(&self, forward: &mut HashMap<F, Arc<V>>, key: &F) {
        let Some(flow) = forward.remove(key) else { return };
        let back = flow.reverse_key();
        self.reverse.write(&back).remove(&back);
        self.len.fetch_sub(1, Relaxed);
    }

    /// Removes a flow.
    pub(super) fn remove(&self, key: &F) {
        self.unlink(&mut self.forward.write(key), key);
    }

    /// Removes what has expired and returns how many flows that were. Writers are kept out of a
    /// shard only while there is something to remove.
    pub(super) fn expire(&self, now: Time) -> usize {
        self.forward.shards().iter().map(|shard| self.expire_shard(shard, now)).sum()
    }

    fn expire_shard(&self, shard: &RwLock<HashMap<F, Arc<V>>>, now: Time) -> usize {
        let due: Vec<F> = shard
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|(_, flow)| flow.expires() <= now)
            .map(|(key, _)| *key)
            .collect();
        if due.is_empty() {
            return 0;
        }
        let mut forward = shard.write().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        for key in due {
            // A packet may have come in between.
            if forward.get(&key).is_some_and(|flow| flow.expires() <= now) {
                self.unlink(&mut forward, &key);
                removed += 1;
            }
        }
        removed
    }

    /// Visits every flow; shards are locked for reading one after the other.
    pub(super) fn each(&self, mut visit: impl FnMut(&F, &Arc<V>)) {
        for shard in self.forward.shards() {
            let forward = shard.read().unwrap_or_else(PoisonError::into_inner);
            forward.iter().for_each(|(key, flow)| visit(key, flow));
        }
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
        fn answered(&self) -> bool {
            self.answered
        }
    }

    fn flow(expires: u64, answered: bool) -> impl FnOnce(u8) -> Result<Flow, ()> {
        move |reverse| Ok(Flow { reverse, expires: Time::from_millis(expires), answered })
    }

    #[test]
    fn answered_flows_are_never_evicted() {
        let table = FlowTable::<u8, Flow>::new(1);
        table.add(1, [1], flow(10, true)).expect("there is room");
        assert_eq!(table.add(1, [2], flow(10, true)).expect("the same flow").reverse, 1);
        assert!(matches!(table.add(2, [2], flow(10, false)), Err(Refusal::Full)));
        assert_eq!(table.expire(Time::from_millis(10)), 1);
        assert_eq!(table.len(), 0);
        table.add(2, [2], flow(10, false)).expect("there is room again");
    }

    #[test]
    fn a_taken_reverse_key_is_passed_over() {
        let table = FlowTable::<u8, Flow>::new(9);
        table.add(1, [7], flow(1, true)).expect("free");
        assert_eq!(table.add(2, [7, 8], flow(1, true)).expect("8 is free").reverse, 8);
        assert!(matches!(table.add(3, [7, 8], flow(1, true)), Err(Refusal::Conflict)));
        assert_eq!(table.len(), 2);
    }

    proptest! {
        #[test]
        fn both_maps_agree_with_a_model(steps in prop::collection::vec((any::<u8>(), any::<u8>(), 0u64..50, any::<bool>()), 0..200)) {
            let table = FlowTable::<u8, Flow>::new(usize::MAX);
            let mut model: Model<u8, (u8, u64)> = Model::new();
            for (now, (key, reverse, life, expire)) in steps.into_iter().enumerate() {
                let now = now as u64;
                if expire {
                    table.expire(Time::from_millis(now));
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
