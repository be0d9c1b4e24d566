//! `nattt rules`: print the firewall rules of the configuration at hand, load or remove them.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::config::{Config, Flavour, INSTALLED_PATH};
use crate::control::{Request, RulesState};
use crate::os::control::{AskError, ask};
use crate::os::{firewall, route, state, tables};
use crate::rules;

use super::{Done, FAILED, Failure, source};

/// Beside the configuration: the rules for `nft -f`.
const RULES_FILE: &str = "rules.nft";

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
    /// With `apply`: only if they are not loaded already, whole and of this configuration.
    #[arg(long)]
    if_needed: bool,
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
pub(super) fn run(args: &RulesArgs) -> Result<Done, Failure> {
    let done = match args.action {
        Action::Print => text(args),
        Action::Apply => apply(args).map(|()| String::new()),
        Action::Remove => remove(args).map(|()| String::new()),
    };
    done.map(Done::well).map_err(|error| Failure { status: FAILED, message: error.to_string() })
}

fn remove(args: &RulesArgs) -> Result<(), Box<dyn Error>> {
    args.flavour.map_or_else(firewall::remove_all, firewall::remove)?;
    // Needs no configuration for the rules: it may be gone or broken by now.
    source::named(&args.config).map_or(Ok(()), |config| remove_route(&config))
}

fn apply(args: &RulesArgs) -> Result<(), Box<dyn Error>> {
    let config = source::named(&args.config)?;
    let flavour = args.flavour.unwrap_or(config.firewall);
    load(&args.config, &config, flavour, args.if_needed)
}

/// Loads the rules of what stands in `file`.
pub(super) fn load(
    file: &Path,
    config: &Config,
    flavour: Flavour,
    if_needed: bool,
) -> Result<(), Box<dyn Error>> {
    if !(if_needed && are_loaded(config, flavour)) {
        firewall::apply(config, flavour)?;
    }
    renew_file(&file.with_file_name(RULES_FILE), config)
        .map_err(|error| format!("the rules are loaded, but {error}").into())
}

/// As the daemon sees it. What the kernel does not tell is not loaded.
pub(super) fn are_loaded(config: &Config, flavour: Flavour) -> bool {
    let expected = rules::fingerprint(config, flavour);
    let loaded = tables::loaded(flavour, &rules::shape(config, flavour));
    tables::status(&loaded, &expected).state == RulesState::Loaded
}

/// Brings the file for `nft -f` up to date, if there is one: the package makes it.
fn renew_file(file: &Path, config: &Config) -> Result<(), state::FileError> {
    let text = rules::render(config, Flavour::Nft);
    match fs::read(file) {
        Ok(old) if old != text.as_bytes() => state::save(file, text.as_bytes()),
        _ => Ok(()),
    }
}

/// Removes the pools' routes that natttd leaves when it stops. One that runs looks after it itself.
fn remove_route(config: &Config) -> Result<(), Box<dyn Error>> {
    match ask(&config.daemon.control_socket, &Request::Status) {
        Err(AskError::NoDaemon(_)) => route::remove_others(None).map_err(|error| {
            format!("the rules are removed, but not the route of the pool: {error}").into()
        }),
        _ => Ok(()),
    }
}

fn text(args: &RulesArgs) -> Result<String, Box<dyn Error>> {
    let config = source::named(&args.config)?;
    let flavour = args.flavour.unwrap_or(config.firewall);
    match (args.ipv6, flavour) {
        (true, Flavour::Nft) => Err("nft's rules hold both IP versions: leave `-6` out".into()),
        (true, Flavour::Iptables) => Ok(rules::render_ip6tables(&config)),
        (false, _) => Ok(rules::render(&config, flavour)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PACKAGED;
    use crate::os::control::tests::TempDir;

    #[test]
    fn the_file_for_nft_is_renewed_but_never_made() {
        let directory = TempDir::new();
        let file = directory.path().join(RULES_FILE);
        let config = Config::parse(PACKAGED).expect("the shipped configuration");
        renew_file(&file, &config).expect("nothing to do");
        assert!(!file.exists());
        fs::write(&file, "old").expect("written");
        renew_file(&file, &config).expect("renewed");
        let renewed = fs::read_to_string(&file).expect("readable");
        assert_eq!(renewed, rules::render(&config, Flavour::Nft));
    }
}
