//! Kernel and operating system. Nothing above this folder makes a system call.

mod addresses;
pub mod clock;
pub mod control;
pub mod cttimeout;
pub mod dnsqueue;
pub mod events;
pub mod facts;
pub mod firewall;
pub mod journal;
pub mod limits;
pub mod lookup;
pub mod metrics;
pub mod nameserver;
mod netlink;
pub mod network;
pub mod nfqueue;
pub mod ports;
pub mod probe;
pub mod process;
pub mod question;
pub mod route;
mod scoped;
pub mod sets;
pub mod software;
pub mod state;
pub mod sysctl;
pub mod tables;
