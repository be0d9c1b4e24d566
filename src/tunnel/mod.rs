//! The tunnel itself: flows, encapsulation, decapsulation. Pure: bytes and `now` in, bytes and a
//! [`Fate`] out.

pub mod client;
mod common;
mod exports;
pub mod fate;
pub mod gateway;
pub mod lifetime;
pub mod path_mtu;
pub mod route;
mod saved;
mod table;
#[cfg(test)]
mod tests;

pub use client::{Client, Environment, Lease, Origin, OuterPort, PortKind};
pub use common::{Addresses, Connection, Traffic};
pub use fate::{Fate, Front};
pub use gateway::Gateway;
pub use path_mtu::PathMtus;
pub use route::{Route, Routes, working_mtu};
pub use saved::{NoFlow, Saved, SavedClient, SavedGateway, SavedLife};
