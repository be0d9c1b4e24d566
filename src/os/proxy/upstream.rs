//! One question to the servers: over UDP, or over TCP where the client used it or the reply was cut.
//!
//! Every attempt has a fresh socket, whose port the kernel chooses at random, and a fresh random ID; it
//! believes the server's own address, that ID and the question only (RFC 5452 §9). An attempt without
//! an answer stays open while the next server is asked: slow is better than nothing.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::answer::MAX_OPEN;
use super::framed;
use super::own::OwnTraffic;
use super::servers::Servers;
use crate::dns::query::{Quality, Query};
use crate::dns::upstreams::{Attempt, MAX_ATTEMPTS};
use crate::os::clock::Clock;

/// The longest that servers are given together: resolv.conf(5) gives up after 5 s.
const PATIENCE: Duration = Duration::from_millis(4500);
/// The longest before the next server is asked, too.
const MAX_STEP: Duration = Duration::from_millis(1500);
/// The most sockets towards servers: every attempt has one, so that no question waits for another's.
pub(super) const MAX_SOCKETS: usize = MAX_OPEN * MAX_ATTEMPTS;
/// The largest DNS message (RFC 1035 §4.2.2).
const MAX_MESSAGE: usize = 65_535;

/// How a question comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A server's reply.
pub(super) struct Replied {
    pub(super) server: SocketAddr,
    pub(super) message: Vec<u8>,
}

/// The servers, and what is asked of them.
pub(super) struct Upstream {
    servers: Servers,
    own: Arc<OwnTraffic>,
    clock: Clock,
}

/// What came of one attempt.
type Outcome = (SocketAddr, io::Result<(Quality, Vec<u8>)>);

impl Upstream {
    pub(super) fn new(servers: Servers, own: Arc<OwnTraffic>, clock: Clock) -> Self {
        Self { servers, own, clock }
    }

    /// The first answer; the first failure if no server does better; nothing if none says anything.
    pub(super) async fn ask(&self, query: &Rc<Query>, by: Transport) -> Option<Replied> {
        let mut plan = self.servers.plan(self.clock.now());
        let step = (PATIENCE / plan.len().max(1) as u32).min(MAX_STEP);
        let end = Instant::now() + PATIENCE;
        plan.reverse();
        let mut open = JoinSet::new();
        let mut failure: Option<Replied> = None;
        loop {
            let next = plan.pop();
            if let Some(attempt) = next {
                open.spawn_local(self.attempt(Rc::clone(query), attempt, by));
            }
            if open.is_empty() {
                return failure;
            }
            let pause = if next.is_some() { end.min(Instant::now() + step) } else { end };
            tokio::select! {
                Some(done) = open.join_next() => match done {
                    Ok((server, Ok((Quality::Failure, message)))) => {
                        // It will not do better about this question.
                        plan.retain(|attempt| attempt.server != server);
                        failure.get_or_insert(Replied { server, message });
                    }
                    Ok((server, Ok((_, message)))) => {
                        self.servers.answered(server);
                        return Some(Replied { server, message });
                    }
                    Ok((server, Err(error))) => {
                        log::debug!("DNS server {server}: {error}");
                        self.servers.failed(server, self.clock.now());
                    }
                    // It panicked: what a server says may be hostile.
                    Err(_) => {}
                },
                () = sleep_until(pause) => {
                    if let Some(Attempt { server, .. }) = next {
                        self.servers.failed(server, self.clock.now());
                    }
                    if Instant::now() >= end {
                        return failure;
                    }
                }
            }
        }
    }

    fn attempt(
        &self,
        query: Rc<Query>,
        Attempt { server, again }: Attempt,
        by: Transport,
    ) -> impl Future<Output = Outcome> + 'static {
        let own = Arc::clone(&self.own);
        async move {
            let answer = match by {
                Transport::Udp => whole_or_cut(&query, server, &own).await,
                // The second time over UDP first: some networks drop TCP to port 53.
                Transport::Tcp if again => whole(&query, server, &own).await,
                Transport::Tcp => match by_tcp(&query, server).await {
                    Err(_) => whole(&query, server, &own).await,
                    answer => answer,
                },
            };
            (server, answer)
        }
    }
}

/// Over UDP, then over TCP if the reply was cut; the cut one if that fails.
async fn whole_or_cut(
    query: &Query,
    server: SocketAddr,
    own: &OwnTraffic,
) -> io::Result<(Quality, Vec<u8>)> {
    match by_udp(query, server, own).await? {
        (Quality::Truncated, cut) => {
            Ok(by_tcp(query, server).await.unwrap_or((Quality::Truncated, cut)))
        }
        answer => Ok(answer),
    }
}

/// Over UDP, for a client that gets it over TCP and has no other way.
async fn whole(
    query: &Query,
    server: SocketAddr,
    own: &OwnTraffic,
) -> io::Result<(Quality, Vec<u8>)> {
    match by_udp(query, server, own).await? {
        (Quality::Truncated, _) => by_tcp(query, server).await,
        answer => Ok(answer),
    }
}

async fn by_udp(
    query: &Query,
    server: SocketAddr,
    own: &OwnTraffic,
) -> io::Result<(Quality, Vec<u8>)> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let _asking = own.asking(socket.local_addr()?);
    let id = random_id()?;
    socket.send(&query.under(id)).await?;
    loop {
        // Whatever else comes is somebody's guess.
        let believed = |reply: &[u8]| Some((query.quality(id, reply)?, reply.to_vec()));
        if let Some(answer) = receive(&socket, believed).await? {
            return Ok(answer);
        }
    }
}

/// What `read` makes of the next datagram. One buffer serves all sockets, of which there may be thousands.
async fn receive<T>(socket: &UdpSocket, read: impl Fn(&[u8]) -> T) -> io::Result<T> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_MESSAGE]);
    }
    let next = || {
        BUFFER.with_borrow_mut(|buffer| {
            let (length, _) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
            Ok(read(buffer.get(..length).unwrap_or_default()))
        })
    };
    // The error: an ICMP message that the server is not there.
    socket.async_io(Interest::READABLE | Interest::ERROR, next).await
}

async fn by_tcp(query: &Query, server: SocketAddr) -> io::Result<(Quality, Vec<u8>)> {
    let mut stream = TcpStream::connect(server).await?;
    let id = random_id()?;
    framed::write(&mut stream, &query.under(id)).await?;
    let reply = framed::read(&mut stream).await?;
    match query.quality(id, &reply) {
        Some(Quality::Truncated) | None => Err(io::ErrorKind::InvalidData.into()),
        Some(quality) => Ok((quality, reply)),
    }
}

fn random_id() -> io::Result<u16> {
    let mut octets = [0; 2];
    getrandom(&mut octets, GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(octets))
}
