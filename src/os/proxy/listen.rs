//! The sockets that clients ask.
//!
//! Each is bound to an interface as well as to an address: loopback, or one whose hosts are served. A
//! loopback address alone would not keep other hosts out, where `route_localnet` is set or somebody's
//! rules translate to it.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::ProxyError;
use crate::os::network;

const LOOPBACK: &str = "lo";
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Both sockets of one address.
pub(super) struct Listener {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Binds all, or says which cannot be. Needs the runtime's context.
pub(super) fn bind_all(
    listen: &[SocketAddr],
    serve: &[String],
) -> Result<Vec<Listener>, ProxyError> {
    listen.iter().map(|&addr| bind(addr, &interface_of(addr, serve)?)).collect()
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

fn bind(addr: SocketAddr, interface: &str) -> Result<Listener, ProxyError> {
    let sockets = || {
        let tcp = tcp(addr, interface)?;
        Ok(Listener { udp: udp(addr, interface)?, tcp })
    };
    sockets().map_err(|error| ProxyError::Listen(addr, error))
}

fn tcp(addr: SocketAddr, interface: &str) -> std::io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of an earlier run may still linger.
    socket.set_reuseaddr(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

fn udp(addr: SocketAddr, interface: &str) -> std::io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    // What came between the two may have come from elsewhere.
    while socket.try_recv_from(&mut []).is_ok() {}
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_served_interfaces_are_listened_at() {
        let interface =
            |addr: &str| interface_of(addr.parse().expect("an address"), &["eth9".to_owned()]);
        assert_eq!(interface("127.0.0.9:5300").expect("loopback"), LOOPBACK);
        assert_eq!(interface("[::1]:5300").expect("loopback"), LOOPBACK);
        for addr in ["198.51.100.253:53", "0.0.0.0:53", "[::]:53", "[2001:db8::1]:53"] {
            let error = interface(addr).expect_err(addr).to_string();
            assert!(error.contains("no address of an interface in `serve`"), "{error}");
        }
    }
}
