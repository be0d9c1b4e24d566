//! The threads of `natttd`, and nothing else: what they do with packets is in the pure modules,
//! what they ask of the kernel in [`crate::os`].
//!
//! | thread | does |
//! |---|---|
//! | worker, one a data queue | encapsulates and decapsulates, in batches |
//! | dns | classifies DNS replies (client role) |
//! | hold | keeps replies that wait for a NAT record (client role) |
//! | lookup | asks for NAT records (client role) |
//! | keeper | keeps the flows in a file |
//! | housekeeping | expires, keeps alive, watches over rules and routes |
//! | saver | saves the mapping table when housekeeping says so, and at the end (client role) |
//! | control | answers `nattt` |
//! | metrics | answers Prometheus, where that is configured |
//! | signals | asks the others to stop on SIGTERM and SIGINT; survives SIGHUP |
//! | main | starts the others and waits for their end |

mod dns;
mod drops;
mod error;
mod explain;
mod forwarding;
mod guard;
mod housekeeping;
mod keeper;
pub mod log;
mod metrics;
mod notices;
mod pulse;
mod repair;
mod repeated;
mod report;
mod roles;
mod saved;
mod signals;
mod stop;
mod worker;

use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use ::log::{info, warn};
use signal_hook::iterator::Signals;

pub use error::Error;
pub use roles::Roles;

use crate::config::{self, Config};
use crate::counters::Counters;
use crate::dns::Policy;
use crate::mapping::Mappings;
use crate::os::clock::Clock;
use crate::os::control::{GROUP, Server};
use crate::os::dnsqueue::DnsQueue;
use crate::os::events::Events;
use crate::os::limits;
use crate::os::lookup::Lookups;
use crate::os::network::{Interfaces, Network};
use crate::os::nfqueue::{Options, Queue, Wake};
use crate::os::ports::{self, Ports};
use crate::os::route;
use crate::os::sysctl::{self, Changed, UDP_EARLY_DEMUX};

use drops::Drops;
use guard::Guard;
use housekeeping::Housekeeping;
use keeper::Keeper;
use pulse::{Pulses, Watchdog};
use repair::Repair;
use report::Report;
use saved::SavePlan;
use stop::Stop;
use worker::Worker;

/// Packets that the kernel holds for one data queue.
const DATA_QUEUE: Options = Options { max_len: 4096, fail_open: false };
/// Descriptors besides those of outer ports.
const OTHER_DESCRIPTORS: u64 = 256;

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    let signals = signals::catch()?;
    Daemon::prepare(config)?.run(signals)
}

/// Everything that threads share, made before any of them starts.
struct Daemon {
    config: Config,
    shared: Shared,
    queues: Vec<Queue>,
    dns: Option<(DnsQueue, Queue)>,
    server: Server,
    keeper: Keeper,
    _tunnel_port: Option<UdpSocket>,
    /// Settings of the kernel, put back when the daemon ends.
    _changed: Vec<Changed>,
}

#[derive(Clone)]
struct Shared {
    roles: Arc<Roles>,
    network: Network,
    guard: Arc<Guard>,
    counters: Arc<Counters>,
    drops: Arc<Drops>,
    clock: Clock,
    stop: Arc<Stop>,
    pulses: Arc<Pulses>,
    /// Used when flows were opened.
    fresh_flows: Arc<Wake>,
}

impl Daemon {
    fn prepare(config: Config) -> Result<Self, Error> {
        let clock = Clock::start();
        let server = Server::bind(&config.daemon.control_socket, GROUP).map_err(Error::Control)?;
        make_state_dir(&config)?;
        let network = network(&config)?;
        pool_is_free(&config, &network)?;
        route::remove_others(config.client.as_ref().map(|client| client.pool))
            .map_err(Error::Route)?;
        let client = config.client.as_ref();
        let mappings = client.map(|client| saved::load(&config, client, clock));
        let roles = Arc::new(Roles::new(&config, &network, mappings));
        let queues = config
            .queues
            .data()
            .map(|number| bind_queue(number, DATA_QUEUE))
            .collect::<Result<_, _>>()?;
        let dns = config.client.as_ref().map(|_| bind_dns(&config)).transpose()?;
        let shared = Shared {
            roles,
            network,
            guard: Arc::new(Guard::new(&config)),
            counters: Arc::default(),
            drops: Arc::default(),
            clock,
            stop: Arc::new(Stop::new().map_err(|e| Error::System("eventfd", e))?),
            pulses: Arc::default(),
            fresh_flows: Arc::new(Wake::new().map_err(|e| Error::System("eventfd", e))?),
        };
        let keeper = Keeper::restore(Arc::clone(&shared.roles), clock, &config.daemon.state_dir);
        Ok(Self {
            keeper,
            _tunnel_port: own_tunnel_port(&config)?,
            _changed: changed_settings(&config)?,
            config,
            shared,
            queues,
            dns,
            server,
        })
    }

    fn run(self, signals: Signals) -> Result<(), Error> {
        let Self { config, shared, queues, dns, server, keeper, _tunnel_port, _changed } = self;
        let handle = signals.handle();
        let mut threads = Vec::new();
        let keeper = Arc::new(Mutex::new(keeper));
        let started = shared
            .keeper(&keeper, &mut threads)
            .and_then(|()| shared.start(&config, queues, dns, server, signals, &mut threads));
        if started.is_err() {
            shared.stop.request();
        }
        let result = started.and(join(threads)).and(shared.stop.failure().map_or(Ok(()), Err));
        handle.close();
        // Only now that no worker opens flows.
        keeper.lock().unwrap_or_else(PoisonError::into_inner).save();
        // Only now that housekeeping, which may open it, has ended.
        shared.guard.close();
        info!("natttd stops; the rules stay and keep the pool closed");
        result
    }
}

impl Shared {
    /// Starts everything. Threads that are to be waited for go into `threads`, also if a later one
    /// cannot be started.
    fn start(
        &self,
        config: &Config,
        queues: Vec<Queue>,
        dns: Option<(DnsQueue, Queue)>,
        server: Server,
        signals: Signals,
        threads: &mut Vec<Thread>,
    ) -> Result<(), Error> {
        // Subscribed before the first look, so that no change falls in between.
        let housekeeping = self.housekeeping(config)?;
        self.guard.check().route.map_err(Error::Route)?;
        let saving = self.saver(config, threads)?;
        threads.push(self.spawn("housekeeping", move || housekeeping.run(saving))?);
        threads.push(self.control(config.clone(), server)?);
        threads.extend(self.metrics(config)?);
        for queue in queues {
            threads.push(self.worker(config, queue)?);
        }
        if let (Some(client), Some(queues), Some(role)) = (&config.client, dns, &self.roles.client)
        {
            self.dns(config, queues, client, Arc::clone(role.mappings()), threads)?;
        }
        for advice in forwarding::advice(config, &self.network) {
            warn!("{advice}");
        }
        info!("natttd {} runs: {}", env!("CARGO_PKG_VERSION"), self.roles);
        notify(&[sd_notify::NotifyState::Ready]);
        self.signals(signals)
    }

    fn keeper(&self, keeper: &Arc<Mutex<Keeper>>, threads: &mut Vec<Thread>) -> Result<(), Error> {
        let (keeper, stop) = (Arc::clone(keeper), Arc::clone(&self.stop));
        let wake = Arc::clone(&self.fresh_flows);
        let run = move || keeper.lock().unwrap_or_else(PoisonError::into_inner).run(&stop, &wake);
        threads.push(self.spawn("keeper", run)?);
        Ok(())
    }

    fn housekeeping(&self, config: &Config) -> Result<Housekeeping, Error> {
        let Self { roles, network, guard, counters, clock, stop, pulses, .. } = self.clone();
        Ok(Housekeeping {
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

    fn saver(&self, config: &Config, threads: &mut Vec<Thread>) -> Result<Option<SavePlan>, Error> {
        let Some(client) = &self.roles.client else { return Ok(None) };
        let (plan, saver) = saved::new(Arc::clone(client.mappings()), config);
        threads.push(self.spawn("saver", move || {
            saver.run();
            Ok(())
        })?);
        Ok(Some(plan))
    }

    fn control(&self, config: Config, server: Server) -> Result<Thread, Error> {
        let (report, stop) = (self.report(config), Arc::clone(&self.stop));
        self.spawn("control", move || {
            let answer = |request| report.answer(request);
            server.serve(&answer, &*stop).map_err(|e| Error::System("control socket", e))
        })
    }

    fn report(&self, config: Config) -> Report {
        let Self { roles, network, guard, counters, drops, clock, .. } = self.clone();
        Report { config, roles, network, guard, counters, drops, clock }
    }

    fn worker(&self, config: &Config, queue: Queue) -> Result<Thread, Error> {
        let Self { roles, guard, counters, drops, clock, stop, .. } = self.clone();
        let number = queue.number();
        let mark = config.mark.bit();
        let pulse = self.pulses.one();
        let keeper = Arc::clone(&self.fresh_flows);
        let worker =
            Worker { queue, roles, guard, counters, drops, clock, mark, stop, pulse, keeper };
        self.spawn("worker", move || worker.run().map_err(|e| Error::Queue(number, e)))
    }

    /// The holder's thread ends first and ends the lookups with it.
    fn dns(
        &self,
        config: &Config,
        (sorter, holder): (DnsQueue, Queue),
        client: &config::Client,
        mappings: Arc<Mappings>,
        threads: &mut Vec<Thread>,
    ) -> Result<(), Error> {
        let wake = Arc::new(Wake::new().map_err(|e| Error::System("eventfd", e))?);
        let (sender, answers) = crossbeam_channel::unbounded();
        let (lookups, asker) = Lookups::new(client.record_type, sender, Arc::clone(&wake))
            .map_err(|e| Error::System("starting lookups", e))?;
        let Self { roles, counters, clock, stop, .. } = self.clone();
        let handover = Arc::<dns::Handover>::default();
        let settings = dns::settings(client);
        let policy = settings.policy.clone();
        let (number, around) = (holder.number(), dns::Around { mappings, roles });
        let holder = dns::Holder {
            queue: holder,
            lookups,
            answers,
            wake,
            around,
            settings,
            counters,
            handover: Arc::clone(&handover),
            clock,
            stop,
        };
        threads
            .push(self.spawn("hold", move || holder.run().map_err(|e| Error::Queue(number, e)))?);
        threads.push(self.spawn("lookup", move || {
            asker.run();
            Ok(())
        })?);
        self.sorter((sorter, config.queues.dns()), policy, handover)
    }

    /// Not waited for at the end: crate `nfq` cannot be woken. Its queue passes replies on.
    fn sorter(
        &self,
        (queue, number): (DnsQueue, u16),
        policy: Policy,
        handover: Arc<dns::Handover>,
    ) -> Result<(), Error> {
        let Self { counters, stop, .. } = self.clone();
        let failure = FailAtEnd("dns", Arc::clone(&stop));
        let mut sorter = dns::Sorter { queue, policy, counters, handover, stop };
        self.spawn("dns", move || {
            let FailAtEnd(_, stop) = &failure;
            if let Err(error) = sorter.run() {
                // First: it says more than that the thread ended.
                stop.fail(Error::Queue(number, error));
            }
            Ok(())
        })?;
        Ok(())
    }

    fn signals(&self, mut signals: Signals) -> Result<(), Error> {
        let stop = Arc::clone(&self.stop);
        self.spawn("signals", move || {
            signals::until_stop(&mut signals);
            stop.request();
            Ok(())
        })?;
        Ok(())
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

/// For a thread that nobody waits for and that never ends by itself: even its panic is a failure.
struct FailAtEnd(&'static str, Arc<Stop>);

impl Drop for FailAtEnd {
    fn drop(&mut self) {
        self.1.fail(Error::Thread(self.0));
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

fn bind_queue(number: u16, options: Options) -> Result<Queue, Error> {
    Queue::bind(number, options).map_err(|e| Error::Queue(number, e))
}

/// First the queue that replies are handed on to, then the one that hands them on.
fn bind_dns(config: &Config) -> Result<(DnsQueue, Queue), Error> {
    let (number, hold) = (config.queues.dns(), config.queues.hold());
    let holder = bind_queue(hold, dns::HOLD_QUEUE)?;
    let sorter = DnsQueue::bind(number, hold).map_err(|e| Error::Queue(number, e))?;
    Ok((sorter, holder))
}

fn network(config: &Config) -> Result<Network, Error> {
    let cap = config.client.as_ref().map_or(0, |client| client.max_ports);
    let allowed = limits::raise_descriptors();
    if allowed < cap as u64 + OTHER_DESCRIPTORS {
        warn!("only {allowed} descriptors are allowed, `max_ports` asks for {cap} ports");
    }
    let (client, gateway) = (config.client.as_ref(), config.gateway.as_ref());
    let interfaces = Interfaces {
        outside: gateway.map(|gateway| gateway.outside.clone()).unwrap_or_default(),
        hairpin: gateway.map(|gateway| gateway.hairpin.clone()).unwrap_or_default(),
        serve: client.map(|client| client.serve.clone()).unwrap_or_default(),
    };
    Network::new(Ports::new(cap, config.mark.bit()), interfaces)
        .map_err(|e| Error::System("reading this host's addresses", e))
}

/// A pool that others can send to must not be somebody's network.
fn pool_is_free(config: &Config, network: &Network) -> Result<(), Error> {
    let routed = config.client.as_ref().filter(|client| client.is_routed());
    let clash = routed.and_then(|client| Some((client.pool, network.clash(client.pool)?)));
    clash.map_or(Ok(()), |(pool, net)| Err(Error::PoolTaken(pool, net)))
}

fn own_tunnel_port(config: &Config) -> Result<Option<UdpSocket>, Error> {
    let own = |port| ports::own(port).map_err(|e| Error::TunnelPort(port, e));
    config.gateway.as_ref().map(|gateway| own(gateway.port)).transpose()
}

fn changed_settings(config: &Config) -> Result<Vec<Changed>, Error> {
    let mut changed = forwarding::enable(config.gateway.as_ref())?;
    changed.extend(no_early_demux(config)?);
    Ok(changed)
}

/// Second line of defence behind the owned outer ports (see [`crate::os::ports`]).
fn no_early_demux(config: &Config) -> Result<Option<Changed>, Error> {
    match config.client {
        Some(_) => sysctl::set(UDP_EARLY_DEMUX, "0")
            .map_err(|error| Error::Setting(UDP_EARLY_DEMUX.into(), error)),
        None => Ok(None),
    }
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
