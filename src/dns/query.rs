//! Questions of clients to the DNS proxy: read, sent on, matched with their replies, answered.
//!
//! Sent on means: the same octets under another ID. What the proxy does not understand thus reaches
//! the server as it came.

use super::Name;
use super::message::{HEADER_OCTETS, Header, Message, Record, Section, rtype};
use super::rewrite::PLAIN_LIMIT;

/// Response codes (RFC 1035 §4.1.1).
const FORMERR: u8 = 1;
const SERVFAIL: u8 = 2;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

const OPCODE_QUERY: u8 = 0;
/// Types whose answer is a whole zone in several messages (RFC 1995, RFC 5936).
const TRANSFERS: [u16; 2] = [251, 252];

/// Flags in the header's third octet: QR, OPCODE, AA, TC, RD; and in its fourth: RA, Z, AD, CD, RCODE.
const QR: u8 = 0x80;
const TC: u8 = 0x02;
const KEPT_OF_QUERY: u8 = 0x79;
const RA: u8 = 0x80;
const CD: u8 = 0x10;

/// An OPT record without options (RFC 6891 §6.1.2): the root's, type 41, then what the proxy takes
/// over UDP, extended response code and version 0, flags, no RDATA.
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
/// Offset of the flags in it; the first is DO.
const OPT_FLAGS: usize = 7;

/// A question that can be sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    octets: Vec<u8>,
    asked: Asked,
    /// Offset of the first octet after the question.
    question_end: usize,
    /// The most octets that its client takes over UDP, and whether it asks for DNSSEC; without an OPT
    /// record, none.
    edns: Option<(usize, bool)>,
}

/// What somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The name.
    pub name: Name,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
}

/// What is no question that could be sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Never answered: it is a reply, or no DNS at all. Two proxies could go on for ever otherwise.
    Silence,
    /// To be answered with this message.
    Refused(Vec<u8>),
}

/// How good a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// What the client gets.
    Answer,
    /// The whole one is to be had over TCP.
    Truncated,
    /// The server cannot answer; another may.
    Failure,
}

impl Query {
    /// Reads what a client sent.
    pub fn parse(octets: Vec<u8>) -> Result<Self, Unfit> {
        let header = Header::parse(&octets).map_err(|_| Unfit::Silence)?;
        if header.is_reply() {
            return Err(Unfit::Silence);
        }
        let refused = |rcode| Err(Unfit::Refused(bare(&octets, rcode)));
        if header.opcode() != OPCODE_QUERY {
            return refused(NOTIMP);
        }
        let Ok(message) = Message::parse(&octets) else { return refused(FORMERR) };
        let Ok(opt) = message.opt() else { return refused(FORMERR) };
        let question = message.question();
        let asked =
            Asked { name: question.name.clone(), qtype: question.qtype, qclass: question.qclass };
        let size = opt_record(&message).map_or(0, |record| usize::from(record.class));
        let edns = opt.map(|opt| (size.max(PLAIN_LIMIT), opt.dnssec_ok()));
        let query = Self { asked, question_end: question.end, edns, octets };
        match TRANSFERS.contains(&query.asked.qtype) {
            true => Err(Unfit::Refused(query.failure(REFUSED))),
            false => Ok(query),
        }
    }

    /// What it asks.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The most octets that its client takes over UDP (RFC 6891 §6.2.3).
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(PLAIN_LIMIT, |(size, _)| size)
    }

    /// The octets under another ID.
    pub fn under(&self, id: u16) -> Vec<u8> {
        let mut octets = self.octets.clone();
        set_id(&mut octets, id);
        octets
    }

    /// How good `reply` is, if it is one to this question under `id`: the question must have come back
    /// octet for octet, the case of letters included (RFC 5452 §9.1). Servers that fail may leave it
    /// out.
    pub fn quality(&self, id: u16, reply: &[u8]) -> Option<Quality> {
        let header = Header::parse(reply).ok()?;
        if header.id != id || !header.is_reply() || header.opcode() != OPCODE_QUERY {
            return None;
        }
        let fails = [FORMERR, SERVFAIL, NOTIMP, REFUSED].contains(&header.rcode());
        if header.questions == 0 && fails && reply.len() == HEADER_OCTETS {
            return Some(Quality::Failure);
        }
        let question =
            |octets: &'_ [u8]| octets.get(HEADER_OCTETS..self.question_end).map(<[u8]>::to_vec);
        if header.questions != 1 || question(reply)? != question(&self.octets)? {
            return None;
        }
        Some(match header.is_truncated() {
            _ if fails => Quality::Failure,
            true => Quality::Truncated,
            false => Quality::Answer,
        })
    }

    /// A reply as the client expects it: under its own ID.
    pub fn answer(&self, mut reply: Vec<u8>) -> Vec<u8> {
        set_id(&mut reply, self.id());
        reply
    }

    /// A reply for a client that asked over UDP: one that is too long becomes one that sends it to TCP
    /// (RFC 2181 §9).
    pub fn answer_by_udp(&self, reply: Vec<u8>) -> Vec<u8> {
        if reply.len() <= self.udp_limit() { reply } else { self.cut(&reply) }
    }

    /// The reply that no server could give one.
    pub fn server_failure(&self) -> Vec<u8> {
        self.failure(SERVFAIL)
    }

    fn id(&self) -> u16 {
        self.octets.first_chunk().map_or(0, |octets: &[u8; 2]| u16::from_be_bytes(*octets))
    }

    fn failure(&self, rcode: u8) -> Vec<u8> {
        let mut out = bare(&self.octets, rcode);
        self.push_question(&mut out);
        if let Some((_, dnssec_ok)) = self.edns {
            let mut opt = OPT;
            opt[OPT_FLAGS] = if dnssec_ok { 0x80 } else { 0 };
            push_additional(&mut out, &opt);
        }
        out
    }

    /// Header, question and OPT record of a reply.
    fn cut(&self, reply: &[u8]) -> Vec<u8> {
        let mut out = reply.get(..HEADER_OCTETS).unwrap_or(reply).to_vec();
        if let Some(counts) = out.get_mut(2..HEADER_OCTETS) {
            counts[0] |= TC;
            counts[2..].fill(0);
        }
        self.push_question(&mut out);
        let opt = Message::parse(reply).ok().and_then(|message| {
            let record = opt_record(&message)?;
            reply.get(record.start..record.end()).map(<[u8]>::to_vec)
        });
        if let Some(opt) = opt.filter(|opt| out.len() + opt.len() <= self.udp_limit()) {
            push_additional(&mut out, &opt);
        }
        out
    }

    fn push_question(&self, out: &mut Vec<u8>) {
        out.extend(self.octets.get(HEADER_OCTETS..self.question_end).unwrap_or_default());
        if let Some(count) = out.get_mut(5) {
            *count = 1;
        }
    }
}

fn opt_record<'a>(message: &'a Message<'_>) -> Option<&'a Record> {
    message.records(Section::Additional).find(|record| record.rtype == rtype::OPT)
}

fn push_additional(out: &mut Vec<u8>, record: &[u8]) {
    out.extend(record);
    if let Some(count) = out.get_mut(11) {
        *count = 1;
    }
}

/// A header without anything behind it: the ID, OPCODE, RD and CD of the query.
fn bare(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut out = query.get(..HEADER_OCTETS).unwrap_or_default().to_vec();
    out.resize(HEADER_OCTETS, 0);
    out[2] = out[2] & KEPT_OF_QUERY | QR;
    out[3] = out[3] & CD | RA | rcode;
    out[4..].fill(0);
    out
}

fn set_id(octets: &mut [u8], id: u16) {
    if let Some(place) = octets.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{self, ASKED, QUESTION, crafted, name};
    use hickory_resolver::proto::op::{Message as Hickory, MessageType, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::RecordType;
    use proptest::prelude::*;

    const OTHER_ID: u16 = 0x7766;

    fn hickory_query(change: impl FnOnce(&mut Hickory)) -> Vec<u8> {
        let mut message = testing::empty();
        message.metadata.message_type = MessageType::Query;
        message.metadata.recursion_available = false;
        change(&mut message);
        testing::octets(&message)
    }

    fn query() -> Query {
        Query::parse(hickory_query(|m| m.edns = Some(testing::edns(true)))).expect("a query")
    }

    fn plain() -> Query {
        Query::parse(hickory_query(|_| {})).expect("a query")
    }

    fn read(octets: &[u8]) -> Hickory {
        Hickory::from_vec(octets).expect("hickory reads it")
    }

    /// The reply of a server to `query` under [`OTHER_ID`].
    fn reply(change: impl FnOnce(&mut Hickory)) -> Vec<u8> {
        let mut message = testing::nodata();
        message.metadata.id = OTHER_ID;
        change(&mut message);
        testing::octets(&message)
    }

    #[test]
    fn what_is_asked_and_what_the_client_takes() {
        let asked = Asked { name: name("b.example"), qtype: rtype::A, qclass: 1 };
        assert_eq!((query().asked(), query().udp_limit()), (&asked, 1232));
        assert_eq!(plain().udp_limit(), 512);
        let small = crafted_query(b"\0\0\x29\0\x10\0\0\0\0\0\0");
        assert_eq!(Query::parse(small).expect("a query").udp_limit(), 512);
    }

    fn crafted_query(opt: &[u8]) -> Vec<u8> {
        let mut octets = crafted([1, 0, 0, 1], &[QUESTION, opt].concat());
        octets[2..4].copy_from_slice(&[1, 0]);
        octets
    }

    #[test]
    fn only_the_id_changes_on_the_way() {
        let query = query();
        let sent = query.under(OTHER_ID);
        assert_eq!(&sent[..2], OTHER_ID.to_be_bytes());
        assert_eq!(sent[2..], query.octets[2..]);
    }

    #[test]
    fn the_reply_comes_back_under_the_client_s_id() {
        let query = query();
        let sent = reply(|_| {});
        assert_eq!(query.quality(OTHER_ID, &sent), Some(Quality::Answer));
        let given = query.answer(sent.clone());
        assert_eq!(given[..2], testing::ID.to_be_bytes());
        assert_eq!(given[2..], sent[2..]);
    }

    #[test]
    fn another_id_question_or_kind_of_message_is_no_reply() {
        let query = query();
        let refused = |change: fn(&mut Hickory)| {
            assert_eq!(query.quality(OTHER_ID, &reply(change)), None);
        };
        refused(|m| m.metadata.id ^= 1);
        refused(|m| m.metadata.message_type = MessageType::Query);
        refused(|m| m.metadata.op_code = OpCode::Notify);
        refused(|m| _ = m.queries[0].set_query_type(RecordType::AAAA));
        refused(|m| _ = m.queries[0].set_name(testing::hickory_name("c.example")));
        // The case of letters comes back as it was sent.
        refused(|m| _ = m.queries[0].set_name(testing::hickory_name("b.example")));
        refused(|m| m.queries.clear());
        for octets in [&b""[..], b"\x77\x66\x81\x80", &reply(|_| {})[..20]] {
            assert_eq!(query.quality(OTHER_ID, octets), None);
        }
    }

    #[test]
    fn failures_and_truncation_are_told_apart() {
        let quality = |change: fn(&mut Hickory)| query().quality(OTHER_ID, &reply(change));
        assert_eq!(quality(|m| m.metadata.truncation = true), Some(Quality::Truncated));
        for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
            let octets = reply(|m| m.metadata.response_code = code);
            assert_eq!(query().quality(OTHER_ID, &octets), Some(Quality::Failure));
        }
        let denied = |m: &mut Hickory| m.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(quality(denied), Some(Quality::Answer));
        let bare = [OTHER_ID.to_be_bytes(), [0x81, 0x82]].concat();
        let bare = [&bare[..], &[0; 8]].concat();
        assert_eq!(query().quality(OTHER_ID, &bare), Some(Quality::Failure));
    }

    #[test]
    fn a_failure_is_a_sound_reply() {
        let message = read(&query().server_failure());
        assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(message.metadata.id, testing::ID);
        assert!(message.metadata.recursion_available && message.metadata.recursion_desired);
        assert_eq!(message.queries[0].name().to_string(), format!("{ASKED}."));
        assert!(message.edns.expect("EDNS").flags().dnssec_ok);
        assert!(read(&plain().server_failure()).edns.is_none());
    }

    #[test]
    fn what_is_too_long_for_udp_is_cut() {
        let long = |query: &Query| {
            query.answer(reply(|m| {
                for last in 0..80 {
                    m.add_answer(testing::a(ASKED, last));
                }
            }))
        };
        let cut = query().answer_by_udp(long(&query()));
        assert!(cut.len() < 100);
        let message = read(&cut);
        assert!(message.metadata.truncation && message.answers.is_empty());
        assert_eq!(message.edns, testing::nodata().edns);
        let short = query().answer(reply(|_| {}));
        assert_eq!(query().answer_by_udp(short.clone()), short);
    }

    #[test]
    fn what_cannot_be_sent_on_is_refused_or_ignored() {
        assert_eq!(Query::parse(reply(|_| {})), Err(Unfit::Silence));
        assert_eq!(Query::parse(b"no DNS".to_vec()), Err(Unfit::Silence));
        let code = |octets: Vec<u8>| match Query::parse(octets) {
            Err(Unfit::Refused(message)) => read(&message).metadata.response_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            code(hickory_query(|m| m.metadata.op_code = OpCode::Update)),
            ResponseCode::NotImp
        );
        assert_eq!(code(hickory_query(|m| m.queries.clear())), ResponseCode::FormErr);
        let cut = hickory_query(|_| {});
        assert_eq!(code(cut[..cut.len() - 1].to_vec()), ResponseCode::FormErr);
        let transfer = |m: &mut Hickory| _ = m.queries[0].set_query_type(RecordType::AXFR);
        assert_eq!(code(hickory_query(transfer)), ResponseCode::Refused);
        let twice = crafted_query(b"\x01x\0\0\x29\0\x10\0\0\0\0\0\0");
        assert_eq!(code(twice), ResponseCode::FormErr);
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_is_no_reason_to_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            match Query::parse(octets.clone()) {
                Ok(query) => {
                    prop_assert_eq!(&query.under(1)[2..], &octets[2..]);
                    prop_assert!(Message::parse(&query.server_failure()).is_ok());
                }
                Err(Unfit::Refused(message)) => {
                    prop_assert_eq!(&message[..2], &octets[..2]);
                    prop_assert!(message[2] & QR != 0);
                }
                Err(Unfit::Silence) => {}
            }
        }

        /// One octet that is not as it should be in header or question: the reply is not believed, or
        /// it is one by what RFC 1035 says.
        #[test]
        fn a_changed_question_is_never_believed(at in 0usize..2, octet: u8, place in 12usize..27) {
            let mut octets = reply(|_| {});
            let place = if at == 0 { place } else { at - 1 };
            prop_assume!(octets[place] != octet);
            octets[place] = octet;
            prop_assert_eq!(query().quality(OTHER_ID, &octets), None);
        }

        #[test]
        fn a_cut_reply_fits(octets in prop::collection::vec(any::<u8>(), 0..3000)) {
            let query = query();
            let given = query.answer_by_udp(query.answer(octets));
            prop_assert!(given.len() <= query.udp_limit());
        }
    }
}
