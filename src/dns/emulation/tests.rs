use super::*;
use crate::dns::testing::name;
use proptest::prelude::*;

fn templates(boxes: &[&str]) -> Vec<BoxTemplate> {
    boxes.iter().map(|text| text.parse().expect(text)).collect()
}

fn try_emulation(zones: &[&str], host: &str, boxes: &[&str]) -> Result<Emulation, EmulationError> {
    let zones = zones.iter().map(|zone| name(zone)).collect();
    Emulation::new(zones, host.parse().expect(host), templates(boxes))
}

fn emulations(all: &[(&[&str], &str, &[&str])]) -> Emulations {
    let one = |&(zones, host, boxes): &(&[&str], &str, &[&str])| {
        try_emulation(zones, host, boxes).expect("an emulation")
    };
    Emulations::new(all.iter().map(one).collect())
}

fn names(host: &str, boxes: &[(&str, u16)]) -> Option<Names> {
    let boxes = boxes.iter().map(|&(text, port)| (name(text), port)).collect();
    Some(Names { host: name(host), boxes })
}

#[test]
fn the_names_of_host_and_boxes() {
    let nested: &[&str] = &["{label}-nat1.{parent}", "nat2-{name}:4100"];
    let all = emulations(&[(&["example.org", "example.net"], "{label}-in.{parent}", nested)]);
    let boxes = [("b-nat1.example.org", 100), ("nat2-b.example.org", 4100)];
    assert_eq!(all.names(&name("B.example.org")), names("b-in.example.org", &boxes));
    assert!(all.names(&name("b.c.example.net")).is_some());
    for outside in ["b.example.com", "b.notexample.org", "org"] {
        assert_eq!(all.names(&name(outside)), None, "{outside}");
    }
}

/// `{parent}` of the zone's own name lies outside the zone, and belongs to somebody else.
#[test]
fn nobody_outside_the_zone_is_asked_about_the_zone_s_own_name() {
    let all = emulations(&[(&["example.org"], "{label}-in.{parent}", &["{label}-nat1.{parent}"])]);
    assert_eq!(all.names(&name("example.org")), None);
    let all = emulations(&[(&["b.example.org"], "in.{name}", &["nat1.{name}"])]);
    let boxes = [("nat1.b.example.org", 100)];
    assert_eq!(all.names(&name("b.example.org")), names("in.b.example.org", &boxes));
}

#[test]
fn the_most_specific_zone_counts() {
    let all = emulations(&[
        (&["example.org"], "{name}", &["gw.example.org"]),
        (&["lab.example.org"], "{name}", &["gw.lab.example.org"]),
        (&["net", "org"], "{name}", &["gw.example.net"]),
    ]);
    for (of, gateway) in [
        ("b.lab.example.org", "gw.lab.example.org"),
        ("b.example.org", "gw.example.org"),
        ("b.org", "gw.example.net"),
    ] {
        assert_eq!(all.names(&name(of)), names(of, &[(gateway, 100)]));
    }
}

#[test]
fn names_that_are_made_are_known() {
    let boxes: &[&str] = &["{label}-nat1.{parent}", "nat2.{parent}", "gw.example.net"];
    let all = emulations(&[(&["example.org"], "{label}-in.{parent}", boxes)]);
    for made in [
        "b-nat1.example.org",
        "b-in.c.example.org",
        "nat2.example.org",
        "nat2.c.example.org",
        "gw.example.net",
    ] {
        assert!(all.makes(&name(made)), "{made}");
    }
    for other in [
        "b.example.org",
        "-nat1.example.org",
        "b-nat1.example.com",
        "nat2.example.com",
        "x.gw.example.net",
    ] {
        assert!(!all.makes(&name(other)), "{other}");
    }
    // A host that is its own name is followed up.
    let all = emulations(&[(&["example.org"], "{name}", &["gw.example.org"])]);
    assert!(!all.makes(&name("b.example.org")));
}

#[test]
fn what_does_not_go_together() {
    let nine: Vec<String> = (1..=9).map(|n| format!("gw{n}.example.org")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    let long = format!("{{label}}.{}.{{parent}}", vec!["x".repeat(60); 4].join("."));
    let every = Fault::EveryName(name("example.org"));
    for (zones, host, boxes, part, fault) in [
        (&[][..], "{name}", &["gw.x.y"][..], Part::Zones, Fault::Empty),
        (&["example.org"], "{name}", &[], Part::Boxes, Fault::Empty),
        (&["example.org"], "{name}", &nine, Part::Boxes, Fault::TooMany(9)),
        (&["example.org"], "gw.x.y", &["gw.x.y"], Part::Host, Fault::Twice),
        (&["example.org"], "{name}", &["gw.x.y", "gw.x.y:101"], Part::Box(1), Fault::Twice),
        (&["example.org"], "{name}", &["{name}"], Part::Box(0), every.clone()),
        (&["example.org"], "{name}", &["{parent}"], Part::Box(0), every.clone()),
        (&["example.org"], "{label}.example.org", &["gw.x.y"], Part::Host, every.clone()),
        (
            &["a.b", "example.org"],
            "{name}",
            &["{label}.{parent}"],
            Part::Box(0),
            Fault::EveryName(name("a.b")),
        ),
        (&["example.org"], "{name}", &[&long], Part::Box(0), Fault::TooLong(name("example.org"))),
    ] {
        let error = try_emulation(zones, host, boxes).expect_err("refused");
        assert_eq!(error, EmulationError { part, fault });
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn ports_of_boxes() {
    let port = |text: &str| text.parse::<BoxTemplate>().map(|one| one.port);
    assert_eq!(port("gw.{parent}"), Ok(100));
    assert_eq!(port("gw.{parent}:65535"), Ok(65535));
    for wrong in ["gw.{parent}:", "gw.{parent}:0", "gw.{parent}:65536", "gw.{parent}:x", "a.b:1:2"]
    {
        assert!(matches!(port(wrong), Err(BoxError::Port(_))), "{wrong}");
    }
    assert!(matches!(port("gw"), Err(BoxError::Template(TemplateError::TopLevel))));
}

fn box_templates() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[a-z]{1,3}\\{label\\}\\.\\{parent\\}",
        "\\{label\\}[a-z]{1,3}\\.\\{parent\\}",
        "[a-z]{1,3}\\.\\{name\\}",
        "[a-z]{1,3}\\.\\{parent\\}",
        "[a-z]{1,3}\\.\\{name\\}\\.x",
        "\\{label\\}\\.[a-z]{1,3}",
        "[a-z]{1,3}\\.[a-z]{1,3}",
    ];
    text.prop_map(|text| text.to_string())
}

/// The template's text happens to be the zone's own.
#[test]
fn what_is_made_of_the_zone_s_own_name_is_known() {
    for host in ["c.{parent}", "x.c.{parent}"] {
        let one = try_emulation(&["c"], host, &["a.{name}.x"]).expect("sound");
        let all = Emulations::new(vec![one]);
        let names = all.names(&name("c")).expect("names");
        assert!(all.makes(&names.host), "{host}");
    }
}

proptest! {
    /// So there are no questions without end: whatever is asked because of a name is known.
    #[test]
    fn what_is_asked_for_is_never_followed_up(
        zone in "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}",
        boxes in prop::collection::vec(box_templates(), 1..4),
        host in box_templates(),
        labels in prop::collection::vec("[a-z]{1,4}", 0..4),
    ) {
        let boxes: Vec<&str> = boxes.iter().map(String::as_str).collect();
        let Ok(one) = try_emulation(&[&zone], &host, &boxes) else { return Ok(()) };
        let all = Emulations::new(vec![one]);
        let of = name(&[labels, vec![zone]].concat().join("."));
        if let Some(names) = all.names(&of) {
            prop_assert!(all.makes(&names.host));
            prop_assert!(names.boxes.iter().all(|(name, _)| all.makes(name)));
        }
    }

    /// Names that look like nobody's box are followed up, whatever the templates are.
    #[test]
    fn other_names_are_followed_up(
        zone in "[a-c]{1,2}\\.[a-c]{1,2}",
        boxes in prop::collection::vec(box_templates(), 1..4),
    ) {
        let boxes: Vec<&str> = boxes.iter().map(String::as_str).collect();
        let Ok(one) = try_emulation(&[&zone], "{name}", &boxes) else { return Ok(()) };
        let of = name(&format!("0-0.{zone}"));
        prop_assert!(!Emulations::new(vec![one]).makes(&of));
    }
}
