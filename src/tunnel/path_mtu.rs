//! The MTU of whole paths: what gets through to the last box and back in one piece, as it was measured,
//! and what is to be measured next.
//!
//! A flow's first link says nothing about those behind it, and what is too large for one of them goes
//! on in fragments, which some networks drop without a word. So TCP's segments have the size that every
//! path carries until it is known what this one does.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::route::LEAST_ROUTE_MTU;
use crate::path::{Hop, Path};
use crate::time::Time;

/// Octets that TCP may use on a path of which nothing is known.
pub const UNMEASURED: u16 = LEAST_ROUTE_MTU;

/// What was measured is measured again after this time, if the path is used (RFC 1191 §6.3).
const FRESH: Duration = Duration::from_secs(600);
/// No path is measured more often than that, even if the first link changes all the time.
const PAUSE: Duration = Duration::from_secs(10);
/// A measurement that has not ended by then never will, though many may have been before it.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so many measurements that have shown nothing, what was known before does not count any more.
const OUTDATED: u8 = 3;
/// When a path was used last is known this well.
const ACCURACY: Duration = Duration::from_secs(60);
/// A path that nobody has used for so long is forgotten.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Of so many paths the MTU is remembered.
const CAP: usize = 1024;

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The boxes that take a level off each, and a host behind them that has answered.
    pub path: Path,
    /// This host's address towards the first box, if it is not the one that the route gives.
    pub source: Option<Ipv4Addr>,
    /// A protocol and a port, host order, that the last box lets in to this host.
    pub protocol: u8,
    /// Of protocols with ports.
    pub port: u16,
    /// The largest size of interest, octets with all headers.
    pub most: u16,
}

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What gets to the last box, octets on the first link with all headers; no less than
    /// [`LEAST_ROUTE_MTU`].
    pub octets: u16,
    /// What gets there and back, as far as that was seen: what TCP may cause.
    pub tcp: u16,
    /// Larger ones were tried, and do not get there whole.
    pub is_limit: bool,
    /// When that was found.
    pub at: Time,
}

/// Of all paths that were used lately. Shared by workers.
#[derive(Debug, Default)]
pub struct PathMtus {
    known: RwLock<HashMap<Vec<Hop>, Known>>,
    questions: Mutex<Vec<Question>>,
    any: AtomicBool,
    generation: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    measured: Option<Measured>,
    /// Measurements since then that have shown nothing.
    failures: u8,
    last: Option<Attempt>,
    used: Time,
}

/// A measurement.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    begun: Time,
    ended: bool,
    /// The largest size of interest, octets.
    most: u16,
}

impl PathMtus {
    /// What was measured last of the way through these boxes.
    pub fn measured(&self, boxes: &[Hop]) -> Option<Measured> {
        self.read().get(boxes)?.measured
    }

    /// The largest outer packet that TCP may cause, octets, if the first link takes `most`.
    pub(super) fn for_tcp(&self, boxes: &[Hop], most: u16) -> u16 {
        self.measured(boxes).map_or(UNMEASURED, |known| known.tcp).min(most)
    }

    /// Whether anything was measured.
    pub(super) fn any_known(&self) -> bool {
        self.read().values().any(|known| known.measured.is_some())
    }

    /// Changes whenever something else is known.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// A flow has brought an answer on this path. If its MTU is not known well, it is to be measured.
    pub fn used(&self, question: Question, now: Time) {
        let (boxes, most) = (question.path.hops(), question.most);
        if let Some(known) = self.read().get(boxes)
            && !known.is_due(most, now)
            && now.since(known.used) < ACCURACY
        {
            return;
        }
        let mut table = self.write();
        if !table.contains_key(boxes) && make_room(&mut table, now) {
            self.generation.fetch_add(1, Relaxed);
        }
        let new = Known { measured: None, failures: 0, last: None, used: now };
        let known = table.entry(boxes.to_vec()).or_insert(new);
        known.used = now;
        if known.is_due(most, now) {
            known.last = Some(Attempt { begun: now, ended: false, most });
            self.questions().push(question);
            self.any.store(true, Relaxed);
        }
    }

    /// Whether there is something to measure. Costs next to nothing.
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// What is to be measured now.
    pub fn take(&self) -> Vec<Question> {
        self.any.store(false, Relaxed);
        std::mem::take(&mut *self.questions())
    }

    /// What a measurement has shown: what gets to the last box and, if that is less than what was tried,
    /// what came back, octets; or nothing. Says what was known before.
    pub fn learn(
        &self,
        boxes: &[Hop],
        result: Option<(u16, Option<u16>)>,
        now: Time,
    ) -> Option<Measured> {
        let mut table = self.write();
        let known = table.get_mut(boxes)?;
        let before = known.measured;
        known.last.iter_mut().for_each(|attempt| attempt.ended = true);
        known.failures = if result.is_none() { known.failures.saturating_add(1) } else { 0 };
        known.measured = match result {
            Some((there, back)) => {
                let octets = there.max(LEAST_ROUTE_MTU);
                // Hardly any link takes less: such a host answers to no larger ping.
                let back = back.filter(|&back| back >= LEAST_ROUTE_MTU);
                let tcp = back.map_or(octets, |back| back.min(octets));
                let is_limit = known.last.is_some_and(|attempt| there < attempt.most);
                Some(Measured { octets, tcp, is_limit, at: now })
            }
            None => before.filter(|_| known.failures < OUTDATED),
        };
        let sizes = |known: Option<Measured>| known.map(|known| (known.octets, known.tcp));
        if sizes(before) != sizes(known.measured) {
            self.generation.fetch_add(1, Relaxed);
        }
        before
    }

    /// A measurement will not end: the next flow may ask again.
    pub fn abandon(&self, boxes: &[Hop]) {
        if let Some(known) = self.write().get_mut(boxes) {
            known.last = None;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Vec<Hop>, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Vec<Hop>, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn questions(&self) -> std::sync::MutexGuard<'_, Vec<Question>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_due(&self, most: u16, now: Time) -> bool {
        let Some(last) = self.last else { return true };
        let age = now.since(last.begun);
        match last.ended {
            true => age >= FRESH || most != last.most && age >= PAUSE,
            false => age >= PATIENCE,
        }
    }
}

/// What nobody uses goes, or else what was used least lately. Whether anything went.
fn make_room(table: &mut HashMap<Vec<Hop>, Known>, now: Time) -> bool {
    if table.len() < CAP {
        return false;
    }
    table.retain(|_, known| now.since(known.used) < KEPT);
    let oldest = table.iter().min_by_key(|(_, known)| known.used).map(|(boxes, _)| boxes.clone());
    if let (true, Some(oldest)) = (table.len() >= CAP, oldest) {
        table.remove(&oldest);
    }
    true
}
