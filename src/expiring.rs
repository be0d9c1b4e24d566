//! A table whose entries end at a time of their own, and that never holds more than its cap.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::time::Time;

/// When an entry ends; the serial number tells apart those that end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    time: Time,
    serial: u64,
}

#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    cap: usize,
    serial: u64,
    entries: HashMap<K, (V, End)>,
    ends: BTreeMap<End, K>,
}

impl<K: Clone + Eq + Hash, V> Expiring<K, V> {
    /// An empty table for at most `cap` entries.
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, serial: 0, entries: HashMap::new(), ends: BTreeMap::new() }
    }

    /// The value of a key whose entry has not ended, and when it will.
    pub(crate) fn find(&self, key: &K, now: Time) -> Option<(&V, Time)> {
        let (value, end) = self.entries.get(key)?;
        (end.time > now).then_some((value, end.time))
    }

    /// Sets the value of a key until `time`. If the table is full, the entry that would end first
    /// makes room. Says whether one had to go that had not ended yet.
    pub(crate) fn insert(&mut self, key: K, value: V, time: Time, now: Time) -> bool {
        self.remove(&key);
        let evicted = self.is_full() && self.pop_first().is_some_and(|end| end > now);
        self.serial += 1;
        let end = End { time, serial: self.serial };
        self.ends.insert(end, key.clone());
        self.entries.insert(key, (value, end));
        evicted
    }

    /// Takes out the entry of a key, also one that has ended.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, end) = self.entries.remove(key)?;
        self.ends.remove(&end);
        Some(value)
    }

    /// How many entries there are, ended ones that are still here too.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the next insertion of another key evicts one.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.cap
    }

    /// The earliest end of an entry.
    pub(crate) fn next_end(&self) -> Option<Time> {
        self.ends.keys().next().map(|end| end.time)
    }

    /// The key of the entry that ended first.
    pub(crate) fn first_ended(&self, now: Time) -> Option<&K> {
        self.ends.first_key_value().filter(|(end, _)| end.time <= now).map(|(_, key)| key)
    }

    /// Takes out an entry that has ended.
    pub(crate) fn pop_ended(&mut self, now: Time) -> Option<K> {
        let first = self.ends.first_entry().filter(|first| first.key().time <= now)?;
        let key = first.remove();
        self.entries.remove(&key);
        Some(key)
    }

    fn pop_first(&mut self) -> Option<Time> {
        let (end, key) = self.ends.pop_first()?;
        self.entries.remove(&key);
        Some(end.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAP: usize = 4;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn an_entry_ends_at_its_time() {
        let mut table = Expiring::new(CAP);
        assert!(!table.insert('a', 1, at(10), at(0)));
        assert_eq!(table.find(&'a', at(9)), Some((&1, at(10))));
        assert_eq!(table.find(&'a', at(10)), None);
        assert_eq!((table.pop_ended(at(9)), table.pop_ended(at(10))), (None, Some('a')));
        assert_eq!(table.next_end(), None);
    }

    #[test]
    fn the_first_to_end_makes_room() {
        let mut table = Expiring::new(2);
        table.insert('a', 1, at(20), at(0));
        table.insert('b', 2, at(10), at(0));
        assert!(table.insert('c', 3, at(5), at(0)));
        assert_eq!(table.find(&'b', at(0)), None);
        assert!(!table.insert('d', 4, at(30), at(5)), "c had ended");
        assert!(table.find(&'a', at(5)).is_some());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Insert(u8, u64),
        Remove(u8),
        Pop,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0u8..8, 0u64..50).prop_map(|(key, life)| Act::Insert(key, life)),
            (0u8..8).prop_map(Act::Remove),
            Just(Act::Pop),
        ]
    }

    proptest! {
        /// A list that does the same without an index.
        #[test]
        fn a_plain_list_agrees(acts in prop::collection::vec((act(), 0u64..20), 0..60)) {
            let mut table = Expiring::new(CAP);
            let mut list: Vec<(Time, u8)> = Vec::new();
            let mut now = 0;
            for (act, wait) in acts {
                now += wait;
                match act {
                    Act::Insert(key, life) => {
                        table.insert(key, (), at(now + life), at(now));
                        list.retain(|entry| entry.1 != key);
                        list.sort_by_key(|entry| entry.0);
                        if list.len() == CAP {
                            list.remove(0);
                        }
                        list.push((at(now + life), key));
                    }
                    Act::Remove(key) => {
                        table.remove(&key);
                        list.retain(|entry| entry.1 != key);
                    }
                    Act::Pop => {
                        while table.pop_ended(at(now)).is_some() {}
                        list.retain(|entry| entry.0 > at(now));
                    }
                }
                prop_assert_eq!(table.next_end(), list.iter().map(|entry| entry.0).min());
                prop_assert_eq!(table.is_full(), list.len() == CAP);
                for key in 0..8 {
                    let found = table.find(&key, at(now)).map(|(_, end)| end);
                    let listed = list.iter().find(|entry| entry.1 == key && entry.0 > at(now));
                    prop_assert_eq!(found, listed.map(|entry| entry.0));
                }
                prop_assert_eq!(table.entries.len(), table.ends.len());
            }
        }
    }
}
