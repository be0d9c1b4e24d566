//! The pool's route in the local table (RFC 1122 §3.2.1.3(g): 127/8 never leaves the host).

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::netlink::Request;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTN_UNREACHABLE: u8 = 7;

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

/// A request about the pool's route: struct rtmsg (linux/rtnetlink.h), then its destination.
fn message(kind: u16, flags: u16, pool: Ipv4Net, scope: u8, route: u8) -> Request {
    let family = libc::AF_INET as u8;
    let fixed =
        [family, pool.prefix_len(), 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, scope, route, 0, 0, 0, 0];
    Request::new(kind, flags, &fixed).attribute(RTA_DST, &pool.network().octets())
}
