//! How large packets of a flow may be: what its first link takes, and what is known of the links behind
//! it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::{Client, Environment, Flow};
use crate::mapping::Mapping;
use crate::path::{Hop, Path};
use crate::time::Time;
use crate::tunnel::path_mtu::{Measured, PathMtus, Question};
use crate::tunnel::route::working_mtu;
use crate::wire::icmp_error::too_long;
use crate::wire::outer::LEVEL;
use crate::wire::{Datagram, mss};

/// More routes than that are not worth it: TCP needs none of them.
const MAX_NARROW: usize = 1024;

/// What a flow knows of its path.
#[derive(Debug, Default)]
pub(super) struct KnownMtu {
    /// The generation of what is known, plus one, then 16 bits of octets, which are 0 if no limit is known;
    /// 0 before that was asked for.
    seen: AtomicU64,
    /// An answer has come back.
    noted: AtomicBool,
}

impl KnownMtu {
    /// Asked for packets of full size: a table is looked at only if it has changed.
    fn octets(&self, mtus: &PathMtus, boxes: &[Hop]) -> Option<u16> {
        let generation = mtus.generation() + 1;
        let mut seen = self.seen.load(Relaxed);
        if seen >> 16 != generation {
            let limit = mtus.measured(boxes).filter(|known| known.is_limit);
            let octets = limit.map_or(0, |known| known.octets);
            seen = generation << 16 | u64::from(octets);
            self.seen.store(seen, Relaxed);
        }
        Some(seen as u16).filter(|&octets| octets > 0)
    }
}

impl<E: Environment> Client<E> {
    /// The segments that follow fit the path, those of both sides.
    pub(super) fn clamp(&self, flow: &Flow<E::Lease>, datagram: &Datagram, bytes: &mut [u8]) {
        if !datagram.transport.is_syn() {
            return;
        }
        let link = working_mtu(self.settings.mtu, flow.route_mtu());
        let mtu = self.tcp_mtu(flow.boxes(), link);
        mss::clamp(datagram, bytes, mss::largest_segment(mtu, flow.wire.levels));
    }

    /// The largest outer packet through these boxes that TCP may cause, octets, if the first link takes
    /// `most`.
    pub fn tcp_mtu(&self, boxes: &[Hop], most: u16) -> u16 {
        let mtus = self.settings.path_mtus.as_ref().filter(|_| !boxes.is_empty());
        mtus.map_or(most, |mtus| mtus.for_tcp(boxes, most))
    }

    /// What is known to get through in one piece, octets with all headers.
    pub(super) fn known_mtu(&self, flow: &Flow<E::Lease>) -> Option<u16> {
        let path = self.settings.path_mtus.as_ref();
        let path = path.and_then(|mtus| flow.path_mtu.octets(mtus, flow.boxes()));
        [flow.route_mtu(), path].into_iter().flatten().min()
    }

    /// A packet that may be too long is sent on all the same, in fragments, and counted. A served host is
    /// told, as by any router; this host's programs learn it from the route to the mapped address.
    pub(super) fn note_size(&self, flow: &Flow<E::Lease>, packet: &[u8], now: Time) {
        if flow.is_direct() {
            return;
        }
        let (levels, to) = (flow.wire.levels, flow.wire.hop.addr);
        let mtu = self.fragmented.note(packet, levels, to, || self.known_mtu(flow));
        if let (Some(mtu), Some(host)) = (mtu, flow.wire.served)
            && self.env.is_served(host)
            && flow.told.is_due(now)
        {
            self.env.report(host, &too_long(mtu, host, packet));
        }
    }

    /// An answer came back on a flow's path: what it carries can be measured. Anybody's DNS reply may name
    /// boxes, and who does not answer is sent no more than applications send.
    pub(super) fn note_path(&self, flow: &Flow<E::Lease>, now: Time) {
        let Some(mtus) = &self.settings.path_mtus else { return };
        if flow.path_mtu.noted.load(Relaxed) || flow.path_mtu.noted.swap(true, Relaxed) {
            return;
        }
        // A flow of an earlier run may have sent nothing yet.
        self.renew_route(flow);
        let most = working_mtu(self.settings.mtu, flow.route_mtu());
        let Ok(path) = Path::new(flow.boxes().to_vec(), flow.wire.host.addr) else { return };
        let (protocol, port) = (flow.key.protocol, flow.wire.host.port);
        // The next box knows this host by the address of the first, which is its own.
        let source = flow.is_peeled().then(|| flow.path.first().addr);
        mtus.used(Question { path, source, protocol, port, most }, now);
    }

    /// What was measured last of the way through these boxes.
    pub fn measured(&self, boxes: &[Hop]) -> Option<Measured> {
        self.settings.path_mtus.as_ref()?.measured(boxes)
    }

    /// Whether there are paths to measure. Costs next to nothing.
    pub fn any_unmeasured(&self) -> bool {
        self.settings.path_mtus.as_ref().is_some_and(|mtus| mtus.any())
    }

    /// Whether paths are measured at all.
    pub fn measures(&self) -> bool {
        self.settings.path_mtus.is_some()
    }

    /// Changes whenever something else is known of a path.
    pub fn known_paths(&self) -> u64 {
        self.settings.path_mtus.as_ref().map_or(0, |mtus| mtus.generation())
    }

    /// Mapped addresses whose paths are known to carry less than others, and the largest packets, octets,
    /// that an application may send there; as many as are worth a route. `others`: the same for all others.
    pub fn narrow(&self, others: u16) -> Vec<(Ipv4Addr, u16)> {
        let Some(mtus) = self.settings.path_mtus.as_ref().filter(|mtus| mtus.any_known()) else {
            return Vec::new();
        };
        let mappings = self.mappings.snapshot();
        let narrow = |mapping: &Mapping| {
            let inner = |path: &Path| {
                let boxes = self.boxes(path)?;
                let headers = (boxes.len() * LEVEL) as u16;
                Some(mtus.measured(boxes)?.octets.saturating_sub(headers))
            };
            mapping.paths().paths().iter().filter_map(inner).min().filter(|&octets| octets < others)
        };
        let narrow = mappings.iter().filter_map(|mapping| Some((mapping.addr(), narrow(mapping)?)));
        narrow.take(MAX_NARROW).collect()
    }
}
