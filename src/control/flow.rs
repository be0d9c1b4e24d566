//! A live flow as it is shown.

use serde::{Deserialize, Serialize};

use super::Endpoint;

/// A live flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The transport protocol: `tcp`, `udp`, `icmp`, or its number.
    pub protocol: String,
    /// Where it stands, in a word: `established`.
    pub state: String,
    /// Who talks to whom.
    #[serde(flatten)]
    pub ends: Ends,
    /// From the client to the host.
    pub to_host: Traffic,
    /// From the host to the client.
    pub to_client: Traffic,
    /// Seconds since the last packet.
    pub idle_s: u64,
    /// Seconds until the flow is forgotten if no packet comes.
    pub expires_in_s: u64,
}

/// The ends of a flow, as the role that carries it knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Ends {
    /// An application on this host opened the flow.
    Client {
        /// The application's own end.
        application: Endpoint,
        /// What the application believes it talks to: the mapped address and the host's port.
        mapped: Endpoint,
        /// The name that led there, escaped; absent if none is known.
        name: Option<String>,
        /// On the wire: this host and the outermost NAT box. Without a tunnel it is `inner`.
        outer: Leg,
        /// Inside the tunnel, if there is one: this host and the host.
        inner: Leg,
    },
    /// A tunnel that ends at this gateway carries the flow.
    Gateway {
        /// The client as the outer header names it.
        client: Endpoint,
        /// The client as the inner header names it.
        inner: Endpoint,
        /// The exported host.
        host: Endpoint,
        /// The client as the exported host sees it.
        seen_as: Endpoint,
    },
}

/// From one end to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The nearer end.
    pub from: Endpoint,
    /// The farther end.
    pub to: Endpoint,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Octets of the inner packets.
    pub octets: u64,
}
