//! Flows as they are saved, so that connections outlive the daemon. One line of text each:
//!
//! ```text
//! client PROTOCOL APPLICATION MAPPED here|served OUTER-PORT INNER-SOURCE STATE LAST-USED PATH
//! gateway PROTOCOL OUTER GATEWAY INNER HOST PEER-PORT STATE LAST-USED
//! ```
//!
//! with endpoints as `ADDRESS:PORT`, the state's bits as a number, the last use in milliseconds since
//! the UNIX epoch, and the path as in a NAT record's presentation form. The first line names the version
//! and the boot after which connection tracking, and so the flows, began.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::{FromStr, SplitN};

use crate::path::Path;
use crate::time::Time;
use crate::wire::Endpoint;

const HEADER: &str = "nattt-flows 1";
/// Columns of a line at most; the last one takes the rest.
const COLUMNS: usize = 10;

/// A flow of either role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// Of the client role.
    Client(SavedClient),
    /// Of the gateway role.
    Gateway(SavedGateway),
}

/// State and last use of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedLife {
    pub(super) state: u8,
    pub(super) last_used: Time,
}

/// A flow of the client role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedClient {
    pub(super) protocol: u8,
    pub(super) application: Endpoint,
    pub(super) mapped: Endpoint,
    pub(super) served: bool,
    pub(super) port: u16,
    pub(super) source: Ipv4Addr,
    pub(super) life: SavedLife,
    pub(super) path: Path,
}

/// A flow of the gateway role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedGateway {
    pub(super) protocol: u8,
    pub(super) outer: Endpoint,
    pub(super) gateway: Endpoint,
    pub(super) inner: Endpoint,
    pub(super) host: Endpoint,
    pub(super) peer_port: u16,
    pub(super) life: SavedLife,
}

/// Text that is no saved flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFlow;

/// A file that this version cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFlows;

impl fmt::Display for NotFlows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file is damaged, or another version of nattt wrote it")
    }
}

impl std::error::Error for NotFlows {}

impl Saved {
    /// The first line of a file of flows of this boot; `boot` has no white space.
    pub fn header(boot: &str) -> String {
        format!("{HEADER} {boot}\n")
    }

    /// The flows in a file that was written since this boot, newest first, and how many lines are
    /// none. A file of another boot holds no flow that lives; no more does an empty one.
    pub fn read(text: &str, boot: &str) -> Result<(Vec<Self>, usize), NotFlows> {
        let Some(lines) = text.strip_prefix(&Self::header(boot)) else {
            let is_ours = |rest: &str| rest.starts_with(' ');
            let holds_none = text.is_empty() || text.strip_prefix(HEADER).is_some_and(is_ours);
            return if holds_none { Ok(Default::default()) } else { Err(NotFlows) };
        };
        let (flows, others): (Vec<_>, Vec<_>) =
            lines.lines().rev().map(str::parse).partition(Result::is_ok);
        Ok((flows.into_iter().flatten().collect(), others.len()))
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(flow) => {
                let SavedClient { protocol, application, mapped, port, source, life, path, .. } =
                    flow;
                let whose = if flow.served { "served" } else { "here" };
                write!(
                    f,
                    "client {protocol} {application} {mapped} {whose} {port} {source} {life} {path}"
                )
            }
            Self::Gateway(flow) => {
                let SavedGateway { protocol, outer, gateway, inner, host, peer_port, life } = flow;
                write!(f, "gateway {protocol} {outer} {gateway} {inner} {host} {peer_port} {life}")
            }
        }
    }
}

impl fmt::Display for SavedLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.state, self.last_used.as_millis())
    }
}

impl FromStr for Saved {
    type Err = NoFlow;

    fn from_str(line: &str) -> Result<Self, NoFlow> {
        let mut columns = Columns(line.splitn(COLUMNS, ' '));
        let flow = match columns.text()? {
            "client" => Self::Client(columns.client()?),
            "gateway" => Self::Gateway(columns.gateway()?),
            _ => return Err(NoFlow),
        };
        columns.0.next().map_or(Ok(flow), |_| Err(NoFlow))
    }
}

struct Columns<'a>(SplitN<'a, char>);

impl<'a> Columns<'a> {
    fn text(&mut self) -> Result<&'a str, NoFlow> {
        self.0.next().ok_or(NoFlow)
    }

    fn next<T: FromStr>(&mut self) -> Result<T, NoFlow> {
        self.text()?.parse().map_err(|_| NoFlow)
    }

    fn client(&mut self) -> Result<SavedClient, NoFlow> {
        Ok(SavedClient {
            protocol: self.next()?,
            application: self.next()?,
            mapped: self.next()?,
            served: match self.text()? {
                "here" => false,
                "served" => true,
                _ => return Err(NoFlow),
            },
            port: self.next()?,
            source: self.next()?,
            life: self.life()?,
            path: self.next()?,
        })
    }

    fn gateway(&mut self) -> Result<SavedGateway, NoFlow> {
        Ok(SavedGateway {
            protocol: self.next()?,
            outer: self.next()?,
            gateway: self.next()?,
            inner: self.next()?,
            host: self.next()?,
            peer_port: self.next()?,
            life: self.life()?,
        })
    }

    fn life(&mut self) -> Result<SavedLife, NoFlow> {
        Ok(SavedLife { state: self.next()?, last_used: Time::from_millis(self.next()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        (any::<u32>(), any::<u16>()).prop_map(|(addr, port)| Endpoint { addr: addr.into(), port })
    }

    fn life() -> impl Strategy<Value = SavedLife> {
        (any::<u8>(), any::<u64>())
            .prop_map(|(state, ms)| SavedLife { state, last_used: Time::from_millis(ms) })
    }

    fn saved() -> impl Strategy<Value = Saved> {
        let path = prop::collection::vec((any::<u32>(), 1u16..), 1..=8).prop_map(|hops| {
            let hops = hops.iter().map(|(addr, port)| format!("{}:{port}", Ipv4Addr::from(*addr)));
            let text = hops.chain(["192.168.0.2".into()]).collect::<Vec<_>>().join(" ");
            text.parse::<Path>().expect("a path")
        });
        let ends = || (any::<u8>(), endpoint(), endpoint(), any::<u16>(), life());
        prop_oneof![
            (ends(), any::<bool>(), any::<u32>(), path).prop_map(
                |((protocol, application, mapped, port, life), served, source, path)| {
                    let source = source.into();
                    Saved::Client(SavedClient {
                        protocol,
                        application,
                        mapped,
                        served,
                        port,
                        source,
                        life,
                        path,
                    })
                }
            ),
            (ends(), endpoint(), endpoint()).prop_map(
                |((protocol, outer, gateway, peer_port, life), inner, host)| {
                    Saved::Gateway(SavedGateway {
                        protocol,
                        outer,
                        gateway,
                        inner,
                        host,
                        peer_port,
                        life,
                    })
                }
            ),
        ]
    }

    #[test]
    fn a_file_of_another_boot_holds_nothing() {
        let line =
            "gateway 6 198.51.100.20:4000 203.0.113.1:100 192.168.0.2:5 192.168.0.2:80 4000 3 9";
        let text = format!("{}{line}\n", Saved::header("one"));
        assert_eq!(Saved::read(&text, "one").map(|(flows, _)| flows.len()), Ok(1));
        for (text, boot) in [(&text[..], "two"), ("", "one")] {
            assert_eq!(Saved::read(text, boot), Ok((vec![], 0)));
        }
    }

    #[test]
    fn a_file_of_another_version_is_no_empty_one() {
        for text in ["nattt-flows 2 one\n", "nattt-flows 10 one\n", "nattt-fl", "\0\0\0\0", "\n"] {
            assert_eq!(Saved::read(text, "one"), Err(NotFlows), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_counted() {
        let line =
            "gateway 6 198.51.100.20:4000 203.0.113.1:100 192.168.0.2:5 192.168.0.2:80 4000 3 9";
        for cut in [0, 7, 20, line.len() - 2] {
            let text = format!("{}{line}\n{}", Saved::header("b"), &line[..cut]);
            let (flows, others) = Saved::read(&text, "b").expect("flows");
            assert_eq!((flows.len(), others), (1, usize::from(cut > 0)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(flows in prop::collection::vec(saved(), 0..9)) {
            let lines = flows.iter().map(|flow| format!("{flow}\n"));
            let text = Saved::header("boot") + &lines.collect::<String>();
            let (mut read, others) = Saved::read(&text, "boot").expect("flows");
            read.reverse();
            prop_assert_eq!((read, others), (flows, 0));
        }

        #[test]
        fn any_text_is_a_flow_or_none(text in "\\PC{0,120}") {
            if let Ok(flow) = text.parse::<Saved>() {
                prop_assert_eq!(flow.to_string().parse(), Ok(flow));
            }
            let _ = Saved::read(&text, "boot");
        }
    }
}
