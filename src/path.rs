//! Paths: how a host behind NAT boxes is reached, and the NAT resource record that says so.
//!
//! RDATA of the NAT record (private-use type 65324, class IN), network byte order: one to eight
//! hops of `IPv4 address (4 octets) | UDP port (2 octets)`, outermost first, then the host's
//! `IPv4 address (4 octets)`: 6n+4 octets.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The well-known UDP port of the paper, used where a hop names none.
pub const TUNNEL_PORT: u16 = 100;
/// The most NAT boxes one path may lead through.
pub const MAX_HOPS: usize = 8;
/// The most alternative paths of one name; more would only cost memory.
pub const MAX_PATHS: usize = 16;
/// Type number of the NAT record unless the configuration says otherwise (RFC 6895 §3.1, private use).
pub const NAT_RR_TYPE: u16 = 65324;

const HOP_OCTETS: usize = 6;
const HOST_OCTETS: usize = 4;

/// One NAT box: the address and UDP port (host order) where it takes tunnel packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Address of the box in the network outside it.
    pub addr: Ipv4Addr,
    /// UDP port, host order.
    pub port: u16,
}

/// The NAT boxes, outermost first, then the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    hops: Vec<Hop>,
    host: Ipv4Addr,
}

/// Why something is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// RDATA whose length is not 6n+4 with 1 ≤ n ≤ 8.
    Length(usize),
    /// No hop, or more than eight.
    Hops(usize),
    /// Text that is not `HOP[:PORT] ... HOST`.
    Text,
    /// A hop with UDP port 0.
    Port,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(octets) => {
                write!(f, "a NAT record has 6n+4 octets (n = 1 to 8), not {octets}")
            }
            Self::Hops(hops) => write!(
                f,
                "a path has 1 to {MAX_HOPS} NAT boxes, not {hops}: write them outermost first, then the \
                 host: `203.0.113.1:{TUNNEL_PORT} 192.168.0.2`"
            ),
            Self::Text => write!(
                f,
                "write NAT boxes outermost first, then the host: `203.0.113.1:100 192.168.0.2`"
            ),
            Self::Port => write!(f, "a NAT box cannot be reached on UDP port 0"),
        }
    }
}

impl std::error::Error for PathError {}

impl Path {
    /// A path from its parts.
    pub fn new(hops: Vec<Hop>, host: Ipv4Addr) -> Result<Self, PathError> {
        if hops.is_empty() || hops.len() > MAX_HOPS {
            return Err(PathError::Hops(hops.len()));
        }
        if hops.iter().any(|hop| hop.port == 0) {
            return Err(PathError::Port);
        }
        Ok(Self { hops, host })
    }

    /// Reads the RDATA of a NAT record.
    pub fn from_rdata(rdata: &[u8]) -> Result<Self, PathError> {
        let hops = rdata.len().saturating_sub(HOST_OCTETS) / HOP_OCTETS;
        if hops == 0 || hops > MAX_HOPS || rdata.len() != hops * HOP_OCTETS + HOST_OCTETS {
            return Err(PathError::Length(rdata.len()));
        }
        let (boxes, host) = rdata.split_at(hops * HOP_OCTETS);
        let hops = boxes
            .chunks_exact(HOP_OCTETS)
            .map(|hop| Hop {
                addr: Ipv4Addr::new(hop[0], hop[1], hop[2], hop[3]),
                port: u16::from_be_bytes([hop[4], hop[5]]),
            })
            .collect();
        Self::new(hops, Ipv4Addr::new(host[0], host[1], host[2], host[3]))
    }

    /// Writes the RDATA of a NAT record.
    pub fn to_rdata(&self) -> Vec<u8> {
        let mut rdata = Vec::with_capacity(self.hops.len() * HOP_OCTETS + HOST_OCTETS);
        for hop in &self.hops {
            rdata.extend(hop.addr.octets());
            rdata.extend(hop.port.to_be_bytes());
        }
        rdata.extend(self.host.octets());
        rdata
    }

    /// The NAT boxes, outermost first; never empty.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The outermost NAT box, the only one this host talks to.
    pub fn first(&self) -> Hop {
        self.hops[0]
    }

    /// The host's address behind the innermost box.
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.addr, self.port)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hop in &self.hops {
            write!(f, "{hop} ")?;
        }
        write!(f, "{}", self.host)
    }
}

impl FromStr for Hop {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let (addr, port) = match text.split_once(':') {
            Some((addr, port)) => (addr, port.parse().map_err(|_| PathError::Text)?),
            None => (text, TUNNEL_PORT),
        };
        let addr = addr.parse().map_err(|_| PathError::Text)?;
        Ok(Self { addr, port })
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut parts: Vec<&str> = text.split_whitespace().collect();
        let host = parts.pop().ok_or(PathError::Text)?;
        let host = host.parse().map_err(|_| PathError::Text)?;
        let hops = parts.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Self::new(hops, host)
    }
}

/// The alternative paths of one name: sorted, without duplicates, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathSet(Vec<Path>);

impl PathSet {
    /// A set of paths, or nothing if there is none.
    pub fn new(mut paths: Vec<Path>) -> Option<Self> {
        paths.sort();
        paths.dedup();
        (!paths.is_empty()).then_some(Self(paths))
    }

    /// The paths in their canonical order.
    pub fn paths(&self) -> &[Path] {
        &self.0
    }
}

/// Where a client's pool of mapped addresses may be: 127/8, RFC 1918, 198.18/15 and 100.64/10.
pub fn may_be_mapped(addr: Ipv4Addr) -> bool {
    let [first, second, ..] = addr.octets();
    addr.is_loopback()
        || addr.is_private()
        || (first == 198 && second & 0xfe == 18)
        || (first == 100 && second & 0xc0 == 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths() -> impl Strategy<Value = Path> {
        let hop = (any::<u32>(), 1u16..).prop_map(|(addr, port)| Hop { addr: addr.into(), port });
        (prop::collection::vec(hop, 1..=MAX_HOPS), any::<u32>())
            .prop_map(|(hops, host)| Path::new(hops, host.into()).expect("1 to 8 hops"))
    }

    #[test]
    fn the_record_of_the_2010_implementation() {
        let rdata = [0xcb, 0, 0x71, 1, 0, 100, 192, 168, 0, 2];
        let path = Path::from_rdata(&rdata).expect("ten octets");
        assert_eq!(path.to_string(), "203.0.113.1:100 192.168.0.2");
        assert_eq!("203.0.113.1 192.168.0.2".parse(), Ok(path));
    }

    proptest! {
        #[test]
        fn rdata_and_text_round_trip(path in paths()) {
            prop_assert_eq!(Path::from_rdata(&path.to_rdata()), Ok(path.clone()));
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn any_octets_are_a_path_or_an_error(rdata in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(path) = Path::from_rdata(&rdata) {
                prop_assert_eq!(path.to_rdata(), rdata);
            }
        }
    }
}
