//! The table of mapped addresses, shared by all workers.

use std::cmp::Reverse;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::entry::{Mapping, Rest};
use super::index::Index;
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
    table: RwLock<Index>,
    generation: AtomicU64,
    address_generation: AtomicU64,
    first_uses: Arc<AtomicU64>,
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
            table: RwLock::new(Index::new(Rest::new(quarantine), cap)),
            generation: AtomicU64::new(0),
            address_generation: AtomicU64::new(0),
            first_uses: Arc::default(),
        }
    }

    /// The mapping of a mapped address.
    pub fn lookup(&self, addr: Ipv4Addr) -> Option<Arc<Mapping>> {
        self.read().at(addr).cloned()
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
        let expires = now + ttl.min(MAX_TTL);
        let mut table = self.write();
        let mapping = match table.of(paths) {
            Some(mapping) => Arc::clone(mapping),
            None => self.add(&mut table, paths, expires, now)?,
        };
        mapping.answered(expires, now);
        mapping.add_name(&name.to_ascii_lowercase());
        self.generation.fetch_add(1, Relaxed);
        Ok(mapping.addr())
    }

    /// Drops every mapping that nothing holds any more, and says how many.
    pub fn expire(&self, now: Time) -> usize {
        let dropped = self.write().expire(now);
        if dropped > 0 {
            self.addresses_changed();
        }
        dropped
    }

    /// Changes whenever something changes that is worth saving: persist when it did.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed) + self.first_uses.load(Relaxed)
    }

    /// Changes whenever something changes that makes an address pass to another host too early if
    /// a crash loses it: persist soon when it did.
    pub fn urgent_generation(&self) -> u64 {
        self.address_generation() + self.first_uses.load(Relaxed)
    }

    /// Changes whenever a mapping comes or goes: refill the firewall's sets when it did.
    pub fn address_generation(&self) -> u64 {
        self.address_generation.load(Relaxed)
    }

    /// Every mapping, ordered by address.
    pub fn snapshot(&self) -> Vec<Arc<Mapping>> {
        let mut mappings: Vec<_> = self.read().mappings().cloned().collect();
        mappings.sort_unstable_by_key(|mapping| mapping.addr());
        mappings
    }

    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.read().len()
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
    /// They are valid again, because applications may still hold their addresses, and they rest as
    /// if a flow that used them, if any ever did, ended now: it may have survived.
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
        table: &mut Index,
        paths: &PathSet,
        expires: Time,
        now: Time,
    ) -> Result<Arc<Mapping>, Exhausted> {
        if let Err(full) = self.room(table)
            && !table.make_room(now)
        {
            return Err(full);
        }
        let addr = table.free_address(paths, self.pool.probe(paths));
        let addr = addr.ok_or(Exhausted::Pool(self.pool.net()))?;
        let mapping = Mapping::new(addr, paths.clone(), &self.first_uses);
        mapping.answered(expires, now);
        let mapping = Arc::new(mapping);
        table.insert(Arc::clone(&mapping), now);
        self.addresses_changed();
        Ok(mapping)
    }

    fn room(&self, table: &Index) -> Result<(), Exhausted> {
        if table.len() >= self.cap {
            Err(Exhausted::Cap(self.cap))
        } else if table.len() as u64 >= self.pool.usable() {
            Err(Exhausted::Pool(self.pool.net()))
        } else {
            Ok(())
        }
    }

    fn take_back(&self, table: &mut Index, saved: Saved, now: Time) -> Result<(), String> {
        let Saved { addr, paths, names, used, expires, last_used } = saved;
        if !self.pool.contains(addr) {
            return Err(format!("{addr} is outside the pool {}", self.pool.net()));
        }
        if table.at(addr).is_some() || table.of(&paths).is_some() {
            return Err(format!("{addr} or its paths are already in the table"));
        }
        if table.len() >= self.cap {
            return Err(format!("the table already holds {} mappings, its cap", self.cap));
        }
        let mapping = Mapping::new(addr, paths, &self.first_uses).restored(used, now);
        // The clock may have been wrong when the file was written.
        mapping.answered(expires.min(now + MAX_TTL), last_used.min(now));
        for name in names.iter().rev() {
            mapping.add_name(name);
        }
        table.insert(Arc::new(mapping), now);
        Ok(())
    }

    fn addresses_changed(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.address_generation.fetch_add(1, Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
