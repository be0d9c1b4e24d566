//! What becomes of large packets where small ones get through.
//!
//! A packet of full size with DF in all tunnel headers goes to the deepest place that answers: mostly
//! it arrives, and its answer shows the way back, and that is all. Otherwise each box is asked, the
//! outermost first: which sizes arrive whole (a router that drops one may tell its MTU; if not, they are
//! searched for), and whether what is larger arrives in fragments. At last, if the host answers to
//! ping, the same about its echoes, which come back as large as they went. A size counts as lost only
//! if a small packet sent after it is answered.

mod known;
mod range;
mod report;
mod trial;
mod words;

use std::time::Duration;

use super::prober::Found;
use super::reply::{HostReply, Reply, Said};
use super::{Complaint, Kind, Packet, Tunnel};
use crate::path::Path;
use crate::wire::outer::LEVEL;
use known::{Known, Outcome};
use trial::{Attempt, Step, Trial};

pub use report::{Back, Larger, Limit, Sizes, Working};
pub use words::LEAST_MTU;

/// The most packets that are sent for this.
pub const MAX_SIZED: usize = 120;

/// What natttd makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The largest packets that the first link takes, octets with all headers.
    pub octets: u16,
    /// It finds out by itself what the others take.
    pub measures: bool,
}

/// Octets on the first link of a packet that an application sends with so many.
pub fn with_headers(path: &Path, inside: u16) -> u16 {
    inside.saturating_add((path.hops().len() * LEVEL) as u16)
}

const PACE: Duration = Duration::from_millis(10);
/// What is not known then remains so.
const PATIENCE: Duration = Duration::from_secs(12);

/// Finds out about sizes, once it is clear what answers to small packets.
#[derive(Debug)]
pub(super) struct Sizer {
    tunnel: Tunnel,
    first_tag: u16,
    /// By its tag less the first: what was tried, and whether this was the small packet beside it.
    sent: Vec<(Attempt, bool)>,
    known: Known,
    trial: Option<Trial>,
    next_packet: Duration,
    end: Option<Duration>,
    over: bool,
}

impl Sizer {
    /// `mtu`: the largest size of interest, octets with all headers.
    pub(super) fn new(tunnel: Tunnel, mtu: u16, first_tag: u16) -> Self {
        // Any that is sent: TCP's is smaller, and what answers to that answers to this.
        let small = tunnel.smallest(Kind::Ping);
        Self {
            known: Known::new(tunnel.boxes(), mtu, small),
            tunnel,
            first_tag,
            sent: Vec::new(),
            trial: None,
            next_packet: Duration::ZERO,
            end: None,
            over: false,
        }
    }

    /// Small packets have reached these places. `all`: no more will be found.
    pub(super) fn found(&mut self, found: &Found, all: bool, now: Duration) {
        self.known.found(found, all);
        if all || found.ping.is_some() {
            self.end.get_or_insert(now + PATIENCE);
        }
    }

    /// Whether the first packet of full size got to the host, and its answer back; `None` before that is
    /// known.
    pub(super) fn host_was_reached_whole(&self) -> Option<bool> {
        self.known.far
    }

    /// What was found out, if anything.
    pub(super) fn report(&self) -> Option<Sizes> {
        Sizes::new(&self.known)
    }

    /// What to send now; asked again until there is nothing.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Packet> {
        self.over |= self.end? <= now || self.sent.len() >= MAX_SIZED;
        while !self.over && self.next_packet <= now {
            let trial = match &mut self.trial {
                Some(trial) => trial,
                None => {
                    let attempt = self.known.next()?;
                    self.trial.insert(Trial::new(attempt, self.known.time(attempt.place)))
                }
            };
            let attempt = trial.attempt;
            match trial.poll(now) {
                Step::Send => return Some(self.packet(attempt, false, now)),
                Step::Control => return Some(self.packet(attempt, true, now)),
                Step::Wait => break,
                Step::Lost => self.learn(attempt, Outcome::Lost),
                Step::Unanswered => self.learn(attempt, Outcome::Unanswered),
            }
        }
        None
    }

    /// When to ask again. `None`: there is nothing to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let end = self.end.filter(|_| !self.over)?;
        let due = match &self.trial {
            Some(trial) => trial.due(),
            None => self.known.next().map(|_| Duration::ZERO)?,
        };
        Some(due.max(self.next_packet).min(end))
    }

    /// Whether a packet with this tag was sent.
    pub(super) fn has_sent(&self, tag: u16) -> bool {
        self.tried(tag).is_some()
    }

    /// What came back. `fragment`: as [`super::Machine::received`].
    pub(super) fn replied(&mut self, reply: Reply, fragment: Option<u16>, now: Duration) {
        let (tag, place) = match reply {
            Reply::Host(HostReply { kind: Kind::Ping, tag: Some(tag), said: Said::Answer }) => {
                (tag, None)
            }
            Reply::Error { tag, boxes, complaint } if complaint.is_about_ttl() => {
                (tag, Some(boxes))
            }
            Reply::Error { tag, boxes, complaint } if complaint.is_about_size() => {
                return self.too_long(Some(tag), boxes, complaint);
            }
            _ => return,
        };
        let Some((attempt, control)) = self.tried(tag).filter(|(at, _)| at.place.at == place)
        else {
            return;
        };
        if !control {
            self.learn(attempt, Outcome::Arrived { fragment });
        } else if let Some(trial) = self.trial.as_mut().filter(|trial| trial.attempt == attempt) {
            trial.controlled(now);
        }
    }

    /// "Fragmentation needed", behind so many boxes. Without a tag, because too little is quoted, it
    /// is about what is under way.
    pub(super) fn too_long(&mut self, tag: Option<u16>, boxes: usize, complaint: Complaint) {
        let now = self.trial.as_ref().map(|trial| trial.attempt);
        let attempt = match tag {
            Some(tag) => {
                self.tried(tag).filter(|(_, control)| !control).map(|(attempt, _)| attempt)
            }
            None => now,
        };
        let Some(attempt) = attempt else { return };
        let own = boxes == 0 && self.tunnel.is_here(complaint.by);
        let outcome = match complaint.mtu {
            Some(mtu) if own && mtu < attempt.size => Outcome::Interface { mtu },
            _ if own => return,
            _ => Outcome::TooLong { boxes, complaint },
        };
        // DF is in all headers, or in the innermost.
        if attempt.whole || boxes == self.tunnel.boxes() {
            self.learn(attempt, outcome);
        }
    }

    fn tried(&self, tag: u16) -> Option<(Attempt, bool)> {
        self.sent.get(usize::from(tag.wrapping_sub(self.first_tag))).copied()
    }

    fn learn(&mut self, attempt: Attempt, outcome: Outcome) {
        self.known.learn(attempt, outcome);
        self.trial = self.trial.take().filter(|trial| trial.attempt != attempt);
    }

    fn packet(&mut self, attempt: Attempt, control: bool, now: Duration) -> Packet {
        let Attempt { place, size, whole } = attempt;
        let tag = self.first_tag.wrapping_add(self.sent.len() as u16);
        self.sent.push((attempt, control));
        if !self.trial.as_ref().is_some_and(Trial::is_hurried) {
            self.next_packet = now + PACE;
        }
        let size = if control { 0 } else { size };
        self.tunnel.sized(place.kind, tag, place.at, size, whole && !control)
    }
}

#[cfg(test)]
mod tests;
