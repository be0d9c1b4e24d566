//! Replies that wait for the NAT record of their name, or for the A records that emulate it:
//! replies, answers and time in; questions, decisions and changed replies out.
//!
//! A reply waits for `patience` at most and is then passed on as it came; its question goes on,
//! and a late answer serves the next reply. Nothing here blocks, and every table has a cap.
//!
//! How a reply was captured is its *ticket*'s business: a packet that the kernel holds
//! ([`Captured`]), or a question to the DNS proxy that has no answer yet.

mod captured;
mod change;
mod inquiry;
mod lookup;
mod silence;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use self::captured::Captured;
use self::change::{changed, named};
use self::inquiry::{Inquiry, Joined, Known, Outcome};
use self::lookup::{Answer, sound_ttl};
pub use self::lookup::{LookupKey, NatAnswer, Server, Wanted};
pub use self::silence::MAX_SERVERS;
use self::silence::{Silences, Unanswered};
use super::accept::{acceptable, acceptable_first, may_be_a_host};
use super::{Class, FollowUp, Lack, Name, Policy, classify};
use crate::counters::Counter;
use crate::expiring::Expiring;
pub use crate::path::MAX_PATHS;
use crate::path::{Path, PathSet};
use crate::time::Time;

/// The most replies that wait.
pub const MAX_WAITING: usize = 1024;
/// The most questions that are open. In a full table the oldest that nobody waits for any more makes
/// room.
pub const MAX_LOOKUPS: usize = 512;
/// The most answers that are remembered.
pub const MAX_ANSWERS: usize = 8192;

/// A question without any answer is given up after this time, as if the server had been silent.
const LOOKUP_LIFETIME: Duration = Duration::from_secs(30);
/// The longest that a path is remembered (RFC 8767 §4 caps at 7 days; NAT boxes move more often).
const MAX_TTL: Duration = Duration::from_secs(3600);
/// The least and the most that the absence of a record is remembered (RFC 2308 §5).
const NEGATIVE_TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How long a failure is remembered (RFC 2308 §7 allows five minutes at most).
const FAILURE_TTL: Duration = Duration::from_secs(5);

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest that a reply waits.
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

    /// Whether an address is this host's, so that a path cannot begin there.
    fn is_own(&self, addr: Ipv4Addr) -> bool;

    /// Whether some flow can take a path: one that begins at this host's own gateway role may lead back,
    /// or to what that must not reach.
    fn leads(&self, path: &Path) -> bool;

    /// The name that a mapped address stands for.
    fn name_of(&self, mapped: Ipv4Addr) -> Option<Name>;
}

/// A reply on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// What the reply goes on by, once it is decided.
    pub ticket: T,
    /// The server that sent it.
    pub server: Server,
    /// The most octets that its client takes.
    pub limit: usize,
    /// The DNS message.
    pub message: Vec<u8>,
}

impl<T> Reply<T> {
    /// The same reply by another ticket.
    pub fn with_ticket<U>(self, change: impl FnOnce(T) -> U) -> Reply<U> {
        let Self { ticket, server, limit, message } = self;
        Reply { ticket: change(ticket), server, limit, message }
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<T> {
    /// Ask for records; the answer comes back through [`Hold::answer`].
    Lookup(LookupKey),
    /// Pass the reply on as it came.
    Release {
        /// Which reply.
        ticket: T,
        /// Why it is unchanged.
        counter: Counter,
    },
    /// Pass on this message instead.
    Rewritten {
        /// Which reply.
        ticket: T,
        /// The DNS message.
        message: Vec<u8>,
        /// What it has become.
        counter: Counter,
    },
    /// Nothing but a counter moves.
    Count(Counter),
}

impl<T> Output<T> {
    /// The counter that goes up by one.
    pub fn counter(&self) -> Option<Counter> {
        match self {
            Self::Lookup(_) => None,
            Self::Rewritten { counter, .. }
            | Self::Release { counter, .. }
            | Self::Count(counter) => Some(*counter),
        }
    }
}

/// The replies that wait, the questions that are open and what is known from earlier ones.
#[derive(Debug)]
pub struct Hold<T> {
    settings: Settings,
    /// In the order of their deadlines.
    waiting: VecDeque<Waiting<T>>,
    /// When each was asked.
    lookups: Expiring<LookupKey, Time>,
    answers: Expiring<LookupKey, Answer>,
    silences: Silences,
    outputs: VecDeque<Output<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    reply: Reply<T>,
    about: FollowUp,
    inquiry: Inquiry,
    deadline: Time,
}

impl<T> Hold<T> {
    /// Nothing waits and nothing is known.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            waiting: VecDeque::new(),
            lookups: Expiring::new(MAX_LOOKUPS),
            answers: Expiring::new(MAX_ANSWERS),
            silences: Silences::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes a reply. It comes out again as [`Output::Release`] or [`Output::Rewritten`], now or
    /// later.
    pub fn reply(&mut self, reply: Reply<T>, now: Time, around: &mut impl Surroundings) {
        match classify(&reply.message, &self.settings.policy) {
            Class::Pass(counter) => self.release(reply.ticket, counter),
            Class::Hold(about) => {
                let inquiry = Inquiry::new(reply.server, &about, now);
                let deadline = now + self.settings.patience;
                self.admit(Waiting { reply, about, inquiry, deadline }, now, around);
            }
            Class::Nameless(addr) => {
                let changed = named(&reply.message, around.name_of(addr), reply.limit);
                self.pass_on(reply.ticket, changed);
            }
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
        let asked = self.lookups.remove(&key);
        self.note_silence(&key, asked, &answer, now);
        let (answer, ttl) = self.judge(&key, answer, around);
        let known = Known { answer, end: now + ttl };
        self.settle_waiting(&key, &known, now, around);
        if !ttl.is_zero() {
            let evicted = self.answers.insert(key, known.answer, known.end, now);
            self.count_eviction(evicted);
        }
    }

    /// Passes on what has waited too long, and gives up questions that nobody answered.
    pub fn tick(&mut self, now: Time, around: &mut impl Surroundings) {
        let late = self.waiting.partition_point(|waiting| waiting.deadline <= now);
        for waiting in self.waiting.drain(..late).collect::<Vec<_>>() {
            match waiting.inquiry.outcome(false) {
                Some(outcome) => self.settle(waiting, outcome, now, around),
                None => self.release(waiting.reply.ticket, Counter::DnsTimeout),
            }
        }
        while let Some(key) = self.lookups.first_ended(now).cloned() {
            self.answer(key, NatAnswer::Silent, now, around);
        }
    }

    /// When [`Hold::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let reply = self.waiting.front().map(|waiting| waiting.deadline);
        [reply, self.lookups.next_end()].into_iter().flatten().min()
    }

    /// What is to be done next.
    pub fn output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// What waits, for another [`Hold`] to take.
    pub fn into_waiting(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().map(|waiting| waiting.reply.ticket)
    }

    fn admit(&mut self, mut waiting: Waiting<T>, now: Time, around: &mut impl Surroundings) {
        waiting.inquiry.fill(|key| {
            let (answer, end) = self.answers.find(key, now)?;
            Some(Known { answer: answer.clone(), end })
        });
        if let Some(outcome) = waiting.inquiry.outcome(true) {
            return self.settle(waiting, outcome, now, around);
        }
        let open: Vec<LookupKey> = waiting.inquiry.open().cloned().collect();
        // Browsers ask for HTTPS records of every name: only what is being asked anyway is worth a wait.
        if waiting.about.lack == Lack::Hints
            && !open.iter().all(|key| self.lookups.find(key, now).is_some())
        {
            return self.release(waiting.reply.ticket, Counter::DnsPassed);
        }
        let unasked = open.iter().filter(|key| !self.ask(key, now)).count();
        waiting.inquiry.fill(|key| {
            let silent = self.silences.is_silent((key.server, key.wanted), now);
            silent.then_some(Known { answer: Answer::Silent, end: now })
        });
        if let Some(outcome) = waiting.inquiry.outcome(true) {
            self.settle(waiting, outcome, now, around);
        } else if unasked > 0 || self.waiting.len() >= MAX_WAITING {
            self.release(waiting.reply.ticket, Counter::DnsHoldFull);
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
        if self.lookups.is_full() && !self.oldest_may_go(now) {
            return false;
        }
        let evicted = self.lookups.insert(key.clone(), now, now + LOOKUP_LIFETIME, now);
        self.count_eviction(evicted);
        self.outputs.push_back(Output::Lookup(key.clone()));
        true
    }

    /// Whether the reply that led to the oldest question has gone on by now. An answer that comes in
    /// spite of that is taken like any other. All live equally long, so the oldest ends first.
    fn oldest_may_go(&self, now: Time) -> bool {
        let ends_by = now + LOOKUP_LIFETIME;
        self.lookups.next_end().is_some_and(|end| end + self.settings.patience <= ends_by)
    }

    /// What an answer or its absence says about the server. `asked` is nothing if the question had
    /// made room for another.
    fn note_silence(
        &mut self,
        key: &LookupKey,
        asked: Option<Time>,
        answer: &NatAnswer,
        now: Time,
    ) {
        match answer {
            NatAnswer::Found { .. } | NatAnswer::Addresses { .. } | NatAnswer::None { .. } => {
                self.silences.answered((key.server, key.wanted), now);
            }
            // The question may not have left this host: that tells nothing about the server.
            NatAnswer::Failed => {}
            NatAnswer::Silent => {
                let Some(asked) = asked else { return };
                match self.silences.unanswered(key, asked, now) {
                    Unanswered::Nothing => {}
                    // Nobody waits for it: if the table is full, the next unanswered question asks.
                    Unanswered::AskRoot(root) => _ = self.ask(&root, now),
                    Unanswered::Silent { evicted } => self.count_eviction(evicted),
                }
            }
        }
    }

    /// What an answer is worth, and for how long.
    fn judge(
        &mut self,
        key: &LookupKey,
        answer: NatAnswer,
        around: &impl Surroundings,
    ) -> (Answer, Duration) {
        let (negative, ttl) = match answer {
            NatAnswer::Failed | NatAnswer::Silent => return (Answer::Failed, FAILURE_TTL),
            NatAnswer::None { ttl } => (Answer::NoRecord, ttl),
            NatAnswer::Addresses { addrs, ttl } => return Answer::of_addresses(addrs, ttl),
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
        let is_own = |addr| around.is_own(addr);
        let is_believed =
            |path: &Path| acceptable(path, private_allowed, is_own).is_ok() && around.leads(path);
        let mut believed: Vec<_> = paths.into_iter().filter(is_believed).collect();
        self.count_many(Counter::DnsRefusedRecord, all - believed.len());
        // Sorted first, so that the same record set always leaves the same paths.
        believed.sort();
        believed.dedup();
        self.count_many(Counter::DnsExcessRecord, believed.len().saturating_sub(MAX_PATHS));
        believed.truncate(MAX_PATHS);
        PathSet::new(believed)
    }

    /// The paths that the addresses of boxes and host make, by the same rules as those of NAT
    /// records.
    fn joined(&mut self, waiting: &Waiting<T>, around: &impl Surroundings) -> Option<PathSet> {
        let private_allowed = self.settings.allows_private(&waiting.about.target);
        let usable = |addr, first| match first {
            true => acceptable_first(addr, private_allowed, |addr| around.is_own(addr)).is_ok(),
            false => may_be_a_host(addr),
        };
        let Joined { mut paths, refused } = waiting.inquiry.emulated_paths(MAX_PATHS, usable);
        let all = paths.len();
        paths.retain(|path| around.leads(path));
        self.count_many(Counter::DnsRefusedRecord, refused + all - paths.len());
        PathSet::new(paths)
    }

    /// Lets go of every reply that has waited for this answer only.
    fn settle_waiting(
        &mut self,
        key: &LookupKey,
        known: &Known,
        now: Time,
        around: &mut impl Surroundings,
    ) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting.inquiry.fill(|open| (open == key).then(|| known.clone()));
            match waiting.inquiry.outcome(true) {
                Some(outcome) => self.settle(waiting, outcome, now, around),
                None => self.waiting.push_back(waiting),
            }
        }
    }

    fn settle(
        &mut self,
        waiting: Waiting<T>,
        outcome: Outcome,
        now: Time,
        around: &mut impl Surroundings,
    ) {
        let emulated = matches!(outcome, Outcome::Emulated { .. });
        let (paths, end) = match outcome {
            Outcome::Unchanged(counter) => return self.release(waiting.reply.ticket, counter),
            Outcome::Paths { paths, end } => (Some(paths), end),
            Outcome::Emulated { end } => (self.joined(&waiting, around), end),
        };
        let Waiting { reply, about, .. } = waiting;
        let Some(paths) = paths else {
            return self.release(reply.ticket, Counter::DnsNoRecord);
        };
        let ttl = (end.since(now).as_secs() as u32).min(self.settings.max_mapped_ttl);
        let map = || around.map(&about.asked, &paths, ttl, now);
        let changed = changed(&reply.message, &about.lack, ttl, reply.limit, map);
        self.count_many(Counter::DnsEmulated, usize::from(emulated && changed.is_ok()));
        self.pass_on(reply.ticket, changed);
    }

    /// A reply with another message, or why it has none.
    fn pass_on(&mut self, ticket: T, changed: Result<(Vec<u8>, Counter), Counter>) {
        match changed {
            Ok((message, counter)) => {
                self.outputs.push_back(Output::Rewritten { ticket, message, counter });
            }
            Err(counter) => self.release(ticket, counter),
        }
    }

    fn release(&mut self, ticket: T, counter: Counter) {
        self.outputs.push_back(Output::Release { ticket, counter });
    }

    fn count_eviction(&mut self, evicted: bool) {
        self.count_many(Counter::DnsEvicted, usize::from(evicted));
    }

    fn count_many(&mut self, counter: Counter, count: usize) {
        self.outputs.extend((0..count).map(|_| Output::Count(counter)));
    }
}

#[cfg(test)]
mod tests;
