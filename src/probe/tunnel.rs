//! The packets of a probe.

use std::net::Ipv4Addr;

use super::{Kind, Packet};
use crate::path::Path;
use crate::wire::Endpoint;
use crate::wire::checksum::Sum;
use crate::wire::datagram::{IPV4_HEADER, protocol};
use crate::wire::outer::{self, Content, LEVEL};

/// TTL of a packet that is to get through.
const FAR: u8 = outer::TTL;
/// TTL of a packet that the box which unwraps it is to report.
const SPENT: u8 = 1;

const ECHO_REQUEST: u8 = 8;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
/// Octets of a TCP header without options.
const TCP_HEADER: usize = 20;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
/// Octets behind an echo request's header; as many as those of ping(8).
const ECHO_DATA: usize = 56;

/// IPv4's flags and fragment offset, when nobody may fragment the packet.
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
const FLAGS: usize = 6;

/// A tunnel from an ordinary socket to a host, without state: what comes back tells what was
/// sent.
#[derive(Debug, Clone)]
pub struct Tunnel {
    pub(super) path: Path,
    pub(super) here: Endpoint,
    pub(super) secret: u16,
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
        let inner = self.inner(kind, tag, self.ttl(spent_at), 0);
        self.wrapped(inner, tag, spent_at, false)
    }

    /// The same, padded until it is `size` octets long with all headers, the socket's too. No router
    /// may fragment what is inside, which is how TCP sends; nor, if it is to arrive `whole`, any level.
    /// An answer is read as any.
    pub(super) fn sized(
        &self,
        kind: Kind,
        tag: u16,
        spent_at: Option<usize>,
        size: u16,
        whole: bool,
    ) -> Packet {
        let levels = LEVEL * self.boxes();
        let mut inner =
            self.inner(kind, tag, self.ttl(spent_at), usize::from(size).saturating_sub(levels));
        forbid_fragments(&mut inner);
        Packet { octets: self.wrapped(inner, tag, spent_at, whole), whole }
    }

    /// Octets of the smallest such packet.
    pub(super) fn smallest(&self, kind: Kind) -> u16 {
        let inner = self.inner(kind, 0, FAR, 0).len();
        (inner + LEVEL * self.boxes()) as u16
    }

    /// TTL of the innermost packet.
    fn ttl(&self, spent_at: Option<usize>) -> u8 {
        if spent_at == Some(self.boxes()) { SPENT } else { FAR }
    }

    /// Ends a connection that a SYN has opened (RFC 9293 §3.5.2).
    pub(super) fn reset(&self, port: u16, next: u32, tag: u16) -> Vec<u8> {
        let segment = tcp(self.here.port, port, next, RST);
        self.wrapped(self.packet(protocol::TCP, segment, tag, FAR), tag, None, false)
    }

    /// Puts the levels of all boxes but the first in front, whose level the socket writes.
    fn wrapped(
        &self,
        mut inner: Vec<u8>,
        tag: u16,
        spent_at: Option<usize>,
        whole: bool,
    ) -> Vec<u8> {
        for (level, hop) in self.path.hops().iter().enumerate().skip(1).rev() {
            let to = Endpoint { addr: hop.addr, port: hop.port };
            let content = Content { octets: inner.len(), sum: Sum::of(&inner) };
            let mut header = [0; LEVEL];
            // Always: eight levels around a hundred octets, or as many as an MTU.
            if outer::write(&mut header, self.here, to, 0, tag, content).is_some() {
                if spent_at == Some(level) {
                    header[8] = SPENT;
                    put_checksum(&mut header[..IPV4_HEADER], 10, Sum::default());
                }
                if whole {
                    forbid_fragments(&mut header);
                }
                inner.splice(0..0, header);
            }
        }
        inner
    }

    /// The innermost packet, of at least so many octets.
    fn inner(&self, kind: Kind, tag: u16, ttl: u8, least: usize) -> Vec<u8> {
        let (number, mut segment) = match kind {
            Kind::Ping => (protocol::ICMP, self.echo(tag)),
            Kind::Tcp(to) => (protocol::TCP, tcp(self.here.port, to, self.sequence(tag), SYN)),
            Kind::Udp(to) => (protocol::UDP, self.datagram(to)),
        };
        let missing = least.saturating_sub(IPV4_HEADER + segment.len());
        segment.extend(padding(self.secret, missing));
        if number == protocol::UDP {
            let octets = segment.len() as u16;
            segment[4..6].copy_from_slice(&octets.to_be_bytes());
        }
        self.packet(number, segment, tag, ttl)
    }

    /// A UDP datagram without its length and checksum.
    fn datagram(&self, to: u16) -> Vec<u8> {
        let words = [self.here.port, to, 0, 0, self.secret];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
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
    pub(super) fn sequence(&self, tag: u16) -> u32 {
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

    /// Whether an error comes from this end.
    pub(super) fn is_here(&self, by: Ipv4Addr) -> bool {
        by == self.here.addr
    }

    /// Whether an error that the host itself sends proves that it is there.
    pub(super) fn is_host(&self, by: Ipv4Addr, boxes: usize) -> bool {
        boxes == self.boxes() && by == self.path.host()
    }
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

/// Octets that no link compresses (xorshift).
fn padding(seed: u16, octets: usize) -> impl Iterator<Item = u8> {
    let mut state = u32::from(seed) | 0x6e61_0000;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        Some(state as u8)
    };
    std::iter::from_fn(next).take(octets)
}

/// Sets DF in an IPv4 header.
fn forbid_fragments(packet: &mut [u8]) {
    packet[FLAGS..FLAGS + 2].copy_from_slice(&DONT_FRAGMENT);
    put_checksum(&mut packet[..IPV4_HEADER], 10, Sum::default());
}

fn put_checksum(bytes: &mut [u8], at: usize, pseudo: Sum) {
    bytes[at..at + 2].copy_from_slice(&[0, 0]);
    let checksum = Sum::of(bytes).plus(pseudo).checksum();
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::reply::{HostReply, Reply, Said, tag_of};
    use super::super::testing::{PATH, Peer, complaint, here, tunnel};
    use super::*;
    use crate::wire::Datagram;
    use crate::wire::datagram::Transport;
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

        /// A size is that of the packet on the first link, and DF is in every header or in none but
        /// the innermost, where the socket's is the first.
        #[test]
        fn sizes_are_exact(kind in kinds(), tag: u16, size in 0u16..=9000, whole: bool, at in 0usize..=2) {
            let tunnel = tunnel(PATH);
            let spent_at = (at > 0).then_some(at);
            let sent = tunnel.sized(kind, tag, spent_at, size, whole);
            prop_assert_eq!(sent.octets.len() + LEVEL, usize::from(size.max(tunnel.smallest(kind))));
            prop_assert_eq!(sent.whole, whole);
            for (level, number) in [(&sent.octets[..], 1), (&sent.octets[LEVEL..], 2)] {
                assert_checksums(level);
                let packet = Datagram::parse(level).expect("well formed");
                prop_assert_eq!(packet.ttl == SPENT, at == number);
                prop_assert_eq!(level[FLAGS..][..2] == DONT_FRAGMENT, whole || number == 2);
                prop_assert_eq!(tag_of(level), Some(tag));
            }
            if spent_at.is_none() {
                prop_assert!(tunnel.read(&Peer::of(&tunnel).answer(&sent.octets)).is_some());
            }
        }

        #[test]
        fn errors_of_every_box_are_understood(kind in kinds(), tag: u16, boxes in 1usize..=2, code in 0u8..16) {
            let tunnel = tunnel(PATH);
            let by = Ipv4Addr::new(192, 0, 2, 9);
            let sent = tunnel.probe(kind, tag, Some(boxes));
            let complaint = complaint(by, 3, code);
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
            let complaint = complaint(Ipv4Addr::LOCALHOST, 11, 0);
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
