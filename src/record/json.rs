//! NAT records for programs: `{"records":[{"name":"b.example","ttl":300,"type":65324,...}]}`.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Record;
use super::decode::{Reason, octets};
use super::format::hex;
use crate::dns::Name;
use crate::path::{Hop, Path};

/// Reads what [`to_json`] writes. Of a record only `name`, `ttl`, `type` and `rdata` count; the rest
/// says the same in other words.
pub(super) fn from_json(text: &str, record_type: u16) -> Result<Vec<Record>, Reason> {
    let read: Wanted =
        serde_json::from_str(text).map_err(|error| Reason::Json(error.to_string()))?;
    let mut records = Vec::new();
    let mut other_type = None;
    for one in read.records {
        if one.record_type != record_type {
            other_type = Some(one.record_type);
            continue;
        }
        let path = Path::from_rdata(&octets(&one.rdata)?)?;
        records.push(Record { name: one.name, ttl: one.ttl, path });
    }
    match (records.is_empty(), other_type) {
        (false, _) => Ok(records),
        (true, Some(found)) => Err(Reason::OtherType { wanted: record_type, found }),
        (true, None) => Err(Reason::Nothing),
    }
}

/// The records as JSON with line ends for people.
pub fn to_json(records: &[Record], record_type: u16) -> String {
    let shown = |record: &Record| Shown {
        name: record.name.clone(),
        ttl: record.ttl,
        record_type,
        path: record.path.to_string(),
        hops: record.path.hops().iter().map(NatBox::from).collect(),
        host: record.path.host(),
        rdata: hex(&record.path),
    };
    let all = All { records: records.iter().map(shown).collect() };
    // Strings, numbers and names have no way to fail.
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

#[derive(Debug, Serialize)]
struct All {
    records: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    name: Option<Name>,
    ttl: Option<u32>,
    #[serde(rename = "type")]
    record_type: u16,
    path: String,
    hops: Vec<NatBox>,
    host: Ipv4Addr,
    rdata: String,
}

#[derive(Debug, Serialize)]
struct NatBox {
    address: Ipv4Addr,
    port: u16,
}

impl From<&Hop> for NatBox {
    fn from(hop: &Hop) -> Self {
        Self { address: hop.addr, port: hop.port }
    }
}

#[derive(Debug, Deserialize)]
struct Wanted {
    records: Vec<WantedRecord>,
}

#[derive(Debug, Deserialize)]
struct WantedRecord {
    name: Option<Name>,
    ttl: Option<u32>,
    #[serde(rename = "type")]
    record_type: u16,
    rdata: String,
}
