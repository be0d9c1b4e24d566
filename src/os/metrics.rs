//! Serves the page of metrics by HTTP: one request a connection, little of everything, and no wait
//! for a client but on a thread that is only its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicUsize;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::control::{Slot, Woken, is_about_one_client, rest, wait};
use crate::metrics::http::{self, Asked, MAX_HEAD, Refusal};

/// How many clients may be connected at once; more are told to come back.
const MAX_CONNECTIONS: usize = 8;
/// How long a client may take for its request and for reading the response, together.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening socket for scrapers.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    patience: Duration,
}

impl MetricsServer {
    /// Listens.
    pub fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        // A client may be gone between the wait for it and its acceptance.
        listener.set_nonblocking(true)?;
        Ok(Self { listener, patience: PATIENCE })
    }

    /// Answers with what `page` returns, each client on a thread of its own, until `stop` becomes
    /// readable (an eventfd, a pipe).
    pub fn serve(&self, page: &(impl Fn() -> String + Sync), stop: &impl AsFd) -> io::Result<()> {
        let stop = stop.as_fd();
        let connections = AtomicUsize::new(0);
        thread::scope(|scope| {
            while wait(self.listener.as_fd(), PollFlags::IN, stop, None)? == Woken::Ready {
                match self.listener.accept() {
                    Ok((stream, _)) => self.admit(scope, stream, page, stop, &connections),
                    Err(e) if is_about_one_client(&e) => {}
                    Err(_) => rest(stop)?,
                }
            }
            Ok(())
        })
    }

    fn admit<'scope, 'env>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        stream: TcpStream,
        page: &'env (impl Fn() -> String + Sync),
        stop: BorrowedFd<'env>,
        connections: &'env AtomicUsize,
    ) {
        let slot = Slot::take(connections);
        let deadline = Instant::now() + self.patience;
        // A read or write that would block must leave room for the stop signal and the deadline.
        let Ok(()) = stream.set_nonblocking(true) else { return };
        let mut exchange = Exchange { stream, stop, deadline };
        if slot.number >= MAX_CONNECTIONS {
            // It fits the empty socket buffer, so this does not wait for the client.
            let _ = exchange.respond(&http::refusal(Refusal::Busy));
            return;
        }
        let run = move || {
            let _slot = slot;
            // The error is the client's: gone, too slow. There is nobody left to tell.
            let _ = exchange.run(page);
        };
        // No thread to be had: the client sees the connection closed.
        let _ = thread::Builder::new().name("scrape".into()).spawn_scoped(scope, run);
    }
}

/// One connection.
struct Exchange<'a> {
    stream: TcpStream,
    stop: BorrowedFd<'a>,
    deadline: Instant,
}

impl Exchange<'_> {
    fn run(&mut self, page: &impl Fn() -> String) -> io::Result<()> {
        match self.request()? {
            Ok(()) => self.respond(&http::page(&page())),
            Err(refusal) => self.respond(&http::refusal(refusal)),
        }
    }

    fn request(&mut self) -> io::Result<Result<(), Refusal>> {
        let mut octets = Vec::new();
        loop {
            match http::asked(&octets) {
                Asked::Page => return Ok(Ok(())),
                Asked::Refused(refusal) => return Ok(Err(refusal)),
                Asked::More => {}
            }
            self.wait(PollFlags::IN)?;
            let mut chunk = [0; MAX_HEAD];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => octets.extend(chunk.iter().take(count)),
                Err(e) if is_no_failure(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn respond(&mut self, response: &[u8]) -> io::Result<()> {
        let mut rest = response;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(e) if is_no_failure(&e) => self.wait(PollFlags::OUT)?,
                Err(e) => return Err(e),
            }
        }
        self.stream.shutdown(Shutdown::Write)
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        match wait(self.stream.as_fd(), flags, self.stop, Some(self.deadline))? {
            Woken::Ready => Ok(()),
            Woken::Stopped => Err(ErrorKind::ConnectionAborted.into()),
            Woken::TimedOut => Err(ErrorKind::TimedOut.into()),
        }
    }
}

fn is_no_failure(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;

    use super::*;

    const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A page longer than any socket buffer.
    fn long() -> String {
        "nattt_up 1\n".repeat(1 << 20)
    }

    /// Runs `client` against a server that allows `patience`, and stops it. What `client` returns is
    /// kept until the server has ended.
    fn with<T>(patience: Duration, client: impl FnOnce(SocketAddr) -> T) {
        let (stop, stopper) = UnixStream::pair().expect("a pair");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = MetricsServer::bind(listen).expect("a server");
        server.patience = patience;
        let at = server.listener.local_addr().expect("an address");
        let (ended, end) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                server.serve(&long, &stop).expect("serves");
                ended.send(()).expect("somebody waits");
            });
            let _kept = client(at);
            drop(stopper);
            end.recv_timeout(Duration::from_secs(20)).expect("the server ends");
        });
    }

    fn connected(at: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(at).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    fn answer(mut stream: TcpStream, request: &[u8]) -> String {
        stream.write_all(request).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    }

    #[test]
    fn a_scraper_gets_the_whole_page() {
        with(PATIENCE, |at| {
            let text = answer(connected(at), GET);
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(body.len(), long().len());
        });
    }

    #[test]
    fn whoever_asks_for_something_else_is_refused() {
        with(PATIENCE, |at| {
            assert!(answer(connected(at), b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
            let endless = [b'a'; MAX_HEAD];
            assert!(answer(connected(at), &endless).starts_with("HTTP/1.1 431 "));
        });
    }

    #[test]
    fn places_are_few_and_become_free() {
        with(PATIENCE, |at| {
            let idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connected(at)).collect();
            assert!(answer(connected(at), b"").starts_with("HTTP/1.1 503 "));
            drop(idle);
            let deadline = Instant::now() + Duration::from_secs(20);
            while !answer(connected(at), b"GET / HTTP/1.1\r\n").starts_with("HTTP/1.1 404 ") {
                assert!(Instant::now() < deadline, "no place became free");
            }
        });
    }

    #[test]
    fn slow_clients_lose_their_place() {
        with(Duration::from_millis(100), |at| {
            let mut silent = connected(at);
            let mut reads_nothing = connected(at);
            reads_nothing.write_all(GET).expect("sent");
            let mut text = Vec::new();
            assert_eq!(silent.read_to_end(&mut text).expect("closed"), 0);
            let deadline = Instant::now() + Duration::from_secs(20);
            while answer(connected(at), b"GET / HTTP/1.1\r\n").starts_with("HTTP/1.1 503 ") {
                assert!(Instant::now() < deadline, "no place became free");
            }
        });
    }

    #[test]
    fn a_stop_does_not_wait_for_clients() {
        with(Duration::from_secs(3600), |at| {
            let (silent, mut reads_nothing) = (connected(at), connected(at));
            reads_nothing.write_all(GET).expect("sent");
            // Accepted after the other two.
            assert!(answer(connected(at), b"GET / HTTP/1.1\r\n").starts_with("HTTP/1.1 404 "));
            (silent, reads_nothing)
        });
    }
}
