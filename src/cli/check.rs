//! `nattt check`: what is wrong with a configuration, or what it means.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::source::{self, SourceError};
use super::table::facts;
use super::{Done, FAILED, Failure};
use crate::config::{Client, Config, Export, Gateway, INSTALLED_PATH};
use crate::control::pretty;
use crate::dns::Name;
use crate::dns::emulation::Emulation;
use crate::dns::names::{Pattern, Selection};

/// Which file is read.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration file
    #[arg(long, value_name = "PATH", default_value = INSTALLED_PATH)]
    config: PathBuf,
}

/// Reads the file as natttd does. In JSON, what is wrong with it is an answer like any other.
pub(super) fn run(args: &CheckArgs, json: bool) -> Result<Done, Failure> {
    let path = &args.config;
    match (source::read(path), json) {
        (Ok(config), false) => {
            let first = format!("{} is right. It means:\n", path.display());
            Ok(Done::well(first + &facts(&meaning(&config))))
        }
        (Ok(_), true) => Ok(Done::well(pretty(&Verdict::new(path, None)))),
        (Err(error), false) => Err(Failure { status: FAILED, message: error.about(path) }),
        (Err(error), true) => {
            Ok(Done { text: pretty(&Verdict::new(path, Some(&error))), status: FAILED })
        }
    }
}

/// For editors and scripts.
#[derive(Serialize)]
struct Verdict {
    file: PathBuf,
    valid: bool,
    /// The line that is wrong, counted from 1.
    line: Option<usize>,
    message: Option<String>,
}

impl Verdict {
    fn new(file: &Path, error: Option<&SourceError>) -> Self {
        Self {
            file: file.to_owned(),
            valid: error.is_none(),
            line: error.and_then(SourceError::line),
            message: error.map(|error| error.about(file)),
        }
    }
}

/// One fact a line.
fn meaning(config: &Config) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(client) = &config.client {
        facts.extend(client_facts(client));
    }
    if let Some(gateway) = &config.gateway {
        facts.extend(gateway_facts(gateway));
    }
    let queues = config.queues;
    let data = queues.data();
    let dns = match config.client {
        Some(_) => format!(", {} and {} for DNS", queues.dns(), queues.hold()),
        None => String::new(),
    };
    let data = match queues.workers {
        0 | 1 => data.start.to_string(),
        _ => format!("{} to {}", data.start, data.end - 1),
    };
    facts.push(("Queues", format!("{data} for tunnels{dns}")));
    facts.push(("Firewall", format!("{}, mark {}", config.firewall, config.mark)));
    facts.push(("State", config.daemon.state_dir.display().to_string()));
    facts.push(("Control", config.daemon.control_socket.display().to_string()));
    facts.extend(config.metrics.map(|listen| ("Metrics", format!("http://{listen}/metrics"))));
    facts
}

fn client_facts(client: &Client) -> Vec<(&'static str, String)> {
    let zones = match &client.private_zones[..] {
        [] => "none".into(),
        zones => zones.join(", "),
    };
    let mut facts = vec![
        ("Client", "names with a NAT record, and no address, lead through tunnels".into()),
        ("  Pool", format!("{}, at most {} addresses of it", client.pool, client.max_mappings)),
        ("  NAT record", format!("type {}", client.record_type)),
        ("  First hops", format!("public; private ones in zones: {zones}")),
        ("  Flows", format!("at most {}, from {} ports", client.max_flows, client.max_ports)),
        ("  MTU", mtu(client.mtu)),
    ];
    if !client.serve.is_empty() {
        facts.push(("  Serves", format!("the hosts behind {}", client.serve.join(", "))));
    }
    facts.extend(names_fact(&client.names));
    facts.extend(proxy_fact(client));
    facts.extend(client.emulations.iter().map(|one| ("  Emulation", shown_emulation(one))));
    facts
}

fn mtu(configured: u16) -> String {
    format!("{configured} octets, less where a route has less")
}

/// All names go without saying.
fn names_fact(names: &Selection) -> Option<(&'static str, String)> {
    let shown = |patterns: &[Pattern]| {
        patterns.iter().map(Pattern::to_string).collect::<Vec<_>>().join(", ")
    };
    let text = match (names.only.is_empty(), names.except.is_empty()) {
        (true, true) => return None,
        (true, false) => format!("all but {}", shown(&names.except)),
        (false, true) => shown(&names.only),
        (false, false) => format!("{}, but not {}", shown(&names.only), shown(&names.except)),
    };
    Some(("  Names", text))
}

fn proxy_fact(client: &Client) -> Option<(&'static str, String)> {
    let shown =
        |all: &[SocketAddr]| all.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    let servers = match &client.upstream[..] {
        [] => "the servers of /etc/resolv.conf".into(),
        servers => shown(servers),
    };
    let text = format!("at {}, asks {servers}", shown(&client.listen));
    (!client.listen.is_empty()).then_some(("  DNS proxy", text))
}

fn gateway_facts(gateway: &Gateway) -> Vec<(&'static str, String)> {
    let outside = format!("UDP port {} on {}", gateway.port, gateway.outside.join(", "));
    let mut facts =
        vec![("Gateway", "hosts behind this one are reached".into()), ("  Tunnels", outside)];
    if !gateway.hairpin.is_empty() {
        let hairpin = format!("{}, from this host's own address", gateway.hairpin.join(", "));
        facts.push(("  Hairpin", hairpin));
    }
    let forwarding = match gateway.enable_forwarding {
        true => "natttd switches it on while it runs",
        false => "as the host is set",
    };
    facts.push(("  Forwarding", forwarding.into()));
    facts.extend(gateway.exports.iter().map(|export| ("  Export", shown_export(export))));
    let (flows, share) = (gateway.max_flows, gateway.max_flows_per_source);
    facts.push(("  Flows", format!("at most {flows}, {share} from one client address")));
    facts.push(("  MTU", mtu(gateway.mtu)));
    facts
}

/// `example.org: {label}-in.{parent} behind {label}-nat1.{parent}`.
fn shown_emulation(emulation: &Emulation) -> String {
    let zones: Vec<String> = emulation.zones().iter().map(Name::to_string).collect();
    let boxes: Vec<String> =
        emulation.boxes().iter().map(|one| format!("{}:{}", one.template, one.port)).collect();
    format!("{}: {} behind {}", zones.join(", "), emulation.host(), boxes.join(", "))
}

/// An entry that opens everything says so.
fn shown_export(export: &Export) -> String {
    match (export.protocol, export.ports.is_empty()) {
        (None, true) => format!("{export} (every protocol and port)"),
        _ => export.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PACKAGED;
    use crate::os::control::tests::TempDir;
    use std::fs;

    fn check(text: &str, json: bool) -> (Result<Done, Failure>, String) {
        let directory = TempDir::new();
        let config = directory.path().join("nattt.toml");
        fs::write(&config, text).expect("written");
        let shown = config.display().to_string();
        (run(&CheckArgs { config }, json), shown)
    }

    fn said(text: &str) -> String {
        let done = check(text, false).0.expect("a right file");
        assert_eq!(done.status, 0);
        done.text
    }

    #[test]
    fn a_right_file_is_summed_up() {
        let text = said(PACKAGED);
        for part in ["is right", "127.64.0.0/10", "26800 to 26803", "26816 and 26817 for DNS"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("Export"), "{text}");
    }

    #[test]
    fn a_router_s_summary_names_whom_it_serves_and_what_emulates() {
        let text = said(
            "[client]\npool = \"198.18.0.0/15\"\nserve = [\"br-lan\"]\n[[client.emulation]]\n\
             zones = [\"example.org\"]\nhost = \"{label}-in.{parent}\"\n\
             boxes = [\"{label}-nat1.{parent}\"]\n",
        );
        assert!(text.contains("the hosts behind br-lan\n"), "{text}");
        assert!(text.contains("example.org: {label}-in.{parent} behind {label}-nat1"), "{text}");
    }

    #[test]
    fn a_proxy_and_chosen_names_are_summed_up() {
        let text = said(
            "[client]\nlisten = [\"127.0.0.1:300\"]\nonly_names = [\"Example.org\"]\n\
             except_names = [\"*.x.example.org\"]\n",
        );
        assert!(
            text.contains("at 127.0.0.1:300, asks the servers of /etc/resolv.conf\n"),
            "{text}"
        );
        assert!(text.contains("example.org, but not *.x.example.org\n"), "{text}");
        let text = said(
            "[client]\nlisten = [\"127.0.0.1\"]\nupstream = [\"198.51.100.53\"]\n\
             except_names = [\"lan\"]\n",
        );
        assert!(text.contains("at 127.0.0.1:53, asks 198.51.100.53:53\n"), "{text}");
        assert!(text.contains("all but lan\n"), "{text}");
    }

    #[test]
    fn a_gateway_s_summary_says_what_it_opens() {
        let text = said(
            "[gateway]\noutside = [\"wan\"]\nhairpin = [\"lan\"]\nexports = [\"10.0.0.0/24\", \
             {prefix=\"10.0.1.1\",protocol=\"tcp\",ports=[80,\"8000-8010\"]}]\n[queues]\nworkers=1",
        );
        for part in [
            "UDP port 100 on wan\n",
            "10.0.0.0/24 (every protocol and port)\n",
            "10.0.1.1/32, tcp, ports 80, 8000-8010\n",
            "lan, from this host's own address\n",
            "26800 for tunnels\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("Pool"), "{text}");
    }

    #[test]
    fn a_wrong_file_is_an_error_with_its_line() {
        let (result, file) = check("[client]\npol = 3", false);
        let failure = result.expect_err("wrong");
        assert_eq!(failure.status, FAILED);
        assert!(failure.message.starts_with(&format!("{file}: line 2: ")), "{}", failure.message);
        assert!(failure.message.contains("did you mean `pool`?"), "{}", failure.message);
    }

    #[test]
    fn json_has_file_line_and_message() {
        let done = check("[client]\nmtu = 1", true).0.expect("an answer");
        assert_eq!(done.status, FAILED);
        assert!(done.text.contains("\"valid\": false"), "{}", done.text);
        assert!(done.text.contains("\"line\": 2"), "{}", done.text);
        let done = check("[client]", true).0.expect("an answer");
        assert_eq!(done.status, 0);
        assert!(done.text.contains("\"message\": null"), "{}", done.text);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let missing = CheckArgs { config: "/nonexistent/nattt.toml".into() };
        let failure = run(&missing, false).expect_err("no file");
        assert!(failure.message.starts_with("/nonexistent/nattt.toml: "), "{}", failure.message);
        assert!(failure.message.contains("--config"), "{}", failure.message);
    }
}
