//! Other people's firewall rules, read far enough to say that they drop a packet of ours.
//!
//! A rule may ask for more than is known here. Then it is open whether it matches, and only what is
//! dropped either way is called dropped: silence proves nothing, a finding does.

mod iptables;
mod nft;
mod packet;

pub(super) use iptables::is_nft as is_iptables_nft;
pub(super) use packet::{Direction, Packet, Place};

use std::collections::BTreeSet;
use std::fmt;

use packet::{Certainty, Match};

/// Priorities (linux/netfilter_ipv4.h).
const RAW: i64 = -300;
const SECURITY: i64 = 50;
/// Chains lead to chains no deeper than this; the kernel allows 16.
const MAX_DEPTH: u32 = 16;
/// How the names of our chains in iptables' tables begin: they are not judged.
const OURS: &str = "NATTT-";

/// A place where the kernel asks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Input,
    Forward,
    Output,
}

/// The chains of every table.
#[derive(Debug, Clone, Default)]
pub(super) struct Ruleset {
    chains: Vec<Chain>,
}

/// Which language made a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Nft,
    Iptables,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) language: Language,
    /// nft's family and table, iptables' table.
    pub(super) table: String,
    pub(super) name: String,
    /// Only of chains that the kernel asks by itself.
    base: Option<Base>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Base {
    hook: Hook,
    /// Chains of lower priorities are asked first.
    priority: i64,
    drops: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    matches: Vec<Match>,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// It counts, logs, sets a mark.
    Continue,
    /// Whatever follows from it is not for the rules to say: a queue.
    Elsewhere,
}

/// What may become of a packet.
#[derive(Debug, Clone, Copy, Default)]
struct Fates {
    /// It is accepted, or goes where rules do not decide.
    pass: bool,
    /// It meets the next rule.
    falls: bool,
    /// It leaves the chain for the one that led here, or for the policy.
    returns: bool,
}

impl Ruleset {
    /// Reads `nft -j list ruleset` and `iptables-save`; what is not known is empty. Tables that
    /// iptables' nft variant keeps are read as it says them: nft's JSON leaves out what they ask for.
    pub(super) fn read(nft: &str, iptables: &str) -> Self {
        let mut chains = iptables::chains(iptables);
        let saved: BTreeSet<String> = match iptables::is_nft(iptables) {
            true => chains.iter().map(|chain| format!("ip {}", chain.table)).collect(),
            false => BTreeSet::new(),
        };
        chains.extend(nft::chains(nft).into_iter().filter(|chain| !saved.contains(&chain.table)));
        Self { chains }
    }

    /// Whether a chain's name begins so.
    pub(super) fn has_chain(&self, beginning: &str) -> bool {
        self.chains.iter().any(|chain| chain.name.starts_with(beginning))
    }

    /// The first chain at a hook that is certain to drop the packet, other than our own.
    pub(super) fn dropping(&self, hook: Hook, packet: &Packet) -> Option<&Chain> {
        let mut asked: Vec<(&Base, &Chain)> =
            self.chains.iter().filter_map(|chain| Some((chain.base.as_ref()?, chain))).collect();
        asked.retain(|(base, _)| base.hook == hook && hook.sees_outer(base.priority));
        asked.sort_by_key(|(base, _)| base.priority);
        let drops = |(base, chain): &(&Base, &Chain)| {
            let fates = self.walk(chain, packet, 0);
            !fates.pass && (base.drops || !fates.returns)
        };
        asked.into_iter().find(drops).map(|(_, chain)| chain)
    }

    fn walk(&self, chain: &Chain, packet: &Packet, depth: u32) -> Fates {
        let mut fates = Fates { falls: true, ..Fates::default() };
        for rule in &chain.rules {
            let certainty = packet.fits(&rule.matches);
            if certainty == Certainty::No {
                continue;
            }
            let then = self.then(chain, rule, packet, depth);
            fates.pass |= then.pass;
            fates.returns |= then.returns;
            if certainty == Certainty::Yes && !then.falls {
                fates.falls = false;
                break;
            }
        }
        Fates { returns: fates.returns || fates.falls, ..fates }
    }

    /// What follows where a rule matches.
    fn then(&self, chain: &Chain, rule: &Rule, packet: &Packet, depth: u32) -> Fates {
        let none = Fates::default();
        match &rule.verdict {
            Verdict::Accept | Verdict::Elsewhere => Fates { pass: true, ..none },
            Verdict::Drop => none,
            Verdict::Return => Fates { returns: true, ..none },
            Verdict::Continue => Fates { falls: true, ..none },
            Verdict::Jump(name) if name.starts_with(OURS) => Fates { falls: true, ..none },
            Verdict::Jump(name) => {
                let sub = self.enter(chain, name, packet, depth);
                Fates { pass: sub.pass, falls: sub.returns, returns: false }
            }
            Verdict::Goto(name) => {
                let sub = self.enter(chain, name, packet, depth);
                Fates { falls: false, ..sub }
            }
        }
    }

    /// The fates in another chain of the same table. One that is not there proves nothing.
    fn enter(&self, from: &Chain, name: &str, packet: &Packet, depth: u32) -> Fates {
        let same = |chain: &&Chain| {
            chain.language == from.language && chain.table == from.table && chain.name == name
        };
        match self.chains.iter().find(same) {
            Some(chain) if depth < MAX_DEPTH => self.walk(chain, packet, depth + 1),
            _ => Fates { pass: true, falls: true, returns: true },
        }
    }
}

impl Hook {
    /// Whether chains of this priority meet the packet that the rules of this host are about: the
    /// outer one at a client, the inner one at a gateway (see [`crate::rules`]).
    fn sees_outer(self, priority: i64) -> bool {
        match self {
            Self::Output => priority > RAW,
            Self::Input => priority <= SECURITY,
            Self::Forward => true,
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "input" => Some(Self::Input),
            "forward" => Some(Self::Forward),
            "output" => Some(Self::Output),
            _ => None,
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { language, table, name, .. } = self;
        match language {
            Language::Nft => write!(f, "nft's chain {name} of table {table}"),
            Language::Iptables => write!(f, "iptables' chain {name} of table {table}"),
        }
    }
}

#[cfg(test)]
mod tests;
