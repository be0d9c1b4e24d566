//! The control socket: a UNIX stream socket that root and the group `nattt` may use.

mod client;
mod connection;
mod server;

pub use client::{AskError, ask, watch};
pub use server::{Server, ServerError};
// The server of metrics does the same with other clients.
pub(super) use connection::{Woken, wait};
pub(super) use server::{Slot, is_about_one_client, rest};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_PATH: &str = "/run/nattt/control.sock";
/// The group whose members may ask the daemon.
pub const GROUP: &str = "nattt";

#[cfg(test)]
pub(crate) mod tests;
