//! What a probe found, in words: what is certain, and what silence may mean, the likeliest first.

use super::{Conclusion, HostState, Report};
use crate::path::{Hop, Path};

/// A cause that nothing shows from here.
const NO_LOOPBACK: &str = "If this host is in the network behind NAT box 1 itself: a router without NAT \
     loopback does not lead its own hosts back in by its public address. Whether that is so cannot be seen \
     from here; use the host's own address inside";

/// One sentence, without its full stop.
pub fn sentence(path: &Path, report: &Report) -> String {
    let first = path.first();
    match report.conclusion {
        Conclusion::Reached => reached(path, report),
        Conclusion::WayRefused { complaint } => {
            format!("there is no way to NAT box 1, {}: {complaint}", first.addr)
        }
        Conclusion::NoGateway { complaint } if complaint.by == first.addr => format!(
            "NAT box 1, {}, is there, but nobody takes tunnel packets on its UDP port {}",
            first.addr, first.port
        ),
        Conclusion::NoGateway { complaint } => format!(
            "behind NAT box 1, {}, nobody takes tunnel packets on UDP port {}: {complaint}",
            first.addr, first.port
        ),
        Conclusion::BoxSilent { number } => {
            format!("{}NAT box {number}, {}, is silent", before(number), hop(path, number))
        }
        Conclusion::BoxRefused { number, complaint } => format!(
            "{}NAT box {number}, {}, takes no tunnel packets: {complaint}",
            before(number),
            hop(path, number)
        ),
        Conclusion::HostSilent => {
            format!("{} works, the host {} is silent", boxes(path), path.host())
        }
        Conclusion::HostRefused { complaint } => {
            format!("{} works, the host {} is not reached: {complaint}", boxes(path), path.host())
        }
    }
}

/// What to look at, the likeliest cause first; nothing if all is well.
pub fn checks(path: &Path, report: &Report) -> Vec<String> {
    match report.conclusion {
        Conclusion::Reached => not_let_in(path, report),
        Conclusion::WayRefused { .. } => vec![way(path)],
        Conclusion::NoGateway { .. } => no_gateway(path.first()),
        Conclusion::BoxSilent { number: 1 } => first_silent(path, report),
        Conclusion::BoxSilent { number } => later_silent(path, number, report),
        Conclusion::BoxRefused { number, complaint } if complaint.is_about_port() => {
            vec![gateway_runs(number, hop(path, number))]
        }
        Conclusion::BoxRefused { number, .. } => vec![format!(
            "Is NAT box {number} switched on, and is {} its address in the network of NAT box {}?",
            hop(path, number).addr,
            number - 1
        )],
        Conclusion::HostSilent => host_silent(path, report),
        Conclusion::HostRefused { .. } => {
            vec![format!("Is the host switched on, and is {} its address?", path.host())]
        }
    }
}

fn way(path: &Path) -> String {
    let first = path.first().addr;
    if first.is_private() {
        format!(
            "{first} is a private address, which leads nowhere from outside: the record begins with \
             the public address of the outermost NAT box and ends with the host's own"
        )
    } else {
        format!(
            "Is {first} still the public address of NAT box 1? `nattt record lookup NAME` shows the record"
        )
    }
}

fn reached(path: &Path, report: &Report) -> String {
    let open = |wanted| report.kinds.iter().any(|kind| kind.host == wanted);
    match (open(HostState::Open), open(HostState::Closed)) {
        (true, _) => format!("the host {} is reached", path.host()),
        _ => format!("the host {} is reached, but serves nothing of what was asked", path.host()),
    }
}

fn before(number: usize) -> String {
    match number {
        1 => String::new(),
        2 => "NAT box 1 works, ".into(),
        _ => format!("NAT boxes 1 to {} work, ", number - 1),
    }
}

fn boxes(path: &Path) -> &'static str {
    if path.hops().len() == 1 { "the NAT box" } else { "every NAT box" }
}

fn hop(path: &Path, number: usize) -> Hop {
    path.hops().get(number - 1).copied().unwrap_or(path.first())
}

/// What the box has to export for this probe.
fn wanted(path: &Path, number: usize, report: &Report) -> String {
    match path.hops().get(number) {
        Some(next) => format!("{} (UDP port {})", next.addr, next.port),
        None => {
            let kinds: Vec<_> = report.kinds.iter().map(|kind| kind.kind.to_string()).collect();
            format!("{} (for {})", path.host(), kinds.join(" or "))
        }
    }
}

fn gateway_runs(number: usize, hop: Hop) -> String {
    format!(
        "On NAT box {number}: does natttd run there as a gateway, with `port = {}`, the right `outside`, \
         and its rules loaded? `nattt status` and `nattt doctor` there say so",
        hop.port
    )
}

fn exports(path: &Path, number: usize, report: &Report) -> String {
    format!(
        "On NAT box {number}: does `exports` list {}? What it does not list is dropped without a word; \
         `nattt counters` there counts it as gateway_not_exported",
        wanted(path, number, report)
    )
}

fn no_gateway(first: Hop) -> Vec<String> {
    vec![gateway_runs(1, first), forwarded(first), NO_LOOPBACK.into()]
}

/// The paper's home host: the address is the router's, the gateway is behind it.
fn forwarded(first: Hop) -> String {
    format!(
        "If a router that knows no tunnels has the address {}: does it forward UDP port {} to the gateway \
         behind it?",
        first.addr, first.port
    )
}

fn first_silent(path: &Path, report: &Report) -> Vec<String> {
    let first = path.first();
    vec![
        format!(
            "Is {} still the public address of NAT box 1, and is the box switched on?",
            first.addr
        ),
        gateway_runs(1, first),
        forwarded(first),
        exports(path, 1, report),
        format!(
            "Does a firewall or a provider in front of NAT box 1 keep UDP port {} from it?",
            first.port
        ),
        NO_LOOPBACK.into(),
    ]
}

fn later_silent(path: &Path, number: usize, report: &Report) -> Vec<String> {
    let (this, previous) = (hop(path, number), number - 1);
    vec![
        gateway_runs(number, this),
        exports(path, number, report),
        forwards(previous),
        format!(
            "Is NAT box {previous} the way back from NAT box {number}? Its answers must not take another"
        ),
    ]
}

fn forwards(number: usize) -> String {
    format!(
        "On NAT box {number}: does its FORWARD chain accept what comes out of tunnels? `nattt doctor` \
         there says so"
    )
}

fn host_silent(path: &Path, report: &Report) -> Vec<String> {
    let last = path.hops().len();
    let mut checks = vec![
        forwards(last),
        format!("On the host {}: does a firewall of its own drop this?", path.host()),
        format!(
            "Is NAT box {last} the host's default router? If not, it must source-NAT what it forwards \
             (`hairpin`), or the answers go past it"
        ),
    ];
    checks.extend(not_let_in(path, report));
    checks
}

/// Kinds that the last box seems to keep out, while it takes others.
fn not_let_in(path: &Path, report: &Report) -> Vec<String> {
    let out = report.kinds.iter().filter(|kind| !kind.exported);
    let out: Vec<_> = out.map(|kind| kind.kind.to_string()).collect();
    match (out.is_empty(), report.kinds.iter().any(|kind| kind.exported)) {
        (false, true) => vec![format!(
            "NAT box {} said nothing about {}: its `exports` do not list that, most likely",
            path.hops().len(),
            out.join(", ")
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::complaint;
    use super::super::{BoxState, Complaint, Kind, KindReport, Level};
    use super::*;
    use std::net::Ipv4Addr;

    fn report(conclusion: Conclusion) -> (Path, Report) {
        let path: Path = "203.0.113.1 10.0.0.9 192.168.0.2".parse().expect("a path");
        let level = |(number, &hop)| Level { number, hop, state: BoxState::Forwards, time: None };
        let kind =
            |kind, exported, host| KindReport { kind, exported, host, time: None, complaint: None };
        let kinds = vec![
            kind(Kind::Ping, false, HostState::Silent),
            kind(Kind::Tcp(80), true, HostState::Open),
        ];
        let levels = (1..).zip(path.hops()).map(level).collect();
        (path, Report { levels, kinds, conclusion, sizes: None })
    }

    #[test]
    fn a_private_first_box_is_named_as_such() {
        let complaint = complaint(Ipv4Addr::new(198, 51, 100, 1), 3, 0);
        let (_, report) = report(Conclusion::WayRefused { complaint });
        let swapped: Path = "192.168.0.2 203.0.113.1".parse().expect("a path");
        let said = checks(&swapped, &report).join("\n");
        assert!(said.contains("192.168.0.2 is a private address"), "{said}");
    }

    /// Every conclusion has its own sentence; all that are bad say where to look.
    #[test]
    fn every_conclusion_has_words() {
        let complaint = complaint(Ipv4Addr::new(10, 0, 0, 1), 3, 1);
        let port = Complaint { code: 3, ..complaint };
        let cases = [
            (Conclusion::WayRefused { complaint }, "no way to NAT box 1", "public address"),
            (Conclusion::NoGateway { complaint: port }, "behind NAT box 1", "loopback"),
            (
                Conclusion::BoxSilent { number: 1 },
                "NAT box 1, 203.0.113.1:100, is silent",
                "does it forward UDP port 100 to the gateway",
            ),
            (
                Conclusion::BoxSilent { number: 2 },
                "NAT box 1 works, NAT box 2, 10.0.0.9:100, is silent",
                "192.168.0.2 (for ping or tcp/80)",
            ),
            (
                Conclusion::BoxRefused { number: 2, complaint },
                "takes no tunnel packets",
                "switched on",
            ),
            (
                Conclusion::BoxRefused { number: 2, complaint: port },
                "10.0.0.1 reports \"port unreachable\"",
                "On NAT box 2: does natttd run",
            ),
            (Conclusion::HostSilent, "every NAT box works", "FORWARD"),
            (Conclusion::HostRefused { complaint }, "\"host unreachable\"", "switched on"),
            (Conclusion::Reached, "192.168.0.2 is reached", "about ping"),
        ];
        for (conclusion, says, look) in cases {
            let (path, report) = report(conclusion);
            let said = sentence(&path, &report);
            assert!(said.contains(says), "{said}");
            let checks = checks(&path, &report).join("\n");
            assert!(checks.contains(look), "{checks}");
        }
    }
}
