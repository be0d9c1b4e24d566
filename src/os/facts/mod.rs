//! Gathers what `nattt doctor` judges. Nothing is changed by it.

mod sockets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::StatVfsMountFlags;

use super::control::{AskError, ask};
use super::{firewall, network, sysctl, tables};
use crate::config::Config;
use crate::control::{Reply, Request, RulesState, RulesStatus};
use crate::doctor::{self, Daemon, Facts, KernelQueue, Queues, Refusal};
use crate::rules;

const QUEUES: &str = "/proc/net/netfilter/nfnetlink_queue";
const RESOLVED_SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve";
const RESOLVED_CONF: &str = "/etc/systemd/resolved.conf";
const RESOLVED_CONF_D: [&str; 3] = [
    "/usr/lib/systemd/resolved.conf.d",
    "/run/systemd/resolved.conf.d",
    "/etc/systemd/resolved.conf.d",
];
/// Settings of every interface, and of the host.
const OF_INTERFACES: [&str; 3] = ["forwarding", "rp_filter", "route_localnet"];
const SETTINGS: [&str; 5] = [
    doctor::FIRST_FREE_PORT,
    sysctl::UDP_EARLY_DEMUX,
    "net/netfilter/nf_conntrack_checksum",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
];

/// Looks at this host. `config` is the configuration or what is wrong with it; the daemon is asked
/// through `socket`.
pub fn gather(config: Result<Config, String>, socket: &Path) -> Facts {
    let rules = config.as_ref().ok().map(rules_status);
    let missing = rules
        .as_ref()
        .is_some_and(|rules| !matches!(rules.state, RulesState::Loaded | RulesState::Unknown));
    let refused = config.as_ref().ok().filter(|_| missing).and_then(|config| {
        let error = firewall::check(config, config.firewall).err()?;
        Some(Refusal { why: error.brief(), advice: error.advice().map(str::to_owned) })
    });
    let unwritable = config.as_ref().ok().and_then(|config| unwritable(&config.daemon.state_dir));
    Facts {
        unwritable,
        daemon: daemon(socket),
        rules,
        refused,
        nft: firewall::listed("nft", &["-j", "list", "ruleset"]),
        iptables: firewall::listed("iptables-save", &[]),
        queues: queues(),
        settings: settings(),
        addresses: network::addresses().unwrap_or_default(),
        routes: firewall::listed("ip", &["-j", "-4", "route", "show", "table", "all"]),
        sockets: sockets::udp(),
        resolv_conf: text("/etc/resolv.conf"),
        nsswitch_conf: text("/etc/nsswitch.conf"),
        resolved_conf: Path::new(RESOLVED_SOCKET).exists().then(resolved_conf),
        torrc: fs::read_to_string("/etc/tor/torrc").ok(),
        hosts: text("/etc/hosts"),
        nscd: Path::new("/run/nscd/socket").exists(),
        now_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        config,
    }
}

fn unwritable(folder: &Path) -> Option<&'static str> {
    let state = rustix::fs::statvfs(folder).ok()?;
    if state.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Some("its file system is read-only")
    } else {
        // A file system that counts no blocks has no end.
        (state.f_bavail == 0 && state.f_blocks > 0).then_some("its file system is full")
    }
}

fn rules_status(config: &Config) -> RulesStatus {
    let flavour = config.firewall;
    let loaded = tables::loaded(flavour, &rules::shape(config, flavour));
    tables::status(&loaded, &rules::fingerprint(config, flavour))
}

fn daemon(socket: &Path) -> Daemon {
    let status = match ask(socket, &Request::Status) {
        Ok(Reply::Status(status)) => status,
        Ok(_) => return Daemon::Broken("it answered another question".into()),
        Err(AskError::NoDaemon(path)) => return Daemon::Absent(path.display().to_string()),
        Err(error @ AskError::Denied(_)) => return Daemon::Denied(error.to_string()),
        Err(error) => return Daemon::Broken(error.to_string()),
    };
    match ask(socket, &Request::Counters) {
        Ok(Reply::Counters { counters }) => Daemon::Runs { status, counters },
        Ok(_) => Daemon::Broken("it answered another question".into()),
        Err(error) => Daemon::Broken(error.to_string()),
    }
}

/// The kernel's queues. Without the module there is no list; a user cannot read it.
pub fn queues() -> Queues {
    if Path::new(QUEUES).exists() {
        return Queues::Listed(text(QUEUES));
    }
    let release = sysctl::read("kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release);
    let has = |list: &str| {
        fs::read_to_string(modules.join(list))
            .is_ok_and(|text| text.contains("/nfnetlink_queue.ko"))
    };
    if has("modules.dep") || has("modules.builtin") { Queues::Loadable } else { Queues::Absent }
}

/// What the kernel counts of its queues, as far as this user may read it.
pub fn kernel_queues() -> Vec<KernelQueue> {
    match queues() {
        Queues::Listed(text) => doctor::kernel_queues(&text).collect(),
        Queues::Loadable | Queues::Absent => Vec::new(),
    }
}

fn settings() -> BTreeMap<String, String> {
    let interfaces = names_in("/proc/sys/net/ipv4/conf");
    let of_interface =
        |name: &String| OF_INTERFACES.map(|setting| format!("net/ipv4/conf/{name}/{setting}"));
    let names = interfaces.iter().flat_map(of_interface).chain(SETTINGS.map(str::to_owned));
    names.filter_map(|name| sysctl::read(&name).ok().map(|value| (name, value))).collect()
}

/// The main file, then the others by their names, wherever they are (resolved.conf(5)).
fn resolved_conf() -> String {
    let mut files: Vec<PathBuf> = RESOLVED_CONF_D
        .iter()
        .flat_map(|folder| names_in(folder).into_iter().map(|name| Path::new(folder).join(name)))
        .filter(|file| file.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort_by_key(|file| file.file_name().map(ToOwned::to_owned));
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap_or_default());
    std::iter::once(text(RESOLVED_CONF)).chain(texts).collect::<Vec<_>>().join("\n")
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn what_every_host_has_is_found() {
        let config = Config::parse("[client]").map_err(|error| error.to_string());
        let facts = gather(config, Path::new("/nonexistent/control.sock"));
        assert!(matches!(facts.daemon, Daemon::Absent(path) if path.contains("/nonexistent/")));
        assert!(facts.settings.contains_key("net/ipv4/conf/lo/route_localnet"));
        let loopback = |(_, net): &(String, ipnet::Ipv4Net)| net.addr() == Ipv4Addr::LOCALHOST;
        assert!(facts.addresses.iter().any(loopback));
        assert_eq!(unwritable(Path::new("/proc/self")), None);
        assert_eq!(unwritable(Path::new("/nonexistent")), None);
        assert!(facts.rules.is_some() && facts.now_s > 1_700_000_000);
    }
}
