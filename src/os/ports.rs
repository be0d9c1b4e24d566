//! Outer UDP ports, each owned by a socket.
//!
//! The kernel's UDP early demultiplexing would attach a *connected* local socket to an arriving
//! outer packet before the INPUT hook turns it into, say, TCP. So the port is reserved by an
//! unconnected socket bound to the wildcard address, which conflicts with every other socket on
//! that port: nobody can hold one that the kernel would find.
#![allow(unsafe_code, reason = "three socket options have no safe wrapper")]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::net::{AddressFamily, SocketType};

use crate::path::Hop;
use crate::tunnel::Lease;
use crate::wire::Endpoint;

/// The ports that may be owned at once.
#[derive(Debug, Clone)]
pub struct Ports {
    used: Arc<AtomicUsize>,
    cap: usize,
    mark: u32,
}

/// An owned port.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    port: u16,
    used: Arc<AtomicUsize>,
}

impl Ports {
    /// At most `cap` ports, each of which takes a descriptor. What is sent from one carries the
    /// packet mark `mark`, so that the rules mark its connection again after conntrack forgot it.
    pub fn new(cap: usize, mark: u32) -> Self {
        Self { used: Arc::default(), cap, mark }
    }

    /// How many are owned, and how many may be.
    pub fn usage(&self) -> (usize, usize) {
        (self.used.load(Relaxed), self.cap)
    }

    /// Reserves the preferred port (0: any), or another one if it is taken.
    pub fn reserve(&self, preferred: u16) -> Option<Port> {
        if self.used.fetch_add(1, Relaxed) >= self.cap {
            self.used.fetch_sub(1, Relaxed);
            return None;
        }
        let port = bind(preferred).or_else(|_| bind(0)).and_then(|socket| {
            let port = socket.local_addr()?.port();
            set_mark(&socket, self.mark)?;
            Ok((socket, port))
        });
        match port {
            Ok((socket, port)) => Some(Port { socket, port, used: Arc::clone(&self.used) }),
            Err(_) => {
                self.used.fetch_sub(1, Relaxed);
                None
            }
        }
    }

    /// Sends a datagram from a port of a host whose packets this one forwards (IP_TRANSPARENT: needs
    /// CAP_NET_ADMIN). The socket lives as long as this call and is never read.
    pub fn send_as(&self, from: Endpoint, to: Hop, payload: &[u8]) -> io::Result<()> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let socket = UdpSocket::from(socket);
        drop_all(&socket)?;
        set_mark(&socket, self.mark)?;
        set_option(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &1)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(from.addr, from.port))?;
        socket.send_to(payload, SocketAddrV4::new(to.addr, to.port)).map(drop)
    }
}

/// Owns the gateway's tunnel port, so that nothing answers for it with "port unreachable" while
/// the rules are absent, and no other program takes what the rules let through.
pub fn own(port: u16) -> io::Result<UdpSocket> {
    bind(port)
}

/// Binds without SO_REUSEADDR or SO_REUSEPORT: exclusively.
fn bind(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    drop_all(&socket)?;
    Ok(socket)
}

/// Nothing is ever read from the socket: a filter keeps its buffer empty.
fn drop_all(socket: &UdpSocket) -> io::Result<()> {
    // `ret #0`: keep no octet of any packet (BPF_RET | BPF_K).
    let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// Needs CAP_NET_ADMIN, as the queues do; 0 is what a socket has anyway.
fn set_mark(socket: &UdpSocket, mark: u32) -> io::Result<()> {
    if mark == 0 { Ok(()) } else { set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, &mark) }
}

/// Sets an option whose value is a `T` in the kernel's layout.
fn set_option<T>(
    socket: &UdpSocket,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` octets of `value` during the call and keeps no
    // pointer; that a filter's program outlives the call is for the caller, whose local it is.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Port {
    /// Sends a datagram from the port.
    pub fn send(&self, to: Hop, payload: &[u8]) -> io::Result<()> {
        self.socket.send_to(payload, SocketAddrV4::new(to.addr, to.port)).map(drop)
    }
}

impl Lease for Port {
    fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owned_port_cannot_be_had_by_anybody_else() {
        let port = Ports::new(2, 0).reserve(0).expect("a free port");
        for addr in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST] {
            let error = UdpSocket::bind((addr, port.port())).expect_err("it is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn a_port_that_somebody_has_is_passed_over() {
        // Bound to loopback only: a wildcard reservation must still see the conflict.
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let taken = other.local_addr().expect("bound").port();
        let port = Ports::new(2, 0).reserve(taken).expect("another port");
        assert_ne!(port.port(), taken);
    }

    #[test]
    fn the_owner_is_never_handed_packets() {
        let port = Ports::new(2, 0).reserve(0).expect("a free port");
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        sender.send_to(b"stray", (Ipv4Addr::LOCALHOST, port.port())).expect("sent");
        port.socket.set_nonblocking(true).expect("a socket option");
        let error = port.socket.recv(&mut [0; 9]).expect_err("nothing to read");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_cap_holds_and_ports_come_back() {
        let ports = Ports::new(1, 0);
        let first = ports.reserve(0).expect("a free port");
        assert!(ports.reserve(0).is_none());
        drop(first);
        assert!(ports.reserve(0).is_some());
    }
}
