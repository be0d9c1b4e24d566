//! Loading and removing the rules by the firewall's own tools.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::cttimeout::{self, TimeoutError};
use super::route;
use crate::config::{Config, Flavour};
use crate::rules;

/// One `nattt` after the other: iptables' rules are read, and then replaced by what follows from them.
const LOCK: &str = "/run/nattt-rules.lock";
/// Another program may hold the xtables lock for so many seconds.
const LOCK_WAIT_S: &str = "10";

/// Why rules could not be loaded or removed.
#[derive(Debug)]
pub enum FirewallError {
    /// A tool that could not be run.
    Start {
        /// Its name.
        tool: &'static str,
        /// What the system says.
        cause: io::Error,
    },
    /// A tool that refused the text.
    Refused {
        /// Its name.
        tool: &'static str,
        /// What it printed.
        said: String,
    },
    /// Connection timeout policies that the iptables flavour needs.
    Timeout(TimeoutError),
    /// The route of another pool could not be closed.
    Route(io::Error),
}

impl fmt::Display for FirewallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { tool, cause } if cause.kind() == io::ErrorKind::NotFound => {
                write!(f, "`{tool}` is not installed: install the package {}", package(tool))
            }
            Self::Start { tool, cause } => write!(f, "`{tool}` could not be run: {cause}"),
            Self::Refused { tool, said } => {
                write!(f, "`{tool}` refused the rules and left those that were there: ")?;
                match advice(tool, said) {
                    Some(advice) => write!(f, "{advice}\nIt said: {}", first_line(said)),
                    None => f.write_str(said),
                }
            }
            Self::Timeout(error) => error.fmt(f),
            Self::Route(error) => {
                write!(f, "closing the route of another pool: {error}: run this as root")
            }
        }
    }
}

impl FirewallError {
    /// The same in one line, without advice.
    pub fn brief(&self) -> String {
        match self {
            Self::Refused { tool, said } => {
                format!("`{tool}` says: {}", first_line(said))
            }
            error => error.to_string(),
        }
    }

    /// What to do about it, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused { tool, said } => advice(tool, said),
            _ => None,
        }
    }
}

impl std::error::Error for FirewallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { cause, .. } | Self::Route(cause) => Some(cause),
            Self::Timeout(error) => Some(error),
            Self::Refused { .. } => None,
        }
    }
}

impl From<TimeoutError> for FirewallError {
    fn from(error: TimeoutError) -> Self {
        Self::Timeout(error)
    }
}

/// Loads the rules of `config`, replacing what was loaded before in either flavour.
pub fn apply(config: &Config, flavour: Flavour) -> Result<(), FirewallError> {
    let _lock = Lock::take();
    // The new rules guard their own pool only; natttd opens its route.
    let pool = config.client.as_ref().map(|client| client.pool);
    route::close_others(pool).map_err(FirewallError::Route)?;
    match flavour {
        Flavour::Nft => {
            run("nft", &["-f", "-"], &rules::render(config, flavour))?;
            // Only now: the pool must not stand open in between.
            remove_if_installed(Flavour::Iptables)
        }
        Flavour::Iptables => {
            apply_iptables(config)?;
            remove_if_installed(Flavour::Nft)
        }
    }
}

/// Whether this host would take the rules, without loading them. For nft the kernel is asked, for
/// iptables only its tool.
pub fn check(config: &Config, flavour: Flavour) -> Result<(), FirewallError> {
    let (tool, args): (_, &[&str]) = match flavour {
        Flavour::Nft => ("nft", &["-c", "-f", "-"]),
        Flavour::Iptables => (IPV4.restore, &["--noflush", "--test"]),
    };
    run(tool, args, &rules::render(config, flavour)).map(drop)
}

/// What a tool lists; nothing if it is not installed, or why it does not.
pub fn listed(tool: &'static str, args: &[&str]) -> Result<String, String> {
    match run(tool, args, "") {
        Ok(text) => Ok(text),
        Err(FirewallError::Start { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            Ok(String::new())
        }
        Err(error) => Err(error.brief()),
    }
}

/// Removes the rules of one flavour; nothing loaded is no error.
pub fn remove(flavour: Flavour) -> Result<(), FirewallError> {
    let _lock = Lock::take();
    remove_one(flavour)
}

fn remove_one(flavour: Flavour) -> Result<(), FirewallError> {
    match flavour {
        Flavour::Nft => run("nft", &["-f", "-"], &rules::nft_removal()).map(|_| ()),
        Flavour::Iptables => remove_iptables(),
    }
}

/// Removes the rules of both flavours, those whose tools are installed.
pub fn remove_all() -> Result<(), FirewallError> {
    let _lock = Lock::take();
    Flavour::ALL.into_iter().try_for_each(remove_if_installed)
}

fn remove_if_installed(flavour: Flavour) -> Result<(), FirewallError> {
    match remove_one(flavour) {
        Err(FirewallError::Start { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        result => result,
    }
}

/// Held until the end of the value.
struct Lock(#[expect(dead_code, reason = "closing it gives the lock back")] Option<File>);

impl Lock {
    /// Whoever cannot have it is not root, and what follows fails and says so.
    fn take() -> Self {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(LOCK).ok();
        Self(file.filter(|file| flock(file, FlockOperation::LockExclusive).is_ok()))
    }
}

fn apply_iptables(config: &Config) -> Result<(), FirewallError> {
    if config.gateway.is_some() {
        cttimeout::set(rules::TIMEOUTS)?;
    }
    for family in families() {
        family.restore(|saved| rules::replacement(saved, &family.text(config)))?;
    }
    if config.gateway.is_none() {
        cttimeout::delete(rules::TIMEOUTS)?;
    }
    Ok(())
}

fn remove_iptables() -> Result<(), FirewallError> {
    for family in families() {
        family.restore(rules::removal)?;
    }
    Ok(cttimeout::delete(rules::TIMEOUTS)?)
}

/// iptables has one set of tools for each IP version.
struct Family {
    save: &'static str,
    restore: &'static str,
    text: fn(&Config) -> String,
}

const IPV4: Family = Family {
    save: "iptables-save",
    restore: "iptables-restore",
    text: |config| rules::render(config, Flavour::Iptables),
};

const IPV6: Family =
    Family { save: "ip6tables-save", restore: "ip6tables-restore", text: rules::render_ip6tables };

fn families() -> impl Iterator<Item = Family> {
    // Where IPv6 is switched off there is nothing to load into, and no DNS over it.
    let ipv6 = Path::new("/proc/net/if_inet6").exists();
    [IPV4].into_iter().chain(ipv6.then_some(IPV6))
}

impl Family {
    fn text(&self, config: &Config) -> String {
        (self.text)(config)
    }

    /// Loads what `make` makes of the rules that are loaded now.
    fn restore(&self, make: impl FnOnce(&str) -> String) -> Result<(), FirewallError> {
        let text = make(&run(self.save, &[], "")?);
        if !text.is_empty() {
            run(self.restore, &["--noflush", "--wait", LOCK_WAIT_S], &text)?;
        }
        Ok(())
    }
}

/// Runs a tool with `input` and returns what it printed.
fn run(tool: &'static str, args: &[&str], input: &str) -> Result<String, FirewallError> {
    let output = feed(tool, args, input).map_err(|cause| FirewallError::Start { tool, cause })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FirewallError::Refused { tool, said })
}

fn feed(tool: &str, args: &[&str], input: &str) -> io::Result<std::process::Output> {
    let mut child = Command::new(tool)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // A tool that gives up early closes the pipe; its exit status says why.
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => child.wait_with_output(),
    }
}

fn package(tool: &str) -> &'static str {
    if tool == "nft" { "nftables" } else { "iptables" }
}

/// What to do about what a tool said.
/// A tool may say the same of every rule.
fn first_line(said: &str) -> &str {
    said.lines().next().unwrap_or_default()
}

fn advice(tool: &str, said: &str) -> Option<&'static str> {
    let missing = said.contains("No such file or directory");
    if said.contains("Operation not permitted") || said.contains("Permission denied") {
        Some("run this as root.")
    } else if tool == "nft" && missing && said.contains("queue") {
        Some(
            "this kernel lacks nft's `queue` statement (CONFIG_NFT_QUEUE): write `firewall = \
             \"iptables\"` at the top of the configuration.",
        )
    } else if tool == "nft" && missing && said.contains("dup to") {
        Some(
            "this kernel lacks nft's `dup` statement: it is in the module nft_dup_ipv4 \
             (CONFIG_NFT_DUP_IPV4), which Debian's kernels have.",
        )
    } else if said.contains("xtables lock") {
        Some("another program holds the xtables lock: try again when it is done.")
    } else if tool != "nft" && (missing || said.contains("No chain/target/match")) {
        Some(
            "this kernel lacks something the rules need (xt_NFQUEUE, xt_CT, xt_connmark, \
             xt_conntrack, xt_addrtype, xt_NETMAP, xt_TEE, the tables raw and security).",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_missing_names_its_package() {
        let cause = io::Error::from(io::ErrorKind::NotFound);
        let error = FirewallError::Start { tool: "nft", cause };
        assert_eq!(error.to_string(), "`nft` is not installed: install the package nftables");
    }

    #[test]
    fn a_kernel_without_the_queue_statement_has_a_way_out() {
        let said =
            "Error: Could not process rule: No such file or directory\n queue to 1\nError: more";
        let error = FirewallError::Refused { tool: "nft", said: said.into() }.to_string();
        let (first, rest) = error.split_once('\n').expect("two lines");
        assert!(first.contains("write `firewall = \"iptables\"` at the top"), "{error}");
        assert_eq!(rest, "It said: Error: Could not process rule: No such file or directory");
    }

    #[test]
    fn what_nothing_is_known_about_is_told_as_a_whole() {
        let said = "Error: syntax error\n  flub";
        let error = FirewallError::Refused { tool: "nft", said: said.into() }.to_string();
        assert!(error.ends_with(said), "{error}");
    }

    #[test]
    fn a_kernel_that_copies_no_packets_is_told_by_its_module() {
        let said = "Error: Could not process rule: No such file or directory\n\t\tdup to 127.0.0.1";
        let error = FirewallError::Refused { tool: "nft", said: said.into() };
        assert!(error.to_string().contains("module nft_dup_ipv4"));
    }
}
