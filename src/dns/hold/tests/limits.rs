//! Where there is no room, and what is handed on.

use super::*;

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
