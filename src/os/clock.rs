//! The clock behind [`Time`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::Time;

/// Wall-clock time at the start, advanced by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall: Time,
}

impl Clock {
    /// Starts a clock.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Time::from_millis(wall.as_millis() as u64);
        Self { started: Instant::now(), wall }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.wall + self.started.elapsed()
    }

    /// When it was started.
    pub fn started(&self) -> Time {
        self.wall
    }
}
