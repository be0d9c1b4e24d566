//! The control protocol: what `nattt` asks `natttd`, and the answers.
//!
//! One JSON object a line over a UNIX stream socket, one reply line for each request line:
//! `{"version":1,"request":"flows","limit":100}` is answered by
//! `{"version":1,"reply":"flows","total":0,"flows":[]}`.

mod endpoint;
mod event;
mod explanation;
mod flow;
mod line;
mod mapping;
mod mtu;
mod status;
mod watcher;

use serde::{Deserialize, Serialize};

pub use endpoint::{BadEndpoint, Endpoint};
pub use event::{Dated, Event};
pub use explanation::{Explanation, Judgement, LastDrop, NatRecord, Subject};
pub use flow::{Ends, Flow, Leg, Traffic};
pub use line::{LineError, MAX_REQUEST_OCTETS, VERSION, decode, encode, pretty};
pub use mapping::{Mapping, MappingState};
pub use mtu::{Fragmented, Measurement, Mtu, PathMtu, Sizes};
pub use status::{Queue, Reload, ReloadState, Role, RulesState, RulesStatus, Status, Usage};
pub use watcher::{INTERVAL_MS, Look, MAX_FLOWS, MAX_MAPPINGS, Watcher};

use crate::counters::Counters;

/// What a client of the socket asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// How the daemon does.
    Status,
    /// The mapped addresses.
    Mappings,
    /// The live flows.
    Flows {
        /// At most so many.
        limit: usize,
    },
    /// The counters.
    Counters,
    /// What is known about one name.
    Explain(Subject),
    /// What happens from now on: one reply an event, until the client goes away.
    Events,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Mappings`].
    Mappings {
        /// Ordered by address.
        mappings: Vec<Mapping>,
    },
    /// To [`Request::Flows`].
    Flows {
        /// How many live flows there are, also those that the limit left out.
        total: usize,
        /// At most as many as were asked for.
        flows: Vec<Flow>,
    },
    /// To [`Request::Counters`].
    Counters {
        /// Every counter, in the order in which they are shown.
        counters: Vec<Counter>,
    },
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Events`].
    Event(Dated),
    /// The request could not be answered.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

/// One counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// Its value since the daemon started.
    pub value: u64,
    /// A sentence that explains it.
    pub explanation: String,
}

impl Counter {
    /// Every counter of the daemon.
    pub fn all(counters: &Counters) -> Vec<Self> {
        let one = |(counter, value): (crate::counters::Counter, u64)| Self {
            name: counter.name().to_owned(),
            value,
            explanation: counter.explanation().to_owned(),
        };
        counters.snapshot().map(one).collect()
    }
}

impl Reply {
    /// Every counter of the daemon.
    pub fn counters(counters: &Counters) -> Self {
        Self::Counters { counters: Counter::all(counters) }
    }
}
