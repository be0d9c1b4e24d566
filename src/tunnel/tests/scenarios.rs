//! The paper's figures, packet by packet.

use std::time::Duration;

use proptest::prelude::*;

use crate::counters::Counter;
use crate::tunnel::{PortKind, client, lifetime};
use crate::wire::datagram::protocol::{DCCP, SCTP, UDP_LITE};
use crate::wire::tests::{echo, raw, segment, tcp, tcp_syn, udp};
use crate::wire::{Datagram, Endpoint};

use super::net::*;

const PATH: &str = "203.0.113.1:100 192.168.0.2";

fn mapped(peer: &Peer, path: &str, port: u16) -> Endpoint {
    Endpoint { addr: peer.map(path), port }
}

/// ```text
/// A 198.51.100.10 ------- Y 203.0.113.1 | 192.168.0.1 ------- B 192.168.0.2
/// ```
#[test]
fn figure_1_client_on_the_public_internet() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let (app, b) = (at("127.0.0.1:3456"), mapped(&a, PATH, 80));

    let outer = a.send(udp(app, b, b"question"), START).expect("encapsulated");
    assert_eq!(ends(&outer), (at("198.51.100.10:3456"), at("203.0.113.1:100")));
    let inner = arrive(&y, outer, START).expect("decapsulated");
    assert_eq!(inner, udp(at("198.51.100.10:3456"), at("192.168.0.2:80"), b"question"));
    let back = reply(&y, answer(&inner), START).expect("encapsulated");
    assert_eq!(ends(&back), (at("203.0.113.1:100"), at("198.51.100.10:3456")));
    let delivered = a.receive(back, START).expect("decapsulated");
    assert_eq!(delivered, udp(b, app, b"question"));
}

/// ```text
/// A 192.168.0.2 --- 192.168.0.1 | X 198.51.100.20 --- Y 203.0.113.1 | --- B 192.168.0.2
/// ```
#[test]
fn figure_2_behind_a_legacy_nat_with_the_same_private_address() {
    let (a, y) = (Peer::new("192.168.0.2"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let mut x = LegacyNat::new("198.51.100.20");
    let (app, b) = (at("127.0.0.1:3456"), mapped(&a, PATH, 80));

    for packet in
        [udp(app, b, b"hello"), tcp_syn(app, b, &[]), echo(app, Endpoint { port: 0, ..b }, b"ping")]
    {
        let expected = answer(&packet);
        let outer = x.out(a.send(packet, START).expect("encapsulated"));
        let x_port = ends(&outer).0.port;
        let inner = arrive(&y, outer, START).expect("decapsulated");
        let seen = Endpoint { addr: "198.51.100.20".parse().expect("X"), port: x_port };
        assert_eq!(ends(&inner).0, seen, "B sees X:x");
        let back = x.back(reply(&y, answer(&inner), START).expect("encapsulated"));
        let delivered = a.receive(back, START).expect("decapsulated");
        assert_eq!(ends(&delivered), ends(&expected));
        assert_eq!(delivered[28..], expected[28..], "checked by its checksums, and byte by byte");
    }
}

/// ```text
/// A --- Y 203.0.113.1 | 10.0.0.1 --- T 10.0.0.9 | 192.168.0.1 --- B 192.168.0.2
/// ```
#[test]
fn figure_3_nested_gateways() {
    let a = Peer::new("198.51.100.10");
    let y = gateway_with(&["203.0.113.1", "10.0.0.1"], |s| s.exports = vec![export("10.0.0.0/24")]);
    let t = gateway(&["10.0.0.9", "192.168.0.1"]);
    let b = mapped(&a, "203.0.113.1:100 10.0.0.9:100 192.168.0.2", 80);
    let app = at("127.0.0.1:3456");

    let outer = a.send(udp(app, b, b"deep"), START).expect("two levels");
    let middle = arrive(&y, outer, START).expect("peeled");
    assert_eq!(ends(&middle), (at("198.51.100.10:3456"), at("10.0.0.9:100")));
    let inner = arrive(&t, middle, START).expect("peeled");
    assert_eq!(ends(&inner), (at("198.51.100.10:3456"), at("192.168.0.2:80")));
    let back = reply(&t, answer(&inner), START).expect("encapsulated");
    let back = reply(&y, back, START).expect("encapsulated again");
    assert_eq!(a.receive(back, START).expect("both levels taken off"), udp(b, app, b"deep"));
}

/// Every protocol, through both kinds of box, and twice: the second flow from X must get another port.
/// `send`, `arrive` and the rest verify all checksums on the way.
#[test]
fn every_transport_protocol() {
    let (a, y) = (Peer::new("192.168.0.2"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let mut x = LegacyNat::new("198.51.100.20");
    let app = at("127.0.0.1:3456");
    let b = mapped(&a, PATH, 80);
    let portless = |end: Endpoint| Endpoint { port: 0, ..end };
    for packet in [
        segment(SCTP, app, b, b"chunks", 0),
        segment(DCCP, app, b, b"data!", 0),
        segment(UDP_LITE, app, b, b"covered, not covered", 7),
        segment(UDP_LITE, app, b, b"all", 0),
        raw(47, portless(app), portless(b), b"\x00\x00\x08\x00GRE"),
        raw(50, portless(app), portless(b), b"ESP"),
        raw(253, portless(app), portless(b), b""),
    ] {
        let expected = answer(&packet);
        let inner = arrive(&y, x.out(a.send(packet, START).expect("sent")), START).expect("in");
        assert_eq!(ends(&inner).0.addr, at("198.51.100.20:0").addr, "B sees X");
        let back = x.back(reply(&y, answer(&inner), START).expect("encapsulated"));
        assert_eq!(a.receive(back, START), Ok(expected));
    }
}

/// Two clients behind one X have no port that could tell them apart; neither gets the other's answers.
#[test]
fn a_protocol_without_ports_is_for_one_client_at_a_time() {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let inner = |from: &str| raw(47, at(from), at("192.168.0.2:0"), b"GRE");
    let from = |x: &str, client: &str| {
        arrive(&y, udp(at(x), at("203.0.113.1:100"), &inner(client)), START)
    };
    from("198.51.100.20:1000", "192.168.0.2:0").expect("the first");
    let second = from("198.51.100.20:1001", "192.168.0.3:0");
    assert_eq!(second, dropped(Counter::GatewayConflict));
    from("198.51.100.21:1001", "192.168.0.3:0").expect("from another X");
    let later = START + lifetime::OTHER_UNANSWERED;
    y.expire(later);
    let again = udp(at("198.51.100.20:1001"), at("203.0.113.1:100"), &inner("192.168.0.3:0"));
    arrive(&y, again, later).expect("once the first has gone");
}

#[test]
fn two_clients_with_the_same_private_address_are_told_apart() {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let mut nats = [LegacyNat::new("198.51.100.20"), LegacyNat::new("198.51.100.21")];
    let peers = [Peer::new("192.168.0.2"), Peer::new("192.168.0.2")];
    let app = at("127.0.0.1:3456");
    let inner: Vec<_> = peers
        .iter()
        .zip(&mut nats)
        .map(|(a, x)| {
            let outer = x.out(a.send(udp(app, mapped(a, PATH, 80), b"x"), START).expect("sent"));
            arrive(&y, outer, START).expect("decapsulated")
        })
        .collect();
    for (index, (a, x)) in peers.iter().zip(&nats).enumerate() {
        let back = reply(&y, answer(&inner[index]), START).expect("encapsulated");
        assert_eq!(ends(&a.receive(x.back(back), START).expect("its own")).1, app);
    }
}

#[test]
fn two_servers_with_the_same_private_address_are_told_apart() {
    let a = Peer::new("198.51.100.10");
    let first = mapped(&a, PATH, 80);
    let second = mapped(&a, "203.0.113.2:100 192.168.0.2", 80);
    assert_ne!(first, second);
    let app = at("127.0.0.1:3456");
    let to = |b| ends(&a.send(udp(app, b, b"x"), START).expect("sent")).1;
    assert_eq!(to(first), at("203.0.113.1:100"));
    assert_eq!(to(second), at("203.0.113.2:100"));
}

/// RFC 4787 REQ-1: one outer port per inner endpoint, whatever the destination.
#[test]
fn mapping_is_endpoint_independent() {
    let a = Peer::new("198.51.100.10");
    a.world.taken.lock().expect("no panic").insert((PortKind::Udp, 3456));
    let app = at("127.0.0.1:3456");
    let to = |b| ends(&a.send(udp(app, b, b"x"), START).expect("sent")).0;
    let first = to(mapped(&a, PATH, 80));
    assert_ne!(first.port, 3456, "somebody else has it");
    assert_eq!(to(mapped(&a, PATH, 81)), first);
    assert_eq!(to(mapped(&a, "203.0.113.2 192.168.0.7", 9)), first);
}

/// A collision of X:x gets another port and still works.
#[test]
fn a_taken_endpoint_gets_another_port() {
    let y = gateway(&["203.0.113.1"]);
    let inner_by = |private: &str| {
        let a = Peer::new(private);
        let mut x = LegacyNat::new("198.51.100.20");
        let packet = a.send(udp(at("127.0.0.1:3456"), mapped(&a, PATH, 80), b"x"), START);
        arrive(&y, x.out(packet.expect("sent")), START).expect("decapsulated")
    };
    let (first, second) = (ends(&inner_by("192.168.0.2")), ends(&inner_by("192.168.0.3")));
    assert_eq!(first.0, at("198.51.100.20:5000"));
    assert_eq!(second.0.addr, first.0.addr);
    assert_ne!(second.0.port, first.0.port);
}

/// The outer source may be forged. Nobody opens a flow in the name of a server that hosts ask from any port of
/// theirs (DNS, HTTPS): what they send there would be taken for an answer.
#[test]
fn no_flow_looks_like_one_to_a_well_known_port() {
    let y = gateway(&["203.0.113.1"]);
    let (inner, b) = (at("10.0.0.1:5000"), at("192.168.0.2:40000"));
    let seen = |outer: &str, packet: Vec<u8>| {
        let arrived = arrive(&y, udp(at(outer), at("203.0.113.1:100"), &packet), START);
        ends(&arrived.expect("decapsulated")).0
    };
    for port in [1, 53, 443, 1023] {
        for packet in
            [udp(inner, b, b"x"), tcp_syn(inner, b, &[]), segment(SCTP, inner, b, b"some", 0)]
        {
            let peer = seen(&format!("198.51.100.53:{port}"), packet);
            assert_eq!(peer.addr, at("198.51.100.53:0").addr);
            assert!(peer.port >= 1024, "{peer:?} of {port}");
        }
    }
    assert_eq!(seen("198.51.100.53:1024", udp(inner, b, b"x")).port, 1024);
    // The answer to it finds its way.
    let peer = seen("198.51.100.54:53", udp(inner, b, b"x"));
    let back = reply(&y, udp(b, peer, b"y"), START).expect("sent back");
    assert_eq!((ends(&back).1, ends(&back[28..]).1), (at("198.51.100.54:53"), inner));
    // An identifier is no port.
    let ping = echo(at("10.0.0.1:7"), Endpoint { port: 0, ..b }, b"ping");
    assert_eq!(seen("198.51.100.53:53", ping).port, 53);
}

#[test]
fn expired_flows_are_dropped_not_leaked() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
    let packet = udp(at("127.0.0.1:3456"), mapped(&a, PATH, 80), b"x");
    let inner = arrive(&y, a.send(packet.clone(), START).expect("sent"), START).expect("arrived");
    let back = reply(&y, answer(&inner), START).expect("in time");
    let late = START + lifetime::UDP;
    assert_eq!(reply(&y, answer(&inner), late), dropped(Counter::GatewayNoFlow));
    assert_eq!(
        a.receive(back.clone(), START + lifetime::UDP_UNANSWERED),
        dropped(Counter::ClientStale)
    );
    assert_eq!((a.client.expire(late), y.expire(late)), (1, 1));
    assert_eq!((a.client.usage().0, y.usage().0), (0, 0));
    assert_eq!(a.receive(back, late), dropped(Counter::ClientStrayReply));
    assert!(a.world.taken.lock().expect("no panic").is_empty(), "its port is free again");
}

#[test]
fn keepalives_go_through_every_level_while_a_flow_lives() {
    let a = Peer::new("198.51.100.10");
    let y = gateway_with(&["203.0.113.1"], |s| s.exports = vec![export("10.0.0.0/24")]);
    let t = gateway(&["10.0.0.9"]);
    let b = mapped(&a, "203.0.113.1:100 10.0.0.9:100 192.168.0.2", 80);
    let outer = a.send(udp(at("127.0.0.1:3456"), b, b"x"), START).expect("sent");
    arrive(&t, arrive(&y, outer, START).expect("peeled"), START).expect("peeled");
    assert!(a.client.keepalives(START + Duration::from_secs(19)).is_empty());
    let due = START + Duration::from_secs(20);
    let keepalive = a.client.keepalives(due).pop().expect("due");
    assert!(a.client.keepalives(due).is_empty(), "once");
    let client::Body::Payload(payload) = keepalive.body else {
        panic!("the kernel writes the rest")
    };
    let from = at("198.51.100.10:3456");
    let outer = udp(from, at("203.0.113.1:100"), &payload);
    let middle = arrive(&y, outer, due).expect("peeled");
    assert_eq!(arrive(&t, middle, due), dropped(Counter::KeepalivesReceived));
    assert!(a.client.keepalives(START + lifetime::UDP).is_empty(), "the flow has ended");
}

#[test]
fn the_outer_source_follows_the_route() {
    let a = Peer::new("198.51.100.10");
    let packet = udp(at("127.0.0.1:3456"), mapped(&a, PATH, 80), b"x");
    a.send(packet.clone(), START).expect("sent");
    *a.world.source.lock().expect("no panic") = Some("198.51.100.77".parse().expect("an address"));
    a.world.epoch.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let outer = a.send(packet, START).expect("sent");
    assert_eq!(ends(&outer).0, at("198.51.100.77:3456"));
}

/// What comes from another address, or from another port of a NAT on the way, is another client's: B, which
/// knows no such connection, resets it, and the application is told.
#[test]
fn a_client_that_moves_is_another_client_to_the_host() {
    const ACK: u8 = 0x10;
    const RST: u8 = 0x04;
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
    let (app, b) = (at("127.0.0.1:3456"), mapped(&a, PATH, 80));
    let send = |packet| {
        arrive(&y, a.send(packet, START).expect("encapsulated"), START).expect("decapsulated")
    };
    let syn = send(tcp_syn(app, b, &[]));
    a.receive(reply(&y, answer(&syn), START).expect("encapsulated"), START).expect("delivered");
    *a.world.source.lock().expect("no panic") = Some("198.51.100.77".parse().expect("an address"));
    a.world.epoch.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let segment = send(tcp(app, b, ACK));
    assert_eq!(ends(&segment), (at("198.51.100.77:3456"), ends(&syn).1));
    assert_eq!(y.usage().0, 2, "flows");
    let (client, host) = ends(&segment);
    let reset = reply(&y, tcp(host, client, RST), START).expect("encapsulated");
    assert_eq!(a.receive(reset, START).map(|reset| ends(&reset)), Ok((b, app)));
}

#[test]
fn nested_replies_are_known_after_a_change_of_address() {
    let a = Peer::new("198.51.100.10");
    let b = mapped(&a, "203.0.113.1 10.0.0.9 192.168.0.2", 80);
    let packet = udp(at("127.0.0.1:3456"), b, b"x");
    let answers = |outer: &[u8]| {
        let middle = udp(ends(&outer[28..]).1, ends(&outer[28..]).0, &answer(&outer[56..]));
        udp(ends(outer).1, ends(outer).0, &middle)
    };
    let before = answers(&a.send(packet.clone(), START).expect("sent"));
    *a.world.source.lock().expect("no panic") = Some("198.51.100.77".parse().expect("an address"));
    a.world.epoch.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let after = answers(&a.send(packet, START).expect("sent"));
    assert!(a.receive(before, START).is_ok(), "still on its way");
    assert_eq!(a.receive(after, START).map(drop), Ok(()));
}

#[test]
fn congestion_on_any_level_reaches_the_application() {
    let a = Peer::new("198.51.100.10");
    let b = mapped(&a, "203.0.113.1 10.0.0.9 192.168.0.2", 80);
    let mut packet = udp(at("127.0.0.1:3456"), b, b"x");
    Datagram::parse(&packet).expect("well formed").set_traffic_class(&mut packet, 0x02);
    let outer = a.send(packet, START).expect("sent");
    for marked in 0..2 {
        let mut back = answer(&outer[56..]);
        for level in (0..2).rev() {
            back = udp(ends(&outer[28 * level..]).1, ends(&outer[28 * level..]).0, &back);
            let class = if level == marked { 0x03 } else { 0x02 };
            Datagram::parse(&back).expect("well formed").set_traffic_class(&mut back, class);
        }
        let delivered = a.receive(back, START).expect("delivered");
        assert_eq!(Datagram::parse(&delivered).expect("well formed").traffic_class, 0x03);
    }
}

/// When a name's records change, its host gets another mapped address; a socket goes on.
#[test]
fn a_socket_goes_on_when_the_records_of_a_name_change() {
    let a = Peer::new("198.51.100.10");
    let app = at("127.0.0.1:5060");
    let before = mapped(&a, PATH, 5060);
    // So that the old path is taken again.
    a.world.unreachable.lock().expect("no panic").insert("203.0.113.9".parse().expect("a box"));
    let paths = [PATH, "203.0.113.9 192.168.0.2"].map(|path| path.parse().expect("a path"));
    let paths = crate::path::PathSet::new(paths.to_vec()).expect("two paths");
    let addr = a.mappings.map("b.example", &paths, Duration::from_secs(60), START).expect("free");
    let after = Endpoint { addr, port: 5060 };
    assert_ne!(before, after);
    a.send(udp(app, before, b"x"), START).expect("sent");
    let outer = a.send(udp(app, after, b"x"), START).expect("sent to the new address");
    let back = udp(ends(&outer).1, ends(&outer).0, &answer(&outer[28..]));
    assert_eq!(ends(&a.receive(back, START).expect("delivered")).0, after);
    assert_eq!(a.client.usage().0, 1);
}

#[test]
fn congestion_and_class_survive() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
    let mut packet = udp(at("127.0.0.1:3456"), mapped(&a, PATH, 80), b"x");
    Datagram::parse(&packet).expect("well formed").set_traffic_class(&mut packet, 0xba);
    let mut outer = a.send(packet, START).expect("sent");
    let mut header = Datagram::parse(&outer).expect("well formed");
    assert_eq!(header.traffic_class, 0xba, "copied (RFC 6040 §4.1)");
    header.set_traffic_class(&mut outer, 0xbb);
    let inner = arrive(&y, outer, START).expect("arrived");
    assert_eq!(Datagram::parse(&inner).expect("well formed").traffic_class, 0xbb);
}

#[test]
fn both_syns_are_clamped_on_both_sides() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
    let jumbo = [2, 4, 0xff, 0xd7];
    let mss =
        |packet: &[u8]| u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]]);
    let outer =
        a.send(tcp_syn(at("127.0.0.1:3456"), mapped(&a, PATH, 80), &jumbo), START).expect("sent");
    assert_eq!(mss(&outer), 1432);
    let inner = arrive(&y, outer, START).expect("arrived");
    let (b, x) = (ends(&inner).1, ends(&inner).0);
    let back = reply(&y, tcp_syn(b, x, &jumbo), START).expect("sent");
    assert_eq!(mss(&back), 1432);
}

#[test]
fn what_cannot_be_sent_is_rejected_so_that_the_application_learns_it() {
    let a = Peer::with_cap("198.51.100.10", 1);
    let app = at("127.0.0.1:3456");
    let send = |to| a.send(udp(app, to, b"x"), START);
    assert_eq!(send(at("127.64.9.9:80")), rejected(Counter::ClientUnmapped));
    assert_eq!(send(mapped(&a, "198.51.100.10 192.168.0.2", 80)), rejected(Counter::ClientLoop));
    let b = mapped(&a, PATH, 80);
    let route = a.world.source.lock().expect("no panic").take();
    assert_eq!(send(b), rejected(Counter::ClientNoRoute));
    *a.world.source.lock().expect("no panic") = route;
    let outer = send(b).expect("now it works");
    let inner_reply = answer(&outer[28..]);
    let back = udp(at("203.0.113.1:100"), at("198.51.100.10:3456"), &inner_reply);
    a.receive(back, START).expect("answered");
    assert_eq!(send(mapped(&a, PATH, 81)), rejected(Counter::ClientFlowsFull));
}

#[test]
fn one_source_cannot_fill_the_gateway() {
    let a = Peer::new("198.51.100.10");
    let y = gateway_with(&["203.0.113.1"], |s| s.max_flows_per_source = 2);
    let from = |peer: &Peer, port| {
        let app = Endpoint { port, ..at("127.0.0.1:0") };
        arrive(&y, peer.send(udp(app, mapped(peer, PATH, 80), b"x"), START).expect("sent"), START)
    };
    assert!(from(&a, 1001).is_ok() && from(&a, 1002).is_ok());
    assert_eq!(from(&a, 1003), dropped(Counter::GatewaySourceFull));
    assert!(from(&a, 1001).is_ok(), "what is open goes on");
    assert!(from(&Peer::new("198.51.100.11"), 1003).is_ok(), "others are not affected");
    y.expire(START + lifetime::UDP);
    assert!(from(&a, 1003).is_ok());
}

#[test]
fn unanswered_flows_make_room() {
    let y = gateway_with(&["203.0.113.1"], |s| s.max_flows = 200);
    let a = Peer::new("198.51.100.10");
    for port in 1..=900 {
        let app = Endpoint { port, ..at("127.0.0.1:0") };
        let outer = a.send(udp(app, mapped(&a, PATH, 80), b"x"), START).expect("sent");
        let _ = arrive(&y, outer, START);
    }
    assert_eq!(y.usage().0, 200);
    assert!(y.evicted() > 0);
}

proptest! {
    /// Encapsulation followed by decapsulation is the identity on the payload.
    #[test]
    fn there_and_back_is_the_identity(
        payload in prop::collection::vec(any::<u8>(), 0..1500),
        app_port in 1u16.., port in 1u16.., advance in 0u64..119,
    ) {
        let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
        let mut x = LegacyNat::new("198.51.100.20");
        let (app, b) = (Endpoint { port: app_port, ..at("127.0.0.1:0") }, mapped(&a, PATH, port));
        let later = START + Duration::from_secs(advance);
        let inner = arrive(&y, x.out(a.send(udp(app, b, &payload), START).expect("sent")), START).expect("arrived");
        let back = x.back(reply(&y, answer(&inner), later).expect("encapsulated"));
        prop_assert_eq!(a.receive(back, later).expect("delivered"), udp(b, app, &payload));
    }
}
