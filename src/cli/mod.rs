//! The `nattt` command.

mod bugreport;
mod check;
mod completion;
mod counters;
mod doctor;
mod events;
mod explain;
mod flows;
mod mappings;
mod metrics;
mod ping;
mod probe;
mod record;
mod reload;
mod rules;
mod source;
mod status;
mod table;
mod target;
mod units;
mod watch;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use watch::Watch;

use crate::control::{Reply, Request, pretty};
use crate::os::control::{AskError, DEFAULT_PATH, ask};

/// Something went wrong; the message says what.
const FAILED: u8 = 1;
/// A wrong use of the command, as clap has it.
const USAGE: u8 = 2;
/// No daemon listens on the control socket.
const NO_DAEMON: u8 = 3;

/// Show what natttd does, load its firewall rules, make NAT records.
#[derive(Debug, Parser)]
#[command(name = "nattt", version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no daemon is running.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Debug, Args)]
struct Global {
    /// Control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_PATH)]
    socket: PathBuf,
    /// Print JSON, for programs (not with rules, metrics, completion)
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(Question),
    /// Print, load or remove the firewall rules of a configuration
    Rules(rules::RulesArgs),
    /// Make a changed configuration effective, rules included, without losing connections
    Reload(reload::ReloadArgs),
    /// Say what is wrong with a configuration, or what it means
    Check(check::CheckArgs),
    /// Look for what is wrong on this host, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Say everything about one name: what the DNS answers, and what natttd makes of it
    Explain(explain::ExplainArgs),
    /// Find out from outside whether a host behind NAT boxes is reached, and by what
    Probe(probe::ProbeArgs),
    /// Show every NAT box on the way to a host, and which one fails
    Trace(probe::ProbeArgs),
    /// Ping a host through its tunnel, as ping(8) does
    Ping(ping::PingArgs),
    /// Tell what happens in natttd, as it happens
    Events,
    /// Write down what a developer asks for first, without keys and without who talks to whom
    Bugreport(bugreport::BugreportArgs),
    /// Print status and counters in Prometheus' text format
    Metrics,
    /// Print what a shell needs to complete this command
    Completion(completion::CompletionArgs),
    /// Make, read, look up and publish NAT records
    Record(record::RecordArgs),
}

/// What the running daemon is asked.
#[derive(Debug, Subcommand)]
enum Question {
    /// Show whether the daemon runs, and whether its rules are loaded
    Status(Watch),
    /// List the mapped addresses and the hosts they stand for
    Mappings,
    /// List the live flows with their addresses on the wire
    Flows {
        /// Show at most this many flows
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show the counters that are not zero
    Counters(counters::Options),
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    let done = run(&Cli::parse());
    match done.and_then(|done| print(&done.text).map(|_| done.status)) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // A message that cannot be written leaves the exit status to speak.
            let _ = writeln!(io::stderr(), "nattt: {}", table::printable(&failure.message));
            ExitCode::from(failure.status)
        }
    }
}

fn run(cli: &Cli) -> Result<Done, Failure> {
    if let Some(instead) = cli.command.without_json().filter(|_| cli.global.json) {
        return Err(Failure { status: USAGE, message: format!("{instead}: leave `--json` out") });
    }
    match &cli.command {
        Command::Ask(question) => question.watch().show(|| answer(&cli.global, question)),
        Command::Rules(args) => rules::run(args),
        Command::Reload(args) => reload::run(args, &cli.global),
        Command::Check(args) => check::run(args, cli.global.json),
        Command::Doctor(args) => Ok(doctor::run(args, &cli.global)),
        Command::Explain(args) => explain::run(args, &cli.global),
        Command::Probe(args) => probe::run(args, &cli.global, probe::Show::Host),
        Command::Trace(args) => probe::run(args, &cli.global, probe::Show::Levels),
        Command::Ping(args) => ping::run(args, &cli.global),
        Command::Events => events::run(&cli.global),
        Command::Bugreport(args) => bugreport::run(args, &cli.global),
        Command::Metrics => metrics::run(&cli.global),
        Command::Completion(args) => Ok(completion::run(args)),
        Command::Record(args) => record::run(args, cli.global.json).map(Done::well),
    }
}

/// What is printed on the way out, and the exit status.
#[derive(Debug)]
struct Done {
    text: String,
    status: u8,
}

impl Done {
    fn well(text: String) -> Self {
        Self { text, status: 0 }
    }
}

/// What is told instead of an answer.
#[derive(Debug)]
struct Failure {
    status: u8,
    message: String,
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let status = if matches!(error, AskError::NoDaemon(_)) { NO_DAEMON } else { FAILED };
        Self { status, message: error.to_string() }
    }
}

/// What the command prints.
fn answer(global: &Global, question: &Question) -> Result<String, Failure> {
    let reply = ask(&global.socket, &question.request())?;
    if global.json { Ok(pretty(&reply)) } else { question.render(&reply) }
}

impl Command {
    /// What a command prints that has a form of its own, which no JSON can take the place of.
    fn without_json(&self) -> Option<&'static str> {
        match self {
            Self::Rules(_) => Some("`nattt rules` prints what nft or iptables-restore reads"),
            Self::Metrics => Some(
                "`nattt metrics` prints what Prometheus reads, and `nattt status` and `nattt counters` \
                 have JSON",
            ),
            Self::Completion(_) => Some("`nattt completion` prints what a shell reads"),
            _ => None,
        }
    }
}

impl Question {
    fn watch(&self) -> Watch {
        match self {
            Self::Status(watch) | Self::Flows { watch, .. } => *watch,
            Self::Mappings | Self::Counters(_) => Watch::default(),
        }
    }

    fn request(&self) -> Request {
        match self {
            Self::Status(_) => Request::Status,
            Self::Mappings => Request::Mappings,
            Self::Flows { limit, .. } => Request::Flows { limit: *limit },
            Self::Counters(_) => Request::Counters,
        }
    }

    fn render(&self, reply: &Reply) -> Result<String, Failure> {
        match (self, reply) {
            (Self::Status(_), Reply::Status(status)) => Ok(status::render(status)),
            (Self::Mappings, Reply::Mappings { mappings }) => Ok(mappings::render(mappings)),
            (Self::Flows { .. }, Reply::Flows { total, flows }) => Ok(flows::render(*total, flows)),
            (Self::Counters(options), Reply::Counters { counters }) => {
                Ok(counters::render(counters, options))
            }
            _ => Err(Failure {
                status: FAILED,
                message: "natttd answered another question; restart it after an upgrade".into(),
            }),
        }
    }
}

/// Prints to standard output. `false`: nobody reads any more (`nattt flows | head`), no error.
fn print(text: &str) -> Result<bool, Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure { status: FAILED, message: format!("cannot write the output: {e}") }),
    }
}

#[cfg(test)]
mod tests;
