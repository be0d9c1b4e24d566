//! `nattt record`: makes, reads, looks up and publishes NAT records.

mod paths;
mod publish;

use std::io::{self, Read};
use std::net::Ipv4Addr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::table::{Align, Table};
use super::{FAILED, Failure, USAGE};
use crate::dns::Name;
use crate::dns::emulation::{BoxTemplate, Template};
use crate::os::nameserver::{Server, addresses, nat_records};
use crate::path::{NAT_RR_TYPE, PathSet, may_be_mapped};
use crate::record::{
    Emulation, FORMATS, Format, MAX_TTL, Record, RecordSet, decode, render, to_json, warnings,
};

/// The most that is read from standard input, in octets.
const MAX_INPUT: u64 = 64 << 20;

/// Make, read, look up and publish NAT records.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what goes into a name server's files
    #[command(after_help = EXAMPLES)]
    Make(MakeArgs),
    /// Say what the NAT records in a text mean
    Decode {
        /// A zone line, a line of Unbound's or dnsmasq's configuration, hex, or what dig printed;
        /// without it, or with `-`, standard input (a whole zone file, for example)
        text: Vec<String>,
        #[command(flatten)]
        kind: Kind,
    },
    /// Show the NAT records that the DNS has now
    Lookup {
        /// Name to ask for
        #[arg(value_parser = name)]
        name: Name,
        /// Name server to ask [default: the first of /etc/resolv.conf]
        #[arg(long, value_name = "SERVER[:PORT]")]
        server: Option<Server>,
        #[command(flatten)]
        kind: Kind,
    },
    /// Replace a name's NAT records at its name server, by dynamic update
    Publish(publish::PublishArgs),
}

const EXAMPLES: &str = "\
Examples:
  nattt record make b.example 203.0.113.1 192.168.0.2
  nattt record make b.example 203.0.113.1:100 192.168.0.2 --format dnsmasq
  nattt record make b.example '203.0.113.1 192.168.0.2' '203.0.113.2 192.168.0.2' --format all";

#[derive(Debug, Args)]
struct MakeArgs {
    #[command(flatten)]
    record: Wanted,
    /// Server whose syntax to use
    #[arg(long, default_value = FORMATS[0].0, value_parser = formats())]
    format: Format,
    /// With `a-records`: where the host's address is; `{name}`, `{label}` (its first) and
    /// `{parent}` (the rest) stand for parts of NAME [default: {label}-in.{parent}]
    #[arg(long, value_name = "TEMPLATE")]
    host_template: Option<Template>,
    /// With `a-records`: where a NAT box's address is, outermost first, `:PORT` after it if not 100; once for each box [default:
    /// {label}-nat1.{parent}, {label}-nat2.{parent}, ...]
    #[arg(long, value_name = "TEMPLATE")]
    box_template: Vec<BoxTemplate>,
}

/// The records that are made.
#[derive(Debug, Args)]
struct Wanted {
    /// Name that gets the NAT records
    #[arg(value_parser = name)]
    name: Name,
    /// Public address of the outermost NAT box, those of the next boxes, then the host's own;
    /// `:PORT` after a box's that is not 100. Several paths: each in quotes
    #[arg(required = true, value_name = "ADDRESS")]
    path: Vec<String>,
    /// How long resolvers may remember it, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_TTL)))]
    ttl: u32,
    #[command(flatten)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, Args)]
struct Kind {
    /// Type number of NAT records
    // Types up to 255 have a meaning of their own, 65535 is reserved (RFC 6895 §3.1).
    #[arg(long = "type", value_name = "N", default_value_t = NAT_RR_TYPE,
          value_parser = clap::value_parser!(u16).range(256..=65_534))]
    record_type: u16,
}

/// What `nattt record` prints. Warnings go to standard error.
pub(super) fn run(args: &RecordArgs, json: bool) -> Result<String, Failure> {
    match &args.action {
        Action::Make(args) => make(args, json),
        Action::Decode { text, kind } => {
            let records = decode(&text_of(text)?, kind.record_type).map_err(failed)?;
            Ok(shown(&records, kind.record_type, json))
        }
        Action::Lookup { name, server, kind } => lookup(name, server.as_ref(), *kind, json),
        Action::Publish(args) => publish::run(args, json),
    }
}

fn make(args: &MakeArgs, json: bool) -> Result<String, Failure> {
    let set = args.record.set(paths::parse(&args.record.path)?);
    warn(&set.records());
    let mut emulation = Emulation { boxes: args.box_template.clone(), ..Emulation::default() };
    emulation.host = args.host_template.clone().unwrap_or(emulation.host);
    render(&set, if json { Format::Json } else { args.format }, &emulation).map_err(failed)
}

fn lookup(name: &Name, server: Option<&Server>, kind: Kind, json: bool) -> Result<String, Failure> {
    let server = server.cloned().map_or_else(Server::of_this_host, Ok);
    let server = server.map_err(|error| failed(format!("no name server to ask: {error}")))?;
    let failure = |error| failed(format!("asking {server} for {name} failed: {error}"));
    let socket = server.addresses().map_err(failure)?[0];
    let (records, malformed) = nat_records(socket, name, kind.record_type).map_err(failure)?;
    for wrong in malformed {
        eprintln!("nattt: warning: a record of {name} is malformed, and left out: {wrong}");
    }
    if records.is_empty() {
        let kind = kind.record_type;
        return Err(failed(format!("{server} knows no NAT record (TYPE{kind}) of {name}")));
    }
    warn_of_addresses(name, &addresses(socket, name).unwrap_or_default());
    Ok(shown(&records, kind.record_type, json))
}

/// On a client the address may be a mapped one, which is as it should be.
fn warn_of_addresses(name: &Name, addrs: &[Ipv4Addr]) {
    if let Some(addr) = addrs.iter().find(|addr| !may_be_mapped(**addr)) {
        eprintln!(
            "nattt: warning: {name} has an A record, too, {addr}: it wins, and programs do not take the \
             tunnel; remove it from the zone"
        );
    }
}

impl Wanted {
    fn set(&self, paths: PathSet) -> RecordSet {
        let record_type = self.kind.record_type;
        RecordSet { name: self.name.clone(), ttl: self.ttl, record_type, paths }
    }
}

/// Records for people or programs, with warnings about them.
fn shown(records: &[Record], record_type: u16, json: bool) -> String {
    warn(records);
    if json {
        return to_json(records, record_type);
    }
    let columns = [("NAME", Align::Left), ("TTL", Align::Right), ("PATH", Align::Left)];
    let mut table = Table::new(columns);
    for record in records {
        let name = record.name.as_ref().map_or("-".into(), Name::to_string);
        let ttl = record.ttl.map_or("-".into(), |ttl| ttl.to_string());
        table.row([name, ttl, record.path.to_string()]);
    }
    table.render()
}

fn warn(records: &[Record]) {
    for record in records {
        for warning in warnings(&record.path) {
            eprintln!("nattt: warning: {}: {warning}", record.path);
        }
    }
}

/// The arguments, or standard input.
fn text_of(arguments: &[String]) -> Result<String, Failure> {
    if !arguments.is_empty() && arguments != ["-"] {
        return Ok(paths::each(arguments).join("\n"));
    }
    let mut octets = Vec::new();
    let read = io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut octets);
    read.map_err(|error| failed(format!("cannot read standard input: {error}")))?;
    if octets.len() as u64 > MAX_INPUT {
        return Err(failed(format!("standard input has more than {MAX_INPUT} octets")));
    }
    // What is no UTF-8 can only be in comments and other records.
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn failed(error: impl ToString) -> Failure {
    Failure { status: FAILED, message: error.to_string() }
}

fn usage(error: impl ToString) -> Failure {
    Failure { status: USAGE, message: error.to_string() }
}

/// A name as people type it.
fn name(text: &str) -> Result<Name, String> {
    if !text.is_ascii() {
        return Err("write it as the DNS has it, in ASCII: `xn--...`".into());
    }
    text.parse().map_err(|error: crate::dns::NameError| error.to_string())
}

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(FORMATS.map(|(name, _)| name)).map(|wanted| {
        let known = FORMATS.iter().find(|(name, _)| *name == wanted);
        known.map_or(Format::Zone, |(_, format)| *format)
    })
}
