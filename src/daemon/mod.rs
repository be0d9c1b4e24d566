//! The threads of `natttd`, and nothing else: what they do with packets is in the pure modules,
//! what they ask of the kernel in [`crate::os`].
//!
//! | thread | does |
//! |---|---|
//! | worker, one a data queue | encapsulates and decapsulates, in batches |
//! | dns | classifies DNS replies (client role) |
//! | hold | keeps replies that wait for a NAT record (client role) |
//! | lookup | asks for NAT records (client role) |
//! | proxy | answers DNS questions itself (client role, `listen`) |
//! | keeper | keeps the flows in a file |
//! | path-mtu | measures what paths carry (client role, `measure_mtu`) |
//! | housekeeping | expires, keeps alive, watches over rules and routes |
//! | saver | saves the mapping table when `hold` or housekeeping says so, and at the end (client role) |
//! | control | answers `nattt` |
//! | metrics | answers Prometheus, where that is configured |
//! | signals | tells main of SIGTERM, SIGINT and SIGHUP |
//! | main | starts the others; ends them, or lets another configuration take their place |
//!
//! All but `dns`, `saver`, `signals` and `main` belong to one configuration and end with it
//! (`change`).

mod change;
mod connections;
mod dns;
mod drops;
mod error;
mod explain;
mod forwarding;
mod guard;
mod held;
mod housekeeping;
mod keeper;
mod lasting;
pub mod log;
mod measuring;
mod metrics;
mod notices;
mod pulse;
mod reloads;
mod repair;
mod repeated;
mod report;
mod roles;
mod saved;
mod signals;
mod stop;
mod worker;

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use ::log::{info, warn};

pub use change::read;
pub use error::Error;
pub use roles::Roles;

use crate::config::{self, Config};
use crate::mapping::Mappings;
use crate::os::control::Server;
use crate::os::events::Events;
use crate::os::limits;
use crate::os::lookup::Lookups;
use crate::os::network::{Interfaces, Network};
use crate::os::nfqueue::{Queue, Wake};
use crate::os::ports::Ports;
use crate::os::proxy::{self, Listening, OwnTraffic, Proxy};
use crate::os::route;
use crate::tunnel::Client;

use connections::{Connections, Forgotten};
use guard::Guard;
use held::{Held, Replies};
use housekeeping::Housekeeping;
use keeper::Keeper;
use lasting::Lasting;
use measuring::Measuring;
use pulse::{Pulses, Watchdog};
use repair::Repair;
use report::Report;
use saved::Saving;
use stop::Stop;
use worker::Worker;

/// The thread of the DNS proxy, which takes time to end.
const PROXY: &str = "proxy";
/// The thread that answers `nattt`, and those of its connections with it.
const CONTROL: &str = "control";
/// Descriptors besides those of outer ports.
const OTHER_DESCRIPTORS: u64 = 256;

/// Runs until SIGTERM or SIGINT. On SIGHUP `file` is read again, from which `config` came.
pub fn run(config: Config, file: &Path) -> Result<(), Error> {
    let calls = signals::listen()?;
    let mut daemon = Daemon::prepare(config)?;
    loop {
        let running = daemon.start();
        match running.until_change(file, &calls) {
            Ok(Some(plan)) => daemon = running.change(plan)?,
            Ok(None) => return running.end(),
            Err(error) => return running.end().and(Err(error)),
        }
    }
}

/// Everything that threads share, made before any of them starts.
struct Daemon {
    config: Config,
    shared: Shared,
    held: Held,
    keeper: Keeper,
    saving: Option<Saving>,
    beginning: Beginning,
}

/// The threads, and what is left to do when they end.
struct Running {
    config: Config,
    shared: Shared,
    held: Held,
    keeper: Arc<Mutex<Keeper>>,
    saving: Option<Saving>,
    threads: Vec<Thread>,
    /// Threads that have been asked to end, and that nothing waits for but the end.
    leaving: Vec<Thread>,
    started: Result<(), Error>,
}

/// How a configuration comes into effect.
enum Beginning {
    /// The process has just started.
    Started,
    /// After another configuration.
    Changed {
        /// Since when packets have been waiting.
        since: Instant,
        /// What that one held. Closing a queue takes time, for which no packet need wait.
        before: Box<Held>,
        /// Its DNS proxy, which still has open questions to answer.
        leaving: Vec<Thread>,
    },
}

#[derive(Clone)]
struct Shared {
    roles: Arc<Roles>,
    network: Network,
    guard: Arc<Guard>,
    lasting: Lasting,
    stop: Arc<Stop>,
    /// For those that answer `nattt`, who are asked first.
    answered: Arc<Stop>,
    pulses: Arc<Pulses>,
    /// Used when flows were opened.
    fresh_flows: Arc<Wake>,
    /// Used when there are paths to measure.
    unmeasured: Arc<Wake>,
}

impl Daemon {
    fn prepare(config: Config) -> Result<Self, Error> {
        let lasting = Lasting::new()?;
        let network = network(&config, Ports::new(max_ports(&config), config.mark.bit()))?;
        pool_is_free(&config, &network)?;
        let held = Held::take(&config, None, &lasting)?;
        make_state_dir(&config)?;
        let client = config.client.as_ref();
        route::remove_others(client.map(|client| client.pool)).map_err(Error::Route)?;
        let load = |client| Arc::new(saved::load(&config, client, lasting.clock));
        let mappings = client.map(load);
        let start = |mappings| Saving::start(mappings, &config, true, &lasting.failure);
        let saving = mappings.as_ref().map(start).transpose()?;
        Self::make((config, held), (network, mappings, saving), lasting, Keeper::restore)
    }

    /// `take_back`: how the keeper comes to the flows there are already.
    fn make(
        (config, held): (Config, Held),
        (network, mappings, saving): (Network, Option<Arc<Mappings>>, Option<Saving>),
        lasting: Lasting,
        take_back: impl FnOnce(Keeper) -> Keeper,
    ) -> Result<Self, Error> {
        let roles = Arc::new(Roles::new(&config, &network, mappings, &lasting.path_mtus));
        let keeper = Keeper::new(Arc::clone(&roles), lasting.clock, &config.daemon.state_dir);
        let shared = Shared {
            roles,
            network,
            guard: Arc::new(Guard::new(&config)),
            lasting,
            stop: Arc::new(Stop::new().map_err(|e| Error::System("eventfd", e))?),
            answered: Arc::new(Stop::new().map_err(|e| Error::System("eventfd", e))?),
            pulses: Arc::default(),
            fresh_flows: Arc::new(Wake::new().map_err(|e| Error::System("eventfd", e))?),
            unmeasured: Arc::new(Wake::new().map_err(|e| Error::System("eventfd", e))?),
        };
        let keeper = take_back(keeper);
        Ok(Self { config, shared, held, keeper, saving, beginning: Beginning::Started })
    }

    fn start(self) -> Running {
        let Self { config, shared, held, keeper, saving, beginning } = self;
        let mut threads = Vec::new();
        let keeper = Arc::new(Mutex::new(keeper));
        let started = shared
            .keeper(&keeper, &mut threads)
            .and_then(|()| shared.start(&config, &held, beginning, saving.as_ref(), &mut threads));
        if started.is_err() {
            shared.stop.request();
        }
        let leaving = Vec::new();
        Running { config, shared, held, keeper, saving, threads, leaving, started }
    }
}

impl Running {
    fn end(mut self) -> Result<(), Error> {
        let result = self.stop_answering();
        let result = result.and(self.stop());
        // What waits goes on as it came, and with it what the proxy still has to answer.
        self.held.replies = None;
        let result = result.and(join(std::mem::take(&mut self.leaving)));
        let result = result.and(self.saving.take().map_or(Ok(()), Saving::end));
        // Only now that housekeeping, which may open it, has ended.
        self.shared.guard.close();
        info!("natttd stops; the rules stay and keep the pool closed");
        result
    }

    /// Ends the threads that answer `nattt`. One may be making an answer about very many flows: packets
    /// go on meanwhile.
    fn stop_answering(&mut self) -> Result<(), Error> {
        self.shared.answered.request();
        let threads = std::mem::take(&mut self.threads);
        let (control, others) = threads.into_iter().partition(|thread| thread.name == CONTROL);
        self.threads = others;
        join(control)
    }

    /// Ends all threads, and returns the first error. The proxy's is asked to end only.
    fn stop(&mut self) -> Result<(), Error> {
        self.shared.stop.request();
        let started = std::mem::replace(&mut self.started, Ok(()));
        let failure = || self.shared.lasting.failure.failure().map_or(Ok(()), Err);
        let threads = std::mem::take(&mut self.threads);
        let (proxy, others) = threads.into_iter().partition(|thread| thread.name == PROXY);
        self.leaving.extend::<Vec<_>>(proxy);
        let result = started.and(join(others)).and_then(|()| failure());
        // Only now that no worker opens flows.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).save();
        result
    }
}

impl Shared {
    /// Starts everything. Threads that are to be waited for go into `threads`, also if a later one
    /// cannot be started.
    fn start(
        &self,
        config: &Config,
        held: &Held,
        beginning: Beginning,
        saving: Option<&Saving>,
        threads: &mut Vec<Thread>,
    ) -> Result<(), Error> {
        // Subscribed before the first look, so that no change falls in between.
        let housekeeping = self.housekeeping(config)?;
        match (self.guard.check().route.map_err(Error::Route), &beginning) {
            (Err(error), Beginning::Started) => return Err(error),
            (Err(error), Beginning::Changed { .. }) => warn!("{error}; natttd tries again"),
            (Ok(()), _) => {}
        }
        let plan = saving.map(Saving::plan);
        threads.push(self.spawn("housekeeping", move || housekeeping.run(plan))?);
        for queue in &held.data {
            threads.push(self.worker(config, Arc::clone(queue))?);
        }
        if let (Some(client), Some(replies), Some(role), Some(saving)) =
            (&config.client, &held.replies, &self.roles.client, saving)
        {
            let captured = (&**replies, &held.listening[..]);
            let around = dns::Around {
                mappings: Arc::clone(role.mappings()),
                saving: saving.plan(),
                roles: Arc::clone(&self.roles),
            };
            self.dns(captured, client, around, threads)?;
        }
        threads.extend(self.measuring()?);
        // Now that packets are served: many may be waiting to ask.
        threads.push(self.control(config.clone(), Arc::clone(&held.server))?);
        threads.extend(self.metrics(config)?);
        for advice in forwarding::advice(config, &self.network) {
            warn!("{advice}");
        }
        match beginning {
            Beginning::Started => {
                info!("natttd {} runs: {}", env!("CARGO_PKG_VERSION"), self.roles)
            }
            Beginning::Changed { since, before, leaving } => {
                let waited = since.elapsed().as_millis();
                // With it the replies that nobody holds any more.
                drop(before);
                join(leaving)?;
                self.lasting.reloads.done();
                info!(
                    "the changed configuration is in effect: {}; packets waited {waited} ms",
                    self.roles
                );
            }
        }
        notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    }

    fn keeper(&self, keeper: &Arc<Mutex<Keeper>>, threads: &mut Vec<Thread>) -> Result<(), Error> {
        let (keeper, stop) = (Arc::clone(keeper), Arc::clone(&self.stop));
        let wake = Arc::clone(&self.fresh_flows);
        let run = move || keeper.lock().unwrap_or_else(PoisonError::into_inner).run(&stop, &wake);
        threads.push(self.spawn("keeper", run)?);
        Ok(())
    }

    fn housekeeping(&self, config: &Config) -> Result<Housekeeping, Error> {
        let Self { roles, network, guard, lasting, stop, pulses, .. } = self.clone();
        let Lasting { counters, clock, .. } = lasting;
        let connections =
            Connections::new(Arc::clone(&roles), Arc::clone(&counters), config.mark.bit());
        Ok(Housekeeping {
            connections,
            roles,
            network,
            guard,
            counters,
            clock,
            flavour: config.firewall,
            routing: Events::routing().map_err(|e| Error::System("watching routes", e))?,
            firewall: Events::firewall().map_err(|e| Error::System("watching rules", e))?,
            stop,
            watchdog: Watchdog::new(pulses),
            repair: Repair::of_service(),
        })
    }

    /// Nothing where paths are not measured.
    fn measuring(&self) -> Result<Option<Thread>, Error> {
        let measures = self.roles.client.as_ref().is_some_and(Client::measures);
        let Self { lasting, stop, unmeasured: wake, .. } = self.clone();
        let Lasting { path_mtus, counters, clock, .. } = lasting;
        let measuring = Measuring { path_mtus, counters, clock, stop, wake, said: Cell::default() };
        let run =
            move || measuring.run().map_err(|e| Error::System("measuring the MTU of paths", e));
        measures.then(|| self.spawn("path-mtu", run)).transpose()
    }

    fn control(&self, config: Config, server: Arc<Server>) -> Result<Thread, Error> {
        let (report, stop) = (self.report(config), Arc::clone(&self.answered));
        self.spawn(CONTROL, move || {
            let answer = |request| report.answer(request);
            server.serve(&answer, &*stop).map_err(|e| Error::System("control socket", e))
        })
    }

    fn report(&self, config: Config) -> Report {
        let Self { roles, network, guard, lasting, .. } = self.clone();
        let Lasting { counters, drops, clock, reloads, .. } = lasting;
        Report { config, roles, network, guard, counters, drops, clock, reloads }
    }

    fn worker(&self, config: &Config, queue: Arc<Queue>) -> Result<Thread, Error> {
        let Self { roles, guard, lasting, stop, .. } = self.clone();
        let Lasting { counters, drops, clock, .. } = lasting;
        let number = queue.number();
        let mark = config.mark.bit();
        let pulse = self.pulses.one();
        let (keeper, measurer) = (Arc::clone(&self.fresh_flows), Arc::clone(&self.unmeasured));
        let forgotten = Forgotten::new(Arc::clone(&roles), Arc::clone(&counters), mark);
        let worker = Worker {
            queue,
            roles,
            guard,
            counters,
            drops,
            clock,
            mark,
            stop,
            pulse,
            forgotten,
            keeper,
            measurer,
        };
        self.spawn("worker", move || worker.run().map_err(|e| Error::Queue(number, e)))
    }

    /// The holder's thread ends first and ends the lookups with it.
    fn dns(
        &self,
        (replies, listening): (&Replies, &[Arc<Listening>]),
        client: &config::Client,
        around: dns::Around,
        threads: &mut Vec<Thread>,
    ) -> Result<(), Error> {
        let wake = Arc::new(Wake::new().map_err(|e| Error::System("eventfd", e))?);
        let (sender, answers) = crossbeam_channel::unbounded();
        let (lookups, asker) = Lookups::new(client.record_type, sender, Arc::clone(&wake))
            .map_err(|e| Error::System("starting lookups", e))?;
        let Self { lasting: Lasting { counters, clock, .. }, stop, .. } = self.clone();
        let handover = Arc::clone(&replies.handover);
        let (proxied, own) = self.proxy(client, listening, &wake, threads)?;
        let settings = dns::settings(client);
        let policy = settings.policy.clone();
        let number = replies.hold.number();
        let holder = dns::Holder {
            queue: Arc::clone(&replies.hold),
            lookups,
            answers,
            proxied,
            wake,
            around,
            settings,
            counters,
            handover,
            clock,
            stop,
        };
        threads
            .push(self.spawn("hold", move || holder.run().map_err(|e| Error::Queue(number, e)))?);
        threads.push(self.spawn("lookup", move || {
            asker.run();
            Ok(())
        })?);
        replies.handover.sort_by(dns::Sorting { policy, own });
        Ok(())
    }

    /// The DNS proxy, if it is configured: where its replies wait, and what is its own. It ends with the
    /// holder's thread.
    fn proxy(
        &self,
        client: &config::Client,
        listening: &[Arc<Listening>],
        wake: &Arc<Wake>,
        threads: &mut Vec<Thread>,
    ) -> Result<(Option<proxy::Replies>, Arc<OwnTraffic>), Error> {
        let own = Arc::new(OwnTraffic::new(&client.listen));
        let Some(settings) = dns::proxy_settings(client) else { return Ok((None, own)) };
        let around = (Arc::clone(&self.lasting.counters), self.lasting.clock);
        let (proxy, replies) =
            Proxy::new(settings, listening, Arc::clone(&own), Arc::clone(wake), around)
                .map_err(Error::Proxy)?;
        threads.push(self.spawn(PROXY, move || {
            proxy.run();
            Ok(())
        })?);
        Ok((Some(replies), own))
    }

    /// Starts a thread. However it ends, by a panic too, all others are asked to stop.
    fn spawn(
        &self,
        name: &'static str,
        run: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) -> Result<Thread, Error> {
        let end = StopAtEnd(Arc::clone(&self.stop));
        let body = move || {
            let _end = end;
            run()
        };
        let handle = Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(|e| Error::System("starting a thread", e))?;
        Ok(Thread { name, handle })
    }
}

struct Thread {
    name: &'static str,
    handle: JoinHandle<Result<(), Error>>,
}

struct StopAtEnd(Arc<Stop>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// Waits for all threads and returns the first error.
fn join(threads: Vec<Thread>) -> Result<(), Error> {
    let mut result = Ok(());
    for Thread { name, handle } in threads {
        result = result.and(handle.join().unwrap_or(Err(Error::Thread(name))));
    }
    result
}

/// Most outer ports of this host's own, a descriptor each: no more than leave natttd what it needs itself.
fn max_ports(config: &Config) -> usize {
    let Some(client) = &config.client else { return 0 };
    let allowed = limits::raise_descriptors();
    let others = OTHER_DESCRIPTORS + if client.listen.is_empty() { 0 } else { proxy::DESCRIPTORS };
    let ports = limits::room_for(client.max_ports, allowed, others);
    if ports < client.max_ports {
        warn!(
            "only {allowed} descriptors are allowed, so there will be {ports} outer ports at most, though \
             `max_ports` is {}; allow {} (`LimitNOFILE`, `ulimit -n`) for all",
            client.max_ports,
            client.max_ports as u64 + others
        );
    }
    ports
}

fn network(config: &Config, ports: Ports) -> Result<Network, Error> {
    let (client, gateway) = (config.client.as_ref(), config.gateway.as_ref());
    let interfaces = Interfaces {
        outside: gateway.map(|gateway| gateway.outside.clone()).unwrap_or_default(),
        hairpin: gateway.map(|gateway| gateway.hairpin.clone()).unwrap_or_default(),
        serve: client.map(|client| client.serve.clone()).unwrap_or_default(),
    };
    Network::new(ports, interfaces).map_err(|e| Error::System("reading this host's addresses", e))
}

/// A pool that others can send to must not be somebody's network.
fn pool_is_free(config: &Config, network: &Network) -> Result<(), Error> {
    let routed = config.client.as_ref().filter(|client| client.is_routed());
    let clash = routed.and_then(|client| Some((client.pool, network.clash(client.pool)?)));
    clash.map_or(Ok(()), |(pool, net)| Err(Error::PoolTaken(pool, net)))
}

fn make_state_dir(config: &Config) -> Result<(), Error> {
    let directory = &config.daemon.state_dir;
    std::fs::create_dir_all(directory).map_err(|e| Error::StateDir(directory.clone(), e))
}

/// Tells systemd, if it started us.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        let error: io::Error = error;
        warn!("telling systemd: {error}");
    }
}
