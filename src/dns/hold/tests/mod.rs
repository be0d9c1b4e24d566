//! Scenarios: what goes in, what comes out, and exactly which counters move.

mod emulation;
mod hints;
mod limits;
mod memory;
mod random;
mod records;
mod replies;
mod silence;

use super::*;
use crate::dns::message::{Message, Section, rtype};
use crate::dns::packet::Packet;
use crate::dns::testing::{self, ASKED, name, v4, v6};

const OWN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const MAPPED: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
/// Stands for what no path may lead to.
const DEAD_END: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 66);
const PATH: &str = "203.0.113.1:100 192.168.0.2";

/// A mapping table with one address, and what it was asked for.
#[derive(Default)]
struct Table {
    full: bool,
    asked: Vec<(String, usize, u32)>,
    paths: Vec<Vec<Path>>,
}

impl Surroundings for Table {
    fn map(&mut self, name: &Name, paths: &PathSet, ttl: u32, _now: Time) -> Option<Ipv4Addr> {
        self.asked.push((name.to_string(), paths.paths().len(), ttl));
        self.paths.push(paths.paths().to_vec());
        (!self.full).then_some(MAPPED)
    }

    fn is_own(&self, addr: Ipv4Addr) -> bool {
        addr == OWN
    }

    fn leads(&self, path: &Path) -> bool {
        path.host() != DEAD_END
    }

    fn name_of(&self, mapped: Ipv4Addr) -> Option<Name> {
        (mapped == MAPPED).then(|| name("b.example"))
    }
}

/// A hold with a clock and a table, and what came out of it since the last look.
struct Bench {
    hold: Hold<Captured>,
    table: Table,
    now: Time,
    next_id: u32,
}

/// What came out: questions, verdicts in their order (the address if the packet was changed), and
/// counters.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    lookups: Vec<LookupKey>,
    verdicts: Vec<(u32, Option<Ipv4Addr>)>,
    counters: Vec<Counter>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let (hold, table) = (Hold::new(settings), Table::default());
        Self { hold, table, now: Time::from_millis(1_000_000), next_id: 1 }
    }

    /// A packet with a fresh number, which is returned.
    fn packet(&mut self, octets: Vec<u8>) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        let captured = Captured { id, interface: 7, octets };
        match captured.into_reply(|captured| captured) {
            Ok(reply) => self.hold.reply(reply, self.now, &mut self.table),
            Err(captured) => self.hold.release(captured, Counter::DnsMalformed),
        }
        id
    }

    fn nodata(&mut self) -> u32 {
        self.packet(v4(&testing::octets(&testing::nodata())))
    }

    fn nodata_for(&mut self, asked: &str) -> u32 {
        let mut message = testing::nodata();
        message.queries[0].set_name(testing::hickory_name(asked));
        self.packet(v4(&testing::octets(&message)))
    }

    fn answer(&mut self, key: &LookupKey, answer: NatAnswer) {
        self.hold.answer(key.clone(), answer, self.now, &mut self.table);
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.hold.tick(self.now, &mut self.table);
    }

    fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        while let Some(output) = self.hold.output() {
            seen.counters.extend(output.counter());
            match output {
                Output::Lookup(key) => seen.lookups.push(key),
                Output::Release { ticket, .. } => seen.verdicts.push((ticket.id, None)),
                Output::Rewritten { ticket, message, .. } => {
                    let octets = ticket.with_message(&message).expect("it fits");
                    seen.verdicts.push((ticket.id, Some(address_in(&octets))));
                }
                Output::Count(_) => {}
            }
        }
        seen
    }
}

/// The one A record of a changed packet.
fn address_in(packet: &[u8]) -> Ipv4Addr {
    let packet = Packet::parse(packet).expect("a sound packet");
    let message = Message::parse(packet.message()).expect("a sound message");
    let all: Vec<_> = message.of_type(Section::Answer, rtype::A).collect();
    let [record] = all[..] else { panic!("one address") };
    let octets: [u8; 4] = packet.message()[record.rdata.clone()].try_into().expect("4 octets");
    octets.into()
}

fn server() -> Server {
    Server::new("192.0.2.53".parse().expect("an address"), 0)
}

fn key(of: &str) -> LookupKey {
    LookupKey { server: server(), name: name(of), wanted: Wanted::Nat }
}

fn found(paths: &[&str], ttl: u32) -> NatAnswer {
    let paths = paths.iter().map(|path| path.parse().expect("a path")).collect();
    NatAnswer::Found { paths, ttl }
}

fn released(id: u32, counter: Counter) -> Seen {
    Seen { verdicts: vec![(id, None)], counters: vec![counter], ..Seen::default() }
}

fn held() -> Seen {
    let (lookups, counters) = (vec![key("b.example")], vec![Counter::DnsHeld]);
    Seen { lookups, counters, ..Seen::default() }
}

fn mapped(id: u32) -> Seen {
    let counters = vec![Counter::DnsMapped];
    Seen { verdicts: vec![(id, Some(MAPPED))], counters, ..Seen::default() }
}

fn nothing() -> Seen {
    Seen::default()
}
