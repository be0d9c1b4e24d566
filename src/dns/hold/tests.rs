//! Scenarios: what goes in, what comes out, and exactly which counters move.

mod emulation;
mod silence;

use super::*;
use crate::dns::message::{Message, Section, rtype};
use crate::dns::packet::Packet;
use crate::dns::testing::{self, ASKED, name, v4, v6};
use hickory_resolver::proto::rr::RecordType;
use proptest::prelude::*;

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

#[test]
fn a_nat_record_becomes_a_mapped_address() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    assert_eq!(bench.seen(), held());
    bench.answer(&key("b.example"), found(&[PATH], 300));
    assert_eq!(bench.seen(), mapped(id));
    assert_eq!(bench.table.asked, [("b.example".to_owned(), 1, 60)]);
    assert_eq!(bench.hold.next_deadline(), None);
}

#[test]
fn a_name_without_a_nat_record_is_released() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), NatAnswer::None { ttl: 60 });
    assert_eq!(bench.seen(), released(id, Counter::DnsNoRecord));
    assert!(bench.table.asked.is_empty());
}

#[test]
fn a_failure_releases() {
    for (answer, lookups) in
        [(NatAnswer::Failed, vec![]), (NatAnswer::Silent, vec![silence::root()])]
    {
        let mut bench = Bench::new();
        let id = bench.nodata();
        bench.seen();
        bench.answer(&key("b.example"), answer);
        let expected = Seen { lookups, ..released(id, Counter::DnsLookupFailed) };
        assert_eq!(bench.seen(), expected);
    }
}

#[test]
fn ordinary_replies_pass_at_once() {
    let mut bench = Bench::new();
    let mut message = testing::nodata();
    message.add_answer(testing::a(ASKED, 1));
    let id = bench.packet(v4(&testing::octets(&message)));
    assert_eq!(bench.seen(), released(id, Counter::DnsPassed));
}

#[test]
fn nonsense_passes_at_once() {
    let mut bench = Bench::new();
    let id = bench.packet(vec![0x45; 40]);
    assert_eq!(bench.seen(), released(id, Counter::DnsMalformed));
    let id = bench.packet(v4(b"no message"));
    assert_eq!(bench.seen(), released(id, Counter::DnsMalformed));
}

#[test]
fn the_end_of_the_aliases_is_looked_up_and_the_asked_name_is_mapped() {
    let mut bench = Bench::new();
    let mut message = testing::nodata();
    message.add_answer(testing::cname(ASKED, "c.example"));
    let id = bench.packet(v4(&testing::octets(&message)));
    assert_eq!(bench.seen().lookups, [key("c.example")]);
    bench.answer(&key("c.example"), found(&[PATH], 30));
    assert_eq!(bench.seen(), mapped(id));
    assert_eq!(bench.table.asked, [("b.example".to_owned(), 1, 30)]);
}

#[test]
fn a_link_local_server_is_asked_through_the_interface_it_answered_on() {
    let mut bench = Bench::new();
    bench.packet(v6(&testing::octets(&testing::nodata())));
    let seen = bench.seen();
    assert_eq!(seen.lookups[0].server.socket_addr().to_string(), "[fe80::53%7]:53");
}

#[test]
fn impatience_releases_and_a_late_answer_serves_the_next() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    let patience = Settings::default().patience;
    assert_eq!(bench.hold.next_deadline(), Some(bench.now + patience));
    bench.seen();
    bench.wait(999);
    assert_eq!(bench.seen(), nothing());
    bench.wait(1);
    assert_eq!(bench.seen(), released(id, Counter::DnsTimeout));
    bench.answer(&key("b.example"), found(&[PATH], 300));
    assert_eq!(bench.seen(), nothing());
    let next = bench.nodata();
    assert_eq!(bench.seen(), mapped(next));
}

#[test]
fn one_question_serves_all_that_wait_for_it() {
    let mut bench = Bench::new();
    let first = bench.nodata();
    let other = bench.nodata_for("other.example");
    let again = bench.nodata();
    let seen = bench.seen();
    assert_eq!(seen.lookups, [key("b.example"), key("other.example")]);
    assert_eq!(seen.counters, [Counter::DnsHeld; 3]);
    bench.answer(&key("b.example"), found(&[PATH], 300));
    let seen = bench.seen();
    assert_eq!(seen.verdicts, [(first, Some(MAPPED)), (again, Some(MAPPED))]);
    assert_eq!(seen.counters, [Counter::DnsMapped; 2]);
    bench.wait(1000);
    assert_eq!(bench.seen(), released(other, Counter::DnsTimeout));
}

#[test]
fn an_answer_is_remembered_for_its_ttl() {
    let mut bench = Bench::new();
    bench.answer(&key("b.example"), found(&[PATH], 40));
    bench.wait(25_500);
    let id = bench.nodata();
    assert_eq!(bench.seen(), mapped(id));
    // What is left of the TTL goes on to the client.
    assert_eq!(bench.table.asked, [("b.example".to_owned(), 1, 14)]);
    bench.wait(14_500);
    bench.nodata();
    assert_eq!(bench.seen(), held());
}

#[test]
fn an_answer_without_a_ttl_serves_those_that_wait_only() {
    for ttl in [0, 0x8000_0000] {
        let mut bench = Bench::new();
        let id = bench.nodata();
        bench.seen();
        bench.answer(&key("b.example"), found(&[PATH], ttl));
        assert_eq!(bench.seen(), mapped(id));
        assert_eq!(bench.table.asked[0].2, 0);
        bench.nodata();
        assert_eq!(bench.seen(), held());
    }
}

#[test]
fn what_is_remembered_has_bounds() {
    for (answer, seconds) in [
        (found(&[PATH], 1_000_000), 3600),
        (NatAnswer::None { ttl: 1_000_000 }, 300),
        (NatAnswer::None { ttl: 30 }, 30),
        (NatAnswer::None { ttl: 0 }, 5),
        (NatAnswer::Failed, 5),
    ] {
        let mut bench = Bench::new();
        bench.answer(&key("b.example"), answer.clone());
        bench.wait(seconds * 1000 - 1);
        bench.nodata();
        assert_eq!(bench.seen().lookups, [], "{answer:?}");
        bench.wait(1);
        bench.nodata();
        assert_eq!(bench.seen(), held(), "{answer:?}");
    }
}

#[test]
fn servers_are_told_apart() {
    let mut bench = Bench::new();
    bench.answer(&key("b.example"), found(&[PATH], 300));
    bench.packet(v6(&testing::octets(&testing::nodata())));
    assert_eq!(bench.seen().lookups.len(), 1);
}

#[test]
fn refused_records_are_no_records() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    let hostile = ["127.0.0.1 10.0.0.1", "192.168.0.1 10.0.0.1", "198.51.100.7 10.0.0.1"];
    bench.answer(&key("b.example"), found(&hostile, 300));
    let mut expected = released(id, Counter::DnsNoRecord);
    expected.counters.splice(0..0, [Counter::DnsRefusedRecord; 3]);
    assert_eq!(bench.seen(), expected);
    assert!(bench.table.asked.is_empty());
}

/// One that begins at this host's own gateway role and leads back, or to what that does not export.
#[test]
fn a_path_that_leads_nowhere_is_not_used() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&["203.0.113.1 192.168.0.66", PATH], 300));
    let mut expected = mapped(id);
    expected.counters.insert(0, Counter::DnsRefusedRecord);
    assert_eq!(bench.seen(), expected);
    assert_eq!(bench.table.paths, [vec![PATH.parse().expect("a path")]]);
}

#[test]
fn a_refused_record_does_not_spoil_the_others() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&["224.0.0.1 10.0.0.1", PATH, PATH], 300));
    let mut expected = mapped(id);
    expected.counters.insert(0, Counter::DnsRefusedRecord);
    assert_eq!(bench.seen(), expected);
    assert_eq!(bench.table.asked[0].1, 1);
}

#[test]
fn a_private_first_hop_is_for_the_record_s_own_zone() {
    let private = found(&["192.168.0.1 10.0.0.1"], 300);
    for (zone, counters) in [
        ("example", &[Counter::DnsMapped][..]),
        ("home", &[Counter::DnsRefusedRecord, Counter::DnsNoRecord]),
    ] {
        let private_zones = vec![name(zone)];
        let mut bench = Bench::with(Settings { private_zones, ..Settings::default() });
        bench.nodata();
        bench.seen();
        bench.answer(&key("b.example"), private.clone());
        assert_eq!(bench.seen().counters, counters);
    }
}

#[test]
fn more_paths_than_are_of_use() {
    let paths: Vec<_> = (1..=20).map(|last| format!("203.0.113.{last} 10.0.0.1")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&paths, 300));
    let mut expected = mapped(id);
    expected.counters.splice(0..0, [Counter::DnsExcessRecord; 4]);
    assert_eq!(bench.seen(), expected);
    assert_eq!(bench.table.asked[0].1, MAX_PATHS);
}

#[test]
fn no_free_address_releases() {
    let mut bench = Bench::new();
    bench.table.full = true;
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&[PATH], 300));
    assert_eq!(bench.seen(), released(id, Counter::MappingsFull));
}

#[test]
fn a_reply_with_no_room_for_the_address_is_released() {
    let mut message = testing::empty();
    message.add_answer(testing::raw("b.example", 65_000, &[0xa5; 1000]));
    let mut bench = Bench::new();
    let id = bench.packet(v4(&testing::octets(&message)));
    bench.seen();
    bench.answer(&key("b.example"), found(&[PATH], 300));
    assert_eq!(bench.seen(), released(id, Counter::DnsTooLarge));
}

#[test]
fn too_many_waiting_packets_are_not_held() {
    let mut bench = Bench::new();
    for _ in 0..MAX_WAITING {
        bench.nodata();
    }
    bench.seen();
    let id = bench.nodata();
    assert_eq!(bench.seen(), released(id, Counter::DnsHoldFull));
    bench.wait(1000);
    assert_eq!(bench.seen().counters, [Counter::DnsTimeout; MAX_WAITING]);
    bench.nodata();
    assert_eq!(bench.seen().counters, [Counter::DnsHeld]);
}

/// As many questions as there may be.
fn full() -> Bench {
    let mut bench = Bench::new();
    for number in 0..MAX_LOOKUPS {
        bench.nodata_for(&format!("n{number}.example"));
    }
    bench.seen();
    bench
}

#[test]
fn too_many_open_questions_are_not_asked() {
    let mut bench = full();
    let id = bench.nodata();
    assert_eq!(bench.seen(), released(id, Counter::DnsHoldFull));
    bench.answer(&key("n0.example"), NatAnswer::Failed);
    bench.seen();
    bench.nodata();
    assert_eq!(bench.seen(), held());
}

#[test]
fn a_question_that_nobody_waits_for_makes_room() {
    let mut bench = full();
    bench.wait(999);
    let id = bench.nodata();
    assert_eq!(bench.seen(), released(id, Counter::DnsHoldFull));
    bench.wait(1);
    assert_eq!(bench.seen().counters, [Counter::DnsTimeout; MAX_LOOKUPS]);
    for number in 0..MAX_LOOKUPS {
        bench.nodata_for(&format!("m{number}.example"));
        assert_eq!(bench.seen().counters, [Counter::DnsEvicted, Counter::DnsHeld]);
    }
    let id = bench.nodata();
    assert_eq!(bench.seen(), released(id, Counter::DnsHoldFull));
}

#[test]
fn what_made_room_may_be_answered_late_but_its_silence_says_nothing() {
    let mut bench = full();
    bench.wait(1000);
    bench.nodata();
    bench.nodata_for("c.example");
    bench.seen();
    bench.answer(&key("n0.example"), found(&[PATH], 300));
    bench.answer(&key("n1.example"), NatAnswer::Silent);
    assert_eq!(bench.seen(), nothing());
    let id = bench.nodata_for("n0.example");
    assert_eq!(bench.seen(), mapped(id));
}

#[test]
fn the_answer_that_ends_first_makes_room() {
    let mut bench = Bench::new();
    bench.answer(&key("first.example"), NatAnswer::None { ttl: 5 });
    for number in 1..MAX_ANSWERS {
        bench.answer(&key(&format!("n{number}.example")), NatAnswer::None { ttl: 300 });
    }
    assert_eq!(bench.seen(), nothing());
    bench.answer(&key("b.example"), found(&[PATH], 300));
    assert_eq!(bench.seen().counters, [Counter::DnsEvicted]);
    let id = bench.nodata();
    assert_eq!(bench.seen(), mapped(id));
    bench.nodata_for("first.example");
    assert_eq!(bench.seen().lookups, [key("first.example")]);
}

#[test]
fn what_waits_can_be_handed_on() {
    let (mut bench, mut next) = (Bench::new(), Bench::new());
    let ids = [bench.nodata(), bench.nodata_for("c.example")];
    bench.seen();
    let waiting: Vec<_> = bench.hold.into_waiting().collect();
    assert_eq!(waiting.iter().map(|captured| captured.id).collect::<Vec<_>>(), ids);
    for captured in waiting {
        let reply = captured.into_reply(|captured| captured).expect("it was a reply before");
        next.hold.reply(reply, next.now, &mut next.table);
    }
    assert_eq!(next.seen().lookups, [key("b.example"), key("c.example")]);
    next.answer(&key("b.example"), found(&[PATH], 60));
    assert!(matches!(&next.seen().verdicts[..], [(id, Some(_))] if *id == ids[0]));
}

#[derive(Debug, Clone)]
enum Act {
    Packet(usize),
    Answer(usize, usize),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0usize..7).prop_map(Act::Packet),
        2 => (0usize..9, 0usize..7).prop_map(|(of, what)| Act::Answer(of, what)),
        2 => (0u64..20_000).prop_map(Act::Wait),
    ]
}

fn answer_number(what: usize) -> NatAnswer {
    match what {
        0 => found(&[PATH], 20),
        1 => found(&["127.0.0.1 10.0.0.1"], 20),
        2 => NatAnswer::None { ttl: 7 },
        3 => NatAnswer::Failed,
        4 => NatAnswer::Addresses { addrs: vec![Ipv4Addr::new(203, 0, 113, 1)], ttl: 20 },
        _ => NatAnswer::Silent,
    }
}

/// Ordinary names, then some that may be emulated.
fn packet_number(what: usize) -> Vec<u8> {
    match what {
        4 => emulation::denied("b.example.org"),
        5 => emulation::denied("c.example.org"),
        6 => emulation::nodata("b.example.org"),
        what => emulation::nodata(["a.example", "b.example", "c.example", "d.example"][what]),
    }
}

fn key_number(of: usize) -> LookupKey {
    match of {
        0..4 => key(["a.example", "b.example", "c.example", "d.example"][of]),
        4..7 => emulation::parts_of_b()[of - 4].clone(),
        7 => key("b.example.org"),
        _ => emulation::of("c-nat1.example.org"),
    }
}

proptest! {
    /// Every packet gets one verdict, within its patience; no question is asked while it is open.
    #[test]
    fn every_packet_gets_exactly_one_verdict(acts in prop::collection::vec(act(), 0..80)) {
        let mut bench = emulation::emulating();
        let mut open: Vec<LookupKey> = Vec::new();
        let mut waiting: Vec<u32> = Vec::new();
        for act in acts {
            match act {
                Act::Packet(of) => waiting.push(bench.packet(packet_number(of))),
                Act::Answer(of, what) => {
                    bench.answer(&key_number(of), answer_number(what));
                    open.retain(|open| *open != key_number(of));
                }
                Act::Wait(millis) => {
                    bench.wait(millis);
                    let long = millis >= 1000;
                    let seen = bench.seen();
                    prop_assert!(seen.lookups.iter().all(|key| key.name == silence::root().name));
                    waiting.retain(|id| !seen.verdicts.iter().any(|(verdict, _)| verdict == id));
                    prop_assert!(!long || waiting.is_empty());
                    open.extend(seen.lookups);
                    open.retain(|key| bench.hold.lookups.find(key, bench.now).is_some());
                }
            }
            let seen = bench.seen();
            for (id, _) in &seen.verdicts {
                let at = waiting.iter().position(|waiting| waiting == id);
                waiting.remove(at.expect("one verdict only"));
            }
            for key in seen.lookups {
                prop_assert!(!open.contains(&key));
                open.push(key);
            }
            prop_assert!(waiting.is_empty() || bench.hold.next_deadline().is_some());
        }
        let left: Vec<_> = bench.hold.into_waiting().map(|waits| waits.id).collect();
        prop_assert_eq!(left, waiting);
    }

    #[test]
    fn any_packet_gets_a_verdict_or_waits(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bench = Bench::new();
        let id = bench.packet(octets);
        prop_assert_eq!(bench.seen().verdicts, [(id, None)]);
        let id = bench.packet(v4(&testing::crafted([1, 1, 1, 1], testing::QUESTION)));
        prop_assert_eq!(bench.seen().verdicts, [(id, None)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Only questions that somebody may still wait for keep a new one from being asked.
    #[test]
    fn a_full_table_refuses_for_no_longer_than_anybody_waits(
        bursts in prop::collection::vec((1usize..400, 0u64..1_500), 1..5),
    ) {
        let mut bench = Bench::new();
        let mut asked: Vec<Time> = Vec::new();
        let mut name = 0;
        for (count, wait) in bursts {
            for _ in 0..count {
                name += 1;
                bench.nodata_for(&format!("n{name}.example"));
                let counters = bench.seen().counters;
                let young = asked.iter().filter(|at| **at + Duration::from_secs(1) > bench.now);
                let full = young.count() >= MAX_LOOKUPS;
                prop_assert_eq!(counters.contains(&Counter::DnsHoldFull), full);
                prop_assert!(full || counters.contains(&Counter::DnsHeld));
                prop_assert!(bench.hold.lookups.len() <= MAX_LOOKUPS);
                if !full {
                    asked.push(bench.now);
                }
            }
            bench.wait(wait);
            bench.seen();
        }
    }
}

/// A reply to a question for HTTPS records, with one that has an IPv4 hint (RFC 9460 §7.3).
fn https() -> Vec<u8> {
    let mut message = testing::empty();
    message.queries[0].set_query_type(RecordType::HTTPS);
    message.add_answer(testing::raw(ASKED, rtype::HTTPS, b"\0\x01\0\0\x04\0\x04\xc0\0\x02\x01"));
    v4(&testing::octets(&message))
}

impl Bench {
    /// The packets that come out changed, and the counters that move.
    fn changed(&mut self) -> (Vec<Vec<u8>>, Vec<Counter>) {
        let (mut packets, mut counters) = (Vec::new(), Vec::new());
        while let Some(output) = self.hold.output() {
            counters.extend(output.counter());
            if let Output::Rewritten { ticket, message, .. } = output {
                packets.push(ticket.with_message(&message).expect("it fits"));
            }
        }
        (packets, counters)
    }
}

fn assert_without_hints(packet: &[u8]) {
    let packet = Packet::parse(packet).expect("a sound packet");
    let message = Message::parse(packet.message()).expect("a sound message");
    assert_eq!(message.records(Section::Answer).count(), 0);
    assert_eq!(message.header().rcode(), 0);
}

#[test]
fn hints_of_a_name_that_nobody_asked_the_address_of_pass_at_once() {
    let mut bench = Bench::new();
    let id = bench.packet(https());
    assert_eq!(bench.seen(), released(id, Counter::DnsPassed));
    assert_eq!(bench.hold.next_deadline(), None, "and ask nothing");
}

#[test]
fn hints_of_a_mapped_name_are_left_out() {
    let mut bench = Bench::new();
    bench.nodata();
    // While the NAT record is being asked for, and when it is known.
    bench.packet(https());
    bench.answer(&key("b.example"), found(&[PATH], 300));
    let (packets, counters) = bench.changed();
    assert_eq!(counters[counters.len() - 2..], [Counter::DnsMapped, Counter::DnsHintsDropped]);
    assert_without_hints(&packets[1]);
    bench.packet(https());
    let (packets, counters) = bench.changed();
    assert_eq!(counters, [Counter::DnsHintsDropped]);
    assert_without_hints(&packets[0]);
}

#[test]
fn hints_of_a_name_without_a_nat_record_stay() {
    let mut bench = Bench::new();
    bench.nodata();
    bench.seen();
    let id = bench.packet(https());
    bench.answer(&key("b.example"), NatAnswer::None { ttl: 60 });
    assert_eq!(bench.seen().verdicts.last(), Some(&(id, None)));
    let again = bench.packet(https());
    assert_eq!(bench.seen(), released(again, Counter::DnsNoRecord));
}

/// A reply that finds no name for an address, as most servers do for 127/8.
fn nameless(owner: &str, code: hickory_resolver::proto::op::ResponseCode) -> Vec<u8> {
    let mut message = testing::nodata();
    message.queries[0].set_query_type(RecordType::PTR);
    message.queries[0].set_name(testing::hickory_name(owner));
    message.metadata.response_code = code;
    v4(&testing::octets(&message))
}

#[test]
fn a_mapped_address_has_a_name() {
    use hickory_resolver::proto::op::{Message as Hickory, ResponseCode};
    for code in [ResponseCode::NXDomain, ResponseCode::NoError, ResponseCode::Refused] {
        let mut bench = Bench::new();
        bench.packet(nameless("1.0.64.127.In-Addr.arpa", code));
        let (packets, counters) = bench.changed();
        assert_eq!(counters, [Counter::DnsNamed]);
        let packet = Packet::parse(&packets[0]).expect("a sound packet");
        let message = Hickory::from_vec(packet.message()).expect("hickory reads it");
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert_eq!(message.answers.len(), 1);
        assert_eq!(message.answers[0].name.to_string().to_lowercase(), "1.0.64.127.in-addr.arpa.");
        assert_eq!(message.answers[0].data.to_string(), "b.example.");
        assert!(message.authorities.is_empty());
    }
}

#[test]
fn other_addresses_keep_what_is_said_of_them() {
    let mut bench = Bench::new();
    let code = hickory_resolver::proto::op::ResponseCode::NXDomain;
    for owner in ["2.0.64.127.in-addr.arpa", "1.2.3.4.in-addr.arpa"] {
        let id = bench.packet(nameless(owner, code));
        assert_eq!(bench.seen(), released(id, Counter::DnsPassed), "{owner}");
    }
    for owner in ["0.64.127.in-addr.arpa", "1.0.64.127.ip6.arpa", "x.0.64.127.in-addr.arpa"] {
        let id = bench.packet(nameless(owner, code));
        assert_eq!(bench.seen(), released(id, Counter::DnsPassed), "{owner}");
    }
}
