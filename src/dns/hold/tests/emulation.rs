//! Paths made of A records.

use hickory_resolver::proto::op::{Message as Hickory, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::*;
use crate::dns::emulation::{Emulation, Emulations};

/// Names of example.org are emulated behind two boxes, names of example.net have the private
/// address themselves and one box.
pub(super) fn emulating() -> Bench {
    let one = |zone: &str, host: &str, boxes: &[&str]| {
        let boxes = boxes.iter().map(|text| text.parse().expect("a box")).collect();
        Emulation::new(vec![name(zone)], host.parse().expect("a host"), boxes).expect("sound")
    };
    let emulations = Emulations::new(vec![
        one(
            "example.org",
            "{label}-in.{parent}",
            &["{label}-nat1.{parent}", "{label}-nat2.{parent}"],
        ),
        one("example.net", "{name}", &["nat1.{name}"]),
    ]);
    let policy = Policy { emulations, ..Policy::default() };
    Bench::with(Settings { policy, ..Settings::default() })
}

fn reply_for(asked: &str, change: impl FnOnce(&mut Hickory)) -> Vec<u8> {
    let mut message = testing::nodata();
    message.queries[0].set_name(testing::hickory_name(asked));
    change(&mut message);
    v4(&testing::octets(&message))
}

pub(super) fn denied(asked: &str) -> Vec<u8> {
    reply_for(asked, |message| message.metadata.response_code = ResponseCode::NXDomain)
}

pub(super) fn nodata(asked: &str) -> Vec<u8> {
    reply_for(asked, |_| ())
}

pub(super) fn of(name: &str) -> LookupKey {
    LookupKey { wanted: Wanted::Address, ..key(name) }
}

fn addresses(addrs: &[&str], ttl: u32) -> NatAnswer {
    let addrs = addrs.iter().map(|addr| addr.parse().expect("an address")).collect();
    NatAnswer::Addresses { addrs, ttl }
}

pub(super) fn parts_of_b() -> [LookupKey; 3] {
    ["b-nat1.example.org", "b-nat2.example.org", "b-in.example.org"].map(of)
}

impl Bench {
    /// Answers to all three questions, in this order.
    fn answer_parts_of_b(&mut self, answers: [NatAnswer; 3]) {
        for (key, answer) in parts_of_b().iter().zip(answers) {
            self.answer(key, answer);
        }
    }
}

fn sound_parts() -> [NatAnswer; 3] {
    [
        addresses(&["203.0.113.1"], 300),
        addresses(&["10.0.0.9"], 40),
        addresses(&["192.168.0.2"], 300),
    ]
}

fn emulated(id: u32) -> Seen {
    let counters = vec![Counter::DnsEmulated, Counter::DnsMapped];
    Seen { counters, ..mapped(id) }
}

#[test]
fn addresses_of_boxes_and_host_make_a_path() {
    let mut bench = emulating();
    let id = bench.packet(denied("b.example.org"));
    let seen = bench.seen();
    assert_eq!(seen.lookups, parts_of_b());
    assert_eq!(seen.counters, [Counter::DnsHeld]);
    bench.answer_parts_of_b(sound_parts());
    assert_eq!(bench.seen(), emulated(id));
    // The shortest TTL of all.
    assert_eq!(bench.table.asked, [("b.example.org".to_owned(), 1, 40)]);
    assert_eq!(bench.table.paths[0][0].to_string(), "203.0.113.1:100 10.0.0.9:100 192.168.0.2");
    bench.wait(10_000);
    let again = bench.packet(denied("b.example.org"));
    assert_eq!(bench.seen(), emulated(again));
    assert_eq!(bench.table.asked[1].2, 30);
}

#[test]
fn a_missing_address_releases_at_once() {
    for answer in [NatAnswer::None { ttl: 60 }, NatAnswer::Failed, NatAnswer::Silent] {
        let mut bench = emulating();
        let id = bench.packet(denied("b.example.org"));
        bench.seen();
        bench.answer(&parts_of_b()[1], answer.clone());
        let missing = match answer {
            NatAnswer::None { .. } => Counter::DnsNoRecord,
            _ => Counter::DnsLookupFailed,
        };
        let root = LookupKey { wanted: Wanted::Address, ..silence::root() };
        let lookups = if answer == NatAnswer::Silent { vec![root] } else { vec![] };
        assert_eq!(bench.seen(), Seen { lookups, ..released(id, missing) });
    }
}

#[test]
fn an_address_that_does_not_come_in_time_releases() {
    let mut bench = emulating();
    let id = bench.packet(denied("b.example.org"));
    bench.seen();
    bench.answer(&parts_of_b()[0], addresses(&["203.0.113.1"], 300));
    bench.wait(1000);
    assert_eq!(bench.seen(), released(id, Counter::DnsTimeout));
}

/// Addresses without a TTL serve those that wait, whatever the order of the answers.
#[test]
fn addresses_are_kept_until_all_are_there() {
    let mut bench = emulating();
    let id = bench.packet(denied("b.example.org"));
    bench.seen();
    bench.answer(&parts_of_b()[2], addresses(&["192.168.0.2"], 0));
    bench.wait(900);
    bench.answer(&parts_of_b()[0], addresses(&["203.0.113.1"], 0));
    bench.answer(&parts_of_b()[1], addresses(&["10.0.0.9"], 300));
    assert_eq!(bench.seen(), emulated(id));
    assert_eq!(bench.table.asked[0].2, 0);
}

#[test]
fn a_nat_record_comes_first() {
    let mut bench = emulating();
    let id = bench.packet(nodata("b.example.org"));
    let nat = key("b.example.org");
    assert_eq!(bench.seen().lookups, [&[nat.clone()][..], &parts_of_b()].concat());
    bench.answer_parts_of_b(sound_parts());
    assert_eq!(bench.seen(), nothing());
    bench.answer(&nat, found(&[PATH], 300));
    assert_eq!(bench.seen(), mapped(id));
    assert_eq!(bench.table.paths[0][0].to_string(), PATH);
}

#[test]
fn without_a_nat_record_addresses_serve() {
    for answer in [NatAnswer::None { ttl: 60 }, NatAnswer::Failed] {
        let mut bench = emulating();
        let id = bench.packet(nodata("b.example.org"));
        bench.seen();
        bench.answer_parts_of_b(sound_parts());
        bench.answer(&key("b.example.org"), answer);
        assert_eq!(bench.seen(), emulated(id));
    }
}

#[test]
fn a_server_that_ignores_the_nat_type_still_serves_addresses() {
    let mut bench = emulating();
    let id = bench.packet(nodata("b.example.org"));
    bench.answer_parts_of_b(sound_parts());
    bench.seen();
    bench.wait(1000);
    assert_eq!(bench.seen(), emulated(id), "at the end of its patience");
    bench.silence_server();
    bench.wait(300_000);
    bench.seen();
    // Known to be silent: nobody waits for it any more.
    let id = bench.packet(nodata("b.example.org"));
    bench.answer_parts_of_b(sound_parts());
    let seen = bench.seen();
    assert_eq!(seen.verdicts, [(id, Some(MAPPED))]);
}

#[test]
fn a_private_address_of_the_name_itself_is_the_host() {
    let mut bench = emulating();
    let private = |m: &mut Hickory| {
        let host = RData::A(A::new(192, 168, 0, 2));
        m.add_answer(testing::record("b.example.net", host));
    };
    let id = bench.packet(reply_for("b.example.net", private));
    assert_eq!(bench.seen().lookups, [of("nat1.b.example.net")]);
    bench.answer(&of("nat1.b.example.net"), addresses(&["203.0.113.1"], 30));
    assert_eq!(bench.seen(), emulated(id));
    assert_eq!(bench.table.asked, [("b.example.net".to_owned(), 1, 30)]);
    assert_eq!(bench.table.paths[0][0].to_string(), PATH);
}

#[test]
fn a_denial_for_another_type_becomes_milder() {
    let mut bench = emulating();
    let aaaa = |m: &mut Hickory| {
        m.metadata.response_code = ResponseCode::NXDomain;
        m.queries[0].set_query_type(RecordType::AAAA);
    };
    let id = bench.packet(reply_for("b.example.org", aaaa));
    bench.seen();
    bench.answer_parts_of_b(sound_parts());
    let outputs: Vec<_> = std::iter::from_fn(|| bench.hold.output()).collect();
    let Some(Output::Rewritten { ticket, message, counter }) = outputs.last() else {
        panic!("changed")
    };
    assert_eq!((ticket.id, *counter), (id, Counter::DnsDenialLifted));
    let message = Message::parse(message).expect("a sound message");
    assert_eq!((message.header().rcode(), message.header().answers), (0, 0));
    assert!(bench.table.asked.is_empty());
}

#[test]
fn one_question_for_an_address_serves_several_names() {
    let mut bench = emulating();
    bench.packet(denied("b.example.org"));
    bench.packet(nodata("b.example.org"));
    let seen = bench.seen();
    assert_eq!(seen.lookups, [&parts_of_b()[..], &[key("b.example.org")]].concat());
}

#[test]
fn the_first_box_follows_the_rules_of_nat_records() {
    for (first, mapped) in [
        ("203.0.113.1", true),
        ("192.168.0.1", false),
        ("100.64.0.1", false),
        ("127.0.0.1", false),
        ("198.51.100.7", false),
        ("224.0.0.1", false),
    ] {
        let mut bench = emulating();
        let id = bench.packet(denied("b.example.org"));
        bench.seen();
        let [_, second, host] = sound_parts();
        bench.answer_parts_of_b([addresses(&[first], 300), second, host]);
        let expected = match mapped {
            true => emulated(id),
            false => {
                let counters = vec![Counter::DnsRefusedRecord, Counter::DnsNoRecord];
                Seen { verdicts: vec![(id, None)], counters, ..Seen::default() }
            }
        };
        assert_eq!(bench.seen(), expected, "{first}");
    }
}

#[test]
fn an_emulated_path_that_leads_nowhere_is_not_used() {
    let mut bench = emulating();
    let id = bench.packet(denied("b.example.org"));
    bench.seen();
    let [first, second, _] = sound_parts();
    bench.answer_parts_of_b([first, second, addresses(&["192.168.0.66"], 300)]);
    let counters = vec![Counter::DnsRefusedRecord, Counter::DnsNoRecord];
    assert_eq!(bench.seen(), Seen { verdicts: vec![(id, None)], counters, ..Seen::default() });
}

#[test]
fn later_boxes_and_the_host_may_be_this_host_s_but_no_loopback() {
    for (second, host, mapped) in [
        ("198.51.100.7", "198.51.100.7", true),
        ("127.0.0.1", "192.168.0.2", false),
        ("10.0.0.9", "169.254.0.1", false),
    ] {
        let mut bench = emulating();
        bench.packet(denied("b.example.org"));
        bench.answer_parts_of_b([
            addresses(&["203.0.113.1"], 300),
            addresses(&[second], 300),
            addresses(&[host], 300),
        ]);
        let verdicts = bench.seen().verdicts;
        assert_eq!(verdicts[0].1.is_some(), mapped, "{second} {host}");
    }
}

#[test]
fn an_emulated_zone_may_be_private_as_well() {
    let private_zones = vec![name("example.org")];
    let settings = Settings { private_zones, ..emulating().hold.settings };
    let mut bench = Bench::with(settings);
    let id = bench.packet(denied("b.example.org"));
    bench.seen();
    let [_, second, host] = sound_parts();
    bench.answer_parts_of_b([addresses(&["192.168.0.1"], 300), second, host]);
    assert_eq!(bench.seen(), emulated(id));
}

#[test]
fn several_addresses_are_several_paths_up_to_a_limit() {
    let many: Vec<String> = (1..=20).map(|last| format!("10.0.0.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut bench = emulating();
    bench.packet(denied("b.example.org"));
    let first = addresses(&["203.0.113.2", "203.0.113.1", "127.0.0.1"], 300);
    bench.answer_parts_of_b([first, addresses(&many, 300), addresses(&many, 300)]);
    assert_eq!(bench.table.asked[0].1, MAX_PATHS);
}

#[test]
fn the_daemon_s_own_questions_are_not_held() {
    let mut bench = emulating();
    for made in ["b-nat1.example.org", "b-in.example.org", "nat1.b.example.net"] {
        let id = bench.packet(denied(made));
        assert_eq!(bench.seen(), released(id, Counter::DnsPassed));
        let id = bench.packet(nodata(made));
        assert_eq!(bench.seen(), released(id, Counter::DnsPassed));
    }
}

#[test]
fn outside_the_zones_nothing_changes() {
    let mut bench = emulating();
    let id = bench.packet(denied("b.example"));
    assert_eq!(bench.seen(), released(id, Counter::DnsPassed));
    bench.nodata();
    assert_eq!(bench.seen(), held());
}
