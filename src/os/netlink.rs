//! Netlink sockets, and requests to the kernel: a message with attributes, answered by an errno.
#![allow(unsafe_code, reason = "crate mnl leaves out Send and AsFd")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// Octets of nlmsghdr (linux/netlink.h).
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// In an answer: what is listed changed meanwhile.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// The kernel answers at once. An answer that is not there by now was lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// A list is asked for so often if it keeps changing.
const DUMP_TRIES: u32 = 8;

/// A socket of libmnl that may move to another thread.
pub(super) struct Socket(pub(super) mnl::Socket);

// SAFETY: struct mnl_socket is a descriptor and an address on the heap; libmnl keeps no state of
// the thread that made it, and only the owner of this value uses the pointer.
unsafe impl Send for Socket {}

impl Socket {
    /// For questions. The kernel's silence becomes an error.
    pub(super) fn asking(bus: mnl::Bus) -> io::Result<Self> {
        let socket = Self(mnl::Socket::new(bus)?);
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(socket)
    }

    /// Octets received.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.recv_raw(buffer) {
                // With a timeout set, signals interrupt whatever their handler asks for (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the kernel did not answer a netlink request",
                    ));
                }
                result => return result,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the socket lives, which `self` borrows.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// An attribute that holds attributes.
const NLA_F_NESTED: u16 = 0x8000;

/// A request under construction. Everything in it is aligned to four octets.
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A request of this type, with flags besides REQUEST and ACK and the fixed part that the
    /// subsystem wants after the netlink header.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut message = vec![0; 4];
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(fixed);
        Self(message).aligned()
    }

    /// Adds an attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.aligned()
    }

    /// Adds an attribute that holds these.
    pub(super) fn nested<'v>(
        self,
        kind: u16,
        attributes: impl Iterator<Item = (u16, &'v [u8])>,
    ) -> Self {
        self.attribute(kind | NLA_F_NESTED, &Self::attributes(attributes))
    }

    /// Attributes on their own, as the value of one that holds them.
    pub(super) fn attributes<'v>(attributes: impl IntoIterator<Item = (u16, &'v [u8])>) -> Vec<u8> {
        let all = Self(Vec::new());
        attributes.into_iter().fold(all, |all, (kind, value)| all.attribute(kind, value)).0
    }

    fn aligned(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Sends it on a socket of its own and waits for the kernel's answer.
    pub(super) fn send(self, bus: mnl::Bus) -> io::Result<()> {
        let socket = Socket::asking(bus)?;
        socket.0.send(&self.finished())?;
        let mut buffer = vec![0; 8192];
        loop {
            let received = socket.receive(&mut buffer)?;
            if let Some(errno) = answer(&buffer[..received]) {
                return if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-errno)) };
            }
        }
    }

    /// Sends it on this socket, which nothing else uses meanwhile, and returns the bodies of the messages
    /// that come before the kernel's "done".
    pub(super) fn ask(self, socket: &Socket) -> io::Result<Vec<Vec<u8>>> {
        socket.0.send(&self.finished())?;
        let mut bodies = Vec::new();
        let mut buffer = vec![0; 8192];
        loop {
            let received = socket.receive(&mut buffer)?;
            for Message { kind, body, .. } in messages(&buffer[..received]) {
                match (kind, body.first_chunk()) {
                    (NLMSG_ERROR, Some([0, 0, 0, 0])) => return Ok(bodies),
                    (NLMSG_ERROR, _) => return Err(error_of(body)),
                    _ => bodies.push(body.to_vec()),
                }
            }
        }
    }

    /// Sends it as a request for a list and returns the bodies of the messages that make it up.
    pub(super) fn dump(mut self, bus: mnl::Bus) -> io::Result<Vec<Vec<u8>>> {
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        let request = self.finished();
        for _ in 0..DUMP_TRIES {
            if let Some(bodies) = dump_once(&request, bus)? {
                return Ok(bodies);
            }
        }
        Err(io::Error::other("what the kernel lists kept changing while it was read"))
    }

    /// The message, for a caller that reads the answer itself.
    pub(super) fn finished(mut self) -> Vec<u8> {
        let octets = self.0.len() as u32;
        self.0[..4].copy_from_slice(&octets.to_ne_bytes());
        self.0
    }
}

/// `None` if the list changed while it was read. On a socket of its own: what is left of a list
/// that ended early is not mistaken for the next one.
fn dump_once(request: &[u8], bus: mnl::Bus) -> io::Result<Option<Vec<Vec<u8>>>> {
    let socket = Socket::asking(bus)?;
    socket.0.send(request)?;
    let mut bodies = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let received = socket.receive(&mut buffer)?;
        for Message { kind, flags, body } in messages(&buffer[..received]) {
            match kind {
                _ if flags & NLM_F_DUMP_INTR != 0 => return Ok(None),
                NLMSG_DONE => return Ok(Some(bodies)),
                NLMSG_ERROR => return Err(error_of(body)),
                _ => bodies.push(body.to_vec()),
            }
        }
    }
}

struct Message<'b> {
    kind: u16,
    flags: u16,
    body: &'b [u8],
}

/// The messages of a received buffer.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let octets = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
        let body = bytes.get(HEADER..octets)?;
        bytes = bytes.get(octets.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Message { kind, flags, body })
    })
}

fn error_of(body: &[u8]) -> io::Error {
    let errno = body.first_chunk().map_or(-libc::EPROTO, |errno| i32::from_ne_bytes(*errno));
    io::Error::from_raw_os_error(errno.saturating_neg())
}

fn answer(message: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let errno = message.get(HEADER..HEADER + 4)?.try_into().ok()?;
    (kind == NLMSG_ERROR).then(|| i32::from_ne_bytes(errno))
}
