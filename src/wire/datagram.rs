//! One IPv4 datagram, parsed once: what NATTT needs to know of it, and the patches it makes.

use std::net::Ipv4Addr;

use etherparse::Ipv4HeaderSlice;

use super::checksum::{Sum, updated};
use super::sctp;

/// Octets of an IPv4 header without options (RFC 791 §3.1).
pub const IPV4_HEADER: usize = 20;
/// Octets of a UDP header (RFC 768).
pub const UDP_HEADER: usize = 8;

/// Protocol numbers (IANA).
pub mod protocol {
    #![allow(missing_docs, reason = "the names are the field's")]
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}

const FLAGS: usize = 6;
const SRC: usize = 12;
const DST: usize = 16;
const IP_CHECKSUM: usize = 10;
const TCP_CHECKSUM: usize = 16;

/// An address with a port in host order. An ICMP query's identifier plays the port's part; where
/// there is neither, the port is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub addr: Ipv4Addr,
    /// The port or identifier, host order.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.addr, self.port)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let socket: std::net::SocketAddrV4 = text.parse()?;
        Ok(Self { addr: *socket.ip(), port: socket.port() })
    }
}

/// What follows the IPv4 header, as far as NATTT cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP with its flags (octet 13 of the header, RFC 9293 §3.1).
    Tcp(u8),
    /// UDP.
    Udp,
    /// An ICMP query; its identifier is the source port.
    IcmpQuery,
    /// The answer to an ICMP query; its identifier is the destination port.
    IcmpAnswer,
    /// An ICMP error, which quotes the packet it is about, or an unknown kind of ICMP.
    IcmpError,
    /// DCCP or UDP-Lite: ports and a checksum in the places of UDP's, which covers both with a
    /// pseudo header, whatever its coverage of the payload (RFC 4340 §9, RFC 3828 §3.1).
    UdpLike,
    /// SCTP.
    Sctp,
    /// Any other protocol: addresses only.
    Other,
}

/// Why bytes are not a datagram that NATTT can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A length or header contradicts the rest.
    Malformed,
    /// A fragment: only the first would name ports.
    Fragment,
    /// IP options.
    Options,
}

impl Transport {
    /// Whether `other` can be what comes back on a flow that began with `self`.
    pub fn is_answered_by(self, other: Self) -> bool {
        match (self, other) {
            (Self::IcmpQuery, Self::IcmpAnswer) | (Self::Tcp(_), Self::Tcp(_)) => true,
            (Self::IcmpQuery, _) => false,
            _ => self == other,
        }
    }

    /// What a flow of this protocol begins with.
    pub fn of_flow(protocol: u8) -> Self {
        match protocol {
            protocol::TCP => Self::Tcp(0),
            protocol::UDP => Self::Udp,
            protocol::ICMP => Self::IcmpQuery,
            protocol::SCTP => Self::Sctp,
            protocol::DCCP | protocol::UDP_LITE => Self::UdpLike,
            _ => Self::Other,
        }
    }

    /// Whether `other` is of the same kind, whatever TCP's flags.
    pub fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Whether it is a TCP SYN without an ACK (RFC 9293 §3.5).
    pub fn opens_connection(self) -> bool {
        const ACK: u8 = 0x10;
        self.is_syn() && matches!(self, Self::Tcp(flags) if flags & ACK == 0)
    }

    /// Whether it is a TCP SYN, with or without an ACK: what may say a segment size.
    pub fn is_syn(self) -> bool {
        const SYN: u8 = 0x02;
        matches!(self, Self::Tcp(flags) if flags & SYN != 0)
    }
}

/// The parsed fields of one datagram. It holds no bytes: patches take them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Where it comes from.
    pub src: Endpoint,
    /// Where it goes.
    pub dst: Endpoint,
    /// Protocol number.
    pub protocol: u8,
    /// What follows the header.
    pub transport: Transport,
    /// Total length in octets; equals the length of the bytes.
    pub octets: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Time to live.
    pub ttl: u8,
}

impl Datagram {
    /// Parses bytes that hold exactly one datagram.
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let ip = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Flaw::Malformed)?;
        if usize::from(ip.total_len()) != bytes.len() {
            return Err(Flaw::Malformed);
        }
        if ip.slice().len() != IPV4_HEADER {
            return Err(Flaw::Options);
        }
        if ip.is_fragmenting_payload() {
            return Err(Flaw::Fragment);
        }
        let protocol = ip.protocol().0;
        let (transport, src_port, dst_port) = ports(protocol, &bytes[IPV4_HEADER..])?;
        Ok(Self {
            src: Endpoint { addr: ip.source_addr(), port: src_port },
            dst: Endpoint { addr: ip.destination_addr(), port: dst_port },
            protocol,
            transport,
            octets: ip.total_len(),
            traffic_class: bytes[1],
            ttl: ip.ttl(),
        })
    }

    /// Whether a well-formed datagram has DF set (RFC 791 §3.1).
    pub fn forbids_fragments(bytes: &[u8]) -> bool {
        const DF: u8 = 0x40;
        bytes.get(FLAGS).is_some_and(|flags| flags & DF != 0)
    }

    /// Replaces both endpoints and mends the checksums (RFC 1624).
    ///
    /// A port that is not on the wire (that of protocols without ports, or the other side of an
    /// ICMP query) is left out.
    pub fn readdress(&mut self, bytes: &mut [u8], src: Endpoint, dst: Endpoint) {
        let (old_src, old_dst) = (self.src, self.dst);
        let addresses =
            |src: Endpoint, dst: Endpoint| Sum::default().address(src.addr).address(dst.addr);
        let (old, new) = (addresses(old_src, old_dst), addresses(src, dst));
        bytes[SRC..SRC + 4].copy_from_slice(&src.addr.octets());
        bytes[DST..DST + 4].copy_from_slice(&dst.addr.octets());
        update_field(bytes, IP_CHECKSUM, old, new);
        self.readdress_transport(&mut bytes[IPV4_HEADER..], src, dst, old, new);
        (self.src, self.dst) = (src, dst);
    }

    fn readdress_transport(
        &self,
        segment: &mut [u8],
        src: Endpoint,
        dst: Endpoint,
        old: Sum,
        new: Sum,
    ) {
        let (old, new) = match self.transport {
            Transport::Tcp(_) | Transport::Udp | Transport::UdpLike => {
                put_word(segment, 0, src.port);
                put_word(segment, 2, dst.port);
                (old.word(self.src.port).word(self.dst.port), new.word(src.port).word(dst.port))
            }
            Transport::IcmpQuery => {
                put_word(segment, 4, src.port);
                (Sum::default().word(self.src.port), Sum::default().word(src.port))
            }
            Transport::IcmpAnswer => {
                put_word(segment, 4, dst.port);
                (Sum::default().word(self.dst.port), Sum::default().word(dst.port))
            }
            Transport::Sctp => {
                let octets = usize::from(self.octets).saturating_sub(IPV4_HEADER);
                return sctp::set_ports(segment, octets, src.port, dst.port);
            }
            Transport::IcmpError | Transport::Other => return,
        };
        match self.transport {
            Transport::UdpLike if self.protocol == protocol::DCCP => {
                update_field(segment, 6, old, new);
            }
            Transport::Udp | Transport::UdpLike => update_udp(segment, old, new),
            // An ICMP error may quote less than that of a segment.
            Transport::Tcp(_) if segment.len() < TCP_CHECKSUM + 2 => {}
            Transport::Tcp(_) => update_field(segment, TCP_CHECKSUM, old, new),
            _ => update_field(segment, 2, old, new),
        }
    }

    /// Sets DSCP and ECN.
    pub fn set_traffic_class(&mut self, bytes: &mut [u8], traffic_class: u8) {
        let old = Sum::default().word(self.traffic_class.into());
        bytes[1] = traffic_class;
        update_field(bytes, IP_CHECKSUM, old, Sum::default().word(traffic_class.into()));
        self.traffic_class = traffic_class;
    }

    /// The one's complement sum of the whole datagram, without reading the payload where a valid
    /// checksum inside already tells it: an IPv4 header sums to zero, and a segment to the
    /// complement of its pseudo header. (Linux calls this local checksum offload.)
    pub fn sum(&self, bytes: &[u8]) -> Sum {
        let octets = self.octets - IPV4_HEADER as u16;
        match self.transport {
            Transport::Udp if bytes[IPV4_HEADER + 6..IPV4_HEADER + 8] == [0, 0] => Sum::of(bytes),
            Transport::Tcp(_) | Transport::Udp => Sum::default().minus(Sum::pseudo_header(
                self.src.addr,
                self.dst.addr,
                self.protocol,
                octets,
            )),
            _ => Sum::of(bytes),
        }
    }
}

/// The ports of a segment, after its lengths were checked.
fn ports(number: u8, segment: &[u8]) -> Result<(Transport, u16, u16), Flaw> {
    let word = |at| u16::from_be_bytes([segment[at], segment[at + 1]]);
    match number {
        protocol::TCP => {
            let header = segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
            if header < 20 || segment.len() < header {
                return Err(Flaw::Malformed);
            }
            Ok((Transport::Tcp(segment[13]), word(0), word(2)))
        }
        protocol::UDP => {
            if segment.len() < UDP_HEADER || usize::from(word(4)) != segment.len() {
                return Err(Flaw::Malformed);
            }
            Ok((Transport::Udp, word(0), word(2)))
        }
        protocol::DCCP | protocol::UDP_LITE if segment.len() >= UDP_HEADER => {
            Ok((Transport::UdpLike, word(0), word(2)))
        }
        protocol::SCTP if segment.len() >= sctp::HEADER => Ok((Transport::Sctp, word(0), word(2))),
        protocol::ICMP if segment.len() >= 8 => Ok(icmp_ports(segment[0], word(4))),
        protocol::DCCP | protocol::UDP_LITE | protocol::SCTP | protocol::ICMP => {
            Err(Flaw::Malformed)
        }
        _ => Ok((Transport::Other, 0, 0)),
    }
}

/// What a type of ICMP makes of the identifier.
pub(super) fn icmp_ports(kind: u8, identifier: u16) -> (Transport, u16, u16) {
    match kind {
        8 | 13 | 15 | 17 => (Transport::IcmpQuery, identifier, 0),
        0 | 14 | 16 | 18 => (Transport::IcmpAnswer, 0, identifier),
        _ => (Transport::IcmpError, 0, 0),
    }
}

fn put_word(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

fn update_field(bytes: &mut [u8], at: usize, old: Sum, new: Sum) {
    let checksum = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    put_word(bytes, at, updated(checksum, old, new));
}

/// UDP without a checksum keeps none (RFC 768); a computed 0 becomes 0xffff, in UDP-Lite too
/// (RFC 3828 §3.1).
fn update_udp(segment: &mut [u8], old: Sum, new: Sum) {
    if segment[6..8] != [0, 0] {
        update_field(segment, 6, old, new);
        if segment[6..8] == [0, 0] {
            put_word(segment, 6, 0xffff);
        }
    }
}
