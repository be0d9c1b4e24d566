//! The socket of a probe, which needs no privilege: bound to a port that the kernel chooses, and not
//! connected, because a connected one would be found by UDP early demux (see [`super::ports`]).
#![allow(unsafe_code, reason = "a socket option and the error queue have no safe wrapper")]

use std::io::{self, ErrorKind};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::path::Hop;
use crate::probe::{Complaint, Machine};
use crate::wire::Endpoint;

/// Larger than any answer to a probe; what is cut off is no answer.
const DATAGRAM: usize = 2048;
/// Room for one control message with an address.
const CONTROL: usize = 256;

/// A socket towards the first box of a path.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    hop: SocketAddrV4,
    here: Endpoint,
    started: Instant,
}

impl Socket {
    /// Opens it. Fails where there is no route to the box.
    pub fn open(hop: Hop) -> io::Result<Self> {
        let hop = SocketAddrV4::new(hop.addr, hop.port);
        let addr = source_towards(hop)?;
        let socket = UdpSocket::bind((addr, 0))?;
        socket.set_nonblocking(true)?;
        report_errors(&socket)?;
        let here = Endpoint { addr, port: socket.local_addr()?.port() };
        Ok(Self { socket, hop, here, started: Instant::now() })
    }

    /// This end of the tunnel.
    pub fn here(&self) -> Endpoint {
        self.here
    }

    /// Drives a machine to its end.
    pub fn run(&self, machine: &mut impl Machine) -> io::Result<()> {
        while self.step(machine)? {}
        Ok(())
    }

    /// Sends what is due and waits for one thing to happen. `false`: it is over.
    pub fn step(&self, machine: &mut impl Machine) -> io::Result<bool> {
        while let Some(datagram) = machine.poll(self.now()) {
            self.send(&datagram)?;
        }
        let Some(deadline) = machine.deadline() else { return Ok(false) };
        if !self.readable(deadline.saturating_sub(self.now()))? {
            return Ok(true);
        }
        // Both: a socket with an error in its queue is readable as long as that is not taken.
        if let Some((complaint, quote)) = self.complaint()? {
            machine.complained(complaint, &quote, self.now());
        }
        self.receive(machine)?;
        Ok(true)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn receive(&self, machine: &mut impl Machine) -> io::Result<()> {
        let mut datagram = [0; DATAGRAM];
        match self.socket.recv_from(&mut datagram) {
            Ok((octets, from)) if from == SocketAddr::V4(self.hop) => {
                match machine.received(&datagram[..octets], self.now()) {
                    Some(answer) => self.send(&answer),
                    None => Ok(()),
                }
            }
            // From a stranger.
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An error that came meanwhile is reported by the next call, whatever that is; its details stay
    /// in the queue, and the datagram was not sent.
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        for _ in 0..2 {
            match self.socket.send_to(datagram, self.hop) {
                Ok(_) => return Ok(()),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn readable(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next ICMP error about a datagram of this socket, and the beginning of that (ip(7),
    /// IP_RECVERR).
    fn complaint(&self) -> io::Result<Option<(Complaint, Vec<u8>)>> {
        let mut quote = [0u8; DATAGRAM];
        let mut control = Control([0; CONTROL]);
        let mut part = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: quote.len() };
        // SAFETY: msghdr is plain data, for which zeros are no pointers and no lengths.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the message names buffers of these lengths, which live until the call returns.
        let octets = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags) };
        let Ok(octets) = usize::try_from(octets) else {
            let error = io::Error::last_os_error();
            return if is_passing(&error) { Ok(None) } else { Err(error) };
        };
        let complaint = complaint_in(&message);
        Ok(complaint.map(|complaint| (complaint, quote[..octets.min(DATAGRAM)].to_vec())))
    }
}

/// Control messages have the alignment of their header.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

fn complaint_in(message: &libc::msghdr) -> Option<Complaint> {
    // SAFETY: the kernel has filled in the message, whose control buffer is alive; the macros stay
    // inside the length that it wrote.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a whole header in that buffer.
    while let Some(found) = unsafe { header.as_ref() } {
        // SAFETY: CMSG_LEN only computes.
        let least = unsafe {
            libc::CMSG_LEN(
                (size_of::<libc::sock_extended_err>() + size_of::<libc::sockaddr_in>()) as u32,
            )
        };
        let kind = (found.cmsg_level, found.cmsg_type);
        if kind == (libc::IPPROTO_IP, libc::IP_RECVERR) && found.cmsg_len as u64 >= u64::from(least)
        {
            // SAFETY: the message is long enough for both, the offender's address behind the error
            // (SO_EE_OFFENDER); neither need be aligned.
            let (error, offender) = unsafe {
                let data = libc::CMSG_DATA(header);
                let error = data.cast::<libc::sock_extended_err>().read_unaligned();
                let offender = data.add(size_of::<libc::sock_extended_err>());
                (error, offender.cast::<libc::sockaddr_in>().read_unaligned())
            };
            let by = Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr));
            let from_network = error.ee_origin == libc::SO_EE_ORIGIN_ICMP;
            return from_network.then_some(Complaint {
                by,
                kind: error.ee_type,
                code: error.ee_code,
            });
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn report_errors(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and lives until the call returns.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The source address that routing gives; nothing is sent for it.
fn source_towards(hop: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(hop)?;
    match socket.local_addr()? {
        SocketAddr::V4(addr) => Ok(*addr.ip()),
        SocketAddr::V6(_) => Err(ErrorKind::AddrNotAvailable.into()),
    }
}

/// What says something about an earlier datagram, or about nothing.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock,
    };
    let kinds = [WouldBlock, Interrupted, ConnectionRefused, HostUnreachable, NetworkUnreachable];
    kinds.contains(&error.kind())
        || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EMSGSIZE))
}

/// Set once the user has asked for the end (SIGINT).
pub fn interrupted() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&flag))?;
    Ok(flag)
}

/// Whether it is.
pub fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Relaxed)
}

/// A random number that nobody can foresee: the standard library's hash keys.
pub fn random() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0)
}
