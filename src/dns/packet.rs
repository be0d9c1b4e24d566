//! DNS replies inside whole IP packets, as the kernel hands them over: out of the packet, and back
//! into it with another message.
//!
//! IPv4 (with or without options) and IPv6 without extension headers, UDP from port 53. The lengths
//! must agree exactly and the UDP checksum must be right: a changed packet gets a fresh one, which
//! would hide the damage from the kernel.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, UdpHeaderSlice};

/// The port of DNS servers (RFC 1035 §4.2.1).
pub const DNS_PORT: u16 = 53;

const UDP_OCTETS: usize = 8;

/// A packet with a DNS reply in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    ip_header: &'a [u8],
    udp_header: &'a [u8],
    message: &'a [u8],
    server: IpAddr,
    client: SocketAddr,
}

/// Why octets are not a packet with a DNS reply, or cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketError {
    /// Neither IPv4 nor IPv6, or a header that is cut off or contradicts itself.
    Header,
    /// Lengths that do not agree with the octets that are there.
    Length,
    /// A part of a packet only.
    Fragment,
    /// Not UDP, or not directly behind the IP header.
    NotUdp(u8),
    /// UDP from another port than 53.
    NotDns(u16),
    /// A UDP checksum that is wrong, or missing where IPv6 demands one (RFC 8200 §8.1).
    Checksum,
    /// More than 65,535 octets.
    TooLong,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "the packet has no sound IPv4 or IPv6 header"),
            Self::Length => write!(f, "the packet's lengths contradict its size"),
            Self::Fragment => write!(f, "the packet is a fragment"),
            Self::NotUdp(protocol) => write!(f, "the packet carries protocol {protocol}, not UDP"),
            Self::NotDns(port) => write!(f, "the packet comes from port {port}, not {DNS_PORT}"),
            Self::Checksum => write!(f, "the packet's UDP checksum is wrong or missing"),
            Self::TooLong => write!(f, "the packet would exceed 65,535 octets"),
        }
    }
}

impl std::error::Error for PacketError {}

impl<'a> Packet<'a> {
    /// Finds the DNS message in a whole IP packet.
    pub fn parse(octets: &'a [u8]) -> Result<Self, PacketError> {
        let ip = Ip::parse(octets)?;
        let udp = UdpHeaderSlice::from_slice(ip.payload).map_err(|_| PacketError::Length)?;
        if usize::from(udp.length()) != ip.payload.len() {
            return Err(PacketError::Length);
        }
        if udp.source_port() != DNS_PORT {
            return Err(PacketError::NotDns(udp.source_port()));
        }
        let (udp_header, message) =
            ip.payload.split_at_checked(UDP_OCTETS).ok_or(PacketError::Length)?;
        let client = SocketAddr::new(ip.destination, udp.destination_port());
        let packet = Self { ip_header: ip.header, udp_header, message, server: ip.source, client };
        packet.check_sum(udp.checksum())?;
        Ok(packet)
    }

    /// The DNS message.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// The DNS server that sent it.
    pub fn server(&self) -> IpAddr {
        self.server
    }

    /// Where it goes.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// The same packet with another message: headers as they were, but for lengths and checksums.
    pub fn with_message(&self, message: &[u8]) -> Result<Vec<u8>, PacketError> {
        let udp_octets = u16::try_from(UDP_OCTETS.saturating_add(message.len()))
            .map_err(|_| PacketError::TooLong)?;
        let mut out = self.ip_header_for(udp_octets)?;
        let mut udp = self.udp_header.to_vec();
        put(&mut udp, 4, udp_octets);
        put(&mut udp, 6, 0);
        let checksum = match !self.sum(&udp, message) {
            // 0 would mean "no checksum"; 0xffff is the same number (RFC 768, RFC 8200 §8.1).
            0 => 0xffff,
            checksum => checksum,
        };
        put(&mut udp, 6, checksum);
        out.extend(udp);
        out.extend(message);
        Ok(out)
    }

    /// The IP header of a packet with so many octets of UDP.
    fn ip_header_for(&self, udp_octets: u16) -> Result<Vec<u8>, PacketError> {
        let mut header = self.ip_header.to_vec();
        match self.server {
            IpAddr::V4(_) => {
                let total = self.ip_header.len() + usize::from(udp_octets);
                put(&mut header, 2, u16::try_from(total).map_err(|_| PacketError::TooLong)?);
                put(&mut header, 10, 0);
                let checksum = !fold(sum(&header));
                put(&mut header, 10, checksum);
            }
            IpAddr::V6(_) => put(&mut header, 4, udp_octets),
        }
        Ok(header)
    }

    fn check_sum(&self, checksum: u16) -> Result<(), PacketError> {
        match (checksum, self.server) {
            (0, IpAddr::V4(_)) => Ok(()),
            (0, IpAddr::V6(_)) => Err(PacketError::Checksum),
            _ if self.sum(self.udp_header, self.message) == 0xffff => Ok(()),
            _ => Err(PacketError::Checksum),
        }
    }

    /// The sum over pseudo-header (RFC 768, RFC 8200 §8.1), UDP header and message. The UDP length
    /// stands in both headers, and the message is the only part that may be odd.
    fn sum(&self, udp_header: &[u8], message: &[u8]) -> u16 {
        let addresses = sum_address(self.server) + sum_address(self.client.ip());
        let length = (udp_header.len() + message.len()) as u64;
        fold(addresses + u64::from(IpNumber::UDP.0) + length + sum(udp_header) + sum(message))
    }
}

/// The parts of an IP packet that carries UDP right behind its header.
struct Ip<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
}

impl<'a> Ip<'a> {
    fn parse(octets: &'a [u8]) -> Result<Self, PacketError> {
        match octets.first().map(|octet| octet >> 4) {
            Some(4) => Self::parse_v4(octets),
            Some(6) => Self::parse_v6(octets),
            _ => Err(PacketError::Header),
        }
    }

    fn parse_v4(octets: &'a [u8]) -> Result<Self, PacketError> {
        let header = Ipv4HeaderSlice::from_slice(octets).map_err(|_| PacketError::Header)?;
        if usize::from(header.total_len()) != octets.len() {
            return Err(PacketError::Length);
        }
        if header.is_fragmenting_payload() {
            return Err(PacketError::Fragment);
        }
        let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
        Self::split(octets, header.slice().len(), header.protocol(), source, destination)
    }

    fn parse_v6(octets: &'a [u8]) -> Result<Self, PacketError> {
        let header = Ipv6HeaderSlice::from_slice(octets).map_err(|_| PacketError::Header)?;
        let length = header.slice().len();
        if length + usize::from(header.payload_length()) != octets.len() {
            return Err(PacketError::Length);
        }
        let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
        Self::split(octets, length, header.next_header(), source, destination)
    }

    fn split(
        octets: &'a [u8],
        header_octets: usize,
        protocol: IpNumber,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<Self, PacketError> {
        if protocol != IpNumber::UDP {
            return Err(PacketError::NotUdp(protocol.0));
        }
        let (header, payload) =
            octets.split_at_checked(header_octets).ok_or(PacketError::Length)?;
        Ok(Self { header, payload, source, destination })
    }
}

fn sum_address(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(addr) => sum(&addr.octets()),
        IpAddr::V6(addr) => sum(&addr.octets()),
    }
}

/// The sum of 16-bit words, the last octet padded with a zero (RFC 1071 §1).
fn sum(octets: &[u8]) -> u64 {
    let words = octets.chunks(2).map(|word| match *word {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

/// Adds the carries back in (RFC 1071 §2).
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes a field of a header whose length was checked when it was parsed.
fn put(header: &mut [u8], at: usize, value: u16) {
    if let Some(field) = header.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{from_port, v4, v6};
    use etherparse::{Ipv4Header, SlicedPacket, TransportSlice, UdpHeader};
    use proptest::prelude::*;

    /// An IPv4 packet whose header has options.
    fn with_options(message: &[u8]) -> Vec<u8> {
        let plain = v4(message);
        let (mut header, payload) = Ipv4Header::from_slice(&plain).expect("a packet");
        header.options = [0x94, 4, 0, 0].into();
        header.total_len += 4;
        header.header_checksum = header.calc_header_checksum();
        let mut packet = header.to_bytes().to_vec();
        packet.extend(payload);
        packet
    }

    /// Every checksum of the packet is what etherparse computes.
    fn assert_sound(packet: &[u8], message: &[u8]) {
        let sliced = SlicedPacket::from_ip(packet).expect("a packet");
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
        assert_eq!(udp.payload(), message);
        let header: UdpHeader = udp.to_header();
        let checksum = match Ipv4Header::from_slice(packet) {
            Ok((ip, _)) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                header.calc_checksum_ipv4(&ip, message)
            }
            Err(_) => {
                let (ip, _) = etherparse::Ipv6Header::from_slice(packet).expect("IPv6");
                header.calc_checksum_ipv6(&ip, message)
            }
        };
        assert_eq!(Ok(header.checksum), checksum.map_err(drop));
        assert_eq!(
            Packet::parse(packet).map(|packet| packet.message().to_vec()),
            Ok(message.into())
        );
    }

    fn error(octets: &[u8]) -> PacketError {
        Packet::parse(octets).expect_err("no DNS reply")
    }

    #[test]
    fn both_ends_are_found() {
        let octets = v4(b"message");
        let packet = Packet::parse(&octets).expect("a reply");
        assert_eq!(packet.message(), b"message");
        assert_eq!(packet.server().to_string(), "192.0.2.53");
        assert_eq!(packet.client().to_string(), "192.0.2.1:40000");
        let octets = v6(b"message");
        let packet = Packet::parse(&octets).expect("a reply");
        assert_eq!(packet.server().to_string(), "fe80::53");
        assert_eq!(packet.client().to_string(), "[fe80::1]:40000");
    }

    #[test]
    fn options_stay() {
        let octets = with_options(b"message");
        let packet = Packet::parse(&octets).expect("a reply");
        let changed = packet.with_message(b"another").expect("a packet");
        assert_eq!(changed[20..24], [0x94, 4, 0, 0]);
        assert_sound(&changed, b"another");
    }

    #[test]
    fn a_packet_cut_anywhere() {
        for octets in [v4(b"message"), v6(b"message"), with_options(b"message")] {
            for length in 0..octets.len() {
                assert!(Packet::parse(&octets[..length]).is_err(), "{length}");
            }
            assert_eq!(error(&[&octets[..], b"x"].concat()), PacketError::Length);
        }
    }

    #[test]
    fn a_udp_length_that_disagrees() {
        let mut octets = v4(b"message");
        octets[25] -= 1;
        assert_eq!(error(&octets), PacketError::Length);
    }

    #[test]
    fn fragments() {
        for (at, bits) in [(6, 0x20), (7, 0x01)] {
            let mut octets = v4(b"message");
            octets[at] |= bits;
            assert_eq!(error(&octets), PacketError::Fragment);
        }
    }

    #[test]
    fn what_is_no_dns_over_udp() {
        let mut octets = v4(b"message");
        octets[9] = 6;
        assert_eq!(error(&octets), PacketError::NotUdp(6));
        assert_eq!(error(&from_port(5353, b"message")), PacketError::NotDns(5353));
        assert_eq!(error(&[0x50; 40]), PacketError::Header);
    }

    #[test]
    fn an_ihl_below_five() {
        let mut octets = v4(b"message");
        octets[0] = 0x44;
        assert_eq!(error(&octets), PacketError::Header);
    }

    #[test]
    fn a_damaged_message_does_not_get_a_fresh_checksum() {
        for mut octets in [v4(b"message"), v6(b"message")] {
            *octets.last_mut().expect("a message") ^= 1;
            assert_eq!(error(&octets), PacketError::Checksum);
        }
    }

    #[test]
    fn a_missing_checksum_is_for_ipv4_only() {
        let mut octets = v4(b"message");
        octets[26..28].fill(0);
        let packet = Packet::parse(&octets).expect("a reply");
        assert_sound(&packet.with_message(b"another").expect("a packet"), b"another");
        let mut octets = v6(b"message");
        octets[46..48].fill(0);
        assert_eq!(error(&octets), PacketError::Checksum);
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        for octets in [v4(b""), v6(b"")] {
            let packet = Packet::parse(&octets).expect("a reply");
            let at = octets.len() - 2;
            let all = (0..=u16::MAX).map(|word| packet.with_message(&word.to_be_bytes()));
            let sums: Vec<_> = all.map(|new| new.expect("a packet")[at..at + 2].to_vec()).collect();
            assert!(sums.iter().any(|sum| *sum == [0xff, 0xff]));
            assert!(sums.iter().all(|sum| *sum != [0, 0]));
        }
    }

    #[test]
    fn more_than_a_packet_can_hold() {
        let octets = v4(b"");
        let packet = Packet::parse(&octets).expect("a reply");
        assert!(packet.with_message(&[0; 65_535 - 28]).is_ok());
        for length in [65_535 - 27, 65_535 - 8, 65_535 - 7, 70_000] {
            assert_eq!(packet.with_message(&vec![0; length]), Err(PacketError::TooLong));
        }
        let octets = v6(b"");
        let packet = Packet::parse(&octets).expect("a reply");
        assert!(packet.with_message(&[0; 65_535 - 8]).is_ok());
        assert_eq!(packet.with_message(&[0; 65_535 - 7]), Err(PacketError::TooLong));
    }

    proptest! {
        #[test]
        fn another_message_makes_a_sound_packet(
            before in prop::collection::vec(any::<u8>(), 0..600),
            after in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            for octets in [v4(&before), with_options(&before), v6(&before)] {
                let packet = Packet::parse(&octets).expect("a reply");
                prop_assert_eq!(packet.message(), &before[..]);
                prop_assert_eq!(&packet.with_message(&before).expect("a packet"), &octets);
                assert_sound(&packet.with_message(&after).expect("a packet"), &after);
            }
        }

        #[test]
        fn any_octets_are_a_packet_or_an_error(
            octets in prop::collection::vec(any::<u8>(), 0..100),
            version in prop_oneof![Just(0x45), Just(0x46), Just(0x60)],
        ) {
            let _ = Packet::parse(&octets);
            let _ = Packet::parse(&[&[version], &octets[..]].concat());
        }
    }
}
