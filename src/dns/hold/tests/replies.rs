//! What becomes of one reply.

use super::*;

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
