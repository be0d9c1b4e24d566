//! What outlives a change of the configuration.

use std::sync::Arc;
use std::thread::Builder;

use crate::counters::Counters;
use crate::os::clock::Clock;
use crate::os::dnsqueue::DnsQueue;
use crate::tunnel::PathMtus;

use super::Error;
use super::dns::{Handover, Sorter};
use super::drops::Drops;
use super::held::Sorters;
use super::reloads::Reloads;
use super::stop::Stop;

/// Clones share it.
#[derive(Clone)]
pub(super) struct Lasting {
    pub(super) counters: Arc<Counters>,
    pub(super) drops: Arc<Drops>,
    pub(super) clock: Clock,
    pub(super) reloads: Arc<Reloads>,
    /// Paths are the same whatever is configured.
    pub(super) path_mtus: Arc<PathMtus>,
    pub(super) sorters: Arc<Sorters>,
    /// Fails when a thread does that nobody waits for.
    pub(super) failure: Arc<Stop>,
}

impl Lasting {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            counters: Arc::default(),
            drops: Arc::default(),
            clock: Clock::start(),
            reloads: Arc::default(),
            path_mtus: Arc::default(),
            sorters: Arc::default(),
            failure: Arc::new(Stop::new().map_err(|e| Error::System("eventfd", e))?),
        })
    }

    /// Not waited for at the end: crate `nfq` cannot be woken. Its queue passes replies on.
    pub(super) fn start_sorter(
        &self,
        number: u16,
        queue: DnsQueue,
        handover: Arc<Handover>,
    ) -> Result<(), Error> {
        let mut sorter = Sorter { queue, counters: Arc::clone(&self.counters), handover };
        let failure = FailAtEnd("dns", Arc::clone(&self.failure));
        let run = move || {
            let FailAtEnd(_, stop) = &failure;
            if let Err(error) = sorter.run() {
                // First: it says more than that the thread ended.
                stop.fail(Error::Queue(number, error));
            }
        };
        Builder::new()
            .name("dns".into())
            .spawn(run)
            .map(drop)
            .map_err(|e| Error::System("starting a thread", e))
    }
}

/// For a thread that nobody waits for and that never ends by itself: even its panic is a failure.
struct FailAtEnd(&'static str, Arc<Stop>);

impl Drop for FailAtEnd {
    fn drop(&mut self) {
        self.1.fail(Error::Thread(self.0));
    }
}
