//! The asking side of the control socket.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::control::{Dated, LineError, Reply, Request, decode, encode};

/// How long the daemon may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest reply that is believed, in octets.
const MAX_REPLY_OCTETS: u64 = 1 << 30;
/// The same for an event.
const MAX_EVENT_OCTETS: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// No daemon listens.
    NoDaemon(PathBuf),
    /// The socket is not for this user.
    Denied(PathBuf),
    /// The conversation broke off.
    Io(PathBuf, io::Error),
    /// The answer cannot be understood.
    Reply(LineError),
    /// The daemon refused the request, and says why.
    Refused(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(path) => write!(
                f,
                "no natttd listens on {}; start it with `systemctl start nattt` \
                 (by hand `natttd`), or name its socket with --socket",
                path.display()
            ),
            Self::Denied(path) => write!(
                f,
                "no permission for {}; run as root or join the group {}",
                path.display(),
                super::GROUP
            ),
            Self::Io(path, source) => write!(
                f,
                "asking natttd on {} failed: {source}; see `journalctl -u nattt`",
                path.display()
            ),
            Self::Reply(reason) => write!(f, "{reason}"),
            Self::Refused(message) => write!(f, "natttd refused: {message}"),
        }
    }
}

impl std::error::Error for AskError {}

/// Asks the daemon that listens on `path`.
pub fn ask(path: &Path, request: &Request) -> Result<Reply, AskError> {
    let line = converse(path, request).map_err(|e| AskError::from_io(path, e))?;
    match decode(&line).map_err(AskError::Reply)? {
        Reply::Error { message } => Err(AskError::Refused(message)),
        reply => Ok(reply),
    }
}

/// Asks the daemon for events and hands each on as it comes. `false`: the daemon has ended; otherwise
/// `tell` said that it is enough, or nobody reads standard output any more.
pub fn watch(path: &Path, mut tell: impl FnMut(&Dated) -> bool) -> Result<bool, AskError> {
    let failed = |e| AskError::from_io(path, e);
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let sent = stream.write_all(&encode(&Request::Events));
    let mut reader = BufReader::new(stream);
    loop {
        if reader.buffer().is_empty() && !comes(reader.get_ref()).map_err(failed)? {
            return Ok(true);
        }
        let mut line = Vec::new();
        reader.by_ref().take(MAX_EVENT_OCTETS).read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            return sent.map(|()| false).map_err(failed);
        }
        match decode(&line).map_err(AskError::Reply)? {
            Reply::Event(event) if tell(&event) => {}
            Reply::Event(_) => return Ok(true),
            Reply::Error { message } => return Err(AskError::Refused(message)),
            _ => return Err(AskError::Refused("it answered another question".into())),
        }
    }
}

/// Waits for something to read. `false`: nobody reads standard output any more, which is a pipe.
fn comes(stream: &UnixStream) -> io::Result<bool> {
    let output = io::stdout();
    loop {
        // Of the output only its end is of interest, which is always told.
        let mut fds =
            [PollFd::new(stream, PollFlags::IN), PollFd::new(&output, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => return Ok(false),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn converse(path: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let sent = stream.write_all(&encode(request));
    let mut line = Vec::new();
    // A daemon that is too busy answers and closes before it has read the request.
    BufReader::new(stream.take(MAX_REPLY_OCTETS)).read_until(b'\n', &mut line)?;
    match line.last() {
        Some(b'\n') => Ok(line),
        _ => sent.and(Err(ErrorKind::UnexpectedEof.into())),
    }
}

impl AskError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Self::NoDaemon(path),
            ErrorKind::PermissionDenied => Self::Denied(path),
            _ => Self::Io(path, source),
        }
    }
}
