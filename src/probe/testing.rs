//! The other side of a probe, for tests: boxes and a host that answer.

use std::net::Ipv4Addr;

use super::{Complaint, Tunnel};
use crate::wire::checksum::Sum;
use crate::wire::datagram::{IPV4_HEADER, Transport};
use crate::wire::outer::{self, Content, LEVEL};
use crate::wire::tests::icmp_error;
use crate::wire::{Datagram, Endpoint};

/// Two boxes and a host.
pub(super) const PATH: &str = "203.0.113.1 10.0.0.9 192.168.0.2";

pub(super) fn here() -> Endpoint {
    Endpoint { addr: Ipv4Addr::new(198, 51, 100, 10), port: 40_000 }
}

pub(super) fn tunnel(path: &str) -> Tunnel {
    Tunnel::new(path.parse().expect("a path"), here(), 0x5ec2)
}

/// All boxes of a tunnel and the host behind them.
pub(super) struct Peer<'a>(&'a Tunnel);

impl<'a> Peer<'a> {
    pub(super) fn of(tunnel: &'a Tunnel) -> Self {
        Self(tunnel)
    }

    /// What the host answers to a probe: an echo reply, SYN and ACK, a datagram.
    pub(super) fn answer(&self, sent: &[u8]) -> Vec<u8> {
        self.reply(sent, 0x12)
    }

    /// The host has nobody on that TCP port.
    pub(super) fn refusal(&self, sent: &[u8]) -> Vec<u8> {
        self.reply(sent, 0x14)
    }

    fn reply(&self, sent: &[u8], flags: u8) -> Vec<u8> {
        let boxes = self.0.path().hops().len();
        let mut inner = sent[(boxes - 1) * LEVEL..].to_vec();
        let mut packet = Datagram::parse(&inner).expect("well formed");
        match packet.transport {
            Transport::IcmpQuery => inner[IPV4_HEADER] = 0,
            Transport::Tcp(_) => {
                let sequence = inner[24..28].try_into().expect("four octets");
                let next = u32::from_be_bytes(sequence).wrapping_add(1);
                inner[28..32].copy_from_slice(&next.to_be_bytes());
                inner[33] = flags;
            }
            _ => {}
        }
        match packet.transport {
            // The identifier stays where it is; only its meaning changes.
            Transport::IcmpQuery => {
                let (src, dst) = (packet.src.addr, packet.dst.addr);
                inner[12..16].copy_from_slice(&dst.octets());
                inner[16..20].copy_from_slice(&src.octets());
            }
            _ => {
                let (src, dst) = (packet.src, packet.dst);
                packet.readdress(&mut inner, dst, src);
            }
        }
        self.through(inner, boxes)
    }

    /// An error behind so many boxes about what they unwrapped.
    pub(super) fn error(&self, sent: &[u8], boxes: usize, complaint: Complaint) -> Vec<u8> {
        let Complaint { by, kind, code } = complaint;
        let by = Endpoint { addr: by, port: 0 };
        let quote = &sent[(boxes - 1) * LEVEL..];
        self.through(icmp_error(by, here(), kind, code, [0; 4], quote), boxes)
    }

    /// The levels that the second and later boxes put in front.
    fn through(&self, mut bytes: Vec<u8>, boxes: usize) -> Vec<u8> {
        for hop in self.0.path().hops()[1..boxes].iter().rev() {
            let from = Endpoint { addr: hop.addr, port: hop.port };
            let content = Content { octets: bytes.len(), sum: Sum::of(&bytes) };
            let mut header = [0; LEVEL];
            outer::write(&mut header, from, self.to(), 0, 1, content).expect("it fits");
            bytes = [&header[..], &bytes].concat();
        }
        bytes
    }

    /// What the boxes restore: the endpoint as the client wrote it.
    fn to(&self) -> Endpoint {
        let sent = self.0.probe(super::Kind::Udp(1), 0, None);
        Datagram::parse(&sent).expect("well formed").src
    }
}
