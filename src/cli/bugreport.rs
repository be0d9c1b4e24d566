//! `nattt bugreport`: what a developer asks for first, in one text.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::table::printable;
use super::{Done, FAILED, Failure, Global, counters, doctor, source, status};
use crate::bugreport::{Anonymous, Redacted, iptables, nft_chains};
use crate::config::INSTALLED_PATH;
use crate::control::pretty;
use crate::doctor::{Daemon, Facts, Queues, examine};
use crate::os::software::{Software, journal, software};
use crate::os::{facts, firewall};
use crate::rules::NFT_TABLE;

/// Who may read a report that is written to a file.
const MODE: u32 = 0o600;

const ABOUT: &str = "\
It contains: versions; the configuration without comments, and without settings that might be keys;
what `nattt doctor`, `status` and `counters` say; NATTT's own firewall rules as they are loaded, and of
all others the names, hooks, priorities and policies of chains, not their rules; kernel settings; kernel
queues; interfaces with their addresses; which name servers this host asks; the last log lines of natttd.
It leaves out: who talks to whom (flows), which names were looked up (mappings), other people's firewall
rules, routes, keys. Log lines may name hosts. Read it before you send it; `--anonymous` replaces
addresses and names.
";

/// What goes into it, and where it goes.
#[derive(Debug, Args)]
pub(super) struct BugreportArgs {
    /// Write it to this new file, which only you can read, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace addresses and names, the same by the same
    #[arg(long)]
    anonymous: bool,
    /// Log lines to include
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    lines: u32,
    /// Configuration file
    #[arg(long, value_name = "PATH", default_value = INSTALLED_PATH)]
    config: PathBuf,
}

/// A part of the report.
#[derive(Debug, Serialize)]
struct Section {
    title: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct Report {
    sections: Vec<Section>,
}

/// Gathers and prints or writes it. Whatever is missing on this host is named in its place.
pub(super) fn run(args: &BugreportArgs, global: &Global) -> Result<Done, Failure> {
    let software = software();
    let mut sections = sections(args, global, &software);
    let file = std::fs::read_to_string(&args.config).unwrap_or_default();
    let redacted = Redacted::new(&file);
    for section in &mut sections {
        section.text = printable(&redacted.clean(&section.text));
    }
    if args.anonymous {
        let mut anonymous = Anonymous::new(&[&software.host]);
        sections.iter_mut().for_each(|section| section.text = anonymous.text(&section.text));
    }
    let text = match global.json {
        true => pretty(&Report { sections }),
        false => sections
            .iter()
            .map(|Section { title, text }| format!("== {title} ==\n{text}\n"))
            .collect(),
    };
    match &args.output {
        None => Ok(Done::well(text)),
        Some(path) => write(path, &text)
            .map(|()| {
                Done::well(format!("written to {}; read it before you send it\n", path.display()))
            })
            .map_err(|error| Failure {
                status: FAILED,
                message: format!("{} cannot be written: {error}", path.display()),
            }),
    }
}

fn sections(args: &BugreportArgs, global: &Global, software: &Software) -> Vec<Section> {
    let config = source::named(&args.config);
    let socket = doctor::socket(&config, global);
    let facts = facts::gather(config, &socket);
    let (status, counters) = daemon(&facts);
    let section = |title, text| Section { title, text };
    vec![
        section("About this report", ABOUT.into()),
        section("Versions", versions(software)),
        section("Configuration", configuration(&args.config, &facts)),
        section("What doctor says", doctor::render(&examine(&facts))),
        section("Status", status),
        section("Counters", counters),
        section("Rules of NATTT", rules(&facts)),
        section("Base chains, of everybody", chains(&facts)),
        section("Kernel settings", settings(&facts)),
        section("Kernel queues", queues(&facts.queues)),
        section("Addresses", addresses(&facts)),
        section("resolv.conf", facts.resolv_conf.clone()),
        section("Log", journal(args.lines)),
    ]
}

fn versions(Software { kernel, distribution, tools, .. }: &Software) -> String {
    let (nattt, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    format!("nattt {nattt}\nLinux {kernel} {machine}\n{distribution}\n{tools}")
}

fn configuration(path: &Path, facts: &Facts) -> String {
    let wrong = facts.config.as_ref().err().map(|error| format!("WRONG: {error}\n"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    wrong.unwrap_or_default() + &Redacted::new(&text).shown
}

fn daemon(facts: &Facts) -> (String, String) {
    let nothing = |why: &str| (format!("{why}\n"), "unknown\n".to_owned());
    match &facts.daemon {
        Daemon::Runs { status, counters } => {
            let options = counters::Options { explain: false, all: false };
            (status::render(status), counters::render(counters, &options))
        }
        Daemon::Absent(socket) => nothing(&format!("no natttd listens on {socket}")),
        Daemon::Denied(why) | Daemon::Broken(why) => nothing(why),
    }
}

fn rules(facts: &Facts) -> String {
    let state = facts.rules.as_ref().map(|rules| format!("{}\n", status::rules(rules)));
    let table = |family| {
        let list = ["--stateless", "--terse", "list", "table", family, NFT_TABLE];
        firewall::listed("nft", &list)
            .unwrap_or_else(|why| format!("nft table {family} {NFT_TABLE}: {why}\n"))
    };
    let nft = table("inet") + &table("ip");
    let saved = match &facts.iptables {
        Ok(text) => iptables(text),
        Err(why) => format!("iptables: {why}\n"),
    };
    state.unwrap_or_default() + &nft + &saved
}

fn chains(facts: &Facts) -> String {
    match &facts.nft {
        Ok(json) => nft_chains(json),
        Err(why) => format!("nft: {why}\n"),
    }
}

fn settings(facts: &Facts) -> String {
    facts.settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}

fn queues(queues: &Queues) -> String {
    match queues {
        Queues::Listed(text) => text.clone(),
        Queues::Loadable => "the module is not loaded\n".into(),
        Queues::Absent => "this kernel has none\n".into(),
    }
}

fn addresses(facts: &Facts) -> String {
    facts.addresses.iter().map(|(interface, addr)| format!("{interface} {addr}\n")).collect()
}

/// Never over something that is there.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(text.as_bytes())
}
