//! The `nattt` command.

pub mod rules;
