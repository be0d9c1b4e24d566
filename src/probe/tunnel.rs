//! The packets of a probe, and what comes back.

use std::net::Ipv4Addr;

use super::{Complaint, Kind};
use crate::path::Path;
use crate::wire::checksum::Sum;
use crate::wire::datagram::{IPV4_HEADER, Transport, protocol};
use crate::wire::icmp_error::quoted;
use crate::wire::outer::{self, Content, LEVEL};
use crate::wire::{Datagram, Endpoint, IcmpError};

/// TTL of a packet that is to get through.
const FAR: u8 = outer::TTL;
/// TTL of a packet that the box which unwraps it is to report.
const SPENT: u8 = 1;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Octets of a TCP header without options.
const TCP_HEADER: usize = 20;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
/// Octets behind an echo request's header; as many as those of ping(8).
const ECHO_DATA: usize = 56;

/// A tunnel from an ordinary socket to a host, without state: what is sent can be told from what
/// comes back.
#[derive(Debug, Clone)]
pub struct Tunnel {
    path: Path,
    here: Endpoint,
    secret: u16,
}

/// Something that came back and is about a packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The host itself.
    Host(HostReply),
    /// Somebody reports an error about a packet behind so many boxes.
    Error {
        /// Which packet.
        tag: u16,
        /// How many boxes have unwrapped it: 1 or more.
        boxes: usize,
        /// What is said, and by whom.
        complaint: Complaint,
    },
}

/// An answer of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostReply {
    /// To what.
    pub(super) kind: Kind,
    /// Which packet it answers; a UDP answer does not tell.
    pub(super) tag: Option<u16>,
    /// What it says.
    pub(super) said: Said,
}

/// What a host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// An echo reply or a datagram.
    Answer,
    /// SYN and ACK; a reset has to have this sequence number.
    Open { next: u32 },
    /// A reset.
    Closed,
}

impl Tunnel {
    /// `here`: the address and port that the boxes are to answer to, as this host sees them.
    /// `secret`: a random number, by which answers are told from what others make up.
    pub fn new(path: Path, here: Endpoint, secret: u16) -> Self {
        Self { path, here, secret }
    }

    /// How many boxes there are.
    pub(super) fn boxes(&self) -> usize {
        self.path.hops().len()
    }

    /// The boxes and the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The payload of a datagram to the first box. `spent_at`: the box, counted from 1, that is to
    /// find the TTL spent; `None`: it goes to the host.
    pub(super) fn probe(&self, kind: Kind, tag: u16, spent_at: Option<usize>) -> Vec<u8> {
        let ttl = if spent_at == Some(self.boxes()) { SPENT } else { FAR };
        self.wrapped(self.inner(kind, tag, ttl), tag, spent_at)
    }

    /// Ends a connection that a SYN has opened (RFC 9293 §3.5.2).
    pub(super) fn reset(&self, port: u16, next: u32, tag: u16) -> Vec<u8> {
        let segment = tcp(self.here.port, port, next, RST);
        self.wrapped(self.packet(protocol::TCP, segment, tag, FAR), tag, None)
    }

    /// Puts the levels of all boxes but the first in front, whose level the socket writes.
    fn wrapped(&self, mut inner: Vec<u8>, tag: u16, spent_at: Option<usize>) -> Vec<u8> {
        for (level, hop) in self.path.hops().iter().enumerate().skip(1).rev() {
            let to = Endpoint { addr: hop.addr, port: hop.port };
            let content = Content { octets: inner.len(), sum: Sum::of(&inner) };
            let mut header = [0; LEVEL];
            // Always: eight levels around a hundred octets.
            if outer::write(&mut header, self.here, to, 0, tag, content).is_some() {
                if spent_at == Some(level) {
                    header[8] = SPENT;
                    put_checksum(&mut header[..IPV4_HEADER], 10, Sum::default());
                }
                inner.splice(0..0, header);
            }
        }
        inner
    }

    fn inner(&self, kind: Kind, tag: u16, ttl: u8) -> Vec<u8> {
        let port = self.here.port;
        match kind {
            Kind::Ping => self.packet(protocol::ICMP, self.echo(tag), tag, ttl),
            Kind::Tcp(to) => {
                self.packet(protocol::TCP, tcp(port, to, self.sequence(tag), SYN), tag, ttl)
            }
            Kind::Udp(to) => {
                let data = self.secret.to_be_bytes();
                let octets = (8 + data.len()) as u16;
                let ports = [port, to, octets, 0];
                let header = ports.iter().flat_map(|word| word.to_be_bytes());
                self.packet(protocol::UDP, header.chain(data).collect(), tag, ttl)
            }
        }
    }

    fn echo(&self, tag: u16) -> Vec<u8> {
        let mut echo = vec![0; 8 + ECHO_DATA];
        echo[0] = ECHO_REQUEST;
        echo[4..6].copy_from_slice(&self.here.port.to_be_bytes());
        echo[6..8].copy_from_slice(&tag.to_be_bytes());
        echo[8..10].copy_from_slice(&self.secret.to_be_bytes());
        echo
    }

    /// Tag and secret, so that the acknowledgement names both.
    fn sequence(&self, tag: u16) -> u32 {
        u32::from(self.secret) << 16 | u32::from(tag)
    }

    /// An IPv4 packet from here to the host.
    fn packet(&self, number: u8, mut segment: Vec<u8>, tag: u16, ttl: u8) -> Vec<u8> {
        let (src, dst) = (self.here.addr, self.path.host());
        let pseudo = Sum::pseudo_header(src, dst, number, segment.len() as u16);
        match number {
            protocol::TCP => put_checksum(&mut segment, TCP_CHECKSUM, pseudo),
            protocol::UDP => {
                let sum = Sum::of(&segment).plus(pseudo);
                segment[UDP_CHECKSUM..][..2].copy_from_slice(&sum.udp_checksum().to_be_bytes());
            }
            _ => put_checksum(&mut segment, 2, Sum::default()),
        }
        let octets = (IPV4_HEADER + segment.len()) as u16;
        let mut header = [0; IPV4_HEADER];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&octets.to_be_bytes());
        header[4..6].copy_from_slice(&tag.to_be_bytes());
        header[8] = ttl;
        header[9] = number;
        header[12..16].copy_from_slice(&src.octets());
        header[16..20].copy_from_slice(&dst.octets());
        put_checksum(&mut header, 10, Sum::default());
        [&header[..], &segment].concat()
    }

    /// Reads what came from the first box. Anybody can send to an open socket: what is not exactly
    /// an answer to something of ours is nothing.
    pub(super) fn read(&self, datagram: &[u8]) -> Option<Reply> {
        let hops = self.path.hops();
        let mut bytes = datagram;
        for boxes in 1..=hops.len() {
            let packet = Datagram::parse(bytes).ok()?;
            if packet.dst.addr != self.here.addr {
                return None;
            }
            if packet.transport == Transport::IcmpError {
                return self.error(&packet, bytes, boxes);
            }
            let Some(next) = hops.get(boxes) else {
                return self.host_reply(&packet, bytes).map(Reply::Host);
            };
            let from = Endpoint { addr: next.addr, port: next.port };
            if packet.transport != Transport::Udp || (packet.src, packet.dst) != (from, self.here) {
                return None;
            }
            bytes = &bytes[LEVEL..];
        }
        None
    }

    fn error(&self, packet: &Datagram, bytes: &[u8], boxes: usize) -> Option<Reply> {
        let error = IcmpError::parse(packet, bytes)?;
        let quote = error.quote(bytes);
        let about = quoted(quote)?;
        let genuine = match self.path.hops().get(boxes) {
            Some(next) => {
                let to = Endpoint { addr: next.addr, port: next.port };
                about.transport == Transport::Udp && (about.src, about.dst) == (self.here, to)
            }
            None => (about.src.addr, about.dst.addr) == (self.here.addr, self.path.host()),
        };
        let [kind, code] = [bytes[IPV4_HEADER], bytes[IPV4_HEADER + 1]];
        let complaint = Complaint { by: packet.src.addr, kind, code };
        genuine.then_some(Reply::Error { tag: tag_of(quote)?, boxes, complaint })
    }

    fn host_reply(&self, packet: &Datagram, bytes: &[u8]) -> Option<HostReply> {
        if packet.src.addr != self.path.host() || packet.dst.port != self.here.port {
            return None;
        }
        let segment = &bytes[IPV4_HEADER..];
        match packet.transport {
            Transport::IcmpAnswer => self.echo_reply(segment),
            Transport::Tcp(flags) => self.tcp_reply(packet.src.port, flags, segment),
            Transport::Udp => {
                let kind = Kind::Udp(packet.src.port);
                Some(HostReply { kind, tag: None, said: Said::Answer })
            }
            _ => None,
        }
    }

    fn echo_reply(&self, segment: &[u8]) -> Option<HostReply> {
        let ours = segment[0] == ECHO_REPLY && word(segment, 8)? == self.secret;
        let tag = word(segment, 6);
        ours.then_some(HostReply { kind: Kind::Ping, tag, said: Said::Answer })
    }

    fn tcp_reply(&self, port: u16, flags: u8, segment: &[u8]) -> Option<HostReply> {
        let [high, low] = [word(segment, 8)?, word(segment, 10)?];
        let next = u32::from(high) << 16 | u32::from(low);
        let tag = next.wrapping_sub(1) as u16;
        let said = match flags & (SYN | RST | ACK) {
            flags if flags == RST | ACK => Said::Closed,
            flags if flags == SYN | ACK => Said::Open { next },
            _ => return None,
        };
        let ours = next == self.sequence(tag).wrapping_add(1);
        ours.then_some(HostReply { kind: Kind::Tcp(port), tag: Some(tag), said })
    }

    /// Whether an error that the host itself sends proves that it is there.
    pub(super) fn is_host(&self, by: Ipv4Addr, boxes: usize) -> bool {
        boxes == self.boxes() && by == self.path.host()
    }
}

/// The tag of a packet of ours, from its beginning: the IPv4 identification.
pub(super) fn tag_of(packet: &[u8]) -> Option<u16> {
    word(packet, 4)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]))
}

fn tcp(from: u16, to: u16, sequence: u32, flags: u8) -> Vec<u8> {
    let mut segment = vec![0; TCP_HEADER];
    segment[0..2].copy_from_slice(&from.to_be_bytes());
    segment[2..4].copy_from_slice(&to.to_be_bytes());
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[12] = 0x50;
    segment[13] = flags;
    // The window: whatever comes is reset.
    segment[14..16].copy_from_slice(&1024u16.to_be_bytes());
    segment
}

fn put_checksum(bytes: &mut [u8], at: usize, pseudo: Sum) {
    bytes[at..at + 2].copy_from_slice(&[0, 0]);
    let checksum = Sum::of(bytes).plus(pseudo).checksum();
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PATH, Peer, here, tunnel};
    use super::*;
    use crate::wire::tests::assert_checksums;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Ping), (1u16..).prop_map(Kind::Tcp), (1u16..).prop_map(Kind::Udp)]
    }

    #[test]
    fn one_level_has_its_ttl_spent_and_all_checksums_are_right() {
        let tunnel = tunnel(PATH);
        for kind in [Kind::Ping, Kind::Tcp(80), Kind::Udp(53)] {
            for (spent_at, expected) in [(Some(1), [1, 64]), (Some(2), [64, 1]), (None, [64, 64])] {
                let bytes = tunnel.probe(kind, 7, spent_at);
                for (level, ttl) in [&bytes[..], &bytes[LEVEL..]].into_iter().zip(expected) {
                    assert_checksums(level);
                    assert_eq!(Datagram::parse(level).expect("well formed").ttl, ttl);
                    assert_eq!(tag_of(level), Some(7));
                }
            }
        }
    }

    #[test]
    fn a_reset_has_the_sequence_number_that_is_expected() {
        let bytes = tunnel("203.0.113.1 192.168.0.2").reset(80, 0x0102_0304, 9);
        assert_checksums(&bytes);
        let packet = Datagram::parse(&bytes).expect("well formed");
        assert_eq!((packet.transport, packet.dst.port), (Transport::Tcp(RST), 80));
        assert_eq!(bytes[24..28], [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn what_the_host_says_is_understood(kind in kinds(), tag: u16) {
            let tunnel = tunnel(PATH);
            let peer = Peer::of(&tunnel);
            let sent = tunnel.probe(kind, tag, None);
            let said = |bytes: Vec<u8>| tunnel.read(&bytes);
            let tag = (!matches!(kind, Kind::Udp(_))).then_some(tag);
            let expected = match kind {
                Kind::Tcp(_) => Said::Open { next: tunnel.sequence(tag.expect("a tag")).wrapping_add(1) },
                _ => Said::Answer,
            };
            let reply = |said| Some(Reply::Host(HostReply { kind, tag, said }));
            prop_assert_eq!(said(peer.answer(&sent)), reply(expected));
            if let Kind::Tcp(_) = kind {
                prop_assert_eq!(said(peer.refusal(&sent)), reply(Said::Closed));
            }
        }

        #[test]
        fn errors_of_every_box_are_understood(kind in kinds(), tag: u16, boxes in 1usize..=2, code in 0u8..16) {
            let tunnel = tunnel(PATH);
            let by = Ipv4Addr::new(192, 0, 2, 9);
            let sent = tunnel.probe(kind, tag, Some(boxes));
            let complaint = Complaint { by, kind: 3, code };
            let reply = Peer::of(&tunnel).error(&sent, boxes, complaint);
            prop_assert_eq!(tunnel.read(&reply), Some(Reply::Error { tag, boxes, complaint }));
        }

        /// An answer to another socket, host or secret is none, nor is one that was tampered with
        /// where it says whom it is from and to.
        #[test]
        fn answers_to_others_are_nothing(kind in kinds(), tag: u16, other in 0usize..4) {
            let ours = tunnel(PATH);
            let at = here();
            let others = [
                Tunnel::new(PATH.parse().expect("a path"), Endpoint { port: at.port ^ 1, ..at }, 0x5ec2),
                Tunnel::new(PATH.parse().expect("a path"), at, 0x5ec3),
                tunnel("203.0.113.1 10.0.0.9 192.168.0.3"),
                tunnel("203.0.113.1 10.0.0.8 192.168.0.2"),
            ];
            let theirs = &others[other];
            let answer = Peer::of(theirs).answer(&theirs.probe(kind, tag, None));
            prop_assert!(theirs.read(&answer).is_some());
            // A UDP answer cannot be asked for a secret.
            prop_assume!(other != 1 || !matches!(kind, Kind::Udp(_)));
            prop_assert_eq!(ours.read(&answer), None);
        }

        #[test]
        fn hostile_datagrams_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for path in [PATH, "203.0.113.1 192.168.0.2"] {
                let read = tunnel(path).read(&bytes);
                prop_assert_eq!(read, None);
            }
        }

        /// Also those that are almost an answer: octets changed, the end cut off.
        #[test]
        fn damaged_answers_never_panic(
            kind in kinds(), boxes in 0usize..3, cut in 0usize..200,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let tunnel = tunnel(PATH);
            let sent = tunnel.probe(kind, 7, None);
            let peer = Peer::of(&tunnel);
            let complaint = Complaint { by: Ipv4Addr::LOCALHOST, kind: 11, code: 0 };
            let mut bytes = match boxes {
                0 => peer.answer(&sent),
                boxes => peer.error(&sent, boxes, complaint),
            };
            for (index, octet) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *octet;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(Reply::Error { boxes, .. }) = tunnel.read(&bytes) {
                prop_assert!((1..=2).contains(&boxes));
            }
        }
    }
}
