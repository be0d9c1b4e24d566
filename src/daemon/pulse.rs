//! The watchdog of systemd is fed only while every worker goes round its loop: a thread with a
//! timer would feed it while packets wait for ever.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

/// A worker without packets goes round this often. WatchdogSec= of the unit is several times that.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// One worker's sign of life.
#[derive(Debug, Default)]
pub(super) struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// Says that the worker is alive now.
    pub(super) fn beat(&self) {
        // Read first: the line is shared with housekeeping, and a busy worker beats often.
        if !self.0.load(Relaxed) {
            self.0.store(true, Relaxed);
        }
    }
}

/// The signs of life of all workers.
#[derive(Debug, Default)]
pub(super) struct Pulses(Mutex<Vec<Arc<AtomicBool>>>);

impl Pulses {
    /// For one more worker.
    pub(super) fn one(&self) -> Pulse {
        let pulse = Pulse::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&pulse.0));
        pulse
    }

    /// Whether every worker has given a sign since this was last `true`.
    fn all_beat(&self) -> bool {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = pulses.iter().all(|beaten| beaten.load(Relaxed));
        if all {
            pulses.iter().for_each(|beaten| beaten.store(false, Relaxed));
        }
        all
    }
}

/// Tells systemd that the workers live, if its unit asks for that.
#[derive(Debug)]
pub(super) struct Watchdog {
    pulses: Arc<Pulses>,
    wanted: bool,
}

impl Watchdog {
    pub(super) fn new(pulses: Arc<Pulses>) -> Self {
        Self { pulses, wanted: sd_notify::watchdog_enabled().is_some() }
    }

    /// To be called more often than [`INTERVAL`].
    pub(super) fn feed(&self) {
        if self.wanted && self.pulses.all_beat() {
            super::notify(&[NotifyState::Watchdog]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_worker_is_enough() {
        let pulses = Pulses::default();
        let (busy, stuck) = (pulses.one(), pulses.one());
        busy.beat();
        busy.beat();
        assert!(!pulses.all_beat());
        stuck.beat();
        assert!(pulses.all_beat());
        busy.beat();
        assert!(!pulses.all_beat(), "an old sign of life counts once");
    }
}
