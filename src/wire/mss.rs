//! Clamping of the TCP maximum segment size (RFC 9293 §3.7.1), so that a segment with all its
//! tunnel headers fits the path.

use super::checksum::{Sum, updated};
use super::datagram::{Datagram, IPV4_HEADER};

const TCP_CHECKSUM: usize = 16;
const TCP_HEADER: usize = 20;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// The largest segment, in octets, whose datagram and `levels` tunnel headers fit `mtu` octets.
pub fn largest_segment(mtu: u16, levels: usize) -> u16 {
    let headers = levels * super::outer::LEVEL + IPV4_HEADER + TCP_HEADER;
    usize::from(mtu).saturating_sub(headers) as u16
}

/// Lowers the MSS option of a SYN or SYN-ACK to `limit` octets; never raises it.
///
/// A SYN without the option is left alone: the peer then assumes 536 (RFC 9293 §3.7.1).
pub fn clamp(datagram: &Datagram, bytes: &mut [u8], limit: u16) {
    if !datagram.transport.is_syn() {
        return;
    }
    let segment = &mut bytes[IPV4_HEADER..];
    let Some(at) = mss_option(segment) else { return };
    let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
    if old <= limit {
        return;
    }
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    // At an odd offset the word straddles two words of the sum: its octets change places.
    let word = |word: u16| Sum::default().word(if at % 2 == 0 { word } else { word.swap_bytes() });
    let checksum = u16::from_be_bytes([segment[TCP_CHECKSUM], segment[TCP_CHECKSUM + 1]]);
    let checksum = updated(checksum, word(old), word(limit));
    segment[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Where the value of the MSS option stands in a segment.
fn mss_option(segment: &[u8]) -> Option<usize> {
    let end = usize::from(segment.get(12)? >> 4) * 4;
    let mut at = TCP_HEADER;
    while at < end {
        match *segment.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let octets = usize::from(*segment.get(at + 1)?);
                if octets < 2 || at + octets > end || end > segment.len() {
                    return None;
                }
                if kind == OPTION_MSS && octets == 4 {
                    return Some(at + 2);
                }
                at += octets;
            }
        }
    }
    None
}
