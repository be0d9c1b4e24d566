//! Kernel and operating system. Nothing above this folder makes a system call.

pub mod clock;
pub mod events;
pub mod network;
pub mod nfqueue;
pub mod ports;
