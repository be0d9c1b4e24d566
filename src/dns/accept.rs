//! Which paths from the network are believed. A NAT record is anybody's text: it must not make
//! this host talk to itself, to a group, or to a neighbour that the record's owner cannot reach.

use std::fmt;
use std::net::Ipv4Addr;

use crate::path::Path;

/// Why a path is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An address that is no NAT box and no host anywhere.
    NoHost(Ipv4Addr),
    /// The outermost NAT box has an address of private networks, and the zone may not use those.
    PrivateFirstHop(Ipv4Addr),
    /// The outermost NAT box is this host.
    OwnFirstHop(Ipv4Addr),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost(addr) => write!(f, "{addr} cannot be a NAT box or a host"),
            Self::PrivateFirstHop(addr) => write!(
                f,
                "the outermost NAT box {addr} is private; if it is yours, list its zone in `private_zones`"
            ),
            Self::OwnFirstHop(addr) => {
                write!(f, "the outermost NAT box {addr} is this host itself")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Whether a path from a NAT record may be used. `private_allowed`: the name's zone may lead
/// through a private first hop. `is_own`: whether an address is this host's.
///
/// Later hops and the host may equal any address here (both ends are often 192.168.0.2): they
/// never enter local routing.
pub fn acceptable(
    path: &Path,
    private_allowed: bool,
    is_own: impl Fn(Ipv4Addr) -> bool,
) -> Result<(), Refusal> {
    let hops = path.hops().iter().map(|hop| hop.addr);
    if let Some(addr) = hops.chain([path.host()]).find(|&addr| !may_be_a_host(addr)) {
        return Err(Refusal::NoHost(addr));
    }
    acceptable_first(path.first().addr, private_allowed, is_own)
}

/// Whether an address may be that of the outermost NAT box.
pub(super) fn acceptable_first(
    addr: Ipv4Addr,
    private_allowed: bool,
    is_own: impl Fn(Ipv4Addr) -> bool,
) -> Result<(), Refusal> {
    match addr {
        addr if !may_be_a_host(addr) => Err(Refusal::NoHost(addr)),
        addr if is_own(addr) => Err(Refusal::OwnFirstHop(addr)),
        addr if is_private(addr) && !private_allowed => Err(Refusal::PrivateFirstHop(addr)),
        _ => Ok(()),
    }
}

/// Neither 0/8, 127/8 nor 169.254/16 (RFC 6890), nor 224/4 (RFC 5771), 240/4 (RFC 1112 §4) or the
/// broadcast address. Documentation ranges are ordinary: nothing routes them, nothing breaks.
pub(super) fn may_be_a_host(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    !matches!(first, 0 | 127 | 224..=255) && !addr.is_link_local()
}

/// RFC 1918, and the shared space of carrier-grade NATs (RFC 6598).
pub(super) fn is_private(addr: Ipv4Addr) -> bool {
    let [first, second, ..] = addr.octets();
    addr.is_private() || first == 100 && second & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn check(path: &str, private_allowed: bool) -> Result<(), Refusal> {
        acceptable(&path.parse().expect("a path"), private_allowed, |addr| addr == OWN)
    }

    fn addr(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_no_host_has_is_refused_at_every_position() {
        let none = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.64.0.1", "169.254.169.254"];
        let groups = ["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"];
        for bad in none.into_iter().chain(groups) {
            let refused = Err(Refusal::NoHost(addr(bad)));
            for private_allowed in [false, true] {
                let check = |path: String| check(&path, private_allowed);
                assert_eq!(check(format!("{bad} 192.168.0.2")), refused);
                assert_eq!(check(format!("203.0.113.1 {bad} 192.168.0.2")), refused);
                assert_eq!(check(format!("203.0.113.1 {bad}")), refused);
            }
        }
    }

    #[test]
    fn a_private_first_hop_needs_the_zone_to_be_listed() {
        for private in ["10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.0.1", "100.64.0.1"] {
            let path = format!("{private} 192.168.0.2");
            assert_eq!(check(&path, false), Err(Refusal::PrivateFirstHop(addr(private))));
            assert_eq!(check(&path, true), Ok(()));
        }
        for public in ["172.32.0.1", "100.63.255.255", "100.128.0.1", "203.0.113.1"] {
            assert_eq!(check(&format!("{public} 192.168.0.2"), false), Ok(()));
        }
    }

    #[test]
    fn this_host_is_no_first_hop() {
        for private_allowed in [false, true] {
            let refused = Err(Refusal::OwnFirstHop(OWN));
            assert_eq!(check(&format!("{OWN} 192.168.0.2"), private_allowed), refused);
        }
    }

    #[test]
    fn later_hops_and_the_host_may_be_anything_private_or_own() {
        assert_eq!(check(&format!("203.0.113.1 {OWN} 10.0.0.1 {OWN}"), false), Ok(()));
    }

    proptest! {
        #[test]
        fn an_accepted_first_hop_is_public_or_allowed(first: u32, host: u32, allowed: bool) {
            let (first, host) = (Ipv4Addr::from(first), Ipv4Addr::from(host));
            if check(&format!("{first} {host}"), allowed).is_ok() {
                prop_assert!(!first.is_loopback() && !first.is_multicast() && first != OWN);
                prop_assert!(!host.is_loopback() && !host.is_multicast());
                prop_assert!(allowed || !first.is_private());
            }
        }
    }
}
