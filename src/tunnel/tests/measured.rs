//! What whole paths carry, as it was measured, and when that is asked for.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::path::{Hop, Path};
use crate::time::Time;
use crate::tunnel::path_mtu::{PathMtus, Question, UNMEASURED};
use crate::tunnel::{Client, Origin, client};
use crate::wire::Endpoint;
use crate::wire::datagram::protocol;
use crate::wire::tests::{echo, tcp_syn, udp};

use super::net::*;

const Y: &str = "203.0.113.1";
const PATH: &str = "203.0.113.1:100 192.168.0.2";
const DEEP: &str = "203.0.113.1:100 10.0.0.9:100 192.168.0.2";
const APP: &str = "127.0.0.1:3456";
const OTHER: &str = "127.0.0.1:3457";
/// An MSS of 65,495, as loopback offers.
const JUMBO: [u8; 4] = [2, 4, 0xff, 0xd7];
/// IPv4 and TCP.
const INNER: u16 = 40;
const LEVEL: u16 = 28;

fn after(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

fn path(text: &str) -> Path {
    text.parse().expect("a path")
}

/// So much gets through in both directions.
fn through(octets: u16) -> Option<(u16, Option<u16>)> {
    Some((octets, None))
}

/// A client that measures.
fn client(mtu: u16) -> (Peer, Arc<PathMtus>) {
    let Peer { world, mappings, .. } = Peer::new("198.51.100.10");
    let mtus = Arc::new(PathMtus::default());
    let path_mtus = Some(Arc::clone(&mtus));
    let settings = client::Settings { mtu, path_mtus, ..settings(1000) };
    let client = Client::new(settings, world.clone(), Arc::clone(&mappings));
    (Peer { world, mappings, client }, mtus)
}

fn mss(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]])
}

/// Opens a connection through one box: the MSS of its SYN as it leaves, and of the answer as it arrives.
fn connects(a: &Peer, from: &str, to: Endpoint, now: Time) -> (u16, u16) {
    let outer = a.send(tcp_syn(at(from), to, &JUMBO), now).expect("sent");
    let (x, b) = ends(&outer[28..]);
    let mut back = tcp_syn(b, x, &JUMBO);
    back[33] |= 0x10;
    let sum = u32::from(!u16::from_be_bytes([back[36], back[37]])) + 0x10;
    back[36..38].copy_from_slice(&(!((sum % 0xffff) as u16)).to_be_bytes());
    let back = udp(ends(&outer).1, ends(&outer).0, &back);
    (mss(&outer), mss(&a.receive(back, now).expect("delivered")))
}

fn b(a: &Peer) -> Endpoint {
    Endpoint { addr: a.map(PATH), port: 80 }
}

fn question(mtus: &PathMtus) -> Option<Question> {
    let any = mtus.any();
    let mut questions = mtus.take();
    assert_eq!((any, questions.len()), (!questions.is_empty(), usize::from(any)));
    questions.pop()
}

#[test]
fn tcp_counts_on_what_every_path_carries_until_its_own_was_measured() {
    let (a, mtus) = client(1500);
    let b = b(&a);
    let both = |mtu: u16| (mtu - LEVEL - INNER, mtu - LEVEL - INNER);
    assert_eq!(connects(&a, APP, b, START), both(UNMEASURED));
    for octets in [1420, 1500, 1300] {
        mtus.learn(path(PATH).hops(), through(octets), START);
        assert_eq!(connects(&a, APP, b, START), both(octets));
    }
    a.world.set_mtu(Y, 1290);
    assert_eq!(connects(&a, APP, b, START), both(1290), "the first link is smaller");
    // Nobody answered once: what was known still counts.
    a.world.set_mtu(Y, 1500);
    mtus.learn(path(PATH).hops(), None, START);
    assert_eq!(connects(&a, APP, b, START), both(1300));
}

#[test]
fn no_answer_takes_tcp_below_what_every_path_carries() {
    let (a, mtus) = client(1500);
    let b = b(&a);
    connects(&a, APP, b, START);
    for octets in [0, 68, 1279] {
        mtus.learn(path(PATH).hops(), through(octets), START);
        assert_eq!(connects(&a, APP, b, START).0, UNMEASURED - LEVEL - INNER);
    }
    let (a, _) = client(1000);
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    assert_eq!(connects(&a, APP, b, START).0, 1000 - LEVEL - INNER, "as configured");
}

/// What applications send never depends on the way back.
#[test]
fn the_way_back_counts_for_tcp_only() {
    let (a, mtus) = client(1500);
    let to = b(&a);
    let boxes = path(PATH);
    let learns = |there, back| {
        mtus.used(asked(PATH, 1500), START);
        mtus.learn(boxes.hops(), Some((there, back)), START);
        let narrow = a.client.narrow(1472).first().map(|(_, octets)| octets + LEVEL);
        (connects(&a, APP, to, START).0 + LEVEL + INNER, narrow)
    };
    assert_eq!(learns(1500, Some(1420)), (1420, None));
    assert_eq!(learns(1400, Some(1420)), (1400, Some(1400)));
    // A host that answers to no larger ping is no link.
    assert_eq!(learns(1500, Some(1279)), (1500, None));
    assert_eq!(learns(1500, Some(328)), (1500, None));
    assert_eq!(learns(1500, Some(1280)), (1280, None));
}

#[test]
fn what_nobody_confirms_is_forgotten_at_last() {
    let (a, mtus) = client(1500);
    let to = b(&a);
    connects(&a, APP, to, START);
    mtus.learn(path(PATH).hops(), through(1500), START);
    for _ in 0..2 {
        mtus.learn(path(PATH).hops(), None, START);
        assert_eq!(connects(&a, APP, to, START).0, 1500 - LEVEL - INNER);
    }
    let generation = a.client.known_paths();
    mtus.learn(path(PATH).hops(), None, START);
    assert_eq!(connects(&a, APP, to, START).0, UNMEASURED - LEVEL - INNER);
    assert_ne!(a.client.known_paths(), generation);
    mtus.learn(path(PATH).hops(), through(1400), START);
    assert_eq!(connects(&a, APP, to, START).0, 1400 - LEVEL - INNER);
}

#[test]
fn without_measurements_the_first_link_counts() {
    let a = Peer::new("198.51.100.10");
    assert_eq!(connects(&a, APP, b(&a), START).0, 1500 - LEVEL - INNER);
    assert!(!a.client.measures() && !a.client.any_unmeasured());
    assert_eq!(a.client.narrow(1472), []);
}

#[test]
fn every_level_takes_its_octets() {
    let (a, mtus) = client(1500);
    let b = Endpoint { addr: a.map(DEEP), port: 80 };
    let sent = |from| mss(&a.send(tcp_syn(at(from), b, &JUMBO), START).expect("sent"));
    assert_eq!(sent(APP), UNMEASURED - 2 * LEVEL - INNER);
    mtus.used(asked(DEEP, 1500), START);
    mtus.learn(path(DEEP).hops(), through(1448), START);
    assert_eq!(sent(OTHER), 1448 - 2 * LEVEL - INNER);
}

fn asked(text: &str, most: u16) -> Question {
    Question { path: path(text), source: None, protocol: protocol::TCP, port: 80, most }
}

#[test]
fn only_a_path_that_answered_is_measured() {
    let (a, mtus) = client(1500);
    let to = b(&a);
    let outer = a.send(udp(at(APP), to, b"?"), START).expect("sent");
    assert_eq!(question(&mtus), None, "nobody answered");
    let (x, b) = ends(&outer[28..]);
    let stranger = udp(ends(&outer).1, ends(&outer).0, &udp(at("192.168.0.3:80"), x, b"!"));
    a.receive(stranger, START).expect_err("nobody's answer");
    assert_eq!(question(&mtus), None);
    let answer = udp(ends(&outer).1, ends(&outer).0, &udp(b, x, b"!"));
    a.receive(answer.clone(), START).expect("delivered");
    let protocol = protocol::UDP;
    assert_eq!(question(&mtus), Some(Question { protocol, ..asked(PATH, 1500) }));
    a.receive(answer, START).expect("delivered");
    assert_eq!(question(&mtus), None, "asked once");
}

#[test]
fn a_path_is_measured_again_when_it_is_used_again() {
    let (a, mtus) = client(1500);
    let b = b(&a);
    let opens = |second: u64| {
        let from = format!("127.0.0.1:{}", 4000 + second);
        connects(&a, &from, b, after(second));
        question(&mtus).map(|question| question.most)
    };
    assert_eq!(opens(0), Some(1500));
    assert_eq!(opens(299), None, "under way");
    assert_eq!(opens(300), Some(1500), "the first one never ended");
    mtus.learn(path(PATH).hops(), through(1420), after(301));
    assert_eq!(opens(899), None, "fresh");
    assert_eq!(opens(900), Some(1500), "what got larger is found, too");
    mtus.learn(path(PATH).hops(), None, after(904));
    assert_eq!(opens(940), None, "not asked all the time where nobody answers");
    // Another network, or another route.
    a.world.set_mtu(Y, 1400);
    assert_eq!(opens(941), Some(1400));
    mtus.learn(path(PATH).hops(), through(1400), after(942));
    a.world.set_mtu(Y, 1450);
    assert_eq!(opens(943), None, "routes that change all the time");
    assert_eq!(opens(951), Some(1450));
    mtus.abandon(path(PATH).hops());
    assert_eq!(opens(952), Some(1450), "the thread has ended meanwhile");
}

#[test]
fn hosts_behind_the_same_boxes_share_what_is_known() {
    let (a, mtus) = client(1500);
    connects(&a, APP, b(&a), START);
    assert!(question(&mtus).is_some());
    mtus.learn(path(PATH).hops(), through(1420), START);
    let c = Endpoint { addr: a.map("203.0.113.1:100 192.168.0.3"), port: 80 };
    let d = Endpoint { addr: a.map("203.0.113.2:100 192.168.0.2"), port: 80 };
    assert_eq!(connects(&a, APP, c, START).0, 1420 - LEVEL - INNER);
    assert_eq!(question(&mtus), None);
    assert_eq!(connects(&a, OTHER, d, START).0, UNMEASURED - LEVEL - INNER);
    assert!(question(&mtus).is_some());
}

#[test]
fn served_hosts_and_the_next_boxes_are_measured_from_here() {
    let mut x = client(1500).0;
    let mtus = Arc::new(PathMtus::default());
    let gateway = client::OwnGateway { port: 100, exports: vec![export("192.168.0.0/24")] };
    let settings = client::Settings {
        path_mtus: Some(Arc::clone(&mtus)),
        gateway: Some(gateway),
        ..settings(1000)
    };
    x.world.lan = Some(("192.168.0.0/24".parse().expect("a prefix"), at("192.168.0.1:0").addr));
    x.client = Client::new(settings, x.world.clone(), Arc::clone(&x.mappings));
    let host = at("192.168.7.2:3456");
    let peeled = "198.51.100.10:100 192.168.0.9:100 172.16.0.2";
    for (to, measured) in [(PATH, PATH), (peeled, "192.168.0.9:100 172.16.0.2")] {
        let to = Endpoint { addr: x.map(to), port: 80 };
        let outer = x.send_from(Origin::Served, udp(host, to, b"?"), START).expect("passed on");
        let (src, dst) = ends(&outer[28..]);
        let back = udp(ends(&outer).1, ends(&outer).0, &udp(dst, src, b"!"));
        x.receive_for(Origin::Served, back, START).expect("delivered");
        let question = question(&mtus).expect("to be measured");
        let source = (measured != PATH).then(|| at("198.51.100.10:0").addr);
        assert_eq!((question.path, question.source), (path(measured), source));
    }
    // Right behind this host there is no tunnel.
    let direct = Endpoint { addr: x.map("198.51.100.10:100 192.168.0.8"), port: 80 };
    let sent = x.send_from(Origin::Served, tcp_syn(host, direct, &JUMBO), START);
    assert_eq!(mss(&sent.expect("passed on")), 1500 - INNER);
    assert_eq!(question(&mtus), None);
}

#[test]
fn mapped_addresses_have_the_mtu_of_their_paths() {
    let (a, mtus) = client(1500);
    let [one, deep] = [PATH, DEEP].map(|path| a.map(path));
    let either = a.map_all(&[PATH, "203.0.113.9:100 192.168.0.2"]);
    let all = || {
        let mut narrow = a.client.narrow(1472);
        narrow.sort();
        narrow
    };
    assert_eq!(all(), []);
    let generation = a.client.known_paths();
    for (text, octets) in [(PATH, 1500), (DEEP, 1500)] {
        mtus.used(asked(text, 1500), START);
        mtus.learn(path(text).hops(), through(octets), START);
    }
    assert_eq!(all(), [(deep, 1500 - 2 * LEVEL)], "a level more than most have");
    assert_ne!(a.client.known_paths(), generation);
    mtus.learn(path(PATH).hops(), through(1420), START);
    let mut expected =
        [(one, 1420 - LEVEL), (deep, 1500 - 2 * LEVEL), (either, 1420 - LEVEL)].to_vec();
    expected.sort();
    assert_eq!(all(), expected);
    let generation = a.client.known_paths();
    mtus.learn(path(PATH).hops(), through(1420), after(1));
    assert_eq!(a.client.known_paths(), generation, "nothing new");
}

#[test]
fn what_is_known_not_to_get_through_whole_is_counted() {
    let (a, mtus) = client(1500);
    let b = b(&a);
    let datagram = |octets: usize| udp(at(APP), b, &vec![0; octets - 2 * 28]);
    a.send(datagram(1500), START).expect("sent");
    assert_eq!(a.client.fragmented().0, 0, "nothing is known");
    mtus.used(asked(PATH, 1500), START);
    mtus.learn(path(PATH).hops(), through(1420), START);
    a.send(datagram(1420), START).expect("sent");
    assert_eq!(a.client.fragmented().0, 0);
    a.send(datagram(1421), START).expect("sent all the same");
    assert_eq!(a.client.fragmented(), (1, at("203.0.113.1:0").addr, 1420));
    a.world.set_mtu(Y, 1400);
    a.send(datagram(1401), START).expect("sent all the same");
    assert_eq!(a.client.fragmented(), (2, at("203.0.113.1:0").addr, 1400));
    // Nothing larger was tried than gets there.
    a.world.set_mtu(Y, 1500);
    mtus.used(asked(PATH, 1400), after(20));
    mtus.learn(path(PATH).hops(), through(1400), after(20));
    a.send(datagram(1500), START).expect("sent");
    assert_eq!(a.client.fragmented().0, 2);
}

#[test]
fn a_ping_asks_by_ping() {
    let (a, mtus) = client(1500);
    let to = Endpoint { port: 0, ..b(&a) };
    let outer = a.send(echo(at(APP), to, b"ping"), START).expect("sent");
    let mut inner = outer[28..].to_vec();
    let (src, dst) = ends(&inner);
    inner[20] = 0;
    inner[12..16].copy_from_slice(&dst.addr.octets());
    inner[16..20].copy_from_slice(&src.addr.octets());
    let sum = u32::from(u16::from_be_bytes([inner[22], inner[23]])) + 0x0800;
    inner[22..24].copy_from_slice(&((sum % 0xffff) as u16).to_be_bytes());
    let back = udp(ends(&outer).1, ends(&outer).0, &inner);
    a.receive(back, START).expect("delivered");
    assert_eq!(question(&mtus).expect("to be measured").protocol, protocol::ICMP);
}

fn hops(number: u16) -> Vec<Hop> {
    vec![Hop { addr: at("203.0.113.1:0").addr, port: number + 1 }]
}

fn question_of(number: u16, most: u16) -> Question {
    let path = Path::new(hops(number), at("192.168.0.2:0").addr).expect("a path");
    Question { path, source: None, protocol: protocol::TCP, port: 80, most }
}

#[test]
fn the_path_that_was_used_least_lately_makes_room() {
    let mtus = PathMtus::default();
    for number in 0..1024 {
        mtus.used(question_of(number, 1500), after(number.into()));
        mtus.learn(&hops(number), through(1500), after(number.into()));
    }
    // Used again much later.
    mtus.used(question_of(0, 1500), after(2000));
    mtus.used(question_of(1024, 1500), after(2001));
    assert!(mtus.measured(&hops(0)).is_some() && mtus.measured(&hops(2)).is_some());
    assert_eq!(mtus.measured(&hops(1)), None);
    mtus.learn(&hops(1), through(1500), after(2002));
    assert_eq!(mtus.measured(&hops(1)), None, "forgotten meanwhile");
}

proptest! {
    /// Whatever happens in whatever order: what is known is what was learned last, never less than every
    /// path carries, and no path is measured more often than is polite.
    #[test]
    fn measurements_are_few_and_what_they_say_counts(
        steps in prop::collection::vec(
            (0u16..4, prop::option::of(prop::option::of((0u16..9000, prop::option::of(0u16..9000)))), 0u64..90, prop_oneof![Just(1500u16), 1280..1500u16]),
            1..200,
        ),
    ) {
        let mtus = PathMtus::default();
        let mut now = START;
        let mut last = std::collections::HashMap::new();
        let mut known = std::collections::HashMap::new();
        for (number, step, seconds, most) in steps {
            now = now + Duration::from_secs(seconds);
            match step {
                Some(result) => {
                    mtus.learn(&hops(number), result, now);
                    match (result, last.contains_key(&number)) {
                        (Some((there, back)), true) => {
                            let there = there.max(UNMEASURED);
                            let tcp = back.filter(|&back| back >= UNMEASURED).unwrap_or(there);
                            known.insert(number, (there, tcp.min(there), 0));
                        }
                        (None, true) => {
                            let (.., failures) = known.entry(number).or_insert((0, 0, 3));
                            *failures += 1;
                        }
                        _ => {}
                    }
                    known.retain(|_, (.., failures)| *failures < 3);
                }
                None => {
                    mtus.used(question_of(number, most), now);
                    let asked = mtus.take();
                    prop_assert!(asked.len() <= 1);
                    if !asked.is_empty() {
                        prop_assert_eq!(&asked[0], &question_of(number, most));
                        let before = last.insert(number, now);
                        prop_assert!(before.is_none_or(|at| now.since(at) >= Duration::from_secs(10)));
                    }
                    prop_assert!(last.contains_key(&number), "a new path is asked about");
                }
            }
            for number in 0..4 {
                let measured = mtus.measured(&hops(number));
                let sizes = measured.map(|measured| (measured.octets, measured.tcp));
                prop_assert_eq!(sizes, known.get(&number).map(|&(there, tcp, _)| (there, tcp)));
                let tcp = mtus.for_tcp(&hops(number), 1400);
                prop_assert_eq!(tcp, sizes.map_or(UNMEASURED, |(_, tcp)| tcp).min(1400));
            }
        }
    }
}
