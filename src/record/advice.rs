//! What will not work, though it can be written.

use std::fmt;
use std::net::Ipv4Addr;

use crate::dns::{Refusal, acceptable};
use crate::path::{Hop, Path, TUNNEL_PORT};

/// Something about a path that its owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// Clients refuse it.
    Refused(Refusal),
    /// A NAT box that does not use the tunnel port.
    Port(Hop),
    /// The host has the address of a NAT box of its path.
    HostIsBox(Ipv4Addr),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal::PrivateFirstHop(addr)) => write!(
                f,
                "the outermost NAT box {addr} has a private address: clients refuse that, unless \
                 their `private_zones` list the zone. The public address comes first, the host's own last"
            ),
            Self::Refused(refusal) => write!(f, "clients refuse this record: {refusal}"),
            Self::Port(hop) => write!(
                f,
                "{} does not use port {TUNNEL_PORT}: natttd there needs `port = {}` in its \
                 [gateway] section",
                hop.addr, hop.port
            ),
            Self::HostIsBox(addr) => write!(
                f,
                "the host {addr} is also a NAT box of its path; if it is the gateway itself, that \
                 one's `exports` must list {addr}"
            ),
        }
    }
}

/// What will not work with this path, or needs more than the record. Whether clients list the zone
/// as private, and which addresses they have themselves, is not known here.
pub fn warnings(path: &Path) -> Vec<Warning> {
    let refused = acceptable(path, false, |_| false).err().map(Warning::Refused);
    let ports = path.hops().iter().filter(|hop| hop.port != TUNNEL_PORT);
    let is_box = path.hops().iter().any(|hop| hop.addr == path.host());
    refused
        .into_iter()
        .chain(ports.map(|hop| Warning::Port(*hop)))
        .chain(is_box.then_some(Warning::HostIsBox(path.host())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(path: &str) -> Vec<Warning> {
        warnings(&path.parse().expect("a path"))
    }

    fn addr(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ordinary_path_needs_no_warning() {
        assert_eq!(about("203.0.113.1 192.168.0.2"), []);
        assert_eq!(about("203.0.113.1 10.0.0.9 192.168.0.2"), []);
    }

    #[test]
    fn what_clients_refuse() {
        for bad in ["127.0.0.1", "224.0.0.1", "169.254.0.1", "0.1.2.3", "255.255.255.255"] {
            let refused = [Warning::Refused(Refusal::NoHost(addr(bad)))];
            assert_eq!(about(&format!("{bad} 192.168.0.2")), refused);
            assert_eq!(about(&format!("203.0.113.1 {bad} 192.168.0.2")), refused);
            assert_eq!(about(&format!("203.0.113.1 {bad}")), refused);
        }
        for private in ["192.168.1.1", "10.0.0.1", "100.64.0.1"] {
            let refused = [Warning::Refused(Refusal::PrivateFirstHop(addr(private)))];
            assert_eq!(about(&format!("{private} 192.168.0.2")), refused);
        }
    }

    #[test]
    fn what_needs_more_than_the_record() {
        let hop = "10.0.0.9:4000".parse().expect("a hop");
        assert_eq!(about("203.0.113.1 10.0.0.9:4000 192.168.0.2"), [Warning::Port(hop)]);
        let host = addr("203.0.113.1");
        assert_eq!(about("203.0.113.1 203.0.113.1"), [Warning::HostIsBox(host)]);
        assert_eq!(about("10.0.0.9:4000 10.0.0.9").len(), 3);
    }
}
