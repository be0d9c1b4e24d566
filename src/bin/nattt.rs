//! The `nattt` command.

use clap::Parser;

#[derive(Parser)]
enum Command {
    Rules(nattt::cli::rules::RulesArgs),
}

fn main() -> std::process::ExitCode {
    let Command::Rules(args) = Command::parse();
    nattt::cli::rules::run(&args)
}
