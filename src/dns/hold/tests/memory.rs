//! Waiting, and what is remembered of an answer.

use super::*;

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
