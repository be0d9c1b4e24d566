//! `nattt doctor`: from what was found on a host to what is wrong with it.

mod facts;
mod ruleset;

pub use facts::{Asked, Daemon, Facts, Queues, Socket};
