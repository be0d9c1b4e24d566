//! A router with the client role for hosts that run nothing.
//!
//! ```text
//! C 192.168.0.7 --+-- X 198.51.100.20 ------- Y 203.0.113.1 | 192.168.0.1 --- B 192.168.0.2
//! D 192.168.0.8 --+
//! ```
//! X also masquerades, on the other side of what is tested here.

use crate::counters::Counter;
use crate::tunnel::{Fate, Origin, OuterPort};
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
