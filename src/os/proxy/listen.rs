//! The sockets that clients ask.
//!
//! Each is bound to an interface as well as to an address: loopback, or one whose hosts are served. A
//! loopback address alone would not keep other hosts out, where `route_localnet` is set or somebody's
//! rules translate to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use super::ProxyError;
use crate::os::network;

const LOOPBACK: &str = "lo";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Both sockets of one address. They outlive a proxy, so that what comes meanwhile waits for the next.
#[derive(Debug)]
pub struct Listening {
    addr: SocketAddr,
    interface: String,
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
        let interface = interface_of(addr, serve)?;
        let mut before = before.iter();
        match before.find(|old| (old.addr, &old.interface) == (addr, &interface)) {
            Some(old) => Ok(Arc::clone(old)),
            None => Listening::bind(addr, interface).map(Arc::new),
        }
    };
    addrs.iter().map(one).collect()
}

impl Listening {
    fn bind(addr: SocketAddr, interface: String) -> Result<Self, ProxyError> {
        let sockets = || Ok((udp(addr, &interface)?, tcp(addr, &interface)?));
        let (udp, tcp) = sockets().map_err(|error| ProxyError::Listen(addr, error))?;
        Ok(Self { addr, interface, udp, tcp })
    }

    /// Needs the runtime's context.
    pub(super) fn listener(&self) -> io::Result<Listener> {
        Ok(Listener {
            udp: UdpSocket::from_std(self.udp.try_clone()?)?,
            tcp: TcpListener::from_std(self.tcp.try_clone()?)?,
        })
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
