//! From one client's question to its answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::upstream::{Replied, Transport, Upstream};
use super::{Holding, Ticket};
use crate::counters::{Counter, Counters};
use crate::dns::hold::{Reply, Server};
use crate::dns::query::{Asked, Query, Unfit};
use crate::dns::shares::{Asker, Full, Shares};
use crate::dns::{Class, Policy, classify};

/// The most questions that are open.
pub(super) const MAX_OPEN: usize = 512;
/// The most of one asker's that ask the same. More are a loop: a resolver that sends us what we ask it.
const MAX_SAME: usize = 100;
/// What a reply may grow to; if its client takes less, it is sent to TCP.
const NO_LIMIT: usize = 65_535;

/// Answers questions.
pub(super) struct Answers {
    upstream: Upstream,
    policy: Policy,
    holding: Holding,
    counters: Arc<Counters>,
    shares: RefCell<Shares>,
    open: Semaphore,
    /// Of them, those whose reply waits for a decision.
    undecided: Semaphore,
    same: RefCell<HashMap<(Asker, Asked), usize>>,
    ending: Cell<bool>,
}

impl Answers {
    pub(super) fn new(
        upstream: Upstream,
        (policy, serves): (Policy, bool),
        holding: Holding,
        counters: Arc<Counters>,
    ) -> Self {
        let shares = RefCell::new(Shares::new(MAX_OPEN, serves));
        let (open, undecided) = (Semaphore::new(MAX_OPEN), Semaphore::new(MAX_OPEN));
        let (same, ending) = Default::default();
        Self { upstream, policy, holding, counters, shares, open, undecided, same, ending }
    }

    /// The answer to what a client sent; nothing if it is none of a client's, or comes at the end.
    pub(super) async fn to(&self, octets: Vec<u8>, asker: Asker, by: Transport) -> Option<Vec<u8>> {
        // Its client asks again, the next proxy; an error it would believe.
        if self.ending.get() {
            return None;
        }
        let query = match Query::parse(octets) {
            Ok(query) => Rc::new(query),
            Err(Unfit::Refused(answer)) => {
                self.counters.add(Counter::ProxyRefused);
                return Some(answer);
            }
            Err(Unfit::Silence) => {
                self.counters.add(Counter::ProxyRefused);
                return None;
            }
        };
        let _turn = match self.turn(asker, &query) {
            Ok(turn) => turn,
            Err(full) => {
                self.counters.add(full);
                log::debug!("DNS proxy: no room for another question of {asker:?}");
                return Some(query.server_failure());
            }
        };
        self.counters.add(Counter::ProxyQuestions);
        let Some(Replied { server, message }) = self.upstream.ask(&query, by).await else {
            self.counters.add(Counter::ProxyNoAnswer);
            return Some(query.server_failure());
        };
        let reply = self.with_address(Server::at(server), query.answer(message)).await;
        Some(match by {
            Transport::Udp => query.answer_by_udp(reply),
            Transport::Tcp => reply,
        })
    }

    /// Takes no more questions, and waits until none is open any more.
    pub(super) async fn end(&self) {
        self.ending.set(true);
        let _ = self.open.acquire_many(MAX_OPEN as u32).await;
    }

    /// Waits until no reply waits for a decision.
    pub(super) async fn all_decided(&self) {
        let _ = self.undecided.acquire_many(MAX_OPEN as u32).await;
    }

    /// The reply, changed if the name has a NAT record.
    async fn with_address(&self, server: Server, reply: Vec<u8>) -> Vec<u8> {
        if let Class::Pass(counter) = classify(&reply, &self.policy) {
            self.counters.add(counter);
            return reply;
        }
        let (ticket, decision) = oneshot::channel();
        let ticket = Ticket(ticket);
        let waiting = Reply { ticket, server, limit: NO_LIMIT, message: reply.clone() };
        let _undecided = self.undecided.try_acquire();
        // The channel has room for every open question.
        if self.holding.replies.try_send(waiting).is_ok() {
            self.holding.wake.wake();
        }
        decision.await.unwrap_or(reply)
    }

    /// Room for one more question, or what there is none by.
    fn turn(&self, asker: Asker, query: &Query) -> Result<Turn<'_>, Counter> {
        let place = Place::take(&self.shares, asker).map_err(|full| match full {
            Full::All => Counter::ProxyFull,
            Full::Share => Counter::ProxyHostFull,
        })?;
        // There are no more places than permits.
        let permit = self.open.try_acquire().map_err(|_| Counter::ProxyFull)?;
        let key = (asker, query.asked().clone());
        let mut same = self.same.borrow_mut();
        let count = same.entry(key.clone()).or_default();
        if *count >= MAX_SAME {
            return Err(Counter::ProxyFull);
        }
        *count += 1;
        Ok(Turn { key, same: &self.same, _permit: permit, _place: place })
    }
}

/// A question's room, until it is dropped.
struct Turn<'a> {
    key: (Asker, Asked),
    same: &'a RefCell<HashMap<(Asker, Asked), usize>>,
    _permit: SemaphorePermit<'a>,
    _place: Place<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut same = self.same.borrow_mut();
        if let Some(count) = same.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                same.remove(&self.key);
            }
        }
    }
}

/// An asker's place, until it is dropped.
pub(super) struct Place<'a> {
    shares: &'a RefCell<Shares>,
    asker: Asker,
}

impl<'a> Place<'a> {
    pub(super) fn take(shares: &'a RefCell<Shares>, asker: Asker) -> Result<Self, Full> {
        shares.borrow_mut().take(asker)?;
        Ok(Self { shares, asker })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shares.borrow_mut().give_back(self.asker);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use tokio::runtime::Builder;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::os::clock::Clock;
    use crate::os::nfqueue::Wake;
    use crate::os::proxy::OwnTraffic;
    use crate::os::proxy::servers::Servers;

    const SERVFAIL: u8 = 2;

    /// A server that only listens, and a proxy that asks it.
    fn proxy() -> (UdpSocket, Rc<Answers>, Arc<Counters>) {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let servers = Servers::new(vec![server.local_addr().expect("bound")], Vec::new());
        let upstream = Upstream::new(servers, Arc::<OwnTraffic>::default(), Clock::start());
        let (replies, _) = crossbeam_channel::bounded(1);
        let holding = Holding { replies, wake: Arc::new(Wake::new().expect("an eventfd")) };
        let counters = Arc::<Counters>::default();
        let policy = (Policy::default(), true);
        let answers = Answers::new(upstream, policy, holding, Arc::clone(&counters));
        (server, Rc::new(answers), counters)
    }

    fn query(name: &str) -> Vec<u8> {
        let label = [&[name.len() as u8], name.as_bytes()].concat();
        [&b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0"[..], &label, b"\0\0\x01\0\x01"].concat()
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, test);
    }

    /// Asks, and goes on before there is an answer.
    async fn ask(answers: &Rc<Answers>, name: &str) {
        ask_as(answers, Asker::Here, name).await;
    }

    async fn ask_as(answers: &Rc<Answers>, asker: Asker, name: &str) {
        let (answers, question) = (Rc::clone(answers), query(name));
        spawn_local(async move { answers.to(question, asker, Transport::Udp).await });
        yield_now().await;
    }

    fn host(last: u8) -> Asker {
        Asker::Host([192, 168, 0, last].into())
    }

    fn assert_refused(answer: Option<Vec<u8>>) {
        let answer = answer.expect("an answer at once");
        assert_eq!((answer[3] & 0x0f, &answer[..2]), (SERVFAIL, &b"\x12\x34"[..]));
    }

    #[test]
    fn a_question_in_circles_ends_and_others_go_on() {
        run(async {
            let (_server, answers, counters) = proxy();
            for _ in 0..MAX_SAME {
                ask(&answers, "Round").await;
            }
            assert_refused(answers.to(query("rOUND"), Asker::Here, Transport::Udp).await);
            assert_eq!(counters.value(Counter::ProxyFull), 1);
            ask(&answers, "other").await;
            ask_as(&answers, host(1), "round").await;
            assert_eq!(counters.value(Counter::ProxyQuestions), MAX_SAME as u64 + 2);
        });
    }

    #[test]
    fn no_more_questions_are_open_than_there_is_room_for() {
        run(async {
            let (_server, answers, counters) = proxy();
            for number in 0..MAX_OPEN / 2 {
                ask(&answers, &format!("n{number}")).await;
            }
            assert_refused(answers.to(query("more"), Asker::Here, Transport::Tcp).await);
            assert_eq!(counters.value(Counter::ProxyFull), 1);
        });
    }

    #[test]
    fn a_host_that_asks_too_much_silences_nobody() {
        run(async {
            let (_server, answers, counters) = proxy();
            for number in 0..MAX_OPEN / 4 {
                ask_as(&answers, host(1), &format!("n{number}")).await;
            }
            assert_refused(answers.to(query("more"), host(1), Transport::Udp).await);
            assert_eq!(counters.value(Counter::ProxyHostFull), 1);
            for asker in [host(2), Asker::Here] {
                ask_as(&answers, asker, "other").await;
            }
            assert_eq!(counters.value(Counter::ProxyQuestions), MAX_OPEN as u64 / 4 + 2);
            assert_eq!(counters.value(Counter::ProxyFull), 0);
        });
    }

    #[test]
    fn a_question_that_comes_at_the_end_is_left_to_the_next_proxy() {
        run(async {
            let (_server, answers, counters) = proxy();
            ask(&answers, "early").await;
            let ending = Rc::clone(&answers);
            let end = spawn_local(async move { ending.end().await });
            yield_now().await;
            assert_eq!(answers.to(query("late"), Asker::Here, Transport::Tcp).await, None);
            assert_eq!(counters.value(Counter::ProxyFull), 0);
            assert!(!end.is_finished(), "the early one is open");
        });
    }

    #[test]
    fn room_comes_back_and_who_holds_no_replies_any_more_lets_them_pass() {
        run(async {
            let (server, answers, counters) = proxy();
            server.set_nonblocking(true).expect("a socket");
            let server = tokio::net::UdpSocket::from_std(server).expect("a socket");
            for _ in 0..3 {
                let asked = spawn_local({
                    let answers = Rc::clone(&answers);
                    async move { answers.to(query("b"), Asker::Here, Transport::Udp).await }
                });
                let mut buffer = [0; 512];
                let (length, client): (usize, SocketAddr) =
                    server.recv_from(&mut buffer).await.expect("a question");
                // NODATA, which would wait for a NAT record.
                buffer[2] |= 0x80;
                server.send_to(&buffer[..length], client).await.expect("sent");
                let answer = asked.await.expect("no panic").expect("an answer");
                assert_eq!((&answer[..2], answer[3]), (&b"\x12\x34"[..], 0));
            }
            assert!(answers.same.borrow().is_empty());
            assert_eq!(answers.open.available_permits(), MAX_OPEN);
            assert_eq!(counters.value(Counter::ProxyNoAnswer), 0);
        });
    }
}
