//! `nattt completion`: what a shell needs to complete this command.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Done};

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell that reads it
    shell: Shell,
}

/// The shell's script.
pub(super) fn run(args: &CompletionArgs) -> Done {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "nattt", &mut script);
    Done::well(String::from_utf8_lossy(&script).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_is_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = run(&CompletionArgs { shell }).text;
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
