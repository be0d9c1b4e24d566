//! `nattt reload`: makes a changed configuration effective. natttd reads it and takes what it needs,
//! its rules are loaded, natttd puts it into effect; or nothing changes, and it is said why.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::config::{Config, INSTALLED_PATH};
use crate::control::{Reload, ReloadState, Reply, Request, Status, pretty};
use crate::os::control::{DEFAULT_PATH, ask};
use crate::os::{firewall, process};

use super::{Done, FAILED, Failure, Global, rules, source};

/// natttd answers within milliseconds; a table of very many flows takes it seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Which file is read.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// Configuration file: the one that natttd was started with
    #[arg(long, value_name = "PATH", default_value = INSTALLED_PATH)]
    config: PathBuf,
}

/// Needs root, for the rules.
pub(super) fn run(args: &ReloadArgs, global: &Global) -> Result<Done, Failure> {
    let file = &args.config;
    let config = source::named(file).map_err(failed)?;
    let daemon = Daemon::find(sockets(&global.socket, &config.daemon.control_socket))?;
    if !rules::are_loaded(&config, config.firewall) {
        firewall::check(&config, config.firewall).map_err(|error| failed(error.to_string()))?;
    }
    process::hang_up(daemon.pid)
        .map_err(|error| failed(format!("telling natttd, process {}: {error}", daemon.pid)))?;
    let heard = daemon.outcome(|last| last.number > daemon.calls)?;
    let rules = match &heard.last.state {
        ReloadState::Refused(why) => return Err(refused(why)),
        ReloadState::Waiting(rules) => rules,
        ReloadState::Done => &heard.rules,
    };
    if *rules != fingerprint(&config) {
        return Err(failed(format!(
            "natttd reads another file than {}: name that with `--config PATH`",
            file.display()
        )));
    }
    rules::load(file, &config, config.firewall, true).map_err(|error| {
        failed(format!(
            "{error}\nnatttd still waits for the rules: `nattt rules apply` makes {} effective; put the \
             old file back and `nattt reload` if you do not want it",
            file.display()
        ))
    })?;
    match daemon.outcome(|last| !matches!(last.state, ReloadState::Waiting(_)))?.last.state {
        ReloadState::Refused(why) => Err(refused(&why)),
        _ => Ok(Done::well(in_effect(file, global.json))),
    }
}

/// What is printed if all is well; otherwise a message says why, as with every command.
fn in_effect(file: &Path, json: bool) -> String {
    #[derive(Serialize)]
    struct InEffect<'a> {
        file: &'a Path,
        in_effect: bool,
    }
    match json {
        true => pretty(&InEffect { file, in_effect: true }),
        false => format!("{} is in effect.\n", file.display()),
    }
}

/// Where natttd may listen, before or after: where the command line says, or the file, or where it
/// does by default.
fn sockets(named: &Path, configured: &Path) -> Vec<PathBuf> {
    match named == Path::new(DEFAULT_PATH) {
        true => vec![configured.to_owned(), named.to_owned()],
        false => vec![named.to_owned(), configured.to_owned()],
    }
}

fn fingerprint(config: &Config) -> String {
    crate::rules::fingerprint(config, config.firewall)
}

fn failed(message: String) -> Failure {
    Failure { status: FAILED, message }
}

fn refused(why: &str) -> Failure {
    failed(format!("{why}; natttd goes on with the configuration that it has"))
}

/// One that runs.
struct Daemon {
    sockets: Vec<PathBuf>,
    pid: u32,
    /// Calls to read its configuration, so far.
    calls: u64,
}

impl Daemon {
    fn find(sockets: Vec<PathBuf>) -> Result<Self, Failure> {
        let status = status(&sockets, |_| true)?;
        let calls = status.reload.map_or(0, |last| last.number);
        Ok(Self { sockets, pid: status.pid, calls })
    }

    /// What became of the last call, once it is as `wanted`. Conversations break off while natttd
    /// changes; systemd starts one that has ended again when this command has ended, too.
    fn outcome(&self, wanted: impl Fn(&Reload) -> bool) -> Result<Outcome, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = status(&self.sockets, |status| status.pid == self.pid);
            let late = Instant::now() >= deadline;
            match status.map(|status| (status.reload, status.rules.expected)) {
                Ok((Some(last), rules)) if wanted(&last) => return Ok(Outcome { last, rules }),
                _ if !process::runs(self.pid) => return Err(failed(ENDED.into())),
                Err(failure) if late => return Err(failure),
                _ if late => return Err(failed(NO_OUTCOME.into())),
                _ => sleep(ASK_AGAIN),
            }
        }
    }
}

/// What natttd says of a call.
struct Outcome {
    last: Reload,
    /// Those of the configuration that is in effect.
    rules: String,
}

const ENDED: &str = "natttd has ended: see `journalctl -u nattt`";
const NO_OUTCOME: &str = "natttd does not say what became of it: see `nattt status`";

/// From the first of the sockets that answers so; otherwise what the first one says.
fn status(sockets: &[PathBuf], right: impl Fn(&Status) -> bool) -> Result<Box<Status>, Failure> {
    let mut first = None;
    for socket in sockets {
        match ask(socket, &Request::Status) {
            Ok(Reply::Status(status)) if right(&status) => return Ok(status),
            Ok(_) => {}
            Err(error) => first = first.or(Some(Failure::from(error))),
        }
    }
    Err(first.unwrap_or_else(|| failed("natttd has ended; another one runs".into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::control::tests::TempDir;
    use std::fs;

    fn reload(text: &str) -> Failure {
        let directory = TempDir::new();
        let (config, socket) = (directory.path().join("c.toml"), directory.path().join("socket"));
        fs::write(&config, text).expect("written");
        run(&ReloadArgs { config }, &Global { socket, json: false }).expect_err("no daemon")
    }

    #[test]
    fn a_wrong_file_is_refused_before_anybody_is_told() {
        let failure = reload("[client]\npol = 3");
        assert_eq!(failure.status, FAILED);
        assert!(failure.message.contains("c.toml: line 2: "), "{}", failure.message);
    }

    #[test]
    fn without_a_daemon_nothing_is_loaded() {
        let failure = reload("[client]\n[daemon]\ncontrol_socket = \"/nonexistent/socket\"\n");
        assert_eq!(failure.status, super::super::NO_DAEMON);
    }

    #[test]
    fn nobody_waits_for_a_daemon_that_has_ended() {
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        child.wait().expect("its end");
        let sockets = vec![PathBuf::from("/nonexistent/socket")];
        let daemon = Daemon { sockets, pid: child.id(), calls: 0 };
        let failure = daemon.outcome(|_| true).err().expect("no outcome");
        assert_eq!((failure.status, &*failure.message), (FAILED, ENDED));
    }

    #[test]
    fn what_is_in_effect_is_said_in_json_too() {
        let json = in_effect(Path::new("/etc/nattt/nattt.toml"), true);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            (&value["file"], &value["in_effect"]),
            (&"/etc/nattt/nattt.toml".into(), &true.into())
        );
        assert_eq!(in_effect(Path::new("/x"), false), "/x is in effect.\n");
    }

    #[test]
    fn a_socket_that_is_named_is_asked_first() {
        let (default, other) = (Path::new(DEFAULT_PATH), Path::new("/x"));
        assert_eq!(sockets(default, other), [other, default]);
        assert_eq!(sockets(other, default), [other, default]);
    }
}
