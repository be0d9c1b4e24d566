//! Signals that the daemon handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::Builder;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::os::nfqueue::Wake;

use super::Error;

/// What signals asked for and nobody has done yet.
pub(super) struct Calls {
    end: AtomicBool,
    reload: AtomicBool,
    wake: Wake,
}

/// From now on signals are taken by a thread, which ends with the process.
pub(super) fn listen() -> Result<Arc<Calls>, Error> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|e| Error::System("signals", e))?;
    let calls = Arc::new(Calls::new()?);
    let told = EndAtDrop(Arc::clone(&calls));
    let run = move || signals.forever().for_each(|signal| told.0.call(signal));
    Builder::new()
        .name("signals".into())
        .spawn(run)
        .map_err(|e| Error::System("starting a thread", e))?;
    Ok(calls)
}

impl Calls {
    fn new() -> Result<Self, Error> {
        let wake = Wake::new().map_err(|e| Error::System("eventfd", e))?;
        Ok(Self { end: AtomicBool::default(), reload: AtomicBool::default(), wake })
    }

    fn call(&self, signal: i32) {
        let flag = if signal == SIGHUP { &self.reload } else { &self.end };
        flag.store(true, Relaxed);
        self.wake.wake();
    }

    /// Whether natttd is to end.
    pub(super) fn end(&self) -> bool {
        self.end.load(Relaxed)
    }

    /// Whether the configuration is to be read again; asked once a call, or once many.
    pub(super) fn take_reload(&self) -> bool {
        self.reload.swap(false, Relaxed)
    }

    /// Wakes whoever waits; to be cleared before looking.
    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }
}

/// A process that hears no signals any more ends.
struct EndAtDrop(Arc<Calls>);

impl Drop for EndAtDrop {
    fn drop(&mut self) {
        self.0.call(SIGTERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_calls_to_reload_are_one_and_an_end_stays() {
        let calls = Calls::new().expect("an eventfd");
        assert!(!calls.take_reload() && !calls.end());
        (0..10).for_each(|_| calls.call(SIGHUP));
        assert!(calls.take_reload() && !calls.take_reload() && !calls.end());
        calls.call(SIGTERM);
        assert!(calls.end() && calls.end());
    }
}
