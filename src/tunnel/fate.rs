//! What becomes of a packet.

use crate::counters::Counter;
use crate::path::MAX_HOPS;
use crate::wire::Flaw;
use crate::wire::outer::LEVEL;

/// The outer headers that go in front of a packet, outermost first.
#[derive(Debug, Clone)]
pub struct Front {
    bytes: [u8; MAX_HOPS * LEVEL],
    start: usize,
}

impl Default for Front {
    fn default() -> Self {
        Self { bytes: [0; MAX_HOPS * LEVEL], start: MAX_HOPS * LEVEL }
    }
}

impl Front {
    /// Forgets all levels.
    pub fn clear(&mut self) {
        self.start = self.bytes.len();
    }

    /// Room for one more level, in front of those already there; `None` after eight.
    pub fn level(&mut self) -> Option<&mut [u8; LEVEL]> {
        self.start = self.start.checked_sub(LEVEL)?;
        self.bytes[self.start..].first_chunk_mut()
    }

    /// The headers.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// A packet's fate. Whatever it is, its counter is incremented once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Send `front` followed by the packet.
    Encapsulated(Counter),
    /// Send the packet from this octet on.
    Decapsulated {
        /// Octets of outer headers to leave away.
        skip: usize,
        /// What to count.
        counter: Counter,
    },
    /// Pass it on as it came; the next rule rejects it, so that the application learns it.
    Rejected(Counter),
    /// Pass it on as it came: it is none of ours.
    Passed(Counter),
    /// It ends here.
    Dropped(Counter),
}

impl Fate {
    /// Of what this host itself says about a packet that came through a tunnel: nothing of that
    /// passes outside a tunnel.
    #[must_use]
    pub fn inside(self) -> Self {
        match self {
            Self::Passed(_) => Self::Dropped(Counter::IcmpError),
            fate => fate,
        }
    }

    /// The counter to increment.
    pub fn counter(self) -> Counter {
        match self {
            Self::Encapsulated(counter)
            | Self::Decapsulated { counter, .. }
            | Self::Rejected(counter)
            | Self::Passed(counter)
            | Self::Dropped(counter) => counter,
        }
    }
}

impl From<Flaw> for Fate {
    fn from(flaw: Flaw) -> Self {
        Self::Dropped(match flaw {
            Flaw::Malformed => Counter::Malformed,
            Flaw::Fragment => Counter::Fragment,
            Flaw::Options => Counter::InnerOptions,
        })
    }
}
