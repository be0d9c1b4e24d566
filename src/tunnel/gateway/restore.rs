//! Flows that outlive the daemon: the same port towards the host, so that it sees the connection go on.

use std::time::Duration;

use super::{Flow, Gateway, TunnelKey};
use crate::time::Time;
use crate::tunnel::lifetime::Lifetime;
use crate::tunnel::route::Routes;
use crate::tunnel::saved::SavedGateway;
use crate::wire::datagram::Transport;

impl<E: Routes> Gateway<E> {
    /// Takes a saved flow back, if its host is still exported. `slack`: how old what was saved may be.
    pub fn restore(&self, saved: SavedGateway, slack: Duration, now: Time) -> bool {
        let SavedGateway { protocol, outer, gateway, inner, host, peer_port, life } = saved;
        let transport = Transport::of_flow(protocol);
        let lifetime = Lifetime::restored(life, slack, now);
        let allowed = gateway.port == self.settings.port
            && self.admit_host(host, protocol, transport).is_ok()
            && lifetime.expires(transport) > now;
        let key = TunnelKey { protocol, outer, gateway, inner, host };
        allowed
            && self.flows.forward(&key).is_none()
            && self.add(key, std::iter::once(peer_port), transport, lifetime).is_ok()
    }

    /// Whether flows were opened since this was last asked. Costs next to nothing if not.
    pub fn any_fresh(&self) -> bool {
        self.flows.any_fresh()
    }

    /// The flows that were opened since the last look, to be saved.
    pub fn fresh(&self) -> Vec<SavedGateway> {
        self.flows.take_fresh().iter().map(|flow| flow.saved()).collect()
    }

    /// All flows, to be saved.
    pub fn saved(&self) -> Vec<SavedGateway> {
        let mut saved = Vec::new();
        self.flows.each(|_, flow| saved.push(flow.saved()));
        saved
    }
}

impl Flow {
    fn saved(&self) -> SavedGateway {
        SavedGateway {
            protocol: self.key.protocol,
            outer: self.key.outer,
            gateway: self.key.gateway,
            inner: self.key.inner,
            host: self.key.host,
            peer_port: self.lan.peer.port,
            life: self.lifetime.saved(),
        }
    }
}
