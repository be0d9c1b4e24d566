//! The daemon's side of the control socket.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::connection::{Connection, Woken, wait};
use crate::control::{Reply, Request};

/// Mode of the socket's directory, if that has to be made: the socket's own mode says who may ask.
const DIRECTORY_MODE: u32 = 0o755;
/// How many clients may be connected at once; more are told to come back.
const MAX_CONNECTIONS: usize = 16;
/// How many connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 64;
/// How long a client may take for one request line, and for reading one reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to rest when the kernel refuses a connection (no descriptors left).
const REST: Duration = Duration::from_secs(1);

/// A listening control socket; the file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    pub(super) patience: Duration,
}

/// Why the daemon cannot listen.
#[derive(Debug)]
pub enum ServerError {
    /// Somebody answers there already.
    AnotherDaemon(PathBuf),
    /// Something else is in the way.
    NotASocket(PathBuf),
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherDaemon(path) => write!(
                f,
                "another natttd listens on {}; stop it (`systemctl stop nattt`), \
                 or give this one another control socket",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "{} exists and is not a socket; move it away, or choose another control socket",
                path.display()
            ),
            Self::Io(path, source) if source.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {}: {source}; start natttd as root, or as a user who may write there",
                path.display()
            ),
            Self::Io(path, source) => write!(
                f,
                "cannot listen on {}: {source}; see that its directory exists and natttd may \
                 write there",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ServerError {}

impl Server {
    /// Listens on `path`, for root (or whoever runs this) and the members of `group`, if that
    /// exists. A socket that a dead daemon left behind is replaced, and its directory made if it is
    /// missing.
    pub fn bind(path: &Path, group: &str) -> Result<Self, ServerError> {
        let io_error = |e| ServerError::Io(path.to_owned(), e);
        make_directory_of(path).map_err(io_error)?;
        make_way(path)?;
        let listener = listen_on(path, group).map_err(io_error)?;
        Ok(Self { listener, path: path.to_owned(), patience: PATIENCE })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers clients, each on a thread of its own, until `stop` becomes readable (an eventfd, a
    /// pipe); then every connection is closed and its thread joined.
    pub fn serve<H>(&self, handler: &H, stop: &impl AsFd) -> io::Result<()>
    where
        H: Fn(Request) -> Reply + Sync,
    {
        let stop = stop.as_fd();
        let connections = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            while wait(self.listener.as_fd(), PollFlags::IN, stop, None)? == Woken::Ready {
                match self.listener.accept() {
                    Ok((stream, _)) => self.admit(scope, stream, handler, stop, &connections),
                    Err(e) if is_about_one_client(&e) => {}
                    Err(_) => rest(stop)?,
                }
            }
            Ok(())
        })
    }

    fn admit<'scope, 'env, H>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        stream: UnixStream,
        handler: &'env H,
        stop: BorrowedFd<'env>,
        (connections, watching): &'env (AtomicUsize, AtomicUsize),
    ) where
        H: Fn(Request) -> Reply + Sync,
    {
        let slot = Slot::take(connections);
        let Ok(mut connection) = Connection::new(stream, stop, self.patience, watching) else {
            return;
        };
        if slot.number >= MAX_CONNECTIONS {
            let message = format!("{MAX_CONNECTIONS} clients are connected; try again soon");
            // It fits the empty socket buffer, so this does not wait for the client.
            let _ = connection.write_reply(&Reply::Error { message });
            return;
        }
        let run = move || {
            let _slot = slot;
            // The error is the client's: gone, too slow. There is nobody left to tell.
            let _ = connection.run(handler);
        };
        // No thread to be had: the client sees the connection closed.
        let _ = thread::Builder::new().name("control".into()).spawn_scoped(scope, run);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A place among the connected clients.
pub(in crate::os) struct Slot<'a> {
    connections: &'a AtomicUsize,
    pub(in crate::os) number: usize,
}

impl<'a> Slot<'a> {
    pub(in crate::os) fn take(connections: &'a AtomicUsize) -> Self {
        Self { connections, number: connections.fetch_add(1, AcqRel) }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, AcqRel);
    }
}

/// Does nothing for a while, or until `stop` becomes readable.
pub(in crate::os) fn rest(stop: BorrowedFd<'_>) -> io::Result<()> {
    wait(stop, PollFlags::IN, stop, Some(Instant::now() + REST)).map(|_| ())
}

pub(in crate::os) fn is_about_one_client(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

/// Makes the directory if there is none; an unusual umask must not keep the group out of it.
fn make_directory_of(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty())
    else {
        return Ok(());
    };
    if directory.exists() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
}

/// Sees that nothing alive or foreign is at `path`.
fn make_way(path: &Path) -> Result<(), ServerError> {
    let io_error = |e| ServerError::Io(path.to_owned(), e);
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_error(e)),
        Ok(file) if !file.file_type().is_socket() => Err(ServerError::NotASocket(path.to_owned())),
        Ok(_) => match somebody_answers(path) {
            Ok(false) => Ok(()),
            Ok(true) => Err(ServerError::AnotherDaemon(path.to_owned())),
            Err(e) => Err(io_error(e.into())),
        },
    }
}

fn somebody_answers(path: &Path) -> Result<bool, Errno> {
    let probe = stream_socket()?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        // Its backlog is full: a hanging daemon is a daemon.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The socket appears at `path` by a rename, when it already listens and has its final mode: no
/// client and no other daemon ever sees it half made.
fn listen_on(path: &Path, group: &str) -> io::Result<UnixListener> {
    let mut temporary = OsString::from(path);
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = stream_socket()?;
    // The mode of the socket becomes the mode of the file (minus the umask) in bind itself.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
    if let Some(group) = group_id(group) {
        // As a service natttd is in that group already, and may not use chown at all.
        if fs::metadata(&temporary)?.gid() != group {
            chown(&temporary, None, Some(group))?;
        }
        fs::set_permissions(&temporary, Permissions::from_mode(0o660))?;
    }
    listen(&socket, BACKLOG)?;
    fs::rename(&temporary, path)?;
    Ok(UnixListener::from(socket))
}

/// Not blocking: a client may be gone again before it is accepted.
fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The number of a local group. The package makes it in `/etc/group`, so no name service is asked.
fn group_id(group: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    group_in(&groups, group)
}

/// Lines are `NAME:PASSWORD:NUMBER:MEMBERS`, group(5).
fn group_in(groups: &str, group: &str) -> Option<u32> {
    let numbers = groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    });
    numbers.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\n# nattt\nnattt\nnattt:x:bad:\nnattt:x:998:alice,bob\n";
        assert_eq!(group_in(groups, "nattt"), Some(998));
        assert_eq!(group_in(groups, "x"), None);
    }
}
