//! Whatever comes, in whatever order.

use proptest::prelude::*;

use super::*;

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
