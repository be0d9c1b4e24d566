//! Bound UDP sockets, and whose they are (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::doctor::Socket;

/// Every bound UDP socket of this network namespace. Owners of other users are seen by root only.
pub(super) fn udp() -> Vec<Socket> {
    let owners = owners();
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(super::text);
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(socket)
        .map(|(addr, port, inode)| Socket { addr, port, owner: owners.get(&inode).cloned() })
        .collect()
}

/// `  12: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 101 0 2345 2 ...`
fn socket(line: &str) -> Option<(IpAddr, u16, u64)> {
    let mut fields = line.split_whitespace();
    let (addr, port) = fields.nth(1)?.split_once(':')?;
    Some((address(addr)?, u16::from_str_radix(port, 16).ok()?, fields.nth(7)?.parse().ok()?))
}

/// Words of 32 bits in hexadecimal, each in host order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => word(0).map(|octets| Ipv4Addr::from(octets).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Sockets by their inode: `dnsmasq (812)`. Processes come and go meanwhile.
fn owners() -> HashMap<u64, String> {
    let mut owners = HashMap::new();
    for pid in super::names_in("/proc").iter().filter(|name| name.parse::<u32>().is_ok()) {
        let sockets = super::names_in(&format!("/proc/{pid}/fd"))
            .into_iter()
            .filter_map(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok())
            .filter_map(|link| inode(link.to_str()?));
        let name = super::text(&format!("/proc/{pid}/comm"));
        let name = format!("{} ({pid})", name.trim_end());
        owners.extend(sockets.map(|inode| (inode, name.clone())));
    }
    owners
}

/// `socket:[2345]`
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_socket_of_this_process_is_found_with_its_owner() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            // Where IPv6 is switched off there is nothing to find.
            let Ok(own) = UdpSocket::bind(addr) else { continue };
            let bound = own.local_addr().expect("bound");
            let sockets = udp();
            let found = sockets
                .iter()
                .find(|socket| socket.addr == bound.ip() && socket.port == bound.port());
            let owner = found.and_then(|socket| socket.owner.clone()).expect("it is listed");
            assert!(owner.ends_with(&format!("({})", std::process::id())), "{owner}");
        }
    }

    #[test]
    fn lines_of_other_shapes_are_passed_over() {
        for line in ["", "a b c", "1: 0100007F:0035", "1: 0100:0035 x x x x x x x 7"] {
            assert_eq!(socket(line), None, "{line}");
        }
    }
}
