//! The mappings under their keys, and in the order in which they may leave.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::entry::{Mapping, Rest};
use crate::expiring::Expiring;
use crate::path::PathSet;
use crate::time::Time;

/// The mappings: one is under its address if and only if it is under its paths.
#[derive(Debug)]
pub(super) struct Index {
    by_addr: HashMap<Ipv4Addr, Arc<Mapping>>,
    by_paths: HashMap<PathSet, Arc<Mapping>>,
    rested: Ends,
    without_room: Ends,
    /// Addresses that were freed last, and what they stood for. An application may hold one for much
    /// longer than it was told to: while there are others, it stands for nothing else.
    freed: Expiring<Ipv4Addr, PathSet>,
}

/// Nothing but their number ends what was freed.
const NEVER: Time = Time::from_millis(u64::MAX);

impl Index {
    /// An empty index, whose mappings rest so long. It remembers `cap` freed addresses.
    pub(super) fn new(rest: Rest, cap: usize) -> Self {
        Self {
            by_addr: HashMap::new(),
            by_paths: HashMap::new(),
            rested: Ends::new(rest),
            without_room: Ends::new(rest.without_room()),
            freed: Expiring::new(cap),
        }
    }

    pub(super) fn at(&self, addr: Ipv4Addr) -> Option<&Arc<Mapping>> {
        self.by_addr.get(&addr)
    }

    pub(super) fn of(&self, paths: &PathSet) -> Option<&Arc<Mapping>> {
        self.by_paths.get(paths)
    }

    pub(super) fn len(&self) -> usize {
        self.by_addr.len()
    }

    /// An address for new paths, the first of `probe` if possible: one that stood for nothing else
    /// lately, or else the one that was freed before all others.
    ///
    /// One more probe than there are addresses that do not fit finds one that does, if there is one:
    /// that bounds the search by the cap, however large the pool.
    pub(super) fn free_address(
        &mut self,
        paths: &PathSet,
        probe: impl Iterator<Item = Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let probes = self.by_addr.len() + self.freed.len() + 1;
        let fits = |addr: &Ipv4Addr| {
            let former = self.freed.find(addr, Time::default());
            !self.by_addr.contains_key(addr) && former.is_none_or(|(former, _)| former == paths)
        };
        probe.take(probes).find(fits).or_else(|| self.freed.pop_ended(NEVER))
    }

    /// In no order.
    pub(super) fn mappings(&self) -> impl Iterator<Item = &Arc<Mapping>> {
        self.by_addr.values()
    }

    /// Adds a mapping whose address and paths are both new here.
    pub(super) fn insert(&mut self, mapping: Arc<Mapping>, now: Time) {
        self.rested.note(&mapping, now);
        self.without_room.note(&mapping, now);
        self.freed.remove(&mapping.addr());
        self.by_paths.insert(mapping.paths().clone(), Arc::clone(&mapping));
        self.by_addr.insert(mapping.addr(), mapping);
    }

    /// Drops every mapping that nothing holds and that has rested, and says how many.
    pub(super) fn expire(&mut self, now: Time) -> usize {
        let retired = std::iter::from_fn(|| {
            let mapping = self.rested.retire_one(&self.by_addr, now)?;
            self.remove(&mapping);
            Some(())
        });
        retired.count()
    }

    /// Drops one mapping if there is one that may go: rather one that has rested.
    pub(super) fn make_room(&mut self, now: Time) -> bool {
        let rested = self.rested.retire_one(&self.by_addr, now);
        let retired = rested.or_else(|| self.without_room.retire_one(&self.by_addr, now));
        if let Some(mapping) = &retired {
            self.remove(mapping);
        }
        retired.is_some()
    }

    fn remove(&mut self, mapping: &Mapping) {
        self.by_addr.remove(&mapping.addr());
        if let Some((paths, _)) = self.by_paths.remove_entry(mapping.paths()) {
            self.freed.insert(mapping.addr(), paths, NEVER, Time::default());
        }
        self.rested.forget(mapping);
        self.without_room.forget(mapping);
    }
}

/// Mappings in the order in which they end.
///
/// Answers and flows, which know nothing of this order, make ends later and never earlier. So the
/// first mapping whose end is over is looked at again, and goes back to its place if it has a later
/// one by now: each answer and flow costs one more look at most.
#[derive(Debug)]
struct Ends {
    rest: Rest,
    ends: Expiring<Ipv4Addr, ()>,
    #[cfg(test)]
    looks: usize,
}

impl Ends {
    fn new(rest: Rest) -> Self {
        Self {
            rest,
            // The table that the mappings are in has a cap.
            ends: Expiring::new(usize::MAX),
            #[cfg(test)]
            looks: 0,
        }
    }

    fn note(&mut self, mapping: &Mapping, now: Time) {
        self.ends.insert(mapping.addr(), (), mapping.held_until(self.rest, now), now);
    }

    fn forget(&mut self, mapping: &Mapping) {
        self.ends.remove(&mapping.addr());
    }

    /// Retires the first mapping that nothing holds any more.
    fn retire_one(
        &mut self,
        mappings: &HashMap<Ipv4Addr, Arc<Mapping>>,
        now: Time,
    ) -> Option<Arc<Mapping>> {
        while let Some(mapping) = self.ends.pop_ended(now).and_then(|addr| mappings.get(&addr)) {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            if mapping.retire(self.rest, now) {
                return Some(Arc::clone(mapping));
            }
            self.note(mapping, now);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const QUARANTINE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn mapping(number: u32, valid: u64, now: u64) -> Arc<Mapping> {
        let [.., high, low] = number.to_be_bytes();
        let path = format!("203.0.113.1 192.168.{high}.{low}").parse().expect("a path");
        let paths = PathSet::new(vec![path]).expect("a path");
        let mapping = Mapping::new(Ipv4Addr::from(0x7f40_0000 + number), paths, &Arc::default());
        mapping.answered(at(now + valid), at(now));
        Arc::new(mapping)
    }

    #[derive(Debug, Clone)]
    enum Act {
        Insert(u64),
        Answer(usize, u64),
        Pin(usize),
        Unpin(usize),
        Expire,
        MakeRoom,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0u64..200).prop_map(Act::Insert),
            2 => (0usize..20, 0u64..200).prop_map(|(which, valid)| Act::Answer(which, valid)),
            2 => (0usize..20).prop_map(Act::Pin),
            2 => (0usize..20).prop_map(Act::Unpin),
            1 => Just(Act::Expire),
            3 => Just(Act::MakeRoom),
        ]
    }

    /// An index, and a list that does the same by looking at everything.
    struct Both {
        index: Index,
        list: Vec<Arc<Mapping>>,
        now: u64,
    }

    impl Both {
        fn run(&mut self, act: &Act) {
            match *act {
                Act::Insert(valid) => {
                    let mapping = mapping(self.list.len() as u32, valid, self.now);
                    self.index.insert(Arc::clone(&mapping), at(self.now));
                    self.list.push(mapping);
                }
                Act::Answer(which, valid) => {
                    let Some(mapping) = self.known(which) else { return };
                    mapping.answered(at(self.now + valid), at(self.now));
                }
                Act::Pin(which) => drop(self.known(which).map(|mapping| mapping.pin())),
                Act::Unpin(which) => {
                    let pinned = self.known(which).filter(|mapping| mapping.flows() > 0);
                    pinned.into_iter().for_each(|mapping| mapping.unpin(at(self.now)));
                }
                Act::Expire => {
                    let over = self.over(Rest::new(QUARANTINE)).count();
                    assert_eq!(self.index.expire(at(self.now)), over);
                    assert_eq!(self.over(Rest::new(QUARANTINE)).count(), 0);
                }
                Act::MakeRoom => {
                    let over = self.over(Rest::new(QUARANTINE)).count();
                    let hard = self.over(Rest::new(QUARANTINE).without_room()).count();
                    assert_eq!(self.index.make_room(at(self.now)), hard > 0);
                    let left = self.over(Rest::new(QUARANTINE)).count();
                    assert_eq!(left, over.saturating_sub(1));
                }
            }
        }

        fn known(&self, which: usize) -> Option<&Arc<Mapping>> {
            self.list.get(which).filter(|mapping| self.has(mapping))
        }

        fn has(&self, mapping: &Arc<Mapping>) -> bool {
            let at = self.index.at(mapping.addr());
            let of = self.index.of(mapping.paths());
            assert_eq!(at.map(|m| m.addr()), of.map(|m| m.addr()));
            at.is_some_and(|known| Arc::ptr_eq(known, mapping))
        }

        fn over(&self, rest: Rest) -> impl Iterator<Item = &Arc<Mapping>> {
            let now = at(self.now);
            let over = move |mapping: &&Arc<Mapping>| mapping.held_until(rest, now) <= now;
            self.list.iter().filter(|mapping| self.has(mapping)).filter(over)
        }
    }

    proptest! {
        #[test]
        fn a_plain_list_agrees(acts in prop::collection::vec((act(), 0u64..30), 0..80)) {
            let index = Index::new(Rest::new(QUARANTINE), 100);
            let mut both = Both { index, list: Vec::new(), now: 0 };
            for (act, wait) in acts {
                both.now += wait;
                both.run(&act);
                let left = both.list.iter().filter(|mapping| both.has(mapping)).count();
                prop_assert_eq!(both.index.len(), left);
                prop_assert_eq!(both.index.mappings().count(), left);
            }
        }
    }

    /// A full table under a flood of new names; few of the others are asked for again and again.
    #[test]
    fn a_new_name_costs_one_look_whatever_the_table_holds() {
        let mut index = Index::new(Rest::new(QUARANTINE), 100);
        let kept: Vec<_> = (0..1000).map(|number| mapping(number, 10_000, 0)).collect();
        let asked: Vec<_> = (1000..1010).map(|number| mapping(number, 0, 0)).collect();
        kept.iter().chain(&asked).for_each(|mapping| index.insert(Arc::clone(mapping), at(0)));
        let (mut retired, mut answers) = (0, 0);
        for (number, now) in (1010..5000).zip(0..) {
            if now % 9 == 0 {
                asked.iter().for_each(|mapping| mapping.answered(at(now), at(now)));
                answers += asked.len();
            }
            retired += usize::from(index.make_room(at(now)));
            index.insert(mapping(number, u64::from(number % 7), now), at(now));
        }
        assert!(retired > 3900, "{retired}");
        let looks = index.rested.looks + index.without_room.looks;
        // An answer moves the mapping in both orders.
        assert!(looks <= retired + 2 * answers, "{looks} looks for {retired} names");
    }
}
