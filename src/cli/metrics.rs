//! `nattt metrics`: status and counters in Prometheus' text format.

use super::{Done, Failure, Global, NO_DAEMON};
use crate::control::{Counter, Reply, Request, Status};
use crate::metrics::{absent, render};
use crate::os::control::{AskError, ask};
use crate::os::facts;

/// Asks the daemon. One that does not run is a metric, too.
pub(super) fn run(global: &Global) -> Result<Done, Failure> {
    let (status, counters) = match asked(global) {
        Ok(answers) => answers,
        Err(AskError::NoDaemon(_)) => {
            return Ok(Done { text: absent(), status: NO_DAEMON });
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Done::well(render(&status, &counters, &facts::kernel_queues())))
}

fn asked(global: &Global) -> Result<(Status, Vec<Counter>), AskError> {
    let other = || AskError::Refused("it answered another question; restart it".into());
    let Reply::Status(status) = ask(&global.socket, &Request::Status)? else { return Err(other()) };
    match ask(&global.socket, &Request::Counters)? {
        Reply::Counters { counters } => Ok((*status, counters)),
        _ => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_run_is_down() {
        let global = Global { socket: "/nonexistent/control.sock".into(), json: false };
        let done = run(&global).expect("a page");
        assert_eq!((done.status, done.text.contains("\nnattt_up 0\n")), (NO_DAEMON, true));
    }
}
