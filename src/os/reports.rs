//! ICMP errors of this host's own.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

/// So many a second leave (RFC 1812 §4.3.2.8), whoever sends what too large; the kernel does not count those of
/// a raw socket among its own.
const A_SECOND: u32 = 100;

/// Sends them, through one socket.
#[derive(Debug, Default)]
pub(super) struct Reporter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    socket: Option<OwnedFd>,
    rate: Rate,
}

/// How many have left since when.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    sent: u32,
}

impl Reporter {
    /// Sends a whole packet, whose source the kernel fills in (raw(7); needs CAP_NET_RAW), unless too many
    /// have left just now.
    pub(super) fn send(&self, to: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.rate.allows(Instant::now()) {
            return Ok(());
        }
        let socket = match &state.socket {
            Some(socket) => socket,
            None => {
                let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
                state.socket.insert(raw)
            }
        };
        sendto(socket, packet, SendFlags::DONTWAIT, &SocketAddrV4::new(to, 0))?;
        Ok(())
    }
}

impl Rate {
    fn allows(&mut self, now: Instant) -> bool {
        let is_over = |since| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if self.since.is_none_or(is_over) {
            *self = Self { since: Some(now), sent: 0 };
        }
        self.sent += 1;
        self.sent <= A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_hundred_leave_in_a_second() {
        let (mut rate, began) = (Rate::default(), Instant::now());
        let allowed = |rate: &mut Rate, at| (0..500).filter(|_| rate.allows(at)).count();
        assert_eq!(allowed(&mut rate, began), 100);
        assert_eq!(allowed(&mut rate, began + Duration::from_millis(999)), 0);
        assert_eq!(allowed(&mut rate, began + Duration::from_secs(1)), 100);
    }
}
