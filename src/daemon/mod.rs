//! The threads of `natttd`, and nothing else: what they do with packets is in the pure modules,
//! what they ask of the kernel in [`crate::os`].

mod roles;
mod worker;

pub use roles::Roles;
