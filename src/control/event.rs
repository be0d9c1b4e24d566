//! What happens in a daemon, one event at a time.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Flow, Mapping, Reload, RulesStatus};

/// An event, and when it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dated {
    /// Milliseconds since the UNIX epoch.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first one: from now on there are events.
    Watching {
        /// Live flows now.
        flows: usize,
        /// Mapped addresses now.
        mappings: usize,
        /// The firewall rules now.
        rules: RulesStatus,
        /// The last call to read the configuration again; absent if there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reload: Option<Reload>,
    },
    /// A flow is new.
    FlowOpened {
        /// The flow.
        flow: Box<Flow>,
    },
    /// A flow's `state` is another one: a connection stands, or is being closed.
    FlowChanged {
        /// The flow.
        flow: Box<Flow>,
        /// Its state before.
        was: String,
    },
    /// A flow is forgotten: its time has run out, or it made room for another.
    FlowEnded {
        /// The flow as it was last.
        flow: Box<Flow>,
    },
    /// A mapped address stands for a host, or for another one than before.
    MappingAdded {
        /// The mapping.
        mapping: Box<Mapping>,
    },
    /// A mapped address stands for no host any more.
    MappingRemoved {
        /// The mapping as it was last.
        mapping: Box<Mapping>,
    },
    /// A path does not answer; new flows avoid it.
    PathSilent {
        /// Whose path.
        address: Ipv4Addr,
        /// The names that led there, escaped.
        names: Vec<String>,
        /// The path.
        path: String,
    },
    /// The same path is used again.
    PathUsed {
        /// Whose path.
        address: Ipv4Addr,
        /// The names that led there, escaped.
        names: Vec<String>,
        /// The path.
        path: String,
    },
    /// The firewall rules are no more, or again, as they should be.
    Rules {
        /// How they are.
        rules: RulesStatus,
    },
    /// The daemon was called to read its configuration again, or what came of that is another thing now.
    Reload {
        /// Which call, and what became of it.
        reload: Reload,
    },
    /// Something keeps the daemon from working.
    Warning {
        /// What, and what to do.
        message: String,
    },
    /// A counter of packets or replies that were not passed on, or not as they should be, went up.
    Counted {
        /// Its name.
        counter: String,
        /// By how much since the last look.
        count: u64,
        /// A sentence that explains it.
        explanation: String,
    },
    /// More happened than is told at once, or there are too many flows or mapped addresses to tell of each.
    Missed {
        /// So many events are left out.
        events: u64,
        /// So many flows there are, if they are too many.
        flows: Option<usize>,
        /// So many mapped addresses there are, if they are too many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mappings: Option<usize>,
    },
    /// The reader was slow: what came and went within this time is not told.
    Late {
        /// Milliseconds.
        gap_ms: u64,
    },
}
