//! What comes back to a probe.

use super::tunnel::{RST, SYN};
use super::{Complaint, Kind, Tunnel};
use crate::wire::datagram::{IPV4_HEADER, Transport};
use crate::wire::icmp_error::quoted;
use crate::wire::outer::LEVEL;
use crate::wire::{Datagram, Endpoint, IcmpError};

const ECHO_REPLY: u8 = 0;
const ACK: u8 = 0x10;

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
        let mtu = word(bytes, IPV4_HEADER + 6).filter(|&mtu| mtu > 0 && error.is_about_mtu(bytes));
        let complaint = Complaint { by: packet.src.addr, kind, code, mtu };
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
}

/// The tag of a packet of ours, from its beginning: the IPv4 identification.
pub(super) fn tag_of(packet: &[u8]) -> Option<u16> {
    word(packet, 4)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]))
}
