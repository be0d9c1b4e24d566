//! The two roles of one daemon, as the workers see them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::config::{self, Config};
use crate::counters::Counter;
use crate::mapping::Mappings;
use crate::os::network::Network;
use crate::os::nfqueue::Hook;
use crate::time::Time;
use crate::tunnel::{
    Client, Connection, Fate, Front, Gateway, Origin, PathMtus, Saved, client, gateway,
};
use crate::wire::Datagram;

/// Either role, or both. Shared by all threads.
pub struct Roles {
    /// Applications here reach hosts behind NATs.
    pub client: Option<Client<Network>>,
    /// Hosts behind this host are reached from outside.
    pub gateway: Option<Gateway<Network>>,
    /// The pool, if hosts are served.
    served_pool: Option<Ipv4Net>,
    network: Network,
}

impl Roles {
    /// The roles that the configuration names, without flows. The client's needs mapped addresses.
    pub fn new(
        config: &Config,
        network: &Network,
        mappings: Option<Arc<Mappings>>,
        path_mtus: &Arc<PathMtus>,
    ) -> Self {
        let client = config.client.as_ref().zip(mappings).map(|(client, mappings)| {
            let settings = client_settings(client, config.gateway.as_ref(), path_mtus);
            Client::new(settings, network.clone(), mappings)
        });
        let gateway = config
            .gateway
            .as_ref()
            .map(|gateway| Gateway::new(gateway_settings(gateway), network.clone()));
        let client_config = config.client.as_ref();
        let served_pool = client_config.filter(|c| !c.serve.is_empty()).map(|c| c.pool);
        Self { client, gateway, served_pool, network: network.clone() }
    }

    /// Takes saved flows back, and says how many could be. `slack`: how old what was saved may be.
    pub(super) fn restore(&self, flows: Vec<Saved>, slack: Duration, now: Time) -> usize {
        let restored =
            flows.into_iter().filter(|flow| match (flow.clone(), &self.client, &self.gateway) {
                (Saved::Client(flow), Some(client), _) => client.restore(flow, slack, now),
                (Saved::Gateway(flow), _, Some(gateway)) => gateway.restore(flow, slack, now),
                _ => false,
            });
        restored.count()
    }

    /// Whether flows were opened since this was last asked.
    pub(super) fn any_fresh(&self) -> bool {
        let client = self.client.as_ref().is_some_and(Client::any_fresh);
        let gateway = self.gateway.as_ref().is_some_and(Gateway::any_fresh);
        client || gateway
    }

    /// Whether there are paths to measure.
    pub(super) fn any_unmeasured(&self) -> bool {
        self.client.as_ref().is_some_and(Client::any_unmeasured)
    }

    /// The flows that were opened since the last look.
    pub(super) fn fresh(&self) -> Vec<Saved> {
        let client = self.client.iter().flat_map(Client::fresh).map(Saved::Client);
        let gateway = self.gateway.iter().flat_map(Gateway::fresh).map(Saved::Gateway);
        client.chain(gateway).collect()
    }

    /// All flows.
    pub(super) fn saved(&self) -> Vec<Saved> {
        let client = self.client.iter().flat_map(Client::saved).map(Saved::Client);
        let gateway = self.gateway.iter().flat_map(Gateway::saved).map(Saved::Gateway);
        client.chain(gateway).collect()
    }

    /// A queued packet's fate. Where it was queued tells which role it is for, and which way; the
    /// number is the index of the interface it came in through.
    pub(super) fn process(
        &self,
        (hook, interface): (Hook, u32),
        packet: &mut [u8],
        front: &mut Front,
        now: Time,
    ) -> Fate {
        match (hook, &self.client, &self.gateway) {
            (Hook::Output, Some(client), _) => client.outgoing(packet, Origin::Here, front, now),
            (Hook::Input, Some(client), _) => client.incoming(packet, Origin::Here, now),
            (Hook::Prerouting, Some(client), _) if self.is_to_pool(packet) => {
                match self.network.serves(interface) {
                    true => client.outgoing(packet, Origin::Served, front, now),
                    false => Fate::Dropped(Counter::ClientBadSource),
                }
            }
            (Hook::Prerouting, _, Some(gateway)) => gateway.incoming(packet, interface, now),
            (Hook::Postrouting, client, gateway) => {
                self.leaving((client.as_ref(), gateway.as_ref()), packet, front, now)
            }
            _ => Fate::Dropped(Counter::UnexpectedHook),
        }
    }

    /// What the kernel should know of the TCP flow whose reply this packet of an exported host is, if its
    /// connection stands. Somebody's forged packets make flows, but none that stands: the host resets those.
    pub(super) fn standing(&self, packet: &[u8], now: Time) -> Option<Connection> {
        let reply = Datagram::parse(packet).ok()?;
        let client = self.client.as_ref().and_then(|client| client.standing(&reply, now));
        client.or_else(|| self.gateway.as_ref().and_then(|gateway| gateway.standing(&reply, now)))
    }

    /// Both roles have packets that leave: those to served hosts are the client's. What is no
    /// flow's of it was not touched.
    fn leaving(
        &self,
        roles: (Option<&Client<Network>>, Option<&Gateway<Network>>),
        packet: &mut [u8],
        front: &mut Front,
        now: Time,
    ) -> Fate {
        let (client, gateway) = roles;
        let client = client.filter(|_| self.served_pool.is_some());
        let fate = client.map(|client| client.incoming(packet, Origin::Served, now));
        match (fate, gateway) {
            (Some(fate @ Fate::Decapsulated { .. }), _) | (Some(fate), None) => fate,
            (_, Some(gateway)) => gateway.outgoing(packet, front, now),
            (None, None) => Fate::Dropped(Counter::UnexpectedHook),
        }
    }

    fn is_to_pool(&self, packet: &[u8]) -> bool {
        const DESTINATION: usize = 16;
        let destination = packet.get(DESTINATION..).and_then(|rest| rest.first_chunk::<4>());
        let destination = destination.map(|octets| Ipv4Addr::from(*octets));
        self.served_pool.zip(destination).is_some_and(|(pool, addr)| pool.contains(&addr))
    }
}

fn client_settings(
    client: &config::Client,
    gateway: Option<&config::Gateway>,
    path_mtus: &Arc<PathMtus>,
) -> client::Settings {
    client::Settings {
        path_mtus: client.measure_mtu.then(|| Arc::clone(path_mtus)),
        gateway: gateway.map(own_gateway),
        mtu: client.mtu,
        keepalive: client.keepalive,
        max_flows: client.max_flows,
        max_flows_per_host: client.max_flows_per_host,
    }
}

/// What the client role knows of the gateway role, for paths that begin there.
fn own_gateway(gateway: &config::Gateway) -> client::OwnGateway {
    client::OwnGateway { port: gateway.port, exports: gateway.exports.clone() }
}

fn gateway_settings(gateway: &config::Gateway) -> gateway::Settings {
    gateway::Settings {
        port: gateway.port,
        exports: gateway.exports.clone(),
        inside_sources: gateway.inside_sources.clone(),
        mtu: gateway.mtu,
        max_flows: gateway.max_flows,
        max_flows_per_source: u32::try_from(gateway.max_flows_per_source).unwrap_or(u32::MAX),
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names =
            [self.client.as_ref().map(|_| "client"), self.gateway.as_ref().map(|_| "gateway")];
        f.write_str(&names.into_iter().flatten().collect::<Vec<_>>().join(" and "))
    }
}
