//! What the daemon knows about one name.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Flow, Mapping, Mtu, PathMtu};

/// What is asked about one name. The records and addresses are what the DNS says now; without any,
/// the daemon tells what it knows by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The name, in presentation form.
    pub name: String,
    /// Its NAT records.
    #[serde(default)]
    pub records: Vec<NatRecord>,
    /// The addresses in the reply to a program.
    #[serde(default)]
    pub addresses: Vec<Ipv4Addr>,
}

/// A NAT record that is well-formed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatRecord {
    /// The name that owns it: the end of a chain of aliases.
    pub owner: String,
    /// Its path, in presentation form.
    pub path: String,
}

/// What the daemon knows about one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Type number of the NAT record.
    pub record_type: u16,
    /// Whether the configuration leaves the name alone (`only_names`, `except_names`).
    #[serde(default)]
    pub left_alone: bool,
    /// Whether the mapping's host is right behind this one, so that no tunnel is needed.
    #[serde(default)]
    pub direct: bool,
    /// The names whose A records emulate its NAT record, NAT boxes first, outermost first, then the host;
    /// none outside the zones of an emulation.
    #[serde(default)]
    pub emulated_by: Vec<String>,
    /// What it thinks of each record, in the order of the question.
    pub judgements: Vec<Judgement>,
    /// The mapping that the name led to last.
    pub mapping: Option<Mapping>,
    /// Which of the addresses are of the pool, but stand for no host.
    pub unmapped: Vec<Ipv4Addr>,
    /// Live flows through the mapping, at most 100.
    pub flows: Vec<Flow>,
    /// The last packet to the mapped address, or from its outermost NAT box, that was not passed on.
    pub last_drop: Option<LastDrop>,
}

/// What the daemon thinks of a NAT record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Why it is not used, if it is not.
    pub refused: Option<String>,
    /// The largest packet that an application can send on this path, octets, as far as that is known.
    pub mtu: u16,
    /// The same as far as the first link goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_mtu: Option<u16>,
    /// With the tunnel's headers, of the first link; absent where there is no tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<Mtu>,
    /// What is known of the links behind it; absent where that is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMtu>,
}

/// A packet that was not passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDrop {
    /// The counter that it incremented.
    pub counter: String,
    /// What the counter means.
    pub explanation: String,
    /// How long ago, seconds.
    pub ago_s: u64,
}
