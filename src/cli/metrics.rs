//! `nattt metrics`: status and counters in Prometheus' text format (exposition format 0.0.4).

use std::fmt::Write;

use super::{Done, Failure, Global, NO_DAEMON};
use crate::control::{Counter, Reply, Request, Role, RulesState, Status, Usage};
use crate::doctor::{KernelQueue, Queues, kernel_queues};
use crate::os::control::{AskError, ask};
use crate::os::facts;

/// Every state of the rules, so that each has a sample.
const STATES: [(RulesState, &str); 5] = [
    (RulesState::Loaded, "loaded"),
    (RulesState::Missing, "missing"),
    (RulesState::Stale, "stale"),
    (RulesState::Damaged, "damaged"),
    (RulesState::Unknown, "unknown"),
];

/// Asks the daemon. One that does not run is a metric, too.
pub(super) fn run(global: &Global) -> Result<Done, Failure> {
    let (status, counters) = match asked(global) {
        Ok(answers) => answers,
        Err(AskError::NoDaemon(_)) => {
            return Ok(Done { text: absent(), status: NO_DAEMON });
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Done::well(render(&status, &counters, &queues())))
}

fn asked(global: &Global) -> Result<(Status, Vec<Counter>), AskError> {
    let other = || AskError::Refused("it answered another question; restart it".into());
    let Reply::Status(status) = ask(&global.socket, &Request::Status)? else { return Err(other()) };
    match ask(&global.socket, &Request::Counters)? {
        Reply::Counters { counters } => Ok((*status, counters)),
        _ => Err(other()),
    }
}

/// Only root can read them.
fn queues() -> Vec<KernelQueue> {
    match facts::queues() {
        Queues::Listed(text) => kernel_queues(&text).collect(),
        Queues::Loadable | Queues::Absent => Vec::new(),
    }
}

fn absent() -> String {
    let mut page = Page::default();
    page.up(0);
    page.0
}

fn render(status: &Status, counters: &[Counter], queues: &[KernelQueue]) -> String {
    let mut page = Page::default();
    page.up(1);
    page.daemon(status);
    page.tables(status);
    page.queues(status, queues);
    for counter in counters {
        let name = format!("nattt_{}_total", counter.name);
        page.family(&name, "counter", &counter.explanation);
        page.sample(&name, &[], counter.value);
    }
    page.0
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    /// What follows are samples of this family only. A line of the text ends nowhere else.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let one = |(name, value): &(&str, &str)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        };
        let list: Vec<String> = labels.iter().map(one).collect();
        let labels =
            if list.is_empty() { String::new() } else { format!("{{{}}}", list.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn up(&mut self, value: u64) {
        self.gauge("nattt_up", "Whether natttd runs.", value);
    }

    fn daemon(&mut self, status: &Status) {
        let name = "nattt_build_info";
        self.family(name, "gauge", "The release of the running natttd.");
        self.sample(name, &[("version", &status.daemon_version)], 1);
        self.gauge("nattt_uptime_seconds", "How long natttd has been running.", status.uptime_s);
        self.family("nattt_role", "gauge", "Whether natttd has the role.");
        for (role, label) in [(Role::Client, "client"), (Role::Gateway, "gateway")] {
            let has = status.roles.contains(&role);
            self.sample("nattt_role", &[("role", label)], has.into());
        }
        self.family("nattt_rules", "gauge", "Whether the firewall rules are in the state.");
        for (state, label) in STATES {
            self.sample("nattt_rules", &[("state", label)], (state == status.rules.state).into());
        }
        let help = "Warnings in the daemon's status.";
        self.gauge("nattt_warnings", help, status.warnings.len() as u64);
    }

    fn tables(&mut self, status: &Status) {
        let mappings = status.mappings.map(|usage| (usage, Vec::new()));
        let flows = [(status.client_flows, "client"), (status.gateway_flows, "gateway")];
        let flows: Vec<_> = flows
            .into_iter()
            .filter_map(|(usage, role)| Some((usage?, vec![("role", role)])))
            .collect();
        self.table("nattt_mappings", "Mapped addresses", &Vec::from_iter(mappings));
        self.table("nattt_flows", "Live flows", &flows);
    }

    fn table(&mut self, name: &str, what: &str, usages: &[(Usage, Vec<(&str, &str)>)]) {
        if usages.is_empty() {
            return;
        }
        let most = format!("{name}_max");
        self.family(name, "gauge", &format!("{what} now."));
        usages.iter().for_each(|(usage, labels)| self.sample(name, labels, usage.count as u64));
        self.family(&most, "gauge", &format!("{what} that there may be."));
        usages.iter().for_each(|(usage, labels)| self.sample(&most, labels, usage.cap as u64));
    }

    fn queues(&mut self, status: &Status, kernel: &[KernelQueue]) {
        let name = "nattt_queue_bound";
        self.family(name, "gauge", "Whether natttd listens on the netfilter queue.");
        for queue in &status.queues {
            let labels = [("queue", &*queue.number.to_string()), ("purpose", &queue.purpose)];
            self.sample(name, &labels, queue.bound.into());
        }
        let ours =
            |queue: &&KernelQueue| status.queues.iter().any(|own| own.number == queue.number);
        let ours: Vec<_> = kernel.iter().filter(ours).collect();
        if ours.is_empty() {
            return;
        }
        let (waiting, dropped) = ("nattt_queue_waiting", "nattt_queue_dropped_total");
        let label = |queue: &KernelQueue| queue.number.to_string();
        self.family(waiting, "gauge", "Packets that wait in the netfilter queue.");
        ours.iter().for_each(|q| self.sample(waiting, &[("queue", &label(q))], q.waiting));
        self.family(
            dropped,
            "counter",
            "Packets that the kernel dropped because the queue was full.",
        );
        ours.iter().for_each(|q| self.sample(dropped, &[("queue", &label(q))], q.dropped));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;
    use crate::counters::Counters;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

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
            (name.bytes().all(|octet| octet.is_ascii_lowercase()) && seen.insert(name))
                .then_some(())?;
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
        match Reply::counters(&Counters::default()) {
            Reply::Counters { counters } => counters,
            _ => Vec::new(),
        }
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
        let global = Global { socket: "/nonexistent/control.sock".into(), json: false };
        assert_eq!(run(&global).expect("a page").status, NO_DAEMON);
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
}
