//! What must be loaded for the rules to be whole: a chain's name stays when its rules are flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{IPTABLES_PREFIX, render, replace};
use crate::config::{Config, Flavour};

/// nf_tables' families of tables, as far as we have some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Both IP versions.
    Inet,
    /// IPv4; iptables' tables are of this family, too.
    Ip,
}

/// A chain and the table it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// The table's family.
    pub family: Family,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
}

/// The chains of ours with how many rules each has, and the jumps to them: of the text, or as the
/// kernel has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Number of rules in each chain of ours.
    pub chains: BTreeMap<Chain, usize>,
    /// Built-in chains, and the chain of ours (in the same table) that each jumps to.
    pub jumps: BTreeSet<(Chain, String)>,
}

/// What is wrong first, in the order of tables and chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A chain of ours that is not there, or in a table that is dormant.
    Missing(Chain),
    /// A chain of ours with other rules than the text's.
    Rules {
        /// The chain.
        chain: Chain,
        /// How many the text has.
        expected: usize,
        /// How many are loaded.
        found: usize,
    },
    /// A built-in chain that does not jump to ours.
    Jump {
        /// The built-in chain.
        from: Chain,
        /// Ours.
        to: String,
    },
}

/// The shape of the text that [`render`] makes: for iptables, IPv4's part.
pub fn shape(config: &Config, flavour: Flavour) -> Shape {
    let text = render(config, flavour);
    match flavour {
        Flavour::Nft => of_nft(&text),
        Flavour::Iptables => of_iptables(&text),
    }
}

impl Shape {
    /// What `seen` lacks to be this shape, or has too much in a chain of ours. Other chains and
    /// jumps are nobody's business here: a jump that stands twice does no harm.
    pub fn fault(&self, seen: &Shape) -> Option<Fault> {
        self.chains.iter().find_map(|(chain, &rules)| seen.rules_fault(chain, rules)).or_else(
            || {
                let (from, to) = self.jumps.difference(&seen.jumps).next()?;
                Some(Fault::Jump { from: from.clone(), to: to.clone() })
            },
        )
    }

    fn rules_fault(&self, chain: &Chain, expected: usize) -> Option<Fault> {
        match self.chains.get(chain) {
            None => Some(Fault::Missing(chain.clone())),
            Some(&found) if found == expected => None,
            Some(&found) => Some(Fault::Rules { chain: chain.clone(), expected, found }),
        }
    }
}

fn of_nft(text: &str) -> Shape {
    let mut shape = Shape::default();
    let (mut table, mut current) = (None, None);
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["table", family, name, "{"] = words[..] {
            let family = if family == "inet" { Family::Inet } else { Family::Ip };
            table = Some((family, name.to_owned()));
        } else if let (["chain", name, "{"], Some((family, table))) = (&words[..], &table) {
            let chain = Chain { family: *family, table: table.clone(), name: (*name).to_owned() };
            current = Some(shape.chains.entry(chain).or_default());
        } else if line == "}" {
            current = None;
        } else if let Some(rules) = &mut current
            && !line.is_empty()
            && !line.starts_with('#')
            && !line.starts_with("type ")
        {
            **rules += 1;
        }
    }
    shape
}

fn of_iptables(text: &str) -> Shape {
    let mut shape = Shape::default();
    for (table, lines) in replace::sections(text) {
        let chain =
            |name: &str| Chain { family: Family::Ip, table: table.into(), name: name.into() };
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [declared, ..] if declared.starts_with(':') => {
                    shape.chains.entry(chain(&declared[1..])).or_default();
                }
                ["-A", name, ..] if name.starts_with(IPTABLES_PREFIX) => {
                    *shape.chains.entry(chain(name)).or_default() += 1;
                }
                ["-A" | "-I", from, "-j", to] => {
                    shape.jumps.insert((chain(from), to.into()));
                }
                _ => {}
            }
        }
    }
    shape
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} of table {}", self.name, self.table)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(chain) => write!(f, "{chain} is missing, or the table is dormant"),
            Self::Rules { chain, expected, found } => {
                write!(f, "{chain} has {found} rules instead of {expected}")
            }
            Self::Jump { from, to } => write!(f, "{from} does not jump to {to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fingerprint;
    use proptest::prelude::*;

    const BOTH: &str = "[client]\n[gateway]\noutside = [\"a\", \"b\"]\nexports = [\"10.0.0.0/8\"]";

    fn config(text: &str) -> Config {
        Config::parse(text).expect(text)
    }

    fn chain(table: &str, name: &str) -> Chain {
        Chain { family: Family::Ip, table: table.into(), name: name.into() }
    }

    fn counts(shape: &Shape) -> Vec<(String, usize)> {
        let name = |chain: &Chain| match chain.family {
            Family::Inet => format!("inet {} {}", chain.table, chain.name),
            Family::Ip => format!("{} {}", chain.table, chain.name),
        };
        shape.chains.iter().map(|(chain, &rules)| (name(chain), rules)).collect()
    }

    fn list(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|&(name, rules)| (name.to_owned(), rules)).collect()
    }

    #[test]
    fn nft_chains() {
        let config = config(BOTH);
        let shape = shape(&config, Flavour::Nft);
        let own = format!("inet nattt config_{}", fingerprint(&config, Flavour::Nft));
        let expected = [
            ("inet nattt client_input", 7),
            ("inet nattt client_mark", 3),
            ("inet nattt client_output", 4),
            ("inet nattt client_unmapped", 2),
            (&own, 0),
            ("inet nattt gateway_copies", 1),
            ("inet nattt gateway_forgotten", 1),
            ("inet nattt gateway_forward", 1),
            ("inet nattt gateway_identity", 1),
            ("inet nattt gateway_input", 1),
            ("inet nattt gateway_mark", 4),
            ("inet nattt gateway_postrouting", 2),
            ("inet nattt gateway_prerouting", 3),
            ("nattt answer", 4),
            ("nattt answers", 3),
            ("nattt copies", 2),
        ];
        assert_eq!(counts(&shape), list(&expected));
        assert!(shape.jumps.is_empty());
    }

    #[test]
    fn iptables_chains_and_jumps() {
        let config = config("[client]");
        let shape = shape(&config, Flavour::Iptables);
        let own = format!("raw NATTT-{}", fingerprint(&config, Flavour::Iptables));
        let mut expected = list(&[
            ("filter NATTT-OUTPUT", 2),
            ("mangle NATTT-OUTPUT", 6),
            (&own, 0),
            ("raw NATTT-ANSWER", 4),
            ("raw NATTT-NFQUEUE-SOURCE", 4),
            ("raw NATTT-OUTPUT", 11),
            ("security NATTT-INPUT", 4),
            ("security NATTT-NFQUEUE-DESTINATION", 4),
        ]);
        expected.sort();
        assert_eq!(counts(&shape), expected);
        let jump = |table, from, to: &str| (chain(table, from), to.to_owned());
        let jumps = [
            jump("filter", "OUTPUT", "NATTT-OUTPUT"),
            jump("mangle", "OUTPUT", "NATTT-OUTPUT"),
            jump("raw", "OUTPUT", "NATTT-OUTPUT"),
            jump("security", "INPUT", "NATTT-INPUT"),
        ];
        assert_eq!(shape.jumps, jumps.into());
    }

    #[test]
    fn every_chain_of_the_iptables_gateway_is_jumped_to() {
        let config = config(BOTH);
        let shape = shape(&config, Flavour::Iptables);
        // All chains but the one that is only a name, and those to which our own chains jump.
        let inner = |chain: &&Chain| ["NFQUEUE", "ANSWER"].iter().any(|of| chain.name.contains(of));
        let inner = shape.chains.keys().filter(inner).count();
        assert_eq!(shape.jumps.len() + 1 + inner, shape.chains.len());
        assert_eq!(shape.chains.get(&chain("mangle", "NATTT-FORWARD")), Some(&4));
    }

    #[test]
    fn a_fault_names_its_chain() {
        let whole = shape(&config(BOTH), Flavour::Iptables);
        assert_eq!(whole.fault(&whole), None);
        let said = |seen: &Shape| whole.fault(seen).expect("a fault").to_string();
        let mut seen = whole.clone();
        seen.chains.insert(chain("raw", "NATTT-OUTPUT"), 0);
        assert_eq!(said(&seen), "chain NATTT-OUTPUT of table raw has 0 rules instead of 14");
        seen.chains.remove(&chain("raw", "NATTT-OUTPUT"));
        assert!(said(&seen).starts_with("chain NATTT-OUTPUT of table raw is missing"));
        let mut seen = whole.clone();
        seen.jumps.remove(&(chain("nat", "PREROUTING"), "NATTT-PREROUTING".into()));
        assert_eq!(said(&seen), "chain PREROUTING of table nat does not jump to NATTT-PREROUTING");
    }

    proptest! {
        #[test]
        fn any_lost_or_added_rule_is_noticed(nft: bool, at: prop::sample::Index, found in 0usize..9) {
            let whole = shape(&config(BOTH), if nft { Flavour::Nft } else { Flavour::Iptables });
            let mut seen = whole.clone();
            let names: Vec<_> = whole.chains.keys().cloned().collect();
            let changed = at.get(&names).clone();
            let expected = whole.chains[&changed];
            seen.chains.insert(changed.clone(), found);
            let fault = (found != expected).then_some(Fault::Rules { chain: changed, expected, found });
            prop_assert_eq!(whole.fault(&seen), fault);
        }

        #[test]
        fn every_rule_of_the_text_is_counted(workers in 1u16..=16, exports in 1u8..9, outside in 1u8..5) {
            let list = |n, f: &dyn Fn(u8) -> String| (0..n).map(f).collect::<Vec<_>>().join(", ");
            let exports = list(exports, &|n| format!("\"10.0.{n}.1\""));
            let outside = list(outside, &|n| format!("\"wan{n}\""));
            let config = config(&format!(
                "[client]\n[gateway]\noutside = [{outside}]\nexports = [{exports}]\n[queues]\nworkers = {workers}"
            ));
            let text = render(&config, Flavour::Iptables);
            let appended = text.lines().filter(|line| line.starts_with("-A NATTT-")).count();
            let shape = shape(&config, Flavour::Iptables);
            prop_assert_eq!(shape.chains.values().sum::<usize>(), appended);
        }
    }
}
