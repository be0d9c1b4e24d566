//! From the answers of all places to what follows: how far one gets, and why no further.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::prober::{Answer, HostAnswer, Known, Place};
use super::{Complaint, Kind, Sizes, as_millis};
use crate::path::{Hop, Path};

/// What a probe brought.
pub(super) struct Findings {
    pub(super) known: Vec<(Place, Option<Known>)>,
    /// The first error from this side of the first box.
    pub(super) outer: Option<Complaint>,
}

/// What was found on a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The boxes, outermost first.
    pub levels: Vec<Level>,
    /// The host, asked in each of these ways.
    pub kinds: Vec<KindReport>,
    /// How far one gets.
    pub conclusion: Conclusion,
    /// What becomes of large packets, if anything answers to small ones.
    pub sizes: Option<Sizes>,
}

/// A box.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Level {
    /// Its place, from 1.
    pub number: usize,
    /// Address and UDP port.
    #[serde(serialize_with = "as_text")]
    pub hop: Hop,
    /// What is known of it.
    pub state: BoxState,
    /// The quickest answer.
    #[serde(rename = "rtt_ms", serialize_with = "as_millis")]
    pub time: Option<Duration>,
}

/// What is known of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxState {
    /// It took a tunnel packet, and said so.
    Forwards,
    /// It said nothing, but packets came through.
    LetsThrough,
    /// Nothing came back that it has seen.
    Silent,
}

/// What became of one kind of packet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KindReport {
    /// Which.
    pub kind: Kind,
    /// Whether the last box takes it for this host.
    pub exported: bool,
    /// What the host makes of it.
    pub host: HostState,
    /// Until the host answered.
    #[serde(rename = "rtt_ms", serialize_with = "as_millis")]
    pub time: Option<Duration>,
    /// Why it did not get there, if somebody said so.
    pub complaint: Option<Complaint>,
}

/// What the host says to one kind of packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// It answers as one who serves that.
    Open,
    /// It is there and refuses.
    Closed,
    /// Somebody on the way reported an error.
    Unreachable,
    /// Nothing came back.
    Silent,
}

/// How far one gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Conclusion {
    /// To the host.
    Reached,
    /// Nowhere: somebody reports an error on the way to the first box.
    WayRefused {
        /// Who, and what.
        complaint: Complaint,
    },
    /// To the machine at the first box's address, where nobody takes tunnel packets.
    NoGateway {
        /// Who says so.
        complaint: Complaint,
    },
    /// This box says nothing; the one before it, if any, works.
    BoxSilent {
        /// From 1.
        number: usize,
    },
    /// The box before this one works, and somebody reports an error about this one.
    BoxRefused {
        /// From 1, never the first.
        number: usize,
        /// Who, and what.
        complaint: Complaint,
    },
    /// All boxes work, the host is silent.
    HostSilent,
    /// All boxes work, and somebody reports an error about the host.
    HostRefused {
        /// Who, and what.
        complaint: Complaint,
    },
}

impl Report {
    pub(super) fn new(path: &Path, findings: &Findings) -> Self {
        let boxes = path.hops().len();
        let depth = findings.depth(boxes);
        let level = |(number, &hop): (usize, &Hop)| Level {
            number,
            hop,
            state: findings.state(number, depth),
            time: findings.time_of(number),
        };
        let levels: Vec<_> = (1..).zip(path.hops()).map(level).collect();
        let kinds = findings.kinds(boxes);
        Self { conclusion: findings.conclude(boxes, depth), levels, kinds, sizes: None }
    }

    /// The quickest answer of the host.
    pub fn time(&self) -> Option<Duration> {
        self.kinds.iter().filter_map(|kind| kind.time).min()
    }
}

impl Findings {
    fn answers(&self) -> impl Iterator<Item = (Place, Answer)> + '_ {
        self.known.iter().filter_map(|&(place, known)| Some((place, known?.answer)))
    }

    /// How many boxes, from the first, have certainly passed something on; one more than there are
    /// boxes where the host answered.
    fn depth(&self, boxes: usize) -> usize {
        let proven = self.answers().map(|(place, answer)| match answer {
            Answer::Forwards => place.at.unwrap_or(boxes),
            Answer::Host(_) => boxes + 1,
            Answer::Refused { boxes, .. } => boxes,
        });
        proven.max().unwrap_or(0)
    }

    fn state(&self, number: usize, depth: usize) -> BoxState {
        let said = |(place, answer): (Place, Answer)| place.at == Some(number) && is_proof(answer);
        if self.answers().any(said) {
            BoxState::Forwards
        } else if number <= depth {
            BoxState::LetsThrough
        } else {
            BoxState::Silent
        }
    }

    fn time_of(&self, number: usize) -> Option<Duration> {
        let at = self.known.iter().filter(|(place, _)| place.at == Some(number));
        let times = at.filter_map(|&(_, known)| known.filter(|known| is_proof(known.answer))?.time);
        times.min()
    }

    fn kinds(&self, boxes: usize) -> Vec<KindReport> {
        let of_host = self.known.iter().filter(|(place, _)| place.at.is_none());
        of_host.map(|&(place, known)| self.kind(place.kind, known, boxes)).collect()
    }

    fn kind(&self, kind: Kind, known: Option<Known>, boxes: usize) -> KindReport {
        // A gateway that serves this itself answers instead of reporting the TTL.
        let by_box = Place { at: Some(boxes), kind };
        let at_box = self.known.iter().find(|(place, _)| *place == by_box).and_then(|(_, k)| *k);
        let is_host = |known: &Known| matches!(known.answer, Answer::Host(_));
        let known = known.or(at_box.filter(is_host));
        let (host, complaint) = match known.map(|known| known.answer) {
            Some(Answer::Host(HostAnswer::Open)) => (HostState::Open, None),
            Some(Answer::Host(HostAnswer::Closed)) => (HostState::Closed, None),
            Some(Answer::Refused { complaint, .. }) => (HostState::Unreachable, Some(complaint)),
            Some(Answer::Forwards) | None => (HostState::Silent, None),
        };
        let passed = |known: Known| match known.answer {
            Answer::Refused { boxes: by, .. } => by == boxes,
            Answer::Forwards | Answer::Host(_) => true,
        };
        let exported = [at_box, known].into_iter().flatten().any(passed);
        KindReport { kind, exported, host, time: known.and_then(|known| known.time), complaint }
    }

    fn conclude(&self, boxes: usize, depth: usize) -> Conclusion {
        if depth > boxes {
            return Conclusion::Reached;
        }
        if let (0, Some(complaint)) = (depth, self.outer) {
            return match complaint.is_about_port() {
                true => Conclusion::NoGateway { complaint },
                false => Conclusion::WayRefused { complaint },
            };
        }
        let complaint = self.answers().find_map(|(_, answer)| match answer {
            Answer::Refused { complaint, boxes } if boxes == depth => Some(complaint),
            _ => None,
        });
        match (complaint, depth == boxes) {
            (Some(complaint), true) => Conclusion::HostRefused { complaint },
            (Some(complaint), false) => Conclusion::BoxRefused { number: depth + 1, complaint },
            (None, true) => Conclusion::HostSilent,
            (None, false) => Conclusion::BoxSilent { number: depth + 1 },
        }
    }
}

/// Of a packet that was to end at a box: it did, or the box itself is the host.
pub(super) fn is_proof(answer: Answer) -> bool {
    matches!(answer, Answer::Forwards | Answer::Host(_))
}

fn as_text<S: Serializer>(hop: &Hop, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hop)
}
