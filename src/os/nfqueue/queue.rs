//! One kernel queue on a netlink socket of its own.
#![allow(unsafe_code, reason = "two socket options have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::sockopt;

use crate::os::netlink::{Request, Socket};

use super::message::CONFIG;
use super::receive::{Batch, NoPacket};
use super::verdict::{Action, Verdicts};

const CFG_CMD: u16 = 1;
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const CFG_MASK: u16 = 4;
const CFG_FLAGS: u16 = 5;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FAIL_OPEN: u32 = 1;
const COPY_ALL: u32 = 0xffff;
const SOL_NETLINK: i32 = 270;

/// Socket buffers in octets: a burst waits here while a worker is busy.
const RECEIVE_BUFFER: usize = 16 << 20;
const SEND_BUFFER: usize = 2 << 20;

/// The kernel answers while the request is sent: longer than any scheduler keeps a process waiting.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// How a queue behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Packets that the kernel holds for us.
    pub max_len: u32,
    /// Let packets pass while the queue is full, instead of dropping them.
    pub fail_open: bool,
}

/// A bound queue. One thread after the other may serve it; packets wait in between.
pub struct Queue {
    number: u16,
    /// Another descriptor of the socket that bound it: `mnl`'s own stays with one thread.
    socket: OwnedFd,
}

/// Wakes a thread that waits for packets.
pub struct Wake(OwnedFd);

impl Wake {
    /// A wake that nobody has used yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes the waiting thread, now or as soon as it waits.
    pub fn wake(&self) {
        // It can only fail because the counter is full, and then the thread wakes anyway.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Forgets wake-ups so far; check for work after this, not before.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Queue {
    /// Binds a queue number in this network namespace.
    pub fn bind(number: u16, options: Options) -> io::Result<Self> {
        let socket = Socket(mnl::Socket::new(mnl::Bus::Netfilter)?);
        let queue = Self { number, socket: socket.as_fd().try_clone_to_owned()? };
        queue.set_buffers()?;
        queue.configure(&socket, options)?;
        Ok(queue)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn set_buffers(&self) -> io::Result<()> {
        // The forced variants pass rmem_max and need CAP_NET_ADMIN, as the queue itself does.
        sockopt::set_socket_recv_buffer_size_force(self.fd(), RECEIVE_BUFFER)?;
        // SAFETY: both options take an int, whose size is given.
        let set = |level, option, value: libc::c_int| unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(self.fd().as_raw_fd(), level, option, (&raw const value).cast(), size)
        };
        if set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER as libc::c_int) != 0
            || set(SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Everything in one message: the kernel hands over the first packets as soon as it has read it,
    /// and they arrive before its answer.
    fn configure(&self, socket: &Socket, options: Options) -> io::Result<()> {
        let [high, low] = self.number.to_be_bytes();
        let params = [&COPY_ALL.to_be_bytes()[..], &[COPY_PACKET]].concat();
        let flags = if options.fail_open { FAIL_OPEN } else { 0 };
        let request = Request::new(CONFIG, 0, &[libc::AF_UNSPEC as u8, 0, high, low])
            .attribute(CFG_CMD, &[CMD_BIND, 0, 0, 0])
            .attribute(CFG_PARAMS, &params)
            .attribute(CFG_QUEUE_MAXLEN, &options.max_len.to_be_bytes())
            .attribute(CFG_FLAGS, &flags.to_be_bytes())
            .attribute(CFG_MASK, &FAIL_OPEN.to_be_bytes());
        socket.0.send(&request.finished())?;
        self.confirm(if options.fail_open { Action::Accept } else { Action::Drop })
    }

    /// Waits for the kernel's answer. A packet that arrives before it gets a verdict as if the queue
    /// were full: without one it would take a place in the kernel for ever.
    fn confirm(&self, action: Action) -> io::Result<()> {
        let mut batch = Batch::new(1);
        let deadline = Instant::now() + CONFIRMATION;
        while Instant::now() < deadline {
            if !self.receive(&mut batch)? {
                self.wait(&[], Some(CONFIRMATION))?;
            }
            match batch.packets().next() {
                Some(Err(NoPacket::Configured(0))) => return Ok(()),
                Some(Err(NoPacket::Configured(errno))) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Some(Ok(packet)) => {
                    let mut verdict = Verdicts::default();
                    verdict.plain(self.number, packet.id, action);
                    let _ = self.send(&verdict);
                }
                Some(Err(_)) | None => {}
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Takes the packets that are there, without waiting. `false` if there are none.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<bool> {
        match batch.fill(self.fd()) {
            Ok(()) => Ok(!batch.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until there are packets, a wake is used or the time is over.
    pub fn wait(&self, wakes: &[&Wake], timeout: Option<Duration>) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
        fds.extend(wakes.iter().map(|wake| PollFd::new(*wake, PollFlags::IN)));
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the verdicts, and says how many the kernel did not take. Such an error is about these
    /// packets only, never about the queue.
    #[must_use = "verdicts that were not taken are to be counted"]
    pub fn send(&self, verdicts: &Verdicts<'_>) -> u64 {
        verdicts.send(self.fd())
    }
}
