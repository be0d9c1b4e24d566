//! Other processes.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Sends SIGHUP.
pub fn hang_up(pid: u32) -> io::Result<()> {
    Ok(kill_process(number(pid)?, Signal::HUP)?)
}

/// Whether there is such a process, whoever may send signals to it.
pub fn runs(pid: u32) -> bool {
    number(pid).is_ok_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn number(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
