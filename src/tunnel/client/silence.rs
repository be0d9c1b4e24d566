//! What a flow's silence tells about its path. TCP, SCTP and queries of ICMP are always answered, if only
//! by a refusal. A program that speaks another protocol may wait for nothing, as one that sends to a log
//! server; so there the silence counts only of a port that has answered somebody before.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{AppKey, Flow};
use crate::mapping::{Mapping, Standing};
use crate::time::Time;
use crate::tunnel::lifetime::Direction;
use crate::wire::datagram::{Transport, protocol};

/// A path that has not answered a flow for so long is given up for another. TCP has sent its SYN
/// three times by the next packet (RFC 6298 §2.1: after 1 s, then 2 s).
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether somebody owes a flow an answer.
fn is_owed_an_answer(mapping: &Mapping, key: &AppKey) -> bool {
    matches!(key.protocol, protocol::TCP | protocol::SCTP | protocol::ICMP)
        || mapping.health().port_answers(key.protocol, key.mapped.port)
}

/// Takes a path for a flow, unless it is bad. Only a flow that can tell tries one that was.
pub(super) fn take(mapping: &Mapping, key: &AppKey, path: usize, now: Time) -> bool {
    let health = mapping.health();
    match is_owed_an_answer(mapping, key) {
        true => health.take(path, now),
        false => health.standing(path, now) == Standing::Good,
    }
}

/// A path in a flow's note of those that it has tried.
pub(super) fn bit(path: usize) -> u64 {
    u32::try_from(path).ok().and_then(|path| 1u64.checked_shl(path)).unwrap_or(0)
}

impl<L> Flow<L> {
    /// A packet of the application's. Its endpoints may be used again for a new connection, which
    /// waits for an answer of its own.
    pub(super) fn note_sent(&self, transport: Transport, now: Time) {
        let answered = self.lifetime.answered();
        self.lifetime.note(transport, Direction::Forward, now);
        if answered && !self.lifetime.answered() {
            self.began.store(now.as_millis(), Relaxed);
        }
    }

    /// An answer of the host.
    pub(super) fn note_answer(&self, transport: Transport, now: Time) {
        let health = self.mapping.health();
        if !self.lifetime.answered() {
            health.port_answered(self.key.protocol, self.key.mapped.port);
        }
        self.lifetime.note(transport, Direction::Reverse, now);
        health.answered(self.path_index, now);
    }

    /// When it began to wait for its first answer.
    pub(super) fn began(&self) -> Time {
        Time::from_millis(self.began.load(Relaxed))
    }

    /// Whether it waits in vain for its first answer while there are other paths: nothing came
    /// back through this one since, or an error about it did.
    pub(super) fn has_given_up(&self, now: Time) -> bool {
        let health = self.mapping.health();
        if !health.has_choice() || self.lifetime.answered() {
            return false;
        }
        let began = self.began();
        if health.failed_since(self.path_index, began) {
            return true;
        }
        let silent = now.since(began) >= PATIENCE && !health.answered_since(self.path_index, began);
        if silent && is_owed_an_answer(&self.mapping, &self.key) {
            health.failed(self.path_index, now);
        }
        silent
    }

    /// Whether it may go on through another path. Where silence tells nothing it tries each path once,
    /// in case an answer is due after all.
    pub(super) fn may_leave_for(&self, path: usize, now: Time) -> bool {
        let health = self.mapping.health();
        let is_silent = health.failed_since(self.path_index, self.began());
        path != self.path_index
            && health.standing(path, now) != Standing::Bad
            && (is_silent || self.tried & bit(path) == 0)
    }
}
