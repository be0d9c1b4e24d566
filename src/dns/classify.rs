//! The first look at a reply: does it lack the address that somebody asked for?

use super::chain;
use super::message::{CLASS_IN, Header, Message, MessageError, Section, rtype};
use super::name::Name;
use crate::counters::Counter;

const OPCODE_QUERY: u8 = 0;
const NOERROR: u8 = 0;

/// What the configuration says about which replies may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Also change replies to clients that check DNSSEC signatures themselves (DO set, CD clear).
    /// They may refuse the changed reply, for it cannot be signed.
    pub change_validated: bool,
}

/// What is to be done with a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Pass it on at once, unchanged.
    Pass(Counter),
    /// Hold it while the NAT record is looked up.
    Hold(FollowUp),
}

/// The names a reply that waits is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// The name the application asked for.
    pub asked: Name,
    /// The name whose NAT record is wanted: the end of the reply's chain of aliases.
    pub target: Name,
}

/// Decides about a reply (the payload of a UDP packet from port 53) on its way to the client.
/// Whatever is unusual is passed: ordinary names must never break.
pub fn classify(message: &[u8], policy: Policy) -> Class {
    match follow_up(message, policy) {
        Ok(Some(follow_up)) => Class::Hold(follow_up),
        Ok(None) => Class::Pass(Counter::DnsPassed),
        Err(_) => Class::Pass(Counter::DnsMalformed),
    }
}

fn follow_up(octets: &[u8], policy: Policy) -> Result<Option<FollowUp>, MessageError> {
    // The header alone decides about queries and errors, so most of those cost nothing.
    if !is_plain_reply(&Header::parse(octets)?) {
        return Ok(None);
    }
    let message = Message::parse(octets)?;
    if !lacks_address(&message) || is_referral(&message) || is_protected(&message, policy)? {
        return Ok(None);
    }
    let target = chain::end(&message)?.name;
    Ok(Some(FollowUp { asked: message.question().name.clone(), target }))
}

/// Only NODATA qualifies (RFC 2308 §2.2): a name that owns a NAT record exists. Zones whose NAT
/// records are emulated would let NXDOMAIN through here.
fn is_plain_reply(header: &Header) -> bool {
    header.is_reply()
        && header.opcode() == OPCODE_QUERY
        && header.questions == 1
        && !header.is_truncated()
        && header.rcode() == NOERROR
}

fn lacks_address(message: &Message<'_>) -> bool {
    let question = message.question();
    question.qtype == rtype::A
        && question.qclass == CLASS_IN
        && message.of_type(Section::Answer, rtype::A).next().is_none()
}

/// A reply that says which servers to ask instead is not NODATA (RFC 2308 §2.2). Only resolvers
/// see them; a resolver on this host would become slow if each waited.
fn is_referral(message: &Message<'_>) -> bool {
    let authority = |rtype| message.of_type(Section::Authority, rtype).next().is_some();
    !message.header().is_authoritative() && authority(rtype::NS) && !authority(rtype::SOA)
}

/// Replies whose change the client would notice and refuse, or whose response code is an error
/// that only the OPT record tells (RFC 6891 §6.1.3).
fn is_protected(message: &Message<'_>, policy: Policy) -> Result<bool, MessageError> {
    let validated = match message.opt()? {
        Some(opt) if opt.extended_rcode() != 0 => return Ok(true),
        Some(opt) => opt.dnssec_ok() && !message.header().checking_disabled(),
        None => false,
    };
    Ok(message.is_signed() || validated && !policy.change_validated)
}
