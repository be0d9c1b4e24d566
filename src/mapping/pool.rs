//! The addresses of the pool, and where in it a path set looks for one.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::path::PathSet;

/// The usable addresses of a network: all but its first and its last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pool(Ipv4Net);

impl Pool {
    pub(super) fn new(net: Ipv4Net) -> Self {
        Self(net)
    }

    pub(super) fn net(self) -> Ipv4Net {
        self.0
    }

    pub(super) fn contains(self, addr: Ipv4Addr) -> bool {
        self.0.contains(&addr) && addr != self.0.network() && addr != self.0.broadcast()
    }

    /// Every usable address once, beginning where the hash of `paths` points.
    ///
    /// The order depends on the paths alone, so that the same paths find the same address again
    /// after a restart, even without the saved table.
    pub(super) fn probe(self, paths: &PathSet) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let usable = self.usable();
        let start = if usable == 0 { 0 } else { fnv1a(paths) % usable };
        (0..usable).map(move |step| self.nth((start + step) % usable))
    }

    /// How many addresses there are to give; none in a /31 or /32.
    pub(super) fn usable(self) -> u64 {
        let addresses = 1u64 << (32 - u32::from(self.0.prefix_len()));
        addresses.saturating_sub(2)
    }

    /// The usable address number `index`, from 0.
    fn nth(self, index: u64) -> Ipv4Addr {
        let first = u64::from(u32::from(self.0.network())) + 1;
        Ipv4Addr::from((first + index) as u32)
    }
}

/// FNV-1a, 64 bits, over the RDATA of every path in canonical order.
///
/// Part of the product's behaviour: an application may have stored an address across an upgrade,
/// so the function must give the same result in every release. Rust's own hashers promise nothing.
fn fnv1a(paths: &PathSet) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    paths
        .paths()
        .iter()
        .flat_map(|path| path.to_rdata())
        .fold(OFFSET_BASIS, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn set(text: &str) -> PathSet {
        PathSet::new(vec![text.parse().expect("a path")]).expect("not empty")
    }

    fn pool(net: &str) -> Pool {
        Pool::new(net.parse().expect("a network"))
    }

    #[test]
    fn the_address_of_a_path_is_the_same_in_every_release() {
        let first = pool("127.64.0.0/10").probe(&set("203.0.113.1:100 192.168.0.2")).next();
        assert_eq!(first, Some(Ipv4Addr::new(127, 118, 232, 255)));
    }

    #[test]
    fn fnv1a_matches_an_independent_implementation() {
        assert_eq!(fnv1a(&set("203.0.113.1:100 192.168.0.2")), 0xfa7b_c15f_e2ed_4af6);
    }

    #[test]
    fn tiny_networks_have_no_usable_address() {
        for net in ["127.64.0.0/31", "127.64.0.0/32"] {
            assert_eq!(pool(net).probe(&set("203.0.113.1 192.168.0.2")).count(), 0);
        }
    }

    #[test]
    fn the_whole_address_space_does_not_overflow() {
        let everything = pool("0.0.0.0/0");
        assert_eq!(everything.nth(everything.usable() - 1), Ipv4Addr::new(255, 255, 255, 254));
    }

    proptest! {
        #[test]
        fn probing_visits_every_usable_address_once(host: u32, prefix in 22u8..=30) {
            let net = Ipv4Net::new(Ipv4Addr::new(127, 64, 0, 0), prefix).expect("a prefix");
            let paths = set(&format!("203.0.113.1 {}", Ipv4Addr::from(host)));
            let visited: Vec<_> = Pool::new(net).probe(&paths).collect();
            prop_assert!(visited.iter().all(|&addr| Pool::new(net).contains(addr)));
            prop_assert_eq!(visited.len(), net.hosts().count());
            prop_assert_eq!(visited.iter().collect::<HashSet<_>>().len(), visited.len());
        }
    }
}
