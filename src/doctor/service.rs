//! The configuration, the daemon, the clock.

use super::{Daemon, Facts, Finding};
use crate::rules::fingerprint;

/// When this release was made, seconds since 1970. Packages are built with it in the environment;
/// otherwise a day before which this source did not exist: 2026-11-01.
const BUILT_S: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => seconds(text),
    None => 1_793_491_200,
};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let config = facts.config.as_ref().err().map(|wrong| {
        let fix = "correct it; `nattt check` says whether it is right";
        Finding::problem("config-wrong", format!("the configuration is wrong: {wrong}"), fix)
    });
    [config, daemon(facts), release(facts), configuration(facts), state(facts), clock(facts.now_s)]
        .into_iter()
        .flatten()
        .collect()
}

fn daemon(facts: &Facts) -> Option<Finding> {
    match &facts.daemon {
        Daemon::Runs { .. } => None,
        Daemon::Absent(socket) => Some(Finding::problem(
            "daemon-absent",
            format!("natttd does not run: nothing listens on {socket}"),
            "start it with `systemctl start nattt`, by hand with `natttd`; `journalctl -u nattt` or its \
             output says why it ended",
        )),
        Daemon::Denied(why) => {
            Some(Finding::information("daemon-denied", why.clone(), "run `sudo nattt doctor`"))
        }
        Daemon::Broken(why) => Some(Finding::problem(
            "daemon-broken",
            format!("natttd does not answer: {why}"),
            "restart it with `systemctl restart nattt`",
        )),
    }
}

fn release(facts: &Facts) -> Option<Finding> {
    let (running, ours) = (&facts.status()?.daemon_version, env!("CARGO_PKG_VERSION"));
    let what = format!("natttd {running} runs, but {ours} is installed");
    (running != ours).then(|| {
        Finding::warning("other-release", what, "restart it with `systemctl restart nattt`")
    })
}

/// The rules' text follows from the configuration, so its fingerprint tells two apart.
fn configuration(facts: &Facts) -> Option<Finding> {
    let config = facts.config.as_ref().ok()?;
    let running = &facts.status()?.rules.expected;
    (*running != fingerprint(config, config.firewall)).then(|| {
        Finding::warning(
            "other-configuration",
            "natttd runs with another configuration than the file's",
            "make the file effective with `systemctl reload nattt`, or name the other one with \
             `--config PATH`",
        )
    })
}

fn state(facts: &Facts) -> Option<Finding> {
    let folder = facts.config.as_ref().ok()?.daemon.state_dir.display();
    let why = facts.unwritable?;
    Some(Finding::warning(
        "state-not-saved",
        format!(
            "natttd cannot write to {folder}, {why}: connections and mapped addresses do not outlive its \
             restart"
        ),
        "free some space, or make it writable; natttd tries again by itself",
    ))
}

fn clock(now_s: u64) -> Option<Finding> {
    (now_s < BUILT_S).then(|| {
        Finding::warning(
            "clock-behind",
            "the clock is behind the day on which this release was made; mapped addresses may be \
             kept too long or not long enough, and certificates and DNSSEC fail",
            "set it, for instance with `timedatectl set-ntp true`",
        )
    })
}

/// What is no number is no date.
const fn seconds(text: &str) -> u64 {
    let (octets, mut at, mut value) = (text.as_bytes(), 0, 0u64);
    while at < octets.len() {
        if !octets[at].is_ascii_digit() || value > u64::MAX / 100 {
            return 0;
        }
        value = value * 10 + (octets[at] - b'0') as u64;
        at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, found};
    use super::*;

    #[test]
    fn a_wrong_configuration_is_a_problem_and_nothing_else_is_guessed() {
        let mut facts = testing::client();
        facts.config = Err("/etc/nattt/nattt.toml: line 2: `x`: no".into());
        facts.daemon = Daemon::Absent("/run/nattt/control.sock".into());
        let ids: Vec<_> = super::super::examine(&facts).iter().map(|finding| finding.id).collect();
        assert_eq!(ids, ["config-wrong", "daemon-absent"]);
    }

    #[test]
    fn a_daemon_that_does_not_answer() {
        let mut facts = testing::client();
        facts.daemon = Daemon::Absent("/run/x".into());
        assert!(found(&facts, "daemon-absent").what.contains("/run/x"));
        facts.daemon = Daemon::Denied("no permission".into());
        assert_eq!(found(&facts, "daemon-denied").severity, super::super::Severity::Information);
        facts.daemon = Daemon::Broken("it hung up".into());
        assert!(found(&facts, "daemon-broken").what.contains("it hung up"));
    }

    #[test]
    fn a_daemon_of_another_release_or_configuration() {
        let mut facts = testing::client();
        testing::status(&mut facts).daemon_version = "0.0.1".into();
        assert!(found(&facts, "other-release").what.contains("0.0.1"));
        testing::status(&mut facts).rules.expected = "0123456789abcdef".into();
        assert!(found(&facts, "other-configuration").fix.contains("reload"));
    }

    #[test]
    fn a_state_directory_that_takes_nothing() {
        let mut facts = testing::client();
        facts.unwritable = Some("its file system is full");
        assert!(
            found(&facts, "state-not-saved")
                .what
                .contains("/var/lib/nattt, its file system is full")
        );
    }

    #[test]
    fn a_clock_behind_the_release() {
        let mut facts = testing::client();
        facts.now_s = BUILT_S - 1;
        assert!(found(&facts, "clock-behind").fix.contains("timedatectl"));
    }

    #[test]
    fn dates() {
        assert_eq!(
            [seconds("1793491200"), seconds("2026-11-01"), seconds("")],
            [1_793_491_200, 0, 0]
        );
        assert_eq!(seconds("99999999999999999999999999"), 0);
    }
}
