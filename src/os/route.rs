//! The pool's route in the local table (RFC 1122 §3.2.1.3(g): 127/8 never leaves the host), and those of
//! addresses in it that have a smaller MTU.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::netlink::Request;
use super::nfqueue::attributes;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const RT_TABLE_LOCAL: u8 = 255;
/// Who made the route; nobody else's number (linux/rtnetlink.h lists those that are taken).
const RTPROT_NATTT: u8 = 100;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTN_UNREACHABLE: u8 = 7;

/// Octets of rtmsg, before the attributes.
const RTMSG: usize = 12;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTAX_MTU: u16 = 2;
/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// What happens to packets for the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolRoute {
    /// They are delivered here, through the rules that queue them; applications learn this MTU.
    Open {
        /// Largest inner packet, octets.
        mtu: u16,
    },
    /// Connections fail at once with "no route to host".
    Closed,
}

/// Sets the pool's route, whatever it was.
pub fn set(pool: Ipv4Net, route: PoolRoute) -> io::Result<()> {
    let request = match route {
        PoolRoute::Open { mtu } => {
            let mtu = [8u16.to_ne_bytes(), RTAX_MTU.to_ne_bytes()]
                .concat()
                .into_iter()
                .chain(u32::from(mtu).to_ne_bytes())
                .collect::<Vec<u8>>();
            // Without a preferred source, the kernel would take the mapped address itself.
            message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, pool, RT_SCOPE_HOST, RTN_LOCAL)
                .attribute(RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes())
                .attribute(RTA_PREFSRC, &Ipv4Addr::LOCALHOST.octets())
                .attribute(RTA_METRICS, &mtu)
        }
        PoolRoute::Closed => message(
            RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_REPLACE,
            pool,
            RT_SCOPE_UNIVERSE,
            RTN_UNREACHABLE,
        ),
    };
    request.send(mnl::Bus::Route)
}

/// Removes the pool's route; it is not an error if there is none.
pub fn remove(pool: Ipv4Net) -> io::Result<()> {
    for (scope, kind) in [(RT_SCOPE_HOST, RTN_LOCAL), (RT_SCOPE_UNIVERSE, RTN_UNREACHABLE)] {
        match message(RTM_DELROUTE, 0, pool, scope, kind).send(mnl::Bus::Route) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the route of one address, which is open; it is not an error if there is none.
pub fn remove_one(addr: Ipv4Addr) -> io::Result<()> {
    match message(RTM_DELROUTE, 0, addr.into(), RT_SCOPE_HOST, RTN_LOCAL).send(mnl::Bus::Route) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// Removes the routes of all pools but this: those of an earlier configuration, however natttd ended.
pub fn remove_others(pool: Option<Ipv4Net>) -> io::Result<()> {
    for other in pools()?.into_iter().filter(|other| Some(*other) != pool) {
        remove(other)?;
    }
    Ok(())
}

/// Closes the routes of all pools but this. Those of single addresses in others go.
pub fn close_others(pool: Option<Ipv4Net>) -> io::Result<()> {
    let (single, others): (Vec<_>, Vec<_>) = pools()?
        .into_iter()
        .filter(|other| Some(*other) != pool)
        .partition(|other| other.prefix_len() == Ipv4Addr::BITS as u8);
    others.into_iter().try_for_each(|other| set(other, PoolRoute::Closed))?;
    let is_ours = |one: &Ipv4Net| pool.is_some_and(|pool| pool.contains(one));
    let foreign = single.into_iter().filter(|one| !is_ours(one));
    foreign.into_iter().try_for_each(|one| remove_one(one.addr()))
}

/// The pools, and the addresses in them, that have a route of ours.
fn pools() -> io::Result<Vec<Ipv4Net>> {
    let mut fixed = [0; RTMSG];
    fixed[0] = libc::AF_INET as u8;
    let routes = Request::new(RTM_GETROUTE, 0, &fixed).dump(mnl::Bus::Route)?;
    Ok(routes.iter().filter_map(|route| pool_of(route)).collect())
}

/// The destination, if the route is one of ours.
fn pool_of(message: &[u8]) -> Option<Ipv4Net> {
    let (fixed, rest) = message.split_first_chunk::<RTMSG>()?;
    let &[family, prefix, _, _, table, protocol, ..] = fixed;
    let ours =
        i32::from(family) == libc::AF_INET && (table, protocol) == (RT_TABLE_LOCAL, RTPROT_NATTT);
    let destination = attributes(rest).find(|(kind, ..)| *kind == RTA_DST)?.2;
    let octets: [u8; 4] = destination.try_into().ok()?;
    Ipv4Net::new(octets.into(), prefix).ok().filter(|_| ours)
}

/// A request about the pool's route: struct rtmsg (linux/rtnetlink.h), then its destination.
fn message(kind: u16, flags: u16, pool: Ipv4Net, scope: u8, route: u8) -> Request {
    let family = libc::AF_INET as u8;
    let fixed =
        [family, pool.prefix_len(), 0, 0, RT_TABLE_LOCAL, RTPROT_NATTT, scope, route, 0, 0, 0, 0];
    Request::new(kind, flags, &fixed).attribute(RTA_DST, &pool.network().octets())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(protocol: u8) -> Vec<u8> {
        let mut message = vec![2, 15, 0, 0, RT_TABLE_LOCAL, protocol, 0, 2, 0, 0, 0, 0];
        message.extend(8u16.to_ne_bytes());
        message.extend(RTA_DST.to_ne_bytes());
        message.extend([198, 18, 0, 0]);
        message
    }

    #[test]
    fn routes_of_others_are_none_of_ours() {
        assert_eq!(pool_of(&route(RTPROT_NATTT)), "198.18.0.0/15".parse().ok());
        assert_eq!(pool_of(&route(4)), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_pool_or_none(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            let prefix = octets.get(1).copied();
            prop_assert!(pool_of(&octets).is_none_or(|pool| Some(pool.prefix_len()) == prefix));
        }
    }
}
