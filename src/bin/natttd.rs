//! The daemon of NAT Traversal through Tunneling.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nattt::config::INSTALLED_PATH;

/// Opens connections to hosts behind NATs by their DNS names, and ends tunnels to exported hosts.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file
    #[arg(short, long, default_value = INSTALLED_PATH, value_name = "FILE")]
    config: PathBuf,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    nattt::daemon::log::start();
    let config = match nattt::daemon::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    match nattt::daemon::run(config, &arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
