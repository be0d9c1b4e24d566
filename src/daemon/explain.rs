//! The answer to `nattt explain`: what is known here about one name.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config;
use crate::control::{
    Explanation, Judgement, LastDrop, Mapping, Measurement, NatRecord, PathMtu, Reply, Subject,
};
use crate::counters::Counter;
use crate::dns::{Name, acceptable};
use crate::mapping::{self, Mappings};
use crate::os::network::Network;
use crate::path::{Hop, Path};
use crate::time::Time;
use crate::tunnel::{Client, Routes};
use crate::wire::outer::LEVEL;

use super::dns;
use super::report::{Report, client_flow, mtu};

/// The most flows in one answer.
const MAX_FLOWS: usize = 100;

pub(super) fn explain(report: &Report, subject: &Subject) -> Reply {
    let (Some(client), Some(role)) = (&report.config.client, &report.roles.client) else {
        return error(
            "this daemon has no client role, so names mean nothing to it: ask on a client",
        );
    };
    let name: Name = match subject.name.parse() {
        Ok(name) => name,
        Err(wrong) => {
            return error(format!("`{}` is no name: {wrong}", subject.name.escape_debug()));
        }
    };
    let judged: Result<Vec<_>, String> =
        subject.records.iter().map(|record| judgement(report, client, record)).collect();
    let judgements = match judged {
        Ok(judgements) => judgements,
        Err(wrong) => return error(wrong),
    };
    let mappings = role.mappings();
    let answered = subject.addresses.iter().find_map(|addr| mappings.lookup(*addr));
    let mapping = answered.or_else(|| named(mappings, &name));
    let now = report.clock.now();
    let stray = |addr: &&Ipv4Addr| client.pool.contains(*addr) && mappings.lookup(**addr).is_none();
    Reply::Explanation(Box::new(Explanation {
        record_type: client.record_type,
        left_alone: !client.names.includes(&name),
        emulated_by: emulated_by(client, &name),
        direct: mapping.as_ref().is_some_and(|mapping| role.is_direct(mapping)),
        judgements,
        unmapped: subject.addresses.iter().filter(stray).copied().collect(),
        flows: mapping
            .as_ref()
            .map(|mapping| flows(report, mapping.addr(), now))
            .unwrap_or_default(),
        last_drop: last_drop(report, subject, mapping.as_ref(), now),
        mapping: mapping.map(|mapping| Mapping::new(&mapping, now)),
    }))
}

fn emulated_by(client: &config::Client, name: &Name) -> Vec<String> {
    let names = dns::settings(client).policy.emulations.names(name);
    names.map_or_else(Vec::new, |names| {
        let boxes = names.boxes.iter().map(|(name, _)| name);
        boxes.chain([&names.host]).map(Name::to_string).collect()
    })
}

/// The mapping that a name led to last.
fn named(mappings: &Mappings, name: &Name) -> Option<Arc<mapping::Mapping>> {
    let name = name.to_string();
    let with = mappings.snapshot().into_iter().filter(|mapping| mapping.names().contains(&name));
    with.max_by_key(|mapping| mapping.last_used())
}

fn error(message: impl Into<String>) -> Reply {
    Reply::Error { message: message.into() }
}

/// The same judgement that a reply's record gets.
fn judgement(
    report: &Report,
    client: &config::Client,
    record: &NatRecord,
) -> Result<Judgement, String> {
    let wrong = |text: &str, error: String| format!("`{}`: {error}", text.escape_debug());
    let path: Path = record.path.parse().map_err(|e| wrong(&record.path, format!("{e}")))?;
    let owner: Name = record.owner.parse().map_err(|e| wrong(&record.owner, format!("{e}")))?;
    let private_allowed = dns::settings(client).allows_private(&owner);
    let role = report.roles.client.as_ref();
    let is_own = |addr| role.is_none_or(|client| client.is_dead_end(addr));
    let accepted = acceptable(&path, private_allowed, is_own).map_err(|wrong| wrong.to_string());
    let refusal = || role.and_then(|client| client.refusal(&path));
    let refused = accepted.err().or_else(|| refusal().map(|why| leads_nowhere(why).to_owned()));
    let boxes = role.and_then(|client| client.boxes(&path)).unwrap_or(path.hops());
    let levels = (boxes.len() * LEVEL) as u16;
    let route = |next: &Hop| report.network.route(next.addr).map(|route| route.mtu);
    let outer = boxes.first().map(|next| mtu(client.mtu, route(next)));
    let link = outer.map_or(client.mtu, |outer| outer.octets);
    let path =
        outer.zip(role).and_then(|(outer, role)| path_mtu(report, role, boxes, outer.octets));
    let measured = path.and_then(|path| path.measured).map_or(link, |known| known.octets.min(link));
    let [mtu, link_mtu] = [measured, link].map(|octets| octets.saturating_sub(levels));
    Ok(Judgement { refused, mtu, link_mtu: Some(link_mtu), outer, path })
}

/// What is known of the links behind the first, which takes `most` octets.
fn path_mtu(report: &Report, role: &Client<Network>, boxes: &[Hop], most: u16) -> Option<PathMtu> {
    let known = role.measured(boxes);
    let ago_s = |at| report.clock.now().since(at).as_secs();
    let measured = known.map(|known| Measurement { octets: known.octets, ago_s: ago_s(known.at) });
    let tcp = role.tcp_mtu(boxes, most);
    role.measures().then_some(PathMtu { tcp, measured })
}

/// Why a path that begins at this host's own gateway role is not used.
fn leads_nowhere(why: Counter) -> &'static str {
    match why {
        Counter::GatewayNotExported => {
            "it begins at this host, whose `exports` do not list what is next"
        }
        Counter::GatewayOwnAddress => {
            "it begins at this host, whose `exports` do not list this address of it by itself"
        }
        _ => "it begins at this host and leads back to it",
    }
}

fn flows(report: &Report, mapped: Ipv4Addr, now: Time) -> Vec<crate::control::Flow> {
    let mut flows = Vec::new();
    if let Some(client) = &report.roles.client {
        client.each_flow(|flow| {
            let wanted = flow.mapped().addr == mapped && flow.life().1 > now;
            if wanted && flows.len() < MAX_FLOWS {
                flows.push(client_flow(flow, now));
            }
        });
    }
    flows
}

fn last_drop(
    report: &Report,
    subject: &Subject,
    mapping: Option<&Arc<mapping::Mapping>>,
    now: Time,
) -> Option<LastDrop> {
    let mut addresses = subject.addresses.clone();
    if let Some(mapping) = mapping {
        addresses.push(mapping.addr());
        let role = report.roles.client.as_ref();
        let next = |path| role.and_then(|role| role.boxes(path)?.first().copied());
        let paths = mapping.paths().paths().iter();
        addresses.extend(paths.filter_map(next).map(|hop| hop.addr));
    }
    let drop = report.drops.last(&addresses)?;
    Some(LastDrop {
        counter: drop.reason.name().to_owned(),
        explanation: drop.reason.explanation().to_owned(),
        ago_s: now.since(drop.at).as_secs(),
    })
}
