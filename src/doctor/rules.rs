//! Our own rules, and whether this kernel can have them.

use super::ruleset::is_iptables_nft;
use super::{Facts, Finding, Queues, Refusal};
use crate::config::{Config, Flavour};
use crate::control::{RulesState, RulesStatus};

const APPLY: &str = "load them with `nattt rules apply`";
/// Loads the rules if need be, and sees to it that natttd reads the same file.
const RELOAD: &str = "make rules and daemon agree with `nattt reload`";

pub(super) fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(queues(facts));
    findings.extend(tool(facts, config.firewall));
    match (&facts.refused, status(facts)) {
        // What cannot be loaded need not be said to be missing.
        (Some(refusal), _) => findings.push(refused(refusal)),
        (None, Some(status)) => findings.extend(state(status)),
        (None, None) => findings.extend(unseen(facts)),
    }
    findings
}

fn queues(facts: &Facts) -> Option<Finding> {
    matches!(facts.queues, Queues::Absent).then(|| {
        Finding::problem(
            "kernel-without-queues",
            "this kernel has no netfilter queues (nfnetlink_queue), so natttd gets no packets",
            "load the module with `modprobe nfnetlink_queue`, or run a kernel that has it \
             (CONFIG_NETFILTER_NETLINK_QUEUE), such as Debian's",
        )
    })
}

/// iptables' other variant keeps its rules where natttd does not look.
fn tool(facts: &Facts, flavour: Flavour) -> Option<Finding> {
    let saved = facts.iptables.as_ref().ok().filter(|_| flavour == Flavour::Iptables)?;
    (!saved.is_empty() && !is_iptables_nft(saved)).then(|| {
        Finding::problem(
            "iptables-legacy",
            "`iptables` is the legacy variant, whose rules natttd does not see",
            "switch with `update-alternatives --set iptables /usr/sbin/iptables-nft` (and ip6tables), \
             or write `firewall = \"nft\"` into the configuration",
        )
    })
}

/// As this process sees the rules, or else as the daemon does.
fn status(facts: &Facts) -> Option<&RulesStatus> {
    let own = facts.rules.as_ref().filter(|rules| rules.state != RulesState::Unknown);
    own.or_else(|| facts.status().map(|status| &status.rules))
}

fn unseen(facts: &Facts) -> Option<Finding> {
    let why = facts.rules.as_ref()?.wrong.clone().unwrap_or_default();
    let what = format!("the firewall rules cannot be seen: {why}");
    Some(Finding::information("rules-unseen", what, "run `sudo nattt doctor`"))
}

fn state(rules: &RulesStatus) -> Option<Finding> {
    let wrong = rules.wrong.as_deref().unwrap_or("no reason is known");
    match rules.state {
        RulesState::Loaded => None,
        RulesState::Missing => Some(Finding::problem(
            "rules-missing",
            "the firewall rules are not loaded: no connection goes through a tunnel",
            APPLY,
        )),
        RulesState::Stale => Some(Finding::problem(
            "rules-stale",
            "the loaded firewall rules are of another configuration: nothing goes through a tunnel",
            RELOAD,
        )),
        RulesState::Damaged => Some(Finding::problem(
            "rules-damaged",
            format!("somebody changed the firewall rules: {wrong}; nothing goes through a tunnel"),
            format!("{APPLY}; look for what flushes or reloads the firewall"),
        )),
        RulesState::Unknown => Some(Finding::problem(
            "rules-unknown",
            format!("the kernel does not say which rules are loaded: {wrong}"),
            "does this kernel have nf_tables (`modprobe nf_tables`)?",
        )),
    }
}

fn refused(refusal: &Refusal) -> Finding {
    let look = "compare with what README.md says that rules need (`nattt rules print` shows them)";
    Finding::problem(
        "rules-refused",
        format!(
            "the configuration's firewall rules are not loaded, and this host would not take them: {}",
            refusal.why
        ),
        refusal.advice.as_deref().unwrap_or(look).trim_end_matches('.'),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, found, lacks};
    use super::*;

    #[test]
    fn every_state_but_loaded_is_a_problem() {
        for (state, id) in [
            (RulesState::Missing, "rules-missing"),
            (RulesState::Stale, "rules-stale"),
            (RulesState::Damaged, "rules-damaged"),
        ] {
            let mut facts = testing::client();
            let rules = facts.rules.as_mut().expect("they were looked at");
            rules.state = state;
            let fix = if id == "rules-stale" { RELOAD } else { APPLY };
            assert!(found(&facts, id).fix.starts_with(fix));
        }
    }

    #[test]
    fn what_cannot_be_seen_is_asked_of_the_daemon() {
        let mut facts = testing::client();
        facts.rules.as_mut().expect("looked at").state = RulesState::Unknown;
        lacks(&facts, "rules-unknown");
        testing::status(&mut facts).rules.state = RulesState::Missing;
        found(&facts, "rules-missing");
        testing::status(&mut facts).rules.state = RulesState::Unknown;
        found(&facts, "rules-unknown");
        facts.daemon = super::super::Daemon::Absent("/run/x".into());
        facts.rules.as_mut().expect("looked at").wrong = Some("Operation not permitted".into());
        assert!(found(&facts, "rules-unseen").what.contains("not permitted"));
    }

    #[test]
    fn a_kernel_without_queues() {
        let mut facts = testing::client();
        facts.queues = Queues::Absent;
        assert!(found(&facts, "kernel-without-queues").fix.contains("modprobe"));
        facts.queues = Queues::Loadable;
        lacks(&facts, "kernel-without-queues");
    }

    #[test]
    fn a_kernel_that_refuses_the_rules() {
        let mut facts = testing::client();
        facts.refused = Some(Refusal { why: "`nft` says: no".into(), advice: None });
        facts.rules.as_mut().expect("looked at").state = RulesState::Missing;
        assert!(found(&facts, "rules-refused").what.ends_with("`nft` says: no"));
        lacks(&facts, "rules-missing");
        facts.refused = Some(Refusal { why: "no".into(), advice: Some("use iptables.".into()) });
        assert_eq!(found(&facts, "rules-refused").fix, "use iptables");
    }

    #[test]
    fn iptables_legacy_matters_where_it_is_configured() {
        let mut facts = testing::client();
        facts.iptables = Ok("# Generated by iptables-save v1.8.9 on Tue\n*filter\n".into());
        lacks(&facts, "iptables-legacy");
        testing::configure(&mut facts, "firewall = \"iptables\"\n[client]");
        assert!(found(&facts, "iptables-legacy").fix.contains("iptables-nft"));
    }
}
