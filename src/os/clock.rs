//! The clock behind [`Time`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use crate::time::Time;

/// What distinguishes this boot of the kernel from others (proc_sys_kernel(5), random/boot_id).
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

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
