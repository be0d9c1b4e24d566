//! Netlink sockets, and requests to the kernel: a message with attributes, answered by an errno.
#![allow(unsafe_code, reason = "crate mnl leaves out Send and AsFd")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Octets of nlmsghdr (linux/netlink.h).
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;

/// A socket of libmnl that may move to another thread.
pub(super) struct Socket(pub(super) mnl::Socket);

// SAFETY: struct mnl_socket is a descriptor and an address on the heap; libmnl keeps no state of
// the thread that made it, and only the owner of this value uses the pointer.
unsafe impl Send for Socket {}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the socket lives, which `self` borrows.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

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

    fn aligned(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Sends it on a socket of its own and waits for the kernel's answer.
    pub(super) fn send(mut self, bus: mnl::Bus) -> io::Result<()> {
        let octets = self.0.len() as u32;
        self.0[..4].copy_from_slice(&octets.to_ne_bytes());
        let socket = mnl::Socket::new(bus)?;
        socket.send(&self.0)?;
        let mut buffer = vec![0; 8192];
        loop {
            let received = socket.recv_raw(&mut buffer)?;
            if let Some(errno) = answer(&buffer[..received]) {
                return if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-errno)) };
            }
        }
    }
}

fn answer(message: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let errno = message.get(HEADER..HEADER + 4)?.try_into().ok()?;
    (kind == NLMSG_ERROR).then(|| i32::from_ne_bytes(errno))
}
