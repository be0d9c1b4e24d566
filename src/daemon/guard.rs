//! The pool fails closed: its route is open only while the rules that guard it are loaded.

use std::sync::{Mutex, PoisonError};

use ipnet::Ipv4Net;

use crate::config::{Config, Flavour};
use crate::control::{RulesState, RulesStatus};
use crate::os::route::{self, PoolRoute};
use crate::os::tables;
use crate::rules;
use crate::wire::outer::LEVEL;

use super::Error;

/// Watches over rules and route.
pub(super) struct Guard {
    flavour: Flavour,
    pool: Option<(Ipv4Net, PoolRoute)>,
    status: Mutex<RulesStatus>,
}

impl Guard {
    pub(super) fn new(config: &Config) -> Self {
        let pool = config.client.as_ref().map(|client| {
            let mtu = client.mtu.saturating_sub(LEVEL as u16);
            (client.pool, PoolRoute::Open { mtu })
        });
        let expected = rules::fingerprint(config, config.firewall);
        let status = RulesStatus { state: RulesState::Unknown, expected, found: None };
        Self { flavour: config.firewall, pool, status: Mutex::new(status) }
    }

    pub(super) fn status(&self) -> RulesStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the rules and sets the route accordingly. `true` if the rules are newly loaded.
    pub(super) fn check(&self) -> Result<bool, Error> {
        let before = self.status();
        let mut now = before.clone();
        (now.state, now.found) = match tables::loaded_fingerprint(self.flavour) {
            Ok(None) => (RulesState::Missing, None),
            Ok(Some(found)) if found == before.expected => (RulesState::Loaded, Some(found)),
            Ok(Some(found)) => (RulesState::Stale, Some(found)),
            Err(error) => {
                log::warn!("asking the kernel for the loaded rules: {error}");
                (RulesState::Unknown, None)
            }
        };
        let changed = now.state != before.state;
        if changed {
            self.report(&now);
            *self.status.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
        }
        let open = now.state == RulesState::Loaded;
        self.set_route(open)?;
        Ok(changed && open)
    }

    fn set_route(&self, open: bool) -> Result<(), Error> {
        let Some((pool, when_open)) = self.pool else { return Ok(()) };
        let route = if open { when_open } else { PoolRoute::Closed };
        route::set(pool, route).map_err(Error::Route)
    }

    fn report(&self, status: &RulesStatus) {
        let consequence = match self.pool {
            Some(_) => "until then, connections to mapped addresses fail",
            None => "until then, no tunnel reaches this gateway",
        };
        match status.state {
            RulesState::Loaded => log::info!("rules: loaded, {}", status.expected),
            RulesState::Missing => {
                log::warn!("rules: not loaded; load them with `nattt rules apply`; {consequence}")
            }
            RulesState::Stale => log::warn!(
                "rules: made from another configuration; load them with `nattt rules apply`; \
                 {consequence}"
            ),
            RulesState::Unknown => {}
        }
    }

    /// Without a daemon nothing translates mapped addresses: connections fail at once instead of
    /// waiting for the rules to drop them.
    pub(super) fn close(&self) {
        if let Err(error) = self.set_route(false) {
            log::warn!("{error}");
        }
    }
}
