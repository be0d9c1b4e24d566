//! Kernel and operating system.

pub mod control;
pub mod state;
