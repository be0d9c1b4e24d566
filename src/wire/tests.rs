//! Properties of the patches, against `etherparse` as the independent implementation.

use std::net::Ipv4Addr;

use etherparse::{Ipv4HeaderSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::datagram::protocol;
use super::datagram::{Datagram, Endpoint, Flaw, IPV4_HEADER};
use super::outer::{self, Content};
use super::sctp;
use super::{checksum::Sum, mss};

pub(crate) fn endpoint() -> impl Strategy<Value = Endpoint> {
    (any::<u32>(), any::<u16>()).prop_map(|(addr, port)| Endpoint { addr: addr.into(), port })
}

fn ipv4(src: Endpoint, dst: Endpoint) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ipv4(src.addr.octets(), dst.addr.octets(), 64)
}

pub(crate) fn udp(src: Endpoint, dst: Endpoint, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ipv4(src, dst).udp(src.port, dst.port).write(&mut packet, payload).expect("a Vec takes it");
    packet
}

pub(crate) fn tcp_syn(src: Endpoint, dst: Endpoint, options: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ipv4(src, dst)
        .tcp(src.port, dst.port, 7, 1024)
        .syn()
        .options_raw(options)
        .expect("at most 40 octets")
        .write(&mut packet, b"")
        .expect("a Vec takes it");
    packet
}

/// A TCP segment without data that has these flags (RFC 9293 §3.1; only FIN, SYN, RST and ACK).
pub(crate) fn tcp(src: Endpoint, dst: Endpoint, flags: u8) -> Vec<u8> {
    let mut header = etherparse::TcpHeader::new(src.port, dst.port, 7, 1024);
    (header.fin, header.syn) = (flags & 0x01 != 0, flags & 0x02 != 0);
    (header.rst, header.ack) = (flags & 0x04 != 0, flags & 0x10 != 0);
    let mut packet = Vec::new();
    ipv4(src, dst).tcp_header(header).write(&mut packet, b"").expect("a Vec takes it");
    packet
}

pub(crate) fn echo(src: Endpoint, dst: Endpoint, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ipv4(src, dst).icmpv4_echo_request(src.port, 1).write(&mut packet, payload).expect("a Vec");
    packet
}

/// A datagram of a protocol that `etherparse` knows nothing of: the body follows the IPv4 header.
pub(crate) fn raw(protocol: u8, src: Endpoint, dst: Endpoint, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ipv4(src, dst).write(&mut packet, protocol.into(), body).expect("a Vec takes it");
    packet
}

/// SCTP, DCCP or UDP-Lite, whose checksum covers the `covered` first octets (UDP-Lite) or all.
pub(crate) fn segment(
    protocol: u8,
    src: Endpoint,
    dst: Endpoint,
    payload: &[u8],
    covered: usize,
) -> Vec<u8> {
    let mut body = [src.port.to_be_bytes(), dst.port.to_be_bytes()].concat();
    match protocol {
        protocol::SCTP => body.extend([9, 9, 9, 9, 0, 0, 0, 0]),
        protocol::UDP_LITE => {
            body.extend((8 + covered.min(payload.len()) as u16).to_be_bytes());
            body.extend([0, 0]);
        }
        _ => body.extend([2, 0, 0, 0]),
    }
    body.extend(payload);
    let checksum = transport_checksum(protocol, src.addr, dst.addr, &body);
    let at = if protocol == protocol::SCTP { 8 } else { 6 };
    body[at..at + checksum.len()].copy_from_slice(&checksum);
    raw(protocol, src, dst, &body)
}

/// Computed anew, by `etherparse`'s sum or the reference CRC, over the field as zero.
fn transport_checksum(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr, body: &[u8]) -> Vec<u8> {
    if protocol == protocol::SCTP {
        return sctp::tests::checksum(body).to_vec();
    }
    let covered = match (protocol, u16::from_be_bytes([body[4], body[5]])) {
        (protocol::UDP_LITE, octets) if octets != 0 => usize::from(octets),
        _ => body.len(),
    };
    let mut covered = body[..covered].to_vec();
    covered[6..8].copy_from_slice(&[0, 0]);
    let sum = etherparse::checksum::Sum16BitWords::new()
        .add_4bytes(src.octets())
        .add_4bytes(dst.octets())
        .add_2bytes([0, protocol])
        .add_2bytes((body.len() as u16).to_be_bytes())
        .add_slice(&covered)
        .ones_complement();
    let checksum = sum.to_be();
    let sent = if checksum == 0 && protocol == protocol::UDP_LITE { 0xffff } else { checksum };
    sent.to_be_bytes().to_vec()
}

/// An ICMP message of any type; `rest` are the four octets behind its checksum.
pub(crate) fn icmp_error(
    src: Endpoint,
    dst: Endpoint,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    quote: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    ipv4(src, dst).icmpv4_raw(kind, code, rest).write(&mut packet, quote).expect("a Vec takes it");
    packet
}

/// Header and transport checksums, verified by `etherparse`.
pub(crate) fn assert_checksums(packet: &[u8]) {
    let ip = Ipv4HeaderSlice::from_slice(packet).expect("an IPv4 header");
    assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum(), "IPv4 header");
    let sliced = SlicedPacket::from_ip(packet).expect("a datagram");
    let payload = &packet[IPV4_HEADER..];
    match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = tcp.to_header().calc_checksum_ipv4_raw(
                ip.source(),
                ip.destination(),
                tcp.payload(),
            );
            assert_eq!(Ok(tcp.checksum()), sum, "TCP");
        }
        Some(TransportSlice::Udp(udp)) => {
            let sum = udp.to_header().calc_checksum_ipv4_raw(
                ip.source(),
                ip.destination(),
                udp.payload(),
            );
            assert_eq!(Ok(udp.checksum()), sum, "UDP");
        }
        _ if ip.protocol().0 == protocol::ICMP => {
            assert_eq!(Sum::of(payload).fold(), 0xffff, "ICMP");
        }
        _ => assert_other(ip.protocol().0, ip.source_addr(), ip.destination_addr(), payload),
    }
}

fn assert_other(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) {
    let at = match protocol {
        protocol::SCTP => 8,
        protocol::DCCP | protocol::UDP_LITE => 6,
        _ => return,
    };
    let right = transport_checksum(protocol, src, dst, payload);
    let found = &payload[at..at + right.len()];
    // Both zeros of one's complement arithmetic verify, except in UDP-Lite.
    let zeros = protocol == protocol::DCCP
        && [[0, 0], [0xff, 0xff]].iter().all(|z| z == found || *z == right[..]);
    assert!(found == right || zeros, "protocol {protocol}: {found:?}, not {right:?}");
}

pub(crate) fn packets() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..600);
    (0..7, endpoint(), endpoint(), payload, 0usize..700).prop_map(
        |(kind, src, dst, payload, covered)| match kind {
            0 => udp(src, dst, &payload),
            1 => tcp_syn(src, dst, &[2, 4, 0xff, 0xff]),
            2 => segment(protocol::SCTP, src, dst, &payload, 0),
            3 => segment(protocol::DCCP, src, dst, &payload, 0),
            4 => segment(protocol::UDP_LITE, src, dst, &payload, covered),
            5 => raw(47, src, dst, &payload),
            _ => echo(src, dst, &payload),
        },
    )
}

proptest! {
    #[test]
    fn readdressing_keeps_every_checksum_right(mut packet in packets(), src in endpoint(), dst in endpoint()) {
        let mut datagram = Datagram::parse(&packet).expect("well formed");
        let (old_src, old_dst) = (datagram.src, datagram.dst);
        let original = packet.clone();
        datagram.readdress(&mut packet, src, dst);
        assert_checksums(&packet);
        prop_assert_eq!(Datagram::parse(&packet).expect("still well formed").src.addr, src.addr);
        datagram.readdress(&mut packet, old_src, old_dst);
        prop_assert_eq!(packet, original);
    }

    #[test]
    fn outer_headers_have_right_checksums_without_reading_the_payload(
        packet in packets(), levels in 1usize..5, src in endpoint(), dst in endpoint(), id in any::<u16>(),
    ) {
        let datagram = Datagram::parse(&packet).expect("well formed");
        let mut content = Content { octets: packet.len(), sum: datagram.sum(&packet) };
        let mut whole = packet;
        for _ in 0..levels {
            // A field nobody wrote would show.
            let mut header = [0xa5; outer::LEVEL];
            content = outer::write(&mut header, src, dst, 0xb8, id, content).expect("it fits");
            whole.splice(0..0, header);
            assert_checksums(&whole);
        }
    }

    #[test]
    fn clamping_lowers_and_never_raises(
        src in endpoint(), dst in endpoint(), offered in any::<u16>(), limit in any::<u16>(), nops in 0usize..3,
    ) {
        let mut options = vec![1; nops];
        options.extend([2, 4]);
        options.extend(offered.to_be_bytes());
        let mut packet = tcp_syn(src, dst, &options);
        let datagram = Datagram::parse(&packet).expect("well formed");
        mss::clamp(&datagram, &mut packet, limit);
        assert_checksums(&packet);
        let at = IPV4_HEADER + 20 + nops + 2;
        prop_assert_eq!(u16::from_be_bytes([packet[at], packet[at + 1]]), offered.min(limit));
    }

    #[test]
    fn hostile_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), plausible: bool) {
        if plausible && bytes.len() >= IPV4_HEADER {
            bytes[0] = 0x45;
            let octets = bytes.len() as u16;
            bytes[2..4].copy_from_slice(&octets.to_be_bytes());
            bytes[6..8].copy_from_slice(&[0, 0]);
            bytes[9] = [1, 6, 17, 33, 136, 132][usize::from(bytes[9]) % 6];
        }
        if let Ok(mut datagram) = Datagram::parse(&bytes) {
            let any = Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1), port: 1 };
            mss::clamp(&datagram, &mut bytes, 500);
            datagram.sum(&bytes);
            datagram.readdress(&mut bytes, any, any);
        }
    }

    #[test]
    fn a_cut_packet_is_malformed(packet in packets(), cut in 1usize..700) {
        let cut = cut.min(packet.len());
        prop_assert_eq!(Datagram::parse(&packet[..packet.len() - cut]), Err(Flaw::Malformed));
    }
}

#[test]
fn fragments_and_options_are_named() {
    let any = Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1), port: 1 };
    let mut packet = udp(any, any, b"payload!");
    packet[6] = 0x20;
    assert_eq!(Datagram::parse(&packet), Err(Flaw::Fragment));
    packet[6] = 0;
    packet[0] = 0x46;
    assert_eq!(Datagram::parse(&packet), Err(Flaw::Options));
}

#[test]
fn udp_without_a_checksum_keeps_none() {
    let any = Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1), port: 1 };
    let mut packet = udp(any, any, b"x");
    packet[26..28].copy_from_slice(&[0, 0]);
    let mut datagram = Datagram::parse(&packet).expect("well formed");
    datagram.readdress(&mut packet, any, Endpoint { port: 9, ..any });
    assert_eq!(packet[26..28], [0, 0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let any = Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1), port: 1 };
    let write = |octets| {
        outer::write(
            &mut [0; outer::LEVEL],
            any,
            any,
            0,
            0,
            Content { octets, sum: Sum::default() },
        )
    };
    assert!(write(65_531 - outer::LEVEL).is_some());
    assert!(write(65_532 - outer::LEVEL).is_none());
    assert!(write(usize::MAX).is_none());
}
