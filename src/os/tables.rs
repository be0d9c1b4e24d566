//! What the kernel has loaded of our firewall rules (linux/netfilter/nf_tables.h).
//!
//! For the iptables flavour this sees what iptables-nft loads; iptables-legacy keeps its rules
//! where nf_tables does not look.

use std::collections::BTreeMap;
use std::io;

use nftnl::ProtoFamily;

use super::netlink::Request;
use super::nfqueue::attributes;
use crate::config::Flavour;
use crate::control::{RulesState, RulesStatus};
use crate::rules::{Chain, Family, Fault, IPTABLES_PREFIX, NFT_TABLE, Shape};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_GETRULE: u16 = 7;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_HANDLE: u16 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// No chain of such a table sees packets.
const NFT_TABLE_F_DORMANT: u32 = 0x1;
/// Octets of nfgenmsg, before the attributes.
const NFGENMSG: usize = 4;

/// The rules in the kernel, as far as they are ours.
#[derive(Debug)]
pub struct Loaded {
    /// The fingerprint that they carry, or `None` if ours are not loaded.
    pub fingerprint: Option<String>,
    /// What they lack to have the expected shape, or have too much.
    pub fault: Option<Fault>,
    /// The handle of their table: another one after nft's text was loaded anew.
    pub table: Option<u64>,
}

/// Looks at the loaded rules.
pub fn loaded(flavour: Flavour, expected: &Shape) -> io::Result<Loaded> {
    let (families, home, prefix): (&[Family], _, _) = match flavour {
        Flavour::Nft => (&[Family::Inet, Family::Ip], (Family::Inet, NFT_TABLE), "config_"),
        Flavour::Iptables => (&[Family::Ip], (Family::Ip, "raw"), IPTABLES_PREFIX),
    };
    let (mut chains, mut handle) = (Vec::new(), None);
    for &family in families {
        let tables = awake_tables(family)?;
        chains.extend(chains_of(family, &tables)?);
        handle = handle.or(tables.get(home.1).copied().filter(|_| family == home.0));
    }
    let at_home = |chain: &&Chain| (chain.family, &*chain.table) == home;
    let name = |chain: &Chain| fingerprint(chain.name.strip_prefix(prefix)?);
    let fingerprint = chains.iter().filter(at_home).find_map(name);
    let fault = expected.fault(&seen(expected, &chains)?);
    Ok(Loaded { fingerprint, fault, table: handle })
}

/// Whether what was found is what is expected: rules that carry this fingerprint, whole.
pub fn status(loaded: &io::Result<Loaded>, expected: &str) -> RulesStatus {
    let (state, found, wrong) = match loaded {
        Err(error) => (RulesState::Unknown, None, Some(error.to_string())),
        Ok(Loaded { fingerprint: None, .. }) => (RulesState::Missing, None, None),
        Ok(Loaded { fingerprint: Some(found), .. }) if found != expected => {
            (RulesState::Stale, Some(found.clone()), None)
        }
        Ok(Loaded { fingerprint, fault, .. }) => {
            let wrong = fault.as_ref().map(Fault::to_string);
            let state = if wrong.is_none() { RulesState::Loaded } else { RulesState::Damaged };
            (state, fingerprint.clone(), wrong)
        }
    };
    RulesStatus { state, expected: expected.to_owned(), found, wrong }
}

fn fingerprint(hex: &str) -> Option<String> {
    (hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| hex.to_owned())
}

/// The kernel's state of all that is expected. Other people's rules, of which there may be very
/// many, are read only in the chains that must jump to ours.
fn seen(expected: &Shape, chains: &[Chain]) -> io::Result<Shape> {
    let mut seen = Shape::default();
    for chain in expected.chains.keys().filter(|chain| chains.contains(chain)) {
        seen.chains.insert(chain.clone(), rules(chain)?.len());
    }
    for jump in expected.jumps.iter().filter(|(from, _)| chains.contains(from)) {
        let (from, to) = jump;
        if rules(from)?.iter().any(|rule| jumps_to(rule, to)) {
            seen.jumps.insert(jump.clone());
        }
    }
    Ok(seen)
}

/// Name and handle of every table of a family that is not dormant.
fn awake_tables(family: Family) -> io::Result<BTreeMap<String, u64>> {
    let tables = request(NFT_MSG_GETTABLE, family).dump(mnl::Bus::Netfilter)?;
    Ok(tables.iter().filter_map(|table| awake_table(table.get(NFGENMSG..)?)).collect())
}

fn awake_table(table: &[u8]) -> Option<(String, u64)> {
    let flags = value(table, NFTA_TABLE_FLAGS).and_then(|value| value.try_into().ok());
    let dormant = u32::from_be_bytes(flags.unwrap_or_default()) & NFT_TABLE_F_DORMANT != 0;
    let handle = value(table, NFTA_TABLE_HANDLE).and_then(|value| value.try_into().ok());
    let handle = u64::from_be_bytes(handle.unwrap_or_default());
    (!dormant).then_some((text(value(table, NFTA_TABLE_NAME)?), handle))
}

/// All chains of a family that are in these tables.
fn chains_of(family: Family, tables: &BTreeMap<String, u64>) -> io::Result<Vec<Chain>> {
    let chains = request(NFT_MSG_GETCHAIN, family).dump(mnl::Bus::Netfilter)?;
    let chains = chains.iter().filter_map(|chain| chain_of(family, chain.get(NFGENMSG..)?));
    Ok(chains.filter(|chain| tables.contains_key(&chain.table)).collect())
}

fn chain_of(family: Family, chain: &[u8]) -> Option<Chain> {
    let table = text(value(chain, NFTA_CHAIN_TABLE)?);
    Some(Chain { family, table, name: text(value(chain, NFTA_CHAIN_NAME)?) })
}

/// The rules of a chain: the attributes of each.
fn rules(chain: &Chain) -> io::Result<Vec<Vec<u8>>> {
    let string = |text: &str| [text.as_bytes(), &[0]].concat();
    let (table, name) = (string(&chain.table), string(&chain.name));
    let rules = request(NFT_MSG_GETRULE, chain.family)
        .attribute(NFTA_RULE_TABLE, &table)
        .attribute(NFTA_RULE_CHAIN, &name)
        .dump(mnl::Bus::Netfilter)?;
    // Old kernels list every rule of the family whatever they are asked.
    let wanted = |rule: &&[u8]| {
        value(rule, NFTA_RULE_TABLE) == Some(&table) && value(rule, NFTA_RULE_CHAIN) == Some(&name)
    };
    let rules = rules.iter().filter_map(|rule| rule.get(NFGENMSG..));
    Ok(rules.filter(wanted).map(<[u8]>::to_vec).collect())
}

/// Whether a rule takes every packet to chain `to`: it counts at most, before it does.
fn jumps_to(rule: &[u8], to: &str) -> bool {
    let expressions = value(rule, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let mut found = false;
    for (_, _, expression) in attributes(expressions) {
        match value(expression, NFTA_EXPR_NAME).map(text).as_deref() {
            Some("counter") => {}
            Some("immediate") => found = target(expression).as_deref() == Some(to),
            _ => return false,
        }
    }
    found
}

/// The chain that an `immediate` expression names.
fn target(expression: &[u8]) -> Option<String> {
    let way = [NFTA_EXPR_DATA, NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN];
    way.into_iter().try_fold(expression, value).map(text)
}

fn request(message: u16, family: Family) -> Request {
    let family = match family {
        Family::Inet => ProtoFamily::Inet,
        Family::Ip => ProtoFamily::Ipv4,
    };
    Request::new(NFNL_SUBSYS_NFTABLES << 8 | message, 0, &[family as u8, 0, 0, 0])
}

/// The value of an attribute.
fn value(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, _, value)| (kind == wanted).then_some(value))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = attribute(NFTA_EXPR_NAME, format!("{name}\0").as_bytes());
        attribute(1, &[name, attribute(NFTA_EXPR_DATA, data)].concat())
    }

    fn jump(to: &str) -> Vec<u8> {
        let code = attribute(1, &(-3i32).to_be_bytes());
        let chain = attribute(NFTA_VERDICT_CHAIN, format!("{to}\0").as_bytes());
        let verdict = attribute(NFTA_DATA_VERDICT, &[code, chain].concat());
        expression("immediate", &attribute(NFTA_IMMEDIATE_DATA, &verdict))
    }

    fn rule(expressions: &[Vec<u8>]) -> Vec<u8> {
        attribute(NFTA_RULE_EXPRESSIONS, &expressions.concat())
    }

    #[test]
    fn only_an_unconditional_jump_to_the_chain_itself_counts() {
        let counter = expression("counter", &[]);
        assert!(jumps_to(&rule(&[counter.clone(), jump("NATTT-OUTPUT")]), "NATTT-OUTPUT"));
        assert!(!jumps_to(&rule(&[counter.clone(), jump("NATTT-OUTPUT2")]), "NATTT-OUTPUT"));
        let conditional = [expression("payload", &[]), counter, jump("NATTT-OUTPUT")];
        assert!(!jumps_to(&rule(&conditional), "NATTT-OUTPUT"));
        assert!(!jumps_to(&rule(&[]), "NATTT-OUTPUT"));
    }

    #[test]
    fn a_dormant_table_does_not_count() {
        let table = |flags: u32| {
            let name = attribute(NFTA_TABLE_NAME, b"nattt\0");
            let flags = attribute(NFTA_TABLE_FLAGS, &flags.to_be_bytes());
            [name, flags, attribute(NFTA_TABLE_HANDLE, &7u64.to_be_bytes())].concat()
        };
        assert_eq!(awake_table(&table(0)), Some(("nattt".into(), 7)));
        assert_eq!(awake_table(&table(1)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            jumps_to(&bytes, "NATTT-OUTPUT");
            awake_table(&bytes);
            chain_of(Family::Inet, &bytes);
        }
    }
}
