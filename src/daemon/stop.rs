//! Asking all threads to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::os::nfqueue::Wake;

use super::Error;

/// A request to stop that all threads see, also while they wait.
pub(super) struct Stop {
    requested: AtomicBool,
    /// Why, if a thread failed that nobody waits for.
    failure: Mutex<Option<Error>>,
    wake: Wake,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { requested: AtomicBool::default(), failure: Mutex::default(), wake: Wake::new()? })
    }

    pub(super) fn request(&self) {
        self.requested.store(true, Relaxed);
        self.wake.wake();
    }

    /// Requests a stop because of an error; the first one counts.
    pub(super) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.request();
    }

    /// The error that a stop was requested for, if it was.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_reason() {
        let stop = Stop::new().expect("an eventfd");
        assert!(!stop.requested() && stop.failure().is_none());
        stop.fail(Error::Thread("dns"));
        stop.fail(Error::Thread("lookup"));
        assert!(stop.requested());
        assert!(matches!(stop.failure(), Some(Error::Thread("dns"))));
    }
}
