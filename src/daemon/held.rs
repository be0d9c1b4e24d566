//! What natttd has of the kernel: queues, the tunnel port, settings, the control socket. What a new
//! configuration has in common with the old one is handed on, so that packets wait in a queue while
//! natttd changes, instead of being dropped; what is new is taken before anything is given up.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Config, Queues};
use crate::counters::Counters;
use crate::os::control::{GROUP, Server};
use crate::os::dnsqueue::DnsQueue;
use crate::os::nfqueue::{Options, Queue};
use crate::os::ports;
use crate::os::proxy::{self, Listening};
use crate::os::sysctl::{Changed, UDP_EARLY_DEMUX};

use super::Error;
use super::dns::{self, Handover};
use super::forwarding;
use super::lasting::Lasting;

/// Packets that the kernel holds for one data queue.
const DATA_QUEUE: Options = Options { max_len: 4096, fail_open: false };

/// All of it.
pub(super) struct Held {
    pub(super) data: Vec<Arc<Queue>>,
    pub(super) replies: Option<Arc<Replies>>,
    /// Where the DNS proxy listens.
    pub(super) listening: Vec<Arc<Listening>>,
    pub(super) server: Arc<Server>,
    tunnel_port: Option<Arc<TunnelPort>>,
    /// Settings of the kernel, put back when nobody wants them any more.
    settings: Vec<Arc<Changed>>,
}

/// The two queues of DNS replies.
pub(super) struct Replies {
    /// Replies that wait.
    pub(super) hold: Arc<Queue>,
    pub(super) handover: Arc<Handover>,
    counters: Arc<Counters>,
}

/// Sorters by the number of their queue. They cannot be ended (crate `nfq`); one that is not needed
/// passes everything on, until a configuration wants it again.
pub(super) type Sorters = Mutex<HashMap<u16, Arc<Handover>>>;

struct TunnelPort {
    port: u16,
    _socket: UdpSocket,
}

impl Held {
    /// Takes what `config` needs, and of that what it can from `before`, which keeps it.
    pub(super) fn take(
        config: &Config,
        before: Option<&Self>,
        lasting: &Lasting,
    ) -> Result<Self, Error> {
        let others = Others { before, sorters: &lasting.sorters };
        Ok(Self {
            server: server(config, before)?,
            data: config
                .queues
                .data()
                .map(|number| others.data(number))
                .collect::<Result<_, _>>()?,
            replies: match &config.client {
                Some(_) => Some(Arc::new(others.replies(config.queues, lasting)?)),
                None => None,
            },
            listening: listening(config, before)?,
            tunnel_port: tunnel_port(config, before)?,
            settings: settings(config, before)?,
        })
    }
}

/// Queues that are bound already.
struct Others<'a> {
    before: Option<&'a Held>,
    sorters: &'a Sorters,
}

impl Others<'_> {
    fn data(&self, number: u16) -> Result<Arc<Queue>, Error> {
        match self.data_queue(number) {
            Some(queue) => Ok(Arc::clone(queue)),
            None if self.is_hold(number) || self.is_sorter(number) => Err(self.overlap(number)),
            None => bind_queue(number, DATA_QUEUE),
        }
    }

    /// First the queue that replies are handed on to, then the one that hands them on.
    fn replies(&self, queues: Queues, lasting: &Lasting) -> Result<Replies, Error> {
        let (sorter, number) = (queues.dns(), queues.hold());
        let hold = match self.hold() {
            Some(hold) if hold.number() == number => Arc::clone(hold),
            _ if self.data_queue(number).is_some() || self.is_sorter(number) => {
                return Err(self.overlap(number));
            }
            _ => bind_queue(number, dns::HOLD_QUEUE)?,
        };
        if self.data_queue(sorter).is_some() || self.is_hold(sorter) {
            return Err(self.overlap(sorter));
        }
        let handover = handover(sorter, number, lasting)?;
        Ok(Replies { hold, handover, counters: Arc::clone(&lasting.counters) })
    }

    fn overlap(&self, number: u16) -> Error {
        let data = self.before.iter().flat_map(|before| &before.data).map(|queue| queue.number());
        let mut ours: Vec<_> = data.chain(self.hold().map(|hold| hold.number())).collect();
        ours.extend(self.sorters.lock().unwrap_or_else(PoisonError::into_inner).keys());
        Error::QueueOverlap(number, beside(&ours))
    }

    fn data_queue(&self, number: u16) -> Option<&Arc<Queue>> {
        self.before?.data.iter().find(|queue| queue.number() == number)
    }

    fn hold(&self) -> Option<&Arc<Queue>> {
        self.before?.replies.as_ref().map(|replies| &replies.hold)
    }

    fn is_hold(&self, number: u16) -> bool {
        self.hold().is_some_and(|hold| hold.number() == number)
    }

    fn is_sorter(&self, number: u16) -> bool {
        self.sorters.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&number)
    }
}

/// A `first` none of whose numbers is among these.
fn beside(numbers: &[u16]) -> u16 {
    let free = |first: &u16| {
        let others = *first..=first.saturating_add(Queues::LAST);
        !numbers.iter().any(|number| others.contains(number))
    };
    // Above all of them, where there is room.
    let above = numbers.iter().max().map_or(0, |last| last.saturating_add(1));
    (above..=u16::MAX - Queues::LAST).chain(0..above).find(free).unwrap_or_default()
}

/// That of the sorter of this queue, which is started if there is none.
fn handover(number: u16, hold: u16, lasting: &Lasting) -> Result<Arc<Handover>, Error> {
    let mut sorters = lasting.sorters.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handover) = sorters.get(&number) {
        return Ok(Arc::clone(handover));
    }
    let queue = DnsQueue::bind(number, hold).map_err(|e| Error::Queue(number, e))?;
    let handover = Arc::<Handover>::default();
    lasting.start_sorter(number, queue, Arc::clone(&handover))?;
    sorters.insert(number, Arc::clone(&handover));
    Ok(handover)
}

/// The kernel would drop what still waits when the queue is closed.
impl Drop for Replies {
    fn drop(&mut self) {
        // Held by another configuration, too: that goes on.
        if Arc::strong_count(&self.hold) == 1 {
            self.handover.close(&self.hold, &self.counters);
        }
    }
}

fn bind_queue(number: u16, options: Options) -> Result<Arc<Queue>, Error> {
    Queue::bind(number, options).map(Arc::new).map_err(|e| Error::Queue(number, e))
}

fn server(config: &Config, before: Option<&Held>) -> Result<Arc<Server>, Error> {
    let path = &config.daemon.control_socket;
    match before {
        Some(before) if before.server.path() == path => Ok(Arc::clone(&before.server)),
        _ => Server::bind(path, GROUP).map(Arc::new).map_err(Error::Control),
    }
}

fn listening(config: &Config, before: Option<&Held>) -> Result<Vec<Arc<Listening>>, Error> {
    let Some(client) = &config.client else { return Ok(Vec::new()) };
    let before = before.map_or(&[][..], |before| &before.listening);
    proxy::listen(&client.listen, &client.serve, before).map_err(Error::Proxy)
}

fn tunnel_port(config: &Config, before: Option<&Held>) -> Result<Option<Arc<TunnelPort>>, Error> {
    let Some(gateway) = &config.gateway else { return Ok(None) };
    let port = gateway.port;
    let same = before.and_then(|before| before.tunnel_port.as_ref()).filter(|p| p.port == port);
    let own = || {
        let socket = ports::own(port).map_err(|e| Error::TunnelPort(port, e))?;
        Ok(Arc::new(TunnelPort { port, _socket: socket }))
    };
    same.map_or_else(own, |same| Ok(Arc::clone(same))).map(Some)
}

/// What one configuration changed and the next one wants, too, is put back after both.
fn settings(config: &Config, before: Option<&Held>) -> Result<Vec<Arc<Changed>>, Error> {
    let mut wanted = forwarding::wanted(config.gateway.as_ref());
    // Second line of defence behind the owned outer ports (see `crate::os::ports`).
    wanted.extend(config.client.as_ref().map(|_| (UDP_EARLY_DEMUX.to_owned(), "0")));
    let mut settings = Vec::new();
    for (name, value) in wanted {
        let mut changed = before.iter().flat_map(|before| &before.settings);
        match changed.find(|changed| changed.name() == name) {
            Some(changed) => settings.push(Arc::clone(changed)),
            None => settings.extend(forwarding::set(&name, value)?.map(Arc::new)),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn other_queue_numbers_are_all_others(ours in prop::collection::vec(any::<u16>(), 0..100)) {
            let first = beside(&ours);
            let last = first.checked_add(Queues::LAST).expect("no number is too large");
            prop_assert!(ours.iter().all(|number| !(first..=last).contains(number)));
        }
    }

    #[test]
    fn there_is_room_below_the_highest() {
        assert_eq!(beside(&[26800, 26817]), 26818);
        assert_eq!(beside(&[65535]), 0);
        assert_eq!(beside(&[0, 65535]), 1);
    }
}
