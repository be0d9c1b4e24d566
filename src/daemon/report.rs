//! Answers to `nattt`.

use std::sync::Arc;

use crate::config::Config;
use crate::control::{
    Endpoint, Ends, Flow, Leg, Mapping, Queue, Reply, Request, Role, Status, Traffic, Usage,
};
use crate::counters::Counters;
use crate::os::clock::Clock;
use crate::os::network::Network;
use crate::time::Time;
use crate::tunnel::{client, gateway};
use crate::wire::datagram::protocol;
use crate::{tunnel, wire};

use super::drops::Drops;
use super::guard::Guard;
use super::reloads::Reloads;
use super::{Error, Roles, explain, forwarding};

/// The most flows in one answer: it is built in memory.
const MAX_FLOWS: usize = 100_000;

/// What is asked for.
pub(super) struct Report {
    pub(super) config: Config,
    pub(super) roles: Arc<Roles>,
    pub(super) network: Network,
    pub(super) guard: Arc<Guard>,
    pub(super) counters: Arc<Counters>,
    pub(super) drops: Arc<Drops>,
    pub(super) clock: Clock,
    pub(super) reloads: Arc<Reloads>,
}

impl Report {
    pub(super) fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Mappings => Reply::Mappings { mappings: self.mappings() },
            Request::Flows { limit } => self.flows(limit),
            Request::Counters => Reply::counters(&self.counters),
            Request::Explain(subject) => explain::explain(self, &subject),
            // The socket makes them of the other answers.
            Request::Events => Reply::Error { message: "events are no single answer".into() },
        }
    }

    pub(super) fn status(&self) -> Status {
        let Roles { client, gateway, .. } = &*self.roles;
        let roles =
            [client.as_ref().map(|_| Role::Client), gateway.as_ref().map(|_| Role::Gateway)];
        Status {
            daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.clock.now().since(self.clock.started()).as_secs(),
            roles: roles.into_iter().flatten().collect(),
            pool: self.config.client.as_ref().map(|client| client.pool),
            rules: self.guard.status(),
            queues: self.queues(),
            mappings: client
                .as_ref()
                .map(|client| client.mappings())
                .map(|mappings| Usage { count: mappings.len(), cap: mappings.cap() }),
            client_flows: client.as_ref().map(|client| usage(client.usage())),
            gateway_flows: gateway.as_ref().map(|gateway| usage(gateway.usage())),
            reload: self.reloads.last(),
            warnings: self.warnings(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let routed = self.config.client.as_ref().filter(|client| client.is_routed());
        let clash = routed.and_then(|client| Some((client.pool, self.network.clash(client.pool)?)));
        let clash = clash.map(|(pool, net)| Error::PoolTaken(pool, net).to_string());
        let advice = forwarding::advice(&self.config, &self.network);
        clash.into_iter().chain(self.reloads.warning()).chain(advice).collect()
    }

    /// The daemon does not run without all of its queues.
    fn queues(&self) -> Vec<Queue> {
        let queues = self.config.queues;
        let queue = |number, purpose: &str| Queue { number, purpose: purpose.into(), bound: true };
        let mut list: Vec<_> = queues.data().map(|number| queue(number, "data")).collect();
        if self.roles.client.is_some() {
            list.push(queue(queues.dns(), "dns"));
            list.push(queue(queues.hold(), "dns hold"));
        }
        list
    }

    fn mappings(&self) -> Vec<Mapping> {
        let now = self.clock.now();
        let mappings = self.roles.client.as_ref().map(|client| client.mappings().snapshot());
        mappings.iter().flatten().map(|mapping| Mapping::new(mapping, now)).collect()
    }

    fn flows(&self, limit: usize) -> Reply {
        let limit = limit.min(MAX_FLOWS);
        let now = self.clock.now();
        let mut flows = Vec::new();
        let mut total = 0;
        let mut keep = |live: bool, flow: &dyn Fn() -> Flow| {
            total += usize::from(live);
            if live && flows.len() < limit {
                flows.push(flow());
            }
        };
        if let Some(client) = &self.roles.client {
            client.each_flow(|flow| keep(flow.life().1 > now, &|| client_flow(flow, now)));
        }
        if let Some(gateway) = &self.roles.gateway {
            gateway.each_flow(|flow| keep(flow.life().1 > now, &|| gateway_flow(flow, now)));
        }
        Reply::Flows { total, flows }
    }
}

fn usage((count, cap): (usize, usize)) -> Usage {
    Usage { count, cap }
}

pub(super) fn client_flow<L>(flow: &client::Flow<L>, now: Time) -> Flow {
    let shown = |end| endpoint(flow.protocol(), end);
    let (inner_from, inner_to) = flow.inner();
    let inner = Leg { from: shown(inner_from), to: shown(inner_to) };
    // Without a tunnel that is all there is on the wire.
    let outer = flow.boxes().first().map_or(inner, |hop| Leg {
        from: endpoint(protocol::UDP, flow.outer()),
        to: endpoint(protocol::UDP, wire::Endpoint { addr: hop.addr, port: hop.port }),
    });
    let ends = Ends::Client {
        application: shown(flow.application()),
        mapped: shown(flow.mapped()),
        name: flow.mapping().name(),
        outer,
        inner,
    };
    let (sent, received) = flow.traffic();
    shown_flow(flow.protocol(), ends, (sent, received), flow.life(), now)
}

fn gateway_flow(flow: &gateway::Flow, now: Time) -> Flow {
    let shown = |end| endpoint(flow.protocol(), end);
    let ends = Ends::Gateway {
        client: endpoint(protocol::UDP, flow.outer()),
        inner: shown(flow.inner()),
        host: shown(flow.host()),
        seen_as: shown(flow.peer()),
    };
    shown_flow(flow.protocol(), ends, flow.traffic(), flow.life(), now)
}

fn shown_flow(
    number: u8,
    ends: Ends,
    (to_host, to_client): (&tunnel::Traffic, &tunnel::Traffic),
    (last_used, expires, state): (Time, Time, &str),
    now: Time,
) -> Flow {
    let traffic = |t: &tunnel::Traffic| Traffic { packets: t.packets(), octets: t.octets() };
    Flow {
        protocol: protocol_name(number),
        state: state.to_owned(),
        ends,
        to_host: traffic(to_host),
        to_client: traffic(to_client),
        idle_s: now.since(last_used).as_secs(),
        expires_in_s: expires.since(now).as_secs(),
    }
}

fn endpoint(number: u8, end: wire::Endpoint) -> Endpoint {
    let ports = matches!(
        number,
        protocol::TCP
            | protocol::UDP
            | protocol::ICMP
            | protocol::DCCP
            | protocol::SCTP
            | protocol::UDP_LITE
    );
    // The far side of an ICMP query has no identifier of its own.
    let port = Some(end.port).filter(|&port| ports && !(number == protocol::ICMP && port == 0));
    Endpoint { addr: end.addr, port }
}

fn protocol_name(number: u8) -> String {
    match number {
        protocol::ICMP => "icmp".into(),
        protocol::TCP => "tcp".into(),
        protocol::UDP => "udp".into(),
        protocol::DCCP => "dccp".into(),
        protocol::SCTP => "sctp".into(),
        protocol::UDP_LITE => "udplite".into(),
        other => other.to_string(),
    }
}
