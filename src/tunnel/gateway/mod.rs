//! The gateway role: tunnel packets are taken apart and forwarded to exported hosts, and the
//! hosts' replies are put back into the tunnel.

mod errors;
mod flow;
mod restore;

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::config::Export;
use crate::counters::Counter;
use crate::time::Time;
use crate::wire::datagram::Transport;
use crate::wire::icmp_error::too_long;
use crate::wire::outer::{Content, LEVEL};
use crate::wire::{Datagram, Endpoint, mss};

use super::common::{
    Connection, Identifications, Quotas, Traffic, content_of, is_host, take_congestion,
};
use super::exports;
use super::fate::{Fate, Front};
use super::lifetime::{Direction, Lifetime};
use super::route::{Fragmented, RouteMtu, Routes, Told, working_mtu};
use super::table::{Entry, FlowTable, Refusal};
pub use flow::Flow;
use flow::{LanKey, TunnelKey};

/// How many other ports are tried when two clients would look the same to a host.
const PORT_TRIES: u16 = 32;
/// Ports given instead of a taken one start here (RFC 4787 REQ-3: never below 1024).
const FIRST_OTHER_PORT: u16 = 1024;

/// Settings of the gateway role.
#[derive(Debug, Clone)]
pub struct Settings {
    /// UDP port of tunnel packets, host order.
    pub port: u16,
    /// What tunnels may reach.
    pub exports: Vec<Export>,
    /// Outer sources that are allowed although they look like inside addresses.
    pub inside_sources: Vec<Ipv4Net>,
    /// Largest outer packet in octets, where the route's MTU is not smaller.
    pub mtu: u16,
    /// Cap of the flow table.
    pub max_flows: usize,
    /// Cap of one outer source address.
    pub max_flows_per_source: u32,
}

/// The gateway role. Shared by all workers.
pub struct Gateway<E: Routes> {
    settings: Settings,
    env: E,
    flows: FlowTable<TunnelKey, Flow>,
    quotas: Quotas,
    ids: Identifications,
    fragmented: Fragmented,
}

impl<E: Routes> Gateway<E> {
    /// A gateway role without flows.
    pub fn new(settings: Settings, env: E) -> Self {
        let flows = FlowTable::new(settings.max_flows);
        let quotas = Quotas::new(settings.max_flows_per_source);
        let (ids, fragmented) = (Identifications::new(), Fragmented::default());
        Self { settings, env, flows, quotas, ids, fragmented }
    }

    /// A packet to the tunnel port, or an ICMP error about one from it, which came in through the
    /// interface of this index.
    pub fn incoming(&self, packet: &mut [u8], interface: u32, now: Time) -> Fate {
        match self.decapsulate(packet, interface, now) {
            Ok(counter) => Fate::Decapsulated { skip: LEVEL, counter },
            Err(fate) => fate,
        }
    }

    fn decapsulate(&self, packet: &mut [u8], interface: u32, now: Time) -> Result<Counter, Fate> {
        let outer = Datagram::parse(packet)?;
        if outer.transport == Transport::IcmpError {
            return Err(self.error_about_reply(&outer, packet, interface, now));
        }
        if outer.transport != Transport::Udp || outer.dst.port != self.settings.port {
            return Err(Fate::Dropped(Counter::UnexpectedHook));
        }
        let bytes = &mut packet[LEVEL..];
        if bytes == [0xff] {
            return Err(Fate::Dropped(Counter::KeepalivesReceived));
        }
        let mut inner = Datagram::parse(bytes)?;
        match inner.transport {
            Transport::IcmpAnswer => return Err(Fate::Dropped(Counter::IcmpUnasked)),
            _ if inner.ttl == 0 => return Err(Fate::Dropped(Counter::TtlExpired)),
            Transport::IcmpError => {
                let translated = self.error_of_client(&outer, &mut inner, bytes, now);
                return translated.map_err(Fate::Dropped);
            }
            _ => {}
        }
        let flow = self.flow_of(&outer, &inner, interface, now).map_err(Fate::Dropped)?;
        take_congestion(&mut inner, bytes, outer.traffic_class)
            .ok_or(Fate::Dropped(Counter::Congestion))?;
        flow.lifetime.note(inner.transport, Direction::Forward, now);
        flow.received.add(&inner);
        self.clamp(&flow, &inner, bytes, now);
        inner.readdress(bytes, flow.lan.peer, flow.key.host);
        Ok(Counter::GatewayDecapsulated)
    }

    /// A packet of an exported host, on its way back to a client.
    pub fn outgoing(&self, packet: &mut [u8], front: &mut Front, now: Time) -> Fate {
        let mut datagram = match Datagram::parse(packet) {
            Ok(datagram) => datagram,
            Err(flaw) => return flaw.into(),
        };
        if datagram.transport == Transport::IcmpError {
            return self.error_for_client(&datagram, packet, front, now);
        }
        let lan = LanKey { protocol: datagram.protocol, host: datagram.src, peer: datagram.dst };
        let Some(flow) = self.live_flow(&lan, now) else {
            return Fate::Dropped(Counter::GatewayNoFlow);
        };
        if !flow.transport.is_answered_by(datagram.transport) {
            return Fate::Dropped(Counter::IcmpUnasked);
        }
        flow.lifetime.note(datagram.transport, Direction::Reverse, now);
        flow.sent.add(&datagram);
        self.note_size(&flow, datagram.src.addr, packet, now);
        self.clamp(&flow, &datagram, packet, now);
        datagram.readdress(packet, datagram.src, flow.key.inner);
        match self.encapsulate(&flow, &datagram, packet, front) {
            Some(_) => Fate::Encapsulated(Counter::GatewayEncapsulated),
            None => Fate::Dropped(Counter::TooLong),
        }
    }

    /// A packet that may be too long is sent on all the same, in fragments, and counted; the host is told,
    /// as by any router.
    fn note_size(&self, flow: &Flow, host: Ipv4Addr, packet: &[u8], now: Time) {
        let mtu = || self.route_mtu(flow, now);
        let mtu = self.fragmented.note(packet, 1, flow.key.outer.addr, mtu);
        // This host would take it for the MTU of its own way to the client.
        if let Some(mtu) = mtu
            && !self.env.is_own(host)
            && flow.told.is_due(now)
        {
            self.env.report(host, &too_long(mtu, host, packet));
        }
    }

    fn encapsulate(
        &self,
        flow: &Flow,
        datagram: &Datagram,
        packet: &[u8],
        front: &mut Front,
    ) -> Option<Content> {
        let content = content_of(datagram, packet);
        let to = std::iter::once(flow.key.outer);
        self.ids.encapsulate(front, flow.key.gateway, to, datagram.traffic_class, content)
    }

    /// The segments that follow fit the route back to the client, those of both sides: what carries
    /// less in one direction hardly carries more in the other.
    fn clamp(&self, flow: &Flow, datagram: &Datagram, bytes: &mut [u8], now: Time) {
        // The route is not asked for otherwise.
        if datagram.transport.is_syn() {
            let mtu = working_mtu(self.settings.mtu, self.route_mtu(flow, now));
            mss::clamp(datagram, bytes, mss::largest_segment(mtu, 1));
        }
    }

    fn route_mtu(&self, flow: &Flow, now: Time) -> Option<u16> {
        let ask = || self.env.route(flow.key.outer.addr).map(|route| route.mtu);
        flow.route_mtu.renewed(self.env.route_epoch(), now, ask)
    }

    fn live_flow(&self, lan: &LanKey, now: Time) -> Option<Arc<Flow>> {
        self.flows.reverse(lan).filter(|flow| flow.expires() > now)
    }

    /// Whether the outer source can be a client. One out there never has an inside address, and a
    /// private one only where the configuration says that there are NAT boxes in front of this one.
    fn is_outer_source(&self, src: Endpoint, interface: u32) -> bool {
        let exported = self.settings.exports.iter().any(|e| e.prefix.contains(&src.addr));
        let inside = exported || is_private(src.addr) || self.env.is_inside(src.addr);
        let listed = || self.settings.inside_sources.iter().any(|net| net.contains(&src.addr));
        let allowed = || self.env.is_hairpin(interface, src.addr) || listed();
        src.port != 0 && is_host(src.addr) && !self.env.is_own(src.addr) && (!inside || allowed())
    }

    /// What may open a flow. Packets of a flow were admitted with its first.
    fn admit(&self, outer: &Datagram, inner: &Datagram, interface: u32) -> Result<(), Counter> {
        if !self.is_outer_source(outer.src, interface) {
            return Err(Counter::GatewayBadOuterSource);
        }
        if !is_host(inner.src.addr) {
            return Err(Counter::GatewayBadInnerSource);
        }
        self.admit_host(inner.dst, inner.protocol, inner.transport)
    }

    /// Which hosts, and which ports of theirs, a flow may reach.
    fn admit_host(
        &self,
        host: Endpoint,
        protocol: u8,
        transport: Transport,
    ) -> Result<(), Counter> {
        exports::admit(&self.settings.exports, &self.env, host, protocol, transport)
    }

    fn flow_of(
        &self,
        outer: &Datagram,
        inner: &Datagram,
        interface: u32,
        now: Time,
    ) -> Result<Arc<Flow>, Counter> {
        let key = TunnelKey {
            protocol: inner.protocol,
            outer: outer.src,
            gateway: outer.dst,
            inner: inner.src,
            host: inner.dst,
        };
        match self.flows.forward(&key) {
            Some(flow) => Ok(flow),
            None => {
                self.admit(outer, inner, interface)?;
                self.open(key, inner.transport, now)
            }
        }
    }

    fn open(&self, key: TunnelKey, transport: Transport, now: Time) -> Result<Arc<Flow>, Counter> {
        let ports = offers(&key, transport);
        self.add(key, ports, transport, Lifetime::new(now))
    }

    fn add(
        &self,
        key: TunnelKey,
        ports: impl Iterator<Item = u16>,
        transport: Transport,
        lifetime: Lifetime,
    ) -> Result<Arc<Flow>, Counter> {
        let quota = self.quotas.take(key.outer.addr).ok_or(Counter::GatewaySourceFull)?;
        let offers = ports.map(|port| LanKey {
            protocol: key.protocol,
            host: key.host,
            peer: Endpoint { addr: key.outer.addr, port },
        });
        let make = |lan| Flow {
            key,
            lan,
            transport,
            lifetime,
            route_mtu: RouteMtu::unknown(),
            told: Told::default(),
            received: Traffic::default(),
            sent: Traffic::default(),
            quota,
        };
        self.flows.add(key, offers, make).map_err(|refusal| match refusal {
            Refusal::Full => Counter::GatewayFlowsFull,
            Refusal::Conflict => Counter::GatewayConflict,
        })
    }

    /// Removes what has expired; call it about once a second.
    pub fn expire(&self, now: Time) -> usize {
        let removed = self.flows.expire(now, |flow| flow.quota.is_scarce());
        self.quotas.tidy();
        removed
    }

    /// How many flows there are, and how many there may be.
    pub fn usage(&self) -> (usize, usize) {
        (self.flows.len(), self.flows.cap())
    }

    /// How many unanswered flows have made room for others.
    pub fn evicted(&self) -> u64 {
        self.flows.evicted()
    }

    /// At least `least` of the connections that hosts have answered, in turns; see `FlowTable::some`.
    pub fn some_connections(&self, turn: &mut usize, least: usize) -> Vec<Connection> {
        let mut connections = Vec::new();
        self.flows.some(turn, least, |flow| {
            let connection = flow.connection();
            connections.extend(connection);
            connection.is_some()
        });
        connections
    }

    /// What the kernel should know of the flow whose reply this is, if it is a TCP connection that stands.
    pub fn standing(&self, reply: &Datagram, now: Time) -> Option<Connection> {
        let lan = LanKey { protocol: reply.protocol, host: reply.src, peer: reply.dst };
        let flow = self.live_flow(&lan, now)?;
        flow.connection().filter(|_| flow.lifetime.stands(flow.transport))
    }

    /// How many replies with DF left in fragments of their outer packet; the client of the last one,
    /// and the MTU of the route there in octets.
    pub fn fragmented(&self) -> (u64, Ipv4Addr, u16) {
        self.fragmented.seen()
    }

    /// Visits every flow.
    pub fn each_flow(&self, mut visit: impl FnMut(&Flow)) {
        self.flows.each(|_, flow| visit(flow));
    }
}

/// The ports under which the host may see the client: its own outer port, else another.
fn offers(key: &TunnelKey, transport: Transport) -> impl Iterator<Item = u16> {
    let (own, others) = match transport {
        Transport::Other => (0, 0),
        _ => (key.outer.port, PORT_TRIES),
    };
    // Spread by the inner port, so that clients in conflict do not all try the same ones.
    let span = u16::MAX - FIRST_OTHER_PORT;
    let first = u32::from(own) + u32::from(key.inner.port) * 31;
    // The source may be forged: what hosts send to well-known ports of servers is no answer to anybody. Clients
    // have none of these, and NATs that give them one lose nothing but the same port.
    let well_known =
        own < FIRST_OTHER_PORT && !matches!(transport, Transport::Other | Transport::IcmpQuery);
    Some(own).filter(|_| !well_known).into_iter().chain(
        (1..=others).map(move |n| {
            FIRST_OTHER_PORT + ((first + u32::from(n) * 251) % u32::from(span)) as u16
        }),
    )
}

/// Private use (RFC 1918) or shared address space (RFC 6598).
fn is_private(addr: Ipv4Addr) -> bool {
    let [first, second, ..] = addr.octets();
    addr.is_private() || (first == 100 && second & 0xc0 == 0x40)
}
