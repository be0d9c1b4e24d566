//! Limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard one and returns how many are allowed.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

/// How many of the `wanted` descriptors are `allowed` beside `others`; one at least, because a client role
/// without any outer port were of no use.
pub fn room_for(wanted: usize, allowed: u64, others: u64) -> usize {
    let room = allowed.saturating_sub(others).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_natttd_needs_itself_is_left() {
        assert_eq!(room_for(16_384, 65_536, 256), 16_384);
        assert_eq!(room_for(16_384, 1024, 256), 768);
        assert_eq!(room_for(16_384, 256, 256), 1);
        assert_eq!(room_for(16_384, u64::MAX, 256), 16_384);
    }
}
