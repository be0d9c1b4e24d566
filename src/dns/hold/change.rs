//! A packet that has waited, with what was found.

use std::net::Ipv4Addr;

use crate::counters::Counter;
use crate::dns::packet::Packet;
use crate::dns::{
    Lack, Name, RewriteError, lift_denial, name_it, replace, rewrite, size_limit, without_answer,
};

/// How long the name of a mapped address is good for, in seconds: names come and go.
const NAME_TTL: u32 = 5;

/// The packet with a mapped address in it, or without its denial, and what it has become; or why
/// it stays as it is.
pub(super) fn changed(
    octets: &[u8],
    lack: &Lack,
    ttl: u32,
    map: impl FnOnce() -> Option<Ipv4Addr>,
) -> Result<(Vec<u8>, Counter), Counter> {
    let packet = Packet::parse(octets).map_err(|_| Counter::DnsMalformed)?;
    let message = packet.message();
    let limit = size_limit(message);
    let mapped = || map().ok_or(Counter::MappingsFull);
    let (changed, counter) = match lack {
        Lack::Hints => (without_answer(message), Counter::DnsHintsDropped),
        Lack::NameOfOtherType => (lift_denial(message), Counter::DnsDenialLifted),
        Lack::Boxes { .. } => (replace(message, mapped()?, ttl, limit), Counter::DnsMapped),
        Lack::Address | Lack::Name => (rewrite(message, mapped()?, ttl, limit), Counter::DnsMapped),
    };
    let message = changed.map_err(reason)?;
    let octets = packet.with_message(&message).map_err(|_| Counter::DnsTooLarge)?;
    Ok((octets, counter))
}

/// The packet with the name of the address that it is about.
pub(super) fn named(octets: &[u8], name: Option<Name>) -> Result<Vec<u8>, Counter> {
    let name = name.ok_or(Counter::DnsPassed)?;
    let packet = Packet::parse(octets).map_err(|_| Counter::DnsMalformed)?;
    let limit = size_limit(packet.message());
    let message = name_it(packet.message(), &name, NAME_TTL, limit).map_err(reason)?;
    packet.with_message(&message).map_err(|_| Counter::DnsTooLarge)
}

fn reason(error: RewriteError) -> Counter {
    match error {
        RewriteError::Malformed(_) => Counter::DnsMalformed,
        RewriteError::HasAddress => Counter::DnsPassed,
        RewriteError::TooLarge(_) => Counter::DnsTooLarge,
    }
}
