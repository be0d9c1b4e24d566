//! A router with the client role for hosts that run nothing.
//!
//! ```text
//! C 192.168.0.7 --+-- X 198.51.100.20 ------- Y 203.0.113.1 | 192.168.0.1 --- B 192.168.0.2
//! D 192.168.0.8 --+
//! ```
//! X also masquerades, on the other side of what is tested here.

use crate::counters::Counter;
use crate::tunnel::{Fate, Origin, OuterPort, client};
use crate::wire::tests::{echo, icmp_error, tcp_syn, udp};
use crate::wire::{Datagram, Endpoint};

use super::net::*;

const PATH: &str = "203.0.113.1:100 192.168.0.2";
const C: &str = "192.168.0.7:3456";
const D: &str = "192.168.0.8:3456";

fn router() -> (Peer, Endpoint) {
    let x = Peer::new("198.51.100.20");
    let b = Endpoint { addr: x.map(PATH), port: 80 };
    (x, b)
}

/// The genuine reply to an encapsulated packet, on its way to the same inner source.
fn reply_to(outer: Vec<u8>) -> Vec<u8> {
    let y = gateway(&["203.0.113.1", "192.168.0.1"]);
    let mut masquerade = LegacyNat::new("198.51.100.20");
    let inner = arrive(&y, masquerade.out(outer), START).expect("decapsulated");
    masquerade.back(reply(&y, answer(&inner), START).expect("encapsulated"))
}

#[test]
fn a_served_host_s_packets_keep_its_address() {
    let (x, b) = router();
    for packet in [
        udp(at(C), b, b"question"),
        tcp_syn(at(C), b, &[]),
        echo(at(C), Endpoint { port: 0, ..b }, b"ping"),
    ] {
        let outer = x.pass_on(packet.clone(), START).expect("encapsulated");
        assert_eq!(ends(&outer).0.addr, at(C).addr);
        assert_eq!(ends(&outer).1, at("203.0.113.1:100"));
        let delivered = x.pass_back(reply_to(outer), START).expect("decapsulated");
        assert_eq!(ends(&delivered), ends(&answer(&packet)));
    }
}

#[test]
fn served_hosts_with_the_same_port_are_told_apart() {
    let (x, b) = router();
    for host in [C, D] {
        let outer = x.pass_on(udp(at(host), b, host.as_bytes()), START).expect("encapsulated");
        assert_eq!(ends(&outer).0, at(host), "each has all ports for itself");
        let delivered = x.pass_back(reply_to(outer), START).expect("decapsulated");
        assert_eq!(delivered, udp(b, at(host), host.as_bytes()));
    }
    // Two protocols of one host are not.
    let other = x.pass_on(tcp_syn(at(C), b, &[]), START).expect("encapsulated");
    assert_ne!(ends(&other).0.port, at(C).port);
}

#[test]
fn replies_go_only_where_the_question_came_from() {
    let (x, b) = router();
    let stray = Fate::Dropped(Counter::ClientStrayReply);
    let served = x.pass_on(udp(at(C), b, b"hello"), START).expect("encapsulated");
    let here = x.send(udp(at("127.0.0.1:3456"), b, b"hello"), START).expect("encapsulated");
    let (for_c, for_x) = (reply_to(served), reply_to(here));
    assert_eq!(x.receive(for_c.clone(), START), Err(stray), "C's, to a socket of X");
    assert_eq!(x.pass_back(for_x, START), Err(stray), "X's, to the LAN");

    let mut for_d = for_c.clone();
    let mut outer = Datagram::parse(&for_d).expect("well formed");
    let (src, dst) = (outer.src, Endpoint { addr: at(D).addr, ..outer.dst });
    outer.readdress(&mut for_d, src, dst);
    assert_eq!(x.pass_back(for_d, START), Err(stray), "C's, on its way to D");
    x.pass_back(for_c, START).expect("the genuine one");
}

#[test]
fn the_network_cannot_speak_for_this_host() {
    let (x, b) = router();
    let forged = Fate::Dropped(Counter::ClientBadSource);
    for source in ["198.51.100.20:3456", "127.0.0.1:3456", "0.0.0.0:3456", "224.0.0.1:3456"] {
        assert_eq!(x.pass_on(udp(at(source), b, b"forged"), START), Err(forged), "{source}");
    }
    // Nor report errors about its flows.
    let app = at("127.0.0.1:3456");
    let outer = x.send(udp(app, b, b"hello"), START).expect("encapsulated");
    let delivered = x.receive(reply_to(outer), START).expect("decapsulated");
    let error = icmp_error(at(C), b, 3, 3, [0; 4], &delivered);
    assert_eq!(x.pass_on(error, START), Err(Fate::Dropped(Counter::IcmpError)));
}

#[test]
fn errors_pass_both_ways() {
    let (x, b) = router();
    let sent = udp(at(C), b, b"hello");
    let outer = x.pass_on(sent.clone(), START).expect("encapsulated");
    let router_said = icmp_error(at("10.9.9.9:0"), at(C), 3, 1, [0; 4], &outer[..56]);
    let delivered = x.pass_back(router_said.clone(), START).expect("for C");
    assert_eq!(ends(&delivered).1.addr, at(C).addr);
    assert_eq!(delivered[28..], sent[..28]);
    assert_eq!(x.receive(router_said, START), Err(Fate::Dropped(Counter::IcmpError)), "not for X");

    let delivered = x.pass_back(reply_to(outer), START).expect("decapsulated");
    let refusal = icmp_error(at(C), b, 3, 3, [0; 4], &delivered);
    let outer = x.pass_on(refusal, START).expect("for B");
    assert_eq!(ends(&outer).0.addr, at(C).addr);
}

#[test]
fn keepalives_name_the_served_host_s_port() {
    let (x, b) = router();
    x.pass_on(udp(at(C), b, b"hello"), START).expect("encapsulated");
    let later = START + std::time::Duration::from_secs(25);
    let due = x.client.keepalives(later);
    let [keepalive] = &due[..] else { panic!("one keepalive, not {}", due.len()) };
    match &*keepalive.from {
        OuterPort::Served(port) => assert_eq!(port.endpoint(), at(C)),
        OuterPort::Own(_) => panic!("not a port of this host"),
    }
    assert!(x.world.taken.lock().expect("no panic").is_empty(), "none of X's own ports");
}

/// `Roles::leaving` offers the client every reply of the gateway's first, and hands it on if it
/// is none of the client's: so it must come back untouched. Here a host answers a tunnel's client with a
/// datagram (CE-marked by a router on the way) that holds an ICMP error, as a nested box does.
#[test]
fn what_is_no_flow_s_is_not_touched() {
    let (x, _) = router();
    let quote = udp(at("192.168.0.9:1"), at("192.168.0.2:2"), b"12345678");
    let mut error = icmp_error(at("10.0.0.1:0"), at("192.168.0.9:0"), 3, 3, [0; 4], &quote);
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    Datagram::parse(&error).expect("well formed").set_traffic_class(&mut error, ECT_0);
    let mut reply = udp(at("192.168.0.2:100"), at("198.51.100.10:5000"), &error);
    Datagram::parse(&reply).expect("well formed").set_traffic_class(&mut reply, CE);
    let before = reply.clone();
    let fate = x.client.incoming(&mut reply, Origin::Served, START);
    assert_eq!(fate, Fate::Dropped(Counter::IcmpError));
    assert_eq!(reply, before, "the gateway's reply was changed");
}

/// Two names of one host whose path sets differ (anybody's zone can say so) have two mapped
/// addresses and one shape on the wire: each datagram takes the flow along to the other address, and
/// leaves a key behind for ever.
#[test]
fn memory_does_not_grow_with_packets() {
    let (x, b) = router();
    let more = [PATH, "203.0.113.2:100 192.168.0.2"].map(|path| path.parse().expect("a path"));
    let more = crate::path::PathSet::new(more.to_vec()).expect("two paths");
    let ttl = std::time::Duration::from_secs(60);
    let also = x.mappings.map("other.example", &more, ttl, START).expect("a free address");
    assert_ne!(also, b.addr);
    for _ in 0..50_000 {
        for addr in [b.addr, also] {
            x.pass_on(udp(at(C), Endpoint { addr, ..b }, b"x"), START).expect("encapsulated");
        }
    }
    assert_eq!(x.client.usage().0, 1, "one flow");
    x.client.expire(START + std::time::Duration::from_secs(1));
    assert!(x.client.noted() <= 128, "{} keys noted for one flow", x.client.noted());
}

#[test]
fn a_served_host_may_ping_often() {
    let (x, b) = router();
    for id in 1..=800 {
        let ping = echo(Endpoint { port: id, ..at(C) }, Endpoint { port: 0, ..b }, b"ping");
        assert!(x.pass_on(ping.clone(), START).is_ok(), "ping {id}: {:?}", x.pass_on(ping, START));
    }
}

/// A served host (with a server of its own behind any gateway, which answers) must not take
/// the whole table from all others for hours.
#[test]
fn one_served_host_cannot_fill_the_table() {
    const CAP: usize = 100;
    let x = Peer::with_cap("198.51.100.20", CAP);
    let mapped = x.map(PATH);
    for port in 0..CAP as u16 {
        let b = Endpoint { addr: mapped, port: 1000 + port };
        let Ok(outer) = x.pass_on(udp(at(C), b, b"x"), START) else { break };
        let inner_reply = answer(&outer[28..]);
        let back = udp(at("203.0.113.1:100"), ends(&outer).0, &inner_reply);
        x.pass_back(back, START).expect("answered");
    }
    let b = Endpoint { addr: mapped, port: 80 };
    x.pass_on(udp(at(D), b, b"x"), START).expect("another served host has its share");
    x.send(udp(at("127.0.0.1:3456"), b, b"x"), START).expect("and this host");
}

/// An address that this host had (a floating one, a lease) and that now is a served host's.
#[test]
fn a_served_host_finds_no_flow_of_this_host() {
    let (x, b) = router();
    x.send(udp(at(C), b, b"from this host"), START).expect("encapsulated");
    let outer = x.pass_on(udp(at(C), b, b"from C"), START).expect("encapsulated");
    assert_eq!(ends(&outer).0.addr, at(C).addr);
}

/// X is a gateway, too, and D is behind it. C is in another network of X's.
fn both_roles() -> (Peer, Endpoint) {
    let mut x = Peer::new("198.51.100.20");
    x.become_gateway(&["192.168.0.8/32", "198.51.100.20/31"]);
    let d = Endpoint { addr: x.map("198.51.100.20:100 192.168.0.8"), port: 80 };
    (x, d)
}

#[test]
fn hosts_behind_the_own_gateway_are_reached_without_a_tunnel() {
    let (x, d) = both_roles();
    for packet in [
        udp(at(C), d, b"question"),
        tcp_syn(at(C), d, &[]),
        echo(at(C), Endpoint { port: 0, ..d }, b"ping"),
    ] {
        let sent = x.pass_on(packet.clone(), START).expect("passed on");
        assert_eq!((ends(&sent).0, ends(&sent).1.addr), (at(C), at(D).addr));
        let back = x.pass_back(answer(&sent), START).expect("passed back");
        assert_eq!(ends(&back), ends(&answer(&packet)));
    }
    let later = START + std::time::Duration::from_secs(25);
    assert!(x.client.keepalives(later).is_empty(), "there is nothing to keep alive");
}

#[test]
fn without_a_tunnel_no_more_is_reached_than_through_one() {
    let (x, _) = both_roles();
    let syn = |path: &str| {
        let host = Endpoint { addr: x.map(path), port: 80 };
        x.pass_on(tcp_syn(at(C), host, &[]), START)
    };
    let own = "198.51.100.20:100";
    assert_eq!(syn(&format!("{own} 192.168.0.9")), rejected(Counter::GatewayNotExported));
    assert_eq!(syn(&format!("{own} 198.51.100.20")), rejected(Counter::GatewayOwnAddress));
    assert_eq!(syn("198.51.100.20:101 192.168.0.8"), rejected(Counter::ClientLoop), "no gateway");
    let through = format!("{own} 10.0.0.9:100 192.168.0.8");
    assert_eq!(syn(&through), rejected(Counter::GatewayNotExported));
}

#[test]
fn without_a_tunnel_only_the_exact_reverse_comes_back() {
    let (x, d) = both_roles();
    let sent = x.pass_on(tcp_syn(at(C), d, &[]), START).expect("passed on");
    let (c, host) = ends(&sent);
    let stray = Fate::Dropped(Counter::ClientStrayReply);
    for (from, to) in [
        (Endpoint { port: 81, ..host }, c),
        (at("192.168.0.9:80"), c),
        (host, Endpoint { port: 3457, ..c }),
        (host, at("192.168.0.6:3456")),
    ] {
        assert_eq!(x.pass_back(tcp_syn(from, to, &[]), START), Err(stray), "{from:?} to {to:?}");
    }
    assert_eq!(x.receive(answer(&sent), START), Err(stray), "to a socket of X");
}

#[test]
fn errors_pass_both_ways_without_a_tunnel() {
    let (x, d) = both_roles();
    let asked = udp(at(C), d, b"hello");
    let sent = x.pass_on(asked.clone(), START).expect("passed on");
    for (reporter, shown) in [(at(D), d.addr), (at("198.51.100.20:0"), at("198.51.100.20:0").addr)]
    {
        let error = icmp_error(reporter, at(C), 3, 3, [0; 4], &sent);
        let told = x.pass_back(error, START).expect("for C");
        assert_eq!((ends(&told).0.addr, ends(&told).1.addr), (shown, at(C).addr));
        assert_eq!(told[28..], asked[..], "the packet as C sent it");
    }
    let answered = answer(&sent);
    let back = x.pass_back(answered.clone(), START).expect("passed back");
    let error = x.pass_on(icmp_error(at(C), d, 3, 3, [0; 4], &back), START).expect("for D");
    assert_eq!((ends(&error).0.addr, ends(&error).1.addr), (at(C).addr, at(D).addr));
    assert_eq!(error[28..], answered[..], "the packet as D sent it");
}

/// The kernel gives programs that may ping without privileges an identifier of their own; others choose
/// 0, the place of a port in an error.
#[test]
fn an_error_is_not_taken_for_the_answer_to_a_ping() {
    let (x, d) = both_roles();
    let ping = echo(Endpoint { port: 0, ..at(C) }, Endpoint { port: 0, ..d }, b"ping");
    x.pass_on(ping, START).expect("passed on");
    let sent = x.pass_on(udp(at(C), d, b"hello"), START).expect("passed on");
    let error = icmp_error(at("192.168.0.8:0"), at(C), 3, 3, [0; 4], &sent);
    let told = x.pass_back(error, START).expect("for C");
    assert_eq!(ends(&told).0.addr, d.addr);
}

/// After a reload or a restart under another configuration.
#[test]
fn a_flow_without_a_tunnel_ends_with_what_allows_it() {
    const SLACK: std::time::Duration = std::time::Duration::ZERO;
    let (x, d) = both_roles();
    x.pass_on(tcp_syn(at(C), d, &[]), START).expect("passed on");
    let flow = x.client.saved().remove(0);
    let gateway = |port, prefix| client::OwnGateway { port, exports: vec![export(prefix)] };
    for (changed, goes_on) in [
        (Some(gateway(100, "192.168.0.0/24")), true),
        (Some(gateway(100, "192.168.0.9/32")), false),
        (Some(gateway(101, "192.168.0.0/24")), false),
        (None, false),
    ] {
        let what = format!("{changed:?}");
        let client = x.client_beside(changed);
        assert_eq!(client.restore(flow.clone(), SLACK, START), goes_on, "{what}");
    }
}

impl Peer {
    /// A packet from a served host.
    fn pass_on(&self, packet: Vec<u8>, now: crate::time::Time) -> Result<Vec<u8>, Fate> {
        self.send_from(Origin::Served, packet, now)
    }

    /// A packet to one.
    fn pass_back(&self, packet: Vec<u8>, now: crate::time::Time) -> Result<Vec<u8>, Fate> {
        self.receive_for(Origin::Served, packet, now)
    }
}
