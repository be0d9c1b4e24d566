//! The table of mapped addresses, shared by all workers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::entry::{Mapping, Rest};
use super::pool::Pool;
use super::state::{Saved, Skipped, State};
use crate::path::PathSet;
use crate::time::Time;

/// The longest TTL that is believed; RFC 8767 §4 recommends the same cap to resolvers. Without it
/// one record could hold an address for 68 years.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The mapped-address table.
///
/// Packets look addresses up under a read lock; only DNS answers, which come at human rates, and
/// [`expire`](Self::expire) write.
#[derive(Debug)]
pub struct Mappings {
    pool: Pool,
    cap: usize,
    rest: Rest,
    table: RwLock<Table>,
    generation: AtomicU64,
    address_generation: AtomicU64,
}

/// Why a path set got no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// As many mappings as the configuration allows are held.
    Cap(usize),
    /// Every address of the pool is held.
    Pool(Ipv4Net),
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cap(cap) => write!(
                f,
                "all {cap} mapped addresses that the configuration allows are in use; \
                 allow more mappings, or wait until some expire"
            ),
            Self::Pool(pool) => write!(
                f,
                "every address of the pool {pool} is in use; \
                 configure a larger pool, or wait until some expire"
            ),
        }
    }
}

impl std::error::Error for Exhausted {}

impl Mappings {
    /// An empty table over `pool` (its first and last address are never given) for at most `cap`
    /// mappings. An address rests for `quarantine` after its TTL and its last flow have ended; one
    /// that no flow ever used rests for two minutes at most, and not at all while a new mapping
    /// would find no room. Ten seconds after an answer are the least in any case.
    pub fn new(pool: Ipv4Net, cap: usize, quarantine: Duration) -> Self {
        Self {
            pool: Pool::new(pool),
            cap,
            rest: Rest::new(quarantine),
            table: RwLock::default(),
            generation: AtomicU64::new(0),
            address_generation: AtomicU64::new(0),
        }
    }

    /// The mapping of a mapped address.
    pub fn lookup(&self, addr: Ipv4Addr) -> Option<Arc<Mapping>> {
        self.read().by_addr.get(&addr).cloned()
    }

    /// The address that stands for `paths`, for an answer that is valid for `ttl` (at most
    /// [`MAX_TTL`]). `name` is in presentation form, escaped; its case does not matter.
    pub fn map(
        &self,
        name: &str,
        paths: &PathSet,
        ttl: Duration,
        now: Time,
    ) -> Result<Ipv4Addr, Exhausted> {
        let mut table = self.write();
        let mapping = match table.by_paths.get(paths) {
            Some(mapping) => Arc::clone(mapping),
            None => self.add(&mut table, paths, now)?,
        };
        mapping.answered(now + ttl.min(MAX_TTL), now);
        mapping.add_name(&name.to_ascii_lowercase());
        self.generation.fetch_add(1, Relaxed);
        Ok(mapping.addr())
    }

    /// Drops every mapping that nothing holds any more, and says how many.
    pub fn expire(&self, now: Time) -> usize {
        let dropped = self.write().sweep(self.rest, now);
        if dropped > 0 {
            self.addresses_changed();
        }
        dropped
    }

    /// Changes whenever something changes that is worth saving: persist when it did.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Changes whenever a mapping comes or goes: refill the firewall's sets when it did.
    pub fn address_generation(&self) -> u64 {
        self.address_generation.load(Relaxed)
    }

    /// Every mapping, ordered by address.
    pub fn snapshot(&self) -> Vec<Arc<Mapping>> {
        let mut mappings: Vec<_> = self.read().by_addr.values().cloned().collect();
        mappings.sort_unstable_by_key(|mapping| mapping.addr());
        mappings
    }

    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.read().by_addr.len()
    }

    /// Whether there is no mapping.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most mappings there may be.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// The network that mapped addresses are taken from.
    pub fn pool(&self) -> Ipv4Net {
        self.pool.net()
    }

    /// The table as it is to be saved.
    pub fn to_state(&self) -> State {
        State::new(self.snapshot().iter().map(|mapping| Saved::of(mapping)).collect())
    }

    /// Takes saved mappings back, and says what could not be taken.
    ///
    /// They are valid again, because applications may still hold their addresses, and none is
    /// given to another path set before one quarantine has passed: flows may have survived.
    pub fn restore(&self, state: State, now: Time) -> Skipped {
        let (mut saved, mut skipped) = state.into_parts();
        // The newest first: they stay if the cap is lower now.
        saved.sort_by_key(|saved| Reverse(saved.last_used));
        let mut table = self.write();
        for saved in saved {
            if let Err(reason) = self.take_back(&mut table, saved, now) {
                skipped.add(reason);
            }
        }
        drop(table);
        self.addresses_changed();
        skipped
    }

    fn add(
        &self,
        table: &mut Table,
        paths: &PathSet,
        now: Time,
    ) -> Result<Arc<Mapping>, Exhausted> {
        if table.by_addr.len() >= self.cap && now >= table.full_until {
            table.sweep(self.rest.without_room(), now);
        }
        if table.by_addr.len() >= self.cap {
            return Err(Exhausted::Cap(self.cap));
        }
        let addr = self
            .free_address(table, paths, self.rest, now)
            .or_else(|| self.free_address(table, paths, self.rest.without_room(), now))
            .ok_or(Exhausted::Pool(self.pool.net()))?;
        let mapping = Arc::new(Mapping::new(addr, paths.clone()));
        table.insert(Arc::clone(&mapping));
        self.addresses_changed();
        Ok(mapping)
    }

    /// The first address for `paths` that nothing holds.
    ///
    /// One more probe than there are mappings finds a free address if there is one: that bounds
    /// the search by the cap, however large the pool.
    fn free_address(
        &self,
        table: &mut Table,
        paths: &PathSet,
        rest: Rest,
        now: Time,
    ) -> Option<Ipv4Addr> {
        let probes = table.by_addr.len() + 1;
        self.pool.probe(paths).take(probes).find(|addr| match table.by_addr.get(addr).cloned() {
            None => true,
            Some(old) if old.retire(rest, now) => {
                table.remove(&old);
                true
            }
            Some(_) => false,
        })
    }

    fn take_back(&self, table: &mut Table, saved: Saved, now: Time) -> Result<(), String> {
        let Saved { addr, paths, names, expires, last_used } = saved;
        if !self.pool.contains(addr) {
            return Err(format!("{addr} is outside the pool {}", self.pool.net()));
        }
        if table.by_addr.contains_key(&addr) || table.by_paths.contains_key(&paths) {
            return Err(format!("{addr} or its paths are already in the table"));
        }
        if table.by_addr.len() >= self.cap {
            return Err(format!("the table already holds {} mappings, its cap", self.cap));
        }
        let mapping = Arc::new(Mapping::new(addr, paths).restored(now));
        // The clock may have been wrong when the file was written.
        mapping.answered(expires.min(now + MAX_TTL), last_used.min(now));
        table.insert(Arc::clone(&mapping));
        for name in names.iter().rev() {
            mapping.add_name(name);
        }
        Ok(())
    }

    fn addresses_changed(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.address_generation.fetch_add(1, Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mappings under their two keys: one is in `by_addr` if and only if it is in `by_paths`.
#[derive(Debug, Default)]
struct Table {
    by_addr: HashMap<Ipv4Addr, Arc<Mapping>>,
    by_paths: HashMap<PathSet, Arc<Mapping>>,
    /// Before this nothing in the table can become free, so that a full table under a flood of new
    /// names is not searched again for each of them. A new mapping may end sooner: it resets this.
    full_until: Time,
}

impl Table {
    fn insert(&mut self, mapping: Arc<Mapping>) {
        self.by_paths.insert(mapping.paths().clone(), Arc::clone(&mapping));
        self.by_addr.insert(mapping.addr(), mapping);
        self.full_until = Time::default();
    }

    fn remove(&mut self, mapping: &Mapping) {
        self.by_addr.remove(&mapping.addr());
        self.by_paths.remove(mapping.paths());
    }

    fn sweep(&mut self, rest: Rest, now: Time) -> usize {
        let retired: Vec<_> =
            self.by_addr.values().filter(|mapping| mapping.retire(rest, now)).cloned().collect();
        for mapping in &retired {
            self.remove(mapping);
        }
        let rest = rest.without_room();
        let held = self.by_addr.values().map(|mapping| mapping.held_until(rest, now));
        self.full_until = held.min().unwrap_or(now);
        retired.len()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
