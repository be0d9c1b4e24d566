use clap::CommandFactory;

use super::*;
use crate::control::{
    Counter, Ends, Flow, Fragmented, Leg, Mapping, MappingState, Mtu, Queue, Role, RulesState,
    RulesStatus, Sizes, Status, Traffic, Usage, decode, encode,
};
use crate::os::control::Server;
use crate::os::control::tests::TempDir;

fn question(cli: &Cli) -> &Question {
    match &cli.command {
        Command::Ask(question) => question,
        _ => panic!("not a question to the daemon"),
    }
}

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["nattt"], arguments].concat())
}

/// What `nattt ARGUMENTS` prints for `reply`.
fn shown(arguments: &[&str], reply: &Reply) -> String {
    let cli = parse(arguments).expect("right arguments");
    question(&cli).render(reply).expect("the right reply")
}

pub(super) fn status() -> Status {
    Status {
        daemon_version: "0.1.0".into(),
        pid: 321,
        uptime_s: 3700,
        roles: vec![Role::Client, Role::Gateway],
        pool: Some("127.64.0.0/10".parse().expect("a network")),
        rules: RulesStatus {
            state: RulesState::Loaded,
            expected: "9f2c".into(),
            found: Some("9f2c".into()),
            wrong: None,
        },
        queues: vec![
            Queue { number: 6400, purpose: "data".into(), bound: true },
            Queue { number: 6410, purpose: "dns".into(), bound: false },
        ],
        mappings: Some(Usage { count: 1, cap: 65536 }),
        client_flows: Some(Usage { count: 2, cap: 262_144 }),
        gateway_flows: None,
        client_sizes: None,
        gateway_sizes: None,
        reload: None,
        warnings: Vec::new(),
    }
}

fn flow(ends: Ends) -> Flow {
    Flow {
        protocol: "tcp".into(),
        state: "established".into(),
        ends,
        to_host: Traffic { packets: 12, octets: 1536 },
        to_client: Traffic { packets: 9, octets: 20_480 },
        idle_s: 3,
        expires_in_s: 7437,
    }
}

fn leg(from: &str, to: &str) -> Leg {
    Leg { from: from.parse().expect("an endpoint"), to: to.parse().expect("an endpoint") }
}

fn client_flow() -> Flow {
    flow(Ends::Client {
        application: "127.0.0.1:40000".parse().expect("an endpoint"),
        mapped: "127.118.232.255:80".parse().expect("an endpoint"),
        name: Some("b.example.".into()),
        outer: leg("198.51.100.7:40000", "203.0.113.1:100"),
        inner: leg("198.51.100.7:40000", "192.168.0.2:80"),
    })
}

fn gateway_flow() -> Flow {
    let endpoint = |text: &str| text.parse().expect("an endpoint");
    flow(Ends::Gateway {
        client: endpoint("198.51.100.9:5000"),
        inner: endpoint("192.168.0.2:3456"),
        host: endpoint("192.168.0.2:80"),
        seen_as: endpoint("198.51.100.9:5000"),
    })
}

fn counter(name: &str, value: u64) -> Counter {
    Counter { name: name.into(), value, explanation: format!("What {name} means.") }
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn options_may_stand_before_and_after_the_subcommand() {
    let before = parse(&["--json", "--socket", "/x", "status"]).expect("right arguments");
    let after = parse(&["status", "--json", "--socket", "/x"]).expect("right arguments");
    assert!(before.global.json && after.global.json);
    assert_eq!(before.global.socket, after.global.socket);
    assert_eq!(parse(&["status"]).expect("right").global.socket, PathBuf::from(DEFAULT_PATH));
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [&[][..], &["reboot"], &["flows", "--limit", "-1"], &["status", "--all"]] {
        assert_eq!(parse(arguments).expect_err("wrong").exit_code(), 2, "{arguments:?}");
    }
    assert_eq!(parse(&["--help"]).expect_err("help").exit_code(), 0);
}

#[test]
fn a_healthy_status() {
    let mut status = status();
    status.queues.truncate(1);
    let mtu = Mtu { octets: 1420, configured: 1500, route: Some(1420) };
    let fragmented =
        Some(Fragmented { packets: 7, last_to: [203, 0, 113, 1].into(), route_mtu: 1420 });
    status.client_sizes = Some(Sizes { mtu, fragmented });
    status.gateway_sizes = Some(Sizes { mtu, fragmented: None });
    let text = shown(&["status"], &Reply::Status(Box::new(status)));
    let expected = "\
Daemon:        natttd 0.1.0, process 321, up 1h01m
Roles:         client, gateway
Rules:         loaded (9f2c)
Queues:        6400 data
Pool:          127.64.0.0/10
Mappings:      1 of at most 65536
Client flows:  2 of at most 262144
Client MTU:    1420 octets, the MTU of the default route (`mtu` = 1500)
  Fragments:   7 packets that forbid them travelled in fragments, the last one to 203.0.113.1, where the \
                    way has an MTU of 1420
Gateway MTU:   1420 octets, the MTU of the default route (`mtu` = 1500)
";
    assert_eq!(text, expected);
}

#[test]
fn a_status_that_needs_attention_says_what_to_do() {
    let mut status = status();
    status.rules.found = Some("0000".into());
    status.rules.wrong = Some("chain c of table t is missing".into());
    for (state, advice) in [
        (RulesState::Missing, "nattt rules apply"),
        (RulesState::Stale, "0000 loaded, 9f2c expected"),
        (RulesState::Damaged, "DAMAGED (chain c of table t is missing)"),
        (RulesState::Unknown, "unknown (9f2c expected): chain c of table t is missing"),
    ] {
        status.rules.state = state;
        let text = shown(&["status"], &Reply::Status(Box::new(status.clone())));
        assert!(text.contains(advice) && text.contains("6410 dns NOT BOUND"), "{text}");
    }
}

#[test]
fn mappings_are_a_table() {
    let mapping = Mapping {
        address: [127, 118, 232, 255].into(),
        names: vec!["b.example.".into(), "www.b.example.".into()],
        paths: ["203.0.113.1:100 192.168.0.2", "203.0.113.2:100 192.168.0.2"]
            .map(Into::into)
            .into(),
        silent_paths: vec!["203.0.113.2:100 192.168.0.2".into()],
        expires_in_s: 250,
        flows: 2,
        state: MappingState::Live,
    };
    let text = shown(&["mappings"], &Reply::Mappings { mappings: vec![mapping] });
    let expected = "\
ADDRESS          STATE  FLOWS  EXPIRES  NAMES                       PATHS
127.118.232.255  live       2    4m10s  b.example., www.b.example.  203.0.113.1:100 192.168.0.2 | 203.0.113.2:100 192.168.0.2 (silent)
";
    assert_eq!(text, expected);
}

#[test]
fn flows_are_a_table_for_each_role() {
    let flows = vec![client_flow(), gateway_flow()];
    let text = shown(&["flows"], &Reply::Flows { total: 5, flows });
    for part in [
        "Flows opened here",
        "198.51.100.7:40000 -> 203.0.113.1:100",
        "b.example.",
        "12 (1.5 KiB)",
        "3s/2h03m",
        "\n\nFlows from tunnels",
        "198.51.100.9:5000  192.168.0.2:3456  192.168.0.2:80  198.51.100.9:5000",
        "\n\n3 of 5 flows are not shown",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_role_without_flows_has_no_table() {
    let text = shown(&["flows"], &Reply::Flows { total: 1, flows: vec![gateway_flow()] });
    assert!(!text.contains("opened here") && !text.contains("not shown"), "{text}");
}

#[test]
fn counters_that_are_zero_are_shown_on_request() {
    let reply = Reply::Counters { counters: vec![counter("malformed", 3), counter("fragment", 0)] };
    assert_eq!(shown(&["counters"], &reply), "COUNTER    VALUE\nmalformed      3\n");
    assert!(shown(&["counters", "--all"], &reply).contains("fragment"));
    assert!(shown(&["counters", "--explain"], &reply).contains("What malformed means."));
}

#[test]
fn nothing_to_show_is_said() {
    let empty = [
        ("mappings", Reply::Mappings { mappings: Vec::new() }),
        ("flows", Reply::Flows { total: 0, flows: Vec::new() }),
        ("counters", Reply::Counters { counters: vec![counter("malformed", 0)] }),
    ];
    for (command, reply) in empty {
        let text = shown(&[command], &reply);
        assert!(text.ends_with(".\n") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn what_has_no_json_says_so() {
    for (arguments, part) in [
        (&["rules", "print"][..], "nft or iptables-restore"),
        (&["rules", "apply"], "`nattt rules`"),
        (&["metrics"], "`nattt status`"),
        (&["completion", "bash"], "a shell"),
    ] {
        let cli = parse(&[arguments, &["--json"]].concat()).expect("known arguments");
        let failure = run(&cli).expect_err("it has none");
        assert_eq!(failure.status, USAGE, "{arguments:?}");
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

#[test]
fn json_is_the_reply() {
    let reply = Reply::Flows { total: 2, flows: vec![client_flow(), gateway_flow()] };
    let text = pretty(&reply);
    assert_eq!(decode(text.as_bytes()), Ok(reply));
    assert!(text.contains(r#""mapped": "127.118.232.255:80""#), "{text}");
}

#[test]
fn every_reply_survives_the_wire() {
    let replies = [
        Reply::Status(Box::new(status())),
        Reply::Flows { total: 2, flows: vec![client_flow(), gateway_flow()] },
        Reply::Counters { counters: vec![counter("malformed", u64::MAX)] },
    ];
    for reply in replies {
        assert_eq!(decode(&encode(&reply)), Ok(reply));
    }
}

#[test]
fn the_answer_to_another_question_is_an_error() {
    let cli = parse(&["status"]).expect("right arguments");
    let failure = question(&cli).render(&Reply::Mappings { mappings: Vec::new() });
    assert_eq!(failure.expect_err("not a status").status, FAILED);
}

#[test]
fn the_command_asks_the_socket() {
    let directory = TempDir::new();
    let socket = directory.path().join("control.sock");
    let path = socket.to_str().expect("text");
    let cli = parse(&["--socket", path, "status"]).expect("right arguments");
    assert_eq!(answer(&cli.global, question(&cli)).expect_err("nobody there").status, NO_DAEMON);

    let server = Server::bind(&socket, "no-such-group-for-tests").expect("a free path");
    let (stop, stopped) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let handler = |_| Reply::Status(Box::new(status()));
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&handler, &stopped));
        let answer = answer(&cli.global, question(&cli));
        drop(stop);
        assert!(answer.expect("an answer").contains("natttd 0.1.0"));
    });
}
