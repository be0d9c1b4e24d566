//! What was found about sizes, in words.

use super::report::LEAST_PLAUSIBLE;
use super::{Back, Larger, Limit, Made, Sizes};
use crate::path::Path;
use crate::wire::outer::LEVEL;

/// The least that `mtu` may be.
pub const LEAST_MTU: u16 = 576;

impl Sizes {
    /// One sentence, without its full stop.
    pub fn sentence(&self, path: &Path) -> String {
        let interface = self.interface.map(|mtu| {
            format!("this host's interface sends no more than {mtu} octets in one piece")
        });
        let there = match self.levels.iter().all(|level| level.larger.is_none()) {
            true if self.levels.is_empty() => Vec::new(),
            true => vec![self.all_is_well(path)],
            false => self.limits(path),
        };
        let parts: Vec<_> = interface.into_iter().chain(there).chain(self.way_back(path)).collect();
        parts.join("; ")
    }

    /// What to do about it, the most important first; nothing if all is well. `made`: what natttd here
    /// makes, if that is known.
    pub fn advice(&self, path: &Path, made: Option<Made>) -> Vec<String> {
        let is_more = |mtu| made.map(|made| made.octets > mtu);
        let interface = self.interface.filter(|&mtu| is_more(mtu) == Some(true));
        let Some(mtu) = self.mtu.or(interface) else { return Vec::new() };
        if mtu < LEAST_MTU {
            return vec![format!(
                "No `mtu` can be less than {LEAST_MTU}: the link with {mtu} octets has to be mended"
            )];
        }
        let lost_there = self.levels.iter().any(|level| level.larger == Some(Larger::Lost));
        let why = match (lost_there, self.is_lossy()) {
            (true, _) => "So that what is large gets through",
            (false, true) => {
                "If large downloads hang (else the host may just answer to no large ping)"
            }
            (false, false) => {
                "To do without fragments, which cost speed and are dropped in some networks"
            }
        };
        // What natttd makes may fit already: other sizes can be asked for.
        if is_more(mtu) == Some(false) {
            return Vec::new();
        }
        if mtu >= LEAST_PLAUSIBLE && made.is_some_and(|made| made.measures) {
            return vec![
                "natttd here measures that by itself (`measure_mtu`): TCP connections fit, and UDP programs \
                 on this host are told how much does"
                    .into(),
            ];
        }
        let here = format!(
            "{why}: write `mtu = {mtu}` under [client] in /etc/nattt/nattt.toml here, then `nattt reload`"
        );
        [here].into_iter().chain(self.on_the_box(path)).collect()
    }

    /// The last box can do the same for everybody, as far as TCP goes: it lowers the MSS. Those before
    /// it see UDP, and lower nothing.
    fn on_the_box(&self, path: &Path) -> Option<String> {
        let narrow =
            |level: &&Limit| matches!(level.larger, Some(Larger::Fragments | Larger::Lost));
        let whole = self.levels.iter().filter(narrow).filter_map(|level| level.whole).min()?;
        let number = path.hops().len();
        let mtu = whole.saturating_sub((LEVEL * (number - 1)) as u16);
        Some(format!(
            "If it is so for others, too: `mtu = {}` under [gateway] on NAT box {number} is for the TCP \
             connections of all its clients",
            mtu.max(LEAST_MTU)
        ))
    }

    /// Where something does not arrive whole; what only passes a limit on is left out.
    fn limits(&self, path: &Path) -> Vec<String> {
        let mut top = self.tried;
        let mut before = 0;
        let mut said = Vec::new();
        for level in &self.levels {
            let between = between(path, before, level.number);
            let whole = level.whole.unwrap_or(0);
            match (level.larger, level.whole) {
                (Some(Larger::Lost), Some(_)) => said.push(format!(
                    "packets over {whole} octets are lost {between}: something drops fragments there"
                )),
                (Some(Larger::Lost), None) => said.push(format!("only small packets arrive {between}")),
                (Some(Larger::Fragments), _) if whole < top => said.push(format!(
                    "packets over {whole} octets travel in fragments {between}, and arrive"
                )),
                (Some(Larger::Unknown), _) => said.push(format!(
                    "what becomes of packets over {} octets {between} is not clear: the box does not \
                     always answer",
                    level.whole.map_or("a few hundred".into(), |whole| whole.to_string())
                )),
                (Some(Larger::Fragments) | None, _) => {}
            }
            (top, before) = (top.min(whole), level.number);
        }
        said
    }

    fn all_is_well(&self, path: &Path) -> String {
        let last = self.levels.last().map_or(0, |level| level.number);
        let place = match last == path.hops().len() {
            true => String::new(),
            false => format!(" at NAT box {last}"),
        };
        format!("packets of {} octets arrive whole{place}", self.tried)
    }

    /// Nothing where the last box is not reached either.
    fn way_back(&self, path: &Path) -> Option<String> {
        let boxes = path.hops().len();
        let reached = self.levels.last().is_some_and(|level| level.number == boxes);
        let unseen = || "the way back was not seen: that takes a host that answers to ping".into();
        match self.back {
            Some(back) => Some(came_back(back)),
            None => reached.then(unseen),
        }
    }
}

fn came_back(Back { whole, larger }: Back) -> String {
    let size = whole.map_or("a few hundred".into(), |whole| whole.to_string());
    match larger {
        None => format!("answers of {size} octets come back whole"),
        Some(Larger::Fragments) => format!("answers over {size} octets come back in fragments"),
        Some(Larger::Lost) => format!(
            "answers over {size} octets are lost on the way back, or the host does not answer to so \
             large a ping"
        ),
        Some(Larger::Unknown) => {
            format!("answers of {size} octets come back, larger ones not always")
        }
    }
}

fn between(path: &Path, before: usize, number: usize) -> String {
    let addr = path.hops().get(number - 1).map_or(path.host(), |hop| hop.addr);
    match before {
        0 => format!("between this host and NAT box {number}, {addr}"),
        _ => format!("between NAT box {before} and NAT box {number}, {addr}"),
    }
}
