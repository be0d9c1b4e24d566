//! What tunnels work with where the route carries less than is configured, or more.

use std::time::Duration;

use crate::tunnel::route::{LEAST_ROUTE_MTU, working_mtu};
use crate::tunnel::{Client, Gateway, Origin, Saved, client};
use crate::wire::tests::{tcp_syn, udp};
use crate::wire::{Datagram, Endpoint, IcmpError};

use super::net::*;

const Y: &str = "203.0.113.1";
const PATH: &str = "203.0.113.1:100 192.168.0.2";
const APP: &str = "127.0.0.1:3456";
/// An MSS of 65,495, as loopback offers.
const JUMBO: [u8; 4] = [2, 4, 0xff, 0xd7];
/// IPv4, UDP around; IPv4, TCP inside.
const HEADERS: u16 = 28 + 40;

fn mss(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]])
}

fn syn_ack(from: Endpoint, to: Endpoint) -> Vec<u8> {
    let mut packet = tcp_syn(from, to, &JUMBO);
    packet[33] |= 0x10;
    let sum = u32::from(!u16::from_be_bytes([packet[36], packet[37]])) + 0x10;
    packet[36..38].copy_from_slice(&(!((sum % 0xffff) as u16)).to_be_bytes());
    packet
}

/// A client with this `mtu` in its configuration.
fn client_with(mtu: u16, addr: &str) -> Peer {
    let Peer { world, mappings, .. } = Peer::new(addr);
    let settings = client::Settings { mtu, ..settings(1000) };
    let client = Client::new(settings, world.clone(), std::sync::Arc::clone(&mappings));
    Peer { world, mappings, client }
}

/// A gateway at 203.0.113.1 with this `mtu`, and its surroundings.
fn gateway_of(mtu: u16) -> (Gateway<World>, World) {
    let own = Y.parse().expect("an address");
    let source = std::sync::Arc::new(std::sync::Mutex::new(Some(own)));
    let world = World { own: [own].into(), source, ..World::default() };
    (gateway_in(world.clone(), |settings| settings.mtu = mtu), world)
}

/// The MSS of a client's SYN as it leaves, and of the SYN-ACK as the application gets it.
fn client_mss(a: &Peer, b: Endpoint) -> (u16, u16) {
    let outer = a.send(tcp_syn(at(APP), b, &JUMBO), START).expect("sent");
    let (from, to) = ends(&outer[28..]);
    let back = udp(ends(&outer).1, ends(&outer).0, &syn_ack(to, from));
    (mss(&outer), mss(&a.receive(back, START).expect("delivered")))
}

/// The same at a gateway, of the SYN as the host gets it and of the SYN-ACK as it leaves.
fn gateway_mss(y: &Gateway<World>, x: &str, now: crate::time::Time) -> (u16, u16) {
    let syn = tcp_syn(at("192.168.0.2:3456"), at("192.168.0.2:80"), &JUMBO);
    let inner = arrive(y, udp(at(x), at("203.0.113.1:100"), &syn), now).expect("arrived");
    let (from, to) = ends(&inner);
    (mss(&inner), mss(&reply(y, syn_ack(to, from), now).expect("sent")))
}

/// What is configured, what the route carries, and what follows.
const CASES: [(u16, u16, u16); 9] = [
    (1500, 1500, 1500),
    (1500, 1492, 1492),
    (1500, 1420, 1420),
    (1500, 1280, 1280),
    // A jumbo link says nothing about the way behind it.
    (1500, 9000, 1500),
    (9000, 9000, 9000),
    (9000, 1500, 1500),
    // Nobody's forged error takes it below that; the configuration may.
    (1500, 552, LEAST_ROUTE_MTU),
    (1000, 552, 1000),
];

#[test]
fn the_smaller_of_route_and_configuration_counts() {
    for (configured, route, works) in CASES {
        assert_eq!(working_mtu(configured, Some(route)), works);
        let a = client_with(configured, "198.51.100.10");
        a.world.set_mtu(Y, route);
        let b = Endpoint { addr: a.map(PATH), port: 80 };
        let expected = works - HEADERS;
        assert_eq!(client_mss(&a, b), (expected, expected), "{configured}, {route}");
        let (y, world) = gateway_of(configured);
        world.set_mtu("198.51.100.20", route);
        assert_eq!(gateway_mss(&y, "198.51.100.20:4000", START), (expected, expected));
        assert_eq!(gateway_mss(&y, "198.51.100.21:4000", START).0, configured.min(1500) - HEADERS);
    }
    assert_eq!(working_mtu(1500, None), 1500, "no route");
}

#[test]
fn every_level_takes_its_octets() {
    let a = Peer::new("198.51.100.10");
    a.world.set_mtu(Y, 1420);
    let path = "203.0.113.1:100 10.0.0.9:100 10.1.0.9:100 192.168.0.2";
    let b = Endpoint { addr: a.map(path), port: 80 };
    let outer = a.send(tcp_syn(at(APP), b, &JUMBO), START).expect("sent");
    assert_eq!(mss(&outer), 1420 - 3 * 28 - 40);
}

#[test]
fn a_client_s_flow_learns_of_a_route_change() {
    let a = Peer::new("198.51.100.10");
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    assert_eq!(client_mss(&a, b).0, 1500 - HEADERS);
    a.world.set_mtu(Y, 1420);
    assert_eq!(client_mss(&a, b), (1420 - HEADERS, 1420 - HEADERS));
    a.world.set_mtu(Y, 1500);
    assert_eq!(client_mss(&a, b), (1500 - HEADERS, 1500 - HEADERS));
}

/// Without an event (the kernel announces no MTU that it learned) new flows know it.
#[test]
fn a_new_flow_asks_for_its_route() {
    let a = Peer::new("198.51.100.10");
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    a.send(tcp_syn(at(APP), b, &JUMBO), START).expect("sent");
    a.world.mtus.lock().expect("no panic").insert(Y.parse().expect("an address"), 1400);
    let other = Endpoint { port: 3457, ..at(APP) };
    assert_eq!(mss(&a.send(tcp_syn(other, b, &JUMBO), START).expect("sent")), 1400 - HEADERS);
}

#[test]
fn a_served_host_s_route_is_the_router_s() {
    let x = Peer::new("198.51.100.20");
    let (c, b) = (at("192.168.0.7:3456"), Endpoint { addr: x.map(PATH), port: 80 });
    let sent = |mtu: u16| {
        x.world.set_mtu(Y, mtu);
        x.send_from(Origin::Served, tcp_syn(c, b, &JUMBO), START).expect("passed on")
    };
    assert_eq!(mss(&sent(1492)), 1492 - HEADERS);
    let outer = sent(1280);
    assert_eq!((mss(&outer), ends(&outer).0), (1280 - HEADERS, c));
}

#[test]
fn a_restored_flow_asks_for_its_route() {
    let a = Peer::new("198.51.100.10");
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    client_mss(&a, b);
    let saved = a.client.saved();
    let new = a.client_beside(None);
    drop(a.client);
    for flow in saved {
        let Ok(Saved::Client(flow)) = Saved::Client(flow).to_string().parse() else {
            panic!("a client's flow")
        };
        assert!(new.restore(flow, Duration::ZERO, START));
    }
    let a = Peer { world: a.world, mappings: a.mappings, client: new };
    a.world.set_mtu(Y, 1420);
    assert_eq!(client_mss(&a, b), (1420 - HEADERS, 1420 - HEADERS));
}

#[test]
fn a_gateway_s_flow_learns_of_a_route_change() {
    let (y, world) = gateway_of(1500);
    let x = "198.51.100.20:4000";
    assert_eq!(gateway_mss(&y, x, START).0, 1500 - HEADERS);
    world.set_mtu("198.51.100.20", 1420);
    let later = START + Duration::from_secs(1);
    assert_eq!(gateway_mss(&y, x, later), (1420 - HEADERS, 1420 - HEADERS));
    // A router whose routes change all the time does not ask for every packet.
    world.set_mtu("198.51.100.20", 1400);
    assert_eq!(gateway_mss(&y, x, later).0, 1420 - HEADERS);
    assert_eq!(gateway_mss(&y, x, later + Duration::from_secs(1)).0, 1400 - HEADERS);
}

/// The same without DF.
fn divisible(mut packet: Vec<u8>) -> Vec<u8> {
    assert_eq!(packet[6], 0x40);
    packet[6] = 0;
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x4000;
    packet[10..12].copy_from_slice(&((sum % 0xffff) as u16).to_be_bytes());
    packet
}

#[test]
fn what_leaves_a_client_in_fragments_against_its_will_is_counted() {
    let a = Peer::new("198.51.100.10");
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    // 28 octets of header inside, 28 around.
    let datagram = |octets: usize| udp(at(APP), b, &vec![0; octets - 2 * 28]);
    let fits =
        [datagram(1500), datagram(1280), divisible(datagram(1501)), divisible(datagram(9000))];
    for packet in fits {
        a.send(packet, START).expect("sent");
    }
    assert_eq!(a.client.fragmented().0, 0);
    a.send(datagram(1501), START).expect("sent all the same");
    assert_eq!(a.client.fragmented(), (1, at("203.0.113.1:0").addr, 1500));
    a.world.set_mtu(Y, 1420);
    a.send(datagram(1420), START).expect("sent");
    a.send(datagram(1421), START).expect("sent all the same");
    assert_eq!(a.client.fragmented(), (2, at("203.0.113.1:0").addr, 1420));
    // Larger than configured, but the link carries it.
    a.world.set_mtu(Y, 9000);
    a.send(datagram(1600), START).expect("sent");
    assert_eq!(a.client.fragmented().0, 2);
}

#[test]
fn what_leaves_a_gateway_in_fragments_against_its_will_is_counted() {
    let (y, world) = gateway_of(1500);
    let (x, b) = (at("198.51.100.20:4000"), at("192.168.0.2:80"));
    let question = udp(at("192.168.0.2:3456"), b, b"?");
    arrive(&y, udp(x, at("203.0.113.1:100"), &question), START).expect("arrived");
    let answer = |octets: usize| udp(b, x, &vec![0; octets - 2 * 28]);
    for packet in [answer(1500), divisible(answer(1501))] {
        reply(&y, packet, START).expect("sent");
    }
    assert_eq!(y.fragmented().0, 0);
    world.set_mtu("198.51.100.20", 1420);
    reply(&y, answer(1421), START + Duration::from_secs(1)).expect("sent all the same");
    assert_eq!(y.fragmented(), (1, x.addr, 1420));
}

/// What a report says: to whom, which MTU in octets, about which packet.
fn reported(world: &World) -> Vec<(std::net::Ipv4Addr, u16, Vec<u8>)> {
    let reports = std::mem::take(&mut *world.reports.lock().expect("no panic"));
    let read = |(to, error): (std::net::Ipv4Addr, Vec<u8>)| {
        let datagram = Datagram::parse(&error).expect("well formed");
        assert_eq!(datagram.dst.addr, to);
        assert!(error.len() <= 576, "RFC 1812 \u{a7}4.3.2.3");
        let parsed = IcmpError::parse(&datagram, &error).expect("an error");
        assert!(parsed.is_about_mtu(&error));
        (to, u16::from_be_bytes([error[26], error[27]]), parsed.quote(&error).to_vec())
    };
    reports.into_iter().map(read).collect()
}

#[test]
fn a_served_host_is_told_what_is_too_long() {
    let x = Peer::new("198.51.100.20");
    let (host, b) = (at("192.168.0.7:3456"), Endpoint { addr: x.map(PATH), port: 80 });
    let datagram = |from: Endpoint, octets: usize| udp(from, b, &vec![0; octets - 2 * 28]);
    let sent = |packet: Vec<u8>, now| -> Option<u16> {
        let (from, head) = (ends(&packet).0, packet[..packet.len().min(548)].to_vec());
        x.send_from(Origin::Served, packet, now).expect("passed on all the same");
        let mut reports = reported(&x.world);
        assert!(reports.len() <= 1);
        let (to, mtu, quote) = reports.pop()?;
        assert_eq!((to, quote), (from.addr, head));
        Some(mtu)
    };
    let later = START + Duration::from_secs(1);
    assert_eq!(sent(datagram(host, 1500), START), None);
    assert_eq!(sent(datagram(host, 1501), START), Some(1472));
    assert_eq!(sent(datagram(host, 1501), START), None, "just told");
    assert_eq!(sent(divisible(datagram(host, 1501)), later), None);
    assert_eq!(sent(datagram(host, 1501), later), Some(1472));
    x.world.set_mtu(Y, 1420);
    let another = Endpoint { port: 3457, ..host };
    assert_eq!(sent(datagram(another, 1421), START), Some(1392));
    // Nobody's forged error about another program's packets takes others below what every path carries.
    x.world.set_mtu(Y, 600);
    let third = Endpoint { port: 3458, ..host };
    assert_eq!(sent(datagram(third, 1280), START), None);
    assert_eq!(sent(datagram(third, 1281), START), Some(1252));
    // Whoever forges a source, he sends nobody an error.
    let elsewhere = at("198.51.100.80:3456");
    assert_eq!(sent(datagram(elsewhere, 1501), START), None);
    // Programs here learn it from the route to the mapped address.
    x.send(datagram(at(APP), 1501), START).expect("sent all the same");
    assert_eq!(reported(&x.world), []);
}

#[test]
fn an_exported_host_is_told_what_is_too_long() {
    let (y, world) = gateway_of(1500);
    let (x, b) = (at("198.51.100.20:4000"), at("192.168.0.2:80"));
    let question = udp(at("192.168.0.2:3456"), b, b"?");
    arrive(&y, udp(x, at("203.0.113.1:100"), &question), START).expect("arrived");
    let packet = udp(b, x, &vec![0; 1473 - 28]);
    reply(&y, packet.clone(), START).expect("sent all the same");
    assert_eq!(reported(&world), [(b.addr, 1472, packet[..548].to_vec())]);
    reply(&y, packet.clone(), START).expect("sent all the same");
    assert_eq!(reported(&world), [], "just told");
    reply(&y, packet, START + Duration::from_secs(1)).expect("sent all the same");
    assert_eq!(reported(&world).len(), 1);
    world.set_mtu("198.51.100.20", 600);
    let later = START + Duration::from_secs(2);
    reply(&y, udp(b, x, &vec![0; 1280 - 56]), later).expect("sent all the same");
    assert_eq!(reported(&world), []);
    reply(&y, udp(b, x, &vec![0; 1281 - 56]), later).expect("sent all the same");
    assert_eq!(reported(&world)[0].1, 1252);
}

/// It would take it for the MTU of its own way to the client, and then tell itself of less, and less.
#[test]
fn a_gateway_never_tells_itself() {
    let own = [Y, "192.168.0.1"].map(|addr| addr.parse().expect("an address"));
    let world = World { own: own.into(), ..World::default() };
    let y = gateway_in(world.clone(), |settings| settings.exports = vec![export("192.168.0.1/32")]);
    world.set_mtu("198.51.100.20", 1500);
    let (x, service) = (at("198.51.100.20:4000"), at("192.168.0.1:80"));
    let question = udp(at("192.168.0.2:3456"), service, b"?");
    arrive(&y, udp(x, at("203.0.113.1:100"), &question), START).expect("arrived");
    reply(&y, udp(service, x, &vec![0; 1473 - 28]), START).expect("sent all the same");
    assert_eq!(reported(&world), []);
}
