//! The first look at a reply: does it lack the address that somebody asked for?

use std::net::Ipv4Addr;

use super::accept::is_private;
use super::chain;
use super::emulation::{Emulations, Names};
use super::message::{CLASS_IN, Header, Message, MessageError, Record, Section, rtype};
use super::name::Name;
use super::names::Selection;
use crate::counters::Counter;

const OPCODE_QUERY: u8 = 0;
const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

/// What the configuration says about which replies may change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Where A records emulate NAT records.
    pub emulations: Emulations,
    /// Whose replies are looked at, by the name that is asked for.
    pub names: Selection,
}

/// What is to be done with a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Pass it on at once, unchanged.
    Pass(Counter),
    /// Hold it while the NAT record is looked up.
    Hold(FollowUp),
    /// It says that this address has no name; if it is a mapped one, it has.
    Nameless(Ipv4Addr),
}

/// What a reply that waits is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// The name the application asked for.
    pub asked: Name,
    /// The name whose NAT record is wanted: the end of the reply's chain of aliases.
    pub target: Name,
    /// Why the application cannot do with the reply.
    pub lack: Lack,
    /// The names whose A records emulate that NAT record; always there unless `lack` is
    /// [`Lack::Address`] or [`Lack::Hints`].
    pub emulated: Option<Names>,
}

/// What is missing in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// There is no A record: NODATA (RFC 2308 §2.2).
    Address,
    /// There is no such name: NXDOMAIN (RFC 2308 §2.1).
    Name,
    /// The same, and the question was for another type than A. RFC 8020: to a resolver this says
    /// that there is no A record either.
    NameOfOtherType,
    /// The addresses are private: the host's, behind its NAT boxes.
    Boxes {
        /// The addresses.
        hosts: Vec<Ipv4Addr>,
        /// The TTL of their records, in seconds.
        ttl: u32,
    },
    /// Nothing, but its SVCB or HTTPS records may hold addresses that go past the NAT boxes.
    Hints,
}

/// Decides about a reply (the payload of a UDP packet from port 53) on its way to the client.
/// Whatever is unusual is passed: ordinary names must never break.
pub fn classify(message: &[u8], policy: &Policy) -> Class {
    let class = match nameless(message) {
        Ok(Some(addr)) => Ok(Some(Class::Nameless(addr))),
        Ok(None) => follow_up(message, policy).map(|found| found.map(Class::Hold)),
        Err(error) => Err(error),
    };
    match class {
        Ok(Some(class)) => class,
        Ok(None) => Class::Pass(Counter::DnsPassed),
        Err(_) => Class::Pass(Counter::DnsMalformed),
    }
}

/// The address that a reply finds no name for (RFC 1035 §3.5), whatever its reason: a server that
/// knows no such zone may refuse.
fn nameless(octets: &[u8]) -> Result<Option<Ipv4Addr>, MessageError> {
    if !is_simple(&Header::parse(octets)?) {
        return Ok(None);
    }
    let message = Message::parse(octets)?;
    let question = message.question();
    let asked = question.qtype == rtype::PTR && question.qclass == CLASS_IN;
    if !asked || message.records(Section::Answer).next().is_some() || is_protected(&message)? {
        return Ok(None);
    }
    Ok(question.name.reversed_address())
}

fn follow_up(octets: &[u8], policy: &Policy) -> Result<Option<FollowUp>, MessageError> {
    // The header alone decides about queries and errors, so most of those cost nothing.
    if !is_plain_reply(&Header::parse(octets)?, policy) {
        return Ok(None);
    }
    let message = Message::parse(octets)?;
    // The daemon itself asks about the root (see `hold`), and nobody else for its address.
    let asked = &message.question().name;
    if asked.is_root() || !policy.names.includes(asked) {
        return Ok(None);
    }
    let Some(lack) = lack(&message, policy) else { return Ok(None) };
    if lack == Lack::Address && is_referral(&message) || is_protected(&message)? {
        return Ok(None);
    }
    let asked = message.question().name.clone();
    let target = chain::end(&message)?.name;
    if let Lack::Boxes { .. } = lack
        && !ends_with_addresses_of(&message, &target)
    {
        return Ok(None);
    }
    Ok(with_names(asked, target, lack, &policy.emulations))
}

/// NODATA and addresses, and NXDOMAIN where NAT records are emulated: a name that owns a NAT record
/// exists.
fn is_plain_reply(header: &Header, policy: &Policy) -> bool {
    is_simple(header)
        && match header.rcode() {
            NOERROR => true,
            NXDOMAIN => !policy.emulations.is_empty(),
            _ => false,
        }
}

/// The whole reply to one question.
fn is_simple(header: &Header) -> bool {
    header.is_reply()
        && header.opcode() == OPCODE_QUERY
        && header.questions == 1
        && !header.is_truncated()
}

/// What the reply lacks; nothing if that cannot be helped.
fn lack(message: &Message<'_>, policy: &Policy) -> Option<Lack> {
    let question = message.question();
    let mut addresses = message.of_type(Section::Answer, rtype::A).peekable();
    match (message.header().rcode(), question.qtype) {
        _ if question.qclass != CLASS_IN => None,
        (NXDOMAIN, _) if addresses.peek().is_some() => None,
        (NXDOMAIN, rtype::A) => Some(Lack::Name),
        (NXDOMAIN, _) => Some(Lack::NameOfOtherType),
        (_, rtype::A) if addresses.peek().is_none() => Some(Lack::Address),
        (_, rtype::A) if !policy.emulations.is_empty() => boxes(message, addresses),
        (_, qtype @ (rtype::SVCB | rtype::HTTPS)) => {
            message.of_type(Section::Answer, qtype).next().map(|_| Lack::Hints)
        }
        _ => None,
    }
}

/// Private addresses without the boxes in front of them. A public one always wins.
fn boxes<'a>(message: &Message<'_>, addresses: impl Iterator<Item = &'a Record>) -> Option<Lack> {
    let (mut hosts, mut ttl) = (Vec::new(), u32::MAX);
    for record in addresses {
        let host = message.address(record).filter(|&addr| is_private(addr))?;
        hosts.push(host);
        ttl = ttl.min(record.ttl);
    }
    Some(Lack::Boxes { hosts, ttl })
}

/// Whether all addresses belong to `owner` and nothing follows the first of them, so that one
/// address can take the place of all.
fn ends_with_addresses_of(message: &Message<'_>, owner: &Name) -> bool {
    let is_address = |record: &&Record| record.rtype == rtype::A && record.class == CLASS_IN;
    let mut rest = message.records(Section::Answer).skip_while(|record| !is_address(record));
    rest.all(|record| is_address(&record) && record.owner == *owner)
}

/// Names that emulate a NAT record are not followed up themselves, or there would be no end.
fn with_names(asked: Name, target: Name, lack: Lack, emulations: &Emulations) -> Option<FollowUp> {
    if emulations.makes(&asked) || emulations.makes(&target) {
        return None;
    }
    let has_host = matches!(lack, Lack::Boxes { .. });
    let emulated = emulations.names(&target).filter(|names| (names.host == target) == has_host);
    let worth_it = emulated.is_some() || matches!(lack, Lack::Address | Lack::Hints);
    worth_it.then_some(FollowUp { asked, target, lack, emulated })
}

/// A reply that says which servers to ask instead is not NODATA (RFC 2308 §2.2). Only resolvers
/// see them; a resolver on this host would become slow if each waited.
fn is_referral(message: &Message<'_>) -> bool {
    let authority = |rtype| message.of_type(Section::Authority, rtype).next().is_some();
    !message.header().is_authoritative() && authority(rtype::NS) && !authority(rtype::SOA)
}

/// Replies whose change the client would notice and refuse, or whose response code is an error
/// that only the OPT record tells (RFC 6891 §6.1.3). Who validates wants signatures in a signed zone
/// and expects none in others (RFC 4035 §4.3), so that a reply without any may change.
fn is_protected(message: &Message<'_>) -> Result<bool, MessageError> {
    let validated = match message.opt()? {
        Some(opt) if opt.extended_rcode() != 0 => return Ok(true),
        Some(opt) => {
            let validates = opt.dnssec_ok() && !message.header().checking_disabled();
            validates && message.has_signatures()
        }
        None => false,
    };
    Ok(message.is_signed() || validated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::emulation::Emulation;
    use crate::dns::testing::{self, ASKED, QUESTION, cname, crafted, name, raw};
    use hickory_resolver::proto::op::{
        Message as Hickory, MessageType, OpCode, Query, ResponseCode,
    };
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{DNSClass, RData, Record, RecordType};
    use proptest::prelude::*;

    const PASSED: Class = Class::Pass(Counter::DnsPassed);
    const MALFORMED: Class = Class::Pass(Counter::DnsMalformed);

    fn class(message: &Hickory) -> Class {
        classify(&testing::octets(message), &Policy::default())
    }

    fn held(target: &str) -> Class {
        let (asked, target) = (name(ASKED), name(target));
        Class::Hold(FollowUp { asked, target, lack: Lack::Address, emulated: None })
    }

    fn changed(change: impl FnOnce(&mut Hickory)) -> Class {
        let mut message = testing::nodata();
        change(&mut message);
        class(&message)
    }

    #[test]
    fn a_reply_without_an_address_is_held() {
        assert_eq!(class(&testing::nodata()), held("b.example"));
        assert_eq!(class(&testing::empty()), held("b.example"));
    }

    #[test]
    fn other_records_are_no_address() {
        assert_eq!(changed(|m| _ = m.add_answer(testing::aaaa(ASKED))), held("b.example"));
        assert_eq!(changed(|m| _ = m.add_additional(testing::a(ASKED, 1))), held("b.example"));
    }

    #[test]
    fn an_address_that_is_there_wins() {
        assert_eq!(changed(|m| _ = m.add_answer(testing::a(ASKED, 1))), PASSED);
        // Also behind an alias, and even if its owner is not the end of the chain.
        let aliased = |m: &mut Hickory| {
            m.add_answer(cname(ASKED, "c.example"));
            m.add_answer(testing::a("d.example", 1));
        };
        assert_eq!(changed(aliased), PASSED);
    }

    #[test]
    fn the_chain_of_aliases_is_followed_in_any_order() {
        let chain = |m: &mut Hickory| {
            m.add_answer(cname("C.example", "d.example"));
            m.add_answer(cname(ASKED, "c.EXAMPLE"));
        };
        assert_eq!(changed(chain), held("d.example"));
    }

    #[test]
    fn a_redirected_tree_is_followed_with_and_without_its_alias() {
        let dname = |m: &mut Hickory| {
            m.add_answer(raw("example", rtype::DNAME, b"\x03new\0"));
        };
        assert_eq!(changed(dname), held("b.new"));
        let both = |m: &mut Hickory| {
            dname(m);
            m.add_answer(cname(ASKED, "b.new"));
        };
        assert_eq!(changed(both), held("b.new"));
    }

    #[test]
    fn aliases_in_a_circle() {
        let circle = |m: &mut Hickory| {
            m.add_answer(cname(ASKED, "c.example"));
            m.add_answer(cname("c.example", ASKED));
        };
        assert_eq!(changed(circle), MALFORMED);
    }

    #[test]
    fn aliases_without_an_end() {
        let chain = |length: usize| {
            move |m: &mut Hickory| {
                m.add_answer(cname(ASKED, "c0.example"));
                for link in 1..length {
                    let (from, to) = (format!("c{}.example", link - 1), format!("c{link}.example"));
                    m.add_answer(cname(&from, &to));
                }
            }
        };
        assert_eq!(changed(chain(16)), held("c15.example"));
        assert_eq!(changed(chain(17)), MALFORMED);
    }

    #[test]
    fn other_questions_are_passed() {
        let question = |edit: fn(&mut Query)| changed(|m| m.queries.iter_mut().for_each(edit));
        assert_eq!(question(|q| _ = q.set_query_type(RecordType::AAAA)), PASSED);
        assert_eq!(question(|q| _ = q.set_query_type(RecordType::from(65324))), PASSED);
        assert_eq!(question(|q| _ = q.set_query_class(DNSClass::CH)), PASSED);
        let second = |m: &mut Hickory| {
            m.add_query(Query::new());
        };
        assert_eq!(changed(second), PASSED);
    }

    #[test]
    fn what_is_no_plain_reply_is_passed() {
        assert_eq!(changed(|m| m.metadata.message_type = MessageType::Query), PASSED);
        assert_eq!(changed(|m| m.metadata.op_code = OpCode::Notify), PASSED);
        assert_eq!(changed(|m| m.metadata.truncation = true), PASSED);
        assert_eq!(changed(|m| m.metadata.response_code = ResponseCode::NXDomain), PASSED);
        assert_eq!(changed(|m| m.metadata.response_code = ResponseCode::ServFail), PASSED);
    }

    #[test]
    fn an_error_that_only_the_opt_record_tells_is_passed() {
        let opt = b"\0\0\x29\x04\xd0\x01\0\0\0\0\0";
        let octets = crafted([1, 0, 0, 1], &[QUESTION, opt].concat());
        assert_eq!(classify(&octets, &Policy::default()), PASSED);
    }

    #[test]
    fn a_client_that_validates_is_left_alone_in_signed_zones() {
        let validating = |m: &mut Hickory| {
            m.set_edns(testing::edns(true));
        };
        assert_eq!(changed(validating), held("b.example"));
        let signed = |m: &mut Hickory| {
            validating(m);
            m.add_authority(raw("example", rtype::RRSIG, b"\0\x06"));
        };
        assert_eq!(changed(signed), PASSED);
        let trusting = |m: &mut Hickory| {
            signed(m);
            m.metadata.checking_disabled = true;
        };
        assert_eq!(changed(trusting), held("b.example"));
    }

    #[test]
    fn a_signed_reply_is_passed() {
        let body = [QUESTION, b"\0\0\xfa\0\xff\0\0\0\0\0\0"].concat();
        assert_eq!(classify(&crafted([1, 0, 0, 1], &body), &Policy::default()), PASSED);
    }

    #[test]
    fn a_referral_is_passed() {
        let mut referral = testing::empty();
        referral.add_authority(testing::ns("example", "ns.example"));
        referral.add_additional(testing::a("ns.example", 1));
        assert_eq!(class(&referral), PASSED);
        referral.add_authority(testing::soa("example"));
        assert_eq!(class(&referral), held("b.example"));
    }

    #[test]
    fn names_that_are_left_out_are_passed() {
        let pattern = |text: &str| vec![text.parse().expect("a pattern")];
        let class = |names| {
            let policy = Policy { names, ..Policy::default() };
            classify(&testing::octets(&testing::nodata()), &policy)
        };
        let except = Selection { except: pattern("*.example"), ..Selection::default() };
        assert_eq!(class(except), PASSED);
        let elsewhere = Selection { only: pattern("example.org"), ..Selection::default() };
        assert_eq!(class(elsewhere), PASSED);
        let only = Selection { only: pattern("b.EXAMPLE"), ..Selection::default() };
        assert_eq!(class(only), held("b.example"));
    }

    #[test]
    fn nonsense_is_passed_and_counted() {
        for octets in [&b""[..], b"\x12\x34\x81\x80", &crafted([1, 1, 0, 0], QUESTION)] {
            assert_eq!(classify(octets, &Policy::default()), MALFORMED);
        }
    }

    /// Two boxes in front of the names of example.org, whose addresses are elsewhere; one box in
    /// front of example.net, whose names have the private addresses themselves.
    fn emulating() -> Policy {
        let emulation = |zone: &str, host: &str, boxes: &[&str]| {
            let boxes = boxes.iter().map(|text| text.parse().expect("a box")).collect();
            Emulation::new(vec![name(zone)], host.parse().expect("a host"), boxes)
                .expect("an emulation")
        };
        let emulations = vec![
            emulation(
                "example.org",
                "{label}-in.{parent}",
                &["{label}-nat1.{parent}", "{label}-nat2.{parent}"],
            ),
            emulation("example.net", "{name}", &["nat1.{name}"]),
        ];
        Policy { emulations: Emulations::new(emulations), ..Policy::default() }
    }

    fn emulated(asked: &str, change: impl FnOnce(&mut Hickory)) -> Class {
        let mut message = testing::nodata();
        message.queries[0].set_name(testing::hickory_name(asked));
        change(&mut message);
        classify(&testing::octets(&message), &emulating())
    }

    fn no_such_name(message: &mut Hickory) {
        message.metadata.response_code = ResponseCode::NXDomain;
    }

    fn private(owner: &str) -> Record {
        testing::record(owner, RData::A(A::new(192, 168, 0, 2)))
    }

    fn follow(asked: &str, target: &str, lack: Lack, emulated: Option<Names>) -> Class {
        let (asked, target) = (name(asked), name(target));
        Class::Hold(FollowUp { asked, target, lack, emulated })
    }

    fn of_org() -> Option<Names> {
        let boxes = ["b-nat1.example.org", "b-nat2.example.org"].map(|one| (name(one), 100));
        Some(Names { host: name("b-in.example.org"), boxes: boxes.into() })
    }

    #[test]
    fn a_name_that_does_not_exist_may_be_emulated_in_its_zone_only() {
        let held = follow("b.example.org", "b.example.org", Lack::Name, of_org());
        assert_eq!(emulated("B.example.org", no_such_name), held);
        assert_eq!(emulated("b.example.com", no_such_name), PASSED);
        // The name itself would have to have the host's address.
        assert_eq!(emulated("b.example.net", no_such_name), PASSED);
    }

    #[test]
    fn a_name_without_address_may_have_either() {
        let held = follow("b.example.org", "b.example.org", Lack::Address, of_org());
        assert_eq!(emulated("b.example.org", |_| ()), held);
        let nat_record_only = follow("b.example.net", "b.example.net", Lack::Address, None);
        assert_eq!(emulated("b.example.net", |_| ()), nat_record_only);
    }

    #[test]
    fn the_end_of_the_aliases_counts() {
        let alias = |m: &mut Hickory| {
            no_such_name(m);
            m.add_answer(cname("www.example.com", "b.example.org"));
        };
        let held = follow("www.example.com", "b.example.org", Lack::Name, of_org());
        assert_eq!(emulated("www.example.com", alias), held);
        let away = |m: &mut Hickory| {
            no_such_name(m);
            m.add_answer(cname("b.example.org", "b.example.com"));
        };
        assert_eq!(emulated("b.example.org", away), PASSED);
    }

    #[test]
    fn a_resolver_that_asks_for_another_type_shall_not_deny_the_name() {
        let aaaa = |m: &mut Hickory| {
            no_such_name(m);
            m.queries[0].set_query_type(RecordType::AAAA);
        };
        let held = follow("b.example.org", "b.example.org", Lack::NameOfOtherType, of_org());
        assert_eq!(emulated("b.example.org", aaaa), held);
        assert_eq!(emulated("b.example.com", aaaa), PASSED);
        let nodata = |m: &mut Hickory| _ = m.queries[0].set_query_type(RecordType::AAAA);
        assert_eq!(emulated("b.example.org", nodata), PASSED);
    }

    #[test]
    fn a_private_address_is_the_host_s_where_the_name_is_the_host() {
        let two = |m: &mut Hickory| {
            m.add_answer(cname("b.example.net", "c.example.net"));
            m.add_answer(private("c.example.net"));
            m.add_answer(private("C.example.net"));
        };
        let hosts = vec![Ipv4Addr::new(192, 168, 0, 2); 2];
        let boxes = vec![(name("nat1.c.example.net"), 100)];
        let names = Some(Names { host: name("c.example.net"), boxes });
        let lack = Lack::Boxes { hosts, ttl: 300 };
        assert_eq!(
            emulated("b.example.net", two),
            follow("b.example.net", "c.example.net", lack, names)
        );
        for other in ["b.example.org", "b.example.com"] {
            let one = |m: &mut Hickory| _ = m.add_answer(private(other));
            assert_eq!(emulated(other, one), PASSED, "{other}");
        }
    }

    #[test]
    fn a_public_address_always_wins() {
        let b = "b.example.net";
        let public = |m: &mut Hickory| _ = m.add_answer(testing::a(b, 1));
        assert_eq!(emulated(b, public), PASSED);
        let mixed = |m: &mut Hickory| {
            m.add_answer(private(b));
            m.add_answer(testing::a(b, 1));
        };
        assert_eq!(emulated(b, mixed), PASSED);
        let of_another = |m: &mut Hickory| _ = m.add_answer(private("c.example.net"));
        assert_eq!(emulated(b, of_another), PASSED);
        let denied = |m: &mut Hickory| {
            no_such_name(m);
            m.add_answer(testing::a("b.example.org", 1));
        };
        assert_eq!(emulated("b.example.org", denied), PASSED);
        let more_behind = |m: &mut Hickory| {
            m.add_answer(private(b));
            m.add_answer(testing::aaaa(b));
        };
        assert_eq!(emulated(b, more_behind), PASSED);
    }

    /// The daemon's own questions: without this there would be no end.
    #[test]
    fn names_that_emulate_are_never_followed_up() {
        for made in ["b-nat1.example.org", "b-in.example.org", "b-nat2.c.example.org"] {
            assert_eq!(emulated(made, no_such_name), PASSED);
            assert_eq!(emulated(made, |_| ()), PASSED);
            let alias = |m: &mut Hickory| _ = m.add_answer(cname("x.example.org", made));
            assert_eq!(emulated("x.example.org", alias), PASSED);
        }
        let made = "nat1.b.example.net";
        assert_eq!(emulated(made, |m| _ = m.add_answer(private(made))), PASSED);
    }

    /// The daemon asks about it to hear whether a server speaks.
    #[test]
    fn the_root_is_never_followed_up() {
        assert_eq!(emulated("x", |_| ()), follow("x", "x", Lack::Address, None));
        assert_eq!(emulated("", |_| ()), PASSED);
    }

    proptest! {
        #[test]
        fn any_octets_have_a_class(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            classify(&octets, &emulating());
        }

        #[test]
        fn any_body_has_a_class(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let octets = crafted([1, 2, 1, 1], &[QUESTION, &body].concat());
            classify(&octets, &emulating());
        }
    }
}
