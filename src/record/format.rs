//! What to put into each name server's files.

use std::fmt::{self, Write};

use data_encoding::HEXUPPER;

use super::emulate::{Emulation, EmulationError};
use super::{RecordSet, to_json};
use crate::dns::Name;
use crate::path::Path;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of a zone file, in the generic syntax for unknown types (RFC 3597 §5).
    Zone,
    /// Unbound's `local-data`.
    Unbound,
    /// dnsmasq's `dns-rr`.
    Dnsmasq,
    /// Input of nsupdate that replaces the name's NAT records.
    Nsupdate,
    /// A records that stand for a NAT record where a zone takes no unknown types.
    ARecords,
    /// The RDATA in hex, one record a line.
    Rdata,
    /// For programs.
    Json,
    /// All but JSON, under headings.
    All,
}

/// The formats by the names that people use.
pub const FORMATS: [(&str, Format); 12] = [
    ("bind", Format::Zone),
    ("nsd", Format::Zone),
    ("knot", Format::Zone),
    ("powerdns", Format::Zone),
    ("coredns", Format::Zone),
    ("unbound", Format::Unbound),
    ("dnsmasq", Format::Dnsmasq),
    ("nsupdate", Format::Nsupdate),
    ("a-records", Format::ARecords),
    ("rdata", Format::Rdata),
    ("json", Format::Json),
    ("all", Format::All),
];

/// Under these headings [`Format::All`] shows the others. Servers take `#` for a comment, or do not
/// see it.
const HEADINGS: [(Format, &str); 6] = [
    (Format::Zone, "BIND, NSD, Knot, PowerDNS, CoreDNS: the zone's file"),
    (Format::Unbound, "Unbound: section server of unbound.conf"),
    (Format::Dnsmasq, "dnsmasq: dnsmasq.conf"),
    (Format::Nsupdate, "nsupdate: its input"),
    (Format::ARecords, "A records that emulate it, where unknown types are refused"),
    (Format::Rdata, "The data alone, in hex"),
];

/// Why records cannot be written in a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// dnsmasq has no escapes: letters, digits, `-`, `_` and `.` only.
    DnsmasqName(Name),
    /// A records cannot say it.
    Emulation(EmulationError),
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DnsmasqName(name) => {
                write!(f, "dnsmasq takes only letters, digits, `-` and `_` in a name: not {name}")
            }
            Self::Emulation(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for RenderError {}

impl From<EmulationError> for RenderError {
    fn from(error: EmulationError) -> Self {
        Self::Emulation(error)
    }
}

/// The records in a format, each line with its end. `emulation` says how A records are named.
pub fn render(
    set: &RecordSet,
    format: Format,
    emulation: &Emulation,
) -> Result<String, RenderError> {
    match format {
        Format::Zone => Ok(lines(set, |path| zone_line(set, path))),
        Format::Unbound => {
            Ok(lines(set, |path| format!("local-data: \"{}\"", zone_line(set, path))))
        }
        Format::Dnsmasq => dnsmasq(set),
        Format::Nsupdate => Ok(nsupdate(set)),
        Format::ARecords => Ok(emulation.a_records(set)?),
        Format::Rdata => Ok(lines(set, hex)),
        Format::Json => Ok(to_json(&set.records(), set.record_type)),
        Format::All => Ok(all(set, emulation)),
    }
}

/// The RDATA of a NAT record in hex.
pub fn hex(path: &Path) -> String {
    HEXUPPER.encode(&path.to_rdata())
}

/// A name with its final dot. Whatever might mean something to some server or to nsupdate is written
/// by its number (RFC 1035 §5.1).
pub(super) fn absolute(name: &Name) -> String {
    let mut text = String::new();
    for label in name.labels() {
        for &octet in label {
            // Writing to a string cannot fail.
            let _ = match octet {
                b'*' => write!(text, "*"),
                _ if is_plain(octet) => write!(text, "{}", char::from(octet)),
                _ => write!(text, "\\{octet:03}"),
            };
        }
        text.push('.');
    }
    if text.is_empty() { ".".into() } else { text }
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-_".contains(&octet)
}

fn lines(set: &RecordSet, line: impl Fn(&Path) -> String) -> String {
    set.paths.paths().iter().map(|path| line(path) + "\n").collect()
}

fn zone_line(set: &RecordSet, path: &Path) -> String {
    format!("{} {} IN TYPE{} {}", absolute(&set.name), set.ttl, set.record_type, generic(path))
}

/// RFC 3597 §5. The hex is one word, because some servers take only that.
fn generic(path: &Path) -> String {
    format!("\\# {} {}", path.to_rdata().len(), hex(path))
}

/// dnsmasq denies that a name exists whose only record is a `dns-rr`: to a question for its A record
/// it answers NXDOMAIN, and no client asks on. A TXT record makes that an answer without data.
fn dnsmasq(set: &RecordSet) -> Result<String, RenderError> {
    let name = &set.name;
    let mut octets = name.labels().flatten().peekable();
    if octets.peek().is_none() || !octets.all(|&octet| is_plain(octet)) {
        return Err(RenderError::DnsmasqName(name.clone()));
    }
    let records = lines(set, |path| format!("dns-rr={name},{},{}", set.record_type, hex(path)));
    Ok(format!("{records}txt-record={name},NAT\n"))
}

/// An A record would win over the NAT records, so the update is refused if there is one.
fn nsupdate(set: &RecordSet) -> String {
    let (name, kind) = (absolute(&set.name), set.record_type);
    let added = lines(set, |path| format!("update add {}", zone_line(set, path)));
    format!("prereq nxrrset {name} A\nupdate delete {name} TYPE{kind}\n{added}send\n")
}

fn all(set: &RecordSet, emulation: &Emulation) -> String {
    let mut text = String::new();
    for (format, heading) in HEADINGS {
        let body = render(set, format, emulation)
            .unwrap_or_else(|reason| format!("# Not possible: {reason}.\n"));
        let gap = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{gap}# {heading}\n{body}");
    }
    text
}
