//! The socket of a probe, which needs no privilege: bound to a port that the kernel chooses, and not
//! connected, because a connected one would be found by UDP early demux (see [`super::ports`]).
#![allow(unsafe_code, reason = "some socket options have no safe wrapper")]

mod message;

use std::io::{self, ErrorKind};
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::path::Hop;
use crate::probe::{Complaint, Machine, Packet};
use crate::wire::Endpoint;
use message::{Trouble, receive};

/// DF is clear, as in natttd's tunnel headers. An error about something too long that comes meanwhile
/// reaches the socket, but not the kernel's memory of path MTUs, which would change what later packets
/// of this and other programs look like.
const FRAGMENTS: libc::c_int = libc::IP_PMTUDISC_OMIT;
/// DF is set, and the kernel's memory of path MTUs does not count.
const WHOLE: libc::c_int = libc::IP_PMTUDISC_PROBE;

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
        Self::open_from(None, hop)
    }

    /// The same from an address of this host's, if it is not to be the one that the route gives.
    pub fn open_from(addr: Option<Ipv4Addr>, hop: Hop) -> io::Result<Self> {
        let hop = SocketAddrV4::new(hop.addr, hop.port);
        let addr = addr.map_or_else(|| source_towards(hop), Ok)?;
        let socket = UdpSocket::bind((addr, 0))?;
        socket.set_nonblocking(true)?;
        for option in [libc::IP_RECVERR, libc::IP_RECVFRAGSIZE] {
            set(&socket, option, 1)?;
        }
        set(&socket, libc::IP_MTU_DISCOVER, FRAGMENTS)?;
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
        let Some(patience) = self.send_due(machine)? else { return Ok(false) };
        if self.readable(patience)? {
            self.take(machine)?;
        }
        Ok(true)
    }

    /// Sends what is due, and says how long to wait for something to take. `None`: it is over.
    pub fn send_due(&self, machine: &mut impl Machine) -> io::Result<Option<Duration>> {
        while let Some(datagram) = machine.poll(self.now()) {
            self.send(&datagram)?;
        }
        Ok(machine.deadline().map(|deadline| deadline.saturating_sub(self.now())))
    }

    /// Takes what has come, if anything.
    pub fn take(&self, machine: &mut impl Machine) -> io::Result<()> {
        // Both: a socket with an error in its queue is readable as long as that is not taken.
        if let Some((complaint, quote)) = self.complaint()? {
            machine.complained(complaint, &quote, self.now());
        }
        self.receive(machine)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn receive(&self, machine: &mut impl Machine) -> io::Result<()> {
        match receive(&self.socket, false) {
            Ok(message) if message.from == self.hop => {
                match machine.received(&message.octets, message.fragment, self.now()) {
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

    fn send(&self, packet: &Packet) -> io::Result<()> {
        if !packet.whole {
            return self.send_now(&packet.octets);
        }
        set(&self.socket, libc::IP_MTU_DISCOVER, WHOLE)?;
        let sent = self.send_now(&packet.octets);
        // Before an error comes, mostly.
        set(&self.socket, libc::IP_MTU_DISCOVER, FRAGMENTS)?;
        sent
    }

    /// An error that came meanwhile is reported by the next call, whatever that is; its details stay
    /// in the queue, and the datagram was not sent.
    fn send_now(&self, datagram: &[u8]) -> io::Result<()> {
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

    /// The next error about a datagram of this socket, and the beginning of that.
    fn complaint(&self) -> io::Result<Option<(Complaint, Vec<u8>)>> {
        let message = match receive(&self.socket, true) {
            Ok(message) => message,
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let complaint = message.error.map(|error| self.said(error));
        Ok(complaint.map(|complaint| (complaint, message.octets)))
    }

    fn said(&self, error: Trouble) -> Complaint {
        let (by, kind, code, mtu) = match error {
            Trouble::Icmp { by, kind, code, info } => (by, kind, code, info),
            Trouble::Interface { mtu } => (self.here.addr, 3, 4, mtu),
        };
        let told = (kind, code) == (3, 4) && mtu > 0;
        let mtu = u16::try_from(mtu).ok().filter(|_| told);
        Complaint { by, kind, code, mtu }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn set(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option is an int, and lives until the call returns.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            (&raw const value).cast(),
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
