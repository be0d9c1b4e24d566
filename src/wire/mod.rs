//! Views over packet bytes and the small patches that NATTT makes to them.
//!
//! Headers are parsed by `etherparse`; patches are our own, because its slices are immutable and
//! its writers compute whole checksums where RFC 1624 needs a few additions.

pub mod checksum;
pub mod datagram;
pub mod ecn;
pub mod icmp_error;
pub mod mss;
pub mod outer;
mod sctp;

#[cfg(test)]
pub(crate) mod tests;

pub use datagram::{Datagram, Endpoint, Flaw};
pub use icmp_error::IcmpError;
