//! Where room is scarce, what is over makes room for what begins.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::counters::Counter;
use crate::time::Time;
use crate::tunnel::lifetime::{SCARCE_OVER, TCP_ESTABLISHED, TCP_TRANSITORY};
use crate::tunnel::{Connection, Fate, Gateway};
use crate::wire::tests::tcp;
use crate::wire::{Datagram, Endpoint};

use super::net::*;

const PATH: &str = "203.0.113.1:100 192.168.0.2";
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A client, a gateway that lets it have 100 flows, and the mapped address of a host behind it.
fn bench() -> (Peer, Gateway<World>, Endpoint) {
    let a = Peer::new("198.51.100.10");
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    (a, gateway_with(&["203.0.113.1"], |s| s.max_flows_per_source = 100), b)
}

fn app(port: u16) -> Endpoint {
    Endpoint { port, ..at("127.0.0.1:0") }
}

/// One segment from the application to the host, and the host's answer.
fn exchange(
    (a, y, b): &(Peer, Gateway<World>, Endpoint),
    port: u16,
    (flags, answer): (u8, u8),
    now: Time,
) -> Result<(), Fate> {
    let outer = a.send(tcp(app(port), *b, flags), now)?;
    let inner = arrive(y, outer, now)?;
    let (from, to) = ends(&inner);
    let outer = reply(y, tcp(to, from, answer), now)?;
    a.receive(outer, now).map(drop)
}

fn open(bench: &(Peer, Gateway<World>, Endpoint), port: u16, now: Time) -> Result<(), Fate> {
    exchange(bench, port, (SYN, SYN | ACK), now)?;
    exchange(bench, port, (ACK, ACK), now)
}

#[test]
fn closed_connections_of_one_client_do_not_keep_it_out() {
    let bench = bench();
    let mut now = START;
    open(&bench, 1, now).expect("the connection that stays");
    for port in 2..1000 {
        open(&bench, port, now).unwrap_or_else(|fate| panic!("connection {port}: {fate:?}"));
        exchange(&bench, port, (FIN | ACK, FIN | ACK), now).expect("closed");
        now = now + Duration::from_millis(100);
        bench.1.expire(now);
    }
    exchange(&bench, 1, (ACK, ACK), now).expect("still there");
    assert!(bench.1.usage().0 > 20, "nothing goes before there is need");
}

#[test]
fn connections_that_stand_keep_others_out() {
    let bench = bench();
    for port in 1..=100 {
        open(&bench, port, START).expect("there is room");
    }
    let later = START + TCP_TRANSITORY;
    bench.1.expire(later);
    let refused = open(&bench, 101, later);
    assert_eq!(refused, Err(Fate::Dropped(Counter::GatewaySourceFull)));
}

#[test]
fn a_closed_connection_gives_its_port_back_where_ports_are_scarce() {
    let bench = bench();
    let (a, ..) = &bench;
    let owned = || a.world.taken.lock().expect("no panic").len();
    for port in [1, 2] {
        open(&bench, port, START).expect("there is room");
    }
    exchange(&bench, 2, (FIN | ACK, FIN | ACK), START).expect("closed");
    let later = START + SCARCE_OVER;
    a.client.expire(later);
    assert_eq!(owned(), 2, "there are enough");
    a.world.few_ports.store(true, Relaxed);
    a.client.expire(later);
    assert_eq!(owned(), 1);
}

/// After a reset that reached one side only, the other goes on sending: that belongs in the tunnel, too.
#[test]
fn the_kernel_is_asked_for_connections_that_may_still_speak() {
    let bench = bench();
    let asked = || {
        (
            bench.0.client.some_connections(&mut 0, 9).len(),
            bench.1.some_connections(&mut 0, 9).len(),
        )
    };
    open(&bench, 1, START).expect("there is room");
    open(&bench, 2, START).expect("there is room");
    assert_eq!(asked(), (2, 2));
    exchange(&bench, 1, (FIN | ACK, FIN | ACK), START).expect("closed");
    assert_eq!(asked(), (1, 1));
    exchange(&bench, 2, (RST, ACK), START).expect("reset");
    assert_eq!(asked(), (1, 1));
}

/// Its kernel forgets one and meets it in the middle. Somebody who forges a client's packets makes flows, but
/// the host resets what it does not know.
#[test]
fn only_a_connection_that_stands_is_made_known_by_what_the_host_sends() {
    let bench = bench();
    let y = &bench.1;
    let outer = |port, flags| bench.0.send(tcp(app(port), bench.2, flags), START).expect("sent");
    let inner = arrive(y, outer(1, SYN), START).expect("forwarded");
    let (peer, host) = ends(&inner);
    let known = |from, to, now| {
        let packet = tcp(from, to, ACK);
        y.standing(&Datagram::parse(&packet).expect("a packet"), now)
    };
    assert_eq!(known(host, peer, START), None, "not answered");
    reply(y, tcp(host, peer, SYN | ACK), START).expect("answered");
    assert_eq!(known(host, peer, START), None, "not open");
    arrive(y, outer(1, ACK), START).expect("forwarded");
    let connection = Connection { protocol: 6, from: peer, to: host };
    assert_eq!(known(host, peer, START), Some(connection));
    let other = Endpoint { port: peer.port + 1, ..peer };
    assert_eq!(known(host, other, START), None);
    assert_eq!(known(peer, host, START), None, "the other way");
    assert_eq!(known(host, peer, START + TCP_ESTABLISHED), None, "expired");

    let inner = arrive(y, outer(2, ACK), START).expect("forwarded");
    let (peer, host) = ends(&inner);
    reply(y, tcp(host, peer, RST), START).expect("a reset");
    arrive(y, outer(2, ACK), START).expect("forwarded");
    assert_eq!(known(host, peer, START), None, "reset");
}

#[test]
fn nothing_is_kept_alive_for_a_connection_that_is_over() {
    let bench = bench();
    open(&bench, 1, START).expect("there is room");
    exchange(&bench, 1, (FIN | ACK, FIN | ACK), START).expect("closed");
    let due = START + Duration::from_secs(20);
    assert!(bench.0.client.keepalives(due).is_empty());
    open(&bench, 1, due).expect("the same port again");
    assert_eq!(bench.0.client.keepalives(due + Duration::from_secs(20)).len(), 1);
}
