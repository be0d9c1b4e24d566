//! Many verdicts with one system call; payloads are gathered from where they are.
#![allow(unsafe_code, reason = "the gathering sendmsg is at the kernel boundary")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::wire::outer::MAX_DATAGRAM;

use super::message::{self, ATTRIBUTE, HEADERS, attribute};

/// Octets of nfqnl_msg_verdict_hdr.
const VERDICT_HDR: usize = 8;
/// The 16-bit length of an attribute counts its own header.
const _: () = assert!(ATTRIBUTE + MAX_DATAGRAM == u16::MAX as usize);
/// Parts per system call; the kernel refuses more than 1,024 (UIO_MAXIOV).
const CHUNK_PARTS: usize = 1000;
/// Octets per system call, well below the send buffer.
const CHUNK_OCTETS: usize = 512 << 10;
/// Parts that one verdict may add: what stands before its payload, the payload, padding.
const MESSAGE_PARTS: usize = 3;

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
    /// What is sent together, in order.
    chunks: Vec<Chunk>,
}

/// Whole verdicts that one system call sends.
#[derive(Default)]
struct Chunk {
    parts: usize,
    octets: usize,
    verdicts: u64,
}

impl Chunk {
    fn has_room(&self, octets: usize) -> bool {
        self.parts + MESSAGE_PARTS <= CHUNK_PARTS && self.octets + octets <= CHUNK_OCTETS
    }
}

enum Part<'p> {
    /// The next so many octets of the arena.
    Arena(usize),
    Payload(&'p [u8]),
}

impl<'p> Verdicts<'p> {
    /// A verdict on the packet as it came.
    pub fn plain(&mut self, queue: u16, id: u32, action: Action) {
        let octets = HEADERS + ATTRIBUTE + VERDICT_HDR;
        let start = self.arena.len();
        self.put_start(queue, id, action, octets);
        self.push_arena(start);
    }

    /// A verdict with new bytes, `front` followed by `body`, and a packet mark.
    ///
    /// Bytes longer than [`MAX_DATAGRAM`] cannot be told to the kernel: then the packet is dropped,
    /// and the result is false.
    pub fn rewritten(
        &mut self,
        queue: u16,
        id: u32,
        action: Action,
        mark: Option<u32>,
        front: &[u8],
        body: &'p [u8],
    ) -> bool {
        let payload = front.len() + body.len();
        if payload > MAX_DATAGRAM {
            self.plain(queue, id, Action::Drop);
            return false;
        }
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
        self.push(Part::Payload(body), body.len());
        let padding = message::align(octets) - octets;
        if padding > 0 {
            let start = self.arena.len();
            self.arena.extend(&[0; 3][..padding]);
            self.push_arena(start);
        }
        true
    }

    /// Begins a verdict of `octets`, in a chunk that has room for it.
    fn put_start(&mut self, queue: u16, id: u32, action: Action, octets: usize) {
        if !self.chunks.last().is_some_and(|chunk| chunk.has_room(message::align(octets))) {
            self.chunks.push(Chunk::default());
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.verdicts += 1;
        }
        message::put_verdict(&mut self.arena, octets, queue);
        message::put_attribute(&mut self.arena, attribute::VERDICT_HDR, VERDICT_HDR);
        self.arena.extend(action.to_kernel().to_be_bytes());
        self.arena.extend(id.to_be_bytes());
    }

    /// What the arena holds from `start` on. It continues the last part, but never that of another
    /// chunk.
    fn push_arena(&mut self, start: usize) {
        let octets = self.arena.len() - start;
        let chunk = self.chunks.last_mut().filter(|chunk| chunk.parts > 0);
        match (chunk, self.parts.last_mut()) {
            (Some(chunk), Some(Part::Arena(last))) => {
                *last += octets;
                chunk.octets += octets;
            }
            _ => self.push(Part::Arena(octets), octets),
        }
    }

    fn push(&mut self, part: Part<'p>, octets: usize) {
        self.parts.push(part);
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.parts += 1;
            chunk.octets += octets;
        }
    }

    /// Sends everything, as many system calls as that takes, and says how many verdicts the kernel
    /// did not take. One chunk that is refused does not keep the others back.
    pub(super) fn send(&self, fd: BorrowedFd<'_>) -> u64 {
        let mut parts = &mut self.gather()[..];
        let mut refused = 0;
        for chunk in &self.chunks {
            let (now, later) = parts.split_at_mut(chunk.parts);
            parts = later;
            if let Err(error) = send(fd, now) {
                log::debug!("{} verdicts not sent: {error}", chunk.verdicts);
                refused += chunk.verdicts;
            }
        }
        refused
    }

    fn gather(&self) -> Vec<libc::iovec> {
        self.slices().map(iovec).collect()
    }

    /// The parts, in order.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut arena = &self.arena[..];
        self.parts.iter().map(move |part| match part {
            Part::Payload(bytes) => *bytes,
            Part::Arena(octets) => {
                let (bytes, rest) = arena.split_at(*octets);
                arena = rest;
                bytes
            }
        })
    }
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Sends one chunk, whole or not at all. The entries of `parts` must point to live octets.
fn send(fd: BorrowedFd<'_>, parts: &mut [libc::iovec]) -> io::Result<()> {
    // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    loop {
        // SAFETY: `header` points to `parts`, whose entries point into the arena and the borrowed
        // payloads of the `Verdicts` that gathered them; all outlive the call, and the kernel only
        // reads them.
        if unsafe { libc::sendmsg(fd.as_raw_fd(), &header, 0) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    /// All octets in one piece.
    fn concat(batch: &Verdicts<'_>) -> Vec<u8> {
        batch.slices().flatten().copied().collect()
    }

    /// What one datagram of `socket` holds, as long as the whole messages in it.
    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut datagram = vec![0xa5; 2 * CHUNK_OCTETS];
        let octets = socket.recv(&mut datagram).expect("a datagram");
        datagram.truncate(octets);
        datagram
    }

    /// How many messages stand in `bytes`, all of them whole.
    fn messages(mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some(length) = bytes.first_chunk() {
            let octets = u32::from_ne_bytes(*length) as usize;
            bytes = &bytes[message::align(octets)..];
            count += 1;
        }
        assert!(bytes.is_empty());
        count
    }

    /// Sends over a socket pair whose other end reads along; the datagrams.
    fn sent(batch: &Verdicts<'_>) -> Vec<Vec<u8>> {
        let (near, far) = UnixDatagram::pair().expect("a socket pair");
        rustix::net::sockopt::set_socket_send_buffer_size(&near, 4 * CHUNK_OCTETS).expect("set");
        std::thread::scope(|scope| {
            let chunks = batch.chunks.len();
            let reader = scope.spawn(move || (0..chunks).map(|_| received(&far)).collect());
            assert_eq!(batch.send(near.as_fd()), 0);
            reader.join().expect("it reads all")
        })
    }

    #[test]
    fn more_parts_than_one_system_call_takes_go_out_in_several() {
        let body = vec![1u8; 61];
        let mut batch = Verdicts::default();
        for id in 0..2048 {
            assert!(batch.rewritten(7, id, Action::Accept, None, &[], &body));
        }
        let datagrams = sent(&batch);
        assert!(datagrams.len() > 1);
        assert_eq!(datagrams.iter().map(|datagram| messages(datagram)).sum::<usize>(), 2048);
        assert_eq!(datagrams.concat(), concat(&batch));
    }

    #[test]
    fn verdicts_that_are_not_taken_are_counted() {
        let (near, far) = UnixDatagram::pair().expect("a socket pair");
        drop(far);
        let mut batch = Verdicts::default();
        for id in 0..700 {
            batch.rewritten(7, id, Action::Accept, None, &[], b"body");
        }
        assert!(batch.chunks.len() > 1);
        assert_eq!(batch.send(near.as_fd()), 700);
    }

    #[test]
    fn what_no_attribute_can_hold_is_dropped() {
        let body = vec![0u8; MAX_DATAGRAM - 28 + 1];
        let mut batch = Verdicts::default();
        assert!(batch.rewritten(7, 1, Action::Accept, None, &[0; 28], &body[1..]));
        let all = concat(&batch);
        let found: Vec<_> = message::attributes(&all[HEADERS..]).collect();
        assert_eq!(
            found.last().map(|(kind, _, value)| (*kind, value.len())),
            Some((attribute::PAYLOAD, MAX_DATAGRAM))
        );
        let mut batch = Verdicts::default();
        assert!(!batch.rewritten(7, 1, Action::Accept, Some(9), &[0; 28], &body));
        let mut drop = Verdicts::default();
        drop.plain(7, 1, Action::Drop);
        assert_eq!(concat(&batch), concat(&drop));
    }

    proptest! {
        #[test]
        fn chunks_hold_whole_messages_within_the_limits(
            bodies in prop_oneof![
                prop::collection::vec(0usize..200, 0..700),
                prop::collection::vec(0usize..=MAX_DATAGRAM, 0..20),
            ],
        ) {
            let bytes = vec![0; MAX_DATAGRAM];
            let mut batch = Verdicts::default();
            for (id, octets) in bodies.iter().enumerate() {
                match octets % 5 {
                    0 => batch.plain(7, id as u32, Action::Drop),
                    _ => drop(batch.rewritten(7, id as u32, Action::Accept, None, &[], &bytes[..*octets])),
                }
            }
            let mut slices = batch.slices();
            let (mut verdicts, mut octets) = (0, 0);
            for chunk in &batch.chunks {
                let bytes: Vec<u8> = slices.by_ref().take(chunk.parts).flatten().copied().collect();
                prop_assert!(chunk.parts <= CHUNK_PARTS && bytes.len() <= CHUNK_OCTETS);
                prop_assert_eq!(bytes.len(), chunk.octets);
                prop_assert_eq!(messages(&bytes) as u64, chunk.verdicts);
                (verdicts, octets) = (verdicts + messages(&bytes), octets + bytes.len());
            }
            prop_assert_eq!((verdicts, octets), (bodies.len(), concat(&batch).len()));
        }

        #[test]
        fn messages_are_whole_and_aligned(
            verdicts in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..90), prop::option::of(any::<u32>())), 1..6),
        ) {
            let mut batch = Verdicts::default();
            for (id, body, mark) in &verdicts {
                batch.rewritten(7, *id, Action::Accept, *mark, b"front", body);
                batch.plain(7, *id, Action::Drop);
            }
            let all = concat(&batch);
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
