//! The table as it is saved: JSON, so that a person can read it.
//!
//! `{"version":1,"mappings":[{"address":"127.64.0.1","paths":["203.0.113.1:100 192.168.0.2"],
//! "names":["b.example."],"used":true,"expires_ms":0,"last_used_ms":0}]}`, times in milliseconds
//! since the UNIX epoch. `used` is whether a flow ever used the address, which then rests longer; a
//! mapping without it counts as used. A file of a later version is refused whole; a bad entry is
//! skipped alone.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{MAX_NAMES, Mapping};
use crate::path::{Path, PathSet};
use crate::time::Time;

const VERSION: u64 = 1;
/// The longest presentation form of a name: 255 octets (RFC 1035 §2.3.4), each written `\DDD`.
const MAX_NAME_CHARS: usize = 4 * 255;

/// The saved table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    mappings: Vec<Saved>,
    skipped: Skipped,
}

/// One saved mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) addr: Ipv4Addr,
    pub(super) paths: PathSet,
    /// Newest first.
    pub(super) names: Vec<String>,
    /// Whether a flow ever used the address, or may have.
    pub(super) used: bool,
    pub(super) expires: Time,
    pub(super) last_used: Time,
}

/// Saved mappings that were not taken back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skipped {
    /// How many.
    pub count: usize,
    /// Why the first of them was skipped.
    pub first_reason: Option<String>,
}

/// Why a saved table cannot be read at all. The daemon then moves the file aside and begins with
/// an empty table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// Not JSON, or no object with a version and a list.
    Malformed(String),
    /// Written by a later version of the product.
    Version(u64),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => {
                write!(f, "not a saved mapping table: {reason}; move the file away or restore it")
            }
            Self::Version(version) => write!(
                f,
                "saved mapping table has version {version}, this nattt reads {VERSION}; \
                 install the nattt that wrote it, or move the file away"
            ),
        }
    }
}

impl std::error::Error for StateError {}

impl State {
    pub(super) fn new(mappings: Vec<Saved>) -> Self {
        Self { mappings, skipped: Skipped::default() }
    }

    pub(super) fn into_parts(self) -> (Vec<Saved>, Skipped) {
        (self.mappings, self.skipped)
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    pub fn from_json(json: &[u8]) -> Result<Self, StateError> {
        let malformed = |reason: String| StateError::Malformed(reason);
        let file: Value = serde_json::from_slice(json).map_err(|e| malformed(e.to_string()))?;
        match file.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(version) => return Err(StateError::Version(version)),
            None => return Err(malformed("it has no version number".into())),
        }
        let entries = file.get("mappings").and_then(Value::as_array);
        let entries = entries.ok_or_else(|| malformed("it has no list of mappings".into()))?;
        let mut state = Self::default();
        for entry in entries {
            match Saved::from_value(entry) {
                Ok(saved) => state.mappings.push(saved),
                Err(reason) => state.skipped.add(reason),
            }
        }
        Ok(state)
    }

    /// The file's content, one line a mapping.
    pub fn to_json(&self) -> Vec<u8> {
        let entries: Vec<String> = self.mappings.iter().map(|saved| saved.to_line()).collect();
        let list = entries.join(",\n");
        format!("{{\"version\":{VERSION},\"mappings\":[\n{list}\n]}}\n").into_bytes()
    }
}

impl Skipped {
    pub(super) fn add(&mut self, reason: String) {
        self.count += 1;
        self.first_reason.get_or_insert(reason);
    }
}

/// One mapping as JSON has it.
#[derive(Serialize, Deserialize)]
struct Entry {
    address: Ipv4Addr,
    paths: Vec<String>,
    names: Vec<String>,
    /// Not in files of the first versions.
    used: Option<bool>,
    expires_ms: u64,
    last_used_ms: u64,
}

impl Saved {
    pub(super) fn of(mapping: &Mapping) -> Self {
        Self {
            addr: mapping.addr(),
            paths: mapping.paths().clone(),
            names: mapping.names(),
            used: mapping.is_used(),
            expires: mapping.expires(),
            last_used: mapping.last_used(),
        }
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        let entry = Entry::deserialize(value).map_err(|e| format!("malformed entry: {e}"))?;
        let addr = entry.address;
        let bad = |what: &dyn fmt::Display| format!("entry of {addr}: {what}");
        let paths: Result<Vec<Path>, _> = entry.paths.iter().map(|path| path.parse()).collect();
        let paths = PathSet::new(paths.map_err(|e| bad(&e))?).ok_or_else(|| bad(&"no path"))?;
        let names = entry.names;
        if names.len() > MAX_NAMES || !names.iter().all(|name| is_escaped_name(name)) {
            return Err(bad(&"names that no mapping can have"));
        }
        let expires = Time::from_millis(entry.expires_ms);
        let last_used = Time::from_millis(entry.last_used_ms);
        let used = entry.used.unwrap_or(true);
        Ok(Self { addr, paths, names, used, expires, last_used })
    }

    fn to_line(&self) -> String {
        let entry = Entry {
            address: self.addr,
            paths: self.paths.paths().iter().map(Path::to_string).collect(),
            names: self.names.clone(),
            used: Some(self.used),
            expires_ms: self.expires.as_millis(),
            last_used_ms: self.last_used.as_millis(),
        };
        serde_json::json!(entry).to_string()
    }
}

/// Names are kept escaped and in lower case; anything else was not written by the product.
fn is_escaped_name(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_graphic() && !octet.is_ascii_uppercase();
    name.len() <= MAX_NAME_CHARS && name.bytes().all(allowed)
}
