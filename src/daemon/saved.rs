//! The mapping table on disk: read at the start, and saved by a thread of its own, because a large
//! table or a slow disk must not keep housekeeping from its keepalives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::config::{self, Config};
use crate::mapping::{Mappings, State};
use crate::os::clock::Clock;
use crate::os::state;
use crate::time::Time;

use super::Error;
use super::repeated::Repeated;
use super::stop::Stop;

/// In the state directory.
const MAPPINGS_FILE: &str = "mappings.json";

/// Times in the saved table may be so old; a restart adds a whole quarantine to them anyway.
const SAVE_TIMES: Duration = Duration::from_secs(60);

/// After saving, the saver rests this many times as long as it took, but never longer than
/// `LONGEST_REST`: each save is of the whole table, and somebody's zone may be full of new names.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Knows when the table is to be saved, and asks for that. Each thread that does has its own.
pub(super) struct SavePlan {
    ask: Sender<()>,
    urgent: u64,
    asked_at: Duration,
}

/// The thread that saves. It goes on under another configuration with the same table and file, so
/// that no packet waits for the disk.
pub(super) struct Saving {
    ask: Sender<()>,
    thread: JoinHandle<()>,
}

/// Saves the table when it is asked to.
pub(super) struct Saver {
    mappings: Arc<Mappings>,
    file: PathBuf,
    asked: Receiver<()>,
    /// The generation that is on disk.
    saved: Option<u64>,
    saving: Repeated,
}

/// The table as it was saved. A file that cannot be read never keeps the daemon from starting: it
/// is set aside.
pub(super) fn load(config: &Config, client: &config::Client, clock: Clock) -> Mappings {
    let mappings = empty(client);
    restore(&mappings, &file(config), clock.now());
    mappings
}

fn restore(mappings: &Mappings, file: &Path, now: Time) {
    if let Err(error) = state::finish(file, |json| State::from_json(json).is_ok()) {
        log::warn!("{error}");
    }
    let reason = match state::load(file) {
        Ok(None) => return,
        Ok(Some(json)) => match State::from_json(&json) {
            Ok(saved) => return take(mappings, saved, &file.display().to_string(), now),
            Err(error) => format!("{}: {error}", file.display()),
        },
        Err(error) => error.to_string(),
    };
    match state::set_aside(file) {
        Ok(aside) => log::warn!("{reason}; moved to {}", aside.display()),
        Err(error) => log::warn!("{reason}; {error}; mapped addresses begin anew"),
    }
}

/// The table when the settings of the client role change: the same, if they are not about it.
pub(super) fn carried(
    before: &Arc<Mappings>,
    (old, new): (&config::Client, &config::Client),
    now: Time,
) -> Arc<Mappings> {
    let about = |client: &config::Client| (client.pool, client.max_mappings, client.quarantine);
    if about(old) == about(new) {
        return Arc::clone(before);
    }
    let mappings = empty(new);
    take(&mappings, before.to_state(), "the changed configuration", now);
    Arc::new(mappings)
}

fn empty(client: &config::Client) -> Mappings {
    Mappings::new(client.pool, client.max_mappings, client.quarantine)
}

fn take(mappings: &Mappings, saved: State, whence: &str, now: Time) {
    let skipped = mappings.restore(saved, now);
    if let Some(reason) = skipped.first_reason {
        log::warn!("{whence}: {} mappings left out: {reason}", skipped.count);
    }
}

impl Saving {
    /// For a table that is on disk as it is now, or is not.
    pub(super) fn start(
        mappings: &Arc<Mappings>,
        config: &Config,
        on_disk: bool,
        failure: &Arc<Stop>,
    ) -> Result<Self, Error> {
        let (plan, mut saver) = for_file(Arc::clone(mappings), file(config));
        if !on_disk {
            saver.saved = None;
        }
        let guard = FailAtPanic(Arc::clone(failure));
        let run = move || {
            let _guard = guard;
            saver.run();
        };
        let thread = Builder::new().name("saver".into()).spawn(run);
        let thread = thread.map_err(|e| Error::System("starting a thread", e))?;
        Ok(Self { ask: plan.ask, thread })
    }

    /// For whoever knows the time. It asks at once: what its predecessor was about to ask for is
    /// not known.
    pub(super) fn plan(&self) -> SavePlan {
        SavePlan { ask: self.ask.clone(), urgent: u64::MAX, asked_at: Duration::ZERO }
    }

    /// Waits until the table is saved for the last time. Nobody has a plan any more.
    pub(super) fn end(self) -> Result<(), Error> {
        drop(self.ask);
        self.thread.join().map_err(|_| Error::Thread("saver"))
    }
}

/// Nobody waits for the thread before the end.
struct FailAtPanic(Arc<Stop>);

impl Drop for FailAtPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Thread("saver"));
        }
    }
}

impl SavePlan {
    /// A new address and a first use are saved at once, newer times of old ones now and then.
    /// To be called every second, with the time since the start.
    pub(super) fn tick(&mut self, mappings: &Mappings, uptime: Duration) {
        if self.changed(mappings) || uptime.saturating_sub(self.asked_at) >= SAVE_TIMES {
            self.asked_at = uptime;
            self.ask();
        }
    }

    /// To be called when somebody is about to be told an address: a flow to it may be open, and in
    /// the file of the flows, milliseconds later, and goes on after a kill only with its mapping.
    pub(super) fn mapped(&mut self, mappings: &Mappings) {
        if self.changed(mappings) {
            self.ask();
        }
    }

    fn changed(&mut self, mappings: &Mappings) -> bool {
        let urgent = mappings.urgent_generation();
        std::mem::replace(&mut self.urgent, urgent) != urgent
    }

    fn ask(&self) {
        // If it is full, the table is saved later than now, and whole, anyway.
        let _ = self.ask.try_send(());
    }
}

impl Saver {
    /// Saves as often as it is asked to, and once more when nobody is left who could ask.
    pub(super) fn run(mut self) {
        let mut rest = Duration::ZERO;
        while self.is_asked_after(rest) {
            let began = Instant::now();
            self.save();
            rest = (began.elapsed() * REST).min(LONGEST_REST);
        }
        self.save();
    }

    /// Rests, and waits until it is asked. False, at once, when nobody is left who could.
    fn is_asked_after(&self, rest: Duration) -> bool {
        let (end, mut asked) = (Instant::now() + rest, false);
        loop {
            match self.asked.recv_deadline(end) {
                Ok(()) => asked = true,
                Err(RecvTimeoutError::Timeout) => return asked || self.asked.recv().is_ok(),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// After a failure the next question, at most a minute later, tries again.
    fn save(&mut self) {
        // Before the table is read: what changes meanwhile is saved next time.
        let generation = self.mappings.generation();
        if Some(generation) == self.saved {
            return;
        }
        let saved = state::save(&self.file, &self.mappings.to_state().to_json());
        if saved.is_ok() {
            self.saved = Some(generation);
        }
        self.saving.done("saving mapped addresses", saved);
    }
}

fn file(config: &Config) -> PathBuf {
    config.daemon.state_dir.join(MAPPINGS_FILE)
}

fn for_file(mappings: Arc<Mappings>, file: PathBuf) -> (SavePlan, Saver) {
    // One question that waits is enough: the answer is the table as it is then.
    let (ask, asked) = crossbeam_channel::bounded(1);
    let (saved, urgent) = (Some(mappings.generation()), mappings.urgent_generation());
    let plan = SavePlan { ask, urgent, asked_at: Duration::ZERO };
    (plan, Saver { mappings, file, asked, saved, saving: Repeated::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::State;
    use crate::os::control::tests::TempDir;
    use crate::path::PathSet;

    #[test]
    fn whatever_is_in_the_way_the_table_is_empty_and_the_file_kept() {
        for unreadable in [&b"garbage"[..], b"{\"version\":9,\"mappings\":[]}", b""] {
            let directory = TempDir::new();
            let file = directory.path().join("mappings.json");
            std::fs::write(&file, unreadable).expect("written");
            let mappings = table();
            restore(&mappings, &file, Time::from_millis(1));
            assert_eq!(mappings.to_state(), State::default());
            let aside = directory.path().join("mappings.json.aside");
            assert_eq!(std::fs::read(aside).expect("kept"), unreadable);
        }
    }

    #[test]
    fn a_file_that_can_be_neither_read_nor_moved_does_no_harm() {
        let directory = TempDir::new();
        let file = directory.path().join("mappings.json");
        std::fs::create_dir(&file).expect("no file");
        restore(&table(), &file, Time::from_millis(1));
        std::fs::write(directory.path().join("plain"), "").expect("written");
        restore(&table(), &directory.path().join("plain/mappings.json"), Time::from_millis(1));
        let full = directory.path().join("full.json");
        std::fs::write(&full, "garbage").expect("written");
        std::fs::create_dir_all(directory.path().join("full.json.aside/x")).expect("in the way");
        restore(&table(), &full, Time::from_millis(1));
        assert_eq!(std::fs::read(&full).expect("kept"), b"garbage");
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn table() -> Arc<Mappings> {
        let pool = "127.64.0.0/10".parse().expect("a network");
        Arc::new(Mappings::new(pool, 100, seconds(60)))
    }

    fn map(mappings: &Mappings, number: u8) {
        let path = format!("203.0.113.1 192.168.0.{number}").parse().expect("a path");
        let paths = PathSet::new(vec![path]).expect("a path");
        let now = Time::from_millis(1);
        mappings.map("b.example.", &paths, seconds(10), now).expect("an address");
    }

    fn saved(file: &Path) -> Option<State> {
        let json = state::load(file).expect("readable")?;
        Some(State::from_json(&json).expect("what was saved"))
    }

    #[test]
    fn the_last_change_is_saved_when_nobody_asks_any_more() {
        let directory = TempDir::new();
        let (file, mappings) = (directory.path().join("mappings.json"), table());
        let (plan, saver) = for_file(Arc::clone(&mappings), file.clone());
        let thread = std::thread::spawn(|| saver.run());
        map(&mappings, 1);
        drop(plan);
        thread.join().expect("no panic");
        assert_eq!(saved(&file), Some(mappings.to_state()));
    }

    #[test]
    fn asking_never_waits_and_the_newest_table_is_saved() {
        let directory = TempDir::new();
        let (file, mappings) = (directory.path().join("mappings.json"), table());
        let (mut plan, mut saver) = for_file(Arc::clone(&mappings), file.clone());
        for number in 0..50 {
            map(&mappings, number);
            plan.tick(&mappings, seconds(number.into()));
        }
        assert_eq!(saver.asked.try_iter().count(), 1);
        saver.save();
        assert_eq!(saved(&file), Some(mappings.to_state()));
    }

    #[test]
    fn new_times_are_saved_now_and_then() {
        let directory = TempDir::new();
        let mappings = table();
        let (mut plan, saver) =
            for_file(Arc::clone(&mappings), directory.path().join("mappings.json"));
        let mut asks = |uptime| {
            plan.tick(&mappings, seconds(uptime));
            saver.asked.try_recv().is_ok()
        };
        assert!(!asks(1));
        map(&mappings, 1);
        assert!(asks(2));
        map(&mappings, 1);
        assert!(!asks(61));
        assert!(asks(62));
        assert!(!asks(63));
    }

    /// A flow to it may be open, and the daemon killed, before the next tick.
    #[test]
    fn saving_a_new_address_is_asked_for_before_anybody_is_told() {
        let directory = TempDir::new();
        let (file, mappings) = (directory.path().join("mappings.json"), table());
        let (mut plan, saver) = for_file(Arc::clone(&mappings), file);
        for (number, new) in [(1, true), (1, false), (2, true)] {
            map(&mappings, number);
            plan.mapped(&mappings);
            assert_eq!(saver.asked.try_recv().is_ok(), new, "{number}");
        }
    }

    #[test]
    fn whoever_asks_while_the_saver_rests_is_not_forgotten() {
        let directory = TempDir::new();
        let mappings = table();
        let (mut plan, saver) =
            for_file(Arc::clone(&mappings), directory.path().join("mappings.json"));
        map(&mappings, 1);
        plan.mapped(&mappings);
        assert!(saver.is_asked_after(Duration::from_millis(1)));
        drop(plan);
        // The end does not wait for the rest.
        let began = Instant::now();
        assert!(!saver.is_asked_after(seconds(3600)));
        assert!(began.elapsed() < seconds(600));
    }

    #[test]
    fn a_save_that_a_kill_cut_off_counts() {
        let directory = TempDir::new();
        let (file, mappings) = (directory.path().join("mappings.json"), table());
        let left = directory.path().join("mappings.json.new");
        map(&mappings, 1);
        state::save(&file, &mappings.to_state().to_json()).expect("saved");
        map(&mappings, 2);
        let whole = mappings.to_state().to_json();
        for (octets, restored) in [(whole.len() / 2, 1), (whole.len(), 2)] {
            std::fs::write(&left, &whole[..octets]).expect("written");
            let again = table();
            restore(&again, &file, Time::from_millis(1));
            assert_eq!(again.len(), restored);
        }
    }

    #[test]
    fn a_failed_save_is_tried_again() {
        let directory = TempDir::new();
        let folder = directory.path().join("later");
        let (file, mappings) = (folder.join("mappings.json"), table());
        let (_plan, mut saver) = for_file(Arc::clone(&mappings), file.clone());
        map(&mappings, 1);
        saver.save();
        std::fs::create_dir(&folder).expect("a directory");
        saver.save();
        assert_eq!(saved(&file), Some(mappings.to_state()));
    }
}
