//! One DNS message, checked once from end to end (RFC 1035 §4). All integers in it are in network
//! byte order; offsets count octets from the message's first.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Range;

use super::name::{Name, NameError};

/// Octets of the header (RFC 1035 §4.1.1).
pub(super) const HEADER_OCTETS: usize = 12;

/// Numbers of the record types that this module has to tell apart (IANA, DNS parameters).
pub mod rtype {
    /// An IPv4 address (RFC 1035 §3.4.1).
    pub const A: u16 = 1;
    /// A name server (RFC 1035 §3.3.11).
    pub const NS: u16 = 2;
    /// The canonical name of an alias (RFC 1035 §3.3.1).
    pub const CNAME: u16 = 5;
    /// The start of a zone of authority (RFC 1035 §3.3.13).
    pub const SOA: u16 = 6;
    /// The name of an address (RFC 1035 §3.3.12).
    pub const PTR: u16 = 12;
    /// A signature of a whole message, when it covers no type (RFC 2931).
    pub const SIG: u16 = 24;
    /// The redirection of everything below a name (RFC 6672).
    pub const DNAME: u16 = 39;
    /// The signature of a record set (RFC 4034 §3).
    pub const RRSIG: u16 = 46;
    /// The pseudo-record of EDNS (RFC 6891 §6.1).
    pub const OPT: u16 = 41;
    /// How services are reached, with address hints (RFC 9460).
    pub const SVCB: u16 = 64;
    /// The same for web servers (RFC 9460 §9).
    pub const HTTPS: u16 = 65;
    /// A transaction signature (RFC 8945).
    pub const TSIG: u16 = 250;
}

/// Class IN (RFC 1035 §3.2.4).
pub const CLASS_IN: u16 = 1;

/// A message whose counts, names and lengths agree with its octets.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    octets: &'a [u8],
    header: Header,
    question: Question,
    records: Vec<Record>,
}

/// The fixed part in front (RFC 1035 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The identifier that ties the reply to its query.
    pub id: u16,
    /// Flags, opcode and response code as they came.
    pub flags: u16,
    /// Entries in the question section.
    pub questions: u16,
    /// Records in the answer section.
    pub answers: u16,
    /// Records in the authority section.
    pub authorities: u16,
    /// Records in the additional section.
    pub additionals: u16,
}

/// The one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name that is asked for.
    pub name: Name,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
    /// Where the name stands in the message, in the case in which it was asked.
    pub wire: Range<usize>,
    /// Offset of the first octet after the question.
    pub end: usize,
}

/// The sections that hold records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Records that answer the question.
    Answer,
    /// Records about the zone.
    Authority,
    /// Records that may be of use.
    Additional,
}

/// One resource record (RFC 1035 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub section: Section,
    /// Whose record it is.
    pub owner: Name,
    /// TYPE.
    pub rtype: u16,
    /// CLASS; in an OPT record, the sender's UDP payload size.
    pub class: u16,
    /// TTL in seconds; in an OPT record, extended response code, version and flags.
    pub ttl: u32,
    /// Offset of the record's first octet.
    pub start: usize,
    /// Where the RDATA stands.
    pub rdata: Range<usize>,
}

/// Why octets are not a message with one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// The message ends before what its counts and lengths promise.
    Truncated,
    /// A name that is none.
    Name(NameError),
    /// No question or several.
    Questions(u16),
    /// Octets after the last record.
    TrailingOctets(usize),
    /// RDATA that is not what the record's type says.
    Rdata(u16),
    /// More than one OPT record (RFC 6891 §6.1.1), or one that is not the root's.
    Opt,
    /// A chain of aliases that runs in circles or does not end.
    Chain,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the message is shorter than its counts and lengths say"),
            Self::Name(error) => error.fmt(f),
            Self::Questions(count) => write!(f, "a reply has one question, not {count}"),
            Self::TrailingOctets(count) => write!(f, "{count} octets follow the last record"),
            Self::Rdata(rtype) => write!(f, "the RDATA of a record of type {rtype} is malformed"),
            Self::Opt => write!(f, "a message has one OPT record at most, owned by the root"),
            Self::Chain => write!(f, "the chain of aliases does not end"),
        }
    }
}

impl std::error::Error for MessageError {}

impl From<NameError> for MessageError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Truncated => Self::Truncated,
            error => Self::Name(error),
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a message with one question and checks all of it.
    pub fn parse(octets: &'a [u8]) -> Result<Self, MessageError> {
        let header = Header::parse(octets)?;
        if header.questions != 1 {
            return Err(MessageError::Questions(header.questions));
        }
        let mut reader = Reader { octets, at: HEADER_OCTETS };
        let question = reader.question()?;
        let records = reader.records(&header)?;
        match octets.len() - reader.at {
            0 => Ok(Self { octets, header, question, records }),
            left => Err(MessageError::TrailingOctets(left)),
        }
    }

    /// The whole message.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The fixed part in front.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The question.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The records of one section, in their order.
    pub fn records(&self, section: Section) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.section == section)
    }

    /// The records of type `rtype` and class IN in one section, in their order.
    pub fn of_type(&self, section: Section, rtype: u16) -> impl Iterator<Item = &Record> {
        self.records(section)
            .filter(move |record| record.rtype == rtype && record.class == CLASS_IN)
    }

    /// Header, question and answer section. No name in them depends on what follows.
    pub fn up_to_authority(&self) -> &'a [u8] {
        let end = self.records(Section::Answer).last().map_or(self.question.end, Record::end);
        self.octets.get(..end).unwrap_or(self.octets)
    }

    /// Leaves out the records of type `rtype` that the answer section ends with. The header's
    /// counts stay as they came.
    pub(super) fn drop_last_answers(&mut self, rtype: u16) {
        let answers = self.records(Section::Answer).count();
        let answer = self.records.get(..answers).unwrap_or_default();
        let dropped = answer
            .iter()
            .rev()
            .take_while(|record| record.rtype == rtype && record.class == CLASS_IN);
        let kept = answers - dropped.count();
        self.records.drain(kept..answers);
    }

    /// The EDNS pseudo-record.
    pub fn opt(&self) -> Result<Option<Opt>, MessageError> {
        let mut all = self.records(Section::Additional).filter(|record| record.rtype == rtype::OPT);
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(opt), None) if opt.owner.as_wire() == [0] => Ok(Some(Opt(opt.ttl))),
            _ => Err(MessageError::Opt),
        }
    }

    /// Whether the message is signed as a whole: any change would break the signature.
    pub fn is_signed(&self) -> bool {
        self.records(Section::Additional)
            .any(|record| matches!(record.rtype, rtype::TSIG | rtype::SIG))
    }

    /// Whether any record set in it is signed.
    pub fn has_signatures(&self) -> bool {
        self.records.iter().any(|record| record.rtype == rtype::RRSIG)
    }

    /// The address in an A record (RFC 1035 §3.4.1); nothing if its RDATA has not four octets.
    pub(super) fn address(&self, record: &Record) -> Option<Ipv4Addr> {
        let rdata = self.octets.get(record.rdata.clone())?;
        <[u8; 4]>::try_from(rdata).ok().map(Ipv4Addr::from)
    }

    /// The RDATA of a CNAME, DNAME or NS record: one name that fills it.
    pub(super) fn target(&self, record: &Record) -> Result<Name, MessageError> {
        let (name, end) = Name::read(self.octets, record.rdata.start)?;
        if end == record.rdata.end { Ok(name) } else { Err(MessageError::Rdata(record.rtype)) }
    }
}

impl Header {
    /// Reads the first twelve octets.
    pub fn parse(octets: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader { octets, at: 0 };
        Ok(Self {
            id: reader.u16()?,
            flags: reader.u16()?,
            questions: reader.u16()?,
            answers: reader.u16()?,
            authorities: reader.u16()?,
            additionals: reader.u16()?,
        })
    }

    /// QR: whether this is a reply.
    pub fn is_reply(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// OPCODE; 0 is QUERY.
    pub fn opcode(&self) -> u8 {
        (self.flags >> 11) as u8 & 0x0f
    }

    /// AA: the server is an authority for the name.
    pub fn is_authoritative(&self) -> bool {
        self.flags & 0x0400 != 0
    }

    /// TC: the reply was cut, the whole one is to be had over TCP.
    pub fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// CD: the client checks signatures itself (RFC 4035 §3.2.2).
    pub fn checking_disabled(&self) -> bool {
        self.flags & 0x0010 != 0
    }

    /// RCODE without the extension in the OPT record; 0 is NOERROR.
    pub fn rcode(&self) -> u8 {
        self.flags as u8 & 0x0f
    }
}

impl Record {
    /// Offset of the first octet after the record.
    pub fn end(&self) -> usize {
        self.rdata.end
    }
}

/// What the TTL field of an OPT record holds (RFC 6891 §6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt(u32);

impl Opt {
    /// The upper eight bits of the response code.
    pub fn extended_rcode(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// DO: the client asked for DNSSEC records (RFC 3225 §3; a reply repeats it).
    pub fn dnssec_ok(self) -> bool {
        self.0 & 0x8000 != 0
    }
}

/// Reads forward and never beyond the end.
struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn question(&mut self) -> Result<Question, MessageError> {
        let start = self.at;
        let name = self.name()?;
        let wire = start..self.at;
        let (qtype, qclass) = (self.u16()?, self.u16()?);
        Ok(Question { name, qtype, qclass, wire, end: self.at })
    }

    fn records(&mut self, header: &Header) -> Result<Vec<Record>, MessageError> {
        // Nothing is reserved for the counts: they may claim 65,535 records of a short message.
        let mut records = Vec::new();
        for (section, count) in [
            (Section::Answer, header.answers),
            (Section::Authority, header.authorities),
            (Section::Additional, header.additionals),
        ] {
            for _ in 0..count {
                records.push(self.record(section)?);
            }
        }
        Ok(records)
    }

    fn record(&mut self, section: Section) -> Result<Record, MessageError> {
        let start = self.at;
        let owner = self.name()?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from_be_bytes(self.array()?);
        let length = usize::from(self.u16()?);
        let rdata = self.at..self.at + length;
        self.take(length)?;
        Ok(Record { section, owner, rtype, class, ttl, start, rdata })
    }

    fn name(&mut self) -> Result<Name, MessageError> {
        let (name, end) = Name::read(self.octets, self.at)?;
        self.at = end;
        Ok(name)
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        self.take(N)?.try_into().map_err(|_| MessageError::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let octets = self.octets.get(self.at..self.at + length).ok_or(MessageError::Truncated)?;
        self.at += length;
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{self, ID, QUESTION, crafted, name};
    use hickory_resolver::proto::op::Message as Hickory;
    use proptest::prelude::*;

    fn error(octets: &[u8]) -> MessageError {
        Message::parse(octets).expect_err("not a message")
    }

    #[test]
    fn every_part_is_found() {
        let mut reply = testing::nodata();
        reply.add_answer(testing::cname(testing::ASKED, "c.example"));
        let octets = testing::octets(&reply);
        let message = Message::parse(&octets).expect("a message");
        assert_eq!(message.header().id, ID);
        assert_eq!(message.question().name, name("b.example"));
        assert_eq!(&octets[message.question().wire.clone()], b"\x01B\x07eXaMpLe\0");
        let alias = message.records(Section::Answer).next().expect("an alias");
        assert_eq!((&alias.owner, alias.rtype, alias.ttl), (&name("b.example"), rtype::CNAME, 300));
        assert_eq!(message.target(alias), Ok(name("c.example")));
        assert_eq!(message.up_to_authority().len(), alias.end());
        assert_eq!(message.of_type(Section::Authority, rtype::SOA).count(), 1);
        let opt = message.opt().expect("sound").expect("an OPT record");
        assert_eq!((opt.dnssec_ok(), opt.extended_rcode()), (false, 0));
    }

    #[test]
    fn several_questions() {
        let body = [QUESTION, QUESTION].concat();
        assert_eq!(error(&crafted([2, 0, 0, 0], &body)), MessageError::Questions(2));
        assert_eq!(error(&crafted([0, 0, 0, 0], &[])), MessageError::Questions(0));
    }

    #[test]
    fn counts_that_promise_too_much() {
        for counts in [[1, 1, 0, 0], [1, 0, 65535, 0], [1, 65535, 65535, 65535]] {
            assert_eq!(error(&crafted(counts, QUESTION)), MessageError::Truncated);
        }
    }

    #[test]
    fn counts_that_promise_too_little() {
        let body = [QUESTION, b"left"].concat();
        assert_eq!(error(&crafted([1, 0, 0, 0], &body)), MessageError::TrailingOctets(4));
    }

    #[test]
    fn a_message_cut_anywhere() {
        let octets = testing::octets(&testing::nodata());
        for length in 0..octets.len() {
            assert_eq!(error(&octets[..length]), MessageError::Truncated, "{length}");
        }
    }

    #[test]
    fn rdata_that_overruns_the_message() {
        let body = [QUESTION, b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x05\x01\x02\x03\x04"].concat();
        assert_eq!(error(&crafted([1, 1, 0, 0], &body)), MessageError::Truncated);
    }

    #[test]
    fn an_alias_whose_name_does_not_fill_its_rdata() {
        let body = [QUESTION, b"\xc0\x0c\0\x05\0\x01\0\0\0\x01\0\x04\xc0\x0c\0\0"].concat();
        let octets = crafted([1, 1, 0, 0], &body);
        let message = Message::parse(&octets).expect("sound up to its RDATA");
        let alias = message.records(Section::Answer).next().expect("an alias");
        assert_eq!(message.target(alias), Err(MessageError::Rdata(rtype::CNAME)));
    }

    #[test]
    fn an_owner_that_points_to_itself() {
        let body = [QUESTION, b"\xc0\x1b\0\x01\0\x01\0\0\0\x01\0\x04\x01\x02\x03\x04"].concat();
        let pointer = MessageError::Name(NameError::Pointer);
        assert_eq!(error(&crafted([1, 1, 0, 0], &body)), pointer);
    }

    #[test]
    fn an_asked_label_of_64_octets() {
        let body = [&[64], &[b'a'; 64][..], b"\0\0\x01\0\x01"].concat();
        let label = MessageError::Name(NameError::LabelType(64));
        assert_eq!(error(&crafted([1, 0, 0, 0], &body)), label);
    }

    #[test]
    fn an_asked_name_of_300_octets() {
        let label = [&[59], &[b'a'; 59][..]].concat();
        let body = [label.repeat(5), b"\0\0\x01\0\x01".to_vec()].concat();
        let too_long = MessageError::Name(NameError::TooLong);
        assert_eq!(error(&crafted([1, 0, 0, 0], &body)), too_long);
    }

    #[test]
    fn opt_records_that_are_several_or_somebodys() {
        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
        let owned = b"\xc0\x0c\0\x29\x04\xd0\0\0\0\0\0\0";
        for (count, body) in [(2, [&opt[..], opt].concat()), (1, owned.to_vec())] {
            let octets = crafted([1, 0, 0, count], &[QUESTION, &body].concat());
            let message = Message::parse(&octets).expect("a message");
            assert_eq!(message.opt(), Err(MessageError::Opt));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(message) = Message::parse(&octets) {
                prop_assert!(message.up_to_authority().len() <= octets.len());
            }
        }

        /// What hickory still reads after a change means the same here.
        #[test]
        fn hickory_counts_the_same_records(at in any::<prop::sample::Index>(), octet: u8) {
            let mut reply = testing::nodata();
            reply.add_answer(testing::cname(testing::ASKED, "c.example"));
            reply.add_additional(testing::a("ns.example", 1));
            let mut octets = testing::octets(&reply);
            let at = at.index(octets.len());
            octets[at] = octet;
            if let (Ok(ours), Ok(other)) = (Message::parse(&octets), Hickory::from_vec(&octets)) {
                prop_assert_eq!(ours.records(Section::Answer).count(), other.answers.len());
                prop_assert_eq!(ours.records(Section::Authority).count(), other.authorities.len());
            }
        }
    }
}
