//! The configuration, `/etc/nattt/nattt.toml`.
//!
//! [`Config::parse`] either returns values that need no further checking or an error with the
//! line, what stands there and what to write instead. Every setting has a default except what the
//! gateway role opens to the world: its interfaces and exports.

mod check;
mod emulation;
mod error;
mod export;
mod metrics;
mod proxy;
mod raw;

pub use error::ConfigError;
pub use export::Export;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::dns::emulation::Emulation;
use crate::dns::names::Selection;

/// The packaged configuration file, which documents every setting.
pub const PACKAGED: &str = include_str!("../../packaging/nattt.toml");
/// Where the configuration is installed.
pub const INSTALLED_PATH: &str = "/etc/nattt/nattt.toml";

/// A whole, valid configuration: at least one of the two roles is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Applications here reach hosts behind NATs.
    pub client: Option<Client>,
    /// Hosts behind this host are reached from outside.
    pub gateway: Option<Gateway>,
    /// Netfilter queue numbers.
    pub queues: Queues,
    /// The bit of packet and connection marks that is ours.
    pub mark: Mark,
    /// Language of the firewall rules.
    pub firewall: Flavour,
    /// Places in the file system.
    pub daemon: Daemon,
    /// Where metrics are served by HTTP; nowhere unless that is configured.
    pub metrics: Option<SocketAddr>,
}

/// The client role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Mapped addresses come from here, /9 to /24: inside 127.0.2.0 to 127.255.255.255, or a routed
    /// pool in private networks.
    pub pool: Ipv4Net,
    /// Interfaces whose hosts open connections through this one; only with a routed pool.
    pub serve: Vec<String>,
    /// Type number of the NAT record.
    pub record_type: u16,
    /// Cap on the TTL of answers that carry a mapped address.
    pub answer_ttl: Duration,
    /// How long a DNS reply waits for the NAT record of its name.
    pub lookup_patience: Duration,
    /// Zones (lower case, no trailing dot) whose NAT records may name a private first hop.
    pub private_zones: Vec<String>,
    /// Largest outer packet, octets.
    pub mtu: u16,
    /// Whether natttd measures what whole paths carry.
    pub measure_mtu: bool,
    /// Most flows at one time.
    pub max_flows: usize,
    /// Most flows at one time of one served host.
    pub max_flows_per_host: u32,
    /// Most ports of this host's own for flows at one time.
    pub max_ports: usize,
    /// Most mapped addresses at one time.
    pub max_mappings: usize,
    /// Interval of keepalives while a flow lives.
    pub keepalive: Duration,
    /// How long an address that is no longer used is given to no other path.
    pub quarantine: Duration,
    /// Where A records emulate NAT records; no zone is in two of them.
    pub emulations: Vec<Emulation>,
    /// Which names may get a mapped address.
    pub names: Selection,
    /// Where the DNS proxy listens: loopback, or an address of an interface in `serve`. Without any,
    /// there is no proxy.
    pub listen: Vec<SocketAddr>,
    /// The servers that the proxy asks, none of them itself; without any, those of /etc/resolv.conf.
    pub upstream: Vec<SocketAddr>,
}

/// The gateway role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Interfaces where tunnel packets arrive; never empty.
    pub outside: Vec<String>,
    /// Interfaces to networks of exported hosts through which flows may leave again where they came
    /// in, under this host's own address: the only one of a home host, or one that clients share
    /// with the hosts.
    pub hairpin: Vec<String>,
    /// Whether the daemon switches IPv4 forwarding on while it runs.
    pub enable_forwarding: bool,
    /// UDP port where tunnel packets arrive, host order.
    pub port: u16,
    /// What may be reached from outside; never empty.
    pub exports: Vec<Export>,
    /// Private networks that may be the outer source on an outside interface (nested NAT boxes).
    pub inside_sources: Vec<Ipv4Net>,
    /// Largest outer packet, octets.
    pub mtu: u16,
    /// Most flows at one time.
    pub max_flows: usize,
    /// Most flows at one time of one client address.
    pub max_flows_per_source: usize,
}

/// Netfilter queue numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// The first data queue.
    pub first: u16,
    /// How many data queues there are, one worker each: 1 to 16.
    pub workers: u16,
}

/// One bit of the packet mark, saved to the connection mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u32);

/// Language of the firewall rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `nft -f`.
    Nft,
    /// `iptables-restore --noflush`.
    Iptables,
}

/// Places in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Directory of what outlives a restart.
    pub state_dir: PathBuf,
    /// Socket that answers `nattt status` and its like.
    pub control_socket: PathBuf,
}

impl Config {
    /// Reads a configuration file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw = toml::from_str(text).map_err(|error| ConfigError::from_toml(text, &error))?;
        check::config(text, raw)
    }

    /// Interfaces through which flows to exported hosts may leave again where they came in, under
    /// this host's own address: a gateway's `hairpin`, and its own clients' `serve`.
    pub fn turning(&self) -> Vec<&String> {
        let hairpins = self.gateway.iter().flat_map(|gateway| &gateway.hairpin);
        let served = self.client.iter().flat_map(|client| &client.serve);
        let served = served.filter(|_| self.gateway.is_some());
        hairpins.chain(served).collect()
    }
}

impl Client {
    /// Whether other hosts can send packets to the pool: it is outside 127/8.
    pub fn is_routed(&self) -> bool {
        !self.pool.network().is_loopback()
    }
}

impl Gateway {
    /// Interfaces where tunnel packets are taken: `outside`, then what is only in `hairpin`.
    pub fn arrivals(&self) -> impl Iterator<Item = &String> {
        let only_hairpin = self.hairpin.iter().filter(|name| !self.outside.contains(name));
        self.outside.iter().chain(only_hairpin)
    }

    /// Whether flows that came in through one interface may leave through the other, which is
    /// outside: only if it is the same, and a hairpin.
    pub fn may_turn(&self, arrival: &str, out: &str) -> bool {
        arrival == out && self.hairpin.iter().any(|name| name == out)
    }
}

impl Queues {
    /// Most data queues; those for DNS follow after room for so many.
    pub const MAX_WORKERS: u16 = 16;
    /// Distance from the first queue to the last.
    pub const LAST: u16 = Self::MAX_WORKERS + 1;

    /// Queues of tunnel traffic, one a worker.
    pub fn data(self) -> Range<u16> {
        self.first..self.first.saturating_add(self.workers)
    }

    /// Queue of DNS replies, where they are classified.
    pub fn dns(self) -> u16 {
        self.first.saturating_add(Self::MAX_WORKERS)
    }

    /// Queue of DNS replies that wait for a lookup.
    pub fn hold(self) -> u16 {
        self.first.saturating_add(Self::LAST)
    }
}

impl Mark {
    /// The default: bit 26.
    pub const DEFAULT: Self = Self(0x0400_0000);

    /// A mark, if exactly one bit of `mask` is set.
    pub const fn new(mask: u32) -> Option<Self> {
        if mask.is_power_of_two() { Some(Self(mask)) } else { None }
    }

    /// The bit, as a mask.
    pub const fn bit(self) -> u32 {
        self.0
    }

    /// Every other bit, as a mask.
    pub const fn others(self) -> u32 {
        !self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl Flavour {
    /// Both flavours.
    pub const ALL: [Self; 2] = [Self::Nft, Self::Iptables];

    /// The name in configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A flavour that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFlavour;

impl fmt::Display for UnknownFlavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write `nft` or `iptables`")
    }
}

impl std::error::Error for UnknownFlavour {}

impl FromStr for Flavour {
    type Err = UnknownFlavour;

    fn from_str(text: &str) -> Result<Self, UnknownFlavour> {
        Self::ALL.into_iter().find(|flavour| flavour.name() == text).ok_or(UnknownFlavour)
    }
}

#[cfg(test)]
mod tests;
