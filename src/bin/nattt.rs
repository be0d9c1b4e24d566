//! `nattt`: asks the running daemon, and prints or loads its firewall rules.

fn main() -> std::process::ExitCode {
    nattt::cli::main()
}
