//! A reply that the packet filter captured.

use super::{Reply, Server};
use crate::dns::packet::{Packet, PacketError};
use crate::dns::size_limit;

/// A packet that the kernel holds until its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The kernel's number of the packet.
    pub id: u32,
    /// Index of the interface through which it came.
    pub interface: u32,
    /// The whole IP packet.
    pub octets: Vec<u8>,
}

impl Captured {
    /// The reply in it; the packet as it came if there is none. `ticket` makes the packet what it goes
    /// on by.
    pub fn into_reply<T>(self, ticket: impl FnOnce(Self) -> T) -> Result<Reply<T>, Self> {
        let Ok(packet) = Packet::parse(&self.octets) else { return Err(self) };
        let server = Server::new(packet.server(), self.interface);
        let message = packet.message().to_vec();
        Ok(Reply { server, limit: size_limit(&message), message, ticket: ticket(self) })
    }

    /// The whole IP packet with another message.
    pub fn with_message(&self, message: &[u8]) -> Result<Vec<u8>, PacketError> {
        Packet::parse(&self.octets)?.with_message(message)
    }
}
