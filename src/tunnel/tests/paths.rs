//! Several paths to one host.
//!
//! ```text
//! A 198.51.100.10 ---+--- Y 203.0.113.1 | 192.168.0.1 ---+--- B 192.168.0.2
//!                    +--- Z 203.0.113.2 | 192.168.0.9 ---+
//! ```

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use crate::counters::Counter;
use crate::time::Time;
use crate::tunnel::Origin;
use crate::wire::Endpoint;
use crate::wire::tests::{echo, icmp_error, tcp_syn, udp};

use super::net::*;

const BOTH: [&str; 2] = ["203.0.113.1:100 192.168.0.2", "203.0.113.2:100 192.168.0.2"];
const ROUTER: &str = "10.9.9.9:0";

fn after(millis: u64) -> Time {
    START + Duration::from_millis(millis)
}

/// A client, and the host as it sees it.
struct Bench {
    a: Peer,
    b: Endpoint,
}

impl Bench {
    fn new(paths: &[&str]) -> Self {
        let a = Peer::new("198.51.100.10");
        let b = Endpoint { addr: a.map_all(paths), port: 80 };
        Self { a, b }
    }

    fn syn(&self, app: Endpoint, now: Time) -> Vec<u8> {
        self.a.send(tcp_syn(app, self.b, &[]), now).expect("sent")
    }

    /// The last octet of the box through which a socket's packet goes.
    fn through(&self, app: Endpoint, now: Time) -> u8 {
        last(&self.syn(app, now))
    }

    /// A socket that nothing keeps from the path through this box.
    fn socket_for(&self, last_octet: u8) -> Endpoint {
        let free = Bench::new(&BOTH);
        sockets().find(|&app| free.through(app, START) == last_octet).expect("a socket")
    }

    /// The answer of the gateway to what was sent.
    fn answer(&self, outer: &[u8], now: Time) {
        let gateway = gateway(&[&ends(outer).1.addr.to_string()]);
        let inner = arrive(&gateway, outer.to_vec(), now).expect("decapsulated");
        let back = reply(&gateway, answer(&inner), now).expect("encapsulated");
        self.a.receive(back, now).expect("delivered");
    }

    /// An error of a router out there about a tunnel packet.
    fn error(&self, (kind, code): (u8, u8), outer: &[u8], now: Time) -> Option<Vec<u8>> {
        let error = icmp_error(at(ROUTER), ends(outer).0, kind, code, [0; 4], outer);
        match self.a.receive(error, now) {
            Ok(delivered) => Some(delivered),
            spared => {
                assert_eq!(spared, dropped(Counter::ClientErrorSpared));
                None
            }
        }
    }
}

fn sockets() -> impl Iterator<Item = Endpoint> {
    (2000..).map(|port| Endpoint { port, ..at("127.0.0.1:0") })
}

/// The last octet of the box that a packet is for.
fn last(outer: &[u8]) -> u8 {
    ends(outer).1.addr.octets()[3]
}

#[test]
fn new_flows_use_all_paths() {
    let bench = Bench::new(&BOTH);
    let used: Vec<u8> = sockets().take(200).map(|app| bench.through(app, START)).collect();
    let first = used.iter().filter(|&&octet| octet == 1).count();
    assert!((60..140).contains(&first), "{first} of 200");
}

#[test]
fn a_socket_keeps_to_its_path() {
    let bench = Bench::new(&BOTH);
    for app in sockets().take(20) {
        let used: HashSet<u8> = (1..20)
            .map(|port| {
                let packet = udp(app, Endpoint { port, ..bench.b }, b"x");
                last(&bench.a.send(packet, START).expect("sent"))
            })
            .collect();
        assert_eq!(used.len(), 1);
        // Also after a restart, and with one path more.
        let three = [&BOTH[..], &["203.0.113.3:100 192.168.0.2"]].concat();
        let again = last(&Bench::new(&three).a_packet(app));
        assert!(again == 3 || used.contains(&again));
    }
}

impl Bench {
    fn a_packet(&self, app: Endpoint) -> Vec<u8> {
        self.a.send(udp(app, self.b, b"x"), START).expect("sent")
    }
}

/// Linux sends a SYN at 0, 1, 3, 7 seconds.
#[test]
fn a_silent_path_is_given_up_for_another() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    let first = bench.syn(app, START);
    assert_eq!((last(&first), bench.through(app, after(1000))), (1, 1));
    let third = bench.syn(app, after(3000));
    assert_eq!(last(&third), 2);
    assert_eq!(ends(&third).0, ends(&first).0, "the outer port stays");
    assert_eq!(bench.a.client.usage().0, 1);
    assert_eq!(bench.a.client.rerouted_flows(), 1);
    bench.answer(&third, after(3010));
    assert_eq!(bench.through(app, after(3020)), 2);
}

/// A served host that has as many flows as it may: the one that takes another path needs no more.
#[test]
fn a_served_host_at_its_share_changes_paths() {
    let served = Origin::Served;
    let a = Peer::with_cap("198.51.100.10", 20);
    let b = Endpoint { addr: a.map_all(&BOTH), port: 80 };
    let syn = |port, now| {
        let c = Endpoint { port, ..at("192.168.0.7:0") };
        a.send_from(served, tcp_syn(c, b, &[]), now)
    };
    let used: Vec<u8> = (2000..2018).map(|port| last(&syn(port, START).expect("sent"))).collect();
    assert_eq!(syn(3000, START), rejected(Counter::ClientHostFull));
    let before = a.client.usage().0;
    assert_ne!(last(&syn(2000, after(3000)).expect("sent through the other")), used[0]);
    assert_eq!(a.client.rerouted_flows(), 1);
    assert_eq!(a.client.usage().0, before);
    assert_eq!(syn(3000, after(3000)), rejected(Counter::ClientHostFull), "nor has it less");
}

#[test]
fn an_answer_that_comes_too_late_is_nobody_s() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    let first = bench.syn(app, START);
    bench.syn(app, after(3000));
    let y = gateway(&["203.0.113.1"]);
    let inner = arrive(&y, first, START).expect("decapsulated");
    let back = reply(&y, answer(&inner), after(3010)).expect("encapsulated");
    assert_eq!(bench.a.receive(back, after(3010)), dropped(Counter::ClientStrayReply));
}

#[test]
fn every_protocol_is_rerouted() {
    let bench = Bench::new(&BOTH);
    for app in sockets().take(10) {
        let ping = Endpoint { port: 0, ..bench.b };
        for packet in [udp(app, bench.b, b"question"), echo(app, ping, b"ping")] {
            let first = last(&bench.a.send(packet.clone(), START).expect("sent"));
            let bench = Bench::new(&BOTH);
            bench.a.send(packet.clone(), START).expect("sent");
            let later = last(&bench.a.send(packet, after(2000)).expect("sent"));
            assert_ne!(first, later);
        }
    }
}

#[test]
fn new_flows_avoid_a_path_that_stayed_silent() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    bench.syn(app, START);
    // Nobody sends again; the flow is looked at once a second.
    bench.a.client.expire(after(1000));
    let before: HashSet<u8> = sockets().take(20).map(|app| bench.through(app, START)).collect();
    assert_eq!(before.len(), 2);
    let bench = Bench::new(&BOTH);
    bench.syn(app, START);
    bench.a.client.expire(after(2000));
    let others = sockets().filter(|&other| other != app).take(50);
    assert!(others.map(|app| bench.through(app, after(2001))).all(|octet| octet == 2));
}

#[test]
fn a_path_is_tried_again_by_one_flow() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    bench.syn(app, START);
    bench.a.client.expire(after(2000));
    let through = |skip: usize, millis| -> Vec<u8> {
        sockets().skip(skip).take(50).map(|app| bench.through(app, after(millis))).collect()
    };
    assert!(through(100, 61_999).iter().all(|&octet| octet == 2));
    let tried = through(200, 62_000);
    assert_eq!(tried.iter().filter(|&&octet| octet == 1).count(), 1);
    let (index, _) = tried.iter().enumerate().find(|(_, octet)| **octet == 1).expect("one");
    let app = sockets().nth(200 + index).expect("endless");
    bench.answer(&bench.syn(app, after(62_010)), after(62_020));
    assert!(through(300, 62_030).contains(&1));
}

#[test]
fn without_a_good_path_the_one_that_failed_first_is_tried() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    bench.syn(app, START);
    assert_eq!(bench.through(app, after(3000)), 2);
    assert_eq!(bench.through(app, after(7000)), 2, "neither is better");
    let others = sockets().filter(|&other| other != app).take(50);
    assert!(others.map(|app| bench.through(app, after(7001))).all(|octet| octet == 1));
}

/// A port that nobody listens on, or that drops, says nothing about a path on which others are
/// answered.
#[test]
fn a_path_that_answers_others_is_not_given_up() {
    let bench = Bench::new(&BOTH);
    let mut both = sockets().filter(|&app| Bench::new(&BOTH).through(app, START) == 1);
    let (silent, busy) = (both.next().expect("one"), both.next().expect("another"));
    bench.syn(silent, START);
    let other = Endpoint { port: 443, ..bench.b };
    let outer = bench.a.send(udp(busy, other, b"x"), after(500)).expect("sent");
    bench.answer(&outer, after(1500));
    bench.a.client.expire(after(2500));
    assert_eq!(bench.through(silent, after(3000)), 1);
    assert_eq!(bench.through(busy, after(3000)), 1);
}

#[test]
fn an_answered_flow_stays_where_it_is() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    let outer = bench.syn(app, START);
    bench.answer(&outer, after(10));
    bench.error((3, 1), &outer, after(20)).expect("delivered");
    assert_eq!(bench.through(app, after(60_000)), 1);
}

/// The endpoints of a closed connection are used again: that is a new attempt.
#[test]
fn a_new_connection_from_the_same_port_may_take_another_path() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    let y = gateway(&["203.0.113.1"]);
    let inner = arrive(&y, bench.syn(app, START), START).expect("decapsulated");
    let mut reset = answer(&inner);
    // RST and ACK instead of SYN; the checksum covers them.
    reset[33] = 0x14;
    let sum = u16::from_be_bytes([reset[36], reset[37]]);
    let changed = (u32::from(sum) + 0xffff - 0x12) % 0xffff;
    reset[36..38].copy_from_slice(&(changed as u16).to_be_bytes());
    let back = reply(&y, reset, after(10)).expect("encapsulated");
    bench.a.receive(back, after(10)).expect("delivered");
    assert_eq!(bench.through(app, after(100_000)), 1);
    assert_eq!(bench.through(app, after(101_000)), 1);
    assert_eq!(bench.through(app, after(103_000)), 2);
}

#[test]
fn an_error_about_the_tunnel_changes_the_path_at_once() {
    for kind in [(3, 0), (3, 1), (3, 3), (3, 13), (11, 0)] {
        let bench = Bench::new(&BOTH);
        let app = bench.socket_for(1);
        let first = bench.syn(app, START);
        assert_eq!(bench.error(kind, &first, START), None, "{kind:?}: another path is left");
        assert_eq!(bench.through(app, after(1000)), 2, "{kind:?}");
        let second = bench.syn(app, after(1000));
        assert!(bench.error(kind, &second, after(1010)).is_some(), "{kind:?}: no path is left");
    }
}

#[test]
fn other_errors_change_nothing() {
    for kind in [(3, 4), (11, 1), (12, 0)] {
        let bench = Bench::new(&BOTH);
        let app = bench.socket_for(1);
        let first = bench.syn(app, START);
        assert!(bench.error(kind, &first, START).is_some(), "{kind:?}");
        assert_eq!(bench.through(app, after(1000)), 1, "{kind:?}");
    }
}

/// An error from behind the gateway: the path works, unless it says that the host is not there.
#[test]
fn errors_from_behind_the_gateway() {
    for (code, changes) in [(0, true), (1, true), (3, false), (13, false)] {
        let bench = Bench::new(&BOTH);
        let app = bench.socket_for(1);
        let y = gateway(&["203.0.113.1", "192.168.0.1"]);
        let inner = arrive(&y, bench.syn(app, START), START).expect("decapsulated");
        let error = icmp_error(at("192.168.0.1:0"), ends(&inner).0, 3, code, [0; 4], &inner);
        let back = reply(&y, error, after(10)).expect("encapsulated");
        assert_eq!(bench.a.receive(back, after(10)).is_err(), changes, "code {code}");
        let expected = if changes { 2 } else { 1 };
        assert_eq!(bench.through(app, after(3000)), expected, "code {code}");
    }
}

#[test]
fn a_box_without_a_route_or_on_this_host_is_passed_over() {
    let bench = Bench::new(&BOTH);
    let world = &bench.a.world;
    let y = "203.0.113.1".parse().expect("Y");
    world.unreachable.lock().expect("no panic").insert(y);
    assert!(sockets().take(20).all(|app| bench.through(app, START) == 2));
    world.unreachable.lock().expect("no panic").insert("203.0.113.2".parse().expect("Z"));
    let app = sockets().nth(30).expect("endless");
    let refused = bench.a.send(tcp_syn(app, bench.b, &[]), START);
    assert_eq!(refused, rejected(Counter::ClientNoRoute));

    let own = Bench::new(&["198.51.100.10:100 192.168.0.2", BOTH[1]]);
    assert!(sockets().take(20).all(|app| own.through(app, START) == 2));
}

impl Bench {
    /// A datagram to a port that takes what comes and says nothing, such as a log server's.
    fn log(&self, app: Endpoint, now: Time) -> u8 {
        last(&self.a.send(udp(app, Endpoint { port: 514, ..self.b }, b"x"), now).expect("sent"))
    }

    /// A socket of UDP that nothing keeps from the path through this box.
    fn udp_socket_for(&self, last_octet: u8) -> Endpoint {
        let free = Bench::new(&BOTH);
        sockets().find(|&app| free.log(app, START) == last_octet).expect("a socket")
    }

    /// A question to a port that answers.
    fn question(&self, app: Endpoint, now: Time) -> Vec<u8> {
        self.a.send(udp(app, Endpoint { port: 53, ..self.b }, b"x"), now).expect("sent")
    }

    /// The boxes that connections of 50 new sockets take.
    fn boxes_of_others(&self, now: Time) -> HashSet<u8> {
        sockets().skip(1000).take(50).map(|app| self.through(app, now)).collect()
    }
}

/// A program that only sends: nobody owes it an answer.
#[test]
fn a_program_that_only_sends_says_nothing_about_its_paths() {
    let bench = Bench::new(&BOTH);
    for second in 0..200 {
        bench.log(at("127.0.0.1:3456"), after(1000 * second));
        bench.a.client.expire(after(1000 * second));
    }
    assert_eq!(bench.boxes_of_others(after(200_000)), [1, 2].into());
}

/// Both paths are tried, in case an answer is wanted after all; then it stays.
#[test]
fn a_program_that_only_sends_tries_each_path_once() {
    let three = [&BOTH[..], &["203.0.113.3:100 192.168.0.2"]].concat();
    let bench = Bench::new(&three);
    let app = at("127.0.0.1:3456");
    let used: Vec<u8> = (0..100).map(|n| bench.log(app, after(1000 * n))).collect();
    let mut order = used.clone();
    order.dedup();
    assert_eq!(order.len(), 3, "{used:?}");
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), 3, "{used:?}");
    assert_eq!(used[6..], [order[2]; 94]);
    assert_eq!(bench.a.client.rerouted_flows(), 2);
}

/// What others learn about its path moves it, as any flow.
#[test]
fn a_program_that_only_sends_leaves_a_path_that_is_known_to_be_silent() {
    let bench = Bench::new(&BOTH);
    let (app, other) = (bench.udp_socket_for(1), bench.socket_for(1));
    assert_eq!((bench.log(app, START), bench.log(app, after(2000))), (1, 2), "by itself, once");
    assert_eq!(bench.log(app, after(4000)), 2);
    let second = Bench::new(&BOTH);
    second.log(app, START);
    let outer = second.syn(other, after(10));
    assert_eq!(second.error((3, 1), &outer, after(20)), None);
    assert_eq!(second.log(app, after(30)), 2);
}

/// A port that has answered somebody owes the next one an answer, too.
#[test]
fn silence_of_a_port_that_answers_counts() {
    let bench = Bench::new(&BOTH);
    let (app, other) = (bench.udp_socket_for(1), bench.udp_socket_for(2));
    bench.question(app, START);
    bench.a.client.expire(after(2500));
    assert_eq!(bench.boxes_of_others(after(2500)), [1, 2].into(), "not known yet");
    let bench = Bench::new(&BOTH);
    bench.answer(&bench.question(other, START), after(10));
    assert_eq!(last(&bench.question(app, after(1000))), 1);
    bench.a.client.expire(after(3000));
    assert_eq!(bench.boxes_of_others(after(3001)), [2].into());
}

/// The one flow that tries a silent path again must be one that can tell.
#[test]
fn a_program_that_only_sends_does_not_try_a_silent_path_for_others() {
    let bench = Bench::new(&BOTH);
    let app = bench.socket_for(1);
    bench.syn(app, START);
    bench.a.client.expire(after(2000));
    assert!(sockets().skip(500).take(50).all(|app| bench.log(app, after(63_000)) == 2));
    let tried = sockets().skip(1000).take(50).filter(|&app| bench.through(app, after(63_010)) == 1);
    assert_eq!(tried.count(), 1);
}

/// The dead path is found, whatever a program that only sends has met before.
#[test]
fn a_connection_gets_through_beside_a_program_that_only_sends() {
    let bench = Bench::new(&BOTH);
    let (log, app) = (bench.udp_socket_for(2), bench.socket_for(1));
    for second in 0..30 {
        bench.log(log, after(1000 * second));
        bench.a.client.expire(after(1000 * second));
    }
    let used = [30_000, 31_000, 33_000].map(|millis| bench.through(app, after(millis)));
    assert_eq!(used, [1, 1, 2]);
}

#[test]
fn the_only_path_is_kept_whatever_happens() {
    let bench = Bench::new(&BOTH[..1]);
    let app = at("127.0.0.1:3456");
    let outer = bench.syn(app, START);
    assert!(bench.error((3, 1), &outer, after(10)).is_some(), "delivered as ever");
    for millis in [1000, 3000, 7000, 70_000] {
        bench.a.client.expire(after(millis));
        assert_eq!(bench.through(app, after(millis)), 1);
    }
    assert_eq!(bench.a.client.rerouted_flows(), 0);
}

proptest! {
    /// Whichever of three boxes are down from the start, a connection attempt that is repeated as
    /// Linux does gets through if any box is up; each silent box costs a few seconds.
    #[test]
    fn a_connection_gets_through_any_box_that_is_up(up in prop::collection::vec(any::<bool>(), 3), port in 1024u16..) {
        let paths = ["203.0.113.1 192.168.0.2", "203.0.113.2 192.168.0.2", "203.0.113.3 192.168.0.2"];
        let bench = Bench::new(&paths);
        let app = Endpoint { port, ..at("127.0.0.1:0") };
        let through = [0, 1000, 3000, 7000, 15_000].into_iter().find_map(|millis| {
            bench.a.client.expire(after(millis));
            let octet = bench.through(app, after(millis));
            up[usize::from(octet) - 1].then_some(octet)
        });
        prop_assert_eq!(through.is_some(), up.contains(&true));
    }
}
