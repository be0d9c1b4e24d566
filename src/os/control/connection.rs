//! One connection of the control socket, on a thread of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::server::Slot;
use crate::control::{
    INTERVAL_MS, LineError, Look, MAX_FLOWS, MAX_MAPPINGS, MAX_REQUEST_OCTETS, Reply, Request,
    Watcher, decode, encode,
};

/// How many clients may watch events at once: each costs looks at everything.
const MAX_WATCHERS: usize = 4;

/// A client that sends lines and reads replies, both within `patience` each, until it goes away or
/// `stop` becomes readable.
pub(super) struct Connection<'a> {
    stream: UnixStream,
    stop: BorrowedFd<'a>,
    patience: Duration,
    watching: &'a AtomicUsize,
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
        watching: &'a AtomicUsize,
    ) -> io::Result<Self> {
        // A read or write that would block must leave room for the stop signal and the deadline.
        stream.set_nonblocking(true)?;
        Ok(Self { stream, stop, patience, watching, pending: Vec::new() })
    }

    /// Answers line after line. A client that fails or is too slow has only itself to tell.
    pub(super) fn run(&mut self, handler: &impl Fn(Request) -> Reply) -> io::Result<()> {
        loop {
            match self.read_line()? {
                Line::Whole(line) => match decode(&line) {
                    Ok(Request::Events) => return self.tell_events(handler),
                    request => self.write_reply(&answer(request, handler))?,
                },
                Line::TooLong => {
                    let message = format!("request lines have at most {MAX_REQUEST_OCTETS} octets");
                    return self.write_reply(&Reply::Error { message });
                }
            }
        }
    }

    /// Looks again and again, and tells what is new. This thread alone waits for a slow reader, and
    /// keeps nothing for it but the events of one look; one that takes nothing loses its place.
    fn tell_events(&mut self, handler: &impl Fn(Request) -> Reply) -> io::Result<()> {
        let slot = Slot::take(self.watching);
        if slot.number >= MAX_WATCHERS {
            let message = format!("{MAX_WATCHERS} others watch already");
            return self.write_reply(&Reply::Error { message });
        }
        let mut watcher = Watcher::default();
        loop {
            let began = Instant::now();
            if let Some(look) = look(handler) {
                for event in watcher.look(look) {
                    self.write_reply(&Reply::Event(event))?;
                }
            }
            // A look that takes long is taken less often.
            let pause = Duration::from_millis(INTERVAL_MS).max(began.elapsed() * 9);
            self.pause(Instant::now() + pause)?;
        }
    }

    /// Waits; what the client says meanwhile is nothing, but for its end.
    fn pause(&mut self, until: Instant) -> io::Result<()> {
        loop {
            match wait(self.stream.as_fd(), PollFlags::IN, self.stop, Some(until))? {
                Woken::TimedOut => return Ok(()),
                Woken::Stopped => return Err(ErrorKind::ConnectionAborted.into()),
                Woken::Ready => self.read_some()?,
            }
            self.pending.clear();
        }
    }

    /// Writes one reply.
    pub(super) fn write_reply(&mut self, reply: &Reply) -> io::Result<()> {
        self.write_line(&encode(reply), Instant::now() + self.patience)
    }

    fn write_line(&mut self, line: &[u8], deadline: Instant) -> io::Result<()> {
        let mut rest = line;
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

/// What the daemon says of everything; nothing if it does not.
fn look(handler: &impl Fn(Request) -> Reply) -> Option<Look> {
    let Reply::Status(status) = handler(Request::Status) else { return None };
    let Reply::Counters { counters } = handler(Request::Counters) else { return None };
    let many = status.mappings.as_ref().is_some_and(|mappings| mappings.count > MAX_MAPPINGS);
    let mappings = match many {
        true => None,
        false => match handler(Request::Mappings) {
            Reply::Mappings { mappings } => Some(mappings),
            _ => return None,
        },
    };
    let flows = handler(Request::Flows { limit: MAX_FLOWS });
    let Reply::Flows { total, flows } = flows else { return None };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Some(Look { time_ms, status: *status, counters, mappings, total, flows })
}

fn answer(request: Result<Request, LineError>, handler: &impl Fn(Request) -> Reply) -> Reply {
    match request {
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
