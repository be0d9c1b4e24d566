//! A small DNS proxy on loopback, the second way to capture replies: for those who point resolv.conf
//! or a per-domain route at it. Questions go on to the servers as they came; what those reply is
//! treated as the packet filter's captures are, by the same [`Hold`](crate::dns::hold::Hold).
//!
//! On a thread of its own, asynchronously (RFC 7766 demands answers out of order); it ends when its
//! [`Replies`] are dropped.
//!
//! ```text
//! client ── UDP, TCP ── clients ── answer ── upstream ── UDP, TCP ── server
//!                                     │ replies without an address
//!                                   hold (daemon::dns)
//! ```

mod answer;
mod framed;
mod listen;
mod own;
mod servers;
mod tcp;
mod udp;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::counters::Counters;
use crate::dns::Policy;
use crate::dns::hold::Reply;

use super::clock::Clock;
use super::nfqueue::Wake;

use answer::{Answers, MAX_OPEN};
use listen::Listener;
pub use listen::{Listening, listen};
pub use own::OwnTraffic;
use servers::Servers;
use tcp::Connections;
use upstream::{MAX_SOCKETS, Upstream};

/// The most descriptors that the proxy uses.
pub const DESCRIPTORS: u64 = (MAX_SOCKETS + tcp::MAX_CONNECTIONS) as u64 + 64;
/// How long servers and clients may take at the end.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long whoever holds replies may take then, the next one too.
const DECISION: Duration = Duration::from_secs(5);

/// What the configuration says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients ask.
    pub listen: Vec<SocketAddr>,
    /// Who is asked; the servers of /etc/resolv.conf if there is none.
    pub upstream: Vec<SocketAddr>,
    /// Which replies may change.
    pub policy: Policy,
}

/// The proxy, at its addresses.
pub struct Proxy {
    runtime: Runtime,
    places: Vec<Place>,
    answers: Answers,
    connections: Connections,
    end: mpsc::Receiver<()>,
}

/// The replies that wait for a decision, for the thread that holds them.
pub struct Replies {
    waiting: Receiver<Reply<Ticket>>,
    _end: mpsc::Sender<()>,
}

/// What a reply that waits goes on by. Dropping it releases the reply as it came.
pub struct Ticket(oneshot::Sender<Vec<u8>>);

/// Why there is no proxy.
#[derive(Debug)]
pub enum ProxyError {
    /// An address cannot be listened at.
    Listen(SocketAddr, io::Error),
    /// It is no address of an interface whose hosts are served.
    NotServed(SocketAddr),
    /// The rest.
    System(io::Error),
}

impl std::fmt::Display for ProxyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(addr, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "another program listens at {addr}: write another port in `listen`, such as 300 \
                 (`ss -lnp sport = :{}` names the program)",
                addr.port()
            ),
            Self::Listen(addr, error) => write!(f, "cannot listen at {addr}: {error}"),
            Self::NotServed(addr) => write!(
                f,
                "{addr} of `listen` is no address of an interface in `serve`: natttd answers \
                 programs on this host and the hosts that it serves, nobody else"
            ),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProxyError {}

impl Proxy {
    /// A proxy that serves `listening`. `wake` is used when a reply waits; what is the proxy's own is
    /// noted in `own`.
    pub fn new(
        settings: Settings,
        listening: &[Arc<Listening>],
        own: Arc<OwnTraffic>,
        wake: Arc<Wake>,
        (counters, clock): (Arc<Counters>, Clock),
    ) -> Result<(Self, Replies), ProxyError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(ProxyError::System)?;
        let places = {
            let _context = runtime.enter();
            let places = listening.iter().map(Place::new);
            places.collect::<Result<_, _>>().map_err(ProxyError::System)?
        };
        let (replies, waiting) = crossbeam_channel::bounded(MAX_OPEN);
        let (sender, end) = mpsc::channel(1);
        let serves = settings.listen.iter().any(|addr| !addr.ip().is_loopback());
        let servers = Servers::new(settings.upstream, settings.listen);
        if servers.none_yet() {
            log::warn!(
                "the DNS proxy knows no server to ask: /etc/resolv.conf names none but natttd itself; \
                 write `upstream = [\"ADDRESS\"]` under [client]"
            );
        }
        let upstream = Upstream::new(servers, own, clock);
        let holding = Holding { replies, wake };
        let connections = Connections::new(serves, Arc::clone(&counters));
        let answers = Answers::new(upstream, (settings.policy, serves), holding, counters);
        let proxy = Self { runtime, places, answers, connections, end };
        Ok((proxy, Replies { waiting, _end: sender }))
    }

    /// Serves until the [`Replies`] are dropped.
    pub fn run(self) {
        let Self { runtime, places, answers, connections, mut end } = self;
        let (answers, connections) = (Rc::new(answers), Rc::new(connections));
        LocalSet::new().block_on(&runtime, async move {
            let mut serving = JoinSet::new();
            for place in places {
                serving.spawn_local(place.serve(Rc::clone(&answers), Rc::clone(&connections)));
            }
            // Nothing is ever sent.
            end.recv().await;
            // What comes from now on waits in the sockets for the next proxy.
            serving.shutdown().await;
            let _ = timeout(FAREWELL, answers.end()).await;
            let _ = timeout(DECISION, answers.all_decided()).await;
        });
    }
}

/// Where clients ask.
struct Place {
    listening: Arc<Listening>,
    listener: Listener,
}

impl Place {
    /// Needs the runtime's context.
    fn new(listening: &Arc<Listening>) -> io::Result<Self> {
        Ok(Self { listening: Arc::clone(listening), listener: listening.listener()? })
    }

    /// On other sockets each time that its interface has been made anew.
    async fn serve(self, answers: Rc<Answers>, connections: Rc<Connections>) {
        let Self { listening, listener } = self;
        let mut listener = Ok(listener);
        while let Ok(Listener { udp, tcp }) = listener {
            let udp = udp::serve(udp, listening.ip(), Rc::clone(&answers));
            let tcp = tcp::serve(tcp, listening.ip(), Rc::clone(&answers), Rc::clone(&connections));
            listener = tokio::select! {
                () = udp => return,
                () = tcp => return,
                anew = listening.anew() => anew,
            };
        }
        if let Err(error) = listener {
            log::warn!("the DNS proxy has lost an address of `listen`: {error}; restart natttd");
        }
    }
}

impl Replies {
    /// Those that came since the last look.
    pub fn waiting(&self) -> impl Iterator<Item = Reply<Ticket>> + '_ {
        self.waiting.try_iter()
    }
}

impl Ticket {
    /// The reply goes on as it came.
    pub fn release(self) {
        drop(self);
    }

    /// This message goes on instead.
    pub fn change(self, message: Vec<u8>) {
        // The client may be gone.
        let _ = self.0.send(message);
    }
}

/// The way to the thread that holds replies.
struct Holding {
    replies: Sender<Reply<Ticket>>,
    wake: Arc<Wake>,
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use super::*;

    /// For the root.
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";

    #[test]
    fn what_comes_while_a_proxy_ends_waits_for_the_next() {
        let bound = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let addr = |socket: &UdpSocket| socket.local_addr().expect("bound");
        let (server, client) = (bound(), bound());
        let settings = Settings {
            listen: vec![addr(&bound())],
            upstream: vec![addr(&server)],
            policy: Policy::default(),
        };
        let listening = listen(&settings.listen, &[], &[]).expect("a free port");
        let start = || {
            let wake = Arc::new(Wake::new().expect("an eventfd"));
            let around = (Arc::default(), Clock::start());
            let (proxy, replies) =
                Proxy::new(settings.clone(), &listening, Arc::default(), wake, around)
                    .expect("a proxy");
            (thread::spawn(move || proxy.run()), replies)
        };
        let asked = || {
            server.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            server.recv(&mut [0; 512]).expect("a question")
        };
        let ask = || client.send_to(QUESTION, settings.listen[0]).expect("sent");
        let (first, replies) = start();
        ask();
        asked();
        drop(replies);
        // Its question is still open.
        ask();
        first.join().expect("no panic");
        let (second, replies) = start();
        asked();
        drop(replies);
        second.join().expect("no panic");
        client.set_nonblocking(true).expect("a socket");
        assert!(client.recv(&mut [0; 512]).is_err(), "no question has failed");
    }
}
