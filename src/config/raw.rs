//! The file as TOML spells it: shapes only, with the place of each value.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

/// An optional integer; the range is checked later, so that the error can name it.
pub(super) type Int = Option<Spanned<i64>>;
pub(super) type Text = Option<Spanned<String>>;
pub(super) type Texts = Option<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) firewall: Text,
    pub(super) mark: Int,
    pub(super) client: Option<Client>,
    pub(super) gateway: Option<Spanned<Gateway>>,
    #[serde(default)]
    pub(super) queues: Queues,
    #[serde(default)]
    pub(super) daemon: Daemon,
    pub(super) metrics: Option<Spanned<Metrics>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) pool: Text,
    pub(super) serve: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) record_type: Int,
    pub(super) answer_ttl_s: Int,
    pub(super) lookup_patience_ms: Int,
    pub(super) private_zones: Texts,
    pub(super) mtu: Int,
    pub(super) measure_mtu: Option<bool>,
    pub(super) max_flows: Int,
    pub(super) max_flows_per_host: Int,
    pub(super) max_ports: Int,
    pub(super) max_mappings: Int,
    pub(super) keepalive_s: Int,
    pub(super) quarantine_s: Int,
    pub(super) only_names: Texts,
    pub(super) except_names: Texts,
    pub(super) listen: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) upstream: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) emulation: Vec<Spanned<Emulation>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Emulation {
    pub(super) zones: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) host: Text,
    pub(super) boxes: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) outside: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) exports: Option<Spanned<Vec<Spanned<Export>>>>,
    pub(super) port: Int,
    pub(super) hairpin: Texts,
    pub(super) enable_forwarding: Option<bool>,
    pub(super) inside_sources: Texts,
    pub(super) mtu: Int,
    pub(super) max_flows: Int,
    pub(super) max_flows_per_source: Int,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Text,
    pub(super) other_hosts: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Queues {
    pub(super) first: Int,
    pub(super) workers: Int,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Daemon {
    pub(super) state_dir: Text,
    pub(super) control_socket: Text,
}

/// `"192.168.0.0/24"`, or a table that also names a protocol and ports.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportTable {
    pub(super) prefix: String,
    pub(super) protocol: Option<NumberOrText>,
    #[serde(default)]
    pub(super) ports: Vec<NumberOrText>,
}

pub(super) struct Export(pub(super) ExportTable);

impl<'de> Deserialize<'de> for Export {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExportVisitor).map(Self)
    }
}

// A visitor of our own, because serde's untagged enums lose both the place and the cause of an error.
struct ExportVisitor;

impl<'de> Visitor<'de> for ExportVisitor {
    type Value = ExportTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prefix in quotes or a table with `prefix`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ExportTable, E> {
        Ok(ExportTable { prefix: text.to_owned(), protocol: None, ports: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExportTable, A::Error> {
        ExportTable::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A protocol or a port: `6`, `"tcp"`, `"8000-8010"`.
pub(super) enum NumberOrText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrTextVisitor)
    }
}

struct NumberOrTextVisitor;

impl Visitor<'_> for NumberOrTextVisitor {
    type Value = NumberOrText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text in quotes")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Number(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Text(text.to_owned()))
    }
}

impl fmt::Display for NumberOrText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}
