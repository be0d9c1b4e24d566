use super::*;
use crate::config::PACKAGED;
use proptest::prelude::*;

const BOTH: &str = r#"
[client]
[gateway]
outside = ["wan0", "ppp0"]
exports = ["192.168.0.0/24", "192.168.0.1", { prefix = "10.1.2.3/32", protocol = "tcp" }]
"#;

fn config(text: &str) -> Config {
    Config::parse(text).expect(text)
}

fn assert_lines(text: &str, expected: &[&str]) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for line in expected {
        assert!(lines.contains(line), "`{line}` is missing in\n{text}");
    }
}

#[test]
fn the_packaged_rules_are_those_of_the_packaged_configuration() {
    let shipped = include_str!("../../nft-rules/rules.nft");
    assert_eq!(
        render(&config(PACKAGED), Flavour::Nft),
        shipped,
        "make it anew: nattt rules print --config packaging/nattt.toml > nft-rules/rules.nft"
    );
}

#[test]
fn nft_client() {
    let text = render(&config("[client]"), Flavour::Nft);
    assert_lines(
        &text,
        &[
            "delete table inet nattt",
            "type filter hook output priority raw; policy accept;",
            "ip saddr 127.64.0.0/10 counter drop",
            "ip daddr 127.64.0.0/10 counter queue to symhash mod 4 offset 26800",
            "ip daddr 127.64.0.0/10 meta l4proto tcp counter reject with tcp reset",
            "ip daddr 127.64.0.0/10 counter reject with icmp type admin-prohibited",
            "meta l4proto udp ct mark & 0x04000000 != 0x00000000 ct direction reply counter queue to symhash mod 4 offset 26800",
            "meta l4proto icmp ct state related ct mark & 0x04000000 != 0x00000000 ct direction reply counter queue flags bypass to 26800",
            "udp sport 53 ct direction reply counter queue flags bypass to 26816",
        ],
    );
    assert!(!text.contains("gateway_"), "{text}");
}

#[test]
fn nft_gateway() {
    let text = render(&config(BOTH), Flavour::Nft);
    assert_lines(
        &text,
        &[
            "meta mark & 0x04000000 != 0x00000000 accept",
            "iifname { \"wan0\", \"ppp0\" } meta nfproto ipv4 udp dport 100 fib daddr type local counter queue to symhash mod 4 offset 26800",
            "iifname { \"wan0\", \"ppp0\" } icmp type { destination-unreachable, time-exceeded, parameter-problem } @th,64,8 0x45 @th,136,8 17 @th,224,16 100 fib daddr type local counter queue flags bypass to 26800",
            "ct state != untracked meta mark & 0x04000000 != 0x00000000 ct mark set ct mark | 0x04000000 meta mark set meta mark & 0xfbffffff",
            "iifname != \"lo\" meta mark & 0x04000000 != 0x00000000 ct direction original ct mark set ct mark | 0x04000000",
            "iifname != \"lo\" meta mark & 0x04000000 != 0x00000000 meta mark set meta mark & 0xfbffffff",
            "ct state new ct mark & 0x04000000 != 0x00000000 meta l4proto udp ct timeout set \"nattt_udp\"",
            "ct mark & 0x04000000 != 0x00000000 dnat ip to ip daddr",
            "ct mark & 0x04000000 != 0x00000000 ct direction original iifname { \"wan0\", \"ppp0\" } oifname { \"wan0\", \"ppp0\" } counter drop",
            "ct mark & 0x04000000 != 0x00000000 ct direction original iifname { \"wan0\", \"ppp0\" } ip daddr != { 10.1.2.3, 192.168.0.1 } counter drop",
            "oifname != \"lo\" ct mark & 0x04000000 != 0x00000000 ct direction reply counter queue to symhash mod 4 offset 26800",
            "oifname { \"wan0\", \"ppp0\" } icmp type { destination-unreachable, time-exceeded, parameter-problem } ct state invalid,untracked counter queue flags bypass to 26800",
            "policy = { unreplied : 310, replied : 310 }",
            "policy = { established : 7500 }",
        ],
    );
}

/// Programs here have no tunnel to hosts right behind this one.
#[test]
fn both_roles_queue_replies_without_a_tunnel() {
    let marked = "ct mark & 0x04000000 != 0x00000000 ct direction reply";
    let nft: [String; 3] = [
        format!("meta l4proto tcp {marked} counter queue to symhash mod 4 offset 26800"),
        "meta l4proto tcp ct state untracked meta mark & 0x04000000 != 0x00000000 counter queue to 26800"
            .into(),
        format!(
            "meta l4proto icmp ct state established {marked} counter queue to symhash mod 4 offset 26800"
        ),
    ];
    let marked = "-m connmark --mark 0x04000000/0x04000000 -m conntrack --ctstate ESTABLISHED";
    let iptables = ["tcp", "icmp"].map(|protocol| {
        format!("-A NATTT-INPUT -p {protocol} {marked} --ctdir REPLY -j NATTT-NFQUEUE-DESTINATION")
    });
    for (flavour, lines) in [(Flavour::Nft, &nft[..]), (Flavour::Iptables, &iptables[..])] {
        let (both, client) = (render(&config(BOTH), flavour), render(&config("[client]"), flavour));
        for line in lines {
            assert_lines(&both, &[line]);
            assert!(!client.contains(line), "{line}");
        }
    }
}

/// No keepalive does it for them.
#[test]
fn both_roles_remember_connections_without_a_tunnel() {
    let client = "[client]";
    for (flavour, line, of_gateway) in [
        (
            Flavour::Nft,
            "ct state new ct mark & 0x04000000 != 0x00000000 meta l4proto udp ct timeout set \"nattt_udp\"",
            1,
        ),
        (
            Flavour::Iptables,
            "-A NATTT-OUTPUT -m mark --mark 0x04000000/0x04000000 -p udp -j CT --timeout nt17",
            0,
        ),
    ] {
        let count = |text: &str| render(&config(text), flavour).matches(line).count();
        assert_eq!(count(BOTH), 1 + of_gateway);
        assert_eq!(count(client), 0);
    }
}

#[test]
fn iptables_client() {
    let text = render(&config("[client]"), Flavour::Iptables);
    assert_lines(
        &text,
        &[
            "-A NATTT-OUTPUT -s 127.64.0.0/10 -j DROP",
            "-A NATTT-OUTPUT -d 127.64.0.0/10 -j NATTT-NFQUEUE-SOURCE",
            "-A NATTT-OUTPUT -d 127.64.0.0/10 -p tcp -j REJECT --reject-with tcp-reset",
            "-A NATTT-INPUT -p icmp -m connmark --mark 0x04000000/0x04000000 -m conntrack --ctstate RELATED --ctdir REPLY -j NFQUEUE --queue-num 26800 --queue-bypass",
            "-A NATTT-INPUT -p udp --sport 53 -m conntrack --ctdir REPLY -j NFQUEUE --queue-num 26816 --queue-bypass",
            "-I OUTPUT -j NATTT-OUTPUT",
            "-A INPUT -j NATTT-INPUT",
        ],
    );
    assert!(!text.contains("*nat") && !text.contains("PREROUTING"), "{text}");
    assert!(render_ip6tables(&config("[client]")).contains("--sport 53"));
}

#[test]
fn iptables_gateway() {
    let text = render(&config(BOTH), Flavour::Iptables);
    assert_lines(
        &text,
        &[
            "-A NATTT-PREROUTING -m mark --mark 0x04000000/0x04000000 -p udp -j CT --timeout nt17",
            "-A NATTT-PREROUTING -i ppp0 -p udp --dport 100 -m addrtype --dst-type LOCAL -j NATTT-NFQUEUE-SOURCE",
            "-A NATTT-PREROUTING -i wan0 -p icmp --icmp-type time-exceeded -m addrtype --dst-type LOCAL -m u32 --u32 \"0>>22&0x3C@8>>24=0x45&&0>>22&0x3C@16>>16&0xFF=17&&0>>22&0x3C@28>>16=100\" -j NFQUEUE --queue-num 26800 --queue-bypass",
            "-A NATTT-PREROUTING ! -i lo -m conntrack --ctdir ORIGINAL -m mark --mark 0x04000000/0x04000000 -j CONNMARK --set-xmark 0x04000000/0x04000000",
            "-A NATTT-PREROUTING ! -i lo -m mark --mark 0x04000000/0x04000000 -j MARK --set-xmark 0x00000000/0x04000000",
            "-A NATTT-PREROUTING -m connmark --mark 0x04000000/0x04000000 -j NETMAP --to 0.0.0.0/0",
            "-A NATTT-FORWARD -i wan0 -o ppp0 -m connmark --mark 0x04000000/0x04000000 -m conntrack --ctdir ORIGINAL -j DROP",
            "-A NATTT-INPUT -d 192.168.0.1 -j RETURN",
            "-A NATTT-POSTROUTING ! -o lo -m connmark --mark 0x04000000/0x04000000 -m conntrack --ctdir REPLY -j NATTT-NFQUEUE-DESTINATION",
            "-A NATTT-POSTROUTING -o ppp0 -p icmp --icmp-type time-exceeded -m conntrack --ctstate INVALID,UNTRACKED -j NFQUEUE --queue-num 26800 --queue-bypass",
            "-A POSTROUTING -j NATTT-POSTROUTING",
        ],
    );
    let gateway = "[gateway]\noutside = [\"a\"]\nexports = [\"10.0.0.0/8\"]";
    assert_eq!(render_ip6tables(&config(gateway)), "");
}

/// With whatever role; where they are queued goes by the roles.
#[test]
fn answers_to_first_packets_are_copied_and_queued() {
    let gateway = "[gateway]\noutside = [\"wan\"]\nexports = [\"10.0.0.0/8\"]";
    let serving = "[client]\npool = \"198.18.0.0/15\"\nserve = [\"lan\"]";
    let (packet, ct) =
        ("meta mark & 0x04000000 != 0x00000000", "ct mark & 0x04000000 != 0x00000000");
    let answer = format!("{ct} ct state related ct direction reply ct status & confirmed == 0");
    let queued = format!("ct state untracked {packet} counter queue to 26800");
    let marked = "-m mark --mark 0x04000000/0x04000000 -m conntrack --ctstate UNTRACKED -j NFQUEUE --queue-num 26800";
    for (text, leaving) in [
        ("[client]", None),
        (serving, Some(("oifname { \"lan\" }", "-o lan"))),
        (gateway, Some(("oifname != \"lo\"", "! -o lo"))),
    ] {
        let config = config(text);
        let (nft, iptables) = (render(&config, Flavour::Nft), render(&config, Flavour::Iptables));
        assert_lines(
            &nft,
            &[
                "delete table ip nattt",
                &format!(
                    "oifname != \"lo\" ct state untracked {packet} meta mark set meta mark & 0xfbffffff"
                ),
                &format!("{answer} meta l4proto tcp counter jump answer"),
                &format!(
                    "{answer} icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} counter jump answer"
                ),
                "meta mark set meta mark & 0xfbffffff",
                "fib daddr type local meta mark set meta mark | 0x04000000",
                "dup to 127.0.0.1",
                "oifname \"lo\" ct state untracked fib daddr type unicast tcp flags & rst == rst counter meta mark set meta mark | 0x04000000",
            ],
        );
        assert_lines(
            &iptables,
            &[
                "-A NATTT-OUTPUT ! -o lo -m conntrack --ctstate UNTRACKED -m mark --mark 0x04000000/0x04000000 -j MARK --set-xmark 0x00000000/0x04000000",
                "-A NATTT-OUTPUT -p tcp -m connmark --mark 0x04000000/0x04000000 -m conntrack --ctstate RELATED --ctdir REPLY ! --ctstatus CONFIRMED -j NATTT-ANSWER",
                "-A NATTT-OUTPUT -p icmp --icmp-type time-exceeded -m connmark --mark 0x04000000/0x04000000 -m conntrack --ctstate RELATED --ctdir REPLY ! --ctstatus CONFIRMED -j NATTT-ANSWER",
                "-A NATTT-ANSWER -j MARK --set-xmark 0x00000000/0x04000000",
                "-A NATTT-ANSWER -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x04000000/0x04000000",
                "-A NATTT-ANSWER -j TEE --gateway 127.0.0.1",
                "-A NATTT-ANSWER -j DROP",
                "-A NATTT-OUTPUT -o lo -p tcp --tcp-flags RST RST -m conntrack --ctstate UNTRACKED -m addrtype --dst-type UNICAST -j MARK --set-xmark 0x04000000/0x04000000",
            ],
        );
        if config.client.is_some() {
            assert_lines(&nft, &[&format!("meta l4proto icmp {queued}")]);
            assert_lines(&iptables, &[&format!("-A NATTT-INPUT -p icmp {marked}")]);
        }
        if let Some((nft_out, iptables_out)) = leaving {
            assert_lines(&nft, &[&format!("{nft_out} {queued}")]);
            assert_lines(&iptables, &[&format!("-A NATTT-COPIES {iptables_out} {marked}")]);
            assert_lines(&iptables, &["-I POSTROUTING -j NATTT-COPIES"]);
        }
        let places = 1 + usize::from(text == serving);
        assert_eq!(nft.matches(&queued).count(), places, "{nft}");
        assert_eq!(iptables.matches(marked).count(), places, "{iptables}");
    }
}

const HAIRPIN: &str = r#"
[client]
[gateway]
outside = ["wan", "eth0"]
hairpin = ["eth0", "lan"]
exports = ["192.168.0.0/24"]
"#;

#[test]
fn nft_hairpin() {
    let text = render(&config(HAIRPIN), Flavour::Nft);
    let ours = "ct mark & 0x04000000 != 0x00000000";
    let turn = |name: &str| {
        format!(
            "{ours} ct state new iifname \"{name}\" oifname \"{name}\" meta mark set meta mark | 0x04000000 accept"
        )
    };
    assert_lines(
        &text,
        &[
            &turn("eth0"),
            &turn("lan"),
            &format!(
                "{ours} ct direction original iifname {{ \"wan\", \"eth0\", \"lan\" }} oifname {{ \"wan\", \"eth0\" }} counter drop"
            ),
            &format!(
                "{ours} ct direction original iifname {{ \"wan\", \"eth0\", \"lan\" }} counter drop"
            ),
            "iifname { \"wan\", \"eth0\", \"lan\" } meta nfproto ipv4 udp dport 100 fib daddr type local counter queue to symhash mod 4 offset 26800",
            "meta mark & 0x04000000 != 0x00000000 counter masquerade",
        ],
    );
    assert!(!render(&config(BOTH), Flavour::Nft).contains("masquerade"));
}

/// To hosts behind their own interface, and errors about their packets come back.
#[test]
fn served_hosts_of_a_gateway_turn_like_a_hairpin() {
    let config = config(
        "[client]\npool = \"198.18.0.0/15\"\nserve = [\"lan\"]\n\
         [gateway]\noutside = [\"wan\"]\nexports = [\"10.0.0.2\"]",
    );
    let nft = render(&config, Flavour::Nft);
    assert_lines(
        &nft,
        &[
            "ct mark & 0x04000000 != 0x00000000 ct state new iifname \"lan\" oifname \"lan\" meta mark set meta mark | 0x04000000 accept",
            "meta mark & 0x04000000 != 0x00000000 counter masquerade",
        ],
    );
    assert!(nft.contains("oifname { \"wan\", \"lan\" } icmp type"), "{nft}");
    let iptables = render(&config, Flavour::Iptables);
    assert_lines(
        &iptables,
        &[
            "-A NATTT-FORWARD -i lan -o lan -m connmark --mark 0x04000000/0x04000000 -m conntrack --ctstate NEW -j MARK --set-xmark 0x04000000/0x04000000",
            "-A NATTT-POSTROUTING -m mark --mark 0x04000000/0x04000000 -j MASQUERADE",
        ],
    );
    assert!(iptables.contains("-o lan -p icmp --icmp-type time-exceeded"), "{iptables}");
}

/// Only through the same hairpin; out of `wan` nothing leaves.
#[test]
fn iptables_hairpin() {
    let text = render(&config(HAIRPIN), Flavour::Iptables);
    let ours = "-m connmark --mark 0x04000000/0x04000000";
    let turn = format!("{ours} -m conntrack --ctdir ORIGINAL -j DROP");
    let forward = |from: &str, to: &str| format!("-A NATTT-FORWARD -i {from} -o {to} {turn}");
    assert_lines(
        &text,
        &[
            &forward("wan", "wan"),
            &forward("eth0", "wan"),
            &forward("wan", "eth0"),
            &forward("lan", "wan"),
            &forward("lan", "eth0"),
            &format!(
                "-A NATTT-FORWARD -i lan -o lan {ours} -m conntrack --ctstate NEW -j MARK --set-xmark 0x04000000/0x04000000"
            ),
            "-A NATTT-POSTROUTING -m mark --mark 0x04000000/0x04000000 -j MASQUERADE",
        ],
    );
    assert!(!text.contains(&forward("eth0", "eth0")), "{text}");
    assert_eq!(text.matches("-I OUTPUT -j NATTT-OUTPUT").count(), 3, "one each table");
    assert!(!render(&config(BOTH), Flavour::Iptables).contains("MASQUERADE"));
}

const ROUTER: &str = r#"
[client]
pool = "198.18.0.0/15"
serve = ["lan", "docker0"]
[gateway]
outside = ["wan"]
exports = ["192.168.0.0/24"]
"#;

#[test]
fn nft_router_as_client() {
    let text = render(&config(ROUTER), Flavour::Nft);
    let reply = "ct mark & 0x04000000 != 0x00000000 ct direction reply counter queue to symhash mod 4 offset 26800";
    assert_lines(
        &text,
        &[
            "iifname != \"lo\" ip saddr 198.18.0.0/15 counter drop",
            "iifname { \"lan\", \"docker0\" } ip daddr 198.18.0.0/15 counter queue to symhash mod 4 offset 26800",
            "type filter hook input priority filter - 1; policy accept;",
            "oifname { \"lan\", \"docker0\" } udp sport 53 ct direction reply counter queue flags bypass to 26816",
            "ip daddr 198.18.0.0/15 dnat ip to ip daddr",
            "iifname { \"wan\" } meta nfproto ipv4 udp dport 100 ip daddr != 198.18.0.0/15 fib daddr type local counter queue to symhash mod 4 offset 26800",
            &format!("oifname != \"lo\" {reply}"),
        ],
    );
    assert!(!text.contains("client_postrouting"), "the gateway's chain queues those, too");
    let alone = config("[client]\npool = \"198.18.0.0/15\"\nserve = [\"lan\"]");
    let of_udp = format!("oifname {{ \"lan\" }} meta l4proto udp {reply}");
    assert_lines(&render(&alone, Flavour::Nft), &[&of_udp]);
    let unserved = render(&config("[client]\npool = \"198.18.0.0/15\""), Flavour::Nft);
    assert!(unserved.contains("client_unserved") && !unserved.contains("client_served"));
    assert!(!render(&config(BOTH), Flavour::Nft).contains("client_unserved"));
}

#[test]
fn iptables_router_as_client() {
    let text = render(&config(ROUTER), Flavour::Iptables);
    let marked = "-m connmark --mark 0x04000000/0x04000000 -m conntrack --ctdir REPLY";
    assert_lines(
        &text,
        &[
            "-A NATTT-PREROUTING ! -i lo -s 198.18.0.0/15 -j DROP",
            "-A NATTT-PREROUTING -i docker0 -d 198.18.0.0/15 -j NATTT-NFQUEUE-SOURCE",
            "-A NATTT-INPUT -d 198.18.0.0/15 -p tcp -j REJECT --reject-with tcp-reset",
            "-A NATTT-FORWARD -o lan -p udp --sport 53 -m conntrack --ctdir REPLY -j NFQUEUE --queue-num 26816 --queue-bypass",
            "-A NATTT-OUTPUT -d 198.18.0.0/15 -j NETMAP --to 0.0.0.0/0",
            "-A NATTT-PREROUTING -i wan ! -d 198.18.0.0/15 -p udp --dport 100 -m addrtype --dst-type LOCAL -j NATTT-NFQUEUE-SOURCE",
            &format!("-A NATTT-POSTROUTING ! -o lo {marked} -j NATTT-NFQUEUE-DESTINATION"),
        ],
    );
    for (jump, tables) in [("PREROUTING", 3), ("FORWARD", 1), ("OUTPUT", 4), ("INPUT", 1)] {
        let jump = format!("-I {jump} -j NATTT-{jump}");
        assert_eq!(text.lines().filter(|line| *line == jump).count(), tables, "{jump}");
    }
    assert!(render_ip6tables(&config(ROUTER)).contains("-A NATTT-FORWARD -o docker0 -p udp"));
    let alone = config("[client]\npool = \"198.18.0.0/15\"\nserve = [\"lan\"]");
    let of_udp =
        format!("-A NATTT-POSTROUTING -o lan -p udp {marked} -j NATTT-NFQUEUE-DESTINATION");
    assert_lines(&render(&alone, Flavour::Iptables), &[&of_udp]);
}

/// DNS, ICMP errors, and what may be no tunnel's: the first packet of a connection from the middle.
#[test]
fn little_goes_on_without_the_daemon() {
    for flavour in Flavour::ALL {
        let texts = render(&config(BOTH), flavour) + &render(&config(ROUTER), flavour);
        for line in texts.lines().filter(|line| line.contains("bypass")) {
            let middle = ["ct status & confirmed == 0", "! --ctstatus CONFIRMED"];
            let is_middle = middle.iter().any(|middle| line.contains(middle));
            assert!(line.contains("26816") || line.contains("icmp") || is_middle, "{line}");
        }
    }
}

/// Of exported ports only, and of TCP only.
#[test]
fn exported_hosts_meet_natttd_in_the_middle_of_unknown_connections() {
    let config = config(
        "[gateway]\noutside = [\"wan\"]\n[[gateway.exports]]\nprefix = \"10.0.0.0/24\"\n\
         [[gateway.exports]]\nprefix = \"10.1.0.1\"\nprotocol = \"tcp\"\nports = [80, \"8000-8010\"]\n\
         [[gateway.exports]]\nprefix = \"10.2.0.0/24\"\nprotocol = \"udp\"\n",
    );
    let nft = |of: &str| {
        format!(
            "ip saddr {of}tcp flags & (fin | syn | rst | ack) != syn ct state new ct status & confirmed == 0 ct mark & 0x04000000 == 0x00000000 counter queue flags bypass to 26800"
        )
    };
    let iptables = |of: &str| {
        format!(
            "-A NATTT-FORWARD -s {of}! --syn -m conntrack --ctstate NEW ! --ctstatus CONFIRMED -m connmark ! --mark 0x04000000/0x04000000 -j NFQUEUE --queue-num 26800 --queue-bypass"
        )
    };
    let text = render(&config, Flavour::Nft);
    let lines = [
        nft("10.0.0.0/24 "),
        nft("10.1.0.1/32 tcp sport 80 "),
        nft("10.1.0.1/32 tcp sport 8000-8010 "),
    ];
    lines.iter().for_each(|line| assert_lines(&text, &[line]));
    assert!(!text.contains("10.2.0.0/24"), "{text}");
    let text = render(&config, Flavour::Iptables);
    let lines = [
        iptables("10.0.0.0/24 -p tcp "),
        iptables("10.1.0.1/32 -p tcp --sport 80 "),
        iptables("10.1.0.1/32 -p tcp --sport 8000:8010 "),
        "-A FORWARD -j NATTT-FORWARD".into(),
    ];
    lines.iter().for_each(|line| assert_lines(&text, &[line]));
    assert!(!text.contains("10.2.0.0/24"), "{text}");
}

#[test]
fn one_worker_has_one_queue() {
    let single = config("[client]\n[queues]\nfirst = 7\nworkers = 1");
    assert!(render(&single, Flavour::Nft).contains("counter queue to 7\n"));
    assert!(render(&single, Flavour::Iptables).contains("-j NFQUEUE --queue-num 7\n"));
}

/// Every value of the eight bits leads to one queue; what is left over leads to the first.
#[test]
fn flows_are_spread_evenly() {
    for workers in 2..=16u32 {
        let config = config(&format!("[client]\n[queues]\nfirst = 100\nworkers = {workers}"));
        let text = render(&config, Flavour::Iptables);
        let rules = text.lines().filter(|line| line.starts_with("-A NATTT-NFQUEUE-SOURCE"));
        let mut seen = vec![100; 256];
        for rule in rules.filter(|rule| rule.contains("u32")) {
            let (range, queue) =
                rule.rsplit_once('=').and_then(|(_, end)| end.split_once('"')).expect("=A:B\"");
            let (from, to) = range.split_once(':').expect("A:B");
            let queue = queue.rsplit(' ').next().expect("a queue").parse().expect("a number");
            let part = from.parse::<usize>().expect("a number")..=to.parse().expect("a number");
            assert!(seen[part.clone()].iter().all(|queue| *queue == 100), "{rule}");
            seen[part].fill(queue);
        }
        for queue in 100..100 + workers {
            let share = seen.iter().filter(|of| **of == queue).count() as u32;
            assert!(share.abs_diff(256 / workers) <= 1, "queue {queue} has {share} of 256");
        }
        assert!(text.contains("-A NATTT-NFQUEUE-SOURCE -j NFQUEUE --queue-num 100\n"));
    }
}

#[test]
fn the_text_carries_its_fingerprint() {
    for (flavour, prefix) in [(Flavour::Nft, "chain config_"), (Flavour::Iptables, ":NATTT-")] {
        let (this, other) = (config("[client]"), config("[client]\n[queues]\nworkers = 3"));
        let hex = fingerprint(&this, flavour);
        assert!(hex.len() == 16 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hex}");
        assert!(render(&this, flavour).contains(&format!("{prefix}{hex} ")));
        assert_ne!(hex, fingerprint(&other, flavour));
    }
}

/// iptables' limit on a chain's name is 28 octets.
#[test]
fn chain_names_are_short_enough() {
    let text = render(&config(BOTH), Flavour::Iptables);
    let names = text.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    assert!(names.into_iter().all(|name| name.len() <= 28));
}

const SAVED: &str = "\
# Generated by iptables-save
*mangle
:PREROUTING ACCEPT [0:0]
:NATTT-PREROUTING - [0:0]
-A PREROUTING -j NATTT-PREROUTING
COMMIT
*raw
:OUTPUT ACCEPT [5:420]
:NATTT-0123456789abcdef - [0:0]
:NATTT-OUTPUT - [0:0]
:mine - [0:0]
-A OUTPUT -j NATTT-OUTPUT
-A OUTPUT -j mine
-A OUTPUT -j NATTT-OUTPUT
-A NATTT-OUTPUT -s 127.64.0.0/10 -j DROP
-A mine -p udp -g NATTT-OUTPUT
COMMIT
";

#[test]
fn an_older_load_is_removed_with_every_jump() {
    assert_eq!(
        removal(SAVED),
        "*mangle\n-D PREROUTING -j NATTT-PREROUTING\n-F NATTT-PREROUTING\n-X NATTT-PREROUTING\nCOMMIT\n\
         *raw\n-D OUTPUT -j NATTT-OUTPUT\n-D OUTPUT -j NATTT-OUTPUT\n-D mine -p udp -g NATTT-OUTPUT\n\
         -F NATTT-0123456789abcdef\n-F NATTT-OUTPUT\n-X NATTT-0123456789abcdef\n-X NATTT-OUTPUT\nCOMMIT\n"
    );
}

#[test]
fn a_replacement_is_one_transaction_a_table() {
    let text =
        replacement(SAVED, "*raw\n:NATTT-OUTPUT - [0:0]\n-I OUTPUT -j NATTT-OUTPUT\nCOMMIT\n");
    assert_eq!(text.matches("COMMIT").count(), 2);
    let raw = text.split("*mangle").next().expect("raw comes first");
    assert!(
        raw.contains("-X NATTT-OUTPUT\n:NATTT-OUTPUT - [0:0]\n-I OUTPUT -j NATTT-OUTPUT\nCOMMIT")
    );
    assert!(text.contains("*mangle\n-D PREROUTING"));
}

#[test]
fn nothing_loaded_is_nothing_to_remove() {
    assert_eq!(removal("*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j mine\nCOMMIT\n"), "");
}

proptest! {
    #[test]
    fn removal_touches_nothing_foreign(saved in "(\\*[a-z]{1,4}\n|(:|-A )(NATTT-|X)[A-Z ]{0,6}(-j (NATTT-)?[A-C])?\n|\\PC{0,9}\n){0,12}") {
        for line in removal(&saved).lines() {
            let own = line.starts_with('*') || line == "COMMIT" || line.contains("NATTT-");
            prop_assert!(own, "{}", line);
        }
    }

    #[test]
    fn every_configuration_names_its_queues(first in 0u16..=65518, workers in 1u16..=16, bit in 0u32..32) {
        let mark = 1u32 << bit;
        let text = format!("mark = {mark}\n[queues]\nfirst = {first}\nworkers = {workers}\n{BOTH}");
        let config = config(&text);
        for flavour in Flavour::ALL {
            let text = render(&config, flavour);
            prop_assert!(text.contains(&config.mark.to_string()));
            prop_assert!(text.contains(&config.queues.dns().to_string()));
        }
    }
}

/// The kernel shows only four octets of a policy's name to `iptables-save`.
#[test]
fn timeout_policies_survive_saving() {
    assert!(TIMEOUTS.iter().all(|policy| policy.name.len() <= 4));
}
