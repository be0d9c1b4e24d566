//! Which servers ignore questions for a type of record, so that nobody need wait for them.
//!
//! One name's question that stays without an answer says little about the server: anybody can have
//! names that hang, in as many zones as he likes, and put them all into one web page. So the root is
//! then asked about for the same type. It is nobody's zone, and every resolver knows without asking
//! anybody that it has no such record; a forwarder that drops the type drops this question too. Only
//! this one's silence counts.
//!
//! So a single unanswered name is enough: it is followed by the root's question at once, and a silent
//! forwarder is known after the time of two questions, not of three names that a user must ask for
//! and wait for. Each question is sent several times before it is given up, so that a lost packet is
//! no silence; a server that refuses to speak of the root is not silent either.

use std::time::Duration;

use super::lookup::{LookupKey, Server, Wanted};
use crate::dns::Name;
use crate::expiring::Expiring;
use crate::time::Time;

/// The most servers whose silence is remembered, and of whose last answer the time is.
pub const MAX_SERVERS: usize = 256;

/// A server's silence is forgotten after this time without another unanswered question about the root.
/// It is longer than any question is open.
const LIFETIME: Duration = Duration::from_secs(600);

/// Who was heard of and who was not, for each type of record: some servers ignore the NAT type only.
#[derive(Debug)]
pub(super) struct Silences {
    /// When the last answer came.
    heard: Expiring<(Server, Wanted), Time>,
    silent: Expiring<(Server, Wanted), ()>,
}

/// What an unanswered question means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nothing: the server has answered another since.
    Nothing,
    /// It may be the server: this question tells.
    AskRoot(LookupKey),
    /// The server is silent.
    Silent {
        /// Whether another that is silent had to be forgotten.
        evicted: bool,
    },
}

impl Silences {
    /// Nothing is known of any server.
    pub(super) fn new() -> Self {
        Self { heard: Expiring::new(MAX_SERVERS), silent: Expiring::new(MAX_SERVERS) }
    }

    /// Whether a server is known to ignore such questions.
    pub(super) fn is_silent(&self, of: (Server, Wanted), now: Time) -> bool {
        self.silent.find(&of, now).is_some()
    }

    /// A server answered such a question.
    pub(super) fn answered(&mut self, of: (Server, Wanted), now: Time) {
        self.silent.remove(&of);
        self.heard.insert(of, now, now + LIFETIME, now);
    }

    /// A question that was asked at `asked` is given up.
    pub(super) fn unanswered(&mut self, key: &LookupKey, asked: Time, now: Time) -> Unanswered {
        let of = (key.server, key.wanted);
        if self.heard.find(&of, now).is_some_and(|(&heard, _)| heard >= asked) {
            return Unanswered::Nothing;
        }
        let root = LookupKey { name: Name::root(), ..key.clone() };
        if *key != root {
            return Unanswered::AskRoot(root);
        }
        Unanswered::Silent { evicted: self.silent.insert(of, (), now + LIFETIME, now) }
    }
}
