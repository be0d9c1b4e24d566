//! Asks every place of a path at once, and again where nobody answers.

use std::time::Duration;

use super::reply::{HostReply, Reply, Said, tag_of};
use super::verdict::{Findings, Report, is_proof};
use super::{Complaint, Kind, Tunnel};
use crate::path::MAX_HOPS;

/// The most kinds of packets in one probe.
pub const MAX_KINDS: usize = 8;
/// The most packets that one probe sends: three to each box but the last, and for each kind three
/// to the last box, three to the host, and resets of what three SYNs may have opened.
pub const MAX_PACKETS: usize = TRIES as usize * (MAX_HOPS - 1 + 3 * MAX_KINDS);

const TRIES: u8 = 3;
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two packets: a probe is no burst.
const PACE: Duration = Duration::from_millis(10);
/// A box reports a host that is switched off after 3 s, when it has asked for its hardware address
/// three times, a second apart (Linux' `mcast_solicit` and `retrans_time_ms`).
const PATIENCE: Duration = Duration::from_secs(4);
/// Once it is clear how things stand, what else is on its way gets this long.
const GRACE: Duration = Duration::from_secs(1);
/// A box reports few errors at once (Linux: six to one address, then one a second). So the last one
/// is asked about one kind of packet first, and about others only if the host does not answer them.
const SECOND_THOUGHTS: Duration = Duration::from_millis(300);
/// When the host has had three pings.
const LAST_RESORT: Duration = Duration::from_secs(3);

/// A place of the path, and what is sent to find out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The box that is to report, counted from 1; `None`: the host.
    pub(super) at: Option<usize>,
    /// What is inside all levels.
    pub(super) kind: Kind,
}

/// What is known about a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The box reported the spent TTL, as it should.
    Forwards,
    /// The host answered.
    Host(HostAnswer),
    /// Somebody reported an error; so many boxes had unwrapped the packet.
    Refused { complaint: Complaint, boxes: usize },
}

/// How the host answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostAnswer {
    /// As somebody who serves that.
    Open,
    /// By a reset, or an ICMP error of its own.
    Closed,
}

/// An answer, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) answer: Answer,
    pub(super) time: Option<Duration>,
}

#[derive(Debug)]
struct Question {
    place: Place,
    tries: u8,
    due: Duration,
    known: Option<Known>,
}

/// What small packets have shown to be there, and how quickly it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// Boxes that report a spent TTL: which, in what kind of packet, and after what time.
    pub(super) boxes: Vec<(usize, Kind, Duration)>,
    /// The host answers an echo request.
    pub(super) ping: Option<Duration>,
}

/// How far small packets get on one path.
#[derive(Debug)]
pub(super) struct Prober {
    tunnel: Tunnel,
    questions: Vec<Question>,
    /// Which question each packet asked, and when; its place is its tag less `first_tag`.
    sent: Vec<(usize, Duration)>,
    first_tag: u16,
    resets: usize,
    next_packet: Duration,
    end: Duration,
    outer: Option<Complaint>,
    /// Begins with a ping to the host, and sends it nothing else.
    unobtrusive: bool,
    /// No box is asked yet.
    boxes_wait: bool,
    over: bool,
}

impl Prober {
    /// Begins at time 0. Of `kinds` the first [`MAX_KINDS`] are used.
    pub(super) fn new(tunnel: Tunnel, kinds: &[Kind], first_tag: u16) -> Self {
        let kinds = &kinds[..kinds.len().min(MAX_KINDS)];
        let last = tunnel.boxes();
        let first_kind = kinds.first().copied();
        let boxes = (1..last).filter_map(|at| Some(Place { at: Some(at), kind: first_kind? }));
        let ends = [Some(last), None];
        let behind =
            ends.into_iter().flat_map(|at| kinds.iter().map(move |&kind| Place { at, kind }));
        let places: Vec<_> = boxes.chain(behind).collect();
        Self::of(tunnel, &places, first_tag)
    }

    /// Asks the host by ping only: no program there hears of it. The boxes are asked when that is not
    /// answered soon, or when they are wanted ([`Prober::ask_boxes`]); the last one by `kind` at last.
    pub(super) fn unobtrusive(tunnel: Tunnel, kind: Kind, first_tag: u16) -> Self {
        let boxes = (1..=tunnel.boxes()).map(|at| Place { at: Some(at), kind });
        let host = Place { at: None, kind: Kind::Ping };
        let places: Vec<_> = [host].into_iter().chain(boxes).collect();
        let prober = Self::of(tunnel, &places, first_tag);
        Self { unobtrusive: true, boxes_wait: true, ..prober }
    }

    fn of(tunnel: Tunnel, places: &[Place], first_tag: u16) -> Self {
        let (first_kind, last) = (places.first().map(|place| place.kind), tunnel.boxes());
        let question = |&place: &Place| {
            let later = place.at == Some(last) && Some(place.kind) != first_kind;
            let due = if later { SECOND_THOUGHTS } else { Duration::ZERO };
            Question { place, tries: 0, due, known: None }
        };
        let questions: Vec<_> = places.iter().map(question).collect();
        Self {
            tunnel,
            over: questions.is_empty(),
            questions,
            sent: Vec::new(),
            first_tag,
            resets: 0,
            next_packet: Duration::ZERO,
            end: PATIENCE,
            outer: None,
            unobtrusive: false,
            boxes_wait: false,
        }
    }

    /// What was found.
    pub(super) fn report(&self) -> Report {
        let known =
            self.questions.iter().map(|question| (question.place, question.known)).collect();
        Report::new(self.tunnel.path(), &Findings { known, outer: self.outer })
    }

    /// Where larger packets may be tried.
    pub(super) fn found(&self) -> Found {
        let mut found = Found::default();
        for Question { place, known, .. } in &self.questions {
            match (place, known) {
                (Place { at: Some(at), kind }, Some(Known { answer: Answer::Forwards, time }))
                    if found.boxes.iter().all(|(other, ..)| other != at) =>
                {
                    found.boxes.push((*at, *kind, time.unwrap_or_default()));
                }
                (
                    Place { at: None, kind: Kind::Ping },
                    Some(Known { answer: Answer::Host(HostAnswer::Open), time }),
                ) => found.ping = Some(time.unwrap_or_default()),
                _ => {}
            }
        }
        found
    }

    /// Whether nothing more is asked.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether no box has been asked.
    pub(super) fn boxes_wait(&self) -> bool {
        self.boxes_wait
    }

    /// From now on boxes are asked, too: by ping, but for the last one, which may not let that in. It might
    /// be the host itself, with a program that hears of any other kind.
    pub(super) fn ask_boxes(&mut self, now: Duration) {
        if self.outer.is_some() || !std::mem::take(&mut self.boxes_wait) {
            return;
        }
        let (last, pings) = (self.tunnel.boxes(), self.found().ping.is_some());
        let waits = !pings && !self.host_is_known();
        self.over = false;
        for question in self.questions.iter_mut().filter(|question| question.place.at.is_some()) {
            let is_last = question.place.at == Some(last);
            question.due = if is_last && waits { now.max(LAST_RESORT) } else { now };
            if pings || !is_last {
                question.place.kind = Kind::Ping;
            }
            self.end = self.end.max(question.due + PATIENCE);
        }
    }

    /// The host answers to ping after all: so do boxes, and none need be asked in another way.
    fn ask_boxes_by_ping(&mut self, now: Duration) {
        let open =
            |question: &&mut Question| question.place.at.is_some() && question.known.is_none();
        for question in self.questions.iter_mut().filter(open) {
            if question.place.kind != Kind::Ping {
                (question.place.kind, question.due) = (Kind::Ping, now);
            }
        }
    }

    fn host_is_known(&self) -> bool {
        let is_host = |question: &&Question| question.place.at.is_none();
        self.questions.iter().filter(is_host).any(|question| question.known.is_some())
    }

    /// Boxes wait for its answer.
    fn host_is_late(&self) -> bool {
        self.boxes_wait && self.outer.is_none() && self.found().ping.is_none()
    }

    fn asked(&self, tag: u16) -> Option<(usize, Duration)> {
        self.sent.get(usize::from(tag.wrapping_sub(self.first_tag))).copied()
    }

    /// Notes what became of a question; an answer of the host is never overruled.
    fn note(&mut self, index: usize, answer: Answer, time: Option<Duration>, now: Duration) {
        let Some(question) = self.questions.get_mut(index) else { return };
        let better = match question.known {
            None => true,
            Some(Known { answer: Answer::Refused { .. }, .. }) => {
                !matches!(answer, Answer::Refused { .. })
            }
            Some(_) => false,
        };
        if better {
            question.known = Some(Known { answer, time });
        }
        if matches!(answer, Answer::Host(_)) {
            self.settle(now);
        }
        if self.unobtrusive && self.found().ping.is_some() {
            self.ask_boxes_by_ping(now);
        } else if self.unobtrusive && self.host_is_known() {
            // It refuses.
            self.ask_boxes(now);
        }
        self.over |= self.questions.iter().all(|question| self.is_settled(question));
    }

    /// Whether nothing more is to be learned: it is answered, or need not be asked, because the host
    /// answers this kind of packet and the last box has proved itself by another.
    fn is_settled(&self, question: &Question) -> bool {
        question.known.is_some() || question.tries == 0 && self.is_needless(question.place)
    }

    fn is_needless(&self, place: Place) -> bool {
        let answered = |wanted: Place, is: fn(Answer) -> bool| {
            let with = |other: &&Question| other.place == wanted;
            let known = self.questions.iter().filter(with).filter_map(|other| other.known);
            known.into_iter().any(|known| is(known.answer))
        };
        let by_host = |kind| {
            let host = Place { at: None, kind };
            answered(host, |answer| matches!(answer, Answer::Host(_)))
        };
        let kinds = self.questions.iter().map(|other| other.place.kind);
        let proven = || kinds.clone().any(|kind| answered(Place { kind, ..place }, is_proof));
        match place.at {
            None => false,
            Some(_) if self.boxes_wait => true,
            Some(at) => at == self.tunnel.boxes() && by_host(place.kind) && proven(),
        }
    }

    /// Whether a packet is still to be sent for it.
    fn is_open(&self, question: &Question) -> bool {
        question.tries < TRIES && !self.is_settled(question)
    }

    fn settle(&mut self, now: Duration) {
        self.end = self.end.min(now + GRACE);
    }

    fn host_replied(&mut self, reply: HostReply, now: Duration) -> Option<Vec<u8>> {
        let HostReply { kind, tag, said } = reply;
        let asked = tag.and_then(|tag| self.asked(tag));
        let index = match asked {
            Some((index, _)) => index,
            None => self.index_of(kind)?,
        };
        if self.questions[index].place.kind != kind {
            return None;
        }
        let answer = match said {
            Said::Closed => HostAnswer::Closed,
            Said::Answer | Said::Open { .. } => HostAnswer::Open,
        };
        // A UDP answer does not say which try it answers.
        let first = self.sent.iter().find(|(asked, _)| *asked == index).map(|(_, at)| *at);
        let at = asked.map(|(_, at)| at).or(first.filter(|_| self.questions[index].tries == 1));
        self.note(index, Answer::Host(answer), at.map(|at| now.saturating_sub(at)), now);
        match (said, kind) {
            (Said::Open { next }, Kind::Tcp(port)) => self.reset(port, next),
            _ => None,
        }
    }

    /// A bounded number, whatever somebody sends who knows what we sent.
    fn reset(&mut self, port: u16, next: u32) -> Option<Vec<u8>> {
        self.resets += 1;
        let allowed = self.resets <= usize::from(TRIES) * MAX_KINDS;
        allowed.then(|| self.tunnel.reset(port, next, self.first_tag.wrapping_sub(1)))
    }

    /// The question to the host by this kind, if it was sent.
    fn index_of(&self, kind: Kind) -> Option<usize> {
        let place = Place { at: None, kind };
        self.questions.iter().position(|question| question.place == place && question.tries > 0)
    }

    fn error_came(&mut self, tag: u16, boxes: usize, complaint: Complaint, now: Duration) {
        let Some((index, at)) = self.asked(tag) else { return };
        let Place { at: asked_of, .. } = self.questions[index].place;
        let answer = if complaint.is_about_ttl() && asked_of == Some(boxes) {
            Answer::Forwards
        } else if self.tunnel.is_host(complaint.by, boxes) && !complaint.is_about_ttl() {
            Answer::Host(HostAnswer::Closed)
        } else {
            Answer::Refused { complaint, boxes }
        };
        self.note(index, answer, Some(now.saturating_sub(at)), now);
    }
}

impl Prober {
    /// What to send now; asked again until there is nothing.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.host_is_late() && now >= SECOND_THOUGHTS {
            self.ask_boxes(now);
        }
        self.over |= now >= self.end;
        if self.over || now < self.next_packet {
            return None;
        }
        let due = |question: &Question| question.due <= now && self.is_open(question);
        let index = self.questions.iter().position(due)?;
        let question = &mut self.questions[index];
        question.tries += 1;
        question.due = now + INTERVAL;
        let Place { at, kind } = question.place;
        let tag = self.first_tag.wrapping_add(self.sent.len() as u16);
        self.sent.push((index, now));
        self.next_packet = now + PACE;
        Some(self.tunnel.probe(kind, tag, at))
    }

    /// When to ask again. `None`: it is over.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let open = self.questions.iter().filter(|question| self.is_open(question));
        let thoughts = self.host_is_late().then_some(SECOND_THOUGHTS);
        let next = open.map(|question| question.due).chain(thoughts).min();
        let next = next.map(|due| due.max(self.next_packet));
        (!self.over).then(|| next.map_or(self.end, |next| next.min(self.end)))
    }

    /// What came back; what is to be sent at once, if anything.
    pub(super) fn replied(&mut self, reply: Reply, now: Duration) -> Option<Vec<u8>> {
        match reply {
            Reply::Host(reply) => self.host_replied(reply, now),
            Reply::Error { tag, boxes, complaint } => {
                self.error_came(tag, boxes, complaint, now);
                None
            }
        }
    }

    /// An error about a packet on its way to the first box.
    pub(super) fn complained(&mut self, complaint: Complaint, quote: &[u8], now: Duration) {
        let known = tag_of(quote).is_none_or(|tag| self.asked(tag).is_some());
        if known && self.outer.is_none() {
            self.outer = Some(complaint);
            self.settle(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PATH, Peer, complaint, tunnel};
    use super::super::verdict::{BoxState, Conclusion, HostState};
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const TTL: fn(Ipv4Addr) -> Complaint = |by| complaint(by, 11, 0);

    /// Runs a probe against somebody who answers to packets (which question they ask, the packet).
    fn run(
        kinds: &[Kind],
        mut answer: impl FnMut(&Peer<'_>, Place, &[u8]) -> Option<Vec<u8>>,
    ) -> (Prober, usize, Duration) {
        let tunnel = tunnel(PATH);
        let peer = Peer::of(&tunnel);
        let mut prober = Prober::new(tunnel.clone(), kinds, 65_530);
        let (mut packets, mut now) = (0, Duration::ZERO);
        while let Some(deadline) = prober.deadline() {
            now = now.max(deadline);
            while let Some(sent) = prober.poll(now) {
                packets += 1;
                let (index, _) = *prober.sent.last().expect("sent");
                let place = prober.questions[index].place;
                if let Some(reply) = answer(&peer, place, &sent) {
                    now += Duration::from_millis(3);
                    packets += usize::from(received(&mut prober, &reply, now).is_some());
                }
            }
        }
        (prober, packets, now)
    }

    fn received(prober: &mut Prober, datagram: &[u8], now: Duration) -> Option<Vec<u8>> {
        let reply = prober.tunnel.read(datagram)?;
        prober.replied(reply, now)
    }

    fn box_address(at: usize) -> Ipv4Addr {
        [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(10, 0, 0, 9)][at - 1]
    }

    #[test]
    fn everything_answers() {
        let kinds = [Kind::Ping, Kind::Tcp(80), Kind::Tcp(81), Kind::Udp(7)];
        let (prober, packets, now) = run(&kinds, |peer, place, sent| {
            Some(match (place.at, place.kind) {
                (Some(at), _) => peer.error(sent, at, TTL(box_address(at))),
                (None, Kind::Tcp(81)) => peer.refusal(sent),
                _ => peer.answer(sent),
            })
        });
        let report = prober.report();
        assert_eq!(report.conclusion, Conclusion::Reached);
        let states: Vec<_> = report.levels.iter().map(|level| level.state).collect();
        assert_eq!(states, [BoxState::Forwards; 2]);
        let hosts: Vec<_> = report.kinds.iter().map(|kind| kind.host).collect();
        use HostState::{Closed, Open};
        assert_eq!(hosts, [Open, Open, Closed, Open]);
        assert_eq!(report.kinds[0].time, Some(Duration::from_millis(3)));
        assert_eq!(packets, 6 + 1, "each box and kind once, and a reset");
        assert!(now < Duration::from_millis(200), "{now:?}");
    }

    #[test]
    fn silence_is_asked_three_times_and_then_believed() {
        let (prober, packets, now) = run(&[Kind::Ping], |_, _, _| None);
        assert_eq!(prober.report().conclusion, Conclusion::BoxSilent { number: 1 });
        assert_eq!((packets, now), (9, PATIENCE));
    }

    #[test]
    fn the_second_box_is_silent() {
        let (prober, ..) = run(&[Kind::Ping], |peer, place, sent| match place.at {
            Some(1) => Some(peer.error(sent, 1, TTL(box_address(1)))),
            _ => None,
        });
        assert_eq!(prober.report().conclusion, Conclusion::BoxSilent { number: 2 });
    }

    #[test]
    fn a_kind_that_is_not_exported_waits_no_longer_than_a_second() {
        let (prober, _, now) = run(&[Kind::Ping, Kind::Tcp(80)], |peer, place, sent| match place {
            Place { at: Some(1), .. } => Some(peer.error(sent, 1, TTL(box_address(1)))),
            Place { kind: Kind::Ping, .. } => None,
            Place { at: Some(at), .. } => Some(peer.error(sent, at, TTL(box_address(at)))),
            Place { at: None, .. } => Some(peer.answer(sent)),
        });
        let report = prober.report();
        assert_eq!(report.conclusion, Conclusion::Reached);
        let kinds: Vec<_> = report.kinds.iter().map(|kind| (kind.exported, kind.host)).collect();
        assert_eq!(kinds, [(false, HostState::Silent), (true, HostState::Open)]);
        assert!(now < Duration::from_millis(1200), "{now:?}");
    }

    #[test]
    fn what_boxes_and_hosts_report() {
        let error = |kind, code, by| complaint(by, kind, code);
        let host = Ipv4Addr::new(192, 168, 0, 2);
        for (complaint, at, expected) in [
            (error(3, 1, box_address(2)), 2, None),
            (error(3, 3, host), 2, Some(Conclusion::Reached)),
            (error(3, 1, box_address(1)), 1, None),
        ] {
            let (prober, ..) = run(&[Kind::Udp(9)], |peer, place, sent| match place.at {
                Some(number) if number <= at => {
                    Some(peer.error(sent, number, TTL(box_address(number))))
                }
                _ => Some(peer.error(sent, at, complaint)),
            });
            let conclusion = prober.report().conclusion;
            let refused = match at {
                1 => Conclusion::BoxRefused { number: 2, complaint },
                _ => Conclusion::HostRefused { complaint },
            };
            assert_eq!(conclusion, expected.unwrap_or(refused));
        }
    }

    #[test]
    fn an_error_on_the_way_to_the_first_box() {
        let mut prober = Prober::new(tunnel(PATH), &[Kind::Ping], 9);
        let sent = prober.poll(Duration::ZERO).expect("a packet");
        let complaint = complaint(box_address(1), 3, 3);
        // About a packet of somebody else's.
        prober.complained(complaint, &[0x45, 0, 0, 0, 0x77, 0x77], Duration::ZERO);
        assert_eq!(prober.outer, None);
        prober.complained(complaint, &sent[..28], Duration::from_millis(5));
        assert_eq!(prober.report().conclusion, Conclusion::NoGateway { complaint });
        assert_eq!(prober.poll(Duration::from_secs(2)), None);
        assert_eq!(prober.deadline(), None);
    }

    proptest! {
        /// Whoever answers whatever, however often: the number of packets stays bounded, and it ends.
        #[test]
        fn no_answer_makes_it_send_more(choices in prop::collection::vec(0u8..6, 1..50), extra in 0usize..60) {
            let kinds = [Kind::Ping, Kind::Tcp(1), Kind::Tcp(2), Kind::Udp(3)];
            let mut turn = 0;
            let (mut prober, mut packets, now) = run(&kinds, |peer, place, sent| {
                turn += 1;
                match choices[turn % choices.len()] {
                    0 => Some(peer.answer(sent)),
                    1 => Some(peer.refusal(sent)),
                    2 => Some(peer.error(sent, 1, TTL(box_address(1)))),
                    3 => Some(peer.error(sent, 2, complaint(place.at.map_or(box_address(1), box_address), 3, 1))),
                    4 => Some(vec![0x45; 60]),
                    _ => None,
                }
            });
            prop_assert!(now <= PATIENCE + PACE * 100);
            let tunnel = tunnel(PATH);
            let reply = Peer::of(&tunnel).answer(&tunnel.probe(Kind::Tcp(1), prober.first_tag, None));
            for _ in 0..extra {
                packets += usize::from(received(&mut prober, &reply, now).is_some());
            }
            prop_assert!(packets <= MAX_PACKETS);
            prober.report();
        }
    }
}
