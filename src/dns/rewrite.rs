//! Puts a mapped address into a reply that has none, by patching: what is not understood stays as
//! it came.
//!
//! ```text
//! header     ID, flags (AD cleared), counts; NXDOMAIN becomes NOERROR
//! question   as it came, the case of every letter included
//! answer     as it came, then one A record; or that one instead of private addresses at its end; or
//!            without SVCB and HTTPS records; or the name of a mapped address
//! authority  dropped: its SOA and denial proofs say that there is no such record (RFC 2308 §2.2)
//! additional OPT and others as they came, but their owners are spelled out: pointers might lead into
//!            what moved; OPT alone if there is no room for all
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use super::chain::{self, ChainEnd};
use super::message::{CLASS_IN, HEADER_OCTETS, Message, MessageError, Record, Section, rtype};
use super::name::{Name, NameError, Step, Walk, push_label};

/// The size that every client takes (RFC 1035 §4.2.1).
const PLAIN_LIMIT: usize = 512;
/// AD in the fourth octet: "the server vouches for this" (RFC 4035 §3.2.3). It does not.
const AD: u8 = 0x20;
/// RCODE in the same octet (RFC 1035 §4.1.1).
const RCODE: u8 = 0x0f;
/// A pointer to the question's name, right behind the header (RFC 1035 §4.1.4).
const OWNER_OF_QUESTION: [u8; 2] = [0xc0, HEADER_OCTETS as u8];
/// The highest offset that a compression pointer can name (RFC 1035 §4.1.4).
const MAX_POINTER: usize = 0x3fff;
/// Types whose RDATA may hold compressed names (RFC 3597 §4): NS, MD, MF, CNAME, SOA, MB, MG, MR,
/// PTR, MINFO, MX, RP, AFSDB, RT, SIG, PX, NXT, SRV, NAPTR, KX, A6, DNAME. Others never do.
const COMPRESSED_RDATA: [u16; 22] =
    [2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 21, 24, 26, 30, 33, 35, 36, 38, 39];

/// Why a reply cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewriteError {
    /// It contradicts itself.
    Malformed(MessageError),
    /// It has an A record already: that one wins.
    HasAddress,
    /// It would have this many octets, more than the client takes.
    TooLarge(usize),
}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::HasAddress => write!(f, "the reply has an address already"),
            Self::TooLarge(octets) => write!(f, "{octets} octets are more than the client takes"),
        }
    }
}

impl std::error::Error for RewriteError {}

impl<E: Into<MessageError>> From<E> for RewriteError {
    fn from(error: E) -> Self {
        Self::Malformed(error.into())
    }
}

/// The most octets that the client of this reply takes for certain: what every client takes, or
/// what its server sent it. The OPT record of a reply tells the *server's* limit (RFC 6891 §6.2.4),
/// so it is no help.
pub fn size_limit(message: &[u8]) -> usize {
    message.len().max(PLAIN_LIMIT)
}

/// The reply with an A record for `mapped`, TTL in seconds, at the end of its chain of aliases; at
/// most `limit` octets.
pub fn rewrite(
    message: &[u8],
    mapped: Ipv4Addr,
    ttl: u32,
    limit: usize,
) -> Result<Vec<u8>, RewriteError> {
    put(&Message::parse(message)?, mapped, ttl, limit)
}

/// The same for a reply that ends with addresses, which give way.
pub fn replace(
    message: &[u8],
    mapped: Ipv4Addr,
    ttl: u32,
    limit: usize,
) -> Result<Vec<u8>, RewriteError> {
    let mut message = Message::parse(message)?;
    message.drop_last_answers(rtype::A);
    put(&message, mapped, ttl, limit)
}

/// A reply that says that the type asked for is not there (NODATA), instead of one with such records.
pub fn without_answer(octets: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let mut message = Message::parse(octets)?;
    let wanted = message.question().qtype;
    message.drop_last_answers(wanted);
    if message.of_type(Section::Answer, wanted).next().is_some() {
        return Err(RewriteError::HasAddress);
    }
    finished(message.up_to_authority().to_vec(), &message, 0, size_limit(octets))
}

/// A reply that gives the address asked for this name, instead of one that finds none.
pub fn name_it(
    message: &[u8],
    name: &Name,
    ttl: u32,
    limit: usize,
) -> Result<Vec<u8>, RewriteError> {
    let message = Message::parse(message)?;
    if message.records(Section::Answer).next().is_some() {
        return Err(RewriteError::HasAddress);
    }
    let mut out = message.up_to_authority().to_vec();
    out.extend(OWNER_OF_QUESTION);
    out.extend(rtype::PTR.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend((name.as_wire().len() as u16).to_be_bytes());
    out.extend(name.as_wire());
    finished(out, &message, 1, limit)
}

/// A reply that says only that the type asked for is not there (NODATA), instead of one that says
/// that there is no such name.
pub fn lift_denial(message: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let message = Message::parse(message)?;
    let mut out = message.octets().to_vec();
    clear_flags(&mut out)?;
    Ok(out)
}

fn put(
    message: &Message<'_>,
    mapped: Ipv4Addr,
    ttl: u32,
    limit: usize,
) -> Result<Vec<u8>, RewriteError> {
    if message.of_type(Section::Answer, rtype::A).next().is_some() {
        return Err(RewriteError::HasAddress);
    }
    let mut out = message.up_to_authority().to_vec();
    push_address(&mut out, &chain::end(message)?, mapped, ttl);
    finished(out, message, 1, limit)
}

/// The reply that begins with `out`, in which so many answers are new.
fn finished(
    mut out: Vec<u8>,
    message: &Message<'_>,
    added: usize,
    limit: usize,
) -> Result<Vec<u8>, RewriteError> {
    let answers_end = out.len();
    let mut additionals = push_additionals(&mut out, message, |_| true)?;
    if out.len() > limit {
        // Spelled out they may be many times as long. Only OPT is no mere help (RFC 2181 §9).
        out.truncate(answers_end);
        additionals = push_additionals(&mut out, message, |rtype| rtype == rtype::OPT)?;
    }
    patch_counts(&mut out, message, added, additionals)?;
    clear_flags(&mut out)?;
    if out.len() > limit { Err(RewriteError::TooLarge(out.len())) } else { Ok(out) }
}

/// One A record (RFC 1035 §3.2.1, §3.4.1).
fn push_address(out: &mut Vec<u8>, owner: &ChainEnd, mapped: Ipv4Addr, ttl: u32) {
    match owner.spelled_at.filter(|&at| at <= MAX_POINTER) {
        Some(at) => out.extend((0xc000 | at as u16).to_be_bytes()),
        None => out.extend(owner.name.as_wire()),
    }
    out.extend(rtype::A.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend(4u16.to_be_bytes());
    out.extend(mapped.octets());
}

/// Copies the additional records that are wanted and can be moved, and says how many those are.
fn push_additionals(
    out: &mut Vec<u8>,
    message: &Message<'_>,
    wanted: impl Fn(u16) -> bool,
) -> Result<u16, RewriteError> {
    let mut count = 0;
    for record in message.records(Section::Additional) {
        if wanted(record.rtype) && !COMPRESSED_RDATA.contains(&record.rtype) {
            push_record(out, message.octets(), record)?;
            count += 1;
        }
    }
    Ok(count)
}

fn push_record(out: &mut Vec<u8>, octets: &[u8], record: &Record) -> Result<(), RewriteError> {
    let after_owner = push_spelled_out(out, octets, record.start)?;
    let rest = octets.get(after_owner..record.end()).ok_or(MessageError::Truncated)?;
    out.extend(rest);
    Ok(())
}

/// Copies a name in the case in which it came, every pointer replaced by what it leads to. Returns
/// the offset after the name.
fn push_spelled_out(out: &mut Vec<u8>, octets: &[u8], at: usize) -> Result<usize, NameError> {
    let mut walk = Walk::new(octets, at);
    loop {
        match walk.step()? {
            Step::Label(label) => push_label(out, label),
            Step::Pointer => {}
            Step::Root => {
                out.push(0);
                return Ok(walk.end());
            }
        }
    }
}

/// The answers with those that were added, no authority, the additional records that are left.
fn patch_counts(
    out: &mut [u8],
    message: &Message<'_>,
    added: usize,
    additionals: u16,
) -> Result<(), RewriteError> {
    let answers = message.records(Section::Answer).count() + added;
    let answers = u16::try_from(answers).map_err(|_| RewriteError::TooLarge(out.len()))?;
    let header = out.get_mut(..HEADER_OCTETS).ok_or(MessageError::Truncated)?;
    header[6..8].copy_from_slice(&answers.to_be_bytes());
    header[8..10].fill(0);
    header[10..12].copy_from_slice(&additionals.to_be_bytes());
    Ok(())
}

/// Nobody vouches for it, and there is no error.
fn clear_flags(out: &mut [u8]) -> Result<(), RewriteError> {
    let flags = out.get_mut(3).ok_or(MessageError::Truncated)?;
    *flags &= !(AD | RCODE);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{self, ASKED, QUESTION, cname, crafted, name, raw};
    use hickory_resolver::proto::op::{Message as Hickory, ResponseCode};
    use hickory_resolver::proto::rr::{RData, RecordType};
    use proptest::prelude::*;

    const MAPPED: Ipv4Addr = Ipv4Addr::new(127, 64, 1, 2);
    const TTL: u32 = 60;

    fn rewritten(octets: &[u8]) -> Vec<u8> {
        rewrite(octets, MAPPED, TTL, 65535).expect("a changed reply")
    }

    fn changed(message: &Hickory) -> Hickory {
        Hickory::from_vec(&rewritten(&testing::octets(message))).expect("hickory reads it")
    }

    fn assert_address(message: &Hickory, owner: &str) {
        let last = message.answers.last().expect("an answer");
        assert_eq!(last.name.to_string(), format!("{owner}."));
        assert_eq!(last.ttl, TTL);
        assert_eq!(last.data, RData::A(MAPPED.into()));
    }

    #[test]
    fn the_address_comes_and_the_denial_goes() {
        let before = testing::nodata();
        let after = changed(&before);
        assert_eq!(after.metadata, before.metadata);
        assert_eq!(after.answers.len(), 1);
        // The case in which it was asked comes back.
        assert_address(&after, ASKED);
        assert!(after.authorities.is_empty());
        assert_eq!(after.edns, before.edns);
    }

    #[test]
    fn the_changed_octets() {
        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
        let authority = b"\xc0\x0e\0\x02\0\x01\0\0\0\x01\0\x02\xc0\x0c";
        let before = crafted([1, 0, 1, 1], &[QUESTION, authority, opt].concat());
        let address = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\x40\x01\x02";
        let after = crafted([1, 1, 0, 1], &[QUESTION, address, opt].concat());
        assert_eq!(rewritten(&before), after);
    }

    #[test]
    fn nobody_vouches_for_the_address() {
        let mut message = testing::nodata();
        message.metadata.authentic_data = true;
        message.metadata.authoritative = true;
        let after = changed(&message);
        assert!(!after.metadata.authentic_data && after.metadata.authoritative);
    }

    #[test]
    fn aliases_stay_and_the_address_belongs_to_their_end() {
        let mut message = testing::nodata();
        message.add_answer(cname(ASKED, "C.example"));
        message.add_answer(cname("C.example", "d.Elsewhere"));
        let after = changed(&message);
        assert_eq!(after.answers[..2], message.answers[..]);
        assert_address(&after, "d.Elsewhere");
    }

    #[test]
    fn a_redirected_tree_without_an_alias() {
        let mut message = testing::nodata();
        message.add_answer(raw("example", rtype::DNAME, b"\x03new\0"));
        assert_address(&changed(&message), "b.new");
    }

    #[test]
    fn an_end_beyond_the_reach_of_pointers_is_spelled_out() {
        let mut message = testing::nodata();
        message.add_answer(raw("c.example", 65_000, &[0xa5; 17_000]));
        message.add_answer(cname(ASKED, "far.away"));
        assert_address(&changed(&message), "far.away");
    }

    #[test]
    fn additional_records_survive_the_loss_of_what_they_pointed_to() {
        let mut message = testing::nodata();
        message.add_authority(testing::ns("example", "ns.far.Away"));
        message.add_additional(testing::a("ns.far.Away", 1));
        message.add_additional(raw("x.Away", 65_000, b"\xc0\x0c"));
        let after = changed(&message);
        assert_eq!(after.additionals, message.additionals);
        assert_address(&after, ASKED);
    }

    #[test]
    fn additional_records_that_may_point_anywhere_go() {
        let mut message = testing::nodata();
        message.add_additional(testing::srv("x.example", "far.away"));
        message.add_additional(testing::a("far.away", 1));
        let after = changed(&message);
        assert_eq!(after.additionals, message.additionals[1..]);
        assert_eq!(after.edns, message.edns);
    }

    #[test]
    fn the_client_s_limit_holds() {
        let octets = testing::octets(&testing::empty());
        let length = octets.len() + 16;
        assert!(rewrite(&octets, MAPPED, TTL, length).is_ok());
        let too_large = Err(RewriteError::TooLarge(length));
        assert_eq!(rewrite(&octets, MAPPED, TTL, length - 1), too_large);
    }

    #[test]
    fn the_limit_of_a_reply_is_512_or_its_own_size() {
        assert_eq!(size_limit(&[0; 40]), 512);
        assert_eq!(size_limit(&[0; 1200]), 1200);
    }

    #[test]
    fn what_is_left_of_hints_has_no_more_octets_than_came() {
        let mut message = testing::empty();
        message.queries[0].set_query_type(RecordType::HTTPS);
        message.add_answer(raw(ASKED, rtype::HTTPS, b"\0\x01\0"));
        let long = format!("{}.{}", "x".repeat(60), "y".repeat(60));
        message.add_additionals((0..40).map(|last| testing::a(&long, last)));
        message.set_edns(testing::edns(false));
        let octets = testing::octets(&message);
        let after = without_answer(&octets).expect("hints go in any case");
        assert!(after.len() <= octets.len(), "{} of {}", after.len(), octets.len());
        let after = Hickory::from_vec(&after).expect("hickory reads it");
        assert!(after.answers.is_empty() && after.edns == message.edns);
    }

    #[test]
    fn an_address_that_is_there_is_not_doubled() {
        let mut message = testing::empty();
        message.add_answer(testing::a(ASKED, 1));
        let octets = testing::octets(&message);
        assert_eq!(rewrite(&octets, MAPPED, TTL, 512), Err(RewriteError::HasAddress));
    }

    /// Named, because a pointer into what follows would change its meaning with the rewrite.
    #[test]
    fn an_alias_whose_name_runs_on_into_the_authority_section() {
        // The alias points to its own TTL field's last octet (4), a "label" that ends in the
        // authority section.
        let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x04\0\x02\xc0\x24";
        let authority = b"\0\0\x02\0\x01\0\0\0\0\0\0";
        let octets = crafted([1, 1, 1, 0], &[QUESTION, alias, authority].concat());
        let malformed = RewriteError::Malformed(MessageError::Truncated);
        assert_eq!(rewrite(&octets, MAPPED, TTL, 512), Err(malformed));
    }

    #[test]
    fn a_name_that_was_denied_exists() {
        let mut message = testing::nodata();
        message.metadata.response_code = ResponseCode::NXDomain;
        let after = changed(&message);
        assert_eq!(after.metadata.response_code, ResponseCode::NoError);
        assert_address(&after, ASKED);
    }

    #[test]
    fn private_addresses_give_way() {
        let mut message = testing::nodata();
        message.add_answer(cname(ASKED, "c.example"));
        message.add_answer(testing::a("c.example", 1));
        message.add_answer(testing::a("c.example", 2));
        message.add_additional(testing::a("c.example", 3));
        let octets = replace(&testing::octets(&message), MAPPED, TTL, 512).expect("replaced");
        let after = Hickory::from_vec(&octets).expect("hickory reads it");
        assert_eq!(after.answers.len(), 2);
        assert_eq!(after.answers[0], message.answers[0]);
        assert_address(&after, "c.example");
        assert_eq!(after.additionals, message.additionals);
    }

    #[test]
    fn addresses_before_other_records_stay() {
        let mut message = testing::empty();
        message.add_answer(testing::a(ASKED, 1));
        message.add_answer(testing::aaaa(ASKED));
        let octets = testing::octets(&message);
        assert_eq!(replace(&octets, MAPPED, TTL, 512), Err(RewriteError::HasAddress));
    }

    #[test]
    fn a_denial_of_the_name_becomes_one_of_the_type() {
        let mut message = testing::nodata();
        message.metadata.response_code = ResponseCode::NXDomain;
        message.metadata.authentic_data = true;
        let octets = lift_denial(&testing::octets(&message)).expect("a reply");
        message.metadata.response_code = ResponseCode::NoError;
        message.metadata.authentic_data = false;
        assert_eq!(octets, testing::octets(&message));
    }

    /// A valid reply with aliases, authority and additional records, then changed at random.
    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let mut message = testing::nodata();
        message.add_answer(cname(ASKED, "c.example"));
        message.add_answer(testing::a("c.example", 1));
        message.add_authority(testing::ns("example", "ns.example"));
        message.add_additional(testing::a("ns.example", 1));
        let valid = testing::octets(&message);
        let change = (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xc0)]);
        prop::collection::vec(change, 0..5).prop_map(move |changes| {
            let mut octets = valid.clone();
            for (at, octet) in changes {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            octets
        })
    }

    fn assert_rewritten(before: &[u8], after: &[u8]) {
        let (before, after) = (
            Message::parse(before).expect("was a message"),
            Message::parse(after).expect("still a message"),
        );
        let end = before.question().end;
        assert_eq!(before.header().id, after.header().id);
        assert_eq!(before.question(), after.question());
        assert_eq!(before.octets()[HEADER_OCTETS..end], after.octets()[HEADER_OCTETS..end]);
        let address = after.records(Section::Answer).last().expect("an answer");
        assert_eq!(after.of_type(Section::Answer, rtype::A).collect::<Vec<_>>(), [address]);
        assert_eq!(after.octets()[address.rdata.clone()], MAPPED.octets());
        assert_eq!(address.owner, chain::end(&before).expect("a chain").name);
        assert_eq!(chain::end(&after).expect("a chain").name, address.owner);
        assert_eq!(after.records(Section::Authority).count(), 0);
        assert_eq!(before.opt(), after.opt());
    }

    proptest! {
        #[test]
        fn a_changed_reply_is_a_reply(octets in mutated()) {
            if let Ok(after) = replace(&octets, MAPPED, TTL, 65535) {
                assert_rewritten(&octets, &after);
                prop_assert!(rewrite(&after, MAPPED, TTL, 65535) == Err(RewriteError::HasAddress));
            }
        }

        #[test]
        fn what_is_left_without_an_answer_is_a_reply(octets in mutated()) {
            if let Ok(after) = without_answer(&octets) {
                let message = Message::parse(&after).expect("a sound message");
                let wanted = message.question().qtype;
                prop_assert_eq!(message.of_type(Section::Answer, wanted).count(), 0);
                prop_assert_eq!(without_answer(&after), Ok(after.clone()));
            }
        }

        #[test]
        fn any_octets_are_changed_or_refused(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(after) = rewrite(&octets, MAPPED, TTL, 65535) {
                assert_rewritten(&octets, &after);
            }
        }

        #[test]
        fn hickory_finds_the_address(
            labels in prop::collection::vec("[a-zA-Z0-9]{1,20}", 1..5),
            alias in prop::option::of("[a-z]{1,9}\\.example"),
        ) {
            let asked = labels.join(".");
            let mut message = testing::nodata();
            message.queries[0].set_name(testing::hickory_name(&asked));
            if let Some(alias) = &alias {
                message.add_answer(cname(&asked, alias));
            }
            let after = changed(&message);
            prop_assert_eq!(after.queries, message.queries);
            let address = after.answers.last().expect("an answer");
            prop_assert_eq!(address.record_type(), RecordType::A);
            let owner = alias.unwrap_or(asked);
            prop_assert_eq!(name(&address.name.to_string()), name(&owner));
        }
    }
}
