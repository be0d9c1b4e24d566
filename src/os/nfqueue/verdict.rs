//! Many verdicts with one system call; payloads are gathered from where they are.
#![allow(unsafe_code, reason = "the gathering sendmsg is at the kernel boundary")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::{self, ATTRIBUTE, HEADERS, MSG_VERDICT, NLM_F_REQUEST, attribute};

/// Octets of nfqnl_msg_verdict_hdr.
const VERDICT_HDR: usize = 8;

/// What the kernel shall do (linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Discard it.
    Drop,
    /// Pass it on to the next hook.
    Accept,
    /// Pass it through the same chain again.
    Repeat,
}

impl Action {
    fn to_kernel(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Repeat => 4,
        }
    }
}

/// Verdicts that wait to be sent. They borrow the payloads.
#[derive(Default)]
pub struct Verdicts<'p> {
    /// Headers and small parts, one after the other.
    arena: Vec<u8>,
    parts: Vec<Part<'p>>,
    octets: usize,
}

enum Part<'p> {
    /// The next so many octets of the arena.
    Arena(usize),
    Payload(&'p [u8]),
}

impl<'p> Verdicts<'p> {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Forgets what was sent.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.parts.clear();
        self.octets = 0;
    }

    /// Octets to send.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// A verdict on the packet as it came.
    pub fn plain(&mut self, queue: u16, id: u32, action: Action) {
        let octets = HEADERS + ATTRIBUTE + VERDICT_HDR;
        let start = self.arena.len();
        self.put_start(queue, id, action, octets);
        self.push_arena(start);
    }

    /// A verdict with new bytes, `front` followed by `body`, and a packet mark.
    pub fn rewritten(
        &mut self,
        queue: u16,
        id: u32,
        action: Action,
        mark: Option<u32>,
        front: &[u8],
        body: &'p [u8],
    ) {
        let payload = front.len() + body.len();
        let mark_octets = mark.map_or(0, |_| ATTRIBUTE + 4);
        let octets = HEADERS + ATTRIBUTE + VERDICT_HDR + mark_octets + ATTRIBUTE + payload;
        let start = self.arena.len();
        self.put_start(queue, id, action, octets);
        if let Some(mark) = mark {
            message::put_attribute(&mut self.arena, attribute::MARK, 4);
            self.arena.extend(mark.to_be_bytes());
        }
        message::put_attribute(&mut self.arena, attribute::PAYLOAD, payload);
        self.arena.extend(front);
        self.push_arena(start);
        self.parts.push(Part::Payload(body));
        self.octets += body.len();
        let padding = message::align(octets) - octets;
        if padding > 0 {
            let start = self.arena.len();
            self.arena.extend(&[0; 3][..padding]);
            self.push_arena(start);
        }
    }

    fn put_start(&mut self, queue: u16, id: u32, action: Action, octets: usize) {
        message::put_header(&mut self.arena, octets, MSG_VERDICT, NLM_F_REQUEST, queue);
        message::put_attribute(&mut self.arena, attribute::VERDICT_HDR, VERDICT_HDR);
        self.arena.extend(action.to_kernel().to_be_bytes());
        self.arena.extend(id.to_be_bytes());
    }

    fn push_arena(&mut self, start: usize) {
        let octets = self.arena.len() - start;
        self.octets += octets;
        match self.parts.last_mut() {
            Some(Part::Arena(last)) => *last += octets,
            _ => self.parts.push(Part::Arena(octets)),
        }
    }

    pub(super) fn send(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut parts = self.gather();
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        loop {
            // SAFETY: `header` points to `parts`, whose entries point into `self.arena` and the
            // borrowed payloads; all outlive the call, and the kernel only reads them.
            if unsafe { libc::sendmsg(fd.as_raw_fd(), &header, 0) } >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn gather(&self) -> Vec<libc::iovec> {
        let mut arena = &self.arena[..];
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let bytes = match part {
                Part::Payload(bytes) => bytes,
                Part::Arena(octets) => {
                    let (bytes, rest) = arena.split_at(*octets);
                    arena = rest;
                    bytes
                }
            };
            parts.push(libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            });
        }
        parts
    }

    /// All octets in one piece.
    #[cfg(test)]
    fn concat(&self) -> Vec<u8> {
        let mut arena = &self.arena[..];
        let mut all = Vec::new();
        for part in &self.parts {
            match part {
                Part::Payload(bytes) => all.extend(*bytes),
                Part::Arena(octets) => {
                    let (bytes, rest) = arena.split_at(*octets);
                    arena = rest;
                    all.extend(bytes);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_are_whole_and_aligned(
            verdicts in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..90), prop::option::of(any::<u32>())), 1..6),
        ) {
            let mut batch = Verdicts::default();
            for (id, body, mark) in &verdicts {
                batch.rewritten(7, *id, Action::Accept, *mark, b"front", body);
                batch.plain(7, *id, Action::Drop);
            }
            let all = batch.concat();
            prop_assert_eq!(all.len(), batch.octets());
            let mut rest = &all[..];
            for (id, body, mark) in &verdicts {
                let octets = u32::from_ne_bytes(rest[..4].try_into().expect("four")) as usize;
                let found: Vec<_> = message::attributes(&rest[HEADERS..octets]).collect();
                prop_assert_eq!(&found[0].2[4..], id.to_be_bytes());
                let (kind, _, payload) = found[found.len() - 1];
                prop_assert_eq!(kind, attribute::PAYLOAD);
                prop_assert_eq!(payload, [&b"front"[..], body].concat());
                prop_assert_eq!(found.len(), 2 + usize::from(mark.is_some()));
                rest = &rest[message::align(octets)..];
                let octets = u32::from_ne_bytes(rest[..4].try_into().expect("four")) as usize;
                rest = &rest[octets..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
