//! Replies that wait for the NAT record of their name: packets, answers and time in; questions,
//! verdicts and changed packets out.
//!
//! A packet waits for `patience` at most and is then passed on as it came; its question goes on,
//! and a late answer serves the next reply. Nothing here blocks, and every table has a cap.

mod lookup;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use self::lookup::Answer;
pub use self::lookup::{LookupKey, NatAnswer, Server};
use super::packet::Packet;
use super::{Class, Name, Policy, RewriteError, acceptable, classify, rewrite, size_limit};
use crate::counters::Counter;
use crate::expiring::Expiring;
use crate::path::{Path, PathSet};
use crate::time::Time;

/// The most packets that wait.
pub const MAX_WAITING: usize = 1024;
/// The most questions that are open.
pub const MAX_LOOKUPS: usize = 512;
/// The most answers that are remembered.
pub const MAX_ANSWERS: usize = 8192;
/// The most servers whose silence is remembered.
pub const MAX_SERVERS: usize = 256;
/// The most alternative paths of one name; more would only cost memory.
pub const MAX_PATHS: usize = 16;

/// A question without any answer is given up after this time, as if the server had been silent.
const LOOKUP_LIFETIME: Duration = Duration::from_secs(30);
/// The longest that a path is remembered, in seconds (RFC 8767 §4 caps at 7 days; NAT boxes move
/// more often).
const MAX_TTL: u32 = 3600;
/// The least and the most that the absence of a record is remembered, in seconds (RFC 2308 §5).
const NEGATIVE_TTL: (u32, u32) = (5, 300);
/// How long a failure is remembered, in seconds (RFC 2308 §7 allows five minutes at most).
const FAILURE_TTL: u32 = 5;
/// So many unanswered questions in a row make a server silent.
const SILENT_AFTER: u8 = 3;
/// A server's silence is forgotten after this time without another unanswered question.
const SILENCE_LIFETIME: Duration = Duration::from_secs(600);

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest that a packet waits.
    pub patience: Duration,
    /// The highest TTL of a mapped address in a reply, in seconds.
    pub max_mapped_ttl: u32,
    /// Zones whose names may lead through a private first NAT box.
    pub private_zones: Vec<Name>,
    /// Which replies may change.
    pub policy: Policy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(1),
            max_mapped_ttl: 60,
            private_zones: Vec::new(),
            policy: Policy::default(),
        }
    }
}

impl Settings {
    /// Whether the NAT record of `name` may name a private first NAT box.
    pub fn allows_private(&self, name: &Name) -> bool {
        self.private_zones.iter().any(|zone| name.is_in(zone))
    }
}

/// What the rest of the daemon does for [`Hold`].
pub trait Surroundings {
    /// The mapped address that stands for `paths`, kept for `ttl` seconds at least; nothing if no
    /// address is free. `name` is what the application asked for.
    fn map(&mut self, name: &Name, paths: &PathSet, ttl: u32, now: Time) -> Option<Ipv4Addr>;

    /// Whether an address is this host's.
    fn is_own(&self, addr: Ipv4Addr) -> bool;
}

/// A packet that the kernel holds until its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The kernel's number of the packet.
    pub id: u32,
    /// Index of the interface through which it came.
    pub interface: u32,
    /// The whole IP packet.
    pub octets: Vec<u8>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask for NAT records; the answer comes back through [`Hold::answer`].
    Lookup(LookupKey),
    /// Accept the packet as it came.
    Release {
        /// The kernel's number of the packet.
        id: u32,
        /// Why it is unchanged.
        counter: Counter,
    },
    /// Accept the packet with these octets instead of its own.
    Rewritten {
        /// The kernel's number of the packet.
        id: u32,
        /// The whole IP packet.
        octets: Vec<u8>,
    },
    /// Nothing but a counter moves.
    Count(Counter),
}

impl Output {
    /// The counter that goes up by one.
    pub fn counter(&self) -> Option<Counter> {
        match self {
            Self::Lookup(_) => None,
            Self::Rewritten { .. } => Some(Counter::DnsMapped),
            Self::Release { counter, .. } | Self::Count(counter) => Some(*counter),
        }
    }
}

/// The replies that wait, the questions that are open and what is known from earlier ones.
#[derive(Debug)]
pub struct Hold {
    settings: Settings,
    /// In the order of their deadlines.
    waiting: VecDeque<Waiting>,
    lookups: Expiring<LookupKey, ()>,
    answers: Expiring<LookupKey, Answer>,
    /// Unanswered questions in a row.
    silences: Expiring<Server, u8>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Waiting {
    id: u32,
    octets: Vec<u8>,
    asked: Name,
    key: LookupKey,
    deadline: Time,
}

impl Hold {
    /// Nothing waits and nothing is known.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            waiting: VecDeque::new(),
            lookups: Expiring::new(MAX_LOOKUPS),
            answers: Expiring::new(MAX_ANSWERS),
            silences: Expiring::new(MAX_SERVERS),
            outputs: VecDeque::new(),
        }
    }

    /// Takes a packet. It comes out again as [`Output::Release`] or [`Output::Rewritten`], now or
    /// later.
    pub fn packet(&mut self, captured: Captured, now: Time, around: &mut impl Surroundings) {
        let id = captured.id;
        match self.examine(captured, now) {
            Ok(waiting) => self.admit(waiting, now, around),
            Err(counter) => self.release(id, counter),
        }
    }

    /// Takes the answer to a question, also a late one.
    pub fn answer(
        &mut self,
        key: LookupKey,
        answer: NatAnswer,
        now: Time,
        around: &mut impl Surroundings,
    ) {
        self.lookups.remove(&key);
        self.note_silence(key.server, &answer, now);
        let (answer, ttl) = self.judge(&key, answer, around);
        self.settle_waiting(&key, &answer, ttl, now, around);
        if ttl > 0 {
            let end = now + Duration::from_secs(u64::from(ttl));
            let evicted = self.answers.insert(key, answer, end, now);
            self.count_eviction(evicted);
        }
    }

    /// Passes on what has waited too long, and gives up questions that nobody answered.
    pub fn tick(&mut self, now: Time, around: &mut impl Surroundings) {
        let late = self.waiting.partition_point(|waiting| waiting.deadline <= now);
        self.release_first(late);
        while let Some(key) = self.lookups.pop_ended(now) {
            self.answer(key, NatAnswer::Silent, now, around);
        }
    }

    /// When [`Hold::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let packet = self.waiting.front().map(|waiting| waiting.deadline);
        [packet, self.lookups.next_end()].into_iter().flatten().min()
    }

    /// What is to be done next.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Passes on everything that waits: the daemon ends.
    pub fn stop(&mut self) {
        self.release_first(self.waiting.len());
    }

    /// A packet that is worth waiting for, or why it is not.
    fn examine(&self, captured: Captured, now: Time) -> Result<Waiting, Counter> {
        let Captured { id, interface, octets } = captured;
        let packet = Packet::parse(&octets).map_err(|_| Counter::DnsMalformed)?;
        let server = Server::new(packet.server(), interface);
        match classify(packet.message(), self.settings.policy) {
            Class::Pass(counter) => Err(counter),
            Class::Hold(follow_up) => {
                let key = LookupKey { server, name: follow_up.target };
                let deadline = now + self.settings.patience;
                Ok(Waiting { id, octets, asked: follow_up.asked, key, deadline })
            }
        }
    }

    fn admit(&mut self, waiting: Waiting, now: Time, around: &mut impl Surroundings) {
        if let Some((answer, end)) = self.answers.find(&waiting.key, now) {
            let (answer, ttl) = (answer.clone(), end.since(now).as_secs() as u32);
            return self.settle(&waiting, &answer, ttl, now, around);
        }
        let asked = self.ask(&waiting.key, now);
        if self.is_silent(waiting.key.server, now) {
            self.release(waiting.id, Counter::DnsServerSilent);
        } else if !asked || self.waiting.len() >= MAX_WAITING {
            self.release(waiting.id, Counter::DnsHoldFull);
        } else {
            self.outputs.push_back(Output::Count(Counter::DnsHeld));
            self.waiting.push_back(waiting);
        }
    }

    /// Sees to it that a question is open; says whether it is.
    fn ask(&mut self, key: &LookupKey, now: Time) -> bool {
        if self.lookups.find(key, now).is_some() {
            return true;
        }
        if self.lookups.is_full() {
            return false;
        }
        self.lookups.insert(key.clone(), (), now + LOOKUP_LIFETIME, now);
        self.outputs.push_back(Output::Lookup(key.clone()));
        true
    }

    fn is_silent(&self, server: Server, now: Time) -> bool {
        self.silences.find(&server, now).is_some_and(|(count, _)| *count >= SILENT_AFTER)
    }

    fn note_silence(&mut self, server: Server, answer: &NatAnswer, now: Time) {
        match answer {
            NatAnswer::Found { .. } | NatAnswer::None { .. } => self.silences.remove(&server),
            // The question may not have left this host: that tells nothing about the server.
            NatAnswer::Failed => {}
            NatAnswer::Silent => {
                let before = self.silences.find(&server, now).map_or(0, |(count, _)| *count);
                let (count, end) = (before.saturating_add(1), now + SILENCE_LIFETIME);
                let evicted = self.silences.insert(server, count, end, now);
                self.count_eviction(evicted);
            }
        }
    }

    /// What an answer is worth, and for how many seconds.
    fn judge(
        &mut self,
        key: &LookupKey,
        answer: NatAnswer,
        around: &impl Surroundings,
    ) -> (Answer, u32) {
        let (negative, ttl) = match answer {
            NatAnswer::Failed | NatAnswer::Silent => return (Answer::Failed, FAILURE_TTL),
            NatAnswer::None { ttl } => (Answer::NoRecord, ttl),
            NatAnswer::Found { paths, ttl } => match self.believed(&key.name, paths, around) {
                Some(paths) => return (Answer::Paths(paths), sound_ttl(ttl).min(MAX_TTL)),
                None => (Answer::NoRecord, ttl),
            },
        };
        let (least, most) = NEGATIVE_TTL;
        (negative, sound_ttl(ttl).clamp(least, most))
    }

    /// The paths that may be used.
    fn believed(
        &mut self,
        name: &Name,
        paths: Vec<Path>,
        around: &impl Surroundings,
    ) -> Option<PathSet> {
        let private_allowed = self.settings.allows_private(name);
        let all = paths.len();
        let is_believed =
            |path: &Path| acceptable(path, private_allowed, |addr| around.is_own(addr)).is_ok();
        let mut believed: Vec<_> = paths.into_iter().filter(is_believed).collect();
        self.count_many(Counter::DnsRefusedRecord, all - believed.len());
        // Sorted first, so that the same record set always leaves the same paths.
        believed.sort();
        believed.dedup();
        self.count_many(Counter::DnsExcessRecord, believed.len().saturating_sub(MAX_PATHS));
        believed.truncate(MAX_PATHS);
        PathSet::new(believed)
    }

    /// Lets go of every packet that waits for this answer.
    fn settle_waiting(
        &mut self,
        key: &LookupKey,
        answer: &Answer,
        ttl: u32,
        now: Time,
        around: &mut impl Surroundings,
    ) {
        let all = std::mem::take(&mut self.waiting);
        let (settled, others): (VecDeque<_>, _) =
            all.into_iter().partition(|waiting| waiting.key == *key);
        self.waiting = others;
        for waiting in &settled {
            self.settle(waiting, answer, ttl, now, around);
        }
    }

    fn settle(
        &mut self,
        waiting: &Waiting,
        answer: &Answer,
        ttl: u32,
        now: Time,
        around: &mut impl Surroundings,
    ) {
        let changed = match answer {
            Answer::NoRecord => Err(Counter::DnsNoRecord),
            Answer::Failed => Err(Counter::DnsLookupFailed),
            Answer::Paths(paths) => {
                let ttl = ttl.min(self.settings.max_mapped_ttl);
                changed(waiting, ttl, |ttl| around.map(&waiting.asked, paths, ttl, now))
            }
        };
        match changed {
            Ok(octets) => self.outputs.push_back(Output::Rewritten { id: waiting.id, octets }),
            Err(counter) => self.release(waiting.id, counter),
        }
    }

    fn release_first(&mut self, count: usize) {
        let released = self.waiting.drain(..count);
        let counter = Counter::DnsTimeout;
        self.outputs.extend(released.map(|waiting| Output::Release { id: waiting.id, counter }));
    }

    fn release(&mut self, id: u32, counter: Counter) {
        self.outputs.push_back(Output::Release { id, counter });
    }

    fn count_eviction(&mut self, evicted: bool) {
        self.count_many(Counter::DnsEvicted, usize::from(evicted));
    }

    fn count_many(&mut self, counter: Counter, count: usize) {
        self.outputs.extend(std::iter::repeat_n(Output::Count(counter), count));
    }
}

/// The packet with a mapped address in it, or why it stays as it is.
fn changed(
    waiting: &Waiting,
    ttl: u32,
    map: impl FnOnce(u32) -> Option<Ipv4Addr>,
) -> Result<Vec<u8>, Counter> {
    let packet = Packet::parse(&waiting.octets).map_err(|_| Counter::DnsMalformed)?;
    let mapped = map(ttl).ok_or(Counter::MappingsFull)?;
    let limit = size_limit(packet.message());
    let message = rewrite(packet.message(), mapped, ttl, limit).map_err(|error| match error {
        RewriteError::Malformed(_) => Counter::DnsMalformed,
        RewriteError::HasAddress => Counter::DnsPassed,
        RewriteError::TooLarge(_) => Counter::DnsTooLarge,
    })?;
    packet.with_message(&message).map_err(|_| Counter::DnsTooLarge)
}

/// A TTL with its top bit set counts as zero (RFC 2181 §8).
fn sound_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

#[cfg(test)]
mod tests;
