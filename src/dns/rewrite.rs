//! Puts a mapped address into a reply that has none, by patching: what is not understood stays as
//! it came.
//!
//! ```text
//! header     ID, flags (AD cleared), counts
//! question   as it came, the case of every letter included
//! answer     as it came, then one A record
//! authority  dropped: its SOA and denial proofs say that there is no such record (RFC 2308 §2.2)
//! additional OPT and others as they came, but their owners are spelled out: pointers might lead into
//!            what moved
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use super::chain::{self, ChainEnd};
use super::message::{CLASS_IN, HEADER_OCTETS, Message, MessageError, Record, Section, rtype};
use super::name::{NameError, Step, Walk, push_label};

/// The size that every client takes (RFC 1035 §4.2.1).
const PLAIN_LIMIT: usize = 512;
/// AD in the fourth octet: "the server vouches for this" (RFC 4035 §3.2.3). It does not.
const AD: u8 = 0x20;
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
    let message = Message::parse(message)?;
    if message.of_type(Section::Answer, rtype::A).next().is_some() {
        return Err(RewriteError::HasAddress);
    }
    let mut out = message.up_to_authority().to_vec();
    push_address(&mut out, &chain::end(&message)?, mapped, ttl);
    let additionals = push_additionals(&mut out, &message)?;
    patch_header(&mut out, &message, additionals)?;
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

/// Copies the additional records that can be moved, and says how many those are.
fn push_additionals(out: &mut Vec<u8>, message: &Message<'_>) -> Result<u16, RewriteError> {
    let mut count = 0;
    for record in message.records(Section::Additional) {
        if !COMPRESSED_RDATA.contains(&record.rtype) {
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

/// One answer more, no authority, the additional records that are left, nobody's word for it.
fn patch_header(
    out: &mut [u8],
    message: &Message<'_>,
    additionals: u16,
) -> Result<(), RewriteError> {
    let answers =
        message.header().answers.checked_add(1).ok_or(RewriteError::TooLarge(out.len()))?;
    let header = out.get_mut(..HEADER_OCTETS).ok_or(MessageError::Truncated)?;
    header[3] &= !AD;
    header[6..8].copy_from_slice(&answers.to_be_bytes());
    header[8..10].fill(0);
    header[10..12].copy_from_slice(&additionals.to_be_bytes());
    Ok(())
}
