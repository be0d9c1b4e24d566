//! What `nattt bugreport` does to what it found before anybody sees it: secrets go, other people's
//! rules shrink to the names of their chains, and, if that is wanted, addresses and names become
//! others.

mod anonymous;
mod excerpt;
mod secrets;

pub use anonymous::Anonymous;
pub use excerpt::{iptables, nft_chains};
pub use secrets::Redacted;
