//! The pool fails closed: its route is open only while the rules that guard it are loaded, and
//! whole. The gateway does, too: it decapsulates only then.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use ipnet::Ipv4Net;

use crate::config::{Config, Flavour};
use crate::control::{RulesState, RulesStatus};
use crate::os::network::default_mtu;
use crate::os::route::{self, PoolRoute};
use crate::os::tables;
use crate::rules::{self, Shape};
use crate::tunnel::working_mtu;
use crate::wire::outer::LEVEL;

use super::Error;

/// Watches over rules and route.
pub(super) struct Guard {
    flavour: Flavour,
    shape: Shape,
    pool: Option<Pool>,
    seen: Mutex<Seen>,
    awaited: Mutex<Option<Awaited>>,
    loaded: AtomicBool,
}

/// The pool, and what its route depends on.
struct Pool {
    net: Ipv4Net,
    /// Largest outer packet as configured, octets.
    mtu: u16,
    /// The MTU that the route was given last; 0 if it was closed last.
    given: AtomicU16,
    narrow: Mutex<Narrow>,
}

/// Addresses whose paths carry less, and the MTUs of their own routes, octets.
#[derive(Default)]
struct Narrow {
    wanted: HashMap<Ipv4Addr, u16>,
    /// Only while the pool's route is open.
    standing: HashMap<Ipv4Addr, u16>,
}

/// What came of a look at the rules.
pub(super) struct Checked {
    /// Their table is another one than before: nft's sets are then empty.
    pub(super) another_table: bool,
    /// Whether the route is as it should be.
    pub(super) route: io::Result<()>,
    /// They are those of the next configuration, which takes effect in a moment.
    pub(super) changing: bool,
}

/// Rules of a configuration that takes effect once they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awaited {
    /// Theirs.
    pub(super) fingerprint: String,
    /// Whether they guard the present configuration, too.
    pub(super) suffice: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: RulesStatus,
    table: Option<u64>,
}

impl Guard {
    pub(super) fn new(config: &Config) -> Self {
        let pool = config.client.as_ref().map(|client| Pool {
            net: client.pool,
            mtu: client.mtu,
            given: AtomicU16::new(0),
            narrow: Mutex::default(),
        });
        let expected = rules::fingerprint(config, config.firewall);
        let status = RulesStatus { state: RulesState::Unknown, expected, found: None, wrong: None };
        Self {
            flavour: config.firewall,
            shape: rules::shape(config, config.firewall),
            pool,
            seen: Mutex::new(Seen { status, table: None }),
            awaited: Mutex::default(),
            loaded: AtomicBool::new(false),
        }
    }

    /// From now on these rules are nobody's mistake.
    pub(super) fn await_rules(&self, awaited: Option<Awaited>) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = awaited;
    }

    /// What was found, if it is what was awaited.
    fn awaited(&self, found: &RulesStatus) -> Option<Awaited> {
        let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_found = |awaited: &Awaited| found.found.as_ref() == Some(&awaited.fingerprint);
        awaited.filter(|awaited| found.state == RulesState::Stale && is_found(awaited))
    }

    /// Whether the rules are loaded and whole now. Changes nothing.
    pub(super) fn finds_rules(&self) -> bool {
        let expected = self.seen().status.expected;
        self.look(&expected).status.state == RulesState::Loaded
    }

    pub(super) fn status(&self) -> RulesStatus {
        self.seen().status
    }

    /// Whether the rules were loaded and whole at the last look. Asked for every tunnel packet.
    pub(super) fn loaded(&self) -> bool {
        self.loaded.load(Relaxed)
    }

    /// Looks at the rules and sets the route accordingly.
    pub(super) fn check(&self) -> Checked {
        let before = self.seen();
        let now = self.look(&before.status.expected);
        if let Some(awaited) = self.awaited(&now.status) {
            let close = !awaited.suffice;
            self.loaded.fetch_and(!close, Relaxed);
            let route = if close { self.set_route(false) } else { Ok(()) };
            return Checked { another_table: false, route, changing: true };
        }
        let open = now.status.state == RulesState::Loaded;
        self.loaded.store(open, Relaxed);
        if now.status != before.status {
            self.report(&now.status);
        }
        let another_table = now.table != before.table;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Checked { another_table, route: self.set_route(open), changing: false }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self, expected: &str) -> Seen {
        let loaded = tables::loaded(self.flavour, &self.shape);
        let table = loaded.as_ref().ok().and_then(|loaded| loaded.table);
        Seen { status: tables::status(&loaded, expected), table }
    }

    fn set_route(&self, open: bool) -> io::Result<()> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let mut narrow = pool.narrow.lock().unwrap_or_else(PoisonError::into_inner);
        let mtu = if open { pool.inner_mtu() } else { 0 };
        let route = if open { PoolRoute::Open { mtu } } else { PoolRoute::Closed };
        // Before it is set: that is an event, too.
        pool.given.store(mtu, Relaxed);
        let set = route::set(pool.net, route);
        // Those of single addresses in any case: they must not stand open alone.
        set.and(narrow.follow(mtu))
    }

    /// The largest packet that an application can send to most mapped addresses, octets; `None` while the
    /// pool is closed.
    pub(super) fn pool_mtu(&self) -> Option<u16> {
        let given = self.pool.as_ref()?.given.load(Relaxed);
        Some(given).filter(|&mtu| mtu > 0)
    }

    /// From now on these addresses have another MTU, octets, and no others: applications learn it.
    pub(super) fn set_narrow(&self, wanted: HashMap<Ipv4Addr, u16>) -> io::Result<()> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let mut narrow = pool.narrow.lock().unwrap_or_else(PoisonError::into_inner);
        narrow.wanted = wanted;
        narrow.follow(pool.given.load(Relaxed))
    }

    /// This host's routes changed. If the default route has another MTU, the pool's gets another, so
    /// that applications learn it; established TCP connections, too.
    pub(super) fn renew_mtu(&self) -> io::Result<()> {
        let given = self.pool.as_ref().map(|pool| (pool, pool.given.load(Relaxed)));
        let stale = given.is_some_and(|(pool, given)| given > 0 && given != pool.inner_mtu());
        if stale { self.set_route(true) } else { Ok(()) }
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
                "rules: made from another configuration; load them with `nattt rules apply`, or \
                 make the changed one effective with `nattt reload`; {consequence}"
            ),
            RulesState::Damaged => log::warn!(
                "rules: changed by somebody: {}; load them again with `nattt rules apply`; \
                 {consequence}",
                status.wrong.as_deref().unwrap_or_default()
            ),
            RulesState::Unknown => log::warn!(
                "rules: the kernel does not say what is loaded: {}; natttd asks again every \
                 second; {consequence}",
                status.wrong.as_deref().unwrap_or_default()
            ),
        }
    }

    /// Without a daemon nothing translates mapped addresses: connections fail at once instead of
    /// waiting for the rules to drop them.
    pub(super) fn close(&self) {
        if let Err(error) = self.set_route(false) {
            log::warn!("{}", Error::Route(error));
        }
    }
}

impl Narrow {
    /// Makes the routes what they should be: none, if the pool is closed and its MTU 0. After an error the
    /// next call goes on from what stands.
    fn follow(&mut self, pool_mtu: u16) -> io::Result<()> {
        let Self { wanted, standing } = self;
        let due = |addr: &Ipv4Addr| {
            let mtu = wanted.get(addr).map(|&mtu| mtu.min(pool_mtu));
            mtu.filter(|&mtu| mtu > 0)
        };
        let mut result = Ok(());
        standing.retain(|&addr, _| {
            let removed = if due(&addr).is_none() { route::remove_one(addr) } else { return true };
            let stands = removed.is_err();
            result = std::mem::replace(&mut result, Ok(())).and(removed);
            stands
        });
        for &addr in wanted.keys() {
            let Some(mtu) = due(&addr).filter(|mtu| standing.get(&addr) != Some(mtu)) else {
                continue;
            };
            // Before it is set: it may stand in spite of an error. Then it is set again.
            standing.insert(addr, 0);
            let set = route::set(addr.into(), PoolRoute::Open { mtu });
            if set.is_ok() {
                standing.insert(addr, mtu);
            }
            result = std::mem::replace(&mut result, Ok(())).and(set);
        }
        result
    }
}

impl Pool {
    /// The largest packet that an application can send, octets. Paths of several levels carry less.
    fn inner_mtu(&self) -> u16 {
        working_mtu(self.mtu, default_mtu()).saturating_sub(LEVEL as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_awaited_rules_are_nobodys_mistake() {
        let guard = Guard::new(&Config::parse("[client]").expect("a configuration"));
        let status = |state, found: &str| {
            let expected = "0000000000000001".to_owned();
            RulesStatus { state, expected, found: Some(found.to_owned()), wrong: None }
        };
        let next = status(RulesState::Stale, "0000000000000002");
        assert_eq!(guard.awaited(&next), None);
        let awaited = Awaited { fingerprint: "0000000000000002".into(), suffice: true };
        guard.await_rules(Some(awaited.clone()));
        assert_eq!(guard.awaited(&next), Some(awaited));
        assert_eq!(guard.awaited(&status(RulesState::Stale, "0000000000000003")), None);
        assert_eq!(guard.awaited(&status(RulesState::Damaged, "0000000000000001")), None);
        guard.await_rules(None);
        assert_eq!(guard.awaited(&next), None);
    }
}
