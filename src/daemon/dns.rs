//! DNS replies on their way to an application: one thread sorts those that the packet filter captured
//! and never waits; another holds those whose name may have a NAT record, whoever captured them.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::config::Client;
use crate::counters::{Counter, Counters};
use crate::dns::emulation::Emulations;
use crate::dns::hold::{Captured, Hold, Output, Reply, Settings, Surroundings};
use crate::dns::packet::Packet;
use crate::dns::{Class, Name, Policy, classify};
use crate::mapping::Mappings;
use crate::os::clock::Clock;
use crate::os::dnsqueue::{DnsQueue, Sorted};
use crate::os::lookup::{Answered, Lookups};
use crate::os::nfqueue::{Action, Batch, NoPacket, Options, Queue, Verdicts, Wake};
use crate::os::proxy::{self, OwnTraffic};
use crate::path::{Path, PathSet};
use crate::time::Time;

use super::Roles;
use super::saved::SavePlan;
use super::stop::Stop;

/// Replies that the kernel holds; a full queue passes them on.
pub(super) const HOLD_QUEUE: Options = Options { max_len: 2048, fail_open: true };
const BATCH: usize = 16;
/// Errors in a row after which the queue is taken for dead.
const MAX_ERRORS: u32 = 64;

/// Sorts replies.
pub(super) struct Sorter {
    pub(super) queue: DnsQueue,
    pub(super) counters: Arc<Counters>,
    pub(super) handover: Arc<Handover>,
}

/// Between the sorter, which cannot be woken and outlives every holder, and the holders of one
/// queue, one after the other.
#[derive(Default)]
pub(super) struct Handover {
    /// How replies are sorted; without it none is handed on. The sorter keeps it locked until it has
    /// given the verdict, so that after a change nothing comes that was sorted before.
    sorting: Mutex<Option<Sorting>>,
    /// Replies that waited when the last holder ended. Their verdicts are the next one's.
    left: Mutex<Vec<Ticket>>,
}

/// How replies are sorted.
pub(super) struct Sorting {
    pub(super) policy: Policy,
    /// What the DNS proxy decides itself.
    pub(super) own: Arc<OwnTraffic>,
}

impl Handover {
    /// From now on replies are sorted, and somebody holds them.
    pub(super) fn sort_by(&self, sorting: Sorting) {
        *self.sorting() = Some(sorting);
    }

    /// Nobody holds replies any more: all that wait are passed on.
    pub(super) fn close(&self, queue: &Queue, counters: &Counters) {
        *self.sorting() = None;
        let mut verdicts = Verdicts::default();
        for ticket in self.take_left() {
            counters.add(Counter::DnsTimeout);
            match ticket {
                Ticket::Packet(captured) => {
                    verdicts.plain(queue.number(), captured.id, Action::Accept);
                }
                Ticket::Question(reply) => reply.ticket.release(),
            }
        }
        counters.add_many(Counter::VerdictRefused, queue.send(&verdicts));
        let mut batch = Batch::new(BATCH);
        while let Ok(true) = queue.receive(&mut batch) {
            let mut verdicts = Verdicts::default();
            for packet in batch.packets().flatten() {
                counters.add(Counter::DnsPassed);
                verdicts.plain(queue.number(), packet.id, Action::Accept);
            }
            counters.add_many(Counter::VerdictRefused, queue.send(&verdicts));
        }
    }

    fn sorting(&self) -> MutexGuard<'_, Option<Sorting>> {
        self.sorting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, waiting: Ticket) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    fn take_left(&self) -> Vec<Ticket> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sorter {
    /// Never returns while the queue works: crate `nfq` cannot be woken.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut errors = 0;
        loop {
            match self.serve() {
                Ok(()) => errors = 0,
                // Also a verdict that the kernel refused, because the packet was gone.
                Err(error) => {
                    self.counters.add(Counter::VerdictRefused);
                    errors += 1;
                    if errors > MAX_ERRORS {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        let Self { queue, counters, handover } = self;
        let mut turn = None;
        queue.serve(|packet| match &**turn.insert(handover.sorting()) {
            Some(sorting) => sort(packet, sorting, counters),
            None => Sorted::Pass,
        })
    }
}

fn sort(packet: &[u8], Sorting { policy, own }: &Sorting, counters: &Counters) -> Sorted {
    let class = match Packet::parse(packet) {
        // What the proxy gets and gives is looked at there, once.
        Ok(packet) if own.includes(packet.server(), packet.client()) => return Sorted::Pass,
        Ok(packet) => classify(packet.message(), policy),
        Err(_) => Class::Pass(Counter::DnsMalformed),
    };
    match class {
        Class::Hold(_) | Class::Nameless(_) => Sorted::Hold,
        Class::Pass(counter) => {
            counters.add(counter);
            Sorted::Pass
        }
    }
}

/// What a reply that waits goes on by.
enum Ticket {
    Packet(Captured),
    /// As it came: what it goes on by does not know it.
    Question(Reply<proxy::Ticket>),
}

impl Ticket {
    fn question(reply: Reply<proxy::Ticket>) -> Reply<Self> {
        let (server, limit, message) = (reply.server, reply.limit, reply.message.clone());
        Reply { ticket: Self::Question(reply), server, limit, message }
    }
}

/// Holds replies until their NAT record is known or their time is over.
pub(super) struct Holder {
    pub(super) queue: Arc<Queue>,
    pub(super) lookups: Lookups,
    pub(super) answers: Receiver<Answered>,
    /// From the DNS proxy, if there is one; dropping it ends that.
    pub(super) proxied: Option<proxy::Replies>,
    pub(super) wake: Arc<Wake>,
    pub(super) around: Around,
    pub(super) settings: Settings,
    pub(super) counters: Arc<Counters>,
    pub(super) handover: Arc<Handover>,
    pub(super) clock: Clock,
    pub(super) stop: Arc<Stop>,
}

/// What the client's configuration means for replies that wait.
pub(super) fn settings(client: &Client) -> Settings {
    Settings {
        patience: client.lookup_patience,
        max_mapped_ttl: client.answer_ttl.as_secs() as u32,
        // The configuration holds valid names only.
        private_zones: client.private_zones.iter().filter_map(|zone| zone.parse().ok()).collect(),
        policy: Policy {
            emulations: Emulations::new(client.emulations.clone()),
            names: client.names.clone(),
        },
    }
}

/// What it means for the DNS proxy; nothing if there is none.
pub(super) fn proxy_settings(client: &Client) -> Option<proxy::Settings> {
    (!client.listen.is_empty()).then(|| proxy::Settings {
        listen: client.listen.clone(),
        upstream: client.upstream.clone(),
        policy: settings(client).policy,
    })
}

/// The mapping table and what leads nowhere.
pub(super) struct Around {
    pub(super) mappings: Arc<Mappings>,
    pub(super) saving: SavePlan,
    pub(super) roles: Arc<Roles>,
}

impl Surroundings for Around {
    fn map(&mut self, name: &Name, paths: &PathSet, ttl: u32, now: Time) -> Option<Ipv4Addr> {
        let ttl = Duration::from_secs(ttl.into());
        match self.mappings.map(&name.to_string(), paths, ttl, now) {
            Ok(addr) => {
                self.saving.mapped(&self.mappings);
                Some(addr)
            }
            Err(error) => {
                log::debug!("{name}: {error}");
                None
            }
        }
    }

    fn name_of(&self, mapped: Ipv4Addr) -> Option<Name> {
        self.mappings.lookup(mapped)?.name()?.parse().ok()
    }

    /// The pool is this host's, too.
    fn is_own(&self, addr: Ipv4Addr) -> bool {
        let client = self.roles.client.as_ref();
        client.is_none_or(|client| client.is_dead_end(addr)) || self.mappings.pool().contains(&addr)
    }

    fn leads(&self, path: &Path) -> bool {
        self.roles.client.as_ref().is_some_and(|client| client.refusal(path).is_none())
    }
}

impl Holder {
    /// Serves the queue until a stop is requested; what waits then is left to the next holder.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut hold = Hold::new(self.settings.clone());
        let mut batch = Batch::new(BATCH);
        self.take_left(&mut hold);
        while !self.stop.requested() {
            // Before looking for work, so that a wake-up in between is not lost.
            self.wake.clear();
            let received = self.queue.receive(&mut batch)?;
            let now = self.clock.now();
            if received {
                self.take(&mut hold, &mut batch, now);
            }
            while let Ok(answered) = self.answers.try_recv() {
                self.counters.add_many(Counter::DnsMalformedRecord, answered.malformed);
                hold.answer(answered.key, answered.answer, now, &mut self.around);
            }
            for reply in self.proxied.iter().flat_map(proxy::Replies::waiting) {
                hold.reply(Ticket::question(reply), now, &mut self.around);
            }
            hold.tick(now, &mut self.around);
            self.carry_out(&mut hold);
            if !received {
                let pause = hold.next_deadline().map(|deadline| deadline.since(self.clock.now()));
                self.queue.wait(&[self.stop.wake(), &self.wake], pause)?;
            }
        }
        self.carry_out(&mut hold);
        hold.into_waiting().for_each(|ticket| self.handover.leave(ticket));
        Ok(())
    }

    /// What waited when the holder before this one ended.
    fn take_left(&mut self, hold: &mut Hold<Ticket>) {
        let now = self.clock.now();
        let mut released = Vec::new();
        for ticket in self.handover.take_left() {
            match ticket {
                Ticket::Packet(captured) => released.extend(self.hold(hold, captured, now)),
                Ticket::Question(reply) => {
                    hold.reply(Ticket::question(reply), now, &mut self.around);
                }
            }
        }
        self.give_verdicts(&released);
    }

    /// The packet that is to be passed on at once, because it is no reply.
    fn hold(
        &mut self,
        hold: &mut Hold<Ticket>,
        captured: Captured,
        now: Time,
    ) -> Option<(u32, Option<Vec<u8>>)> {
        match captured.into_reply(Ticket::Packet) {
            Ok(reply) => {
                hold.reply(reply, now, &mut self.around);
                None
            }
            Err(captured) => {
                self.counters.add(Counter::DnsMalformed);
                Some((captured.id, None))
            }
        }
    }

    fn take(&mut self, hold: &mut Hold<Ticket>, batch: &mut Batch, now: Time) {
        let mut released = Vec::new();
        for packet in batch.packets() {
            match packet {
                Ok(packet) if packet.truncated => {
                    self.counters.add(Counter::DnsMalformed);
                    released.push((packet.id, None));
                }
                Ok(packet) => {
                    let octets = packet.bytes.to_vec();
                    let captured = Captured { id: packet.id, interface: packet.interface, octets };
                    released.extend(self.hold(hold, captured, now));
                }
                Err(NoPacket::VerdictRefused) => self.counters.add(Counter::VerdictRefused),
                Err(_) => {}
            }
        }
        self.give_verdicts(&released);
    }

    fn carry_out(&mut self, hold: &mut Hold<Ticket>) {
        let mut packets = Vec::new();
        for output in std::iter::from_fn(|| hold.output()) {
            if let Some(counter) = output.counter() {
                self.counters.add(counter);
            }
            match output {
                Output::Lookup(key) => self.lookups.ask(key),
                Output::Release { ticket: Ticket::Packet(packet), .. } => {
                    packets.push((packet.id, None));
                }
                Output::Rewritten { ticket: Ticket::Packet(packet), message, .. } => {
                    packets.push((packet.id, self.repacked(&packet, &message)));
                }
                Output::Release { ticket: Ticket::Question(reply), .. } => reply.ticket.release(),
                Output::Rewritten { ticket: Ticket::Question(reply), message, .. } => {
                    reply.ticket.change(message);
                }
                Output::Count(_) => {}
            }
        }
        self.give_verdicts(&packets);
    }

    /// Nothing if it would be too long: the packet then goes on as it came.
    fn repacked(&self, packet: &Captured, message: &[u8]) -> Option<Vec<u8>> {
        let octets = packet.with_message(message).ok();
        self.counters.add_many(Counter::DnsTooLarge, u64::from(octets.is_none()));
        octets
    }

    fn give_verdicts(&self, packets: &[(u32, Option<Vec<u8>>)]) {
        let mut verdicts = Verdicts::default();
        let queue = self.queue.number();
        for (id, changed) in packets {
            match changed {
                None => verdicts.plain(queue, *id, Action::Accept),
                Some(octets) => {
                    if !verdicts.rewritten(queue, *id, Action::Accept, None, &[], octets) {
                        self.counters.add(Counter::TooLong);
                    }
                }
            }
        }
        self.send(&verdicts);
    }

    fn send(&self, verdicts: &Verdicts<'_>) {
        self.counters.add_many(Counter::VerdictRefused, self.queue.send(verdicts));
    }
}
