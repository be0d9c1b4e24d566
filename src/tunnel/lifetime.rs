//! How long a flow lives: NAT timers by RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5508 (ICMP).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::saved::SavedLife;
use crate::time::Time;
use crate::wire::datagram::Transport;

/// TCP, both sides have spoken: 2 h 4 min (RFC 5382 REQ-5).
pub const TCP_ESTABLISHED: Duration = Duration::from_secs(2 * 3600 + 4 * 60);
/// TCP, opening or closing: 4 min (RFC 5382 REQ-5).
pub const TCP_TRANSITORY: Duration = Duration::from_secs(4 * 60);
/// UDP: 5 min (RFC 4787 REQ-5c).
pub const UDP: Duration = Duration::from_secs(5 * 60);
/// UDP that nobody has answered: the least that RFC 4787 REQ-5 allows, 2 min.
pub const UDP_UNANSWERED: Duration = Duration::from_secs(2 * 60);
/// SCTP, DCCP, UDP-Lite and protocols without ports, answered: less than Linux remembers them
/// (nf_conntrack: UDP-Lite 120 s, GRE 180 s, SCTP 210 s), because nft 1.0.6 cannot make it remember
/// them longer, and a gateway must not forget later than conntrack. SCTP has heartbeats every 30 s
/// (RFC 9260 §16).
pub const OTHER: Duration = Duration::from_secs(110);
/// The same, not answered: Linux remembers UDP-Lite and GRE for 30 s.
pub const OTHER_UNANSWERED: Duration = Duration::from_secs(25);
/// Where room is scarce, a TCP connection that is over: long enough for a last segment that was lost.
pub const SCARCE_OVER: Duration = Duration::from_secs(2);
/// Where room is scarce, what nobody has answered: its first packet has been sent again a few times.
pub const SCARCE_UNANSWERED: Duration = Duration::from_secs(30);
/// Where room is scarce, UDP: the least that RFC 4787 REQ-5 allows.
pub const SCARCE_UDP: Duration = UDP_UNANSWERED;
/// ICMP queries: 60 s (RFC 5508 REQ-2).
pub const ICMP_QUERY: Duration = Duration::from_secs(60);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

const ANSWERED: u8 = 0x01;
const ESTABLISHED: u8 = 0x02;
const FIN_FORWARD: u8 = 0x04;
const FIN_REVERSE: u8 = 0x08;
const RESET: u8 = 0x10;

/// Which way a packet of a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the one who opened the flow.
    Forward,
    /// Back to it.
    Reverse,
}

/// When a flow was last used, and in which state it is. Shared by workers.
#[derive(Debug)]
pub struct Lifetime {
    last_used: AtomicU64,
    state: AtomicU8,
}

impl Lifetime {
    /// A flow that begins now.
    pub fn new(now: Time) -> Self {
        Self { last_used: AtomicU64::new(now.as_millis()), state: AtomicU8::new(0) }
    }

    /// A flow of an earlier run. `slack`: how old what was saved may be.
    pub(super) fn restored(saved: SavedLife, slack: Duration, now: Time) -> Self {
        let last_used = (saved.last_used + slack).min(now);
        Self { last_used: AtomicU64::new(last_used.as_millis()), state: AtomicU8::new(saved.state) }
    }

    /// What to save.
    pub(super) fn saved(&self) -> SavedLife {
        SavedLife { state: self.state.load(Relaxed), last_used: self.last_used() }
    }

    /// Notes a packet. Both directions refresh (RFC 4787 REQ-6 demands the outbound one).
    pub fn note(&self, transport: Transport, direction: Direction, now: Time) {
        if self.last_used.load(Relaxed) < now.as_millis() {
            self.last_used.fetch_max(now.as_millis(), Relaxed);
        }
        let state = self.state.load(Relaxed);
        let next = after(state, transport, direction);
        if next != state {
            self.transition(transport, direction);
        }
    }

    /// Two workers may see the two ends of a handshake at once: neither may lose the other's bit.
    fn transition(&self, transport: Transport, direction: Direction) {
        let step = |state| Some(after(state, transport, direction));
        // `fetch_update` fails only where the closure returns `None`, which this one never does.
        let _ = self.state.fetch_update(Relaxed, Relaxed, step);
    }

    /// Whether the other side has ever answered.
    pub fn answered(&self) -> bool {
        self.state.load(Relaxed) & ANSWERED != 0
    }

    /// When it was last used.
    pub fn last_used(&self) -> Time {
        Time::from_millis(self.last_used.load(Relaxed))
    }

    /// When it ends if nothing more is seen.
    pub fn expires(&self, transport: Transport) -> Time {
        self.last_used() + timeout(self.state.load(Relaxed), transport)
    }

    /// When it ends where room is scarce: what is over, or has never been answered, makes room for what
    /// begins. A connection that stands ends no sooner.
    pub fn expires_if_scarce(&self, transport: Transport) -> Time {
        let state = self.state.load(Relaxed);
        let scarce = match transport {
            Transport::Tcp(_) if closing(state) => SCARCE_OVER,
            _ if state & ANSWERED == 0 => SCARCE_UNANSWERED,
            Transport::Udp => SCARCE_UDP,
            _ => return self.expires(transport),
        };
        self.last_used() + scarce.min(timeout(state, transport))
    }

    /// Whether one side may still send something of it. The reset of a connection that stood may have reached
    /// one side only, or have been refused (RFC 5961 §3.2). What was only ever answered by a reset never was a
    /// connection: somebody may have forged it.
    pub fn may_speak(&self, transport: Transport) -> bool {
        let state = self.state.load(Relaxed);
        match transport {
            Transport::Tcp(_) if state & RESET != 0 => state & ESTABLISHED != 0,
            Transport::Tcp(_) => !closing(state),
            _ => true,
        }
    }

    /// Whether it is a TCP connection that both sides have opened, and neither reset or both closed.
    pub fn stands(&self, transport: Transport) -> bool {
        let state = self.state.load(Relaxed);
        matches!(transport, Transport::Tcp(_)) && state & ESTABLISHED != 0 && !closing(state)
    }

    /// The state, in a word for people.
    pub fn state(&self, transport: Transport) -> &'static str {
        let state = self.state.load(Relaxed);
        match transport {
            Transport::Tcp(_) if closing(state) => "closing",
            Transport::Tcp(_) if state & ESTABLISHED != 0 => "established",
            Transport::Tcp(_) => "opening",
            _ if state & ANSWERED != 0 => "answered",
            _ => "unanswered",
        }
    }
}

fn after(state: u8, transport: Transport, direction: Direction) -> u8 {
    let mut next = state;
    if direction == Direction::Reverse {
        next |= ANSWERED;
    }
    let Transport::Tcp(flags) = transport else { return next };
    if flags & SYN != 0 && direction == Direction::Forward && closing(state) {
        // The endpoints are used again for a new connection.
        return 0;
    }
    if flags & (SYN | RST) == 0
        && state & (ANSWERED | RESET) == ANSWERED
        && direction == Direction::Forward
    {
        next |= ESTABLISHED;
    }
    if flags & FIN != 0 {
        next |= if direction == Direction::Forward { FIN_FORWARD } else { FIN_REVERSE };
    }
    if flags & RST != 0 {
        next |= RESET;
    }
    next
}

/// One FIN leaves the connection half open, and it may stay so for hours (RFC 5382 §5).
fn closing(state: u8) -> bool {
    state & RESET != 0 || state & (FIN_FORWARD | FIN_REVERSE) == FIN_FORWARD | FIN_REVERSE
}

fn timeout(state: u8, transport: Transport) -> Duration {
    match transport {
        Transport::Tcp(_) if state & ESTABLISHED != 0 && !closing(state) => TCP_ESTABLISHED,
        Transport::Tcp(_) => TCP_TRANSITORY,
        Transport::IcmpQuery | Transport::IcmpAnswer | Transport::IcmpError => ICMP_QUERY,
        Transport::Udp if state & ANSWERED != 0 => UDP,
        Transport::Udp => UDP_UNANSWERED,
        Transport::UdpLike | Transport::Sctp | Transport::Other if state & ANSWERED != 0 => OTHER,
        Transport::UdpLike | Transport::Sctp | Transport::Other => OTHER_UNANSWERED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Forward, Reverse};

    const START: Time = Time::from_millis(1_000_000);
    const ACK: u8 = 0x10;

    fn tcp(packets: &[(u8, Direction)]) -> Duration {
        let lifetime = Lifetime::new(START);
        for &(flags, direction) in packets {
            lifetime.note(Transport::Tcp(flags), direction, START);
        }
        lifetime.expires(Transport::Tcp(0)).since(START)
    }

    #[test]
    fn rfc_5382_req_5() {
        let opened = [(SYN, Forward), (SYN | ACK, Reverse), (ACK, Forward)];
        assert_eq!(tcp(&opened[..1]), TCP_TRANSITORY);
        assert_eq!(tcp(&opened[..2]), TCP_TRANSITORY);
        assert_eq!(tcp(&opened), TCP_ESTABLISHED);
        let half_closed = [&opened[..], &[(FIN | ACK, Forward)]].concat();
        assert_eq!(tcp(&half_closed), TCP_ESTABLISHED);
        assert_eq!(tcp(&[&half_closed[..], &[(FIN | ACK, Reverse)]].concat()), TCP_TRANSITORY);
        let reset = [&opened[..], &[(RST, Reverse)]].concat();
        assert_eq!(tcp(&reset), TCP_TRANSITORY);
        assert_eq!(tcp(&[&reset[..], &opened[..]].concat()), TCP_ESTABLISHED);
    }

    #[test]
    fn a_connection_stands_from_its_first_data_to_its_end() {
        let stands = |packets: &[(u8, Direction)]| {
            let lifetime = Lifetime::new(START);
            for &(flags, direction) in packets {
                lifetime.note(Transport::Tcp(flags), direction, START);
            }
            lifetime.stands(Transport::Tcp(0))
        };
        let opened = [(SYN, Forward), (SYN | ACK, Reverse), (ACK, Forward)];
        assert!(!stands(&opened[..2]) && stands(&opened));
        assert!(stands(&[&opened[..], &[(FIN | ACK, Reverse)]].concat()));
        assert!(!stands(&[&opened[..], &[(FIN, Reverse), (FIN, Forward)]].concat()));
        assert!(!stands(&[(ACK, Forward), (RST, Reverse), (ACK, Forward)]));
        let lifetime = Lifetime::new(START);
        lifetime.note(Transport::Udp, Reverse, START);
        lifetime.note(Transport::Udp, Forward, START);
        assert!(!lifetime.stands(Transport::Udp));
    }

    /// Whoever forges packets of a connection gets resets for it.
    #[test]
    fn what_only_a_reset_has_answered_does_not_speak() {
        let may_speak = |packets: &[(u8, Direction)]| {
            let lifetime = Lifetime::new(START);
            for &(flags, direction) in packets {
                lifetime.note(Transport::Tcp(flags), direction, START);
            }
            lifetime.may_speak(Transport::Tcp(0))
        };
        for first in [SYN, ACK] {
            assert!(!may_speak(&[(first, Forward), (RST, Reverse)]));
            assert!(!may_speak(&[(first, Forward), (RST, Reverse), (ACK, Forward)]));
        }
        let opened = [(SYN, Forward), (SYN | ACK, Reverse), (ACK, Forward)];
        for direction in [Forward, Reverse] {
            assert!(may_speak(&[&opened[..], &[(RST, direction)]].concat()));
        }
    }

    #[test]
    fn what_is_over_or_unanswered_makes_room() {
        let scarce = |transport, packets: &[(Transport, Direction)]| {
            let lifetime = Lifetime::new(START);
            packets.iter().for_each(|&(packet, way)| lifetime.note(packet, way, START));
            lifetime.expires_if_scarce(transport).since(START)
        };
        let tcp = |flags| Transport::Tcp(flags);
        let opened = [(tcp(SYN), Forward), (tcp(SYN | ACK), Reverse), (tcp(ACK), Forward)];
        let closed = [&opened[..], &[(tcp(FIN), Forward), (tcp(FIN), Reverse)]].concat();
        assert_eq!(scarce(tcp(0), &opened[..1]), SCARCE_UNANSWERED);
        assert_eq!(scarce(tcp(0), &opened), TCP_ESTABLISHED);
        assert_eq!(scarce(tcp(0), &closed), SCARCE_OVER);
        assert_eq!(scarce(tcp(0), &[&closed[..], &opened[..]].concat()), TCP_ESTABLISHED);
        assert_eq!(scarce(Transport::Udp, &[]), SCARCE_UNANSWERED);
        assert_eq!(scarce(Transport::Udp, &[(Transport::Udp, Reverse)]), SCARCE_UDP);
        assert_eq!(scarce(Transport::Other, &[]), OTHER_UNANSWERED);
        assert_eq!(scarce(Transport::Other, &[(Transport::Other, Reverse)]), OTHER);
    }

    #[test]
    fn rfc_4787_req_5_and_6() {
        let lifetime = Lifetime::new(START);
        assert_eq!(lifetime.expires(Transport::Udp), START + UDP_UNANSWERED);
        let later = START + Duration::from_secs(60);
        lifetime.note(Transport::Udp, Reverse, later);
        assert_eq!(lifetime.expires(Transport::Udp), later + UDP);
        lifetime.note(Transport::Udp, Forward, START);
        assert_eq!(lifetime.last_used(), later, "time does not run backwards");
    }

    #[test]
    fn other_protocols_end_before_conntrack_forgets_them() {
        for transport in [Transport::UdpLike, Transport::Sctp, Transport::Other] {
            let lifetime = Lifetime::new(START);
            assert_eq!(lifetime.expires(transport), START + OTHER_UNANSWERED);
            lifetime.note(transport, Reverse, START);
            assert_eq!(lifetime.expires(transport), START + OTHER);
        }
    }

    #[test]
    fn rfc_5508_req_2() {
        assert_eq!(Lifetime::new(START).expires(Transport::IcmpQuery), START + ICMP_QUERY);
    }
}
