//! What one packet costs in the pure layers, without kernel and system calls.
//!
//! `cargo bench --bench packets`. Every packet belongs to a flow that exists, and is handed over
//! in a fresh copy, as a worker finds it in its batch; the copy is not measured.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;

use nattt::config::Export;
use nattt::mapping::Mappings;
use nattt::path::PathSet;
use nattt::time::Time;
use nattt::tunnel::{
    Addresses, Client, Environment, Fate, Front, Gateway, Lease, Origin, PortKind, Route, Routes,
    client, gateway,
};

const NOW: Time = Time::from_millis(1_700_000_000_000);
const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const B: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PORT: u16 = 3456;
/// UDP payloads, in octets: a small packet, and one that fills a frame.
const PAYLOADS: [usize; 2] = [64, 1400];

/// A host's surroundings, without a kernel.
struct World;

struct Reserved(u16);

impl Lease for Reserved {
    fn port(&self) -> u16 {
        self.0
    }
}

impl Addresses for World {
    fn is_own(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn is_inside(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn is_hairpin(&self, _: u32, _: Ipv4Addr) -> bool {
        false
    }
}

impl Routes for World {
    fn route(&self, _: Ipv4Addr) -> Option<Route> {
        Some(Route { source: A, mtu: 1500 })
    }

    fn route_epoch(&self) -> u64 {
        0
    }

    fn report(&self, _: Ipv4Addr, _: &[u8]) {}
}

impl Environment for World {
    type Lease = Reserved;

    fn reserve(&self, _: PortKind, preferred: u16) -> Option<Reserved> {
        Some(Reserved(preferred))
    }

    fn is_served(&self, _: Ipv4Addr) -> bool {
        true
    }

    fn ports_are_scarce(&self) -> bool {
        false
    }
}

/// The four packets of one question and its answer, with the roles that know their flow.
struct Flow {
    client: Client<World>,
    gateway: Gateway<World>,
    question: Vec<u8>,
    outer_question: Vec<u8>,
    reply: Vec<u8>,
    outer_reply: Vec<u8>,
}

impl Flow {
    fn new(payload: usize) -> Self {
        let (client, mapped) = client();
        let gateway = gateway();
        let question = udp((LOCALHOST, PORT), (mapped, 7), payload);
        let outer_question =
            encapsulated(question.clone(), |p, front| client.outgoing(p, Origin::Here, front, NOW));
        gateway.incoming(&mut outer_question.clone(), 2, NOW);
        let reply = udp((B, 7), (A, PORT), payload);
        let outer_reply = encapsulated(reply.clone(), |p, front| gateway.outgoing(p, front, NOW));
        Self { client, gateway, question, outer_question, reply, outer_reply }
    }
}

fn client() -> (Client<World>, Ipv4Addr) {
    let pool = "127.64.0.0/10".parse().expect("a prefix");
    let mappings = Arc::new(Mappings::new(pool, 100, Duration::from_secs(60)));
    let path = "203.0.113.1:100 192.168.0.2".parse().expect("a path");
    let paths = PathSet::new(vec![path]).expect("one path");
    let ttl = Duration::from_secs(3600);
    let mapped = mappings.map("b.example", &paths, ttl, NOW).expect("a free address");
    let keepalive = Duration::from_secs(20);
    let settings = client::Settings {
        mtu: 1500,
        keepalive,
        max_flows: 1000,
        max_flows_per_host: 1000,
        gateway: None,
        path_mtus: Some(Arc::default()),
    };
    (Client::new(settings, World, mappings), mapped)
}

fn gateway() -> Gateway<World> {
    let prefix = "192.168.0.0/24".parse().expect("a prefix");
    let settings = gateway::Settings {
        port: 100,
        exports: vec![Export { prefix, protocol: None, ports: Vec::new() }],
        inside_sources: Vec::new(),
        mtu: 1500,
        max_flows: 1000,
        max_flows_per_source: 1000,
    };
    Gateway::new(settings, World)
}

fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(src.0.octets(), dst.0.octets(), 64)
        .udp(src.1, dst.1)
        .write(&mut packet, &vec![0xa5; payload])
        .expect("it fits a datagram");
    packet
}

fn encapsulated(mut packet: Vec<u8>, role: impl Fn(&mut [u8], &mut Front) -> Fate) -> Vec<u8> {
    let mut front = Front::default();
    let fate = role(&mut packet, &mut front);
    assert!(matches!(fate, Fate::Encapsulated(_)), "{fate:?}");
    [front.bytes(), &packet].concat()
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packets");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(1));
    for payload in PAYLOADS {
        let Flow { client, gateway, question, outer_question, reply, outer_reply } =
            Flow::new(payload);
        let mut bench = |name, packet: &Vec<u8>, role: &dyn Fn(&mut [u8], &mut Front) -> Fate| {
            let mut front = Front::default();
            group.bench_function(BenchmarkId::new(name, payload), |bencher| {
                let process = |packet: &mut Vec<u8>| black_box(role(packet, &mut front));
                bencher.iter_batched_ref(|| packet.clone(), process, BatchSize::SmallInput);
            });
        };
        bench("client.outgoing", &question, &|p, front| {
            client.outgoing(p, Origin::Here, front, NOW)
        });
        bench("gateway.incoming", &outer_question, &|p, _| gateway.incoming(p, 2, NOW));
        bench("gateway.outgoing", &reply, &|p, front| gateway.outgoing(p, front, NOW));
        bench("client.incoming", &outer_reply, &|p, _| client.incoming(p, Origin::Here, NOW));
    }
}

criterion_group!(benches, packets);
criterion_main!(benches);
