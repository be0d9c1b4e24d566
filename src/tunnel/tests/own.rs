//! Paths that begin at this host's own gateway role.
//!
//! ```text
//!                   X 198.51.100.20 | 192.168.0.1 --+-- D 192.168.0.8
//! C 192.168.7.2 --- (gateway, client)               +-- T 192.168.0.9 --- E 172.16.0.2
//! ```

use std::time::Duration;

use crate::counters::Counter;
use crate::tunnel::{Connection, Fate, Gateway, Origin, OuterPort, PortKind, client};
use crate::wire::tests::{echo, icmp_error, raw, tcp, tcp_syn, udp};
use crate::wire::{Datagram, Endpoint};

use super::net::*;

const X: &str = "198.51.100.20";
const DIRECT: &str = "198.51.100.20:100 192.168.0.8";
const DEEP: &str = "198.51.100.20:100 192.168.0.9:100 172.16.0.2";
const APP: &str = "127.0.0.1:3456";
const C: &str = "192.168.7.2:3456";

fn router() -> Peer {
    router_with(vec![export("192.168.0.0/24"), export("198.51.100.20/31")])
}

fn router_with(exports: Vec<crate::config::Export>) -> Peer {
    let mut x = Peer::new(X);
    let lan = "192.168.0.1".parse().expect("an address");
    x.world.own.insert(lan);
    x.world.lan = Some(("192.168.0.0/24".parse().expect("a prefix"), lan));
    x.client = x.client_beside(Some(client::OwnGateway { port: 100, exports }));
    x
}

fn mapped(x: &Peer, path: &str) -> Endpoint {
    Endpoint { addr: x.map(path), port: 80 }
}

fn kinds(from: Endpoint, to: Endpoint) -> [Vec<u8>; 3] {
    [
        udp(from, to, b"question"),
        tcp_syn(from, to, &[2, 4, 0xff, 0xd7]),
        echo(from, Endpoint { port: 0, ..to }, b"ping"),
    ]
}

/// T, which knows nothing of X.
fn next_box() -> Gateway<World> {
    let world = World {
        own: ["192.168.0.9", "172.16.0.1"].map(|addr| addr.parse().expect("an address")).into(),
        inside: vec!["172.16.0.0/24".parse().expect("a prefix")],
        ..World::default()
    };
    gateway_in(world, |s| s.exports = vec![export("172.16.0.0/24")])
}

fn mss(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]])
}

#[test]
fn programs_here_reach_hosts_right_behind_without_a_tunnel() {
    let x = router();
    let d = mapped(&x, DIRECT);
    for packet in kinds(at(APP), d) {
        let sent = x.send(packet.clone(), START).expect("sent");
        let (from, to) = ends(&sent);
        assert_eq!((from.addr, to.addr), (at("192.168.0.1:0").addr, at("192.168.0.8:0").addr));
        let back = x.receive(answer(&sent), START).expect("delivered");
        assert_eq!(ends(&back), ends(&answer(&packet)));
    }
    assert!(x.client.keepalives(START + Duration::from_secs(25)).is_empty());
}

/// The program's own port is the program's at 127.0.0.1 only: somebody else may have it at other
/// addresses.
#[test]
fn the_port_of_such_a_flow_is_owned() {
    let x = router();
    let d = mapped(&x, DIRECT);
    for (kind, packet) in
        [(PortKind::Udp, udp(at(APP), d, b"x")), (PortKind::Tcp, tcp_syn(at(APP), d, &[]))]
    {
        x.world.taken.lock().expect("no panic").insert((kind, at(APP).port));
        let port = ends(&x.send(packet, START).expect("sent")).0.port;
        assert_ne!(port, at(APP).port);
        assert!(x.world.taken.lock().expect("no panic").contains(&(kind, port)), "{kind:?}");
    }
    // One port, whoever it talks to (RFC 4787 REQ-1).
    let other = Endpoint { port: 81, ..d };
    let port = |to| ends(&x.send(tcp_syn(at(APP), to, &[]), START).expect("sent")).0.port;
    assert_eq!(port(d), port(other));
    // A connection through a tunnel needs a port of UDP.
    let through = x.send(tcp_syn(at(APP), mapped(&x, DEEP), &[]), START).expect("sent");
    let port = ends(&through).0.port;
    assert!(x.world.taken.lock().expect("no panic").contains(&(PortKind::Udp, port)));
}

#[test]
fn programs_here_reach_what_tunnels_reach_and_nothing_else() {
    let tcp_80 = crate::config::Export {
        protocol: Some(6),
        ports: vec![80..=80],
        ..export("192.168.0.8/32")
    };
    let x = router_with(vec![tcp_80, export("192.168.0.1/32"), export("198.51.100.20/31")]);
    let own = |rest: &str| format!("{X}:100 {rest}");
    let syn = |path: &str, port| {
        x.send(tcp_syn(at(APP), Endpoint { port, ..mapped(&x, path) }, &[]), START)
    };
    assert!(syn(DIRECT, 80).is_ok());
    assert_eq!(syn(DIRECT, 22), rejected(Counter::GatewayNotExported));
    let datagram = x.send(udp(at(APP), mapped(&x, DIRECT), b"x"), START);
    assert_eq!(datagram, rejected(Counter::GatewayNotExported));
    assert_eq!(syn(&own("192.168.0.9"), 80), rejected(Counter::GatewayNotExported));
    assert_eq!(syn(&own("127.0.0.1"), 80), rejected(Counter::GatewayNotExported));
    assert_eq!(syn(&own(X), 80), rejected(Counter::GatewayOwnAddress));
    assert!(syn(&own("192.168.0.1"), 80).is_ok(), "listed by itself");
    assert_eq!(syn("198.51.100.20:101 192.168.0.8", 80), rejected(Counter::ClientLoop));
}

/// Nobody can own what takes a port's place there.
#[test]
fn other_protocols_of_programs_here_are_refused() {
    let x = router();
    let d = mapped(&x, DIRECT);
    let gre = || raw(47, Endpoint { port: 0, ..at(APP) }, Endpoint { port: 0, ..d }, b"12345678");
    assert_eq!(x.send(gre(), START), rejected(Counter::ClientLoop));
    let served = raw(47, Endpoint { port: 0, ..at(C) }, Endpoint { port: 0, ..d }, b"12345678");
    assert!(x.send_from(crate::tunnel::Origin::Served, served, START).is_ok());
}

#[test]
fn only_the_exact_reverse_comes_back_to_a_program() {
    let x = router();
    let sent = x.send(tcp_syn(at(APP), mapped(&x, DIRECT), &[]), START).expect("sent");
    let (here, host) = ends(&sent);
    let stray = Fate::Dropped(Counter::ClientStrayReply);
    for (from, to) in [
        (Endpoint { port: 81, ..host }, here),
        (at("192.168.0.9:80"), here),
        (host, Endpoint { port: 22, ..here }),
        (host, Endpoint { addr: X.parse().expect("an address"), ..here }),
        (host, at(APP)),
    ] {
        assert_eq!(x.receive(tcp_syn(from, to, &[]), START), Err(stray), "{from:?} to {to:?}");
    }
    let inside = udp(host, here, b"another protocol");
    assert!(x.receive(inside, START).is_err());
    let served = x.receive_for(crate::tunnel::Origin::Served, answer(&sent), START);
    assert_eq!(served, Err(stray), "to a served host");
    x.receive(answer(&sent), START).expect("the genuine one");
    let opening = x.receive(tcp_syn(host, here, &[]), START);
    assert_eq!(opening, dropped(Counter::ClientOpening), "nothing opens a connection here");
}

#[test]
fn errors_about_such_a_flow_pass_both_ways() {
    let x = router();
    let d = mapped(&x, DIRECT);
    let asked = udp(at(APP), d, b"hello");
    let sent = x.send(asked.clone(), START).expect("sent");
    for (reporter, shown) in
        [("192.168.0.8:0", d.addr), ("192.168.0.5:0", at("192.168.0.5:0").addr)]
    {
        let error = icmp_error(at(reporter), ends(&sent).0, 3, 3, [0; 4], &sent);
        let told = x.receive(error, START).expect("delivered");
        assert_eq!((ends(&told).0.addr, ends(&told).1.addr), (shown, at(APP).addr));
        assert_eq!(told[28..], asked[..], "the packet as the program sent it");
    }
    let answered = answer(&sent);
    let back = x.receive(answered.clone(), START).expect("delivered");
    let error = icmp_error(at("127.0.0.1:0"), d, 3, 3, [0; 4], &back);
    let told = x.send(error, START).expect("for D");
    assert_eq!((ends(&told).0.addr, ends(&told).1.addr), (ends(&sent).0.addr, ends(&sent).1.addr));
    assert_eq!(told[28..], answered[..], "the packet as D sent it");
}

#[test]
fn a_connection_without_a_tunnel_outlives_natttd_with_its_port() {
    let x = router();
    let sent = x.send(tcp_syn(at(APP), mapped(&x, DIRECT), &[]), START).expect("sent");
    let saved = x.client.saved().remove(0);
    let text = crate::tunnel::Saved::Client(saved.clone()).to_string();
    assert_eq!(text.parse(), Ok(crate::tunnel::Saved::Client(saved.clone())));
    let exports = |prefix| client::OwnGateway { port: 100, exports: vec![export(prefix)] };
    let own = Some(exports("192.168.0.0/24"));
    assert!(!x.client_beside(own.clone()).restore(saved.clone(), Duration::ZERO, START), "taken");
    let Peer { mut world, mappings, client } = x;
    drop(client);
    world.own.insert("192.168.0.1".parse().expect("an address"));
    for (gateway, goes_on) in [(own, true), (Some(exports("192.168.0.9/32")), false), (None, false)]
    {
        let x = Peer {
            client: client_with(gateway, &world, &mappings),
            world: world.clone(),
            mappings: std::sync::Arc::clone(&mappings),
        };
        assert_eq!(x.client.restore(saved.clone(), Duration::ZERO, START), goes_on);
        assert_eq!(x.receive(answer(&sent), START).is_ok(), goes_on);
    }
    // Its packets would leave with an address that is somebody else's by now.
    world.own.remove(&at("192.168.0.1:0").addr);
    let renumbered = client_with(Some(exports("192.168.0.0/24")), &world, &mappings);
    assert!(!renumbered.restore(saved, Duration::ZERO, START));
}

#[test]
fn behind_further_boxes_the_tunnel_begins_at_the_next() {
    let x = router();
    let e = mapped(&x, DEEP);
    for packet in kinds(at(APP), e) {
        let outer = x.send(packet.clone(), START).expect("sent");
        // What T would get if X had taken off a level: it need not know X's inside addresses.
        assert_eq!(ends(&outer).0.addr, at("198.51.100.20:0").addr);
        assert_eq!(ends(&outer).1, at("192.168.0.9:100"));
        let t = next_box();
        let inner = arrive(&t, outer, START).expect("peeled");
        assert_eq!(ends(&inner).0.addr, at("198.51.100.20:0").addr);
        let back = reply(&t, answer(&inner), START).expect("encapsulated");
        let back = x.receive(back, START).expect("delivered");
        assert_eq!(ends(&back), ends(&answer(&packet)));
    }
    let syn = x.send(kinds(at(APP), e)[1].clone(), START).expect("sent");
    assert_eq!(mss(&syn), 1432, "one level");
    let direct = x.send(kinds(at(APP), mapped(&x, DIRECT))[1].clone(), START).expect("sent");
    assert_eq!(mss(&direct), 1460, "none");
}

#[test]
fn served_hosts_reach_what_is_behind_further_boxes() {
    let x = router();
    let t = gateway_with(&["192.168.0.9"], |s| {
        s.exports = vec![export("172.16.0.0/24")];
        s.inside_sources = vec!["192.168.0.0/16".parse().expect("a prefix")];
    });
    for packet in kinds(at(C), mapped(&x, DEEP)) {
        let outer = x.send_from(crate::tunnel::Origin::Served, packet.clone(), START);
        let outer = outer.expect("passed on");
        assert_eq!((ends(&outer).0.addr, ends(&outer).1), (at(C).addr, at("192.168.0.9:100")));
        let inner = arrive(&t, outer, START).expect("peeled");
        let back = reply(&t, answer(&inner), START).expect("encapsulated");
        let back = x.receive_for(crate::tunnel::Origin::Served, back, START).expect("passed back");
        assert_eq!(ends(&back), ends(&answer(&packet)));
    }
}

/// Its next box enters this host's routing, as no later hop does otherwise.
#[test]
fn the_next_box_must_be_exported() {
    let udp_100 = crate::config::Export {
        protocol: Some(17),
        ports: vec![100..=100],
        ..export("192.168.0.9/32")
    };
    let x = router_with(vec![udp_100, export("192.168.0.1/32")]);
    let syn = |rest: &str| {
        let to = mapped(&x, &format!("{X}:100 {rest}"));
        x.send(tcp_syn(at(APP), to, &[]), START)
    };
    assert!(syn("192.168.0.9:100 172.16.0.2").is_ok());
    assert_eq!(syn("192.168.0.9:53 172.16.0.2"), rejected(Counter::GatewayNotExported));
    assert_eq!(syn("192.168.0.8:100 172.16.0.2"), rejected(Counter::GatewayNotExported));
    assert_eq!(syn("203.0.113.1:100 172.16.0.2"), rejected(Counter::GatewayNotExported));
    // Back to this host, listed or not, by whatever address and port: never once more.
    for back in ["192.168.0.1:100", "198.51.100.20:100", "127.0.0.1:100", "192.168.0.1:22"] {
        assert_eq!(syn(&format!("{back} 192.168.0.9")), rejected(Counter::ClientLoop), "{back}");
    }
    // Hops behind it never do.
    assert!(syn("192.168.0.9:100 198.51.100.20:100 127.0.0.1").is_ok());
}

#[test]
fn the_path_says_whether_anything_can_take_it() {
    let x = router();
    for (path, refusal) in [
        (DIRECT, None),
        (DEEP, None),
        ("203.0.113.1:100 127.0.0.1", None),
        ("198.51.100.20:100 192.168.0.255", Some(Counter::GatewayNotExported)),
        ("198.51.100.20:100 10.0.0.1", Some(Counter::GatewayNotExported)),
        ("198.51.100.20:100 192.168.0.1", Some(Counter::GatewayOwnAddress)),
        ("198.51.100.20:100 10.0.0.1:100 192.168.0.8", Some(Counter::GatewayNotExported)),
        ("198.51.100.20:101 192.168.0.8", Some(Counter::ClientLoop)),
        ("198.51.100.20:100 198.51.100.20:100 192.168.0.8", Some(Counter::ClientLoop)),
    ] {
        assert_eq!(x.client.refusal(&path.parse().expect("a path")), refusal, "{path}");
    }
    let only = |path: &str| x.mappings.lookup(x.map(path)).expect("mapped");
    assert!(x.client.is_direct(&only(DIRECT)) && !x.client.is_direct(&only(DEEP)));
}

#[test]
fn errors_name_the_boxes_that_are_left() {
    let x = router();
    let e = mapped(&x, DEEP);
    let asked = tcp_syn(at(APP), e, &[]);
    let outer = x.send(asked.clone(), START).expect("sent");
    for octets in [28, 56, 1000] {
        let quote = &outer[..octets.min(outer.len())];
        let error = icmp_error(at("192.168.0.9:0"), ends(&outer).0, 3, 3, [0; 4], quote);
        let told = x.receive(error, START).expect("delivered");
        assert_eq!(told[28..56], asked[..28], "{octets} octets");
    }
    let t = next_box();
    let inner = arrive(&t, outer, START).expect("peeled");
    let error = icmp_error(at("172.16.0.2:0"), ends(&inner).0, 3, 3, [0; 4], &inner);
    let told = x.receive(reply(&t, error, START).expect("sent back"), START).expect("delivered");
    assert_eq!(ends(&told).0.addr, e.addr);
    assert_eq!(told[28..], asked[..]);
}

/// The kernel would write another source than the flow's.
#[test]
fn keepalives_of_such_a_flow_are_whole_packets() {
    let x = router();
    let deeper = "198.51.100.20:100 192.168.0.9:100 172.16.0.7:100 10.0.0.2";
    let outer = x.send(udp(at(APP), mapped(&x, deeper), b"x"), START).expect("sent");
    let due = x.client.keepalives(START + Duration::from_secs(25));
    let [keepalive] = &due[..] else { panic!("one keepalive, not {}", due.len()) };
    assert!(matches!(&*keepalive.from, OuterPort::Own(_)));
    assert_eq!(keepalive.to.to_string(), "192.168.0.9:100");
    let client::Body::Packet(packet) = &keepalive.body else { panic!("a whole packet") };
    assert_eq!(ends(packet), ends(&outer));
    let t = next_box();
    let opened = arrive(&t, outer, START).expect("peeled");
    let middle = arrive(&t, packet.clone(), START).expect("peeled");
    assert_eq!(ends(&middle), ends(&opened), "the flow that it keeps alive");
}

#[test]
fn the_source_of_such_a_flow_stays_the_first_box_s() {
    let x = router();
    let send = || x.send(udp(at(APP), mapped(&x, DEEP), b"x"), START).expect("sent");
    let first = ends(&send());
    x.world.epoch.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    *x.world.source.lock().expect("no panic") = Some("198.51.100.99".parse().expect("one"));
    assert_eq!(ends(&send()), first);
}

/// A path that may not be taken is no reason to fail while there is another.
#[test]
fn of_several_paths_one_that_may_be_taken_is() {
    let x = router();
    let b = x.map_all(&[
        "198.51.100.20:100 10.0.0.5",
        "198.51.100.20:100 198.51.100.20:100 192.168.0.8",
        "203.0.113.1:100 192.168.0.2",
    ]);
    for port in 2000..2050 {
        let syn = tcp_syn(Endpoint { port, ..at(APP) }, Endpoint { addr: b, port: 80 }, &[]);
        let outer = x.send(syn, START).expect("sent");
        assert_eq!(ends(&outer).1, at("203.0.113.1:100"));
    }
    // Nor is one that no other protocol or port may take.
    let tcp_80 = crate::config::Export {
        protocol: Some(6),
        ports: vec![80..=80],
        ..export("192.168.0.8/32")
    };
    let x = router_with(vec![tcp_80]);
    let d = x.map_all(&[DIRECT, "203.0.113.1:100 192.168.0.8"]);
    let outer = |app: u16, port| {
        let packet = tcp_syn(Endpoint { port: app, ..at(APP) }, Endpoint { addr: d, port }, &[]);
        ends(&x.send(packet, START).expect("sent")).1
    };
    assert!((2000..2050).all(|app| outer(app, 22) == at("203.0.113.1:100")));
    // The way through the Internet is for when the short one fails.
    assert!((2000..2050).all(|app| outer(app, 80) == at("192.168.0.8:80")));
}

/// X's inside address becomes another.
fn renumber(x: &Peer) {
    let both = ["192.168.0.1:0", "192.168.0.77:0"].map(|end| at(end).addr);
    *x.world.renumbered.lock().expect("no panic") = Some(both);
}

/// Its packets would leave with an address that is somebody else's by now, and no answer would come.
#[test]
fn a_flow_without_a_tunnel_follows_this_host_s_address() {
    let x = router();
    let d = mapped(&x, DIRECT);
    // A SYN that was not answered is sent again.
    for packet in kinds(at(APP), d) {
        let before = x.send(packet.clone(), START).expect("sent");
        renumber(&x);
        let sent = x.send(packet.clone(), START).expect("sent");
        let (from, to) = ends(&sent);
        assert_eq!((from.addr, to), (at("192.168.0.77:0").addr, ends(&before).1));
        assert_eq!(from.port, ends(&before).0.port, "the same port");
        let back = x.receive(answer(&sent), START).expect("delivered");
        assert_eq!(ends(&back), ends(&answer(&packet)));
        assert!(x.receive(answer(&before), START).is_err(), "to the old address");
        *x.world.renumbered.lock().expect("no panic") = None;
        x.send(packet, START).expect("and back again");
    }
    assert_eq!(x.client.usage().0, 3);
}

/// It cannot go on with another address; its program learns it now, not when its patience ends.
#[test]
fn a_connection_without_a_tunnel_ends_with_this_host_s_address() {
    const ACK: u8 = 0x10;
    let x = router();
    let d = mapped(&x, DIRECT);
    let sent = x.send(tcp_syn(at(APP), d, &[]), START).expect("sent");
    x.receive(answer(&sent), START).expect("delivered");
    let segment = || x.send(tcp(at(APP), d, ACK), START);
    segment().expect("sent");
    renumber(&x);
    let host = "192.168.0.8".parse().expect("an address");
    x.world.unreachable.lock().expect("no panic").insert(host);
    segment().expect("without a route nothing has taken the address's place: it may come back");
    x.world.unreachable.lock().expect("no panic").clear();
    assert_eq!(segment(), rejected(Counter::ClientRenumbered));
    let again = x.send(tcp_syn(at(APP), d, &[]), START).expect("a new connection");
    assert_eq!(ends(&again).0.addr, at("192.168.0.77:0").addr);
    segment().expect("sent");
}

/// TCP without a tunnel has a port of TCP, through one it needs another, of UDP.
#[test]
fn a_flow_whose_other_path_cannot_be_had_is_kept() {
    let x = router();
    let to = Endpoint { addr: x.map_all(&[DIRECT, "203.0.113.1:100 192.168.0.8"]), port: 80 };
    let syn = |now| x.send(tcp_syn(at(APP), to, &[]), now);
    let first = syn(START).expect("sent");
    assert_eq!(ends(&first).1, at("192.168.0.8:80"));
    let every = (1..=u16::MAX).map(|port| (PortKind::Udp, port));
    x.world.taken.lock().expect("no panic").extend(every);
    let later = START + Duration::from_secs(3);
    assert_eq!(syn(later).map(|again| ends(&again)), Ok(ends(&first)));
    assert_eq!(x.client.rerouted_flows(), 0);
    x.receive(answer(&first), later).expect("the answer still finds it");
}

/// The error must not be kept from a program that no other path can serve.
#[test]
fn an_error_is_told_where_the_other_path_may_not_be_taken() {
    let x = router();
    let b = x.map_all(&["198.51.100.20:100 10.0.0.5", "203.0.113.1:100 192.168.0.2"]);
    let syn = tcp_syn(at(APP), Endpoint { addr: b, port: 80 }, &[]);
    let outer = x.send(syn, START).expect("sent");
    let error = icmp_error(at("10.9.9.9:0"), ends(&outer).0, 3, 1, [0; 4], &outer);
    assert!(x.receive(error, START).is_ok());
}

/// Such a packet would be queued, sent on and queued again without an end.
#[test]
fn an_address_of_the_pool_is_no_host() {
    let x = router_with(vec![export("192.168.0.0/24"), export("127.0.0.0/8"), export("0.0.0.0/0")]);
    let pool = x.client.mappings().pool();
    let path = |host: String| format!("{X}:100 {host}").parse().expect("a path");
    let inside = path(pool.addr().to_string());
    assert_eq!(x.client.refusal(&inside), Some(Counter::ClientLoop));
    assert_eq!(x.client.refusal(&path("192.168.0.8".into())), None);
}

#[test]
fn the_kernel_is_asked_about_connections_without_a_tunnel() {
    let x = router();
    let d = mapped(&x, DIRECT);
    for packet in kinds(at(APP), d) {
        let sent = x.send(packet, START).expect("sent");
        x.receive(answer(&sent), START).expect("delivered");
    }
    let known = x.client.some_connections(&mut 0, 9);
    let mut protocols: Vec<u8> = known.iter().map(|known| known.protocol).collect();
    protocols.sort_unstable();
    assert_eq!(protocols, [6, 17], "TCP, UDP; no ping");
    assert!(known.iter().all(|known| known.from.addr == at("192.168.0.1:0").addr));
    assert!(known.iter().all(|known| known.to == at("192.168.0.8:80")));
}

/// A program's own are not forwarded.
#[test]
fn a_served_host_s_connection_that_stands_is_made_known() {
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;
    let x = router();
    let d = mapped(&x, DIRECT);
    for (origin, application, known) in
        [(Origin::Served, at(C), true), (Origin::Here, at(APP), false)]
    {
        let sent = x.send_from(origin, tcp_syn(application, d, &[]), START).expect("sent");
        let (from, to) = ends(&sent);
        let standing = || {
            let packet = tcp(to, from, ACK);
            x.client.standing(&Datagram::parse(&packet).expect("a packet"), START)
        };
        x.receive_for(origin, tcp(to, from, SYN_ACK), START).expect("delivered");
        assert_eq!(standing(), None, "not open");
        x.send_from(origin, tcp(application, d, ACK), START).expect("sent");
        let connection = Connection { protocol: 6, from, to };
        assert_eq!(standing(), known.then_some(connection));
    }
}
