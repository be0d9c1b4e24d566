//! What was found about sizes.

use serde::Serialize;

use super::known::{Echo, Known, Level};

/// What becomes of large packets. Sizes are octets on the first link, all headers included: what
/// `mtu` in nattt.toml is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The largest that were tried.
    pub tried: u16,
    /// The MTU of this host's interface, where larger ones would have been tried but for it.
    pub interface: Option<u16>,
    /// The boxes that answer, outermost first.
    pub levels: Vec<Limit>,
    /// The way back, where the host's echoes show it.
    pub back: Option<Back>,
    /// The `mtu` with which packets need no fragments, if that is less than what was tried.
    pub mtu: Option<u16>,
    /// Nothing is left open: nobody has ceased to answer, and time was enough.
    #[serde(skip)]
    conclusive: bool,
}

/// Hardly any link takes less, octets, and natttd counts on no less by itself.
pub(super) const LEAST_PLAUSIBLE: u16 = 1280;

/// What gets to a box, from the one before it that answers, or from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The box, from 1.
    pub number: usize,
    /// The largest that arrived whole; `None`: only small ones were answered.
    pub whole: Option<u16>,
    /// What becomes of larger ones; `None`: nothing larger gets here.
    pub larger: Option<Larger>,
    /// The host was asked in place of the box: what is lost may be its answers.
    #[serde(skip)]
    by_host: bool,
}

/// What comes back from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Back {
    /// The largest that came whole; `None`: only small ones did.
    pub whole: Option<u16>,
    /// What becomes of larger ones; `None`: nothing larger was asked for.
    pub larger: Option<Larger>,
}

/// What becomes of packets that do not arrive whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Larger {
    /// They arrive in fragments.
    Fragments,
    /// They do not arrive.
    Lost,
    /// There was no telling.
    Unknown,
}

/// The largest packets that get through whole, octets with all headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Working {
    /// To the last box; 0 if only small ones do.
    pub there: u16,
    /// From the host back, where that is less than what was tried. It may be the host that answers to no
    /// larger ping.
    pub back: Option<u16>,
}

impl Sizes {
    /// `None` if nothing was found out.
    pub(super) fn new(known: &Known) -> Option<Self> {
        let mut reach = known.asked;
        let mut levels = Vec::new();
        for level in &known.levels {
            levels.push(limit(level, known.of_interest(level, reach), known.small));
            reach = level.reach(reach);
        }
        let back = known.echo.as_ref().and_then(|echo| back(echo, known));
        let limits = levels.iter().filter(|level| level.larger.is_some());
        let limits = limits.filter_map(|level| level.whole);
        let way_back = back.filter(|back| back.larger.is_some()).and_then(|back| back.whole);
        let mtu = limits.chain(way_back).min();
        let silent = back.is_none() && levels.iter().all(|level| level.whole.is_none());
        (!silent).then_some(Self {
            tried: known.asked,
            interface: known.interface,
            levels,
            back,
            mtu,
            conclusive: known.is_complete(),
        })
    }

    /// What follows for those who send through so many boxes. `None` if it is not clear what gets there.
    pub fn working(&self, boxes: usize) -> Option<Working> {
        let last = self.levels.iter().find(|level| level.number == boxes)?;
        let is_unclear = |level: &Limit| level.larger == Some(Larger::Unknown);
        if !self.conclusive || self.levels.iter().any(is_unclear) {
            return None;
        }
        let limit = |level: &Limit| level.larger.map(|_| level.whole.unwrap_or(0));
        let by_boxes = self.levels.iter().filter(|level| !level.by_host);
        let there = by_boxes.filter_map(limit).min().unwrap_or(self.tried);
        // Larger pings than that some hosts answer not at all.
        let round_trip = last.by_host.then(|| last.whole.unwrap_or(0));
        let round_trip = round_trip.filter(|&octets| octets < self.tried);
        if round_trip.is_some_and(|octets| octets < LEAST_PLAUSIBLE) {
            return None;
        }
        let back = self.back.filter(|back| back.larger.is_some()).and_then(|back| back.whole);
        Some(Working { there, back: [round_trip, back].into_iter().flatten().min() })
    }

    /// Whether something large is lost.
    pub fn is_lossy(&self) -> bool {
        let mut levels = self.levels.iter().map(|level| level.larger);
        levels.any(|larger| larger == Some(Larger::Lost))
            || self.back.is_some_and(|back| back.larger == Some(Larger::Lost))
    }
}

fn limit(level: &Level, reach: u16, small: u16) -> Limit {
    let whole = level.whole.works();
    let larger = match level.fragments {
        _ if whole >= reach => None,
        Some(true) => Some(Larger::Fragments),
        Some(false) => Some(Larger::Lost),
        None => Some(Larger::Unknown),
    };
    let by_host = level.is_host();
    Limit { number: level.number, whole: (whole > small).then_some(whole), larger, by_host }
}

/// `None` while nothing large came back and nothing was lost for certain.
fn back(echo: &Echo, known: &Known) -> Option<Back> {
    let (comes, whole) = (echo.comes.works(), echo.whole.min(known.asked));
    let larger = if echo.comes.is_bounded(known.most_back()) {
        Some(Larger::Lost)
    } else if whole < comes {
        Some(Larger::Fragments)
    } else if comes < known.most_back() {
        Some(Larger::Unknown)
    } else {
        None
    };
    let seen = comes > known.small || larger == Some(Larger::Lost);
    seen.then_some(Back { whole: (whole > known.small).then_some(whole), larger })
}
