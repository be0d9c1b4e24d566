//! A reply that has waited, with what was found.

use std::net::Ipv4Addr;

use crate::counters::Counter;
use crate::dns::{
    Lack, Name, RewriteError, lift_denial, name_it, replace, rewrite, without_answer,
};

/// How long the name of a mapped address is good for, in seconds: names come and go.
const NAME_TTL: u32 = 5;

/// The message with a mapped address in it, or without its denial, and what it has become; or why
/// it stays as it is. At most `limit` octets.
pub(super) fn changed(
    message: &[u8],
    lack: &Lack,
    ttl: u32,
    limit: usize,
    map: impl FnOnce() -> Option<Ipv4Addr>,
) -> Result<(Vec<u8>, Counter), Counter> {
    let mapped = || map().ok_or(Counter::MappingsFull);
    let (changed, counter) = match lack {
        Lack::Hints => (without_answer(message), Counter::DnsHintsDropped),
        Lack::NameOfOtherType => (lift_denial(message), Counter::DnsDenialLifted),
        Lack::Boxes { .. } => (replace(message, mapped()?, ttl, limit), Counter::DnsMapped),
        Lack::Address | Lack::Name => (rewrite(message, mapped()?, ttl, limit), Counter::DnsMapped),
    };
    Ok((changed.map_err(reason)?, counter))
}

/// The message with the name of the address that it is about.
pub(super) fn named(
    message: &[u8],
    name: Option<Name>,
    limit: usize,
) -> Result<(Vec<u8>, Counter), Counter> {
    let name = name.ok_or(Counter::DnsPassed)?;
    let message = name_it(message, &name, NAME_TTL, limit).map_err(reason)?;
    Ok((message, Counter::DnsNamed))
}

fn reason(error: RewriteError) -> Counter {
    match error {
        RewriteError::Malformed(_) => Counter::DnsMalformed,
        RewriteError::HasAddress => Counter::DnsPassed,
        RewriteError::TooLarge(_) => Counter::DnsTooLarge,
    }
}
