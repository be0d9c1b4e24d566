//! The one notion of time that the pure layers know.

use std::ops::Add;
use std::time::Duration;

/// Milliseconds since the UNIX epoch, advanced by a monotonic clock.
///
/// The daemon reads the wall clock once, at its start, and adds monotonic time from then on: a
/// stepped clock never ends a flow early, and a time written to disk still means something after a
/// restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// A time from milliseconds since the UNIX epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the UNIX epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis() as u64))
    }
}
