//! `nattt record publish`: a signed dynamic update, for hosts whose public address changes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::{Wanted, failed, name, paths, shown, usage};
use crate::cli::Failure;
use crate::dns::{Name, acceptable};
use crate::os::clock::Clock;
use crate::os::nameserver::{Server, exchange};
use crate::os::network::{INTERNET, route};
use crate::path::Path;
use crate::record::{Key, Update};

/// Stands for this host's public address.
const AUTO: &str = "auto";

#[derive(Debug, Args)]
#[command(after_help = "\
Example, on a router whose public address changes:
  nattt record publish b.example auto 192.168.0.2 \\
      --server ns1.example --zone example --key-file /etc/nattt/update.key")]
pub(super) struct PublishArgs {
    #[command(flatten)]
    record: Wanted,
    /// Primary name server of the zone
    #[arg(long, value_name = "SERVER[:PORT]")]
    server: Server,
    /// Zone that the name is in
    #[arg(long, value_parser = name)]
    zone: Name,
    /// File with the key that may change it, as `tsig-keygen` writes it
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

/// Publishes, and says what.
pub(super) fn run(args: &PublishArgs, json: bool) -> Result<String, Failure> {
    let key = read_key(args)?;
    let addresses =
        args.server.addresses().map_err(|error| failed(format!("{}: {error}", args.server)))?;
    let texts = paths::each(&args.record.path)
        .iter()
        .map(|text| with_address(text, &addresses))
        .collect::<Result<Vec<_>, _>>()?;
    let set = args.record.set(paths::parse(&texts)?);
    let shown = shown(&set.records(), set.record_type, json);
    let update = Update::new(args.zone.clone(), set).map_err(usage)?;
    let now = Clock::start().now().as_millis() / 1000;
    let (message, pending) = update.sign(&key, now).map_err(failed)?;
    let at_server = |error: &dyn std::fmt::Display| failed(format!("{}: {error}", args.server));
    let answer = exchange(&addresses, &message).map_err(|error| at_server(&error))?;
    pending.finish(&answer).map_err(|error| at_server(&error))?;
    Ok(shown)
}

fn read_key(args: &PublishArgs) -> Result<Key, Failure> {
    let file = args.key_file.display();
    let text = fs::read_to_string(&args.key_file)
        .map_err(|error| failed(format!("cannot read the key {file}: {error}")))?;
    Key::parse(&text).map_err(|error| failed(format!("{file}: {error}")))
}

/// A path's text with `auto` replaced by this host's public address.
fn with_address(text: &str, servers: &[SocketAddr]) -> Result<String, Failure> {
    let text = text.trim_start();
    let port = text.strip_prefix(AUTO).filter(|rest| rest.starts_with([':', ' ', '\t']));
    match port {
        Some(rest) => Ok(format!("{}{rest}", public_address(servers)?)),
        None => Ok(text.to_owned()),
    }
}

/// The address towards the Internet or else towards the server, whichever clients would accept.
fn public_address(servers: &[SocketAddr]) -> Result<Ipv4Addr, Failure> {
    let servers = servers.iter().filter_map(|server| match server.ip() {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    });
    let source = |to| route(to).map(|route| route.source);
    let mut found: Vec<_> = [INTERNET].into_iter().chain(servers).filter_map(source).collect();
    found.dedup();
    found.iter().copied().find(|&addr| is_public(addr)).ok_or_else(|| {
        let found = match found.is_empty() {
            true => "no IPv4 address towards the Internet".into(),
            false => found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
        };
        failed(format!(
            "`auto` needs a public address on this host, but it has {found}: it is behind a NAT \
             itself; give the outermost NAT box's public address instead"
        ))
    })
}

fn is_public(addr: Ipv4Addr) -> bool {
    let path: Result<Path, _> = format!("{addr} {INTERNET}").parse();
    path.is_ok_and(|path| acceptable(&path, false, |_| false).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_address_may_be_auto() {
        let text = "203.0.113.1 192.168.0.2";
        assert_eq!(with_address(text, &[]).expect("as it is"), text);
        assert_eq!(
            with_address("automatic 192.168.0.2", &[]).expect("as it is"),
            "automatic 192.168.0.2"
        );
        assert_eq!(with_address("10.0.0.1 auto", &[]).expect("as it is"), "10.0.0.1 auto");
    }

    #[test]
    fn public_addresses() {
        let addr = |text: &str| text.parse::<Ipv4Addr>().expect("an address");
        assert!(is_public(addr("203.0.113.1")));
        for private in ["192.168.1.5", "10.0.0.1", "100.64.3.2", "127.0.0.1", "169.254.1.1"] {
            assert!(!is_public(addr(private)), "{private}");
        }
    }
}
