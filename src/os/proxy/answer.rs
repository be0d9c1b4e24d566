//! From one client's question to its answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::upstream::{Replied, Transport, Upstream};
use super::{Holding, Ticket};
use crate::counters::{Counter, Counters};
use crate::dns::hold::{Reply, Server};
use crate::dns::query::{Asked, Query, Unfit};
use crate::dns::{Class, Policy, classify};

/// The most questions that are open.
pub(super) const MAX_OPEN: usize = 512;
/// The most of them that ask the same. More are a loop: a resolver that sends us what we ask it.
const MAX_SAME: usize = 100;
/// What a reply may grow to; if its client takes less, it is sent to TCP.
const NO_LIMIT: usize = 65_535;

/// Answers questions.
pub(super) struct Answers {
    upstream: Upstream,
    policy: Policy,
    holding: Holding,
    counters: Arc<Counters>,
    open: Semaphore,
    same: RefCell<HashMap<Asked, usize>>,
}

impl Answers {
    pub(super) fn new(
        upstream: Upstream,
        policy: Policy,
        holding: Holding,
        counters: Arc<Counters>,
    ) -> Self {
        let open = Semaphore::new(MAX_OPEN);
        Self { upstream, policy, holding, counters, open, same: RefCell::default() }
    }

    /// The answer to what a client sent; nothing if it is none of a client's.
    pub(super) async fn to(&self, octets: Vec<u8>, by: Transport) -> Option<Vec<u8>> {
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
        let Some(_turn) = self.turn(&query) else {
            self.counters.add(Counter::ProxyFull);
            return Some(query.server_failure());
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

    /// Once no question is open any more.
    pub(super) async fn all_given(&self) {
        let _ = self.open.acquire_many(MAX_OPEN as u32).await;
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
        // The channel has room for every open question.
        if self.holding.replies.try_send(waiting).is_ok() {
            self.holding.wake.wake();
        }
        decision.await.unwrap_or(reply)
    }

    /// Room for one more question, if there is.
    fn turn(&self, query: &Query) -> Option<Turn<'_>> {
        let permit = self.open.try_acquire().ok()?;
        let mut same = self.same.borrow_mut();
        let count = same.entry(query.asked().clone()).or_default();
        if *count >= MAX_SAME {
            return None;
        }
        *count += 1;
        Some(Turn { asked: query.asked().clone(), same: &self.same, _permit: permit })
    }
}

/// A question's room, until it is dropped.
struct Turn<'a> {
    asked: Asked,
    same: &'a RefCell<HashMap<Asked, usize>>,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut same = self.same.borrow_mut();
        if let Some(count) = same.get_mut(&self.asked) {
            *count -= 1;
            if *count == 0 {
                same.remove(&self.asked);
            }
        }
    }
}
