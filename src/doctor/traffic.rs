//! What kernel and daemon counted.

use super::{Daemon, Facts, Finding, Queues};
use crate::config::Config;

/// A kernel queue (net/netfilter/nfnetlink_queue.c, seq_show).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelQueue {
    /// Its number.
    pub number: u16,
    /// Packets that wait for their verdict.
    pub waiting: u64,
    /// Packets dropped because the queue, or its reader's buffer, was full.
    pub dropped: u64,
}

/// The queues of `/proc/net/netfilter/nfnetlink_queue`.
pub fn kernel_queues(text: &str) -> impl Iterator<Item = KernelQueue> {
    text.lines().filter_map(queue)
}

/// Counters that mean that somebody has to do something, and what.
const TELLING: [(&str, &str); 16] = [
    ("rules_missing", "load the rules with `nattt rules apply`"),
    ("unexpected_hook", "look for other programs' rules that queue to natttd's queue numbers"),
    ("truncated", "look for other programs that changed the queues' settings, and restart natttd"),
    ("verdict_refused", "see `journalctl -u nattt`, and restart natttd"),
    ("client_no_port", "raise `max_ports` under [client] and the unit's LimitNOFILE"),
    ("client_flows_full", "raise `max_flows` under [client]"),
    ("gateway_flows_full", "raise `max_flows` under [gateway]"),
    (
        "gateway_source_full",
        "raise `max_flows_per_source` under [gateway], if that client is honest",
    ),
    ("gateway_conflict", "let only one client of a NAT use that protocol, or carry it in UDP"),
    ("mappings_full", "set a larger `pool` or `max_mappings` under [client]"),
    ("dns_server_silent", "use a name server that answers questions for unknown record types"),
    (
        "proxy_no_answer",
        "see that the servers of `upstream` under [client] answer, or those of /etc/resolv.conf if there \
         is no `upstream`",
    ),
    ("dns_hold_full", "look for what asks so much (`nattt counters --explain`)"),
    ("proxy_full", "write an `upstream` that does not ask natttd, or look for what asks so much"),
    ("proxy_host_full", "look for the served host that asks so much: `RUST_LOG=debug` names it"),
    (
        "client_loop",
        "correct the NAT record, whose first hop is this host, or use TCP, UDP or ping",
    ),
];
/// The same, where nobody here has to do anything.
const HARMLESS: [(&str, &str); 4] = [
    ("gateway_not_exported", "list in `exports` what shall be reached; otherwise nothing"),
    ("dns_malformed_record", "if the name is yours, `nattt explain NAME` says what is wrong"),
    ("dns_refused_record", "if the name is yours, `nattt explain NAME` says what is wrong"),
    ("client_no_route", "look at the routes of this host (`ip route`), if that goes on"),
];

pub(super) fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let kernel = match &facts.queues {
        Queues::Listed(text) => kernel_queues(text).collect(),
        Queues::Loadable | Queues::Absent => Vec::new(),
    };
    let mut findings = drops(&kernel, config);
    match &facts.daemon {
        Daemon::Runs { status, counters } => {
            let numbers = status.queues.iter().map(|queue| queue.number);
            findings.extend(unbound(&kernel, numbers));
            findings.extend(counters.iter().filter(|c| c.value > 0).filter_map(counted));
        }
        Daemon::Absent(_) => findings.extend(taken(&kernel, config)),
        Daemon::Denied(_) | Daemon::Broken(_) => {}
    }
    findings
}

fn queue(line: &str) -> Option<KernelQueue> {
    let mut fields = line.split_whitespace();
    let number = fields.next()?.parse().ok()?;
    // Between these: the reader's port; then copy mode and range.
    let waiting = fields.nth(1)?.parse().ok()?;
    let (full, unread) = (fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(KernelQueue { number, waiting, dropped: u64::saturating_add(full, unread) })
}

fn is_ours(number: u16, config: &Config) -> bool {
    let queues = config.queues;
    queues.data().contains(&number)
        || (config.client.is_some() && [queues.dns(), queues.hold()].contains(&number))
}

fn drops(kernel: &[KernelQueue], config: &Config) -> Vec<Finding> {
    let lossy = kernel.iter().filter(|queue| queue.dropped > 0 && is_ours(queue.number, config));
    let finding = |&KernelQueue { number, dropped, .. }: &KernelQueue| {
        Finding::warning(
            "queue-drops",
            format!("the kernel dropped {dropped} packets because queue {number} was full"),
            "raise `workers` under [queues] if processors are idle; otherwise this host is too slow \
             for the traffic",
        )
    };
    lossy.map(finding).collect()
}

/// Users cannot read the list; then it is empty.
fn unbound(kernel: &[KernelQueue], mut numbers: impl Iterator<Item = u16>) -> Option<Finding> {
    let missing = numbers.find(|number| !kernel.iter().any(|queue| queue.number == *number))?;
    (!kernel.is_empty()).then(|| {
        Finding::problem(
            "queue-unbound",
            format!("natttd does not listen on queue {missing}: what comes there is dropped"),
            "restart it with `systemctl restart nattt`",
        )
    })
}

fn taken(kernel: &[KernelQueue], config: &Config) -> Option<Finding> {
    let queue = kernel.iter().find(|queue| is_ours(queue.number, config))?;
    let number = queue.number;
    Some(Finding::problem(
        "queue-taken",
        format!("another program listens on netfilter queue {number}, so natttd cannot start"),
        "stop that program (an IDS such as Suricata?), or set another `first` under [queues] and run \
         `nattt rules apply`",
    ))
}

fn counted(counter: &crate::control::Counter) -> Option<Finding> {
    let named = |(name, _): &&(&str, &str)| *name == counter.name;
    let what = || {
        format!(
            "{} since natttd started: {}",
            counter.value,
            counter.explanation.trim_end_matches('.')
        )
    };
    let harmless =
        || HARMLESS.iter().find(named).map(|(name, fix)| Finding::information(name, what(), *fix));
    TELLING
        .iter()
        .find(named)
        .map(|(name, fix)| Finding::warning(name, what(), *fix))
        .or_else(harmless)
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::testing::{self, found, lacks};
    use super::*;
    use crate::control::Counter;
    use proptest::prelude::*;

    fn count(facts: &mut Facts, name: &str, value: u64) {
        let Daemon::Runs { counters, .. } = &mut facts.daemon else { panic!("no daemon runs") };
        let explanation = format!("What {name} means.");
        counters.push(Counter { name: name.into(), value, explanation });
    }

    fn listed(facts: &mut Facts, from: &str, to: &str) {
        let Queues::Listed(text) = &mut facts.queues else { panic!("no queues") };
        *text = text.replace(from, to);
    }

    #[test]
    fn a_queue_that_was_full() {
        let mut facts = testing::client();
        listed(&mut facts, "26801 4711 0 2 65531 0 0", "26801 4711 0 2 65531 3 4");
        assert!(found(&facts, "queue-drops").what.contains("7 packets because queue 26801"));
        let mut facts = testing::gateway();
        listed(&mut facts, "26816 4711 0 2 65531 0 0", "26816 4711 0 2 65531 3 4");
        lacks(&facts, "queue-drops");
    }

    #[test]
    fn a_queue_without_its_daemon_and_one_with_another() {
        let mut facts = testing::client();
        listed(&mut facts, "26816", "26999");
        assert!(found(&facts, "queue-unbound").what.contains("26816"));
        facts.queues = Queues::Listed(String::new());
        lacks(&facts, "queue-unbound");
        let mut facts = testing::client();
        facts.daemon = Daemon::Absent("/run/x".into());
        assert!(found(&facts, "queue-taken").what.contains("26800"));
    }

    #[test]
    fn counters_that_ask_for_something_to_be_done() {
        for (name, _) in TELLING {
            let mut facts = testing::client();
            count(&mut facts, name, 0);
            lacks(&facts, name);
            count(&mut facts, name, 5);
            let finding = found(&facts, name);
            assert_eq!(finding.severity, Severity::Warning);
            assert_eq!(finding.what, format!("5 since natttd started: What {name} means"));
        }
        let mut facts = testing::client();
        count(&mut facts, "gateway_not_exported", 5);
        assert_eq!(found(&facts, "gateway_not_exported").severity, Severity::Information);
        count(&mut facts, "client_encapsulated", 5);
        lacks(&facts, "client_encapsulated");
    }

    #[test]
    fn every_counter_that_is_looked_at_exists() {
        for (name, _) in TELLING.iter().chain(&HARMLESS) {
            assert!(crate::counters::Counter::ALL.iter().any(|c| c.name() == *name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_queue_or_none(line in "[0-9 ]{0,60}|.{0,30}") {
            if let Some(queue) = queue(&line) {
                prop_assert!(line.split_whitespace().count() >= 7, "{queue:?}");
            }
        }
    }
}
