use super::*;

#[test]
fn on_sound_hosts_nothing_is_wrong() {
    for facts in [testing::client(), testing::gateway()] {
        let findings = examine(&facts);
        assert!(findings.is_empty(), "{findings:?}");
    }
}

#[test]
fn the_worst_comes_first() {
    let mut facts = testing::client();
    facts.now_s = 0;
    facts.nscd = true;
    facts.daemon = Daemon::Absent("/run/nattt/control.sock".into());
    facts.queues = Queues::Loadable;
    let severities: Vec<_> = examine(&facts).iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Problem, Severity::Warning, Severity::Information]);
}

#[test]
fn a_cause_comes_before_what_follows_from_it() {
    let mut facts = testing::gateway();
    facts.daemon = Daemon::Absent("/run/nattt/control.sock".into());
    facts.queues = Queues::Loadable;
    facts.sockets = vec![testing::socket("0.0.0.0", 100, "tinc (77)")];
    let ids: Vec<_> = examine(&facts).iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["tunnel-port-taken", "daemon-absent"]);
}
