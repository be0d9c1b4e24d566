//! NAT records as people and name servers write them: made for every common server, read back from
//! whatever comes along, checked against what clients refuse, and signed into a dynamic update.

mod advice;
mod decode;
mod emulate;
mod format;
mod json;
mod key;
mod lines;
mod update;

pub use advice::{Warning, warnings};
pub use decode::{DecodeError, Reason, decode};
pub use emulate::{Emulation, EmulationError};
pub use format::{FORMATS, Format, RenderError, hex, render};
pub use json::to_json;
pub use key::{Key, KeyError};
pub use update::{Pending, Update, UpdateError};

use crate::dns::Name;
use crate::path::{Path, PathSet};

/// TTLs have 31 bits (RFC 2181 §8), in seconds.
pub const MAX_TTL: u32 = i32::MAX as u32;

/// All NAT records of one name, as they are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// The name that owns them.
    pub name: Name,
    /// How long they may be remembered, in seconds, at most [`MAX_TTL`].
    pub ttl: u32,
    /// The type number of NAT records.
    pub record_type: u16,
    /// The alternative paths, one record each.
    pub paths: PathSet,
}

/// One NAT record, as it was found somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its owner, where it was named.
    pub name: Option<Name>,
    /// Seconds, where it was said.
    pub ttl: Option<u32>,
    /// What it says.
    pub path: Path,
}

impl RecordSet {
    /// The records one by one.
    pub fn records(&self) -> Vec<Record> {
        let record = |path: &Path| Record {
            name: Some(self.name.clone()),
            ttl: Some(self.ttl),
            path: path.clone(),
        };
        self.paths.paths().iter().map(record).collect()
    }
}

#[cfg(test)]
mod tests;
