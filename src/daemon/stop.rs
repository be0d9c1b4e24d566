//! Asking all threads to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::os::nfqueue::Wake;

/// A request to stop that all threads see, also while they wait.
pub(super) struct Stop {
    requested: AtomicBool,
    wake: Wake,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { requested: AtomicBool::new(false), wake: Wake::new()? })
    }

    pub(super) fn request(&self) {
        self.requested.store(true, Relaxed);
        self.wake.wake();
    }

    pub(super) fn requested(&self) -> bool {
        self.requested.load(Relaxed)
    }

    /// Wakes whoever waits once a stop is requested, and is never cleared.
    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
