//! The other side of a probe, for tests: boxes and a host that answer, links with an MTU between them.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Complaint, Machine, Packet, Tunnel};
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

pub(super) fn complaint(by: Ipv4Addr, kind: u8, code: u8) -> Complaint {
    Complaint { by, kind, code, mtu: None }
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

    fn host(&self) -> Ipv4Addr {
        self.0.path().host()
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
        let Complaint { by, kind, code, mtu } = complaint;
        let [high, low] = mtu.unwrap_or(0).to_be_bytes();
        let by = Endpoint { addr: by, port: 0 };
        let quote = &sent[(boxes - 1) * LEVEL..];
        self.through(icmp_error(by, here(), kind, code, [0, 0, high, low], quote), boxes)
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

/// What lies between two machines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Octets, both ways.
    pub(super) mtu: u16,
    /// Somebody drops fragments on the way there.
    pub(super) drops: bool,
    /// Somebody drops fragments on the way back.
    pub(super) drops_back: bool,
    /// "Fragmentation needed" does not get back.
    pub(super) hides: bool,
}

impl Link {
    pub(super) fn of(mtu: u16) -> Self {
        Self { mtu, drops: false, drops_back: false, hides: false }
    }
}

/// Links and boxes to a host, which answers to ping or to nothing.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// One in front of each box, and one behind the last.
    pub(super) links: Vec<Link>,
    /// The host answers to ping.
    pub(super) ping: bool,
    /// The largest ping that it answers to, octets with the tunnel's headers.
    pub(super) most: usize,
    /// It refuses pings by an ICMP error, as a firewall of its own may.
    pub(super) refuses: bool,
    /// It is the last box itself: no TTL ends in front of it.
    pub(super) is_box: bool,
    /// A box that ceases to report after so many errors.
    pub(super) tires: Option<(usize, usize)>,
    /// Boxes that report nothing.
    pub(super) mute: Vec<usize>,
    /// Boxes report six errors at once, then one a second.
    pub(super) limited: bool,
    /// When each box can report again, if it has reported as much as it may.
    pub(super) full: Vec<Duration>,
    /// Packets so far.
    pub(super) packets: usize,
    /// Protocols of those that got to the host.
    pub(super) heard: Vec<u8>,
    /// The longest of them.
    pub(super) longest: usize,
    pub(super) now: Duration,
}

/// What comes of a packet.
enum Event {
    Datagram(Vec<u8>, Option<u16>),
    Complaint(Complaint, Vec<u8>),
}

const ROUND_TRIP: Duration = Duration::from_millis(5);
/// The router in front of a box.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

impl Network {
    pub(super) fn of(links: impl IntoIterator<Item = Link>) -> Self {
        let links: Vec<_> = links.into_iter().collect();
        Self {
            full: vec![Duration::ZERO; links.len()],
            links,
            ping: true,
            most: usize::MAX,
            refuses: false,
            is_box: false,
            tires: None,
            mute: Vec::new(),
            limited: false,
            packets: 0,
            heard: Vec::new(),
            longest: 0,
            now: Duration::ZERO,
        }
    }

    /// Drives a machine to its end.
    pub(super) fn drive(&mut self, tunnel: &Tunnel, machine: &mut impl Machine) {
        while let Some(deadline) = machine.deadline() {
            self.now = self.now.max(deadline);
            while let Some(sent) = machine.poll(self.now) {
                self.packets += 1;
                self.longest = self.longest.max(sent.octets.len() + LEVEL);
                let event = self.carry(&Peer::of(tunnel), &sent);
                if event.is_some() {
                    self.now += ROUND_TRIP;
                }
                match event {
                    Some(Event::Datagram(bytes, fragment)) => {
                        machine.received(&bytes, fragment, self.now);
                    }
                    Some(Event::Complaint(complaint, quote)) => {
                        machine.complained(complaint, &quote, self.now);
                    }
                    None => {}
                }
            }
        }
    }

    fn carry(&mut self, peer: &Peer<'_>, sent: &Packet) -> Option<Event> {
        let size = sent.octets.len() + LEVEL;
        for (boxes, link) in self.links.clone().into_iter().enumerate() {
            let whole = match boxes {
                0 => sent.whole,
                boxes => sent.octets[(boxes - 1) * LEVEL + 6] & 0x40 != 0,
            };
            if size - boxes * LEVEL > usize::from(link.mtu) {
                let complaint = Complaint { by: ROUTER, kind: 3, code: 4, mtu: Some(link.mtu) };
                match (whole, boxes) {
                    (true, _) if link.hides => return None,
                    (true, 0) => {
                        return Some(Event::Complaint(complaint, sent.octets[..28].to_vec()));
                    }
                    (true, _) => {
                        let error = peer.error(&sent.octets, boxes, complaint);
                        return Some(Event::Datagram(error, None));
                    }
                    (false, _) if link.drops => return None,
                    (false, _) => {}
                }
            }
            let ends = boxes + 1 < self.links.len() - usize::from(self.is_box);
            if sent.octets.get(boxes * LEVEL + 8) == Some(&1) && ends {
                let error = || peer.error(&sent.octets, boxes + 1, complaint(ROUTER, 11, 0));
                return self.may_report(boxes + 1).then(|| Event::Datagram(error(), None));
            }
        }
        let innermost = (self.links.len() - 2) * LEVEL;
        let protocol = sent.octets[innermost + 9];
        self.heard.push(protocol);
        if self.refuses && protocol == 1 {
            let by = peer.host();
            let error = peer.error(&sent.octets, self.links.len() - 1, complaint(by, 3, 10));
            return Some(Event::Datagram(error, None));
        }
        let answers = self.ping && protocol == 1 && size <= self.most;
        answers.then(|| self.back(peer.answer(&sent.octets), size)).flatten()
    }

    /// Linux' token bucket.
    fn may_report(&mut self, number: usize) -> bool {
        if let Some((_, left)) = self.tires.as_mut().filter(|(tired, _)| *tired == number) {
            let Some(less) = left.checked_sub(1) else { return false };
            *left = less;
        }
        let full = self.full[number - 1].max(self.now);
        let reports = !self.mute.contains(&number)
            && (!self.limited || full <= self.now + Duration::from_secs(5));
        if reports {
            self.full[number - 1] = full + Duration::from_secs(1);
        }
        reports
    }

    fn back(&self, answer: Vec<u8>, size: usize) -> Option<Event> {
        let mut fragment = None;
        for (boxes, link) in self.links.iter().enumerate().rev() {
            if size - boxes * LEVEL > usize::from(link.mtu) {
                if link.drops_back {
                    return None;
                }
                // All fragments but the last carry a multiple of eight octets.
                let largest = (link.mtu - 20) / 8 * 8 + 20;
                fragment = Some(fragment.map_or(largest, |before: u16| before.min(largest)));
            }
        }
        Some(Event::Datagram(answer, fragment))
    }
}
