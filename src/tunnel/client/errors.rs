//! ICMP errors at the client: those about packets of ours, on whatever level of the tunnel they
//! arose, become errors that the application sees; those of this host reach the peer.
//!
//! An error never opens a flow, and is no use of one (RFC 5508 REQ-6).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::flow::Served;
use super::incoming::Levels;
use super::{AppKey, Client, Environment, Flow, Origin, OuterKey, WireKey, direct, endpoint};
use crate::counters::Counter;
use crate::path::MAX_HOPS;
use crate::time::Time;
use crate::tunnel::common::{content_of, is_host};
use crate::tunnel::fate::{Fate, Front};
use crate::tunnel::table::Entry;
use crate::wire::datagram::{IPV4_HEADER, Transport};
use crate::wire::icmp_error::{Ends, IcmpError, LEAST_QUOTE, quoted};
use crate::wire::outer::LEVEL;
use crate::wire::{Datagram, Endpoint, ecn};

/// The boxes that an error names, outermost first: those that brought it, then those for which the
/// packet that it quotes was meant.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Whom the error is for.
    served: Served,
    boxes: [Option<(Endpoint, Endpoint)>; MAX_HOPS],
    len: usize,
}

impl Way {
    /// Without any box.
    pub(super) fn of(served: Served) -> Self {
        Self { served, ..Self::default() }
    }

    /// `None` after eight.
    fn push(&mut self, hop: Endpoint, ours: Endpoint) -> Option<()> {
        *self.boxes.get_mut(self.len)? = Some((hop, ours));
        self.len += 1;
        Some(())
    }

    fn first(&self) -> Option<OuterKey> {
        self.boxes[0].map(|(hop, ours)| OuterKey { served: self.served, port: ours.port, hop })
    }

    /// Whether it is the beginning of the flow's path, and every level is from or to the flow's
    /// outer endpoint, of now or of its beginning.
    fn leads_along<L>(&self, flow: &Flow<L>) -> bool {
        let sources = [flow.outer(), Endpoint { addr: flow.wire.inner.addr, port: flow.wire.port }];
        let hops = flow.boxes();
        let mut pairs = self.boxes.iter().flatten().zip(hops);
        self.len <= hops.len()
            && pairs
                .all(|((hop, ours), &flow_s)| *hop == endpoint(flow_s) && sources.contains(ours))
    }
}

/// The beginning of the last packet that a flow sent, as the application wrote it: an error may
/// quote no more than an outer header, while TCP believes none without a sequence number of its
/// own (RFC 5927 §4.1). Two words, because workers share it.
#[derive(Debug, Default)]
pub(super) struct LastPacket {
    /// Octets 1 to 8 of the IPv4 header: DSCP and ECN to TTL.
    header: AtomicU64,
    /// The first 64 bits of what follows the header.
    segment: AtomicU64,
}

impl LastPacket {
    /// Remembers a packet that was parsed.
    pub(super) fn note(&self, packet: &[u8]) {
        let octets = |at: usize| packet[at..].first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
        self.header.store(octets(1), Relaxed);
        if packet.len() >= LEAST_QUOTE {
            self.segment.store(octets(IPV4_HEADER), Relaxed);
        }
    }

    /// What an error about it would quote.
    fn quote<L>(&self, flow: &Flow<L>) -> [u8; LEAST_QUOTE] {
        let mut quote = [0; LEAST_QUOTE];
        quote[0] = 0x45;
        quote[1..9].copy_from_slice(&self.header.load(Relaxed).to_be_bytes());
        quote[9] = flow.key.protocol;
        quote[12..16].copy_from_slice(&flow.key.application.addr.octets());
        quote[16..20].copy_from_slice(&flow.key.mapped.addr.octets());
        let checksum = crate::wire::checksum::Sum::of(&quote[..IPV4_HEADER]).checksum();
        quote[10..12].copy_from_slice(&checksum.to_be_bytes());
        quote[IPV4_HEADER..].copy_from_slice(&self.segment.load(Relaxed).to_be_bytes());
        quote
    }
}

/// What an error is about.
struct Subject<L> {
    flow: Arc<Flow<L>>,
    /// How many tunnel headers are in front of the flow's own packet in the quote.
    levels: usize,
    /// Whether the quote reaches as far as that packet.
    quoted: bool,
}

impl<E: Environment> Client<E> {
    /// An error that a box sent through the tunnel, behind `outer` and the levels of `middle`.
    pub(super) fn error_from_tunnel(
        &self,
        mut way: Way,
        outer: &Datagram,
        middle: &Levels,
        packet: &mut [u8],
        now: Time,
    ) -> Fate {
        for level in std::iter::once(outer).chain(middle.levels.iter().flatten()) {
            if way.push(level.src, level.dst).is_none() {
                return Fate::Dropped(Counter::IcmpError);
            }
        }
        let skip = way.len * LEVEL;
        let bytes = &mut packet[skip..];
        let error = match Datagram::parse(bytes) {
            Ok(error) => error,
            Err(flaw) => return flaw.into(),
        };
        let outer_class = middle.traffic_class_below(outer.traffic_class);
        let class = outer_class.and_then(|class| ecn::decapsulated(error.traffic_class, class));
        let Some(class) = class else { return Fate::Dropped(Counter::Congestion) };
        match self.error_from_way(way, &error, bytes, now) {
            // Only now: what is no flow's stays as it is.
            Fate::Decapsulated { skip: more, counter } => match Datagram::parse(&bytes[more..]) {
                Ok(mut error) => {
                    error.set_traffic_class(&mut bytes[more..], class);
                    Fate::Decapsulated { skip: skip + more, counter }
                }
                Err(flaw) => flaw.into(),
            },
            fate => fate,
        }
    }

    /// An error about a packet of ours; `way` is how it came, if through the tunnel.
    pub(super) fn error_from_way(
        &self,
        way: Way,
        error: &Datagram,
        bytes: &mut [u8],
        now: Time,
    ) -> Fate {
        match self.deliver_error(way, error, bytes, now) {
            Ok(skip) => Fate::Decapsulated { skip, counter: Counter::ClientErrorDelivered },
            Err(counter) => Fate::Dropped(counter),
        }
    }

    fn deliver_error(
        &self,
        way: Way,
        error: &Datagram,
        bytes: &mut [u8],
        now: Time,
    ) -> Result<usize, Counter> {
        let icmp = IcmpError::parse(error, bytes).ok_or(Counter::IcmpError)?;
        let subject = self.subject(way, icmp.quote(bytes)).ok_or(Counter::IcmpError)?;
        if self.concerns_path(&subject, &icmp, bytes, now) {
            return Err(Counter::ClientErrorSpared);
        }
        let Subject { flow, levels, quoted } = subject;
        let (application, mapped) = (flow.key.application, flow.key.mapped);
        let ends = Ends {
            src: self.reporter(&flow, error.src.addr),
            dst: application.addr,
            quoted_src: application,
            quoted_dst: mapped,
        };
        if flow.expires() <= now {
            return Err(Counter::IcmpError);
        }
        if quoted {
            return icmp.translate(bytes, levels, &ends).ok_or(Counter::IcmpError);
        }
        // Too little to tell a forger (RFC 5927 §7.2), and no honest router sends it: DF is clear.
        if icmp.is_about_mtu(bytes) {
            return Err(Counter::IcmpError);
        }
        Ok(icmp.quote_instead(bytes, levels, &flow.last_packet.quote(&flow), &ends))
    }

    /// Notes what an error tells about the flow's path. Says whether it is to be kept from the
    /// application: a connection attempt would end, though its next packet takes another path.
    fn concerns_path(
        &self,
        subject: &Subject<E::Lease>,
        icmp: &IcmpError,
        bytes: &[u8],
        now: Time,
    ) -> bool {
        let Subject { flow, levels, .. } = subject;
        let about_tunnel = *levels > 0;
        if flow.expires() <= now {
            false
        } else if icmp.is_about_host(bytes) || about_tunnel && icmp.is_about_reach(bytes) {
            self.path_failed(flow, now)
        } else {
            if !about_tunnel {
                // It came through all boxes.
                flow.mapping.health().answered(flow.path_index, now);
            }
            false
        }
    }

    /// Goes through the quote from its outermost header inwards, until it names a flow or ends.
    fn subject(&self, mut way: Way, mut quote: &[u8]) -> Option<Subject<E::Lease>> {
        for levels in 0..=MAX_HOPS {
            let Some(about) = quoted(quote) else {
                // Cut off, but a tunnel header of ours was there.
                let cut = levels > 0 && quote.len() < LEAST_QUOTE;
                let flow = if cut { self.last_sender(&way)? } else { return None };
                let levels = levels + flow.boxes().len() - way.len;
                return Some(Subject { flow, levels, quoted: false });
            };
            if let Some(flow) = self.sender_of(&way, &about) {
                return Some(Subject { flow, levels, quoted: true });
            }
            if about.transport != Transport::Udp {
                return None;
            }
            way.push(about.dst, about.src)?;
            quote = quote.get(LEVEL..)?;
        }
        None
    }

    /// The flow whose own packet, inside the levels of `way`, is quoted.
    fn sender_of(&self, way: &Way, about: &Datagram) -> Option<Arc<Flow<E::Lease>>> {
        let OuterKey { served, port, hop } = way.first().unwrap_or(direct::no_box(way.served));
        let flow = self.flows.reverse(&WireKey {
            served,
            hop,
            port,
            levels: way.len,
            protocol: about.protocol,
            host: about.dst,
            inner: about.src,
        })?;
        (flow.transport.is_like(about.transport) && way.leads_along(&flow)).then_some(flow)
    }

    /// Of the flows through these boxes the one that has sent last.
    fn last_sender(&self, way: &Way) -> Option<Arc<Flow<E::Lease>>> {
        let key = way.first()?;
        let flows = self.by_port.read(&key);
        let candidates = flows.get(&key)?.iter().filter_map(std::sync::Weak::upgrade);
        candidates
            .filter(|flow| way.leads_along(flow))
            .max_by_key(|flow| flow.last_sent.load(Relaxed))
    }

    /// Who is said to have sent the error: the router itself, so that the way can be seen. What
    /// the host or this host itself says seems to come from the mapped address; but this host is a
    /// router like others to a flow without a tunnel.
    fn reporter(&self, flow: &Flow<E::Lease>, addr: Ipv4Addr) -> Ipv4Addr {
        let is_router = flow.is_direct() || !self.env.is_own(addr);
        let keeps = is_host(addr) && is_router && addr != flow.path.host();
        if keeps { addr } else { flow.key.mapped.addr }
    }

    /// An error of this host, or of the network of a host that it serves, about a packet that came
    /// through a tunnel, on its way to the peer.
    pub(super) fn error_to_peer(
        &self,
        error: &Datagram,
        origin: Origin,
        packet: &mut [u8],
        front: &mut Front,
        now: Time,
    ) -> Fate {
        let Some(flow) = self.translate_for_peer(error, origin, packet, now) else {
            return Fate::Dropped(Counter::IcmpError);
        };
        if flow.is_direct() {
            return Fate::Decapsulated { skip: 0, counter: Counter::ClientErrorSent };
        }
        self.renew_source(&flow);
        let content = match Datagram::parse(packet) {
            Ok(error) => content_of(&error, packet),
            Err(flaw) => return flaw.into(),
        };
        match self.encapsulate(&flow, front, error.traffic_class, content) {
            Some(_) => Fate::Encapsulated(Counter::ClientErrorSent),
            None => Fate::Dropped(Counter::TooLong),
        }
    }

    fn translate_for_peer(
        &self,
        error: &Datagram,
        origin: Origin,
        packet: &mut [u8],
        now: Time,
    ) -> Option<Arc<Flow<E::Lease>>> {
        let icmp = IcmpError::parse(error, packet)?;
        let about = quoted(icmp.quote(packet))?;
        let key = |served| AppKey {
            served,
            protocol: about.protocol,
            application: about.dst,
            mapped: about.src,
        };
        let of_served = || self.flows.forward(&key(Some(about.dst.addr)));
        let flow = match origin {
            // This host also says what becomes of packets that it passes on.
            Origin::Here => self.flows.forward(&key(None)).or_else(of_served)?,
            Origin::Served => of_served()?,
        };
        let genuine = error.dst.addr == about.src.addr
            && flow.transport.is_answered_by(about.transport)
            && flow.expires() > now;
        let ends = Ends {
            src: flow.wire.inner.addr,
            dst: flow.wire.host.addr,
            quoted_src: flow.wire.host,
            quoted_dst: flow.wire.inner,
        };
        if !genuine {
            return None;
        }
        icmp.translate(packet, 0, &ends)?;
        Some(flow)
    }
}
