//! A changed configuration: read on SIGHUP, everything that can fail tried beside the old one, and
//! then, when its rules are loaded, put in its place as a whole.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sd_notify::NotifyState;

use crate::config::Config;
use crate::control::ReloadState;
use crate::mapping::Mappings;
use crate::os::configuration;
use crate::os::events::Events;
use crate::os::route;
use crate::rules;

use super::guard::{Awaited, Guard};
use super::held::Held;
use super::repair::Repair;
use super::signals::Calls;
use super::{
    Beginning, Daemon, Error, Running, make_state_dir, max_ports, network, notify, pool_is_free,
    saved::{self, Saving},
};

/// Without events (a firewall that nf_tables does not know of), rules are looked for this often.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Whoever called may be about to load the rules. After this time they are asked for.
const ASK_AFTER: Duration = Duration::from_secs(2);

/// A configuration that takes effect when its rules are loaded; nothing that it needs is missing.
pub(super) struct Plan {
    config: Config,
    held: Held,
    /// As they were saved, for a client role that there was not.
    mappings: Option<Arc<Mappings>>,
    guard: Guard,
    events: Events,
    made: Instant,
    asked: bool,
}

/// Reads a configuration file. The error names the file, and the line if that is known.
pub fn read(file: &Path) -> Result<Config, String> {
    let text = fs::read_to_string(file).map_err(|error| configuration::unreadable(&error));
    let config = text.and_then(|text| Config::parse(&text).map_err(|error| error.to_string()));
    config.map_err(|error| format!("{}: {error}", file.display()))
}

impl Running {
    /// Waits until natttd is to end, or until another configuration is to take effect.
    pub(super) fn until_change(&self, file: &Path, calls: &Calls) -> Result<Option<Plan>, Error> {
        let mut plan: Option<Plan> = None;
        loop {
            // Before looking for calls, so that one in between is not lost.
            calls.wake().clear();
            if calls.end() || self.is_over() {
                return Ok(None);
            }
            // Before another call is heard: the present configuration must not stay with these rules.
            if let Some(plan) = plan.take_if(|plan| plan.rules_are_loaded()) {
                return Ok(Some(plan));
            }
            if calls.take_reload() {
                // First gone: the next one may want what it holds.
                drop(plan.take());
                plan = self.plan(file);
                continue;
            }
            self.wait(calls, plan.as_ref())?;
        }
    }

    fn is_over(&self) -> bool {
        self.shared.stop.requested() || self.shared.lasting.failure.requested()
    }

    fn wait(&self, calls: &Calls, plan: Option<&Plan>) -> Result<(), Error> {
        let mut fds = vec![
            PollFd::new(calls.wake(), PollFlags::IN),
            PollFd::new(&*self.shared.stop, PollFlags::IN),
            PollFd::new(&*self.shared.lasting.failure, PollFlags::IN),
        ];
        fds.extend(plan.map(|plan| PollFd::new(&plan.events, PollFlags::IN)));
        match poll(&mut fds, plan.map(|_| &LOOK_AGAIN)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::System("waiting for signals", error.into())),
        }
    }

    /// What the file says, if it is another configuration and can be put into effect.
    fn plan(&self, file: &Path) -> Option<Plan> {
        self.shared.guard.await_rules(None);
        let planned = read(file).and_then(|config| match config == self.config {
            true => Ok(None),
            false => self.prepared(config).map(Some).map_err(|error| error.to_string()),
        });
        let reloads = &self.shared.lasting.reloads;
        match planned {
            Ok(Some(plan)) => {
                let rules = rules::fingerprint(&plan.config, plan.config.firewall);
                let suffice = guards_as_well(&self.config, &plan.config);
                let awaited = Awaited { fingerprint: rules.clone(), suffice };
                self.shared.guard.await_rules(Some(awaited));
                reloads.called(ReloadState::Waiting(rules));
                return Some(plan);
            }
            Ok(None) => {
                info!("{}: nothing has changed", file.display());
                reloads.called(ReloadState::Done);
            }
            Err(error) => {
                warn!("{error}; natttd goes on with the configuration that it has");
                reloads.called(ReloadState::Refused(error));
            }
        }
        None
    }

    fn prepared(&self, config: Config) -> Result<Plan, Error> {
        let lasting = &self.shared.lasting;
        pool_is_free(&config, &self.shared.network)?;
        make_state_dir(&config)?;
        let held = Held::take(&config, Some(&self.held), lasting)?;
        let added = config.client.as_ref().filter(|_| self.config.client.is_none());
        let load = |client| Arc::new(saved::load(&config, client, lasting.clock));
        Ok(Plan {
            mappings: added.map(load),
            held,
            guard: Guard::new(&config),
            // Subscribed before the first look, so that no change falls in between.
            events: Events::firewall().map_err(|e| Error::System("watching rules", e))?,
            config,
            made: Instant::now(),
            asked: false,
        })
    }

    /// Ends all threads, and makes what the plan says from what they leave. Packets wait meanwhile, but
    /// not for answers to `nattt`.
    pub(super) fn change(mut self, plan: Plan) -> Result<Daemon, Error> {
        notify_reloading();
        let (began, same_queues) = (Instant::now(), plan.config.queues == self.config.queues);
        let answered = self.stop_answering();
        // In other queues they have waited since the rules were loaded.
        let since = if same_queues { Instant::now() } else { began };
        if let Err(error) = answered.and(self.stop()) {
            return self.end().and(Err(error));
        }
        let guard = Arc::clone(&self.shared.guard);
        let next = self.succeeded_by(plan, since);
        if next.is_err() {
            guard.close();
        }
        next
    }

    fn succeeded_by(self, plan: Plan, since: Instant) -> Result<Daemon, Error> {
        let Self { config: old, shared, held: before, keeper, saving, leaving, .. } = self;
        let Plan { config, held, mappings, .. } = plan;
        let lasting = shared.lasting;
        let (flows, now) = (shared.roles.saved(), lasting.clock.now());
        let known = shared.roles.client.as_ref().map(|client| Arc::clone(client.mappings()));
        let mappings = match (&known, &old.client, &config.client) {
            (Some(known), Some(old), Some(new)) => Some(saved::carried(known, (old, new), now)),
            _ => mappings,
        };
        let same_table = known.zip(mappings.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(&a, b));
        let saving = match saving {
            Some(saving) if same_table && old.daemon.state_dir == config.daemon.state_dir => {
                Some(saving)
            }
            saving => {
                saving.map_or(Ok(()), Saving::end)?;
                // A table that was just loaded is on disk.
                let on_disk = old.client.is_none();
                let start = |table| Saving::start(table, &config, on_disk, &lasting.failure);
                mappings.as_ref().map(start).transpose()?
            }
        };
        let ports = shared.network.ports().hand_over(max_ports(&config), config.mark.bit());
        // Their outer ports are now free for the new roles, and for nobody else.
        drop((keeper, shared.roles, shared.network));
        let network = network(&config, ports.clone())?;
        route::remove_others(config.client.as_ref().map(|client| client.pool))
            .map_err(Error::Route)?;
        let next = Daemon::make((config, held), (network, mappings, saving), lasting, |keeper| {
            keeper.carry(flows)
        })?;
        ports.settle();
        let beginning = Beginning::Changed { since, before: Box::new(before), leaving };
        Ok(Daemon { beginning, ..next })
    }
}

impl Plan {
    /// Looks for its rules, and sees to it that somebody loads them.
    fn rules_are_loaded(&mut self) -> bool {
        self.events.any();
        let loaded = self.guard.finds_rules();
        if !loaded && !self.asked && self.made.elapsed() >= ASK_AFTER {
            self.asked = true;
            warn!(
                "the changed configuration takes effect when its rules are loaded: `nattt rules apply`"
            );
            Repair::of_service().ask();
        }
        loaded
    }
}

/// Whether the old configuration may live with the new one's rules for the moment until it goes:
/// they guard its pool, and know its packets.
fn guards_as_well(old: &Config, new: &Config) -> bool {
    let pool = |config: &Config| config.client.as_ref().map(|client| client.pool);
    let guarded = pool(old).is_none_or(|old| pool(new) == Some(old));
    guarded && old.mark == new.mark && old.firewall == new.firewall
}

/// systemd waits for "ready", which comes when the configuration is in effect.
fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!("telling systemd: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("a configuration")
    }

    #[test]
    fn rules_of_another_pool_mark_or_flavour_close_the_old_one() {
        let old = config("[client]\n");
        let both = "[client]\n[gateway]\noutside = [\"wan\"]\nexports = [\"10.0.0.0/24\"]\n";
        assert!(guards_as_well(&old, &config(both)));
        let gateway = config(both.strip_prefix("[client]\n").expect("a prefix"));
        assert!(guards_as_well(&gateway, &old));
        for other in [
            "[client]\npool = \"127.32.0.0/16\"\n",
            "mark = 0x1\n[client]\n",
            "firewall = \"iptables\"\n[client]\n",
        ] {
            assert!(!guards_as_well(&old, &config(other)), "{other}");
        }
        assert!(!guards_as_well(&old, &gateway));
    }
}
