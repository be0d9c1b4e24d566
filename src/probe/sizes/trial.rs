//! One packet of one size, sent until it is clear whether it arrives.

use std::time::Duration;

use super::super::prober::Place;

/// A packet is lost if nothing comes back so long after it, at least. (Three round trips, if that is
/// more.)
const LEAST_PATIENCE: Duration = Duration::from_millis(150);
const MOST_PATIENCE: Duration = Duration::from_secs(1);
/// A box that has reported six errors is silent for a second (Linux' `icmp_ratelimit`).
const CONTROL_PATIENCE: Duration = Duration::from_secs(1);
/// So often a box is asked that does not answer to small packets any more.
const ROUNDS: u8 = 4;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Who is to answer.
    pub(super) place: Place,
    /// Octets on the first link.
    pub(super) size: u16,
    /// Whether DF is set in all tunnel headers.
    pub(super) whole: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the packet.
    Send,
    /// Send a small one to the same place.
    Control,
    /// Nothing yet.
    Wait,
    /// It is lost: a small one behind it was answered.
    Lost,
    /// Nobody answers any more, whatever the size.
    Unanswered,
}

/// An attempt that is under way.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) attempt: Attempt,
    patience: Duration,
    stage: Stage,
    /// What is still to be sent in this stage, the last first.
    waiting: Vec<Step>,
    due: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The packet was sent once, which mostly is enough.
    Alone,
    /// It was sent again, with a small one behind it; so many times.
    Beside(u8),
    /// The small one was answered.
    Controlled,
}

impl Trial {
    /// `time`: how long the place takes to answer.
    pub(super) fn new(attempt: Attempt, time: Duration) -> Self {
        Self {
            attempt,
            patience: (time * 3).clamp(LEAST_PATIENCE, MOST_PATIENCE),
            stage: Stage::Alone,
            waiting: vec![Step::Send],
            due: Duration::ZERO,
        }
    }

    /// When to ask again.
    pub(super) fn due(&self) -> Duration {
        if self.waiting.is_empty() { self.due } else { Duration::ZERO }
    }

    pub(super) fn poll(&mut self, now: Duration) -> Step {
        if self.waiting.is_empty() && now < self.due {
            return Step::Wait;
        }
        if self.waiting.is_empty() {
            let again = match self.stage {
                Stage::Alone => 1,
                Stage::Beside(times) if times < ROUNDS => times + 1,
                Stage::Beside(_) => return Step::Unanswered,
                Stage::Controlled => return Step::Lost,
            };
            self.stage = Stage::Beside(again);
            // Three large ones are not lost by chance.
            self.waiting = vec![Step::Control, Step::Send, Step::Send];
        }
        let patience = match self.stage {
            Stage::Alone => self.patience,
            Stage::Beside(_) | Stage::Controlled => CONTROL_PATIENCE,
        };
        self.due = now + patience;
        self.waiting.pop().unwrap_or(Step::Wait)
    }

    /// Whether the next packet has to follow at once: a box that may report one more error a second
    /// would else spend it on the small packet.
    pub(super) fn is_hurried(&self) -> bool {
        self.waiting.last() == Some(&Step::Control)
    }

    /// A small packet of this trial was answered: the large ones before it have so long yet.
    pub(super) fn controlled(&mut self, now: Duration) {
        if let Stage::Beside(_) = self.stage {
            self.stage = Stage::Controlled;
            self.waiting.clear();
            self.due = now + self.patience;
        }
    }
}
