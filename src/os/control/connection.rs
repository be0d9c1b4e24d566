//! One connection of the control socket, on a thread of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::control::{MAX_REQUEST_OCTETS, Reply, Request, decode, encode};

/// A client that sends lines and reads replies, both within `patience` each, until it goes away or
/// `stop` becomes readable.
pub(super) struct Connection<'a> {
    stream: UnixStream,
    stop: BorrowedFd<'a>,
    patience: Duration,
    /// Octets that came and were not answered yet.
    pending: Vec<u8>,
}

/// What the wait was ended by.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::os) enum Woken {
    Ready,
    Stopped,
    TimedOut,
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        stream: UnixStream,
        stop: BorrowedFd<'a>,
        patience: Duration,
    ) -> io::Result<Self> {
        // A read or write that would block must leave room for the stop signal and the deadline.
        stream.set_nonblocking(true)?;
        Ok(Self { stream, stop, patience, pending: Vec::new() })
    }

    /// Answers line after line. A client that fails or is too slow has only itself to tell.
    pub(super) fn run(&mut self, handler: &impl Fn(Request) -> Reply) -> io::Result<()> {
        loop {
            match self.read_line()? {
                Line::Whole(line) => self.write_reply(&answer(&line, handler))?,
                Line::TooLong => {
                    let message = format!("request lines have at most {MAX_REQUEST_OCTETS} octets");
                    return self.write_reply(&Reply::Error { message });
                }
            }
        }
    }

    /// Writes one reply.
    pub(super) fn write_reply(&mut self, reply: &Reply) -> io::Result<()> {
        let deadline = Instant::now() + self.patience;
        let line = encode(reply);
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, deadline)?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next line. The deadline is one for the whole line, so that a client that sends an octet
    /// now and then does not keep its place for ever.
    fn read_line(&mut self) -> io::Result<Line> {
        let deadline = Instant::now() + self.patience;
        let mut searched = 0;
        loop {
            let unsearched = self.pending.iter().skip(searched);
            if let Some(end) = unsearched.copied().position(|octet| octet == b'\n') {
                return Ok(self.take_line(searched + end));
            }
            searched = self.pending.len();
            if searched > MAX_REQUEST_OCTETS {
                return Ok(Line::TooLong);
            }
            self.wait(PollFlags::IN, deadline)?;
            self.read_some()?;
        }
    }

    fn take_line(&mut self, end: usize) -> Line {
        if end > MAX_REQUEST_OCTETS {
            return Line::TooLong;
        }
        let rest = self.pending.split_off(end + 1);
        Line::Whole(std::mem::replace(&mut self.pending, rest))
    }

    fn read_some(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        match self.stream.read(&mut octets) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.pending.extend(octets.iter().take(count));
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn wait(&self, flags: PollFlags, deadline: Instant) -> io::Result<()> {
        match wait(self.stream.as_fd(), flags, self.stop, Some(deadline))? {
            Woken::Ready => Ok(()),
            Woken::Stopped => Err(ErrorKind::ConnectionAborted.into()),
            Woken::TimedOut => Err(ErrorKind::TimedOut.into()),
        }
    }
}

fn answer(line: &[u8], handler: &impl Fn(Request) -> Reply) -> Reply {
    match decode(line) {
        Ok(request) => handler(request),
        Err(e) => Reply::Error { message: e.to_string() },
    }
}

/// Waits until `fd` is ready, `stop` is readable (which wins) or the deadline has passed.
pub(in crate::os) fn wait(
    fd: BorrowedFd<'_>,
    flags: PollFlags,
    stop: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> io::Result<Woken> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::new(&stop, PollFlags::IN), PollFd::from_borrowed_fd(fd, flags)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Woken::TimedOut),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Woken::Stopped),
            Ok(_) => return Ok(Woken::Ready),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
