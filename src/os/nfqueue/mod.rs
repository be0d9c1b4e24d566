//! The data queues: netfilter queues with several packets a receive and many verdicts a send.
//!
//! Crate `nfq` serves where rates are human; it takes one system call to receive a packet and
//! one to answer it, which measured at about half of what this layer passes (`ARCHITECTURE.md`).

mod message;
mod queue;
mod receive;
mod verdict;

pub(super) use message::attributes;
pub use queue::{Options, Queue, Wake};
pub use receive::{Batch, Hook, NoPacket, Packet};
pub use verdict::{Action, Verdicts};
