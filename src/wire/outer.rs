//! The outer header of one tunnel level: IPv4 and UDP, 28 octets.

use super::checksum::Sum;
use super::datagram::{Endpoint, IPV4_HEADER, UDP_HEADER, protocol};

/// Octets that one level adds.
pub const LEVEL: usize = IPV4_HEADER + UDP_HEADER;
/// The longest datagram that a verdict can carry, in octets: the kernel's NFQNL_MAX_COPY_RANGE, the
/// 16-bit length of a netlink attribute less the attribute's header.
pub const MAX_DATAGRAM: usize = 65_531;
/// Time to live of an outer header (RFC 1122 §3.2.1.7 suggests the current default, 64).
pub const TTL: u8 = 64;

/// What is inside a level: its length in octets and the one's complement sum of its octets.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    /// Length in octets.
    pub octets: usize,
    /// Sum over all of it.
    pub sum: Sum,
}

/// Writes the outer header of one level and returns the level as the content of the next.
///
/// `None` if it would exceed [`MAX_DATAGRAM`]. DF is clear, so that a
/// router may fragment what does not fit; therefore `id` must not repeat soon for the same
/// destination (RFC 6864 §4.1, RFC 4963) and there is always a UDP checksum.
pub fn write(
    header: &mut [u8; LEVEL],
    src: Endpoint,
    dst: Endpoint,
    traffic_class: u8,
    id: u16,
    content: Content,
) -> Option<Content> {
    let total = content.octets.checked_add(LEVEL).filter(|&total| total <= MAX_DATAGRAM)?;
    let total = u16::try_from(total).ok()?;
    let segment = total - IPV4_HEADER as u16;
    let (ip, udp) = header.split_at_mut(IPV4_HEADER);
    ip[0] = 0x45;
    ip[1] = traffic_class;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    ip[6..8].copy_from_slice(&[0, 0]);
    ip[8] = TTL;
    ip[9] = protocol::UDP;
    ip[10..12].copy_from_slice(&[0, 0]);
    ip[12..16].copy_from_slice(&src.addr.octets());
    ip[16..20].copy_from_slice(&dst.addr.octets());
    let checksum = Sum::of(ip).checksum();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    udp[0..2].copy_from_slice(&src.port.to_be_bytes());
    udp[2..4].copy_from_slice(&dst.port.to_be_bytes());
    udp[4..6].copy_from_slice(&segment.to_be_bytes());
    let pseudo = Sum::pseudo_header(src.addr, dst.addr, protocol::UDP, segment);
    let checksum = Sum::of(&udp[0..6]).plus(pseudo).plus(content.sum).udp_checksum();
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    // Header sums to zero, segment to the complement of its pseudo header.
    Some(Content { octets: usize::from(total), sum: Sum::default().minus(pseudo) })
}
