//! Which hosts behind this one may be reached, and which ports of theirs.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::common::{Addresses, is_host};
use crate::config::Export;
use crate::counters::Counter;
use crate::wire::Endpoint;
use crate::wire::datagram::Transport;

/// Whether a flow may reach `host`. An own address must be exported by itself.
pub(super) fn admit(
    exports: &[Export],
    own: &impl Addresses,
    host: Endpoint,
    protocol: u8,
    transport: Transport,
) -> Result<(), Counter> {
    let dst = host.addr;
    if !is_exported(exports, host, protocol, transport) {
        return Err(Counter::GatewayNotExported);
    }
    if own.is_own(dst) && !exports.iter().any(|export| export.names_exactly(dst)) {
        return Err(Counter::GatewayOwnAddress);
    }
    Ok(())
}

/// Whether some flow or other may reach `host`.
pub(super) fn admit_any(
    exports: &[Export],
    own: &impl Addresses,
    host: Ipv4Addr,
) -> Result<(), Counter> {
    let lists = |export: &&Export| export.prefix.contains(&host) && !is_edge(&export.prefix, host);
    let mut listing = exports.iter().filter(lists).peekable();
    if !is_host(host) || listing.peek().is_none() {
        return Err(Counter::GatewayNotExported);
    }
    if own.is_own(host) && !listing.any(|export| export.names_exactly(host)) {
        return Err(Counter::GatewayOwnAddress);
    }
    Ok(())
}

fn is_exported(exports: &[Export], host: Endpoint, protocol: u8, transport: Transport) -> bool {
    let port = match transport {
        Transport::Tcp(_) | Transport::Udp | Transport::UdpLike | Transport::Sctp => {
            Some(host.port)
        }
        _ => None,
    };
    let dst = host.addr;
    let allows =
        |export: &Export| export.allows(dst, protocol, port) && !is_edge(&export.prefix, dst);
    is_host(dst) && exports.iter().any(allows)
}

/// The network or broadcast address of an exported prefix; a /31 or /32 has neither (RFC 3021).
fn is_edge(prefix: &Ipv4Net, addr: Ipv4Addr) -> bool {
    prefix.prefix_len() < 31 && (addr == prefix.network() || addr == prefix.broadcast())
}
