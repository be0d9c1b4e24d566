//! Mapped addresses: the local address that stands for a remote host, one per distinct path set.
//!
//! An address is given to one path set and to no other while the DNS TTL that was told to the
//! application runs, while a flow uses it, and for a quarantine after both: an application that
//! still holds the address must never reach somebody else's host. After that, addresses that stood
//! for nothing lately come first.

mod entry;
mod health;
mod index;
mod pool;
mod state;
mod table;

pub use entry::{MAX_NAMES, Mapping};
pub use health::{Health, RETRY, Standing};
pub use state::{Skipped, State, StateError};
pub use table::{Exhausted, MAX_TTL, Mappings};
