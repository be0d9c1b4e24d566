//! The IPv4 addresses of this host, as rtnetlink lists them (linux/if_addr.h).
//!
//! getifaddrs(3) would give an address's label in place of its interface's name, and a label may be
//! anything: `eth0:1` is usual.

use std::io;

use ipnet::Ipv4Net;

use super::netlink::Request;
use super::nfqueue::attributes;

const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
/// Our end of a point-to-point link, whose other end IFA_ADDRESS is.
const IFA_LOCAL: u16 = 2;
/// Octets of ifaddrmsg, before the attributes.
const IFADDRMSG: usize = 8;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    /// The interface's index.
    pub(super) interface: u32,
    /// With the length of its network's prefix.
    pub(super) addr: Ipv4Net,
}

/// All of them.
pub(super) fn list() -> io::Result<Vec<InterfaceAddress>> {
    let mut fixed = [0; IFADDRMSG];
    fixed[0] = libc::AF_INET as u8;
    let messages = Request::new(RTM_GETADDR, 0, &fixed).dump(mnl::Bus::Route)?;
    Ok(messages.iter().filter_map(|message| parse(message)).collect())
}

fn parse(message: &[u8]) -> Option<InterfaceAddress> {
    let (fixed, rest) = message.split_first_chunk::<IFADDRMSG>()?;
    let &[_, prefix, _, _, index @ ..] = fixed;
    let value = |wanted| attributes(rest).find(|(kind, ..)| *kind == wanted).map(|found| found.2);
    let octets: [u8; 4] = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS))?.try_into().ok()?;
    let addr = Ipv4Net::new(octets.into(), prefix).ok()?;
    Some(InterfaceAddress { interface: u32::from_ne_bytes(index), addr })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loopback_is_listed() {
        let loopback =
            InterfaceAddress { interface: 1, addr: "127.0.0.1/8".parse().expect("a network") };
        assert!(list().expect("a list").contains(&loopback));
    }

    #[test]
    fn our_end_of_a_link_is_meant() {
        let mut message = vec![2, 32, 0, 0];
        message.extend(7u32.to_ne_bytes());
        for (kind, last) in [(IFA_ADDRESS, 9), (IFA_LOCAL, 8)] {
            message.extend(8u16.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend([10, 0, 0, last]);
        }
        let addr = "10.0.0.8/32".parse().expect("a network");
        assert_eq!(parse(&message), Some(InterfaceAddress { interface: 7, addr }));
    }

    proptest! {
        #[test]
        fn any_octets_are_an_address_or_none(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            let prefix = octets.get(1).copied();
            prop_assert!(parse(&octets).is_none_or(|found| Some(found.addr.prefix_len()) == prefix));
        }
    }
}
