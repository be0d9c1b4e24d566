//! Receiving many packets with one system call.
#![allow(unsafe_code, reason = "recvmmsg has no safe wrapper in the crates we use")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::message::{self, CONFIG, HEADERS, Message, attribute};

/// Room for the largest packet and its attributes, in octets.
const SLOT: usize = 66 * 1024;

/// Where in the kernel's path a packet was queued (linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Just arrived.
    Prerouting,
    /// For this host.
    Input,
    /// Passing through.
    Forward,
    /// From this host.
    Output,
    /// About to leave.
    Postrouting,
    /// None of the above.
    Unknown,
}

/// A queued packet.
#[derive(Debug)]
pub struct Packet<'b> {
    /// Number for its verdict.
    pub id: u32,
    /// Where it was queued.
    pub hook: Hook,
    /// Packet mark.
    pub mark: u32,
    /// Index of the interface it came in through, 0 if none.
    pub interface: u32,
    /// Whether the kernel handed over less than all of it. Its payload must not be written back.
    pub truncated: bool,
    /// The packet from its IP header on.
    pub bytes: &'b mut [u8],
}

/// A message that brings no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPacket {
    /// The kernel's answer to the queue's configuration: an errno, or 0.
    Configured(i32),
    /// The kernel did not take a verdict.
    VerdictRefused,
    /// Nothing to speak of.
    Other,
}

/// Where a packet stands in its slot.
#[derive(Debug, Clone, Copy)]
struct Located {
    id: u32,
    hook: Hook,
    mark: u32,
    interface: u32,
    truncated: bool,
    start: usize,
    octets: usize,
}

/// Buffers for many packets. They are reused; only touched pages take memory.
pub struct Batch {
    buffer: Vec<u8>,
    lengths: Vec<usize>,
    /// For how many messages the next receive asks. Telling the kernel about a buffer costs time,
    /// also if it stays empty.
    asked: usize,
}

/// For how many messages a receive asks when few come.
const FEW: usize = 8;

impl Batch {
    /// Room for `packets`.
    pub fn new(packets: usize) -> Self {
        Self {
            buffer: vec![0; packets.max(1) * SLOT],
            lengths: Vec::with_capacity(packets),
            asked: FEW,
        }
    }

    /// How many messages were received.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether none was received.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Takes what is there, without waiting.
    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.lengths.clear();
        let mut slots: Vec<libc::iovec> = self
            .buffer
            .chunks_exact_mut(SLOT)
            .take(self.asked)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = slots.iter_mut().map(header).collect();
        // SAFETY: every header points to one iovec, every iovec to a slot of its own in `buffer`;
        // all of them outlive the call, and no name, control data or timeout is asked for.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        self.lengths.extend(headers[..received as usize].iter().map(|h| h.msg_len as usize));
        // There is no use in counting further than the buffer reaches: it ends the list above.
        self.asked = (2 * self.lengths.len()).max(FEW);
        Ok(())
    }

    /// The packets that were received, among other messages.
    pub fn packets(&mut self) -> impl Iterator<Item = Result<Packet<'_>, NoPacket>> {
        let slots = self.buffer.chunks_exact_mut(SLOT);
        self.lengths.iter().zip(slots).map(|(&octets, slot)| packet(&mut slot[..octets.min(SLOT)]))
    }
}

fn packet(message: &mut [u8]) -> Result<Packet<'_>, NoPacket> {
    let located = match message::parse(message) {
        Some(Message::Packet(rest)) => locate(rest).ok_or(NoPacket::Other)?,
        Some(Message::Answer { errno, about: CONFIG }) => {
            return Err(NoPacket::Configured(-errno));
        }
        Some(Message::Answer { .. }) => return Err(NoPacket::VerdictRefused),
        Some(Message::Other) | None => return Err(NoPacket::Other),
    };
    let Located { id, hook, mark, interface, truncated, start, octets } = located;
    Ok(Packet { id, hook, mark, interface, truncated, bytes: &mut message[start..start + octets] })
}

fn header(slot: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = slot;
    header.msg_hdr.msg_iovlen = 1;
    header
}

fn locate(attributes: &[u8]) -> Option<Located> {
    let be32 = |value: &[u8]| value.first_chunk().map(|word| u32::from_be_bytes(*word));
    let (mut id, mut hook, mut mark, mut full) = (None, Hook::Unknown, 0, None);
    let mut interface = 0;
    let mut payload = None;
    for (kind, offset, value) in message::attributes(attributes) {
        match kind {
            attribute::PACKET_HDR => {
                id = be32(value);
                hook = value.get(6).map_or(Hook::Unknown, |&hook| Hook::from_kernel(hook));
            }
            attribute::MARK => mark = be32(value)?,
            attribute::INDEV => interface = be32(value)?,
            attribute::CAP_LEN => full = be32(value),
            attribute::PAYLOAD => payload = Some((HEADERS + offset, value.len())),
            _ => {}
        }
    }
    let (start, octets) = payload?;
    let truncated = full.is_some_and(|full| full as usize != octets);
    Some(Located { id: id?, hook, mark, interface, truncated, start, octets })
}

impl Hook {
    fn from_kernel(hook: u8) -> Self {
        match hook {
            0 => Self::Prerouting,
            1 => Self::Input,
            2 => Self::Forward,
            3 => Self::Output,
            4 => Self::Postrouting,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// The octet that each received message consists of, receive by receive.
    fn receive(batch: &mut Batch, from: &UnixDatagram) -> Vec<u8> {
        match batch.fill(from.as_fd()) {
            Ok(()) => {
                let slots = batch.buffer.chunks_exact(SLOT).zip(&batch.lengths);
                slots.flat_map(|(slot, &octets)| slot[..octets].to_vec()).collect()
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                assert!(batch.is_empty(), "nothing is left of the receive before");
                Vec::new()
            }
        }
    }

    #[test]
    fn a_burst_is_received_in_ever_larger_parts_and_in_order() {
        let (ours, kernel_s) = UnixDatagram::pair().expect("two sockets");
        let mut batch = Batch::new(32);
        for burst in [1, 3, 100, 1, 0, 9, 100] {
            let sent: Vec<u8> = (0..burst).collect();
            let mut received = Vec::new();
            let mut sizes = Vec::new();
            let mut unsent = sent.chunks(1).peekable();
            kernel_s.set_nonblocking(true).expect("an option");
            loop {
                // The socket itself holds only some.
                while unsent.next_if(|octet| kernel_s.send(octet).is_ok()).is_some() {}
                let part = receive(&mut batch, &ours);
                if part.is_empty() {
                    break;
                }
                assert!(part.len() <= 32);
                sizes.push(part.len());
                received.extend(part);
            }
            assert_eq!(received, sent, "in parts of {sizes:?}");
            assert_eq!(burst == 100, sizes.iter().any(|&size| size > FEW), "{sizes:?}");
        }
    }
}
