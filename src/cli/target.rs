//! Whom `nattt probe`, `trace` and `ping` are about: a name, or a path that is typed.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;

use super::explain::{failed, known, rules, sentence};
use super::table::escape;
use super::{Failure, Global, USAGE};
use crate::control::{NatRecord, RulesState, Subject};
use crate::dns::{self, Name};
use crate::explain::{Asked, Conclusion, conclude};
use crate::os::control::AskError;
use crate::os::{network, question};
use crate::path::{Hop, MAX_HOPS, NAT_RR_TYPE, Path, PathSet};
use crate::probe::{Made, with_headers};

/// More paths of one name are left out.
const MAX_PATHS: usize = 8;

/// A name, or a path.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Name of the host; or the NAT boxes on the way, outermost first, and the host's address
    #[arg(required = true, value_name = "NAME|BOX[:PORT]", num_args = 1..=MAX_HOPS + 1)]
    target: Vec<String>,
    /// Ask this name server instead of those of /etc/resolv.conf
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
}

/// Where packets are to go.
#[derive(Debug)]
pub(super) struct Target {
    /// As it was typed.
    pub(super) name: String,
    pub(super) paths: Vec<Path>,
    /// Only a gateway is named, and no host behind it.
    pub(super) gateway: bool,
    /// What is odd about it, or about this host.
    pub(super) notes: Vec<String>,
}

impl TargetArgs {
    /// Finds the paths. Those that can lead nowhere are refused: a NAT record is anybody's text.
    pub(super) fn find(&self, global: &Global) -> Result<Target, Failure> {
        let text = self.target.join(" ");
        let mut target = match self.target.first().map(|first| first.parse::<Hop>()) {
            Some(Ok(gateway)) if self.target.len() == 1 => to_gateway(text, gateway)?,
            Some(Ok(_)) => typed(text)?,
            _ => self.named(global, text)?,
        };
        if target.paths.len() > MAX_PATHS {
            target.notes.push(format!("Only the first {MAX_PATHS} paths are shown"));
            target.paths.truncate(MAX_PATHS);
        }
        let own = network::addresses().unwrap_or_default();
        let own: Vec<_> = own.iter().map(|(_, net)| net.addr()).collect();
        for path in &target.paths {
            usable(path, &own)?;
        }
        Ok(target)
    }

    fn named(&self, global: &Global, text: String) -> Result<Target, Failure> {
        let name: Name = match text.parse() {
            Ok(name) if self.target.len() == 1 => name,
            _ => {
                return Err(usage(
                    "give one name, or a path: NAT boxes outermost first, then the host",
                ));
            }
        };
        let first = known(global, Subject { name: name.to_string(), ..Subject::default() });
        let record_type = first.as_ref().map_or(NAT_RR_TYPE, |known| known.record_type);
        let servers = self.server.map_or_else(question::name_servers, |server| vec![server]);
        let asked = question::ask(&name, record_type, &servers)
            .map_err(|error| failed(format!("cannot ask the DNS: {error}")))?
            .ok_or_else(|| failed("cannot ask the DNS: no name server can be used".into()))?;
        let subject = asked.subject(&name.to_string());
        let known = first.and_then(|_| known(global, subject));
        let mut notes = rules_note(global);
        notes.extend(match conclude(&asked, known.as_ref().ok()) {
            Conclusion::AddressWins => Some(
                "It has an address of its own, which wins over its NAT record: other programs do not \
                 take this way"
                    .into(),
            ),
            Conclusion::MappedBefore => Some(
                "It seems that the router that serves this host has mapped it: other programs do not take \
                 this way, but that router's"
                    .into(),
            ),
            Conclusion::Outdated => Some(
                "natttd here has other paths for this name: those of an earlier NAT record, until its TTL \
                 ends or natttd is restarted"
                    .into(),
            ),
            _ => None,
        });
        let recorded: Vec<_> =
            asked.paths().into_iter().filter_map(|(_, path)| path.ok()).collect();
        let mapped = match &known {
            Ok(known) => {
                let refused =
                    known.judgements.iter().filter_map(|judgement| judgement.refused.as_ref());
                notes.extend(refused.map(|why| format!("natttd here refuses a record: {why}")));
                known.mapping.as_ref().map(|mapping| &mapping.paths[..]).unwrap_or_default()
            }
            Err(error) => {
                notes.push(without_daemon(error));
                &[]
            }
        };
        let mapped: Vec<Path> = mapped.iter().filter_map(|path| path.parse().ok()).collect();
        let paths = chosen(recorded, mapped, &mut notes);
        let paths = paths.ok_or_else(|| none(&name.to_string(), &asked))?;
        Ok(Target { name: text, paths: paths.paths().to_vec(), gateway: false, notes })
    }
}

/// The paths of the records; without any, those that the daemon has made of other records.
fn chosen(recorded: Vec<Path>, mapped: Vec<Path>, notes: &mut Vec<String>) -> Option<PathSet> {
    let (recorded, mapped) = (PathSet::new(recorded), PathSet::new(mapped));
    match (recorded, mapped) {
        (None, Some(mapped)) => {
            notes.push(
                "The DNS has no NAT record; the path is the one that natttd here has for this name, \
                 by emulation or from before"
                    .into(),
            );
            Some(mapped)
        }
        (recorded, _) => recorded,
    }
}

/// What natttd here makes on a path.
pub(super) fn made_here(global: &Global, path: &Path) -> Option<Made> {
    let record = NatRecord { owner: ".".into(), path: path.to_string() };
    let subject = Subject { name: ".".into(), records: vec![record], ..Subject::default() };
    let known = known(global, subject).ok()?;
    known.judgements.first().map(|judgement| Made {
        octets: with_headers(path, judgement.link_mtu.unwrap_or(judgement.mtu)),
        measures: judgement.path.is_some(),
    })
}

fn rules_note(global: &Global) -> Vec<String> {
    match rules(global) {
        RulesState::Loaded | RulesState::Unknown => Vec::new(),
        _ => {
            vec![
                "natttd's firewall rules are not as they should be here: see `nattt status`".into(),
            ]
        }
    }
}

fn without_daemon(error: &AskError) -> String {
    match error {
        AskError::NoDaemon(path) => format!(
            "No natttd listens on {} here; this command needs none, other programs do",
            path.display()
        ),
        error => format!("natttd here was not asked what it thinks of the name: {error}"),
    }
}

fn none(name: &str, asked: &Asked) -> Failure {
    let why = sentence(conclude(asked, None));
    failed(format!("there is no path to {}: {why}; see `nattt explain`", escape(name)))
}

fn typed(text: String) -> Result<Target, Failure> {
    let path = text.parse::<Path>().map_err(|error| usage(&error.to_string()))?;
    Ok(Target { name: text, paths: vec![path], gateway: false, notes: Vec::new() })
}

/// Something must be inside a tunnel packet: the gateway itself is asked for.
fn to_gateway(text: String, gateway: Hop) -> Result<Target, Failure> {
    let path = Path::new(vec![gateway], gateway.addr).map_err(|error| usage(&error.to_string()))?;
    Ok(Target { name: text, paths: vec![path], gateway: true, notes: Vec::new() })
}

fn usable(path: &Path, own: &[Ipv4Addr]) -> Result<(), Failure> {
    // Typed or looked up by a person, on a private network too.
    dns::acceptable(path, true, |addr| own.contains(&addr)).map_err(|refusal| {
        let elsewhere = match own.contains(&path.first().addr) {
            true => "; probe it from a host outside",
            false => "",
        };
        failed(format!("{path} is no path to probe: {refusal}{elsewhere}"))
    })
}

fn usage(message: &str) -> Failure {
    Failure { status: USAGE, message: message.to_owned() }
}
