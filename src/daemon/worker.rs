//! A worker: packets of one kernel queue, in batches.

use std::io;
use std::sync::Arc;

use crate::counters::{Counter, Counters};
use crate::os::clock::Clock;
use crate::os::nfqueue::{Action, Batch, Hook, NoPacket, Packet, Queue, Verdicts, Wake};
use crate::time::Time;
use crate::tunnel::{Fate, Front};

use super::Roles;
use super::connections::Forgotten;
use super::drops::Drops;
use super::guard::Guard;
use super::pulse::{self, Pulse};
use super::stop::Stop;

/// Packets per receive. Measured: more of them gain nothing.
const BATCH: usize = 256;

/// What a worker needs.
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    pub(super) roles: Arc<Roles>,
    pub(super) guard: Arc<Guard>,
    pub(super) counters: Arc<Counters>,
    pub(super) drops: Arc<Drops>,
    pub(super) clock: Clock,
    pub(super) mark: u32,
    pub(super) stop: Arc<Stop>,
    pub(super) pulse: Pulse,
    pub(super) forgotten: Forgotten,
    /// Wakes whoever keeps new flows.
    pub(super) keeper: Arc<Wake>,
    /// Wakes whoever measures paths.
    pub(super) measurer: Arc<Wake>,
}

impl Worker {
    /// Serves the queue until a stop is requested.
    pub(super) fn run(&self) -> io::Result<()> {
        let mut batch = Batch::new(BATCH);
        while !self.stop.requested() {
            self.pulse.beat();
            match self.queue.receive(&mut batch) {
                Ok(true) => self.serve(&mut batch),
                Ok(false) => self.queue.wait(&[self.stop.wake()], Some(pulse::INTERVAL))?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&self, batch: &mut Batch) {
        let now = self.clock.now();
        let mut verdicts = Verdicts::default();
        let mut front = Front::default();
        for packet in batch.packets() {
            match packet {
                Ok(packet) => self.judge(packet, &mut front, &mut verdicts, now),
                Err(NoPacket::VerdictRefused) => self.counters.add(Counter::VerdictRefused),
                Err(_) => {}
            }
        }
        self.counters.add_many(Counter::VerdictRefused, self.queue.send(&verdicts));
        if self.roles.any_fresh() {
            self.keeper.wake();
        }
        if self.roles.any_unmeasured() {
            self.measurer.wake();
        }
    }

    fn judge<'b>(
        &self,
        packet: Packet<'b>,
        front: &mut Front,
        verdicts: &mut Verdicts<'b>,
        now: Time,
    ) {
        let Packet { id, hook, mark, interface, truncated, bytes } = packet;
        let (ours, others) = (mark | self.mark, mark & !self.mark);
        front.clear();
        let fate = if truncated {
            Fate::Dropped(Counter::Truncated)
        } else if hook == Hook::Prerouting && !self.guard.loaded() {
            // Half of the rules would forward inner packets, or served hosts', past the other half.
            Fate::Dropped(Counter::RulesMissing)
        } else if hook == Hook::Forward {
            self.forgotten.fate(bytes, now)
        } else {
            let fate = self.roles.process((hook, interface), bytes, front, now);
            // The rules mark what this host itself answers to tunnel packets.
            if mark == others { fate } else { fate.inside() }
        };
        if let Fate::Rejected(reason) | Fate::Dropped(reason) = fate {
            self.drops.note(bytes, reason, now);
        }
        let queue = self.queue.number();
        // The mark says "ours" to the rules that follow; it is theirs to clear. On its way out a packet
        // needs none: a reply already belongs to a marked connection.
        let unmarked = (mark != others).then_some(others);
        let fits = match fate {
            Fate::Encapsulated(_) => {
                let mark = if hook == Hook::Postrouting { unmarked } else { Some(ours) };
                verdicts.rewritten(queue, id, Action::Accept, mark, front.bytes(), bytes)
            }
            Fate::Decapsulated { skip, .. } => {
                let (action, mark) = match hook {
                    // Once more through the same chain, which gives marked packets their
                    // connection timeouts before connection tracking sees them. (In OUTPUT those without
                    // a tunnel.)
                    Hook::Prerouting | Hook::Output => (Action::Repeat, Some(ours)),
                    _ => (Action::Accept, unmarked),
                };
                verdicts.rewritten(queue, id, action, mark, &[], &bytes[skip..])
            }
            Fate::Rejected(_) | Fate::Passed(_) => {
                verdicts.plain(queue, id, Action::Accept);
                true
            }
            Fate::Dropped(_) => {
                verdicts.plain(queue, id, Action::Drop);
                true
            }
        };
        self.counters.add(if fits { fate.counter() } else { Counter::TooLong });
    }
}
