//! What is made is read back, in every format; any text is read without surprises.

use proptest::prelude::*;

use super::*;
use crate::dns::NameError;
use crate::path::{Hop, MAX_HOPS, NAT_RR_TYPE, PathError};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn path(text: &str) -> Path {
    text.parse().expect("a path")
}

fn set(name: &str, paths: &[&str]) -> RecordSet {
    let name = name.parse().expect("a name");
    let paths = paths.iter().map(|text| path(text)).collect();
    let paths = PathSet::new(paths).expect("paths");
    RecordSet { name, ttl: 300, record_type: NAT_RR_TYPE, paths }
}

fn rendered(set: &RecordSet, format: &str) -> String {
    let (_, format) = FORMATS.iter().find(|(name, _)| *name == format).expect("a format");
    render(set, *format, &Emulation::default()).expect("can be written")
}

/// The paths in the text, each with its owner.
fn read(text: &str) -> Vec<(Option<String>, String)> {
    let records = decode(text, NAT_RR_TYPE).expect("NAT records");
    let shown = |record: Record| (record.name.map(|n| n.to_string()), record.path.to_string());
    records.into_iter().map(shown).collect()
}

fn reason(text: &str) -> Reason {
    decode(text, NAT_RR_TYPE).expect_err("no NAT record").reason
}

const EXAMPLE: &str = "203.0.113.1:100 192.168.0.2";
const HEX: &str = "CB0071010064C0A80002";

#[test]
fn the_line_for_every_server() {
    let set = set("b.example", &[EXAMPLE]);
    let zone = "b.example. 300 IN TYPE65324 \\# 10 CB0071010064C0A80002\n";
    for server in ["bind", "nsd", "knot", "powerdns", "coredns"] {
        assert_eq!(rendered(&set, server), zone);
    }
    assert_eq!(rendered(&set, "unbound"), format!("local-data: \"{}\"\n", zone.trim_end()));
    assert_eq!(
        rendered(&set, "dnsmasq"),
        "dns-rr=b.example,65324,CB0071010064C0A80002\ntxt-record=b.example,NAT\n"
    );
    assert_eq!(rendered(&set, "rdata"), "CB0071010064C0A80002\n");
    assert_eq!(
        rendered(&set, "nsupdate"),
        format!(
            "prereq nxrrset b.example. A\nupdate delete b.example. TYPE65324\n\
             update add {zone}send\n"
        )
    );
    let all = rendered(&set, "all");
    for (name, format) in FORMATS.iter().filter(|(_, format)| *format != Format::All) {
        assert_eq!(all.contains(&rendered(&set, name)), *format != Format::Json, "{name}");
    }
}

#[test]
fn json_says_it_in_all_ways() {
    let text = rendered(&set("b.example", &["203.0.113.1:101 192.168.0.2"]), "json");
    let expected = r#"{"records":[{"name":"b.example","ttl":300,"type":65324,
        "path":"203.0.113.1:101 192.168.0.2","hops":[{"address":"203.0.113.1","port":101}],
        "host":"192.168.0.2","rdata":"CB0071010065C0A80002"}]}"#;
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(value(&text), value(expected));
}

#[test]
fn dnsmasq_takes_plain_names_only() {
    for odd in ["a\\.b.example", "a,b.example", "a\\035b.example", "*.example", "."] {
        let set = set(odd, &[EXAMPLE]);
        let refused = render(&set, Format::Dnsmasq, &Emulation::default());
        assert_eq!(refused, Err(RenderError::DnsmasqName(name(odd))));
        assert!(rendered(&set, "all").contains("# Not possible: dnsmasq takes only"));
    }
}

#[test]
fn whatever_comes_along() {
    for (text, owner) in [
        (HEX, None),
        ("cb007101 0064 c0a80002", None),
        ("0xCB0071010064C0A80002", None),
        ("CB:00:71:01:00:64:C0:A8:00:02", None),
        ("\\# 10 CB0071010064C0A80002", None),
        ("# comment\n\\# 10 CB007101 0064C0A80002", None),
        ("203.0.113.1 192.168.0.2", None),
        ("b.example.\t\t300\tIN\tTYPE65324\t\\# 10 CB0071010064C0A80002", Some("b.example")),
        // A shell ate the backslash.
        ("b.example. 300 IN TYPE65324 # 10 CB0071010064C0A80002", Some("b.example")),
        ("b.example IN 5m type65324 \\# 10 ( CB007101 ; Y\n 0064C0A80002 ) ; B", Some("b.example")),
        ("b.example. TYPE65324 \\# 10 CB0071010064C0A80002", Some("b.example")),
        ("   b.example. 300 IN TYPE65324 \\# 10 CB0071010064C0A80002", Some("b.example")),
        ("local-data: 'b.example. IN TYPE65324 \\# 10 CB0071010064C0A80002'", Some("b.example")),
        (
            "  local-data: \"b.example. TYPE65324 \\# 10 CB0071010064C0A80002\" # B",
            Some("b.example"),
        ),
        ("--dns-rr=b.example,65324,CB:00:71:01:00:64:C0:A8:00:02", Some("b.example")),
        ("update add b.example. 300 TYPE65324 \\# 10 CB0071010064C0A80002", Some("b.example")),
    ] {
        assert_eq!(read(text), [(owner.map(str::to_owned), EXAMPLE.to_owned())], "{text}");
    }
}

#[test]
fn all_that_dig_prints() {
    let text = "\n; <<>> DiG 9.18.33 <<>> b.example TYPE65324\n;; global options: +cmd\n\
        ;; Got answer:\n;; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 1, ADDITIONAL: 2\n\n\
        ;; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: 1232\n\
        ;; QUESTION SECTION:\n;b.example.\t\t\tIN\tTYPE65324\n\n;; ANSWER SECTION:\n\
        b.example.\t\t300\tIN\tTYPE65324 \\# 10 CB0071010064C0A80002\n\n\
        ;; AUTHORITY SECTION:\nexample.\t\t300\tIN\tNS\tns.example.\n\n\
        ;; ADDITIONAL SECTION:\nns.example.\t\t300\tIN\tA\t198.51.100.53\n\n;; Query time: 0 msec\n";
    assert_eq!(read(text), [(Some("b.example".to_owned()), EXAMPLE.to_owned())]);
}

#[test]
fn a_whole_zone_file() {
    let text = "$ORIGIN example.\n$TTL 1h\n@ SOA ns hostmaster (\n 1 3600 ; no ( here\n 600 86400 60 )\n\
        \tNS ns\n$GENERATE 1-2 x$ A 192.0.2.$\nns A 198.51.100.53\n\
        txt TXT \"; no (comment\" \\# 1\nb TYPE65324 \\# 10 CB0071010064C0A80002\n\
        \tTXT owned\n\t60 TYPE65324 \\# 10 CB0071020064C0A80002\n\
        x TYPE65400 \\# 1 00\nc.other. TYPE65324 \\# 10 CB0071010064C0A80003";
    // What `txt` holds is an odd TXT record; it is said so, with its line.
    let error = decode(text, NAT_RR_TYPE).expect_err("a strange line");
    assert_eq!(error, DecodeError { line: Some(9), reason: Reason::Unknown });
    let records = decode(&text.replace(" \\# 1\n", "\n"), NAT_RR_TYPE).expect("NAT records");
    let expected = [
        ("b.example", 3600, "203.0.113.1 192.168.0.2"),
        ("b.example", 60, "203.0.113.2 192.168.0.2"),
        ("c.other", 3600, "203.0.113.1 192.168.0.3"),
    ]
    .map(|(owner, ttl, text)| Record {
        name: Some(name(owner)),
        ttl: Some(ttl),
        path: path(text),
    });
    assert_eq!(records, expected);
}

#[test]
fn whole_configurations() {
    let expected = [(Some("b.example".to_owned()), EXAMPLE.to_owned())];
    let unbound = "server:\n    verbosity: 1 # low\n    interface: 127.0.0.1@53\n\
        \n    local-data: \"b.example. 300 IN TYPE65324 \\# 10 CB0071010064C0A80002\"\n\
        \n    local-data: \"www.example. A 192.0.2.1\"\nremote-control:\n    control-enable: no\n";
    assert_eq!(read(unbound), expected);
    let dnsmasq = "no-resolv\nlocal=/example/\naddress=/www.example/192.0.2.1\n\
        dns-rr=b.example,65324,CB0071010064C0A80002\ntxt-record=b.example,NAT\n";
    assert_eq!(read(dnsmasq), expected);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, expected) in [
        ("", Reason::Nothing),
        ("; only a comment", Reason::Nothing),
        ("www.example. 300 IN A 192.0.2.1", Reason::Nothing),
        ("4.3.2.1 PTR www.example.", Reason::Nothing),
        ("send", Reason::Nothing),
        ("hello", Reason::Unknown),
        ("CB0071010064C0A8000", Reason::Hex),
        ("CB0071010064C0A8", Reason::Path(PathError::Length(8))),
        ("CB0071010000C0A80002", Reason::Path(PathError::Port)),
        ("203.0.113.1", Reason::Path(PathError::Hops(0))),
        ("203.0.113.1 192.168.0", Reason::Path(PathError::Text)),
        ("b. IN TYPE65324 CB0071010064C0A80002", Reason::NotGeneric),
        ("b. IN TYPE65324 \\#", Reason::NotGeneric),
        ("b. IN TYPE65324 \\# 10 CG", Reason::Hex),
        ("b. IN TYPE65324 \\# 9 CB00", Reason::Count { said: "9".into(), found: 2 }),
        ("b..c. IN TYPE65324 \\# 2 CB00", Reason::Name(NameError::EmptyLabel)),
        ("dns-rr=b..c,65324,CB0071010064C0A80002", Reason::Name(NameError::EmptyLabel)),
        ("dns-rr=b", Reason::Unknown),
        ("dns-rr=b,65400,00", Reason::OtherType { wanted: 65324, found: 65400 }),
        ("b. IN TYPE65400 \\# 1 00", Reason::OtherType { wanted: 65324, found: 65400 }),
        ("{\"records\":[]}", Reason::Nothing),
        ("update add", Reason::Nothing),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
    assert!(matches!(reason("{\"a\":1}"), Reason::Json(_)));
    let late = format!("{HEX}\n\nnonsense");
    assert_eq!(decode(&late, NAT_RR_TYPE).map_err(|error| error.line), Err(Some(3)));
}

fn paths() -> impl Strategy<Value = PathSet> {
    let hop = (any::<u32>(), 1u16..).prop_map(|(addr, port)| Hop { addr: addr.into(), port });
    let path = (prop::collection::vec(hop, 1..=MAX_HOPS), any::<u32>())
        .prop_map(|(hops, host)| Path::new(hops, host.into()).expect("1 to 8 hops"));
    prop::collection::vec(path, 1..4).prop_map(|paths| PathSet::new(paths).expect("paths"))
}

/// Any names, and plain ones, which every format can hold.
fn names() -> impl Strategy<Value = Name> {
    let plain = "[a-z0-9_-]{1,20}(\\.[a-z0-9-]{1,20}){0,3}".prop_map(|text| name(&text));
    let odd = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..4);
    let odd = odd.prop_map(|labels| {
        let mut wire: Vec<u8> =
            labels.iter().flat_map(|l| [&[l.len() as u8][..], l].concat()).collect();
        wire.push(0);
        Name::read(&wire, 0).expect("a name").0
    });
    prop_oneof![plain, odd]
}

proptest! {
    #[test]
    fn what_is_made_is_read_back(
        name in names(), ttl in 0..=MAX_TTL, record_type in 256u16..65535, paths in paths(),
    ) {
        let set = RecordSet { name, ttl, record_type, paths };
        for (server, format) in FORMATS {
            let Ok(text) = render(&set, format, &Emulation::default()) else {
                prop_assert!(matches!(format, Format::Dnsmasq | Format::ARecords));
                continue;
            };
            if format == Format::ARecords {
                continue;
            }
            let found = decode(&text, record_type);
            let found = found.map_err(|e| TestCaseError::fail(format!("{server}: {e}: {text}")))?;
            let read = PathSet::new(found.iter().map(|one| one.path.clone()).collect());
            prop_assert_eq!(read.as_ref(), Some(&set.paths), "{}", server);
            for one in &found {
                prop_assert!(one.name.as_ref().is_none_or(|name| *name == set.name), "{}", text);
                prop_assert!(one.ttl.is_none_or(|ttl| ttl == set.ttl), "{}", text);
            }
            if !matches!(format, Format::Rdata | Format::All | Format::Dnsmasq) {
                prop_assert_eq!(found, set.records(), "{}", server);
            }
        }
    }

    /// The A records at the names that the templates make say the path again.
    #[test]
    fn emulating_records_say_the_path(addresses in prop::collection::vec(any::<u32>(), 2..=9)) {
        let text: Vec<_> = addresses.iter().map(|a| std::net::Ipv4Addr::from(*a).to_string()).collect();
        let records = rendered(&set("b.example", &[&text.join(" ")]), "a-records");
        let address = |owner: &str| {
            let line = records.lines().find(|line| line.starts_with(&format!("{owner}. ")));
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        let boxes = (1..text.len()).map(|n| address(&format!("b-nat{n}.example")));
        let found: Option<Vec<_>> = boxes.chain([address("b-in.example")]).collect();
        prop_assert_eq!(found, Some(text));
    }

    #[test]
    fn any_text_is_records_or_an_error(text in "\\PC{0,60}", record_type: u16) {
        if let Ok(records) = decode(&text, record_type) {
            prop_assert!(!records.is_empty());
        }
    }

    /// Pieces of what is known, in any order: records come out, and nothing panics.
    #[test]
    fn pieces_in_any_order(text in "(b\\.|@|300|1h|IN|TYPE65324|\\\\#|#|10|CB0071010064C0A80002|\
        local-data:|dns-rr=|,|\"|'|update|add|delete|\\$ORIGIN|\\$TTL|\\(|\\)|;|\\{|\\\\|\\.| |\n|\t){0,14}") {
        if let Ok(records) = decode(&text, NAT_RR_TYPE) {
            prop_assert!(records.iter().all(|record| record.path.to_rdata().len() == 10));
        }
    }
}
