//! A packet of ours as far as it is known beforehand, and what rules may ask about it.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

/// A packet of which some things are known.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct Packet {
    /// Interface it came in through.
    pub(in crate::doctor) input: Option<String>,
    /// Interface it leaves through.
    pub(in crate::doctor) output: Option<String>,
    pub(in crate::doctor) source: Place,
    pub(in crate::doctor) destination: Place,
    pub(in crate::doctor) protocol: u8,
    /// Host order.
    pub(in crate::doctor) source_port: Option<u16>,
    /// Host order.
    pub(in crate::doctor) destination_port: Option<u16>,
    pub(in crate::doctor) direction: Direction,
    /// The bit that its connection carries.
    pub(in crate::doctor) mark: u32,
}

/// Where it comes from, or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::doctor) enum Place {
    /// A host on the Internet.
    Public,
    /// Some host in a network.
    In(Ipv4Net),
    /// This host, or nobody knows.
    Unknown,
}

/// The first packet of a flow, or one that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::doctor) enum Direction {
    New,
    Reply,
}

/// Whether a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Certainty {
    No,
    Maybe,
    Yes,
}

/// One thing that a rule asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) negated: bool,
    pub(super) question: Question,
}

/// What is asked about a packet. A list asks for any of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Names may end in a wildcard `*`.
    Input(Vec<String>),
    Output(Vec<String>),
    Source(Vec<Ipv4Net>),
    Destination(Vec<Ipv4Net>),
    Protocol(Vec<u8>),
    SourcePort(Vec<RangeInclusive<u16>>),
    DestinationPort(Vec<RangeInclusive<u16>>),
    /// Connection states, `new` or `established`.
    State(Vec<String>),
    /// `original` or `reply`.
    Direction(String),
    /// A connection that was translated, expected, and the like: `dnat`.
    Status(Vec<String>),
    /// `connection mark & mask == value`.
    Mark {
        value: u32,
        mask: u32,
    },
    /// IPv4: always so here.
    Family(bool),
    /// Anything else.
    Unknown,
}

impl Packet {
    /// Whether all of the matches fit.
    pub(super) fn fits(&self, matches: &[Match]) -> Certainty {
        matches.iter().map(|one| self.fits_one(one)).min().unwrap_or(Certainty::Yes)
    }

    fn fits_one(&self, one: &Match) -> Certainty {
        match (self.answer(&one.question), one.negated) {
            (Certainty::Yes, true) => Certainty::No,
            (Certainty::No, true) => Certainty::Yes,
            (answer, _) => answer,
        }
    }

    fn answer(&self, question: &Question) -> Certainty {
        match question {
            Question::Input(names) => interface(self.input.as_deref(), names),
            Question::Output(names) => interface(self.output.as_deref(), names),
            Question::Source(nets) => any(nets, |net| self.source.is_in(*net)),
            Question::Destination(nets) => any(nets, |net| self.destination.is_in(*net)),
            Question::Protocol(numbers) => Certainty::from(numbers.contains(&self.protocol)),
            Question::SourcePort(ports) => port(self.source_port, ports),
            Question::DestinationPort(ports) => port(self.destination_port, ports),
            Question::State(states) => {
                Certainty::from(states.iter().any(|state| state == self.direction.state()))
            }
            Question::Direction(name) => Certainty::from(name == self.direction.name()),
            Question::Status(names) => self.direction.status(names),
            Question::Mark { value, mask } => self.marked(*value, *mask),
            Question::Family(ipv4) => Certainty::from(*ipv4),
            Question::Unknown => Certainty::Maybe,
        }
    }

    /// Only one bit of the mark is known.
    fn marked(&self, value: u32, mask: u32) -> Certainty {
        if value & self.mark != mask & self.mark {
            Certainty::No
        } else if mask & !self.mark == 0 {
            Certainty::Yes
        } else {
            Certainty::Maybe
        }
    }
}

impl Direction {
    fn state(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reply => "established",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::New => "original",
            Self::Reply => "reply",
        }
    }

    /// The binding to the destination that a packet has anyway is no DNAT to the kernel. What else
    /// is asked for may be so.
    fn status(self, names: &[String]) -> Certainty {
        let absent = |name: &String| {
            let (never, not_yet) = (["dnat", "expected"], ["seen-reply", "assured", "confirmed"]);
            never.contains(&name.as_str())
                || (self == Self::New && not_yet.contains(&name.as_str()))
        };
        if names.iter().all(absent) { Certainty::No } else { Certainty::Maybe }
    }
}

impl Place {
    fn is_in(self, net: Ipv4Net) -> Certainty {
        if net.prefix_len() == 0 {
            return Certainty::Yes;
        }
        match self {
            Self::Unknown => Certainty::Maybe,
            Self::Public if is_private(net) => Certainty::No,
            Self::Public => Certainty::Maybe,
            Self::In(own) if net.contains(&own) => Certainty::Yes,
            Self::In(own) if own.contains(&net) => Certainty::Maybe,
            Self::In(_) => Certainty::No,
        }
    }
}

/// Whether no host on the Internet has an address of it (RFC 1918, RFC 6890).
fn is_private(net: Ipv4Net) -> bool {
    let private: [(Ipv4Addr, u8); 6] = [
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
    ];
    private.iter().any(|&(addr, len)| Ipv4Net::new_assert(addr, len).contains(&net))
}

/// What is not known is at least not loopback: tunnels never lead there.
fn interface(name: Option<&str>, wanted: &[String]) -> Certainty {
    let Some(name) = name else {
        let only_loopback = wanted.iter().all(|name| name == "lo");
        return if only_loopback { Certainty::No } else { Certainty::Maybe };
    };
    let fits = |wanted: &String| match wanted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == wanted,
    };
    Certainty::from(wanted.iter().any(fits))
}

fn port(port: Option<u16>, wanted: &[RangeInclusive<u16>]) -> Certainty {
    match port {
        Some(port) => Certainty::from(wanted.iter().any(|range| range.contains(&port))),
        None => Certainty::Maybe,
    }
}

fn any<T>(wanted: &[T], fits: impl Fn(&T) -> Certainty) -> Certainty {
    wanted.iter().map(fits).max().unwrap_or(Certainty::No)
}

impl From<bool> for Certainty {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}
