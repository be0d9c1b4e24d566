//! Keeps the flows in a file, so that connections outlive the daemon, however it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::os::clock::{self, Clock};
use crate::os::journal::Journal;
use crate::os::nfqueue::Wake;
use crate::tunnel::Saved;

use super::repeated::Repeated;
use super::stop::Stop;
use super::{Error, Roles};

/// File of the flows in the state directory.
const FILE: &str = "flows";
/// New flows are written at once, but not more often than this: what is newer is lost when natttd is
/// killed.
const PAUSE: Duration = Duration::from_millis(50);
/// All flows are written this often, with their last use and without those that ended.
const SNAPSHOT: Duration = Duration::from_secs(60);
/// The same after a failure: a disk that was full may have room again.
const RETRY: Duration = Duration::from_secs(5);
/// Sooner, if so many octets were added.
const MOST_ADDED: usize = 8 << 20;

pub(super) struct Keeper {
    roles: Arc<Roles>,
    clock: Clock,
    journal: Journal,
    boot: String,
    snapshot: (Duration, usize),
    /// In the log.
    what: String,
    saving: Repeated,
}

impl Keeper {
    /// For the flows of these roles, and a file that nobody has read yet.
    pub(super) fn new(roles: Arc<Roles>, clock: Clock, state_dir: &Path) -> Self {
        let file = state_dir.join(FILE);
        let journal = Journal::new(&file);
        // Without it no file counts as of this boot: " " is nobody's.
        let boot = clock::boot().unwrap_or_else(|_| " ".into());
        Self {
            roles,
            clock,
            journal,
            boot,
            snapshot: Default::default(),
            what: format!("saving the flows in {}, for when natttd is restarted", file.display()),
            saving: Repeated::default(),
        }
    }

    /// Takes the flows of an earlier run back.
    pub(super) fn restore(self) -> Self {
        match self.journal.load() {
            Ok(text) => {
                let (flows, others) = Saved::read(&text, &self.boot).unwrap_or_else(|error| {
                    log::warn!("the saved flows: {error}; connections may break");
                    Default::default()
                });
                if others > 0 {
                    log::debug!("{others} lines of the saved flows are none");
                }
                self.take(flows, SNAPSHOT)
            }
            Err(error) => {
                log::warn!("reading the saved flows: {error}; connections may break");
                self
            }
        }
    }

    /// Takes flows over that went on until now under another configuration.
    pub(super) fn carry(self, flows: Vec<Saved>) -> Self {
        self.take(flows, Duration::ZERO)
    }

    /// `slack`: how old what was saved may be.
    fn take(self, flows: Vec<Saved>, slack: Duration) -> Self {
        let (saved, restored) = (flows.len(), self.roles.restore(flows, slack, self.clock.now()));
        if saved > 0 {
            log::info!("{restored} of {saved} flows go on");
        }
        // What was just restored is not new.
        self.roles.fresh();
        self
    }

    /// Goes on until a stop is requested; `wake` tells of new flows.
    pub(super) fn run(&mut self, stop: &Stop, wake: &Wake) -> Result<(), Error> {
        self.save();
        while !stop.requested() {
            wait(&[stop.wake(), wake], self.interval())?;
            // Before looking for flows, so that a wake-up in between is not lost.
            wake.clear();
            self.add(&self.roles.fresh());
            wait(&[stop.wake()], PAUSE)?;
        }
        Ok(())
    }

    fn add(&mut self, fresh: &[Saved]) {
        let (at, octets) = self.snapshot;
        let due = self.uptime().saturating_sub(at) >= self.interval()
            || self.journal.octets().saturating_sub(octets) >= MOST_ADDED;
        if due {
            self.save();
        } else if !fresh.is_empty() {
            let written = self.journal.append(&lines(fresh));
            // Success says nothing of lines that found no room before.
            if written.is_err() {
                self.saving.done(&self.what, written);
            }
        }
    }

    /// Writes all flows.
    pub(super) fn save(&mut self) {
        let content = Saved::header(&self.boot) + &lines(&self.roles.saved());
        let written = self.journal.replace(&content);
        self.snapshot = (self.uptime(), self.journal.octets());
        self.saving.done(&self.what, written);
    }

    /// How long after all flows were written they are written again. After a failure some are missing.
    fn interval(&self) -> Duration {
        if self.saving.failing() { RETRY } else { SNAPSHOT }
    }

    fn uptime(&self) -> Duration {
        self.clock.now().since(self.clock.started())
    }
}

fn lines(flows: &[Saved]) -> String {
    flows.iter().map(|flow| format!("{flow}\n")).collect()
}

fn wait(wakes: &[&Wake], pause: Duration) -> Result<(), Error> {
    let mut fds: Vec<_> = wakes.iter().map(|wake| PollFd::new(*wake, PollFlags::IN)).collect();
    let nanoseconds = pause.subsec_nanos().into();
    let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: nanoseconds };
    match poll(&mut fds, Some(&pause)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Error::System("waiting for new flows", error.into())),
    }
}
