//! Ports of this host that nobody else can have, each owned by a socket: outer UDP ports, and the TCP
//! ports of connections that programs here have to hosts right behind this one.
//!
//! The kernel's UDP early demultiplexing would attach a *connected* local socket to an arriving
//! outer packet before the INPUT hook turns it into, say, TCP. So the port is reserved by an
//! unconnected socket bound to the wildcard address, which conflicts with every other socket on
//! that port: nobody can hold one that the kernel would find. A TCP port is reserved in the same way, by
//! a socket that neither listens nor connects.
#![allow(unsafe_code, reason = "two socket options have no safe wrapper")]

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};

use crate::path::Hop;
use crate::tunnel::{Lease, PortKind};

/// The ports that may be owned at once.
#[derive(Debug, Clone)]
pub struct Ports {
    store: Arc<Store>,
    cap: usize,
    mark: u32,
}

/// What all ports share.
#[derive(Debug, Default)]
struct Store {
    used: AtomicUsize,
    /// Sockets that were given up while another configuration takes over: it may want the same ports,
    /// and nobody else shall have them in between.
    given_up: Mutex<Option<HashMap<(PortKind, u16), OwnedFd>>>,
}

/// An owned port.
#[derive(Debug)]
pub struct Port {
    /// Always there until the end.
    socket: Option<OwnedFd>,
    kind: PortKind,
    port: u16,
    store: Arc<Store>,
}

impl Ports {
    /// At most `cap` ports, each of which takes a descriptor. What is sent from one carries the
    /// packet mark `mark`, so that the rules mark its connection again after conntrack forgot it.
    pub fn new(cap: usize, mark: u32) -> Self {
        Self { store: Arc::default(), cap, mark }
    }

    /// Those of the next configuration. From now on ports that are given up stay owned, for it to
    /// reserve, until it has [settled](Self::settle).
    pub fn hand_over(&self, cap: usize, mark: u32) -> Self {
        *self.store.given_up() = Some(HashMap::new());
        Self { store: Arc::clone(&self.store), cap, mark }
    }

    /// Closes what was given up and not reserved again.
    pub fn settle(&self) {
        *self.store.given_up() = None;
    }

    /// How many are owned, and how many may be.
    pub fn usage(&self) -> (usize, usize) {
        (self.store.used.load(Relaxed), self.cap)
    }

    /// Whether less than a quarter is left.
    pub fn are_scarce(&self) -> bool {
        let (used, cap) = self.usage();
        used > cap / 4 * 3
    }

    /// Reserves the preferred port (0: any), or another one if it is taken.
    pub fn reserve(&self, kind: PortKind, preferred: u16) -> Option<Port> {
        let Store { used, .. } = &*self.store;
        if used.fetch_add(1, Relaxed) >= self.cap {
            used.fetch_sub(1, Relaxed);
            return None;
        }
        let bound = |port| -> io::Result<(OwnedFd, u16)> {
            match kind {
                PortKind::Udp => {
                    let socket = bind(port)?;
                    let port = socket.local_addr()?.port();
                    Ok((socket.into(), port))
                }
                PortKind::Tcp => bind_tcp(port),
            }
        };
        let fresh = || bound(preferred).or_else(|_| bound(0));
        let kept = self.store.take((kind, preferred)).map(|socket| Ok((socket, preferred)));
        let port = kept.unwrap_or_else(fresh).and_then(|(socket, port)| {
            set_mark(&socket, self.mark)?;
            Ok((socket, port))
        });
        match port {
            Ok((socket, port)) => {
                Some(Port { socket: Some(socket), kind, port, store: Arc::clone(&self.store) })
            }
            Err(_) => {
                used.fetch_sub(1, Relaxed);
                None
            }
        }
    }

    /// Sends a whole packet, from whatever address it says (needs CAP_NET_RAW): one of a host whose
    /// packets this one forwards. No socket could be bound for it where one here has the same port.
    pub fn send_raw(&self, to: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
        set_mark(&socket, self.mark)?;
        rustix::net::sendto(&socket, packet, SendFlags::empty(), &SocketAddrV4::new(to, 0))?;
        Ok(())
    }
}

impl Store {
    fn given_up(&self) -> MutexGuard<'_, Option<HashMap<(PortKind, u16), OwnedFd>>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, port: (PortKind, u16)) -> Option<OwnedFd> {
        self.given_up().as_mut()?.remove(&port)
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
    // What is sent from here has DF clear, as other tunnel packets have; who says that it was too large
    // for a link lies, and the kernel shall not learn an MTU from it (ip(7)).
    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::OMIT)?;
    Ok(socket)
}

/// The same for TCP. Nothing connects to a socket that does not listen.
fn bind_tcp(port: u16) -> io::Result<(OwnedFd, u16)> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    let bound = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

/// Nothing is ever read from the socket: a filter keeps its buffer empty.
fn drop_all(socket: &UdpSocket) -> io::Result<()> {
    // `ret #0`: keep no octet of any packet (BPF_RET | BPF_K).
    let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// Needs CAP_NET_ADMIN, as the queues do; 0 is what a socket has anyway.
fn set_mark(socket: &impl AsRawFd, mark: u32) -> io::Result<()> {
    if mark == 0 { Ok(()) } else { set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, &mark) }
}

/// Sets an option whose value is a `T` in the kernel's layout.
fn set_option<T>(
    socket: &impl AsRawFd,
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
    /// Sends a datagram from the port, if it is one of UDP.
    pub fn send(&self, to: Hop, payload: &[u8]) -> io::Result<()> {
        let socket = self.socket.as_ref().filter(|_| self.kind == PortKind::Udp);
        let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
        let to = SocketAddrV4::new(to.addr, to.port);
        rustix::net::sendto(socket, payload, SendFlags::empty(), &to)?;
        Ok(())
    }
}

impl Lease for Port {
    fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.store.used.fetch_sub(1, Relaxed);
        if let Some(given_up) = &mut *self.store.given_up() {
            given_up.extend(self.socket.take().map(|socket| ((self.kind, self.port), socket)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn an_owned_port_cannot_be_had_by_anybody_else() {
        let port = Ports::new(2, 0).reserve(PortKind::Udp, 0).expect("a free port");
        for addr in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST] {
            let error = UdpSocket::bind((addr, port.port())).expect_err("it is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    /// By whatever means a program may share a port: it neither gets this one nor can listen there.
    #[test]
    fn an_owned_tcp_port_cannot_be_had_by_anybody_else() {
        let port = Ports::new(2, 0).reserve(PortKind::Tcp, 0).expect("a free port");
        for addr in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST] {
            // The standard library sets SO_REUSEADDR.
            let error = TcpListener::bind((addr, port.port())).expect_err("it is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port.port())).expect_err("nobody");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(port.send(Hop { addr: Ipv4Addr::LOCALHOST, port: 9 }, b"x").is_err(), "not UDP");
    }

    #[test]
    fn ports_of_tcp_and_udp_do_not_disturb_each_other() {
        let ports = Ports::new(2, 0);
        let tcp = ports.reserve(PortKind::Tcp, 0).expect("a free port");
        let udp = ports.reserve(PortKind::Udp, tcp.port()).expect("a free port");
        assert!(
            udp.port() == tcp.port() || UdpSocket::bind((Ipv4Addr::LOCALHOST, tcp.port())).is_err()
        );
    }

    #[test]
    fn a_port_that_somebody_has_is_passed_over() {
        // Bound to loopback only: a wildcard reservation must still see the conflict.
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let taken = other.local_addr().expect("bound").port();
        let port = Ports::new(2, 0).reserve(PortKind::Udp, taken).expect("another port");
        assert_ne!(port.port(), taken);
    }

    #[test]
    fn the_owner_is_never_handed_packets() {
        let port = Ports::new(2, 0).reserve(PortKind::Udp, 0).expect("a free port");
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        sender.send_to(b"stray", (Ipv4Addr::LOCALHOST, port.port())).expect("sent");
        let socket = port.socket.as_ref().expect("a socket");
        let socket = UdpSocket::from(socket.try_clone().expect("a descriptor"));
        socket.set_nonblocking(true).expect("a socket option");
        let error = socket.recv(&mut [0; 9]).expect_err("nothing to read");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn no_mtu_is_learned_from_errors_about_the_port() {
        let port = Ports::new(2, 0).reserve(PortKind::Udp, 0).expect("a free port");
        let socket = port.socket.as_ref().expect("a socket");
        let mode = rustix::net::sockopt::ip_mtu_discover(socket).expect("an option");
        assert_eq!(mode, Ipv4PathMtuDiscovery::OMIT);
    }

    #[test]
    fn ports_that_are_given_up_wait_for_the_next_configuration() {
        let before = Ports::new(2, 0);
        let (one, two) = (
            before.reserve(PortKind::Udp, 0).expect("free"),
            before.reserve(PortKind::Udp, 0).expect("free"),
        );
        let (first, second) = (one.port(), two.port());
        let after = before.hand_over(2, 0);
        drop((one, two));
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).is_err(), "nobody else has it");
        let kept = after.reserve(PortKind::Udp, first).expect("kept");
        assert_eq!((kept.port(), after.usage()), (first, (1, 2)));
        after.settle();
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, second)).is_ok(), "closed");
        drop(kept);
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).is_ok(), "no hand-over any more");
    }

    #[test]
    fn the_cap_holds_and_ports_come_back() {
        let ports = Ports::new(1, 0);
        let first = ports.reserve(PortKind::Udp, 0).expect("a free port");
        assert!(ports.reserve(PortKind::Udp, 0).is_none());
        drop(first);
        assert!(ports.reserve(PortKind::Udp, 0).is_some());
    }
}
