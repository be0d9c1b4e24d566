//! The queue of DNS replies, served by crate `nfq`: rates are human here.

use std::io;

use nfq::{Message, Verdict};

/// What to do with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sorted {
    /// Pass it on as it came.
    Pass,
    /// Hand it to the queue of replies that wait.
    Hold,
}

/// The queue of DNS replies. A full queue passes packets on: names must resolve in any case.
pub struct DnsQueue {
    queue: nfq::Queue,
    hold: u16,
}

impl DnsQueue {
    /// Binds queue `number`; replies that wait go on to queue `hold`.
    pub fn bind(number: u16, hold: u16) -> io::Result<Self> {
        let mut queue = nfq::Queue::open()?;
        queue.bind(number)?;
        queue.set_fail_open(number, true)?;
        Ok(Self { queue, hold })
    }

    /// Waits for one reply and does with it what `sort` says. A reply that the kernel handed over
    /// shortened is passed on.
    pub fn serve(&mut self, sort: impl FnOnce(&[u8]) -> Sorted) -> io::Result<()> {
        let mut message = self.queue.recv()?;
        let sorted = match is_whole(&message) {
            true => sort(message.get_payload()),
            false => Sorted::Pass,
        };
        message.set_verdict(match sorted {
            Sorted::Pass => Verdict::Accept,
            Sorted::Hold => Verdict::Queue(self.hold),
        });
        self.queue.verdict(message)
    }
}

fn is_whole(message: &Message) -> bool {
    message.get_original_len() == message.get_payload().len()
}
