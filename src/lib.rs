//! NAT Traversal through Tunneling (NATTT).
//!
//! The crate is one library and two thin binaries. The lower modules are pure: bytes and a
//! [`time::Time`] in, bytes and a named outcome out. They never open a socket, read a clock,
//! sleep, log or spawn. `ARCHITECTURE.md` draws which module may import which; `tests/layering.rs`
//! fails when that is broken.
//!
//! | layer | modules |
//! |---|---|
//! | pure | [`time`], [`counters`], [`path`], [`wire`], `expiring`, [`dns`], [`record`], [`mapping`], [`tunnel`], [`config`], [`rules`], [`control`], [`doctor`], [`explain`], [`metrics`] |
//! | kernel and OS | [`os`] |
//! | threads | [`daemon`] |
//! | the `nattt` command | [`cli`] |

pub mod bugreport;
pub mod cli;
pub mod config;
pub mod control;
pub mod counters;
pub mod daemon;
pub mod dns;
pub mod doctor;
mod expiring;
pub mod explain;
pub mod mapping;
pub mod metrics;
pub mod os;
pub mod path;
pub mod probe;
pub mod record;
pub mod rules;
pub mod time;
pub mod tunnel;
pub mod wire;
