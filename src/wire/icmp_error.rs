//! ICMP errors (RFC 792): the packet they quote, and their translation where it was translated.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::datagram::{Datagram, Endpoint, IPV4_HEADER, Transport, icmp_ports, protocol};
use super::outer::LEVEL;

/// Octets in front of the quote: an IPv4 header without options and the ICMP header.
pub const HEADERS: usize = IPV4_HEADER + 8;
/// Octets that every error quotes at least: an IPv4 header and 64 bits of what follows (RFC 792).
pub const LEAST_QUOTE: usize = IPV4_HEADER + 8;

/// The most octets of an error (RFC 1812 §4.3.2.3).
const LONGEST: usize = 576;

const UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
const NETWORK_UNREACHABLE: u8 = 0;
const HOST_UNREACHABLE: u8 = 1;
const TTL_EXCEEDED: u8 = 0;
/// Code of "fragmentation needed and DF set".
const FRAGMENTATION_NEEDED: u8 = 4;
/// The least MTU that IPv4 allows, in octets (RFC 791 §3.2).
const LEAST_MTU: u16 = 68;

// Offsets in the datagram, which has no options.
const KIND: usize = IPV4_HEADER;
const CODE: usize = IPV4_HEADER + 1;
const CHECKSUM: usize = IPV4_HEADER + 2;
/// Of a parameter problem: the offset of the problem in the quoted datagram.
const POINTER: usize = IPV4_HEADER + 4;
/// Length of the quote in 32-bit words where extensions follow it (RFC 4884 §3).
const QUOTE_WORDS: usize = IPV4_HEADER + 5;
/// Of "fragmentation needed": the next hop's MTU in octets (RFC 1191 §4).
const MTU: usize = IPV4_HEADER + 6;

/// An error of one of the kinds that may pass: unreachable, time exceeded, parameter problem. It
/// holds no bytes, as [`Datagram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the quote ends and extensions (RFC 4884) may begin, in octets from the IPv4 header.
    quote_end: usize,
}

/// The addresses of an error and of the packet it quotes.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Who reports it.
    pub src: Ipv4Addr,
    /// Who sent the quoted packet.
    pub dst: Ipv4Addr,
    /// The quoted packet's source.
    pub quoted_src: Endpoint,
    /// The quoted packet's destination.
    pub quoted_dst: Endpoint,
}

impl IcmpError {
    /// Parses the datagram in `bytes`, of which `datagram` was parsed. Source quench and redirect
    /// are no errors to pass on (RFC 6633, RFC 1812 §5.2.7.2), a wrong checksum may hide anything.
    pub fn parse(datagram: &Datagram, bytes: &[u8]) -> Option<Self> {
        let known = datagram.transport == Transport::IcmpError
            && matches!(bytes[KIND], UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM);
        let sound = known && Sum::of(&bytes[IPV4_HEADER..]).fold() == 0xffff;
        let quote_end = match usize::from(*bytes.get(QUOTE_WORDS)?) * 4 {
            // Before RFC 4884 the octet was unused.
            octets if octets < LEAST_QUOTE || HEADERS + octets > bytes.len() => bytes.len(),
            octets => HEADERS + octets,
        };
        (sound && quote_end >= HEADERS + LEAST_QUOTE).then_some(Self { quote_end })
    }

    /// The beginning of the packet that the error is about.
    pub fn quote<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[HEADERS..self.quote_end]
    }

    /// Whether it says that a packet was too long for the path.
    pub fn is_about_mtu(&self, bytes: &[u8]) -> bool {
        (bytes[KIND], bytes[CODE]) == (UNREACHABLE, FRAGMENTATION_NEEDED)
    }

    /// Whether it says that packets do not get where they are meant to go.
    pub fn is_about_reach(&self, bytes: &[u8]) -> bool {
        match bytes[KIND] {
            UNREACHABLE => bytes[CODE] != FRAGMENTATION_NEEDED,
            kind => (kind, bytes[CODE]) == (TIME_EXCEEDED, TTL_EXCEEDED),
        }
    }

    /// Whether it says that there is no way to the network or the host itself.
    pub fn is_about_host(&self, bytes: &[u8]) -> bool {
        bytes[KIND] == UNREACHABLE && matches!(bytes[CODE], NETWORK_UNREACHABLE | HOST_UNREACHABLE)
    }

    /// Takes `levels` tunnel headers off the quote, gives the error and what is then quoted new
    /// ends, and mends all checksums as far as they are quoted. Returns where in `bytes` the error
    /// now starts; it always ends where `bytes` end. `None` if that quotes no packet.
    pub fn translate(&self, bytes: &mut [u8], levels: usize, ends: &Ends) -> Option<usize> {
        let from = HEADERS + levels * LEVEL;
        let mut quoted = quoted(bytes.get(from..self.quote_end)?)?;
        quoted.readdress(&mut bytes[from..self.quote_end], ends.quoted_src, ends.quoted_dst);
        let start = match levels {
            0 => 0,
            _ => {
                // Extensions are left away: their place depends on the quote's length.
                let octets = self.quote_end - from;
                let to = bytes.len() - octets;
                bytes.copy_within(from..self.quote_end, to);
                move_headers(bytes, to, levels)
            }
        };
        finish(&mut bytes[start..], ends);
        Some(start)
    }

    /// Quotes `head` instead, the beginning of a packet `levels` tunnel headers inside the quoted
    /// one. Returns where in `bytes` the error now starts; it ends where `bytes` end.
    pub fn quote_instead(
        &self,
        bytes: &mut [u8],
        levels: usize,
        head: &[u8; LEAST_QUOTE],
        ends: &Ends,
    ) -> usize {
        // There is room: every error quotes at least as much.
        let to = bytes.len() - LEAST_QUOTE;
        let start = move_headers(bytes, to, levels);
        bytes[to..].copy_from_slice(head);
        finish(&mut bytes[start..], ends);
        start
    }
}

/// "Fragmentation needed": `packet` is longer than the `mtu` octets that get on (RFC 1191 §4). A whole packet
/// to `to`, without a source, which the kernel fills in; with what a sender may need of the quote and no
/// more (RFC 1812 §4.3.2.3).
pub fn too_long(mtu: u16, to: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    const TTL: u8 = 64;
    let quote = &packet[..packet.len().min(LONGEST - HEADERS)];
    let mut error = vec![0; HEADERS];
    (error[0], error[8], error[9]) = (0x45, TTL, protocol::ICMP);
    (error[KIND], error[CODE]) = (UNREACHABLE, FRAGMENTATION_NEEDED);
    error[MTU..MTU + 2].copy_from_slice(&mtu.max(LEAST_MTU).to_be_bytes());
    error.extend(quote);
    let nobody = Endpoint { addr: Ipv4Addr::UNSPECIFIED, port: 0 };
    let (src, dst) = (nobody.addr, to);
    finish(&mut error, &Ends { src, dst, quoted_src: nobody, quoted_dst: nobody });
    error
}

/// Parses the beginning of a packet that an error quotes. It may be a first fragment. Nothing may
/// come of an error about an error (RFC 1122 §3.2.2), so such a quote is none.
pub fn quoted(bytes: &[u8]) -> Option<Datagram> {
    let head = bytes.get(..LEAST_QUOTE)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    if head[0] != 0x45 || word(6) & FRAGMENT_OFFSET != 0 {
        return None;
    }
    let (src_port, dst_port) = (word(IPV4_HEADER), word(IPV4_HEADER + 2));
    let (transport, src_port, dst_port) = match head[9] {
        // The flags are not among the first 64 bits.
        protocol::TCP => (Transport::Tcp(0), src_port, dst_port),
        protocol::UDP => (Transport::Udp, src_port, dst_port),
        protocol::DCCP | protocol::UDP_LITE => (Transport::UdpLike, src_port, dst_port),
        protocol::SCTP => (Transport::Sctp, src_port, dst_port),
        protocol::ICMP => match icmp_ports(head[IPV4_HEADER], word(IPV4_HEADER + 4)) {
            (Transport::IcmpError, ..) => return None,
            query_or_answer => query_or_answer,
        },
        _ => (Transport::Other, 0, 0),
    };
    let addr = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    Some(Datagram {
        src: Endpoint { addr: addr(12), port: src_port },
        dst: Endpoint { addr: addr(16), port: dst_port },
        protocol: head[9],
        transport,
        octets: word(2),
        traffic_class: head[1],
        ttl: head[8],
    })
}

/// Puts the error's headers in front of a quote that starts at `quote`, and changes what they say
/// about the packet that was quoted into the same about one `levels` tunnel headers inside it.
fn move_headers(bytes: &mut [u8], quote: usize, levels: usize) -> usize {
    let start = quote - HEADERS;
    bytes.copy_within(..HEADERS, start);
    let error = &mut bytes[start..];
    error[QUOTE_WORDS] = 0;
    let less = (levels * LEVEL) as u16;
    match (error[KIND], error[CODE]) {
        (UNREACHABLE, FRAGMENTATION_NEEDED) => {
            let mtu = u16::from_be_bytes([error[MTU], error[MTU + 1]]);
            // 0: a router from before RFC 1191; the sender must guess.
            let mtu = if mtu == 0 { 0 } else { mtu.saturating_sub(less).max(LEAST_MTU) };
            error[MTU..MTU + 2].copy_from_slice(&mtu.to_be_bytes());
        }
        (PARAMETER_PROBLEM, _) => {
            error[POINTER] = u16::from(error[POINTER]).saturating_sub(less) as u8;
        }
        _ => {}
    }
    start
}

/// Writes addresses, length and checksums of an error whose quote is ready.
fn finish(error: &mut [u8], ends: &Ends) {
    // Never longer than the datagram it was made of.
    let octets = error.len() as u16;
    error[2..4].copy_from_slice(&octets.to_be_bytes());
    error[12..16].copy_from_slice(&ends.src.octets());
    error[16..20].copy_from_slice(&ends.dst.octets());
    for (field, range) in [(10, 0..IPV4_HEADER), (CHECKSUM, IPV4_HEADER..error.len())] {
        error[field..field + 2].copy_from_slice(&[0, 0]);
        let checksum = Sum::of(&error[range]).checksum();
        error[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::outer::{self, Content};
    use crate::wire::tests::{assert_checksums, endpoint, icmp_error, packets, udp};
    use proptest::prelude::*;

    fn someone() -> Endpoint {
        Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1), port: 9 }
    }

    fn ends(quoted_src: Endpoint, quoted_dst: Endpoint) -> Ends {
        let addr = |last| Ipv4Addr::new(192, 0, 2, last);
        Ends { src: addr(7), dst: addr(8), quoted_src, quoted_dst }
    }

    fn parse(bytes: &[u8]) -> Option<IcmpError> {
        IcmpError::parse(&Datagram::parse(bytes).expect("well formed"), bytes)
    }

    fn encapsulated(packet: &[u8], levels: usize) -> Vec<u8> {
        (0..levels).fold(packet.to_vec(), |inside, _| {
            let content = Content { octets: inside.len(), sum: Sum::of(&inside) };
            let mut header = [0; outer::LEVEL];
            outer::write(&mut header, someone(), someone(), 0, 1, content).expect("it fits");
            [&header[..], &inside].concat()
        })
    }

    proptest! {
        /// What is quoted afterwards is the beginning of the whole packet, readdressed: checksums
        /// of that are verified by `etherparse`.
        #[test]
        fn the_quote_is_the_packet_readdressed(
            packet in packets(), levels in 0usize..4, quote in 28usize..700, words in any::<u8>(),
            kind in prop::sample::select(vec![3u8, 11, 12]), code in 0u8..20, rest: [u8; 3],
            src in endpoint(), dst in endpoint(), extension in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            // Half of a TCP checksum cannot be mended.
            prop_assume!(packet[9] != 6 || quote != 37);
            prop_assume!(packet.len() >= LEAST_QUOTE);
            let outermost = encapsulated(&packet, levels);
            let quote = (levels * LEVEL + quote).min(outermost.len());
            let words = if usize::from(words) * 4 == quote { words } else { 0 };
            let extension = if words == 0 { &[][..] } else { &extension };
            let quoted_octets = [&outermost[..quote], extension].concat();
            let mut bytes = icmp_error(someone(), someone(), kind, code, [rest[0], words, rest[1], rest[2]], &quoted_octets);
            let error = parse(&bytes).expect("an error");
            prop_assert_eq!(error.quote(&bytes), &outermost[..quote]);

            let ends = ends(src, dst);
            let start = error.translate(&mut bytes, levels, &ends).expect("28 octets are quoted");
            assert_checksums(&bytes[start..]);
            let said = Datagram::parse(&bytes[start..]).expect("well formed");
            prop_assert_eq!((said.src.addr, said.dst.addr), (ends.src, ends.dst));
            let mut expected = packet;
            Datagram::parse(&expected).expect("well formed").readdress(&mut expected, src, dst);
            assert_checksums(&expected);
            let quoted = &expected[..quote - levels * LEVEL];
            prop_assert_eq!(&bytes[start + HEADERS..][..quoted.len()], quoted);
            prop_assert!(levels == 0 || bytes.len() == start + HEADERS + quoted.len(), "no extension");
        }

        #[test]
        fn hostile_errors_never_panic(
            quote in prop::collection::vec(any::<u8>(), 0..150), plausible: bool,
            kind in 0u8..20, rest: [u8; 4], levels in 0usize..9,
        ) {
            let mut quote = quote;
            if plausible && !quote.is_empty() {
                quote[0] = 0x45;
            }
            let mut bytes = icmp_error(someone(), someone(), kind, 4, rest, &quote);
            // Kinds 8 and the like are no errors.
            let Ok(datagram) = Datagram::parse(&bytes) else { return Ok(()) };
            if let Some(error) = IcmpError::parse(&datagram, &bytes) {
                let ends = ends(someone(), someone());
                if let Some(start) = error.translate(&mut bytes.clone(), levels, &ends) {
                    prop_assert!(start <= bytes.len() - HEADERS - LEAST_QUOTE);
                }
                let start = error.quote_instead(&mut bytes, levels, &[0x45; LEAST_QUOTE], &ends);
                assert_checksums(&bytes[start..]);
            }
        }
    }

    #[test]
    fn the_mtu_is_that_of_the_packet_inside() {
        let packet = encapsulated(&udp(someone(), someone(), b"payload"), 2);
        let told = |mtu: u16, levels: usize| {
            let [high, low] = mtu.to_be_bytes();
            let mut bytes = icmp_error(someone(), someone(), 3, 4, [0, 0, high, low], &packet);
            let error = parse(&bytes).expect("an error");
            assert!(error.is_about_mtu(&bytes));
            let start =
                error.translate(&mut bytes, levels, &ends(someone(), someone())).expect("quoted");
            u16::from_be_bytes([bytes[start + MTU], bytes[start + MTU + 1]])
        };
        assert_eq!(told(1400, 0), 1400);
        assert_eq!(told(1400, 1), 1372);
        assert_eq!(told(1400, 2), 1344);
        assert_eq!(told(90, 2), 68, "the least that RFC 791 allows");
        assert_eq!(told(0, 1), 0, "not said");
    }

    #[test]
    fn what_is_no_error_to_pass_on() {
        let packet = udp(someone(), someone(), b"payload");
        let error = |kind, quote: &[u8]| icmp_error(someone(), someone(), kind, 1, [0; 4], quote);
        for kind in [4, 5, 40, 253] {
            assert_eq!(parse(&error(kind, &packet)), None, "type {kind}");
        }
        assert!(parse(&error(3, &packet)).is_some());
        assert_eq!(parse(&error(3, &packet[..27])), None, "quotes too little");
        let mut damaged = error(3, &packet);
        damaged[40] ^= 1;
        assert_eq!(parse(&damaged), None, "wrong checksum");
        assert_eq!(quoted(&error(3, &packet)), None, "an error about an error");
        let mut later_fragment = packet.clone();
        later_fragment[7] = 1;
        assert_eq!(quoted(&later_fragment), None);
    }
}
