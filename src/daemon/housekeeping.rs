//! What happens once a second, or when the kernel says that something changed.

use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::Flavour;
use crate::counters::{Counter, Counters};
use crate::os::clock::Clock;
use crate::os::events::Events;
use crate::os::network::Network;
use crate::os::sets::{Contents, Sets};
use crate::tunnel::Client;

use super::connections::Connections;
use super::guard::Guard;
use super::notices::Notices;
use super::pulse::Watchdog;
use super::repair::Repair;
use super::repeated::Repeated;
use super::saved::SavePlan;
use super::stop::Stop;
use super::{Error, Roles};

/// What is logged if it fails.
const POOL_ROUTE: &str = "setting the route of the pool";
const TICK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Without events (a firewall that nf_tables does not know of), rules are looked at this often.
const CHECK_RULES: Duration = Duration::from_secs(30);
/// While they, or the pool's route, are not as they should be, this often: iptables' tables are loaded
/// one by one, and a look in between may be wrong.
const CHECK_BAD_RULES: Duration = Duration::from_secs(1);
/// Rules that could not be loaded when they were asked for are asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);

pub(super) struct Housekeeping {
    pub(super) connections: Connections,
    pub(super) roles: Arc<Roles>,
    pub(super) network: Network,
    pub(super) guard: Arc<Guard>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) flavour: Flavour,
    pub(super) routing: Events,
    pub(super) firewall: Events,
    pub(super) stop: Arc<Stop>,
    pub(super) watchdog: Watchdog,
    pub(super) repair: Repair,
}

/// What was done up to when, by generation of the mapping table or time since the start.
#[derive(Default)]
struct Progress {
    saving: Option<SavePlan>,
    filled: Option<u64>,
    sets: Sets,
    filling: Repeated,
    addresses: Repeated,
    /// What the addresses with a smaller MTU were made from: mappings, measurements, the pool's MTU.
    narrowed: Option<(u64, u64, u16)>,
    narrowing: Repeated,
    /// The pool, and a network of this host's that shares addresses with it.
    clash: Option<(Ipv4Net, Ipv4Net)>,
    route: Repeated,
    evicted: u64,
    rerouted: u64,
    /// Packets of the client role, and of the gateway role.
    fragmented: [u64; 2],
    rules_checked: Duration,
    repair_asked: Option<Duration>,
    ticked: Duration,
    notices: Notices,
}

impl Housekeeping {
    /// Goes on until a stop is requested.
    pub(super) fn run(mut self, saving: Option<SavePlan>) -> Result<(), Error> {
        let mut progress =
            Progress { saving, notices: Notices::since(&self.counters), ..Progress::default() };
        while !self.stop.requested() {
            self.wait()?;
            // The end must not wait for the keepalives of very many flows.
            if self.stop.requested() {
                break;
            }
            self.changes(&mut progress);
            let uptime = self.clock.now().since(self.clock.started());
            if uptime.saturating_sub(progress.ticked) >= Duration::from_secs(1) {
                progress.ticked = uptime;
                self.tick(&mut progress);
                self.connections.look();
                self.watchdog.feed();
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), Error> {
        let mut fds = [
            PollFd::new(&*self.stop, PollFlags::IN),
            PollFd::new(&self.routing, PollFlags::IN),
            PollFd::new(&self.firewall, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::System("waiting for events", error.into())),
        }
    }

    /// A network may come up later than natttd.
    fn look_for_clash(&self, progress: &mut Progress) {
        let pool = self.roles.client.as_ref().map(|client| client.mappings().pool());
        let pool = pool.filter(|pool| !pool.network().is_loopback());
        let clash = pool.and_then(|pool| Some((pool, self.network.clash(pool)?)));
        if let (true, Some((pool, net))) = (clash != progress.clash, clash) {
            log::warn!("{}; until then, nobody there is reached", Error::PoolTaken(pool, net));
        }
        progress.clash = clash;
    }

    fn changes(&self, progress: &mut Progress) {
        if self.routing.any() || progress.addresses.failing() {
            progress.addresses.done("reading this host's addresses", self.network.refresh());
            self.look_for_clash(progress);
            progress.route.done(POOL_ROUTE, self.guard.renew_mtu());
        }
        let uptime = self.clock.now().since(self.clock.started());
        let good = self.guard.loaded() && !progress.route.failing();
        let interval = if good { CHECK_RULES } else { CHECK_BAD_RULES };
        let due = uptime.saturating_sub(progress.rules_checked) >= interval;
        if self.firewall.any() || due {
            progress.rules_checked = uptime;
            let checked = self.guard.check();
            if checked.another_table {
                progress.filled = None;
                progress.sets.forget();
            }
            progress.route.done(POOL_ROUTE, checked.route);
            if !checked.changing {
                self.repair_rules(uptime, progress);
            }
        }
    }

    /// Asks for the rules at once when they go, and now and then while they are away.
    fn repair_rules(&self, uptime: Duration, progress: &mut Progress) {
        if self.guard.loaded() {
            progress.repair_asked = None;
        } else if progress.repair_asked.is_none_or(|at| uptime.saturating_sub(at) >= ASK_AGAIN) {
            progress.repair_asked = Some(uptime);
            self.repair.ask();
        }
    }

    fn tick(&self, progress: &mut Progress) {
        let now = self.clock.now();
        let (mut evicted, mut rerouted, mut fragmented) = (0, 0, [0; 2]);
        if let Some(client) = &self.roles.client {
            client.expire(now);
            evicted += client.evicted();
            rerouted = client.rerouted_flows();
            fragmented[0] = client.fragmented().0;
            for keepalive in client.keepalives(now) {
                match self.network.send(&keepalive) {
                    Ok(()) => self.counters.add(Counter::KeepalivesSent),
                    Err(error) => log::debug!("keepalive to {}: {error}", keepalive.to),
                }
            }
            client.mappings().expire(now);
            self.fill_sets(client, progress);
            self.narrow(client, progress);
            if let Some(saving) = &mut progress.saving {
                saving.tick(client.mappings(), progress.ticked);
            }
        }
        if let Some(gateway) = &self.roles.gateway {
            gateway.expire(now);
            evicted += gateway.evicted();
            fragmented[1] = gateway.fragmented().0;
        }
        self.counters.add_many(Counter::FlowsEvicted, evicted - progress.evicted);
        progress.evicted = evicted;
        self.counters.add_many(Counter::FlowsRerouted, rerouted - progress.rerouted);
        progress.rerouted = rerouted;
        let counters = [Counter::ClientFragmented, Counter::GatewayFragmented];
        for ((counter, now), before) in
            counters.into_iter().zip(fragmented).zip(progress.fragmented)
        {
            self.counters.add_many(counter, now - before);
        }
        progress.fragmented = fragmented;
        for notice in progress.notices.due(&self.counters, progress.ticked) {
            log::warn!("{notice}");
        }
    }

    /// Programs here learn from the routes of mapped addresses what their paths carry.
    fn narrow(&self, client: &Client<Network>, progress: &mut Progress) {
        let Some(pool_mtu) = self.guard.pool_mtu() else { return };
        let generations = (client.mappings().address_generation(), client.known_paths());
        let now = (generations.0, generations.1, pool_mtu);
        if progress.narrowed == Some(now) {
            return;
        }
        let set = self.guard.set_narrow(client.narrow(pool_mtu).into_iter().collect());
        progress.narrowed = set.is_ok().then_some(now);
        progress.narrowing.done("setting the routes of mapped addresses", set);
    }

    /// The sets are for people and for other rules to read; nothing of ours depends on them.
    fn fill_sets(&self, client: &Client<Network>, progress: &mut Progress) {
        let mappings = client.mappings();
        let generation = mappings.address_generation();
        let loaded = self.guard.status().found.is_some();
        if self.flavour != Flavour::Nft || !loaded || progress.filled == Some(generation) {
            return;
        }
        let mappings = mappings.snapshot();
        let paths = mappings.iter().flat_map(|mapping| mapping.paths().paths());
        let contents = Contents {
            mapped: mappings.iter().map(|mapping| mapping.addr()).collect(),
            gateways: paths.filter_map(|path| client.boxes(path)?.first().copied()).collect(),
        };
        let filled = progress.sets.fill(contents);
        progress.filled = filled.is_ok().then_some(generation);
        progress.filling.done("filling the sets of nft's table", filled);
    }
}
