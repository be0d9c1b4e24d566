//! DNS replies on their way to an application here: which ones lack an address, how they wait for
//! the NAT record of their name, and how a mapped address gets into them.

mod accept;
mod chain;
mod classify;
pub mod emulation;
pub mod hold;
pub mod message;
mod name;
pub mod names;
pub mod packet;
pub mod query;
mod rewrite;
pub mod shares;
#[cfg(test)]
mod testing;
pub mod upstreams;

pub use accept::{Refusal, acceptable};
pub use classify::{Class, FollowUp, Lack, Policy, classify};
pub use name::{Name, NameError};
pub use rewrite::{
    RewriteError, lift_denial, name_it, replace, rewrite, size_limit, without_answer,
};
