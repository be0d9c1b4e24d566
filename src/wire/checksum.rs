//! The Internet checksum: one's complement sums (RFC 1071) and their incremental update (RFC 1624).

use std::net::Ipv4Addr;

/// A one's complement sum, not yet complemented.
///
/// The sum does not depend on byte order as long as it is read and written in the same one
/// (RFC 1071 §2(B)); here words are always in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of octets; an odd last one is padded with zero (RFC 1071 §4.1).
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = 0u64;
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        }
        let mut rest = [0u8; 4];
        rest[..words.remainder().len()].copy_from_slice(words.remainder());
        Self(sum + u64::from(u32::from_be_bytes(rest)))
    }

    /// The pseudo header of TCP and UDP (RFC 9293 §3.1, RFC 768): addresses, protocol and the
    /// segment's length in octets.
    pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, octets: u16) -> Self {
        Self::default().address(src).address(dst).word(protocol.into()).word(octets)
    }

    /// Adds a 16-bit word.
    pub fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// Adds an address.
    pub fn address(self, addr: Ipv4Addr) -> Self {
        Self(self.0 + u64::from(u32::from(addr)))
    }

    /// Adds another sum; both must start at an even offset of the same data.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + u64::from(other.fold()))
    }

    /// Takes another sum away: adds its one's complement.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 + u64::from(!other.fold()))
    }

    /// The 16-bit sum.
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// What stands in a checksum field over this data.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// What stands in a UDP checksum field: a computed 0 is sent as 0xffff, because 0 means that
    /// there is none (RFC 768).
    pub fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// The checksum after `old` data was replaced by `new` data (RFC 1624 §3, equation 3).
pub fn updated(checksum: u16, old: Sum, new: Sum) -> u16 {
    Sum::default().word(!checksum).minus(old).plus(new).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::checksum::Sum16BitWords;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1624() {
        // §4: a field 0x5555 becomes 0x3285, the checksum 0xdd2f becomes 0.
        let word = |word| Sum::default().word(word);
        assert_eq!(updated(0xdd2f, word(0x5555), word(0x3285)), 0x0000);
    }

    proptest! {
        #[test]
        fn agrees_with_an_independent_implementation(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let theirs = Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be();
            prop_assert_eq!(Sum::of(&bytes).checksum(), theirs);
        }

        #[test]
        fn an_update_equals_a_recomputation(
            mut bytes in prop::collection::vec(any::<u8>(), 8..200),
            at in 0usize..100, new in any::<[u8; 4]>(),
        ) {
            // Non-zero data: the two representations of zero are told apart in real headers by the
            // version nibble, and RFC 1624 §3 assumes it.
            bytes[0] |= 0x40;
            let at = 2 + (at * 2) % (bytes.len() - 6);
            let at = at & !1;
            let before = Sum::of(&bytes).checksum();
            let old = Sum::of(&bytes[at..at + 4]);
            bytes[at..at + 4].copy_from_slice(&new);
            prop_assert_eq!(updated(before, old, Sum::of(&new)), Sum::of(&bytes).checksum());
        }
    }
}
