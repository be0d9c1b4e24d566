//! ICMP errors on every leg of the tunnel.

use std::time::Duration;

use proptest::prelude::*;

use crate::counters::Counter;
use crate::tunnel::{Fate, Gateway, lifetime};
use crate::wire::tests::{echo, icmp_error, tcp_syn, udp};
use crate::wire::{Datagram, Endpoint};

use super::net::*;

const PATH: &str = "203.0.113.1:100 192.168.0.2";
const DEEP: &str = "203.0.113.1:100 10.0.0.9:100 192.168.0.2";
const ROUTER: &str = "10.9.9.9:0";

fn app() -> Endpoint {
    at("127.0.0.1:3456")
}

fn kinds(to: Endpoint) -> [Vec<u8>; 3] {
    [
        udp(app(), to, b"question"),
        tcp_syn(app(), to, &[2, 4, 2, 24]),
        echo(app(), Endpoint { port: 0, ..to }, b"ping"),
    ]
}

/// `reporter` says about `packet`, to whoever sent it.
fn error(reporter: &str, packet: &[u8], octets: usize) -> Vec<u8> {
    let to = ends(packet).0;
    icmp_error(at(reporter), to, 3, 1, [0; 4], &packet[..octets.min(packet.len())])
}

fn reporter(error: &[u8]) -> Endpoint {
    ends(error).0
}

/// The error is for the application, is from `from`, and quotes what it sent.
fn assert_delivered(delivered: &[u8], from: &str, sent: &[u8], octets: usize) {
    assert_eq!(reporter(delivered).addr.to_string(), from);
    assert_eq!(ends(delivered).1.addr, ends(sent).0.addr);
    assert_eq!(&delivered[20..22], [3, 1]);
    assert_eq!(delivered[28..], sent[..octets.min(sent.len())]);
}

fn nested() -> (Gateway<World>, Gateway<World>) {
    let y = gateway_with(&["203.0.113.1", "10.0.0.1"], |s| {
        s.exports = vec![export("10.0.0.0/24")];
        s.inside_sources = vec!["10.0.0.0/24".parse().expect("a prefix")];
    });
    (y, gateway(&["10.0.0.9", "192.168.0.1"]))
}

#[test]
fn an_error_of_the_host_s_network_reaches_the_application() {
    let mut x = LegacyNat::new("198.51.100.20");
    let (a, y) = (Peer::new("192.168.0.7"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    for packet in kinds(b) {
        let inner = arrive(&y, x.out(a.send(packet.clone(), START).expect("sent")), START);
        let inner = inner.expect("forwarded");
        for octets in [28, 36, 1000] {
            for (router, seen) in [
                ("192.168.0.1:0", "192.168.0.1"),
                ("192.168.0.2:0", &b.addr.to_string()[..]),
                ("192.168.0.7:0", &b.addr.to_string()[..]),
                ("127.0.0.1:0", &b.addr.to_string()[..]),
            ] {
                let back = reply(&y, error(router, &inner, octets), START).expect("sent back");
                let delivered = a.receive(x.back(back), START).expect("delivered");
                assert_delivered(&delivered, seen, &packet, octets);
            }
        }
    }
}

#[test]
fn an_error_of_the_application_s_host_reaches_the_peer() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    for packet in kinds(b) {
        let inner = arrive(&y, a.send(packet, START).expect("sent"), START).expect("forwarded");
        let answer = answer(&inner);
        let delivered = a.receive(reply(&y, answer.clone(), START).expect("sent"), START);
        let delivered = delivered.expect("delivered");
        let refusal = icmp_error(app(), b, 3, 3, [0; 4], &delivered);
        let outer = a.send(refusal, START).expect("sent");
        assert_eq!(ends(&outer).1, at("203.0.113.1:100"));
        let forwarded = arrive(&y, outer, START).expect("forwarded");
        assert_eq!(ends(&forwarded).0.addr, ends(&inner).0.addr, "X as B sees it");
        assert_eq!(ends(&forwarded).1.addr, at("192.168.0.2:0").addr);
        assert_eq!(forwarded[28..], answer);
    }
}

/// A router out there quotes much or little; the application sees its own packet in any case.
#[test]
fn errors_about_the_outer_packet_reach_the_application() {
    for path in [PATH, DEEP] {
        let mut x = LegacyNat::new("198.51.100.20");
        let a = Peer::new("192.168.0.7");
        let levels = path.split(' ').count() - 1;
        let b = Endpoint { addr: a.map(path), port: 80 };
        for packet in kinds(b) {
            // What X does to an error: the quoted source, and where it goes.
            let outer = a.send(packet.clone(), START).expect("sent");
            x.out(outer.clone());
            for octets in [28, 40, 28 * levels + 36, 1000] {
                let delivered = a.receive(error(ROUTER, &outer, octets), START).expect("delivered");
                let quoted = octets.saturating_sub(28 * levels).max(28);
                assert_delivered(&delivered, "10.9.9.9", &packet, quoted);
            }
        }
    }
}

#[test]
fn errors_between_nested_boxes_reach_the_application() {
    let (a, (y, t)) = (Peer::new("198.51.100.10"), nested());
    let b = Endpoint { addr: a.map(DEEP), port: 80 };
    for packet in kinds(b) {
        let middle = arrive(&y, a.send(packet.clone(), START).expect("sent"), START).expect("on");
        for octets in [28, 40, 64, 1000] {
            let back = reply(&y, error(ROUTER, &middle, octets), START).expect("sent back");
            let delivered = a.receive(back, START).expect("delivered");
            assert_delivered(&delivered, "10.9.9.9", &packet, octets.saturating_sub(28).max(28));
        }
        let inner = arrive(&t, middle, START).expect("forwarded");
        let back = reply(&t, error("192.168.0.1:0", &inner, 28), START).expect("sent back");
        let back = reply(&y, back, START).expect("sent back");
        let delivered = a.receive(back, START).expect("delivered");
        assert_delivered(&delivered, "192.168.0.1", &packet, 28);
    }
}

#[test]
fn errors_about_replies_reach_the_host() {
    let (a, (y, t)) = (Peer::new("198.51.100.10"), nested());
    let b = Endpoint { addr: a.map(DEEP), port: 80 };
    for packet in kinds(b) {
        let middle = arrive(&y, a.send(packet, START).expect("sent"), START).expect("on");
        let inner = arrive(&t, middle, START).expect("forwarded");
        let answer = answer(&inner);
        let outer = reply(&y, reply(&t, answer.clone(), START).expect("sent"), START);
        let outer = outer.expect("sent");
        let at_t = arrive(&y, error("198.51.100.99:0", &outer, 1000), START).expect("for T");
        assert_eq!(ends(&at_t).1.addr, at("10.0.0.9:0").addr);
        let at_b = arrive(&t, at_t, START).expect("for B");
        assert_eq!(reporter(&at_b).addr.to_string(), "198.51.100.99");
        assert_eq!(ends(&at_b).1.addr, at("192.168.0.2:0").addr);
        assert_eq!(at_b[28..], answer);
        let short = error("198.51.100.99:0", &outer, 28);
        assert_eq!(arrive(&y, short, START), dropped(Counter::IcmpError));
        let inside = arrive(
            &t,
            error("192.168.0.9:0", &reply(&t, answer, START).expect("sent"), 1000),
            START,
        );
        let said_by = reporter(&inside.expect("for B")).addr.to_string();
        assert_eq!(said_by, "198.51.100.10", "a neighbour of B's is not believed outside");
    }
}

#[test]
fn an_error_about_no_live_flow_is_dropped() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    let packet = udp(app(), b, b"question");
    let outer = a.send(packet.clone(), START).expect("sent");
    let inner = arrive(&y, outer.clone(), START).expect("forwarded");
    let none = dropped(Counter::IcmpError);
    let later = START + lifetime::UDP;
    let (from_outside, from_host) = (error(ROUTER, &outer, 99), error(ROUTER, &inner, 99));
    let through = reply(&y, from_host.clone(), START).expect("sent back");

    assert_eq!(a.receive(from_outside.clone(), later), none, "expired");
    assert_eq!(a.receive(error(ROUTER, &outer, 28), later), none, "expired");
    assert_eq!(a.receive(through.clone(), later), none, "expired");
    let as_it_came = Err(Fate::Passed(Counter::GatewayErrorPassed));
    assert_eq!(reply(&y, from_host, later), as_it_came, "it is about no tunnel any more");
    for changed in [12, 20, 22, 16, 40, 44, 48, 50] {
        let mut other = outer.clone();
        other[changed] ^= 1;
        assert_eq!(a.receive(error(ROUTER, &other, 99), START), none, "octet {changed}");
        if (28..48).contains(&changed) || changed < 24 && changed != 20 {
            let short = error(ROUTER, &other, 28);
            assert_eq!(a.receive(short, START).is_err(), changed < 28, "octet {changed}");
        }
    }
    let reversed = udp(ends(&outer).1, ends(&outer).0, &answer(&outer[28..]));
    assert_eq!(a.receive(error(ROUTER, &reversed, 99), START), none, "what we have received");
    let about_error = icmp_error(at(ROUTER), at("198.51.100.10:0"), 3, 1, [0; 4], &from_outside);
    assert_eq!(a.receive(about_error, START), none);
    for kind in [4, 5, 41] {
        let odd = icmp_error(at(ROUTER), at("198.51.100.10:0"), kind, 1, [0; 4], &outer);
        assert_eq!(a.receive(odd, START), none, "type {kind}");
    }
    let other_box = udp(at("203.0.113.9:100"), at("198.51.100.10:3456"), &through[28..]);
    assert_eq!(a.receive(other_box, START), none, "a gateway that the flow does not use");
    let refusal = icmp_error(app(), b, 3, 3, [0; 4], &packet);
    assert_eq!(a.send(refusal, START), none, "quotes what went out, not what came in");
    assert_eq!(a.client.usage().0, 1);
    assert_eq!(y.usage().0, 1);
}

/// The rules queue every error on its way out that connection tracking does not know.
#[test]
fn errors_about_other_packets_pass() {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let packet = udp(at("198.51.100.10:5"), at("192.168.0.2:80"), b"not through a tunnel");
    let about = |reporter| reply(&y, error(reporter, &packet, 99), START);
    for reporter in ["203.0.113.1:0", "192.168.0.2:0"] {
        assert_eq!(about(reporter), Err(Fate::Passed(Counter::GatewayErrorPassed)), "{reporter}");
    }
}

/// Also of a flow that ends in that very moment.
#[test]
fn what_this_host_says_of_tunnel_packets_stays_inside() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    let outer = a.send(udp(app(), b, b"question"), START).expect("sent");
    let inner = arrive(&y, outer, START).expect("forwarded");
    let said = |now| reply(&y, error("203.0.113.1:0", &inner, 99), now).map_err(Fate::inside);
    assert!(said(START).is_ok());
    assert_eq!(said(START + lifetime::UDP), dropped(Counter::IcmpError));
}

/// RFC 5927: who has seen none of the packet must not shrink the path.
#[test]
fn an_mtu_is_believed_only_with_the_packet_in_the_quote() {
    let a = Peer::new("198.51.100.10");
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    let outer = a.send(udp(app(), b, b"question"), START).expect("sent");
    let too_long = |octets| {
        let quote = &outer[..octets];
        icmp_error(at(ROUTER), at("198.51.100.10:0"), 3, 4, [0, 0, 5, 0], quote)
    };
    assert_eq!(a.receive(too_long(28), START), dropped(Counter::IcmpError));
    let delivered = a.receive(too_long(56), START).expect("delivered");
    assert_eq!(u16::from_be_bytes([delivered[26], delivered[27]]), 1280 - 28);
}

/// TCP believes an error only with a sequence number of its own: the last one sent.
#[test]
fn a_short_quote_is_taken_for_the_flow_that_sent_last() {
    let a = Peer::new("198.51.100.10");
    let to = |path| Endpoint { addr: a.map(path), port: 80 };
    let (b, c) = (to(PATH), to("203.0.113.1:100 192.168.0.3"));
    let second = Duration::from_secs(1);
    let mut outer = Vec::new();
    for (dst, now) in [(b, START), (c, START + second), (b, START + second + second)] {
        outer = a.send(tcp_syn(app(), dst, &[]), now).expect("sent");
    }
    let now = START + second + second;
    let delivered = a.receive(error(ROUTER, &outer, 28), now).expect("delivered");
    assert_eq!(delivered[28..], tcp_syn(app(), b, &[])[..28]);
    a.client.expire(now + lifetime::TCP_TRANSITORY);
    assert_eq!(a.receive(error(ROUTER, &outer, 28), now), dropped(Counter::IcmpError), "forgotten");
}

#[test]
fn an_error_refreshes_nothing() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    let outer = a.send(udp(app(), b, b"question"), START).expect("sent");
    let inner = arrive(&y, outer, START).expect("forwarded");
    let late = START + (lifetime::UDP_UNANSWERED - Duration::from_secs(1));
    let back = reply(&y, error(ROUTER, &inner, 99), late).expect("sent back");
    a.receive(back, late).expect("delivered");
    assert_eq!(a.client.expire(START + lifetime::UDP_UNANSWERED), 1);
    assert_eq!(y.expire(START + lifetime::UDP_UNANSWERED), 1);
}

proptest! {
    /// Whatever an error quotes, it is delivered to the one application that there is, or dropped.
    #[test]
    fn a_forged_error_reaches_nobody_else(
        deep: bool, carried in 0usize..3, octets in 28usize..120, at_octet in 0usize..120, value: u8,
        kind in prop::sample::select(vec![3u8, 4, 5, 11, 12]), rest: [u8; 4],
    ) {
        let a = Peer::new("198.51.100.10");
        let b = Endpoint { addr: a.map(if deep { DEEP } else { PATH }), port: 80 };
        let outer = a.send(udp(app(), b, b"question"), START).expect("sent");
        // Behind more levels there is an ordinary answer of the host's.
        let carried = carried.min(1 + usize::from(deep));
        let inside = &outer[28 * carried..];
        let mut quote = inside[..octets.min(inside.len())].to_vec();
        if let Some(octet) = quote.get_mut(at_octet) {
            *octet = value;
        }
        let mut packet = icmp_error(at(ROUTER), at("198.51.100.10:0"), kind, 1, rest, &quote);
        for level in (0..carried).rev() {
            let header = &outer[28 * level..];
            packet = udp(ends(header).1, ends(header).0, &packet);
        }
        if let Ok(delivered) = a.receive(packet, START) {
            let quoted = Datagram::parse(&delivered).expect("well formed");
            prop_assert_eq!(quoted.dst.addr, app().addr);
            prop_assert_eq!(&delivered[40..52], &udp(app(), b, b"question")[12..24]);
        }
    }
}
