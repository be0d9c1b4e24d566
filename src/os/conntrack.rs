//! The kernel's connection tracking, where it takes the wrong side for the one that opened a connection.
//!
//! After a flush (`conntrack -F`) the kernel takes whoever speaks next for the one that opens the connection.
//! If that is the far side, no rule of ours knows the connection: its packets go past the tunnel, and those
//! of the near side no longer fit.
//!
//! nfnetlink messages, numbers of the outer headers in host order, of attributes in network order:
//! `linux/netfilter/nfnetlink_conntrack.h`, `nf_conntrack_tcp.h`.

use std::io;
use std::net::Ipv4Addr;

use mnl::Bus;

use crate::tunnel::Connection;
use crate::wire::Endpoint;
use crate::wire::datagram::protocol;

use super::netlink::{Request, Socket};
use super::nfqueue::attributes;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK << 8;
const CT_GET: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 1;
const CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 2;
/// Octets of nfgenmsg, before the attributes.
const NFGENMSG: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;
const NLA_F_NESTED: u16 = 0x8000;

/// Both sides have spoken, it is not to be dropped early, and it is there: the kernel wants that said.
const SEEN_REPLY_ASSURED_CONFIRMED: u32 = 0x2 | 0x4 | 0x8;
const TCP_ESTABLISHED: u8 = 3;
/// What the kernel itself says of a connection that it meets in the middle, as flags and mask: SACK is
/// permitted, and unknown windows are no reason to call a segment invalid.
const TCP_MET_IN_THE_MIDDLE: [u8; 2] = [0x0a, 0x0a];
/// Of them, the latter. No SYN sets it.
const LIBERAL: u8 = 0x08;
/// Seconds until the next packet; from then on the kernel's own timeouts count, for the rules set theirs
/// for new connections only.
const TIMEOUT: u32 = 120;

/// A socket for questions about single connections.
pub struct Conntrack(Socket);

impl Conntrack {
    /// Needs CAP_NET_ADMIN.
    pub fn open() -> io::Result<Self> {
        Socket::asking(Bus::Netfilter).map(Self)
    }

    /// If the kernel has this connection the other way round, turns it and gives it the mark bits `mark`
    /// as well, so that the rules know it. Says whether it did.
    ///
    /// It opens nothing: both directions of exactly these endpoints pass already, because the firewall has
    /// let the first packet through. A connection that the far side opened itself between the same endpoints
    /// is left alone.
    pub fn turn_round(&self, connection: Connection, mark: u32) -> io::Result<bool> {
        let Connection { protocol, from, to } = connection;
        let wrong = tuple(protocol, to, from);
        let Some(found) = self.find(&wrong)? else { return Ok(false) };
        // What the kernel saw begin with a SYN is a connection of the far side's own.
        if found.from != to.addr || from.addr == to.addr || found.began_with_syn {
            return Ok(false);
        }
        // If it knows ours besides, that is another one between the same ends.
        let ours = self.find(&tuple(protocol, from, to))?;
        if ours.is_some_and(|ours| ours.id != found.id) {
            return Ok(false);
        }
        let delete = request(CT_DELETE, 0).attribute(ORIG, &wrong).attribute(CTA_ID, &found.id);
        match delete.ask(&self.0) {
            // It ended meanwhile, or is in hardware.
            Err(error)
                if [Some(libc::ENOENT), Some(libc::EBUSY)].contains(&error.raw_os_error()) =>
            {
                return Ok(false);
            }
            deleted => deleted?,
        };
        // If a packet came in between, the next look will do.
        self.make_known(connection, found.mark | mark)
    }

    /// Makes known to the kernel a connection of which it knows neither direction. Says whether it did: there
    /// may be others between these ends, or it knows it by now.
    pub fn make_known(&self, connection: Connection, mark: u32) -> io::Result<bool> {
        match creation(connection, mark).ask(&self.0) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            created => created.map(|_| true),
        }
    }

    /// Whether the kernel takes what `to` sends for answers in this connection.
    pub fn knows(&self, Connection { protocol, from, to }: Connection) -> io::Result<bool> {
        let found = self.find(&tuple(protocol, to, from))?;
        Ok(found.is_some_and(|found| found.from == from.addr && from.addr != to.addr))
    }

    /// The connection of which this is a tuple, in either direction.
    fn find(&self, tuple: &[u8]) -> io::Result<Option<Found>> {
        match request(CT_GET, 0).attribute(ORIG, tuple).ask(&self.0) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            found => Ok(found?.iter().find_map(|body| Found::read(body))),
        }
    }
}

const ORIG: u16 = CTA_TUPLE_ORIG | NLA_F_NESTED;

/// What the kernel says of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    from: Ipv4Addr,
    mark: u32,
    id: [u8; 4],
    /// TCP whose first packet was seen: the kernel does not say that it met it in the middle.
    began_with_syn: bool,
}

impl Found {
    fn read(body: &[u8]) -> Option<Self> {
        let body = body.get(NFGENMSG..)?;
        let value = |within, wanted| attribute(within, wanted).and_then(|v| v.first_chunk::<4>());
        let orig = attribute(body, CTA_TUPLE_ORIG)?;
        let from = value(attribute(orig, CTA_TUPLE_IP)?, CTA_IP_V4_SRC)?;
        let mark = value(body, CTA_MARK).map_or(0, |mark| u32::from_be_bytes(*mark));
        let tcp =
            attribute(body, CTA_PROTOINFO).and_then(|info| attribute(info, CTA_PROTOINFO_TCP));
        let flags = tcp.and_then(|tcp| attribute(tcp, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL));
        let met = |flags: &[u8]| flags.first().is_some_and(|flags| flags & LIBERAL != 0);
        let began_with_syn = flags.is_some_and(|flags| !met(flags));
        Some(Self { from: (*from).into(), mark, id: *value(body, CTA_ID)?, began_with_syn })
    }
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, ..)| *kind == wanted).map(|(.., value)| value)
}

fn creation(Connection { protocol, from, to }: Connection, mark: u32) -> Request {
    let new = request(CT_NEW, (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16)
        .attribute(ORIG, &tuple(protocol, from, to))
        .attribute(CTA_TUPLE_REPLY | NLA_F_NESTED, &tuple(protocol, to, from))
        .attribute(CTA_STATUS, &SEEN_REPLY_ASSURED_CONFIRMED.to_be_bytes())
        .attribute(CTA_TIMEOUT, &TIMEOUT.to_be_bytes())
        .attribute(CTA_MARK, &mark.to_be_bytes());
    if protocol != protocol::TCP {
        return new;
    }
    let tcp = Request::attributes([
        (CTA_PROTOINFO_TCP_STATE, &[TCP_ESTABLISHED][..]),
        (CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &TCP_MET_IN_THE_MIDDLE),
        (CTA_PROTOINFO_TCP_FLAGS_REPLY, &TCP_MET_IN_THE_MIDDLE),
    ]);
    new.nested(CTA_PROTOINFO, [(CTA_PROTOINFO_TCP | NLA_F_NESTED, &tcp[..])].into_iter())
}

fn request(kind: u16, flags: u16) -> Request {
    // nfgenmsg: family, version, res_id.
    Request::new(kind, flags, &[libc::AF_INET as u8, 0, 0, 0])
}

/// The value of a tuple's attribute.
fn tuple(protocol: u8, from: Endpoint, to: Endpoint) -> Vec<u8> {
    let ip = Request::attributes([
        (CTA_IP_V4_SRC, &from.addr.octets()[..]),
        (CTA_IP_V4_DST, &to.addr.octets()),
    ]);
    let ports = Request::attributes([
        (CTA_PROTO_NUM, &[protocol][..]),
        (CTA_PROTO_SRC_PORT, &from.port.to_be_bytes()),
        (CTA_PROTO_DST_PORT, &to.port.to_be_bytes()),
    ]);
    Request::attributes([
        (CTA_TUPLE_IP | NLA_F_NESTED, &ip[..]),
        (CTA_TUPLE_PROTO | NLA_F_NESTED, &ports),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connection() -> Connection {
        let from = "198.51.100.20:4000".parse().expect("an endpoint");
        let to = "192.168.0.2:80".parse().expect("an endpoint");
        Connection { protocol: protocol::TCP, from, to }
    }

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let Connection { protocol, from, to } = connection();
        let expected: &[&[u8]] = &[
            &[20u16.to_ne_bytes(), 0x8001u16.to_ne_bytes()].concat(),
            &[8u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat(),
            &[198, 51, 100, 20],
            &[8u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat(),
            &[192, 168, 0, 2],
            &[28u16.to_ne_bytes(), 0x8002u16.to_ne_bytes()].concat(),
            &[5u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat(),
            &[6, 0, 0, 0],
            &[6u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat(),
            &[0x0f, 0xa0, 0, 0],
            &[6u16.to_ne_bytes(), 3u16.to_ne_bytes()].concat(),
            &[0, 80, 0, 0],
        ];
        assert_eq!(tuple(protocol, from, to), expected.concat());
    }

    #[test]
    fn what_was_written_is_read() {
        let mut body = vec![2, 0, 0, 0];
        body.extend(Request::attributes([
            (ORIG, &tuple(6, connection().to, connection().from)[..]),
            (CTA_MARK, &7u32.to_be_bytes()),
            (CTA_ID, &[1, 2, 3, 4]),
        ]));
        let found = |began_with_syn| {
            let from = connection().to.addr;
            Some(Found { from, mark: 7, id: [1, 2, 3, 4], began_with_syn })
        };
        assert_eq!(Found::read(&body), found(false));
        for (flags, began_with_syn) in [([0x0a, 0], false), ([0x02, 0], true), ([0, 0], true)] {
            let tcp = Request::attributes([(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &flags[..])]);
            let info = Request::attributes([(CTA_PROTOINFO_TCP | NLA_F_NESTED, &tcp[..])]);
            let of_tcp = [(CTA_PROTOINFO | NLA_F_NESTED, &info[..])];
            let body = [&body[..], &Request::attributes(of_tcp)].concat();
            assert_eq!(Found::read(&body), found(began_with_syn), "{flags:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_connection_or_none(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Found::read(&octets);
        }
    }
}
