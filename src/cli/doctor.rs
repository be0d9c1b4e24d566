//! `nattt doctor`: what is wrong on this host, and what to do.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::source;
use super::table::escape;
use super::{Done, FAILED, Global};
use crate::config::{Config, INSTALLED_PATH};
use crate::control::pretty;
use crate::doctor::{self, Finding, Severity};
use crate::os::control::DEFAULT_PATH;
use crate::os::facts;

/// Which configuration is meant.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Configuration file
    #[arg(long, value_name = "PATH", default_value = INSTALLED_PATH)]
    config: PathBuf,
}

/// Looks, judges and reports.
pub(super) fn run(args: &DoctorArgs, global: &Global) -> Done {
    let config = source::named(&args.config);
    let socket = socket(&config, global);
    report(&doctor::examine(&facts::gather(config, &socket)), global.json)
}

/// The daemon's socket. One that is named goes before the configuration's.
pub(super) fn socket(config: &Result<Config, String>, global: &Global) -> PathBuf {
    let configured = config.as_ref().ok().map(|config| config.daemon.control_socket.clone());
    let named = global.socket != Path::new(DEFAULT_PATH);
    configured.filter(|_| !named).unwrap_or_else(|| global.socket.clone())
}

fn report(findings: &[Finding], json: bool) -> Done {
    let problem = findings.iter().any(|finding| finding.severity == Severity::Problem);
    let text = if json { pretty(&Report { findings }) } else { render(findings) };
    Done { text, status: if problem { FAILED } else { 0 } }
}

#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
}

/// Two lines a finding, and a summary.
pub(super) fn render(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        let name = name(finding.severity);
        format!(
            "{name:<12} {}.\n{:<12} {}.\n\n",
            escape(&finding.what),
            "  to do:",
            escape(&finding.fix)
        )
    };
    findings.iter().map(one).collect::<String>() + &summary(findings)
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let problems = plural(count(Severity::Problem), "problem");
    let warnings = plural(count(Severity::Warning), "warning");
    let blind = findings.iter().any(|finding| UNSEEN.contains(&finding.id));
    match findings.iter().any(|finding| finding.severity != Severity::Information) {
        true => format!("{problems}, {warnings}.\n"),
        false if blind => "Nothing is wrong in the little that this user can see.\n".into(),
        false => "Nothing is wrong, as far as this host can tell; `nattt trace NAME` looks at the way to \
                  another.\n"
            .into(),
    }
}

/// Findings that say that something could not be looked at.
const UNSEEN: [&str; 3] = ["daemon-denied", "rules-unseen", "firewall-unseen"];

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Problem => "PROBLEM",
        Severity::Warning => "Warning",
        Severity::Information => "Information",
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding { severity, id: "x-y", what: "it is\x1b so".into(), fix: "do this".into() }
    }

    #[test]
    fn a_finding_is_two_lines_and_the_end_sums_up() {
        let done = report(&[finding(Severity::Problem), finding(Severity::Warning)], false);
        let expected = "PROBLEM      it is\\027 so.\n  to do:     do this.\n\n\
                        Warning      it is\\027 so.\n  to do:     do this.\n\n\
                        1 problem, 1 warning.\n";
        assert_eq!(done.text, expected);
        assert_eq!(done.status, FAILED);
    }

    #[test]
    fn only_problems_are_a_failure() {
        let findings = [finding(Severity::Warning), finding(Severity::Information)];
        let done = report(&findings, false);
        assert!(done.status == 0 && done.text.ends_with("0 problems, 1 warning.\n"), "{done:?}");
        let done = report(&findings[1..], false);
        assert!(done.text.contains("Nothing is wrong"), "{done:?}");
        assert_eq!(report(&[], false).status, 0);
    }

    #[test]
    fn what_was_not_seen_is_not_called_right() {
        let unseen = Finding { id: "daemon-denied", ..finding(Severity::Information) };
        let done = report(&[unseen], false);
        assert!(done.text.ends_with("the little that this user can see.\n"), "{done:?}");
    }

    #[test]
    fn json_has_every_field() {
        let text = report(&[finding(Severity::Problem)], true).text;
        for part in
            [r#""severity": "problem""#, r#""id": "x-y""#, r#""what""#, r#""fix": "do this""#]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
