//! The two roles of one daemon, as the workers see them.

use std::sync::Arc;

use crate::config::{self, Config};
use crate::counters::Counter;
use crate::mapping::Mappings;
use crate::os::network::Network;
use crate::os::nfqueue::Hook;
use crate::time::Time;
use crate::tunnel::{Client, Fate, Front, Gateway, client, gateway};

/// Either role, or both. Shared by all threads.
pub struct Roles {
    /// Applications here reach hosts behind NATs.
    pub client: Option<Client<Network>>,
    /// Hosts behind this host are reached from outside.
    pub gateway: Option<Gateway<Network>>,
}

impl Roles {
    /// The roles that the configuration names, without flows. The client's needs mapped addresses.
    pub fn new(config: &Config, network: &Network, mappings: Option<Mappings>) -> Self {
        let client = config.client.as_ref().zip(mappings).map(|(client, mappings)| {
            Client::new(client_settings(client), network.clone(), Arc::new(mappings))
        });
        let gateway = config
            .gateway
            .as_ref()
            .map(|gateway| Gateway::new(gateway_settings(gateway), network.clone()));
        Self { client, gateway }
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
            (Hook::Output, Some(client), _) => client.outgoing(packet, front, now),
            (Hook::Input, Some(client), _) => client.incoming(packet, now),
            (Hook::Prerouting, _, Some(gateway)) => gateway.incoming(packet, interface, now),
            (Hook::Postrouting, _, Some(gateway)) => gateway.outgoing(packet, front, now),
            _ => Fate::Dropped(Counter::UnexpectedHook),
        }
    }
}

fn client_settings(client: &config::Client) -> client::Settings {
    client::Settings { mtu: client.mtu, keepalive: client.keepalive, max_flows: client.max_flows }
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
