//! Sound hosts, which tests make unsound.

use super::*;
use crate::config::Config;
use crate::control::{Queue, Role, RulesState, RulesStatus, Status};
use crate::rules::fingerprint;

pub(super) const GATEWAY: &str = "[gateway]\noutside = [\"wan\"]\nexports = [\"192.168.0.0/24\"]\n";

pub(super) const SERVING: &str = "[client]\npool = \"198.18.0.0/15\"\nserve = [\"lan\"]\n";

/// A client on which nothing is wrong.
pub(super) fn client() -> Facts {
    let mut facts = host("[client]", vec![Role::Client]);
    facts.addresses.push(("eth0".into(), "198.51.100.10/24".parse().expect("an address")));
    set(&mut facts, "net/ipv4/conf/eth0/forwarding", "0");
    facts.routes = Ok(r#"[{"dst":"default","dev":"eth0"}]"#.into());
    facts
}

/// A gateway on which nothing is wrong.
pub(super) fn gateway() -> Facts {
    let mut facts = host(GATEWAY, vec![Role::Gateway]);
    for (name, addr) in [("wan", "203.0.113.1/24"), ("lan", "192.168.0.1/24")] {
        facts.addresses.push((name.into(), addr.parse().expect("an address")));
        set(&mut facts, &format!("net/ipv4/conf/{name}/forwarding"), "1");
    }
    facts.routes = Ok(r#"[{"dst":"default","dev":"wan"}]"#.into());
    facts
}

fn host(text: &str, roles: Vec<Role>) -> Facts {
    let config = Config::parse(text).expect("a configuration");
    let expected = fingerprint(&config, config.firewall);
    let rules = RulesStatus {
        state: RulesState::Loaded,
        found: Some(expected.clone()),
        expected,
        wrong: None,
    };
    let numbers = [26800, 26801, 26802, 26803, 26816, 26817];
    let queue = |number| Queue { number, purpose: "data".into(), bound: true };
    let status = Status {
        daemon_version: env!("CARGO_PKG_VERSION").into(),
        pid: 1,
        uptime_s: 1,
        roles,
        pool: config.client.as_ref().map(|client| client.pool),
        rules: rules.clone(),
        queues: numbers.map(queue).to_vec(),
        mappings: None,
        client_flows: None,
        gateway_flows: None,
        client_sizes: None,
        gateway_sizes: None,
        reload: None,
        warnings: Vec::new(),
    };
    let kernel: String = numbers.iter().map(|n| format!("{n} 4711 0 2 65531 0 0 12 1\n")).collect();
    let settings = [
        ("net/ipv4/udp_early_demux", "0"),
        ("net/ipv4/conf/all/forwarding", "0"),
        ("net/ipv4/conf/default/forwarding", "0"),
        ("net/ipv4/conf/lo/forwarding", "0"),
    ];
    Facts {
        config: Ok(config),
        daemon: Daemon::Runs { status: Box::new(status), counters: Vec::new() },
        rules: Some(rules),
        refused: None,
        nft: Ok(r#"{"nftables": []}"#.into()),
        iptables: Ok(String::new()),
        queues: Queues::Listed(kernel),
        settings: settings.map(|(name, value)| (name.into(), value.into())).into(),
        addresses: vec![("lo".into(), "127.0.0.1/8".parse().expect("an address"))],
        routes: Ok("[]".into()),
        sockets: Vec::new(),
        resolv_conf: "nameserver 198.51.100.53\n".into(),
        nsswitch_conf: "hosts: files dns\n".into(),
        resolved_conf: None,
        torrc: None,
        hosts: "127.0.0.1 localhost\n".into(),
        nscd: false,
        unwritable: None,
        now_s: 2_000_000_000,
    }
}

pub(super) fn set(facts: &mut Facts, name: &str, value: &str) {
    facts.settings.insert(name.into(), value.into());
}

/// Another configuration, that of the rules and the daemon, too.
pub(super) fn configure(facts: &mut Facts, text: &str) {
    let config = Config::parse(text).expect("a configuration");
    let expected = fingerprint(&config, config.firewall);
    facts.config = Ok(config);
    if let Daemon::Runs { status, .. } = &mut facts.daemon {
        status.rules.expected = expected;
    }
}

pub(super) fn status(facts: &mut Facts) -> &mut Status {
    match &mut facts.daemon {
        Daemon::Runs { status, .. } => status,
        _ => panic!("no daemon runs"),
    }
}

pub(super) fn socket(addr: &str, port: u16, owner: &str) -> Socket {
    Socket { addr: addr.parse().expect("an address"), port, owner: Some(owner.into()) }
}

/// The finding of this name, which must be there.
pub(super) fn found(facts: &Facts, id: &str) -> Finding {
    let findings = examine(facts);
    let Some(found) = findings.iter().find(|finding| finding.id == id) else {
        panic!("{id} is not among {findings:?}");
    };
    found.clone()
}

/// No finding may have this name.
pub(super) fn lacks(facts: &Facts, id: &str) {
    let findings = examine(facts);
    assert!(!findings.iter().any(|finding| finding.id == id), "{findings:?}");
}
