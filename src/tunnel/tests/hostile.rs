//! What peers must not be able to do (SECURITY.md).

use proptest::prelude::*;

use crate::counters::Counter;
use crate::tunnel::{Fate, Origin};
use crate::wire::tests::{echo, tcp_syn, udp};

use super::net::*;

const A: &str = "198.51.100.10:3456";
const Y: &str = "203.0.113.1:100";

/// A client with one flow to B, and the genuine reply to it.
fn client_with_flow() -> (Peer, Vec<u8>) {
    let a = Peer::new("198.51.100.10");
    let b = crate::wire::Endpoint { addr: a.map("203.0.113.1:100 192.168.0.2"), port: 80 };
    let outer = a.send(udp(at("127.0.0.1:3456"), b, b"x"), START).expect("sent");
    (a, answer(&outer[28..]))
}

#[test]
fn only_the_exact_reverse_of_a_flow_is_delivered() {
    let (a, genuine) = client_with_flow();
    assert!(a.receive(udp(at(Y), at(A), &genuine), START).is_ok());
    let stray = dropped(Counter::ClientStrayReply);
    let from =
        |outer: &str, to: &str, inner: Vec<u8>| a.receive(udp(at(outer), at(to), &inner), START);
    assert_eq!(from("203.0.113.9:100", A, genuine.clone()), stray, "another gateway");
    assert_eq!(from("203.0.113.1:101", A, genuine.clone()), stray, "another port of it");
    assert_eq!(from(Y, "198.51.100.10:22", genuine.clone()), stray, "another port here");
    let inner = |src: &str, dst: &str| udp(at(src), at(dst), b"x");
    assert_eq!(from(Y, A, inner("192.168.0.9:80", A)), stray, "another host behind it");
    assert_eq!(from(Y, A, inner("192.168.0.2:81", A)), stray, "another service of the host");
    assert_eq!(from(Y, A, inner("192.168.0.2:80", "127.0.0.1:3456")), stray, "loopback by name");
    assert_eq!(
        from(Y, A, inner("192.168.0.2:80", "198.51.100.10:22")),
        stray,
        "another service here"
    );
    assert_eq!(from(Y, A, tcp_syn(at("192.168.0.2:80"), at(A), &[])), stray, "another protocol");
    let extra = udp(at(Y), at(A), &genuine);
    assert_eq!(from(Y, A, extra), stray, "one level too many");
}

#[test]
fn a_middle_level_must_be_the_right_box() {
    let a = Peer::new("198.51.100.10");
    let b = crate::wire::Endpoint { addr: a.map("203.0.113.1 10.0.0.9 192.168.0.2"), port: 80 };
    let outer = a.send(udp(at("127.0.0.1:3456"), b, b"x"), START).expect("sent");
    let genuine = answer(&outer[56..]);
    let through = |middle: &str| {
        let middle = udp(at(middle), at(A), &genuine);
        a.receive(udp(at(Y), at(A), &middle), START)
    };
    assert_eq!(through("10.0.0.8:100"), dropped(Counter::ClientStrayReply));
    assert!(through("10.0.0.9:100").is_ok());
}

#[test]
fn only_exports_are_reached() {
    let y = gateway_with(&["203.0.113.1", "192.168.0.1"], |s| {
        s.exports[0].protocol = Some(17);
        s.exports[0].ports = vec![80..=80];
    });
    let to =
        |dst: &str| arrive(&y, udp(at(A), at(Y), &udp(at("10.0.0.5:9"), at(dst), b"x")), START);
    assert!(to("192.168.0.2:80").is_ok());
    for dst in [
        "192.168.0.2:22",
        "192.168.1.2:80",
        "203.0.113.77:80",
        "127.0.0.1:80",
        "224.0.0.251:80",
        "192.168.0.255:80",
        "192.168.0.0:80",
    ] {
        assert_eq!(to(dst), dropped(Counter::GatewayNotExported), "{dst}");
    }
    assert_eq!(to("192.168.0.1:80"), dropped(Counter::GatewayOwnAddress));
    let ping = echo(at("10.0.0.5:9"), at("192.168.0.2:0"), b"x");
    assert_eq!(arrive(&y, udp(at(A), at(Y), &ping), START), dropped(Counter::GatewayNotExported));
}

#[test]
fn an_own_address_is_reached_only_where_it_is_listed_by_itself() {
    let y = gateway_with(&["203.0.113.1", "192.168.0.1"], |s| {
        s.exports = vec![export("192.168.0.1/32")]
    });
    let inner = udp(at("10.0.0.5:9"), at("192.168.0.1:80"), b"x");
    assert!(arrive(&y, udp(at(A), at(Y), &inner), START).is_ok());
}

#[test]
fn outer_sources_that_cannot_be_clients() {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let inner = udp(at("10.0.0.5:9"), at("192.168.0.2:80"), b"x");
    for src in [
        "127.0.0.1:5",
        "224.0.0.1:5",
        "255.255.255.255:5",
        "0.0.0.0:5",
        "192.168.0.9:5",
        "203.0.113.1:5",
        "198.51.100.1:0",
        "169.254.1.1:5",
    ] {
        let outer = udp(at(src), at(Y), &inner);
        assert_eq!(arrive(&y, outer, START), dropped(Counter::GatewayBadOuterSource), "{src}");
    }
}

/// With one host exported, its neighbours are still inside; nesting is what the setting is for.
#[test]
fn inside_neighbours_are_no_outer_sources() {
    let from = |src: &str, y: &crate::tunnel::Gateway<World>| {
        let inner = udp(at("10.0.0.5:9"), at("203.0.113.130:80"), b"x");
        arrive(y, udp(at(src), at(Y), &inner), START)
    };
    let exports =
        |s: &mut crate::tunnel::gateway::Settings| s.exports = vec![export("203.0.113.130/32")];
    let inside = vec!["203.0.113.128/25".parse().expect("a prefix")];
    let y = gateway_in(World { inside, ..World::default() }, exports);
    assert_eq!(from("203.0.113.131:5", &y), dropped(Counter::GatewayBadOuterSource));
    assert!(from("203.0.113.3:5", &y).is_ok());
    let y = gateway_with(&[], |s| {
        exports(s);
        s.inside_sources = vec!["10.0.0.0/8".parse().expect("a prefix")];
    });
    assert!(from("10.1.1.1:5", &y).is_ok());
    assert_eq!(from("192.168.1.1:5", &y), dropped(Counter::GatewayBadOuterSource));
}

/// Clients of the network behind a hairpin have inside addresses. Those outside still do not.
#[test]
fn inside_sources_come_through_a_hairpin_only() {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let through = |interface: u32, src: &str| {
        let inner = udp(at("192.168.0.7:9"), at("192.168.0.2:80"), b"x");
        y.incoming(&mut udp(at(src), at(Y), &inner), interface, START)
    };
    let inside = "192.168.0.7:5";
    assert_eq!(through(OUTSIDE, inside), Fate::Dropped(Counter::GatewayBadOuterSource));
    assert!(matches!(through(HAIRPIN, inside), Fate::Decapsulated { .. }));
    for forged in ["192.168.0.1:5", "127.0.0.1:5", "224.0.0.1:5", "10.0.0.5:5"] {
        let fate = through(HAIRPIN, forged);
        assert_eq!(fate, Fate::Dropped(Counter::GatewayBadOuterSource), "{forged}");
    }
}

/// ICMP errors and the like name no flow, so one with identifier 0 must not let them in.
#[test]
fn icmp_errors_do_not_pass_for_queries() {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let query = echo(at("10.0.0.5:0"), at("192.168.0.2:0"), b"quoted packet");
    let arrives = |inner: &[u8]| arrive(&y, udp(at(A), at(Y), inner), START);
    let forwarded = arrives(&query).expect("a query opens a flow");
    for kind in [3, 5, 11, 40, 253] {
        let mut error = query.clone();
        error[20] = kind;
        assert_eq!(arrives(&error), dropped(Counter::IcmpError), "type {kind}");
        let mut back = answer(&forwarded);
        back[20] = kind;
        assert_eq!(reply(&y, back, START), dropped(Counter::IcmpError), "type {kind}");
    }
}

#[test]
fn nothing_opens_a_connection_from_outside() {
    let a = Peer::new("198.51.100.10");
    let b = crate::wire::Endpoint { addr: a.map("203.0.113.1:100 192.168.0.2"), port: 80 };
    let outer = a.send(tcp_syn(at("127.0.0.1:3456"), b, &[]), START).expect("sent");
    let (src, dst) = ends(&outer[28..]);
    let syn = || udp(at(Y), at(A), &tcp_syn(dst, src, &[]));
    assert!(a.receive(syn(), START).is_ok(), "simultaneous open (RFC 5382 REQ-2)");
    assert_eq!(a.receive(syn(), START), dropped(Counter::ClientOpening));
}

/// The daemon is root, but an unprivileged ping chooses its identifier.
#[test]
fn identifiers_and_privileged_ports_are_not_asked_for() {
    let a = Peer::new("198.51.100.10");
    let b = crate::wire::Endpoint { addr: a.map("203.0.113.1:100 192.168.0.2"), port: 0 };
    for packet in [echo(at("127.0.0.1:5353"), b, b"x"), udp(at("127.0.0.1:53"), b, b"x")] {
        assert!(ends(&a.send(packet, START).expect("sent")).0.port >= 40_000);
    }
}

#[test]
fn inner_sources_that_cannot_be_hosts() {
    let y = gateway(&["203.0.113.1"]);
    for src in ["127.0.0.1:5", "224.0.0.1:5", "0.0.0.0:5"] {
        let outer = udp(at(A), at(Y), &udp(at(src), at("192.168.0.2:80"), b"x"));
        assert_eq!(arrive(&y, outer, START), dropped(Counter::GatewayBadInnerSource), "{src}");
    }
}

#[test]
fn malformed_inner_packets() {
    let y = gateway(&["203.0.113.1"]);
    let good = udp(at("10.0.0.5:9"), at("192.168.0.2:80"), b"payload");
    let carried = |inner: &[u8]| arrive(&y, udp(at(A), at(Y), inner), START);
    assert_eq!(carried(&[]), dropped(Counter::Malformed));
    assert_eq!(carried(&[0xff]), dropped(Counter::KeepalivesReceived));
    assert_eq!(carried(&good[..good.len() - 1]), dropped(Counter::Malformed));
    assert_eq!(carried(&[&good[..], &[0]].concat()), dropped(Counter::Malformed));
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        carried(&bytes)
    };
    assert_eq!(changed(0, 0x65), dropped(Counter::Malformed), "not IPv4");
    assert_eq!(changed(0, 0x44), dropped(Counter::Malformed), "IHL below 5");
    assert_eq!(changed(0, 0x46), dropped(Counter::InnerOptions));
    assert_eq!(changed(6, 0x20), dropped(Counter::Fragment));
    assert_eq!(changed(7, 0x01), dropped(Counter::Fragment));
    assert_eq!(changed(8, 0), dropped(Counter::TtlExpired));
    assert_eq!(changed(25, 99), dropped(Counter::Malformed), "UDP length");
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), wrap in 0usize..4) {
        let (a, genuine) = client_with_flow();
        let y = gateway(&["203.0.113.1"]);
        let mut packet = bytes;
        for _ in 0..wrap {
            packet = udp(at(Y), at(A), &packet);
        }
        let _ = a.receive(packet.clone(), START);
        let _ = arrive(&y, packet.clone(), START);
        let _ = reply(&y, packet.clone(), START);
        let _ = a.send(packet, START);
        prop_assert!(a.receive(udp(at(Y), at(A), &genuine), START).is_ok(), "the flow goes on");
    }

    /// A genuine packet with one octet changed is delivered only if every field that names the
    /// flow is as it was.
    #[test]
    fn a_changed_octet_never_reaches_another_endpoint(at_octet in 0usize..57, value: u8) {
        let (a, genuine) = client_with_flow();
        let mut packet = udp(at(Y), at(A), &genuine);
        packet[at_octet] = value;
        let mut sent = packet.clone();
        let fate = a.client.incoming(&mut sent, Origin::Here, START);
        if let crate::tunnel::Fate::Decapsulated { skip, .. } = fate {
            prop_assert_eq!(ends(&sent[skip..]).1, at("127.0.0.1:3456"));
        }
    }
}
