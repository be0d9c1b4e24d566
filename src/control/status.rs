//! How the daemon does.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::Sizes;

/// How the daemon does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The release of the running daemon.
    pub daemon_version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// What it does.
    pub roles: Vec<Role>,
    /// Where mapped addresses are taken from; absent without the client role.
    pub pool: Option<Ipv4Net>,
    /// The firewall rules.
    pub rules: RulesStatus,
    /// The kernel queues.
    pub queues: Vec<Queue>,
    /// Mapped addresses; absent without the client role.
    pub mappings: Option<Usage>,
    /// Flows of the client role.
    pub client_flows: Option<Usage>,
    /// Flows of the gateway role.
    pub gateway_flows: Option<Usage>,
    /// How large the client role's packets to NAT boxes may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_sizes: Option<Sizes>,
    /// How large the gateway role's packets to clients may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_sizes: Option<Sizes>,
    /// What became of the last call to read the configuration again; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// What keeps it from working, each with what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Opens tunnels for applications here.
    Client,
    /// Ends tunnels to exported hosts.
    Gateway,
}

/// A call to read the configuration again (SIGHUP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Calls so far, this one included. Several that come at once may count as one.
    pub number: u64,
    /// What became of it.
    pub state: ReloadState,
}

/// What became of a call to read the configuration again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadState {
    /// It takes effect as soon as rules with this fingerprint are loaded.
    Waiting(String),
    /// It is in effect, or was before.
    Done,
    /// It is not in effect, for this reason.
    Refused(String),
}

/// The firewall rules, as far as the daemon can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesStatus {
    /// Whether they are the ones the configuration means.
    pub state: RulesState,
    /// The fingerprint that the configuration means.
    pub expected: String,
    /// The fingerprint of the loaded rules, where one was found.
    pub found: Option<String>,
    /// What is wrong first, where the rules are damaged; why the kernel could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

/// Whether the rules in the kernel are the ones the configuration means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesState {
    /// They are.
    Loaded,
    /// There are none.
    Missing,
    /// There are others: the configuration changed since they were loaded.
    Stale,
    /// They were, but somebody changed them since: rules are missing or added.
    Damaged,
    /// The kernel could not be asked.
    Unknown,
}

/// A kernel queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its number.
    pub number: u16,
    /// What comes through it, in a word or two: `data`, `dns`.
    pub purpose: String,
    /// Whether the daemon listens on it.
    pub bound: bool,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Entries now.
    pub count: usize,
    /// The most there may be.
    pub cap: usize,
}
