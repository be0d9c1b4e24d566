//! What Prometheus is told, and as much of HTTP as that takes.

pub mod http;
mod page;

pub use page::{absent, render};

#[cfg(test)]
mod tests;
