//! Kernel and operating system.

pub mod cttimeout;
pub mod firewall;
