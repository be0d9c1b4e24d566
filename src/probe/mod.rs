//! Probing the way to a host behind NAT boxes, with nothing but a UDP socket.
//!
//! A client writes all levels of a tunnel packet itself (docs/protocol.md §10), so it can give one of
//! them a TTL of 1. The box that gets to it takes its own level off, and its kernel, which forwards
//! the rest, reports "time exceeded" about it, as to any traceroute. That error comes back through the
//! tunnel to the socket: proof that this box is up, takes tunnel packets, and exports what they are
//! for. No daemon and no privilege is needed, and nothing of natttd's own traffic is touched.
//!
//! What such small packets have reached is then asked about large ones ([`Sizes`]): tunnel headers have
//! DF clear, so a link that is smaller than assumed breaks them up, and whatever drops fragments swallows
//! all that is large.
//!
//! Pure: bytes and `now` (time since the probe began) in, bytes and the next deadline out. The number
//! of packets is bounded by [`MAX_PACKETS`] and [`MAX_SIZED`], all go to one address, and a small one
//! that is answered by nobody is repeated twice.

mod advice;
mod ping;
mod prober;
mod reply;
mod sizes;
mod survey;
mod tunnel;
mod verdict;

#[cfg(test)]
mod testing;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use advice::{checks, sentence};
pub use ping::{Pinger, Pong, Summary};
pub use prober::{MAX_KINDS, MAX_PACKETS};
pub use sizes::{Back, LEAST_MTU, Larger, Limit, MAX_SIZED, Made, Sizes, Working, with_headers};
pub use survey::Survey;
pub use tunnel::Tunnel;
pub use verdict::{BoxState, Conclusion, HostState, KindReport, Level, Report};

/// What is sent to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ICMP echo request.
    Ping,
    /// A SYN to this port. A connection that comes of it is reset at once.
    Tcp(u16),
    /// A datagram of a few octets to this port.
    Udp(u16),
}

/// Text that is no [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKind;

impl fmt::Display for BadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write `ping`, `tcp/443` or `udp/53`")
    }
}

impl std::error::Error for BadKind {}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping => f.pad("ping"),
            Self::Tcp(port) => f.pad(&format!("tcp/{port}")),
            Self::Udp(port) => f.pad(&format!("udp/{port}")),
        }
    }
}

impl FromStr for Kind {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        let port = |text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(BadKind),
            Ok(port) => Ok(port),
        };
        match text.split_once('/') {
            None if text == "ping" => Ok(Self::Ping),
            Some(("tcp", text)) => port(text).map(Self::Tcp),
            Some(("udp", text)) => port(text).map(Self::Udp),
            _ => Err(BadKind),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An ICMP error about a packet of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// Who sent it.
    pub by: Ipv4Addr,
    /// ICMP's type.
    pub kind: u8,
    /// ICMP's code.
    pub code: u8,
    /// Of "fragmentation needed": the next link's MTU, octets, if it is told (RFC 1191 §4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

impl Complaint {
    /// "Fragmentation needed, and DF set".
    pub(crate) fn is_about_size(self) -> bool {
        (self.kind, self.code) == (3, 4)
    }

    /// "Time to live exceeded in transit".
    pub(crate) fn is_about_ttl(self) -> bool {
        (self.kind, self.code) == (11, 0)
    }

    /// "Port unreachable": the machine is there, and nobody listens.
    pub(crate) fn is_about_port(self) -> bool {
        (self.kind, self.code) == (3, 3)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.kind, self.code) {
            (3, 0) => "network unreachable",
            (3, 1) => "host unreachable",
            (3, 2) => "protocol unreachable",
            (3, 3) => "port unreachable",
            (3, 4) => "fragmentation needed",
            (3, 9 | 10 | 13) => "prohibited by a firewall",
            (11, 0) => "time to live exceeded",
            (kind, code) => return write!(f, "{} reports ICMP type {kind} code {code}", self.by),
        };
        write!(f, "{} reports \"{what}\"", self.by)
    }
}

/// A datagram to the first box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its payload: what is inside the first level.
    pub octets: Vec<u8>,
    /// Whether no router may fragment it: DF is set in its IPv4 header. DF is clear otherwise, as in
    /// natttd's tunnel headers.
    pub whole: bool,
}

impl From<Vec<u8>> for Packet {
    fn from(octets: Vec<u8>) -> Self {
        Self { octets, whole: false }
    }
}

/// What is driven through a socket.
pub trait Machine {
    /// A datagram to send to the first box now; asked again until there is none.
    fn poll(&mut self, now: Duration) -> Option<Packet>;
    /// When to ask again. `None`: it is over.
    fn deadline(&self) -> Option<Duration>;
    /// A datagram that came from the first box; what is to be sent back at once, if anything.
    /// `fragment`: the largest of the fragments that it came in, octets with the IPv4 header; `None`:
    /// it came whole.
    fn received(&mut self, datagram: &[u8], fragment: Option<u16>, now: Duration)
    -> Option<Packet>;
    /// An ICMP error about a datagram that was sent, with as much of that as it quotes. This host's own
    /// "too long for the interface" counts as one, from [`Tunnel`]'s own end.
    fn complained(&mut self, complaint: Complaint, quote: &[u8], now: Duration);
}

/// Milliseconds in JSON and in tables, with microseconds behind the point.
pub(crate) fn as_millis<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&(time.as_micros() as f64 / 1000.0)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::testing::complaint;
    use super::*;

    #[test]
    fn kinds() {
        for text in ["ping", "tcp/443", "udp/53"] {
            assert_eq!(text.parse::<Kind>().map(|kind| kind.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "tcp", "tcp/", "tcp/0", "tcp/65536", "sctp/1", "443", "ping/1"] {
            assert_eq!(text.parse::<Kind>(), Err(BadKind), "{text}");
        }
    }

    #[test]
    fn complaints_in_words() {
        let said = |kind, code| complaint(Ipv4Addr::new(192, 0, 2, 1), kind, code).to_string();
        assert_eq!(said(3, 3), "192.0.2.1 reports \"port unreachable\"");
        assert_eq!(said(12, 1), "192.0.2.1 reports ICMP type 12 code 1");
    }
}
