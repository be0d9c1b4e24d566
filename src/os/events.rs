//! The kernel's word that something changed: links, addresses and routes, or firewall tables.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::netlink::Socket;

/// Groups of rtnetlink: links, IPv4 addresses, routes and rules (linux/rtnetlink.h; rules by their
/// number, 8).
const ROUTING: u32 = 0x1 | 0x10 | 0x40 | 1 << 7;
/// Group of nfnetlink: changes of nf_tables (linux/netfilter/nfnetlink.h, group 7).
const FIREWALL: u32 = 1 << 6;

/// A subscription. What changed is not read: the reader looks at the state itself.
pub struct Events(Socket);

impl Events {
    /// Changes of links, addresses, routes and the rules that choose between tables of them.
    pub fn routing() -> io::Result<Self> {
        Self::subscribe(mnl::Bus::Route, ROUTING)
    }

    /// Changes of nf_tables, those made through iptables-nft included.
    pub fn firewall() -> io::Result<Self> {
        Self::subscribe(mnl::Bus::Netfilter, FIREWALL)
    }

    fn subscribe(bus: mnl::Bus, groups: u32) -> io::Result<Self> {
        let socket = mnl::Socket::open(bus)?;
        socket.bind(groups, 0)?;
        Ok(Self(Socket(socket)))
    }

    /// Whether anything changed since the last call. Lost messages count as a change.
    pub fn any(&self) -> bool {
        let mut buffer = [0; 8192];
        let mut any = false;
        loop {
            match recv(self.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS) => any = true,
                Err(Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
