//! `nattt doctor`: from what was found on a host to what is wrong with it.
//!
//! [`examine`] is a list of groups, one file each. A group looks at the facts and names findings,
//! each with what to do.

mod exports;
mod facts;
mod firewall;
mod mtu;
mod network;
mod pool;
mod ports;
mod resolver;
mod routes;
mod rules;
mod ruleset;
mod service;
mod traffic;

pub use facts::{Asked, Daemon, Facts, Queues, Refusal, Socket};
pub use network::{no_outside, not_forwarding, not_serving};
pub use ports::FIRST_FREE_PORT;
pub use traffic::{KernelQueue, kernel_queues};

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, or a guarantee does not hold.
    Problem,
    /// Something may not work, or not for everybody.
    Warning,
    /// Nothing is wrong, but it is good to know.
    Information,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The same in every release, for scripts: `rules-missing`.
    pub id: &'static str,
    /// What is so.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    fn problem(id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, id, what: what.into(), fix: fix.into() }
    }

    fn warning(id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(id, what, fix) }
    }

    fn information(id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Information, ..Self::problem(id, what, fix) }
    }
}

/// What is wrong, the worst first; what may follow from others after them.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = service::findings(facts);
    if let Ok(config) = &facts.config {
        findings.extend(rules::findings(facts, config));
        findings.extend(firewall::findings(facts, config));
        findings.extend(network::findings(facts, config));
        findings.extend(mtu::findings(facts));
        if let Some(gateway) = &config.gateway {
            findings.extend(exports::findings(facts, gateway));
        }
        if let Some(client) = &config.client {
            findings.extend(resolver::findings(facts, client));
            findings.extend(pool::findings(facts, client.pool));
        }
        findings.extend(ports::findings(facts, config));
        findings.extend(traffic::findings(facts, config));
    }
    findings.sort_by_key(|finding| (finding.severity, CONSEQUENCES.contains(&finding.id)));
    findings
}

/// Findings that are as likely to follow from others as to be a cause.
const CONSEQUENCES: [&str; 2] = ["rules-missing", "daemon-absent"];

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
