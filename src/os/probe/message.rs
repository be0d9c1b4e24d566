//! What comes to the socket of a probe, with what the kernel says about it.
#![allow(unsafe_code, reason = "control messages and the error queue have no safe wrapper")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

/// Larger than any answer to a probe; what is cut off is no answer.
const DATAGRAM: usize = 10_240;
/// Room for control messages: an error with an address, the size of a fragment.
const CONTROL: usize = 256;

/// A datagram from somebody, or from the error queue the beginning of one that was sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) octets: Vec<u8>,
    /// Who sent it, or to whom it was sent.
    pub(super) from: SocketAddrV4,
    /// The largest of the fragments it came in, octets with the IPv4 header.
    pub(super) fragment: Option<u16>,
    /// What the error queue holds about it.
    pub(super) error: Option<Trouble>,
}

/// Why a datagram was not sent, or did not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An ICMP error.
    Icmp { by: Ipv4Addr, kind: u8, code: u8, info: u32 },
    /// It is larger than the interface's MTU, octets.
    Interface { mtu: u32 },
}

/// The next message, of the error queue or of the ordinary one. `WouldBlock`: there is none.
pub(super) fn receive(socket: &UdpSocket, errors: bool) -> io::Result<Message> {
    let mut octets = vec![0u8; DATAGRAM];
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    // SAFETY: plain data, for which zeros are an address of no family.
    let mut from: libc::sockaddr_in = unsafe { zeroed() };
    // SAFETY: plain data, for which zeros are no pointers and no lengths.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_DONTWAIT | if errors { libc::MSG_ERRQUEUE } else { 0 };
    // SAFETY: the message names buffers of these lengths, which live until the call returns.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let Ok(read) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
    octets.truncate(read);
    let (fragment, error) = notes(&message);
    let addr = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
    let from = SocketAddrV4::new(addr, u16::from_be(from.sin_port));
    Ok(Message { octets, from, fragment, error })
}

/// Control messages have the alignment of their header.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// ip(7): IP_RECVFRAGSIZE and IP_RECVERR.
fn notes(message: &libc::msghdr) -> (Option<u16>, Option<Trouble>) {
    let (mut fragment, mut error) = (None, None);
    // SAFETY: the kernel has filled in the message, whose control buffer is alive; the macros stay
    // inside the length that it wrote.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a whole header in that buffer.
    while let Some(found) = unsafe { header.as_ref() } {
        if found.cmsg_level == libc::IPPROTO_IP && found.cmsg_type == libc::IP_RECVFRAGSIZE {
            fragment = read::<libc::c_int>(found).and_then(|size| u16::try_from(size).ok());
        }
        if found.cmsg_level == libc::IPPROTO_IP && found.cmsg_type == libc::IP_RECVERR {
            error = read::<Extended>(found).and_then(trouble);
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    (fragment, error)
}

/// An error and behind it who reported it (SO_EE_OFFENDER).
#[repr(C)]
struct Extended {
    error: libc::sock_extended_err,
    offender: libc::sockaddr_in,
}

fn trouble(Extended { error, offender }: Extended) -> Option<Trouble> {
    let by = Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr));
    let too_long = error.ee_errno == libc::EMSGSIZE as u32;
    match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => {
            let (kind, code, info) = (error.ee_type, error.ee_code, error.ee_info);
            Some(Trouble::Icmp { by, kind, code, info })
        }
        libc::SO_EE_ORIGIN_LOCAL if too_long => Some(Trouble::Interface { mtu: error.ee_info }),
        _ => None,
    }
}

/// What a control message holds, if it is long enough.
fn read<T>(header: &libc::cmsghdr) -> Option<T> {
    // SAFETY: CMSG_LEN only computes.
    let least = unsafe { libc::CMSG_LEN(size_of::<T>() as u32) };
    // SAFETY: so many octets follow the header; the kernel wrote a T of integers there, which need
    // not be aligned.
    (header.cmsg_len as u64 >= u64::from(least))
        .then(|| unsafe { libc::CMSG_DATA(header).cast::<T>().read_unaligned() })
}
