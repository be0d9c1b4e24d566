//! SCTP's common header (RFC 9260 §3.1): source port, destination port, verification tag, checksum.

use crc32c::{crc32c, crc32c_combine};

/// Octets of the common header.
pub(super) const HEADER: usize = 12;
const PORTS: usize = 4;
const CHECKSUM: usize = 8;

/// Replaces both ports (host order) and mends the checksum, a CRC32c over the whole packet with its
/// own field as zero and without a pseudo header (RFC 9260 §6.8, appendix A).
///
/// CRCs are linear: what the ports change in it does not depend on what follows them. So a checksum
/// that was wrong stays wrong, and nothing else is read. An ICMP error may quote less than the
/// `octets` that the whole packet has, or than the header.
pub(super) fn set_ports(segment: &mut [u8], octets: usize, src: u16, dst: u16) {
    let old = crc32c(&segment[..PORTS]);
    segment[..2].copy_from_slice(&src.to_be_bytes());
    segment[2..PORTS].copy_from_slice(&dst.to_be_bytes());
    let change = crc32c_combine(old ^ crc32c(&segment[..PORTS]), 0, octets.saturating_sub(PORTS));
    // The reflected CRC is sent with its lowest octet first.
    let checksum = segment.get_mut(CHECKSUM..HEADER).into_iter().flatten();
    for (octet, change) in checksum.zip(change.to_le_bytes()) {
        *octet ^= change;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, from the polynomial (RFC 9260 appendix A), independent of the crate.
    pub(crate) fn checksum(segment: &[u8]) -> [u8; 4] {
        let mut crc = u32::MAX;
        for (at, &octet) in segment.iter().enumerate() {
            crc ^= u32::from(if (CHECKSUM..HEADER).contains(&at) { 0 } else { octet });
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            }
        }
        (!crc).to_le_bytes()
    }

    #[test]
    fn the_reference_knows_the_check_value() {
        // Of the octets "123456789": 0xe3069283 (RFC 3720 §B.4 uses the same CRC). The field's four
        // octets count as zero, so it is checked on a text of which they are none.
        assert_eq!(checksum(b"12345678"), crc32c(b"12345678").to_le_bytes());
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right(
            mut segment in prop::collection::vec(any::<u8>(), HEADER..1600), src: u16, dst: u16,
        ) {
            let right = checksum(&segment);
            segment[CHECKSUM..HEADER].copy_from_slice(&right);
            let octets = segment.len();
            set_ports(&mut segment, octets, src, dst);
            prop_assert_eq!(&segment[..2], src.to_be_bytes());
            prop_assert_eq!(&segment[2..4], dst.to_be_bytes());
            prop_assert_eq!(&segment[CHECKSUM..HEADER], checksum(&segment));
        }

        #[test]
        fn a_wrong_checksum_stays_wrong(
            mut segment in prop::collection::vec(any::<u8>(), HEADER..100), src: u16, dst: u16, flip in 1u8..,
        ) {
            let right = checksum(&segment);
            segment[CHECKSUM..HEADER].copy_from_slice(&right);
            segment[CHECKSUM] ^= flip;
            let octets = segment.len();
            set_ports(&mut segment, octets, src, dst);
            prop_assert_ne!(&segment[CHECKSUM..HEADER], checksum(&segment));
        }
    }
}
