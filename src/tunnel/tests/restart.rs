//! Connections outlive client and gateway.

use std::time::Duration;

use crate::mapping::Mappings;
use crate::tunnel::{Client, Fate, Gateway, Origin, Saved, client};
use crate::wire::Endpoint;
use crate::wire::tests::{tcp_syn, udp};

use super::net::*;

const PATH: &str = "203.0.113.1:100 192.168.0.2";
const SLACK: Duration = Duration::from_secs(60);

/// Through text, as a file holds it.
fn written(flows: Vec<Saved>) -> Vec<Saved> {
    let lines = flows.iter().map(|flow| format!("{flow}\n")).collect::<String>();
    Saved::read(&(Saved::header("boot") + &lines), "boot").expect("flows").0
}

impl Peer {
    /// The same host with a new natttd, which knows what the old one saved.
    fn restarted(self) -> Self {
        let Peer { world, mappings, client } = self;
        let flows = written(client.saved().into_iter().map(Saved::Client).collect());
        let state = mappings.to_state();
        drop((client, mappings));
        let mappings = Mappings::new("127.64.0.0/10".parse().expect("a prefix"), 100, SLACK);
        mappings.restore(state, START);
        let mappings = std::sync::Arc::new(mappings);
        let settings = client::Settings {
            mtu: 1500,
            path_mtus: None,
            keepalive: SLACK,
            max_flows: 1000,
            max_flows_per_host: 9,
            gateway: None,
        };
        let client = Client::new(settings, world.clone(), std::sync::Arc::clone(&mappings));
        for flow in flows {
            let Saved::Client(flow) = flow else { panic!("a client's flow") };
            assert!(client.restore(flow, SLACK, START));
        }
        Peer { world, mappings, client }
    }
}

fn restarted(
    old: Gateway<World>,
    change: impl FnOnce(&mut crate::tunnel::gateway::Settings),
) -> (Gateway<World>, usize) {
    let new = gateway_with(&["203.0.113.1", "192.168.0.1"], change);
    let flows = written(old.saved().into_iter().map(Saved::Gateway).collect());
    let restored = flows.into_iter().filter(|flow| {
        let Saved::Gateway(flow) = flow else { panic!("a gateway's flow") };
        new.restore(flow.clone(), SLACK, START)
    });
    let count = restored.count();
    (new, count)
}

/// B speaks first after both were restarted: nothing may depend on a packet of A's.
#[test]
fn a_download_goes_on_after_a_restart_of_both() {
    let (a, y) = (Peer::new("192.168.0.2"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let mut x = LegacyNat::new("198.51.100.20");
    let (app, b) = (at("127.0.0.1:3456"), Endpoint { addr: a.map(PATH), port: 80 });
    let served = at("192.168.0.9:3456");
    for packet in [udp(app, b, b"get"), tcp_syn(app, b, &[])] {
        let inner = arrive(&y, x.out(a.send(packet, START).expect("sent")), START);
        let inner = inner.expect("decapsulated");
        reply(&y, answer(&inner), START).expect("answered");
    }
    let packet = a.send_from(Origin::Served, udp(served, b, b"get"), START).expect("sent");
    arrive(&y, x.out(packet), START).expect("decapsulated");

    let seen: Vec<_> = y.saved();
    let (y, restored) = restarted(y, |_| {});
    assert_eq!(restored, 3);
    let a = a.restarted();
    assert_eq!(a.client.usage().0, 3);
    for flow in seen {
        let host = flow.host;
        let peer = Endpoint { port: flow.peer_port, ..flow.outer };
        let data = match flow.protocol {
            17 => udp(host, peer, b"data"),
            _ => answer(&tcp_syn(peer, host, &[])),
        };
        let back = x.back(reply(&y, data, START).expect("encapsulated"));
        let to = if ends(&back).1.addr == served.addr { Origin::Served } else { Origin::Here };
        let delivered = a.receive_for(to, back, START).expect("delivered");
        assert_eq!(ends(&delivered).0.addr, b.addr);
    }
    // A goes on from the same outer port, and says so at once to the NAT boxes on the way.
    assert_eq!(a.client.keepalives(START).len(), 3);
    let outer = a.send(udp(app, b, b"more"), START).expect("sent");
    assert_eq!(x.out(outer.clone())[20..22], x.out(outer)[20..22]);
}

#[test]
fn what_may_not_be_reached_any_more_is_not_restored() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    arrive(&y, a.send(udp(at("127.0.0.1:3456"), b, b"x"), START).expect("sent"), START)
        .expect("decapsulated");
    let (y, restored) = restarted(y, |settings| settings.exports = vec![export("192.168.0.3/32")]);
    assert_eq!((restored, y.usage().0), (0, 0));
    let data = udp(at("192.168.0.2:80"), at("198.51.100.10:3456"), b"data");
    assert!(matches!(reply(&y, data, START), Err(Fate::Dropped(_))));
}

#[test]
fn flows_whose_time_is_over_or_whose_port_is_gone_are_not_restored() {
    let (a, b) = (Peer::new("198.51.100.10"), at("127.0.0.1:3456"));
    let to = Endpoint { addr: a.map(PATH), port: 80 };
    a.send(udp(b, to, b"x"), START).expect("sent");
    let flow = a.client.saved().remove(0);
    let fresh = another_client(&a);
    // The old client still has the port.
    assert!(!fresh.restore(flow.clone(), SLACK, START));
    drop(a.client);
    assert!(
        !fresh.restore(flow.clone(), SLACK, START + Duration::from_secs(200)),
        "120 s and slack"
    );
    assert!(fresh.restore(flow.clone(), SLACK, START));
    assert!(!fresh.restore(flow, SLACK, START), "once");
}

/// As the file has it before flows that ended are left out: a socket went on to another mapped
/// address, which took its first flow's place.
#[test]
fn a_flow_that_gave_way_does_not_come_back_instead_of_its_heir() {
    let (a, app) = (Peer::new("198.51.100.10"), at("127.0.0.1:5060"));
    let before = Endpoint { addr: a.map(PATH), port: 5060 };
    a.world.unreachable.lock().expect("no panic").insert("203.0.113.9".parse().expect("a box"));
    let after = Endpoint { addr: a.map_all(&[PATH, "203.0.113.9 192.168.0.2"]), port: 5060 };
    let mut lines = Vec::new();
    for to in [before, after] {
        a.send(udp(app, to, b"x"), START).expect("sent");
        lines.extend(a.client.fresh().into_iter().map(Saved::Client));
    }
    let (new, lives) = (another_client(&a), a.client.saved());
    drop(a.client);
    for flow in written(lines) {
        let Saved::Client(flow) = flow else { panic!("a client's flow") };
        new.restore(flow, SLACK, START);
    }
    assert_eq!(new.saved(), lives);
}

/// On the same host, with the same mapped addresses and no flow.
fn another_client(peer: &Peer) -> Client<World> {
    let settings = client::Settings {
        mtu: 1500,
        path_mtus: None,
        keepalive: SLACK,
        max_flows: 10,
        max_flows_per_host: 9,
        gateway: None,
    };
    Client::new(settings, peer.world.clone(), std::sync::Arc::clone(&peer.mappings))
}

#[test]
fn new_flows_are_told_once() {
    let (a, y) = (Peer::new("198.51.100.10"), gateway(&["203.0.113.1", "192.168.0.1"]));
    let b = Endpoint { addr: a.map(PATH), port: 80 };
    for text in [&b"one"[..], b"two"] {
        let outer = a.send(udp(at("127.0.0.1:3456"), b, text), START).expect("sent");
        arrive(&y, outer, START).expect("decapsulated");
    }
    assert_eq!((a.client.fresh().len(), y.fresh().len()), (1, 1));
    assert_eq!((a.client.fresh().len(), y.fresh().len()), (0, 0));
}
