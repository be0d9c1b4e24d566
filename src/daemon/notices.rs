//! Log lines for counters that an administrator should hear of without asking.

use std::time::Duration;

use crate::counters::{Counter, Counters};

/// A counter that keeps growing is told of this often.
const INTERVAL: Duration = Duration::from_secs(60);

/// What somebody notices as a connection that fails, or stops for a moment, for no visible reason.
const WATCHED: [Counter; 12] = [
    Counter::ClientNoPort,
    Counter::ClientFlowsFull,
    Counter::ClientConflict,
    Counter::MappingsFull,
    Counter::ProxyFull,
    Counter::ProxyHostFull,
    Counter::ProxyConnectionRefused,
    Counter::GatewayConflict,
    Counter::GatewayFlowsFull,
    Counter::GatewaySourceFull,
    Counter::RulesMissing,
    Counter::ConnectionsTurned,
];

/// What was told of each.
#[derive(Debug, Default)]
pub(super) struct Notices([Told; WATCHED.len()]);

#[derive(Debug, Default, Clone, Copy)]
struct Told {
    value: u64,
    at: Option<Duration>,
}

impl Notices {
    /// What was counted before is no news.
    pub(super) fn since(counters: &Counters) -> Self {
        Self(WATCHED.map(|counter| Told { value: counters.value(counter), at: None }))
    }

    /// What is to be logged, `uptime` after the start.
    pub(super) fn due(&mut self, counters: &Counters, uptime: Duration) -> Vec<String> {
        let watched = WATCHED.iter().zip(&mut self.0);
        watched.filter_map(|(&counter, told)| told.notice(counter, counters, uptime)).collect()
    }
}

impl Told {
    fn notice(
        &mut self,
        counter: Counter,
        counters: &Counters,
        uptime: Duration,
    ) -> Option<String> {
        let value = counters.value(counter);
        let quiet = self.at.is_some_and(|at| uptime.saturating_sub(at) < INTERVAL);
        if value == self.value || quiet {
            return None;
        }
        let more = value - self.value;
        *self = Self { value, at: Some(uptime) };
        Some(format!("{} ({more} more, counter {})", counter.explanation(), counter.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_counter_is_told_of_now_and_then() {
        let (counters, mut notices) = (Counters::default(), Notices::default());
        let at = Duration::from_secs;
        assert!(notices.due(&counters, at(1)).is_empty());
        counters.add_many(Counter::GatewayConflict, 3);
        let told = notices.due(&counters, at(2));
        assert!(
            told.len() == 1 && told[0].contains("3 more, counter gateway_conflict"),
            "{told:?}"
        );
        counters.add(Counter::GatewayConflict);
        counters.add(Counter::Malformed);
        assert!(notices.due(&counters, at(3)).is_empty());
        assert!(notices.due(&counters, at(62))[0].contains("1 more"));
        assert!(notices.due(&counters, at(200)).is_empty());
        assert!(Notices::since(&counters).due(&counters, at(201)).is_empty());
    }
}
