//! The sockets that clients ask.
//!
//! Each is bound to an interface as well as to an address: loopback, or one whose hosts are served. A
//! loopback address alone would not keep other hosts out, where `route_localnet` is set or somebody's
//! rules translate to it.
//!
//! An interface that is deleted and made anew, as bridges of containers and VPNs are, is another one to the
//! kernel, and a socket stays with the old one: where the name comes back with the address, other sockets are
//! bound.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::sleep;

use super::ProxyError;
use crate::os::network;

const LOOPBACK: &str = "lo";
/// How often to look whether the interface is still the same: one system call.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Both sockets of one address. They outlive a proxy, so that what comes meanwhile waits for the next.
#[derive(Debug)]
pub struct Listening {
    addr: SocketAddr,
    interface: String,
    sockets: Mutex<Sockets>,
}

#[derive(Debug)]
struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

/// The same as one proxy uses them.
pub(super) struct Listener {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Binds all that `before` does not have, or says which cannot be.
pub fn listen(
    addrs: &[SocketAddr],
    serve: &[String],
    before: &[Arc<Listening>],
) -> Result<Vec<Arc<Listening>>, ProxyError> {
    let one = |&addr| {
        let old = |served: &dyn Fn(&String) -> bool| {
            before.iter().find(|old| old.addr == addr && served(&old.interface)).cloned()
        };
        match interface_of(addr, serve) {
            Ok(interface) => match old(&|name| *name == interface) {
                Some(old) => Ok(old),
                None => Listening::bind(addr, interface).map(Arc::new),
            },
            // It is away at the moment.
            Err(error) => old(&|name| serve.contains(name)).ok_or(error),
        }
    };
    addrs.iter().map(one).collect()
}

impl Listening {
    fn bind(addr: SocketAddr, interface: String) -> Result<Self, ProxyError> {
        let sockets = Sockets::bind(addr, &interface);
        let sockets = sockets.map_err(|error| ProxyError::Listen(addr, error))?;
        Ok(Self { addr, interface, sockets: Mutex::new(sockets) })
    }

    /// Where.
    pub(super) fn ip(&self) -> IpAddr {
        self.addr.ip()
    }

    /// Needs the runtime's context.
    pub(super) fn listener(&self) -> io::Result<Listener> {
        let sockets = self.sockets();
        Ok(Listener {
            udp: UdpSocket::from_std(sockets.udp.try_clone()?)?,
            tcp: TcpListener::from_std(sockets.tcp.try_clone()?)?,
        })
    }

    /// Waits until the interface is another one, and listens there.
    pub(super) async fn anew(&self) -> io::Result<Listener> {
        loop {
            sleep(LOOK_EVERY).await;
            match self.renew() {
                Ok(false) => {}
                Ok(true) => {
                    log::info!(
                        "the DNS proxy listens at {} again: {} is back",
                        self.addr,
                        self.interface
                    );
                    return self.listener();
                }
                // Not yet there, or without the address.
                Err(error) => log::debug!("listening at {} again: {error}", self.addr),
            }
        }
    }

    /// Binds other sockets if the interface of these is gone. Whether it did.
    fn renew(&self) -> io::Result<bool> {
        let mut sockets = self.sockets();
        if sockets.belong_to(&self.interface) {
            return Ok(false);
        }
        *sockets = Sockets::bind(self.addr, &self.interface)?;
        Ok(true)
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets {
    fn bind(addr: SocketAddr, interface: &str) -> io::Result<Self> {
        Ok(Self { udp: udp(addr, interface)?, tcp: tcp(addr, interface)? })
    }

    /// The kernel knows the name by the number that a socket is bound to, as long as there is one.
    fn belong_to(&self, interface: &str) -> bool {
        let device = SockRef::from(&self.udp).device();
        matches!(device, Ok(Some(name)) if name == interface.as_bytes())
    }
}

/// Through which interface clients come.
fn interface_of(addr: SocketAddr, serve: &[String]) -> Result<String, ProxyError> {
    let ip = match addr.ip() {
        ip if ip.is_loopback() => return Ok(LOOPBACK.into()),
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => return Err(ProxyError::NotServed(addr)),
    };
    let addresses = network::addresses().map_err(ProxyError::System)?;
    let here = addresses.into_iter().find(|(name, net)| net.addr() == ip && serve.contains(name));
    here.map(|(name, _)| name).ok_or(ProxyError::NotServed(addr))
}

fn udp(addr: SocketAddr, interface: &str) -> io::Result<std::net::UdpSocket> {
    let socket = bound(addr, Type::DGRAM, interface)?;
    Ok(socket.into())
}

fn tcp(addr: SocketAddr, interface: &str) -> io::Result<std::net::TcpListener> {
    let socket = bound(addr, Type::STREAM, interface)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// To the interface first, so that nothing comes from elsewhere in between.
fn bound(addr: SocketAddr, kind: Type, interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    // Connections of an earlier run may still linger.
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_served_interfaces_are_listened_at() {
        let interface =
            |addr: &str| interface_of(addr.parse().expect("an address"), &["eth9".to_owned()]);
        assert_eq!(interface("127.0.0.9:300").expect("loopback"), LOOPBACK);
        assert_eq!(interface("[::1]:300").expect("loopback"), LOOPBACK);
        for addr in ["198.51.100.253:53", "0.0.0.0:53", "[::]:53", "[2001:db8::1]:53"] {
            let error = interface(addr).expect_err(addr).to_string();
            assert!(error.contains("no address of an interface in `serve`"), "{error}");
        }
    }
}
