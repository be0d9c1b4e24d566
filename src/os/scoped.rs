//! Sockets towards link-local DNS servers, whose address means nothing without an interface (RFC 4007
//! §6). Crate `hickory-resolver` names servers without one; here it is added.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioRuntimeProvider};
use tokio::net::UdpSocket;

type Inner = TokioRuntimeProvider;
type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

/// Opens sockets that reach servers through the interface with this index; 0 for servers that need
/// none.
#[derive(Clone, Default)]
pub(super) struct Scoped {
    inner: Inner,
    scope: u32,
}

impl Scoped {
    /// For servers like this one.
    pub(super) fn of(server: SocketAddr) -> Self {
        let scope = match server {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(addr) => addr.scope_id(),
        };
        Self { inner: Inner::default(), scope }
    }
}

/// Such a socket for UDP.
pub(super) struct ScopedUdp {
    socket: UdpSocket,
    scope: u32,
}

impl RuntimeProvider for Scoped {
    type Handle = <Inner as RuntimeProvider>::Handle;
    type Timer = <Inner as RuntimeProvider>::Timer;
    type Udp = ScopedUdp;
    type Tcp = <Inner as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        patience: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        self.inner.connect_tcp(scoped(server, self.scope), local, patience)
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Opening<Self::Udp> {
        let scope = self.scope;
        Box::pin(async move { Ok(ScopedUdp { socket: UdpSocket::bind(local).await?, scope }) })
    }
}

impl DnsUdpSocket for ScopedUdp {
    type Time = <UdpSocket as DnsUdpSocket>::Time;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.socket, cx, buf)
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        server: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.socket, cx, buf, scoped(server, self.scope))
    }
}

fn scoped(server: SocketAddr, scope: u32) -> SocketAddr {
    match server {
        SocketAddr::V6(mut addr) => {
            addr.set_scope_id(scope);
            addr.into()
        }
        SocketAddr::V4(_) => server,
    }
}
