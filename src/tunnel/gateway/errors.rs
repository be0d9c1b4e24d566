//! ICMP errors at the gateway: about packets of clients, on their way back through the tunnel; of
//! clients, and about packets to them, on their way to the exported host.
//!
//! An error never opens a flow, and is no use of one (RFC 5508 REQ-6).

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{Flow, Gateway, LanKey, TunnelKey};
use crate::counters::Counter;
use crate::time::Time;
use crate::tunnel::common::take_congestion;
use crate::tunnel::fate::{Fate, Front};
use crate::tunnel::route::Routes;
use crate::tunnel::table::Entry;
use crate::wire::datagram::Transport;
use crate::wire::icmp_error::{Ends, IcmpError, quoted};
use crate::wire::outer::LEVEL;
use crate::wire::{Datagram, Endpoint};

impl<E: Routes> Gateway<E> {
    /// An error of an exported host, of a router before it or of this host, about a packet of a
    /// client. Who reports it stays visible: `traceroute` shows the way behind the gateway.
    pub(super) fn error_for_client(
        &self,
        error: &Datagram,
        packet: &mut [u8],
        front: &mut Front,
        now: Time,
    ) -> Fate {
        let Some(icmp) = IcmpError::parse(error, packet) else {
            return Fate::Dropped(Counter::IcmpError);
        };
        let Some(flow) = self.translate_for_client(icmp, error, packet, now) else {
            // The rules cannot tell errors that concern a tunnel from others: a packet whose TTL has
            // run out belongs to no connection. Those of others are not ours to drop.
            return Fate::Passed(Counter::GatewayErrorPassed);
        };
        match Datagram::parse(packet).map(|error| self.encapsulate(&flow, &error, packet, front)) {
            Ok(Some(_)) => Fate::Encapsulated(Counter::GatewayErrorSent),
            Ok(None) => Fate::Dropped(Counter::TooLong),
            Err(flaw) => flaw.into(),
        }
    }

    fn translate_for_client(
        &self,
        icmp: IcmpError,
        error: &Datagram,
        packet: &mut [u8],
        now: Time,
    ) -> Option<Arc<Flow>> {
        let about = quoted(icmp.quote(packet))?;
        let lan = LanKey { protocol: about.protocol, host: about.dst, peer: about.src };
        let flow = self.live_flow(&lan, now)?;
        if error.dst.addr != about.src.addr || !flow.transport.is_like(about.transport) {
            return None;
        }
        let ends = Ends {
            src: error.src.addr,
            dst: flow.key.inner.addr,
            quoted_src: flow.key.inner,
            quoted_dst: flow.key.host,
        };
        icmp.translate(packet, 0, &ends)?;
        Some(flow)
    }

    /// An error of a client about a reply it got: `bytes` are what the tunnel packet carries.
    pub(super) fn error_of_client(
        &self,
        outer: &Datagram,
        error: &mut Datagram,
        bytes: &mut [u8],
        now: Time,
    ) -> Result<Counter, Counter> {
        let icmp = IcmpError::parse(error, bytes).ok_or(Counter::IcmpError)?;
        let about = quoted(icmp.quote(bytes)).ok_or(Counter::IcmpError)?;
        let flow = self.receiver_of(&about, outer.src, outer.dst, now).ok_or(Counter::IcmpError)?;
        if error.dst.addr != about.src.addr {
            return Err(Counter::IcmpError);
        }
        take_congestion(error, bytes, outer.traffic_class).ok_or(Counter::Congestion)?;
        let ends = to_host(&flow, flow.lan.peer.addr);
        icmp.translate(bytes, 0, &ends).ok_or(Counter::IcmpError)?;
        Ok(Counter::GatewayErrorForwarded)
    }

    /// An error about a tunnel packet that this gateway sent to a client. One that quotes less
    /// than the inner header names no flow.
    pub(super) fn error_about_reply(
        &self,
        error: &Datagram,
        packet: &mut [u8],
        interface: u32,
        now: Time,
    ) -> Fate {
        let forwarded = self.translate_for_host(error, packet, interface, now);
        forwarded.map_or(Fate::Dropped(Counter::IcmpError), |skip| Fate::Decapsulated {
            skip,
            counter: Counter::GatewayErrorForwarded,
        })
    }

    fn translate_for_host(
        &self,
        error: &Datagram,
        packet: &mut [u8],
        interface: u32,
        now: Time,
    ) -> Option<usize> {
        let icmp = IcmpError::parse(error, packet)?;
        let quote = icmp.quote(packet);
        let outer = quoted(quote)?;
        let about = quoted(quote.get(LEVEL..)?)?;
        let flow = self.receiver_of(&about, outer.dst, outer.src, now)?;
        if error.dst.addr != outer.src.addr || outer.transport != Transport::Udp {
            return None;
        }
        // Nobody outside may speak with the address of a neighbour of the host.
        let outside = self.is_outer_source(Endpoint { port: 1, ..error.src }, interface);
        let src = if outside { error.src.addr } else { flow.lan.peer.addr };
        icmp.translate(packet, 1, &to_host(&flow, src))
    }

    /// The live flow to whose client a quoted reply, B:d to A:p, was sent.
    fn receiver_of(
        &self,
        about: &Datagram,
        client: Endpoint,
        gateway: Endpoint,
        now: Time,
    ) -> Option<Arc<Flow>> {
        let flow = self.flows.forward(&TunnelKey {
            protocol: about.protocol,
            outer: client,
            gateway,
            inner: about.dst,
            host: about.src,
        })?;
        (flow.transport.is_answered_by(about.transport) && flow.expires() > now).then_some(flow)
    }
}

/// The ends of an error about the flow's replies, as the host sent them.
fn to_host(flow: &Flow, src: Ipv4Addr) -> Ends {
    let (host, peer) = (flow.key.host, flow.lan.peer);
    Ends { src, dst: host.addr, quoted_src: host, quoted_dst: peer }
}
