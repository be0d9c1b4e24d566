//! What is known of the sizes that get somewhere, and what to try next.

use std::time::Duration;

use super::super::prober::{Found, Place};
use super::super::{Complaint, Kind};
use super::range::Range;
use super::trial::Attempt;
use crate::wire::outer::LEVEL;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered; the answer came in fragments of so many octets at the most.
    Arrived { fragment: Option<u16> },
    /// Somebody behind so many boxes reports that his link does not take it whole.
    TooLong { boxes: usize, complaint: Complaint },
    /// Larger than what this host's own interface sends whole.
    Interface { mtu: u16 },
    /// It is not answered, while small ones are.
    Lost,
    /// Nothing is answered any more.
    Unanswered,
}

/// A box that answers, and the way to it from the one before.
#[derive(Debug)]
pub(super) struct Level {
    /// The box, from 1.
    pub(super) number: usize,
    /// Who is asked: the box, or in place of a last one that says nothing, the host.
    place: Place,
    time: Duration,
    /// What arrives whole.
    pub(super) whole: Range,
    /// Whether what is larger arrives in fragments.
    pub(super) fragments: Option<bool>,
    /// It ceased to answer.
    pub(super) stuck: bool,
}

/// The host's echoes, which show the way back.
#[derive(Debug)]
pub(super) struct Echo {
    time: Duration,
    /// What comes back, in fragments or whole.
    pub(super) comes: Range,
    /// The largest that came back whole.
    pub(super) whole: u16,
    /// The smallest that came in fragments, and the largest of these, or less if another's were.
    pub(super) broken: Option<(u16, u16)>,
    /// What the links behind the last box let through to the host, if that is less.
    cap: Option<u16>,
    stuck: bool,
}

/// All of it. Sizes are octets on the first link, all headers included.
#[derive(Debug)]
pub(super) struct Known {
    boxes: usize,
    /// The largest size of interest, or what the interface sends whole.
    pub(super) asked: u16,
    /// Octets of the smallest packets; they arrive.
    pub(super) small: u16,
    /// Whether the largest size got to the deepest place, which is tried at once: mostly, it does.
    pub(super) far: Option<bool>,
    /// There are no more places than these.
    complete: bool,
    pub(super) levels: Vec<Level>,
    pub(super) echo: Option<Echo>,
    /// Sizes that arrived whole at a box, or (one more than there are boxes) at the host.
    proofs: Vec<(usize, u16)>,
    /// The MTU of this host's interface, if it is less than what is of interest.
    pub(super) interface: Option<u16>,
}

impl Known {
    pub(super) fn new(boxes: usize, wanted: u16, small: u16) -> Self {
        Self {
            boxes,
            asked: wanted.max(small),
            small,
            far: None,
            complete: false,
            levels: Vec::new(),
            echo: None,
            proofs: Vec::new(),
            interface: None,
        }
    }

    /// Small packets have reached these places. `all`: no more will be found.
    pub(super) fn found(&mut self, found: &Found, all: bool) {
        self.complete |= all;
        for &(number, kind, time) in &found.boxes {
            self.add_level(number, Place { at: Some(number), kind }, time);
        }
        let Some(time) = found.ping else { return };
        if self.echo.is_none() {
            let comes = Range::new(self.small);
            let (whole, broken, cap) = (self.small, None, None);
            self.echo = Some(Echo { time, comes, whole, broken, cap, stuck: false });
        }
        if all {
            self.add_level(self.boxes, Place { at: None, kind: Kind::Ping }, time);
        }
    }

    fn add_level(&mut self, number: usize, place: Place, time: Duration) {
        let Err(index) = self.levels.binary_search_by_key(&number, |level| level.number) else {
            return;
        };
        let mut whole = Range::new(self.small);
        for &(_, size) in self.proofs.iter().filter(|&&(through, _)| through >= number) {
            whole.arrived(size);
        }
        let level = Level { number, place, time, whole, fragments: None, stuck: false };
        self.levels.insert(index, level);
    }

    /// The next thing to try; nothing if all is known that can be.
    pub(super) fn next(&self) -> Option<Attempt> {
        self.far().or_else(|| self.on_the_way()).or_else(|| self.back())
    }

    /// Whether nothing is left to find out, and everybody has answered to the end.
    pub(super) fn is_complete(&self) -> bool {
        self.complete && self.next().is_none() && !self.levels.iter().any(|level| level.stuck)
    }

    /// How long the place takes to answer.
    pub(super) fn time(&self, place: Place) -> Duration {
        let echo = self.echo.as_ref().filter(|_| place.at.is_none()).map(|echo| echo.time);
        let level = || self.levels.iter().find(|level| level.place == place);
        echo.or_else(|| level().map(|level| level.time)).unwrap_or_default()
    }

    fn far(&self) -> Option<Attempt> {
        let place = match (&self.echo, self.levels.last()) {
            (Some(_), _) => Place { at: None, kind: Kind::Ping },
            (None, last) => last?.place,
        };
        self.far.is_none().then_some(Attempt { place, size: self.asked, whole: true })
    }

    fn on_the_way(&self) -> Option<Attempt> {
        let (mut top, mut reach) = (self.asked, self.asked);
        for level in &self.levels {
            if let Some(attempt) = level.next(top, self.of_interest(level, reach)) {
                return Some(attempt);
            }
            top = top.min(level.whole.works());
            reach = level.reach(reach);
        }
        None
    }

    /// The largest size that gets to the last box that answers, if need be in fragments.
    pub(super) fn reach(&self) -> u16 {
        self.levels.iter().fold(self.asked, |reach, level| level.reach(reach))
    }

    /// The largest size that echoes may have.
    pub(super) fn most_back(&self) -> u16 {
        self.reach().min(self.cap())
    }

    /// What can be asked of a place, if so much gets to the one before: no more gets to the host, who is
    /// asked in place of the last box, than the links behind that take.
    pub(super) fn of_interest(&self, level: &Level, reach: u16) -> u16 {
        if level.is_host() { reach.min(self.cap()) } else { reach }
    }

    fn cap(&self) -> u16 {
        self.echo.as_ref().and_then(|echo| echo.cap).unwrap_or(u16::MAX)
    }

    fn back(&self) -> Option<Attempt> {
        let echo = self.echo.as_ref().filter(|echo| !echo.stuck)?;
        if self.levels.is_empty() && !self.complete {
            return None;
        }
        // The link that is small on the way there mostly is on the way back.
        let guess = self.levels.last().map_or(0, |level| level.whole.works());
        let next = echo.comes.next(self.most_back(), guess, 0);
        let size = next.or_else(|| echo.fitting(guess))?;
        Some(Attempt { place: Place { at: None, kind: Kind::Ping }, size, whole: false })
    }

    /// Notes what became of an attempt. Whatever it is, [`Known::next`] is another one then.
    pub(super) fn learn(&mut self, attempt: Attempt, outcome: Outcome) {
        let Attempt { place, size, whole } = attempt;
        let is_far = self.far() == Some(attempt);
        match outcome {
            Outcome::Interface { mtu } => return self.narrow(mtu),
            Outcome::Arrived { .. } if whole => self.prove(place.at.unwrap_or(self.boxes), size),
            Outcome::TooLong { boxes, .. } if whole => self.prove(boxes, size),
            _ => {}
        }
        if is_far {
            self.far = Some(matches!(outcome, Outcome::Arrived { .. }));
        }
        match (outcome, self.level(place)) {
            (Outcome::TooLong { boxes, complaint }, _) => self.blame(boxes, complaint, size),
            (Outcome::Arrived { .. }, Some(level)) if !whole => {
                // Smaller ones follow to the host, if it was not.
                let known = level.fragments.filter(|_| place.at.is_none());
                level.fragments = known.or(Some(true));
            }
            (Outcome::Lost, Some(level)) if !whole => level.fragments = Some(false),
            (Outcome::Lost, Some(level)) => level.whole.failed(size),
            (Outcome::Unanswered, Some(level)) => level.stuck = true,
            _ => {}
        }
        if let (Outcome::TooLong { .. }, true, Some(level)) = (outcome, whole, self.level(place)) {
            level.whole.failed(size);
        }
        if let (None, Some(echo)) = (place.at, &mut self.echo) {
            echo.learn(outcome, size, whole);
        }
    }

    fn level(&mut self, place: Place) -> Option<&mut Level> {
        self.levels.iter_mut().find(|level| level.place == place)
    }

    /// This size passed through so many boxes whole.
    fn prove(&mut self, through: usize, size: u16) {
        // Whoever answers again and again proves nothing more.
        if !self.proofs.contains(&(through, size)) {
            self.proofs.push((through, size));
        }
        for level in self.levels.iter_mut().filter(|level| level.number <= through) {
            level.whole.arrived(size);
        }
    }

    /// The link behind so many boxes is too small; its MTU counts without their headers.
    fn blame(&mut self, boxes: usize, complaint: Complaint, size: u16) {
        let limit = complaint.mtu.map(|mtu| mtu.saturating_add((boxes * LEVEL) as u16));
        let limit = limit.filter(|&limit| self.small < limit && limit < size);
        if boxes >= self.boxes {
            // The application is told, too: it is no matter of the tunnel.
            let cap = limit.unwrap_or(self.small);
            if let Some(echo) = &mut self.echo {
                echo.cap = Some(echo.cap.map_or(cap, |before| before.min(cap)));
            }
        } else if let Some(level) = self.levels.iter_mut().find(|level| level.number > boxes) {
            level.whole.failed(size);
            if let Some(limit) = limit {
                level.whole.told(limit);
            }
        }
    }

    /// The interface sends no more at once.
    fn narrow(&mut self, mtu: u16) {
        if self.small < mtu && mtu < self.asked {
            self.interface = Some(mtu);
            self.asked = mtu;
        } else {
            self.far = Some(false);
            self.levels.iter_mut().for_each(|level| level.stuck = true);
        }
    }
}

impl Level {
    /// The host is asked in place of the box.
    pub(super) fn is_host(&self) -> bool {
        self.place.at.is_none()
    }

    fn next(&self, top: u16, reach: u16) -> Option<Attempt> {
        if self.stuck {
            return None;
        }
        let attempt = |size, whole| Attempt { place: self.place, size, whole };
        let whole = self.whole.next(top, 0, self.number - 1).map(|size| attempt(size, true));
        let larger = self.whole.works() < reach && self.fragments.is_none();
        let larger = larger.then(|| attempt(reach, false));
        // Whether anything is lost matters more than the exact size.
        match self.whole.is_bounded(top) {
            true => larger.or(whole),
            false => whole.or(larger),
        }
    }

    /// What gets to this box, if `reach` gets to the one before.
    pub(super) fn reach(&self, reach: u16) -> u16 {
        if self.fragments == Some(true) { reach } else { reach.min(self.whole.works()) }
    }
}

/// All fragments but the last carry a multiple of so many octets (RFC 791 §3.2): a link's MTU is up to
/// seven more than the largest of them has.
const FRAGMENT_UNIT: u16 = 8;

impl Echo {
    /// What should come whole, where larger ones come in fragments.
    fn fitting(&self, guess: u16) -> Option<u16> {
        let (size, fragment) = self.broken?;
        let is_open = |wanted: &u16| self.whole < *wanted && *wanted < size;
        let near = (fragment..fragment.saturating_add(FRAGMENT_UNIT)).contains(&guess);
        Some(guess).filter(|_| near).filter(is_open).or(Some(fragment).filter(is_open))
    }

    fn learn(&mut self, outcome: Outcome, size: u16, whole: bool) {
        match outcome {
            Outcome::Arrived { fragment } => {
                self.comes.arrived(size);
                match fragment {
                    None => self.whole = self.whole.max(size),
                    Some(fragment) => {
                        let (least, smallest) = self.broken.unwrap_or((size, fragment));
                        self.broken = Some((least.min(size), smallest.min(fragment)));
                    }
                }
            }
            // One with DF may be lost on the way there.
            Outcome::Lost if !whole => {
                self.stuck |= size <= self.comes.works();
                self.comes.failed(size);
            }
            Outcome::Unanswered => self.stuck = true,
            Outcome::TooLong { .. } | Outcome::Interface { .. } | Outcome::Lost => {}
        }
    }
}
