//! What was found on this host, as texts and numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::config::Config;
use crate::control::{Counter, RulesStatus, Status};

/// What was asked for, or why it is not known.
pub type Asked<T> = Result<T, String>;

/// Everything that is looked at. What does not exist is empty.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The configuration file, or what is wrong with it.
    pub config: Asked<Config>,
    /// What the daemon says.
    pub daemon: Daemon,
    /// Our rules in the kernel, as this process sees them.
    pub rules: Option<RulesStatus>,
    /// Why the kernel would not take our rules (only asked while they are not loaded).
    pub refused: Option<Refusal>,
    /// `nft -j list ruleset`.
    pub nft: Asked<String>,
    /// `iptables-save`.
    pub iptables: Asked<String>,
    /// The kernel's queues.
    pub queues: Queues,
    /// Kernel settings by their path under `/proc/sys`: `net/ipv4/udp_early_demux`.
    pub settings: BTreeMap<String, String>,
    /// Interface and address, with the length of its prefix.
    pub addresses: Vec<(String, Ipv4Net)>,
    /// `ip -j -4 route show table all`.
    pub routes: Asked<String>,
    /// Bound UDP sockets.
    pub sockets: Vec<Socket>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/etc/nsswitch.conf`.
    pub nsswitch_conf: String,
    /// systemd-resolved's configuration, all files in the order in which they are read; `None` if it
    /// does not run.
    pub resolved_conf: Option<String>,
    /// Tor's configuration; `None` if there is none.
    pub torrc: Option<String>,
    /// `/etc/hosts`.
    pub hosts: String,
    /// Whether nscd runs.
    pub nscd: bool,
    /// Why nothing can be written to the state directory; `None` if something can, or it is not known.
    pub unwritable: Option<&'static str>,
    /// Wall clock, seconds since 1970.
    pub now_s: u64,
}

/// What the daemon says.
#[derive(Debug, Clone)]
pub enum Daemon {
    /// It runs.
    Runs {
        /// Its status.
        status: Box<Status>,
        /// Its counters.
        counters: Vec<Counter>,
    },
    /// Nothing listens on its socket.
    Absent(String),
    /// This user may not ask it.
    Denied(String),
    /// It does not answer as it should.
    Broken(String),
}

/// Why this host does not take the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the firewall's tool says.
    pub why: String,
    /// What to do, if that is known.
    pub advice: Option<String>,
}

/// The kernel's netfilter queues.
#[derive(Debug, Clone)]
pub enum Queues {
    /// `/proc/net/netfilter/nfnetlink_queue`.
    Listed(String),
    /// The module is there, not loaded.
    Loadable,
    /// No sign of them.
    Absent,
}

/// A bound UDP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Where it is bound.
    pub addr: IpAddr,
    /// Its port, host order.
    pub port: u16,
    /// Whose it is: `dnsmasq (812)`; `None` if that cannot be seen.
    pub owner: Option<String>,
}

impl Facts {
    /// The daemon's status, if it runs.
    pub(super) fn status(&self) -> Option<&Status> {
        match &self.daemon {
            Daemon::Runs { status, .. } => Some(status),
            _ => None,
        }
    }

    /// A setting's value; `None` if the kernel has no such setting.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A setting of one interface.
    pub(super) fn of_interface(&self, interface: &str, name: &str) -> Option<&str> {
        self.setting(&format!("net/ipv4/conf/{interface}/{name}"))
    }

    /// Interfaces, `all` and `default` left out.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        let names = self
            .settings
            .keys()
            .filter_map(|path| path.strip_prefix("net/ipv4/conf/")?.strip_suffix("/forwarding"));
        names.filter(|name| !["all", "default"].contains(name))
    }

    /// Whether an address is this host's own.
    pub(super) fn is_own(&self, addr: Ipv4Addr) -> bool {
        addr.is_loopback() || self.addresses.iter().any(|(_, net)| net.addr() == addr)
    }
}

impl Socket {
    /// Whose it is, for a sentence.
    pub(super) fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or("another program")
    }
}
