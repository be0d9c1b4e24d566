//! Status and counters in Prometheus' text format (exposition format 0.0.4).

use std::fmt::Write;

use crate::control::{Counter, Role, RulesState, Status, Usage};
use crate::doctor::KernelQueue;

/// Every state of the rules, so that each has a sample.
const STATES: [(RulesState, &str); 5] = [
    (RulesState::Loaded, "loaded"),
    (RulesState::Missing, "missing"),
    (RulesState::Stale, "stale"),
    (RulesState::Damaged, "damaged"),
    (RulesState::Unknown, "unknown"),
];

/// The page of a daemon that does not run.
pub fn absent() -> String {
    let mut page = Page::default();
    page.up(0);
    page.0
}

/// The page of a daemon that runs. `queues` are the kernel's, as far as they can be read. No label has
/// more values than the daemon has parts: nothing a packet says becomes one.
pub fn render(status: &Status, counters: &[Counter], queues: &[KernelQueue]) -> String {
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
