use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::control::{Counter, Queue, Role, RulesState, RulesStatus, Status, Usage};
use crate::counters::Counters;
use crate::doctor::KernelQueue;

fn status() -> Status {
    let queue = |number, purpose: &str, bound| Queue { number, purpose: purpose.into(), bound };
    let rules = RulesStatus {
        state: RulesState::Loaded,
        expected: "9f2c".into(),
        found: Some("9f2c".into()),
        wrong: None,
    };
    Status {
        daemon_version: "0.1.0".into(),
        pid: 321,
        uptime_s: 3700,
        roles: vec![Role::Client, Role::Gateway],
        pool: Some("127.64.0.0/10".parse().expect("a network")),
        rules,
        queues: vec![queue(6400, "data", true), queue(6410, "dns", false)],
        mappings: Some(Usage { count: 1, cap: 65536 }),
        client_flows: Some(Usage { count: 2, cap: 262_144 }),
        gateway_flows: None,
        client_sizes: None,
        gateway_sizes: None,
        reload: None,
        warnings: Vec::new(),
    }
}

/// A family of the text: its type, and its samples' labels and values.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<String, u64>,
}

/// Reads the text as strictly as the format's description allows: HELP, TYPE and samples of a
/// family together and in this order, each once; names, labels and escapes as they must be.
fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let text = text.strip_suffix('\n').ok_or("no line end at the end")?;
    for line in text.split('\n') {
        let wrong = || format!("wrong: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(wrong)?;
            escapes(help, "\\n").ok_or_else(wrong)?;
            current = name.to_owned();
            let new = is_name(name) && !families.contains_key(name);
            new.then_some(()).ok_or_else(wrong)?;
            families.insert(current.clone(), Family::default());
            continue;
        }
        let family = families.get_mut(&current).ok_or_else(wrong)?;
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(wrong)?;
            let fits = name == current && family.kind.is_empty() && family.samples.is_empty();
            let known = kind == "gauge" && !name.ends_with("_total")
                || kind == "counter" && name.ends_with("_total");
            (fits && known).then_some(()).ok_or_else(wrong)?;
            family.kind = kind.to_owned();
        } else {
            let (sample, value) = line.rsplit_once(' ').ok_or_else(wrong)?;
            let labels = sample.strip_prefix(&current).ok_or_else(wrong)?;
            labels_are_right(labels).ok_or_else(wrong)?;
            let value = value.parse().map_err(|_| wrong())?;
            let again = family.samples.insert(labels.to_owned(), value).is_some();
            (!again && !family.kind.is_empty()).then_some(()).ok_or_else(wrong)?;
        }
    }
    let empty = families.values().any(|family| family.samples.is_empty());
    if empty { Err("a family without samples".into()) } else { Ok(families) }
}

fn is_name(name: &str) -> bool {
    name.starts_with("nattt_")
        && name
            .bytes()
            .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_')
}

/// `{a="b",c="d"}` or nothing; no label twice.
fn labels_are_right(labels: &str) -> Option<()> {
    if labels.is_empty() {
        return Some(());
    }
    let mut rest = labels.strip_prefix('{')?.strip_suffix('}')?;
    let mut seen = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"")?;
        (name.bytes().all(|octet| octet.is_ascii_lowercase()) && seen.insert(name)).then_some(())?;
        let after = escapes(value, "\\n\"")?;
        match after.strip_prefix("\",") {
            Some(next) => rest = next,
            None => return (after == "\"").then_some(()),
        }
    }
}

/// What follows after text whose backslashes only escape `allowed`, up to a bare quote if that
/// is among them.
fn escapes<'a>(text: &'a str, allowed: &str) -> Option<&'a str> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next().filter(|(_, next)| allowed.contains(*next))?),
            '"' if allowed.contains('"') => return Some(&text[at..]),
            _ => {}
        }
    }
    (!allowed.contains('"')).then_some("")
}

fn counters() -> Vec<Counter> {
    Counter::all(&Counters::default())
}

const QUEUES: [KernelQueue; 2] = [
    KernelQueue { number: 6400, waiting: 3, dropped: 7 },
    KernelQueue { number: 9, waiting: 1, dropped: 1 },
];

#[test]
fn everything_is_exported_in_the_right_format() {
    let text = render(&status(), &counters(), &QUEUES);
    let families = parse(&text).expect(&text);
    let value = |family: &str, labels: &str| families[family].samples.get(labels).copied();
    assert_eq!(value("nattt_up", ""), Some(1));
    assert_eq!(value("nattt_build_info", "{version=\"0.1.0\"}"), Some(1));
    assert_eq!(value("nattt_role", "{role=\"gateway\"}"), Some(1));
    assert_eq!(value("nattt_rules", "{state=\"loaded\"}"), Some(1));
    assert_eq!(value("nattt_rules", "{state=\"stale\"}"), Some(0));
    assert_eq!(value("nattt_mappings_max", ""), Some(65_536));
    assert_eq!(value("nattt_flows", "{role=\"client\"}"), Some(2));
    assert_eq!(value("nattt_flows", "{role=\"gateway\"}"), None);
    assert_eq!(value("nattt_queue_bound", "{queue=\"6410\",purpose=\"dns\"}"), Some(0));
    assert_eq!(value("nattt_queue_dropped_total", "{queue=\"6400\"}"), Some(7));
    assert_eq!(value("nattt_queue_waiting", "{queue=\"9\"}"), None);
    assert_eq!(value("nattt_malformed_total", ""), Some(0));
    assert_eq!(families["nattt_malformed_total"].kind, "counter");
    for counter in counters() {
        assert!(families.contains_key(&format!("nattt_{}_total", counter.name)));
    }
}

#[test]
fn what_only_root_sees_may_be_missing() {
    let text = render(&status(), &[], &[]);
    assert!(!parse(&text).expect(&text).contains_key("nattt_queue_dropped_total"));
}

#[test]
fn a_daemon_that_does_not_run_is_down() {
    let families = parse(&absent()).expect("right");
    assert_eq!(families["nattt_up"].samples[""], 0);
}

#[test]
fn the_parser_of_this_test_is_strict() {
    let family = "# HELP nattt_a x\n# TYPE nattt_a gauge\n";
    assert!(parse(&format!("{family}nattt_a 1\n")).is_ok());
    for wrong in [
        "nattt_a 1\n".to_owned(),
        family.to_owned(),
        format!("{family}nattt_a 1"),
        format!("{family}nattt_a 1\nnattt_a 2\n"),
        format!("{family}nattt_a x\n"),
        format!("{family}nattt_b 1\n"),
        format!("{family}nattt_a{{b=\"c}} 1\n"),
        format!("{family}nattt_a{{b=\"c\\d\"}} 1\n"),
        format!("{family}nattt_a{{b=\"c\",b=\"d\"}} 1\n"),
        format!("{family}nattt_a 1\n{family}nattt_a 1\n"),
        "# HELP nattt_a x\n# TYPE nattt_a counter\nnattt_a 1\n".to_owned(),
        "# HELP nattt_a \\x\n# TYPE nattt_a gauge\nnattt_a 1\n".to_owned(),
    ] {
        assert!(parse(&wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_text_of_the_daemon_breaks_the_format(help in "(?s).{0,20}", version in "(?s).{0,20}", value: u64) {
        let status = Status { daemon_version: version, ..status() };
        let counter = Counter { name: "a".into(), value, explanation: help };
        let text = render(&status, &[counter], &QUEUES);
        let families = parse(&text).map_err(TestCaseError::fail)?;
        prop_assert_eq!(families["nattt_a_total"].samples[""], value);
    }
}
