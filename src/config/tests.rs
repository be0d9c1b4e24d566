use super::*;
use proptest::prelude::*;

fn refusal(text: &str) -> String {
    Config::parse(text).expect_err(text).to_string()
}

const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:9810\"\n";
const GATEWAY: &str = "[gateway]\noutside = [\"eth0\"]\nexports = [\"192.168.0.0/24\"]\n";

#[test]
fn the_packaged_file_is_the_client_with_defaults() {
    let config = Config::parse(PACKAGED).expect("packaged file");
    assert_eq!(Some(config), Config::parse("[client]").ok());
}

#[test]
fn defaults() {
    let config = Config::parse(&format!("[client]\n{GATEWAY}")).expect("defaults");
    let client = config.client.expect("client");
    assert_eq!(client.pool.to_string(), "127.64.0.0/10");
    assert_eq!(client.record_type, 65324);
    assert_eq!(client.lookup_patience, Duration::from_millis(1000));
    assert_eq!(client.keepalive, Duration::from_secs(20));
    let gateway = config.gateway.expect("gateway");
    assert_eq!((gateway.port, gateway.max_flows_per_source), (100, 8192));
    assert_eq!(config.mark.bit(), 0x0400_0000);
    assert_eq!(config.queues.data(), 26800..26804);
    assert_eq!((config.queues.dns(), config.queues.hold()), (26816, 26817));
    assert_eq!(config.firewall, Flavour::Nft);
}

/// Uncommenting every setting of the packaged file changes nothing but the gateway's presence, and
/// that of an emulation and of metrics, which have no default.
#[test]
fn the_packaged_file_shows_the_defaults() {
    let setting = |line: &&str| {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let lines = PACKAGED.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let shown: Vec<&str> = lines.filter(setting).collect();
    let config = Config::parse(&shown.join("\n")).expect("every setting");
    let exports = r#"["192.168.0.0/24", { prefix = "192.168.1.2", protocol = "tcp", ports = [80, "8000-8010"] }]"#;
    let emulation = r#"
        [[client.emulation]]
        zones = ["example.org"]
        host = "{label}-in.{parent}"
        boxes = ["{label}-nat1.{parent}"]
    "#;
    let defaults = format!(
        "[client]\n{emulation}\n[gateway]\noutside = [\"eth0\"]\nexports = {exports}\n{METRICS}"
    );
    assert_eq!(Ok(config), Config::parse(&defaults));
}

#[test]
fn metrics_are_for_this_host_unless_allowed() {
    let listen = |lines: &str| Config::parse(&format!("[client]\n[metrics]\n{lines}"));
    let at = |lines: &str| listen(lines).expect(lines).metrics.map(|addr| addr.to_string());
    assert_eq!(at("listen = \"127.0.0.1:9810\"").as_deref(), Some("127.0.0.1:9810"));
    assert_eq!(at("listen = \"[::1]:1\"").as_deref(), Some("[::1]:1"));
    let public = "listen = \"0.0.0.0:9810\"";
    assert_eq!(at(&format!("{public}\nother_hosts = true")).as_deref(), Some("0.0.0.0:9810"));
    for (lines, line, advice) in [
        (public, 3, "`other_hosts = true`"),
        ("listen = \"192.168.0.1:9810\"\nother_hosts = false", 3, "`other_hosts = true`"),
        ("other_hosts = true", 2, "listen = \"127.0.0.1:9810\""),
        ("listen = \"127.0.0.1\"", 3, "an address and a port"),
        ("listen = \"localhost:9810\"", 3, "an address and a port"),
        ("listen = \"127.0.0.1:0\"", 3, "an address and a port"),
        ("listen = \"127.64.0.1:9810\"", 3, "belongs to the pool"),
        ("lisen = \"127.0.0.1:9810\"", 3, "did you mean `listen`?"),
    ] {
        let error = listen(lines).expect_err(lines);
        assert_eq!(error.line(), Some(line), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn exports_are_prefixes_or_tables() {
    let text = r#"
        [gateway]
        outside = ["wan0", "ppp0"]
        exports = [
            "10.0.0.0/8",
            { prefix = "192.168.0.2", protocol = "udplite", ports = [80, "8000-8010"] },
            { prefix = "192.168.0.3/32", protocol = 47 },
        ]
    "#;
    let exports = Config::parse(text).expect("exports").gateway.expect("gateway").exports;
    let shown: Vec<_> = exports.iter().map(|e| (e.prefix.to_string(), e.protocol)).collect();
    assert_eq!(shown[0], ("10.0.0.0/8".to_owned(), None));
    assert_eq!(shown[1], ("192.168.0.2/32".to_owned(), Some(136)));
    assert_eq!(shown[2], ("192.168.0.3/32".to_owned(), Some(47)));
    assert_eq!(exports[1].ports, [80..=80, 8000..=8010]);
}

#[test]
fn emulations_are_zones_and_templates() {
    let text = r#"
        [client]
        [[client.emulation]]
        zones = ["Example.org.", "example.net"]
        boxes = ["{label}-nat1.{parent}", "{label}-nat2.{parent}:4100"]
        [[client.emulation]]
        zones = ["lab.example.org"]
        host = "{name}.inside.example.net"
        boxes = ["gw.lab.example.org"]
    "#;
    let all = Config::parse(text).expect("emulations").client.expect("client").emulations;
    let zones: Vec<_> = all[0].zones().iter().map(ToString::to_string).collect();
    assert_eq!(zones, ["example.org", "example.net"]);
    assert!(all[0].host().is_name());
    assert_eq!(all[0].boxes().iter().map(|one| one.port).collect::<Vec<_>>(), [100, 4100]);
    assert_eq!(all[1].host().to_string(), "{name}.inside.example.net");
}

#[test]
fn emulations_that_cannot_work_are_refused() {
    for (lines, line, advice) in [
        ("boxes = [\"gw.a.b\"]", 2, "zones = [\"example.org\"]"),
        ("zones = [\"a.b\"]", 2, "boxes = ["),
        ("zones = []\nboxes = [\"gw.a.b\"]", 3, "zones = [\"example.org\"]"),
        ("zones = [\"a.b\",\n\"a b\"]\nboxes = [\"gw.a.b\"]", 4, "`a b` is no zone"),
        ("zones = [\"a.b\", \"A.b\"]\nboxes = [\"gw.a.b\"]", 3, "list each zone once"),
        ("zones = [\"a.b\"]\nboxes = [\"{host}.a.b\"]", 4, "there is no `{host}`"),
        ("zones = [\"a.b\"]\nboxes = [\"gw.a.b:0\"]", 4, "1 to 65535"),
        ("zones = [\"a.b\"]\nboxes = [\"gw.a.b\",\n\"{name}\"]", 5, "every name of a.b"),
        ("zones = [\"a.b\"]\nhost = \"{label}\"\nboxes = [\"gw.a.b\"]", 4, "top-level"),
        ("zones = [\"a.b\"]\nhost = \"gw.a.b\"\nboxes = [\"gw.a.b\"]", 4, "its own"),
        ("zones = [\"a.b\"]\nbox = []", 4, "did you mean `boxes`?"),
    ] {
        let text = format!("[client]\n[[client.emulation]]\n{lines}");
        let error = Config::parse(&text).expect_err(&text);
        assert_eq!(error.line(), Some(line), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
    let boxes = (1..=9).map(|n| format!("\"gw{n}.a.b\"")).collect::<Vec<_>>().join(",");
    let text = format!("[client]\n[[client.emulation]]\nzones = [\"a.b\"]\nboxes = [{boxes}]");
    assert!(refusal(&text).contains("8 NAT boxes at most, not 9"), "{}", refusal(&text));
    let one = "[[client.emulation]]\nzones = [\"a.b\"]\nboxes = [\"gw.a.b\"]\n";
    let error = refusal(&format!("[client]\n{one}{one}"));
    assert!(error.starts_with("line 6: "), "{error}");
}

#[test]
fn ports_that_would_never_match_are_refused() {
    for protocol in ["\"gre\"", "50", "\"icmp\"", "47"] {
        let entry = format!("{{ prefix = \"192.168.0.2\", protocol = {protocol}, ports = [80] }}");
        let error = refusal(&format!("[gateway]\noutside = [\"wan0\"]\nexports = [{entry}]"));
        assert!(error.starts_with("line 3: ") && error.contains("leave `ports` out"), "{error}");
    }
}

#[test]
fn an_unknown_setting_is_named_with_the_nearest() {
    assert_eq!(
        refusal("[client]\nmtu = 1400\npol = \"127.64.0.0/10\"\n"),
        "line 3: `pol = \"127.64.0.0/10\"`: there is no setting `pol`; did you mean `pool`?"
    );
    assert!(refusal("[client]\nkeepalive = 20").contains("did you mean `keepalive_s`?"));
    assert!(refusal("[cleint]").contains("did you mean `client`?"));
    assert!(refusal("[client]\n[queues]\ncolour = 1").contains("there are: first, workers"));
    let table = "[gateway]\noutside = [\"a\"]\nexports = [\n{ prefix = \"10.0.0.1\", port = 3 }]";
    assert!(refusal(table).starts_with("line 4: "), "{}", refusal(table));
    assert!(refusal(table).contains("did you mean `ports`?"), "{}", refusal(table));
}

#[test]
fn a_setting_in_the_wrong_section_is_sent_home() {
    for (text, home) in [
        (
            "[client]\n[daemon]\nfirewall = \"iptables\"",
            "belongs at the top of the file, above the first `[`",
        ),
        ("[client]\noutside = [\"eth0\"]", "`outside` belongs under [gateway]"),
        ("pool = \"127.64.0.0/10\"\n[client]", "`pool` belongs under [client]"),
        ("mtu = 1400\n[client]", "`mtu` belongs under [client] or [gateway]"),
        ("[client]\nzones = [\"a.b\"]", "`zones` belongs under [[client.emulation]]"),
    ] {
        assert!(refusal(text).contains(home), "{}", refusal(text));
    }
}

#[test]
fn what_is_there_twice_is_told_from_what_is_written_wrong() {
    let twice = "[client]\nmtu = 1400\nmtu = 1500";
    assert!(refusal(twice).contains("line 3: `mtu = 1500`: this is set already, further up"));
    let twice = "[client]\n[queues]\n[client]\nmtu = 1400";
    assert!(
        refusal(twice).contains("line 3: `[client]`: this section is there already, further up")
    );
}

#[test]
fn a_wrong_type_shows_how_to_write_it() {
    let error = refusal("[client]\nmtu = \"large\"");
    assert!(error.starts_with("line 2: `mtu = \"large\"`: invalid type"), "{error}");
    assert!(error.ends_with("write it like `mtu = 1500`"), "{error}");
}

#[test]
fn semantic_errors_have_a_line_and_advice() {
    for (text, line, advice) in [
        ("[client]\nmtu = 500", 2, "from 576 to 9000"),
        ("[client]\nlookup_patience_ms = 5000", 2, "to 4000"),
        ("[client]\n\npool = \"127.0.0.0/9\"", 3, "127.0.0.0 to 127.0.1.255"),
        ("[client]\npool = \"127.0.1.0/24\"", 2, "127.0.0.0 to 127.0.1.255"),
        ("[client]\npool = \"203.0.113.0/24\"", 2, "inside 198.18.0.0/15"),
        ("[client]\npool = \"10.0.0.0/8\"", 2, "/9 to /24"),
        ("[client]\nserve = [\"lan\"]", 2, "write `pool = \"198.18.0.0/15\"` too"),
        ("[client]\npool = \"198.18.0.0/15\"\nserve = [\"lo\"]", 3, "on `lo`"),
        (
            "[client]\npool = \"198.18.0.0/15\"\nserve = [\"a\", \"b\"]\n[gateway]\noutside = [\"a\"]\nexports = [\"10.0.0.1\"]",
            3,
            "arrive on `a`",
        ),
        ("[client]\npool = \"127.0.0.0/8\"", 2, "/9 to /24"),
        ("[client]\npool = \"127.64.0.0/25\"", 2, "/9 to /24"),
        ("[client]\npool = \"127.64.0.1/10\"", 2, "write `127.64.0.0/10`"),
        ("[client]\nprivate_zones = [\"corp.example\", \"a b\"]", 2, "`a b` is no zone"),
        ("mark = 3\n[client]", 1, "one bit"),
        ("mark = 0\n[client]", 1, "one bit"),
        ("firewall = \"ufw\"\n[client]", 1, "iptables"),
        ("[client]\n[queues]\nworkers = 17", 3, "from 1 to 16"),
        ("[client]\n[queues]\nfirst = 65519", 3, "from 0 to 65518"),
        ("[client]\n[daemon]\nstate_dir = \"lib\"", 3, "starts with `/`"),
        ("[gateway]\noutside = [\"eth0\"]", 1, "exports = ["),
        ("[gateway]\noutside = []\nexports = [\"10.0.0.1\"]", 2, "outside = ["),
        ("[gateway]\noutside = [\"lo\"]\nexports = [\"10.0.0.1\"]", 2, "never arrive on `lo`"),
        ("[gateway]\noutside = [\"eth+\"]\nexports = [\"10.0.0.1\"]", 2, "ip link"),
        ("[gateway]\noutside = [\"a\"]\nexports = [\"0.0.0.0/0\"]", 3, "open relay"),
        (
            "[gateway]\noutside = [\"a\"]\nexports = [\"10.0.0.2:80\"]",
            3,
            "write `{ prefix = \"10.0.0.2\", protocol = \"tcp\", ports = [80] }`",
        ),
        ("[gateway]\noutside = [\"a\"]\nexports = [\n\"127.0.0.0/8\"]", 4, "other hosts"),
        (
            "[gateway]\noutside=[\"a\"]\nexports=[{prefix=\"10.0.0.1\",protocol=\"icmp\",ports=[1]}]",
            3,
            "leave `ports` out",
        ),
    ] {
        let error = Config::parse(text).expect_err(text);
        assert_eq!(error.line(), Some(line), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn the_proxy_has_addresses_and_servers() {
    let text = "[client]\nlisten = [\"127.0.0.1\", \"[::1]:300\", \"127.0.0.2:300\"]\n\
                upstream = [\"198.51.100.53\", \"[fe80::53%2]:5353\", \"127.0.0.53\"]";
    let client = Config::parse(text).expect(text).client.expect("client");
    let shown = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&client.listen), ["127.0.0.1:53", "[::1]:300", "127.0.0.2:300"]);
    assert_eq!(shown(&client.upstream), ["198.51.100.53:53", "[fe80::53%2]:5353", "127.0.0.53:53"]);
    let served =
        "[client]\npool = \"198.18.0.0/15\"\nserve = [\"lan\"]\nlisten = [\"192.168.0.1\"]";
    let client = Config::parse(served).expect(served).client.expect("client");
    assert_eq!(shown(&client.listen), ["192.168.0.1:53"]);
}

#[test]
fn proxies_that_would_be_open_or_ask_themselves_are_refused() {
    #[rustfmt::skip]
    let wrong = [
        ("listen = [\"127.0.0.1\",\n\"0.0.0.0:53\"]", 3, "anybody could ask"),
        ("listen = [\"[::]:53\"]", 2, "anybody could ask"),
        ("listen = [\"192.168.0.1\"]", 2, "other hosts could ask"),
        ("pool = \"198.18.0.0/15\"\nlisten = [\"192.168.0.1\"]", 3, "`serve` with a routed pool"),
        ("pool = \"198.18.0.0/15\"\nserve = [\"lan\"]\nlisten = [\"fd00::1\"]", 4, "an IPv4 address"),
        ("listen = [\"127.64.0.1:53\"]", 2, "is in the pool"),
        ("listen = [\"localhost\"]", 2, "write one like `127.0.0.1:300`"),
        ("listen = [\"127.0.0.1:0\"]", 2, "write one like"),
        ("listen = [\"127.0.0.1\", \"127.0.0.1:53\"]", 2, "write it once"),
        ("listen = \"127.0.0.1\"", 2, "listen = []"),
        ("upstream = [\"198.51.100.53\"]", 2, "which is off"),
        ("listen = [\"127.0.0.1\"]\nupstream = [\"127.0.0.1:53\"]", 3, "itself listens"),
        ("listen = [\"127.0.0.1\"]\nupstream = [\"0.0.0.0\"]", 3, "no server's address"),
        ("listen = [\"127.0.0.1\"]\nupstream = [\"fe80::53\"]", 3, "[fe80::53%2]:53"),
        ("listen = [\"127.0.0.1\"]\nupstream = [\"dns.example\"]", 3, "is no address"),
    ];
    for (lines, line, advice) in wrong {
        let text = format!("[client]\n{lines}");
        let error = Config::parse(&text).expect_err(&text);
        assert_eq!(error.line(), Some(line), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn names_are_chosen_by_patterns() {
    let text = "[client]\nonly_names = [\"Example.org.\", \"*.lab\"]\nexcept_names = [\"x.lab\"]";
    let names = Config::parse(text).expect(text).client.expect("client").names;
    let included = |name: &str| names.includes(&name.parse().expect("a name"));
    assert!(
        included("b.example.ORG") && included("y.lab") && !included("x.lab") && !included("lab")
    );
    let error =
        Config::parse("[client]\nexcept_names = [\n\"b\u{fc}cher.example\"]").expect_err("IDN");
    assert_eq!(error.line(), Some(3), "{error}");
    assert!(error.to_string().contains("xn--"), "{error}");
}

#[test]
fn a_routed_pool_may_serve_others() {
    let text = "[client]\npool = \"198.18.0.0/15\"\nserve = [\"br-lan\", \"docker0\"]";
    let client = Config::parse(text).expect(text).client.expect("client");
    assert!(client.is_routed());
    assert_eq!(client.serve, ["br-lan", "docker0"]);
    assert!(!Config::parse("[client]").expect("defaults").client.expect("client").is_routed());
}

#[test]
fn a_role_is_required() {
    assert!(refusal("mark = 1").contains("`[client]`, `[gateway]` or both"));
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_an_error(text in "\\PC{0,80}") {
        if let Err(error) = Config::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_pool_never_touches_the_addresses_of_others(addr: u32, len in 0u8..=32) {
        let pool = ipnet::Ipv4Net::new(addr.into(), len).expect("length").trunc();
        if let Ok(config) = Config::parse(&format!("[client]\npool = \"{pool}\"")) {
            let pool = config.client.expect("client").pool;
            let first = u32::from(pool.network());
            let routed = ["198.18.0.0/15", "100.64.0.0/10", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
            let routed = routed.iter().any(|net| {
                net.parse::<ipnet::Ipv4Net>().expect("a prefix").contains(&pool)
            });
            let loopback = pool.network().is_loopback() && pool.broadcast().is_loopback();
            let free = first >= u32::from(std::net::Ipv4Addr::new(127, 0, 2, 0));
            prop_assert!(routed || loopback && free);
        }
    }

    #[test]
    fn loopback_pools(third in 0u8..=255, len in 9u8..=24) {
        let pool = ipnet::Ipv4Net::new([127, third, third, 0].into(), len).expect("length").trunc();
        let accepted = Config::parse(&format!("[client]\npool = \"{pool}\"")).is_ok();
        let touches = pool.network() <= std::net::Ipv4Addr::new(127, 0, 1, 255);
        prop_assert_eq!(accepted, !touches);
    }

    #[test]
    fn marks_are_single_bits(mask: u32) {
        prop_assert_eq!(Mark::new(mask).is_some(), mask.count_ones() == 1);
    }
}
