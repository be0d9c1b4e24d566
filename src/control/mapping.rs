//! A mapped address as it is shown.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::mapping::{self, Standing};
use crate::path::Path;
use crate::time::Time;

/// A mapped address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The mapped address.
    pub address: Ipv4Addr,
    /// The names that led to it, escaped, newest first.
    pub names: Vec<String>,
    /// The paths to the host, in presentation form.
    pub paths: Vec<String>,
    /// Those of several that did not answer and are avoided for the moment.
    pub silent_paths: Vec<String>,
    /// Seconds until the last TTL told to an application ends; 0 if it has ended.
    pub expires_in_s: u64,
    /// How many flows use it.
    pub flows: u32,
    /// Whether something uses it.
    pub state: MappingState,
}

/// Whether something uses a mapped address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingState {
    /// A TTL runs or a flow lives.
    Live,
    /// Neither, but an application may still hold the address: it is not given to another host.
    Quarantined,
}

impl Mapping {
    /// A mapping as it is at `now`.
    pub fn new(mapping: &mapping::Mapping, now: Time) -> Self {
        let live = mapping.is_live(now);
        let paths = mapping.paths().paths();
        let is_silent = |index: &usize| mapping.health().standing(*index, now) != Standing::Good;
        let silent = (0..paths.len()).filter(is_silent);
        Self {
            address: mapping.addr(),
            names: mapping.names(),
            paths: paths.iter().map(Path::to_string).collect(),
            silent_paths: silent.map(|index| paths[index].to_string()).collect(),
            expires_in_s: mapping.expires().since(now).as_secs(),
            flows: mapping.flows(),
            state: if live { MappingState::Live } else { MappingState::Quarantined },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mappings;
    use crate::path::PathSet;
    use std::time::Duration;

    #[test]
    fn a_mapping_is_live_then_quarantined() {
        let pool = "127.64.0.0/10".parse().expect("a network");
        let mappings = Mappings::new(pool, 10, Duration::from_secs(60));
        let path = "203.0.113.1 192.168.0.2".parse().expect("a path");
        let paths = PathSet::new(vec![path]).expect("not empty");
        mappings
            .map("b.example.", &paths, Duration::from_secs(10), Time::default())
            .expect("an address");
        let shown = |seconds: u64| {
            let now = Time::from_millis(seconds * 1000);
            let shown: Vec<_> =
                mappings.snapshot().iter().map(|mapping| Mapping::new(mapping, now)).collect();
            (shown[0].state, shown[0].expires_in_s, shown[0].paths.clone())
        };
        let paths = vec!["203.0.113.1:100 192.168.0.2".to_owned()];
        assert_eq!(shown(3), (MappingState::Live, 7, paths.clone()));
        assert_eq!(shown(10), (MappingState::Quarantined, 0, paths));
    }

    #[test]
    fn silent_paths_are_named() {
        let pool = "127.64.0.0/10".parse().expect("a network");
        let mappings = Mappings::new(pool, 10, Duration::from_secs(60));
        let paths = ["203.0.113.1 192.168.0.2", "203.0.113.2 192.168.0.2"];
        let paths = paths.iter().map(|path| path.parse().expect("a path")).collect();
        let paths = PathSet::new(paths).expect("not empty");
        let now = Time::from_millis(1);
        mappings.map("b.example.", &paths, Duration::ZERO, now).expect("an address");
        let mapping = &mappings.snapshot()[0];
        assert!(Mapping::new(mapping, now).silent_paths.is_empty());
        mapping.health().failed(1, now);
        assert_eq!(Mapping::new(mapping, now).silent_paths, ["203.0.113.2:100 192.168.0.2"]);
    }
}
