//! Replies about mapped names and addresses to other questions: address hints, names of addresses.

use hickory_resolver::proto::rr::RecordType;

use super::*;

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
