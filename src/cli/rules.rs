//! `nattt rules`: print the firewall rules of the configuration at hand, load or remove them.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::config::{Config, Flavour, INSTALLED_PATH};
use crate::control::Request;
use crate::os::control::{AskError, ask};
use crate::os::{firewall, route};
use crate::rules;

/// Print, load or remove the firewall rules.
#[derive(Debug, Args)]
pub(super) struct RulesArgs {
    /// What to do.
    #[arg(value_enum, default_value_t = Action::Print)]
    action: Action,
    /// nft or iptables [default: as configured; `remove` removes both].
    #[arg(long, value_name = "FLAVOUR")]
    flavour: Option<Flavour>,
    /// Configuration file.
    #[arg(long, value_name = "PATH", default_value = INSTALLED_PATH)]
    config: PathBuf,
    /// With `print --flavour iptables`: the part for ip6tables-restore.
    #[arg(long, short = '6')]
    ipv6: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Print the rules.
    Print,
    /// Load the rules, replacing those of an earlier load.
    Apply,
    /// Remove the rules, and the route of the pool unless natttd runs.
    Remove,
}

/// Runs `nattt rules`.
pub(super) fn run(args: &RulesArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nattt: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &RulesArgs) -> Result<(), Box<dyn Error>> {
    match args.action {
        Action::Print => print(args),
        Action::Apply => {
            let config = read_config(&args.config)?;
            Ok(firewall::apply(&config, args.flavour.unwrap_or(config.firewall))?)
        }
        Action::Remove => {
            args.flavour.map_or_else(firewall::remove_all, firewall::remove)?;
            // Needs no configuration for the rules: it may be gone or broken by now.
            read_config(&args.config).map_or(Ok(()), |config| remove_route(&config))
        }
    }
}

/// Removes the pool's route that natttd leaves when it stops. One that runs looks after it itself.
fn remove_route(config: &Config) -> Result<(), Box<dyn Error>> {
    let Some(client) = &config.client else { return Ok(()) };
    match ask(&config.daemon.control_socket, &Request::Status) {
        Err(AskError::NoDaemon(_)) => route::remove(client.pool).map_err(|error| {
            format!("the rules are removed, but not the route of the pool: {error}").into()
        }),
        _ => Ok(()),
    }
}

fn print(args: &RulesArgs) -> Result<(), Box<dyn Error>> {
    let config = read_config(&args.config)?;
    let flavour = args.flavour.unwrap_or(config.firewall);
    let text = match (args.ipv6, flavour) {
        (true, Flavour::Nft) => {
            return Err("nft's rules hold both IP versions: leave `-6` out".into());
        }
        (true, Flavour::Iptables) => rules::render_ip6tables(&config),
        (false, _) => rules::render(&config, flavour),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `nattt rules | head` is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn read_config(path: &Path) -> Result<Config, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| {
        format!("{}: {error}; name the configuration with `--config PATH`", path.display())
    })?;
    Ok(Config::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}
