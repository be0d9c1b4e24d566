//! Both parts of a probe: how far small packets get, and what becomes of large ones there.

use std::time::Duration;

use super::prober::Prober;
use super::reply::{Reply, tag_of};
use super::sizes::{Sizer, Sizes};
use super::{Complaint, Kind, MAX_PACKETS, Machine, Packet, Report, Tunnel};

/// One probe of one path.
#[derive(Debug)]
pub struct Survey {
    tunnel: Tunnel,
    reach: Prober,
    sizes: Sizer,
}

impl Survey {
    /// Begins at time 0. Of `kinds` the first [`super::MAX_KINDS`] are used. `mtu`: the largest packets
    /// that are tried, in octets with all headers.
    pub fn new(tunnel: Tunnel, kinds: &[Kind], mtu: u16, first_tag: u16) -> Self {
        let next_tag = first_tag.wrapping_add(MAX_PACKETS as u16);
        Self {
            reach: Prober::new(tunnel.clone(), kinds, first_tag),
            sizes: Sizer::new(tunnel.clone(), mtu, next_tag),
            tunnel,
        }
    }

    /// For what becomes of large packets only. The host is asked by ping; if that does not come back whole,
    /// the boxes are asked, by ping, too, or by `kind`, which the last one lets in.
    pub fn of_sizes(tunnel: Tunnel, kind: Kind, mtu: u16, first_tag: u16) -> Self {
        let reach = Prober::unobtrusive(tunnel.clone(), kind, first_tag);
        Self { reach, ..Self::new(tunnel, &[], mtu, first_tag) }
    }

    /// What becomes of large packets, if anybody answered.
    pub fn sizes(&self) -> Option<Sizes> {
        self.sizes.report()
    }

    /// What was found.
    pub fn report(&self) -> Report {
        Report { sizes: self.sizes.report(), ..self.reach.report() }
    }

    /// Tells the one what the other has found.
    fn pass_on(&mut self, now: Duration) {
        let whole = self.sizes.host_was_reached_whole();
        if whole == Some(false) {
            self.reach.ask_boxes(now);
        }
        let all = self.reach.is_over() && (!self.reach.boxes_wait() || whole == Some(true));
        self.sizes.found(&self.reach.found(), all, now);
    }
}

impl Machine for Survey {
    fn poll(&mut self, now: Duration) -> Option<Packet> {
        let small = self.reach.poll(now).map(Packet::from);
        self.pass_on(now);
        small.or_else(|| self.sizes.poll(now)).or_else(|| {
            // What was lost just now may take more questions.
            self.pass_on(now);
            self.reach.poll(now).map(Packet::from)
        })
    }

    fn deadline(&self) -> Option<Duration> {
        [self.reach.deadline(), self.sizes.deadline()].into_iter().flatten().min()
    }

    fn received(
        &mut self,
        datagram: &[u8],
        fragment: Option<u16>,
        now: Duration,
    ) -> Option<Packet> {
        let reply = self.tunnel.read(datagram)?;
        let tag = match reply {
            Reply::Host(reply) => reply.tag,
            Reply::Error { tag, .. } => Some(tag),
        };
        if tag.is_some_and(|tag| self.sizes.has_sent(tag)) {
            self.sizes.replied(reply, fragment, now);
            self.pass_on(now);
            return None;
        }
        let answer = self.reach.replied(reply, now);
        self.pass_on(now);
        answer.map(Packet::from)
    }

    fn complained(&mut self, complaint: Complaint, quote: &[u8], now: Duration) {
        let tag = tag_of(quote);
        if complaint.is_about_size() {
            self.sizes.too_long(tag, 0, complaint);
            self.pass_on(now);
        } else if !tag.is_some_and(|tag| self.sizes.has_sent(tag)) {
            self.reach.complained(complaint, quote, now);
            self.pass_on(now);
        }
    }
}
