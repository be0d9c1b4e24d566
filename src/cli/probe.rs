//! `nattt probe` and `nattt trace`.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::table::{Align, Table, escape};
use super::target::{Target, TargetArgs, made_here};
use super::{Done, FAILED, Failure, Global};
use crate::control::pretty;
use crate::os::probe::{Socket, random};
use crate::path::Path;
use crate::probe::{
    self, BoxState, Conclusion, HostState, Kind, KindReport, Level, MAX_KINDS, Made, Survey, Tunnel,
};

/// What natttd takes for the MTU of every way.
const MTU: u16 = 1500;
/// What is tried unless something else is asked for.
const KINDS: [Kind; 4] = [Kind::Ping, Kind::Tcp(22), Kind::Tcp(80), Kind::Tcp(443)];

/// Who is probed, and how.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// What to send to the host: ping, tcp/PORT or udp/PORT; may be given up to 8 times [default:
    /// ping, tcp/22, tcp/80, tcp/443]
    #[arg(long = "port", short = 'p', value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Largest packets to try, in octets with all tunnel headers [default: those that natttd here makes,
    /// or 1500]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u16).range(576..=9000))]
    mtu: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  nattt trace b.example
  nattt probe b.example --port tcp/25,udp/53
  nattt trace 203.0.113.1:100 10.0.0.9 192.168.0.2
  nattt probe 203.0.113.1";

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// What the host answers.
    Host,
    /// The boxes on the way, too.
    Levels,
}

#[derive(Debug, Serialize)]
struct Report {
    target: String,
    reached: bool,
    paths: Vec<Outcome>,
    notes: Vec<String>,
}

/// What came of one path.
#[derive(Debug, Serialize)]
struct Outcome {
    path: String,
    /// This host's address towards the first box.
    from: Option<Ipv4Addr>,
    #[serde(flatten)]
    report: Option<probe::Report>,
    /// The same in a sentence.
    says: String,
    /// What to look at, the likeliest cause first.
    checks: Vec<String>,
    /// What becomes of large packets, in a sentence.
    sizes_says: Option<String>,
    /// What to do about that.
    sizes_advice: Vec<String>,
}

/// Probes one path after the other.
pub(super) fn run(args: &ProbeArgs, global: &Global, show: Show) -> Result<Done, Failure> {
    let wanted = if args.kinds.is_empty() { &KINDS[..] } else { &args.kinds };
    let mut kinds = Vec::new();
    for kind in wanted {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    if kinds.len() > MAX_KINDS {
        let message = format!("at most {MAX_KINDS} kinds of packets at once");
        return Err(Failure { status: super::USAGE, message });
    }
    let Target { name, paths, gateway, notes } = args.target.find(global)?;
    let one = |path| outcome(path, &kinds, (args.mtu, made_here(global, path)), gateway);
    let outcomes: Vec<_> = paths.iter().map(one).collect();
    let reached = outcomes.iter().any(Outcome::reached);
    let report = Report { target: name, reached, paths: outcomes, notes };
    let text = if global.json { pretty(&report) } else { report.render(show) };
    Ok(Done { text, status: if reached { 0 } else { FAILED } })
}

/// `asked`: the size to try; or else what natttd here makes.
fn outcome(
    path: &Path,
    kinds: &[Kind],
    (asked, made): (Option<u16>, Option<Made>),
    gateway: bool,
) -> Outcome {
    let from = Socket::open(path.first()).map(|socket| (socket.here().addr, socket));
    let done = from.and_then(|(from, socket)| {
        let [secret, tag] = [random() as u16, random() as u16];
        let tunnel = Tunnel::new(path.clone(), socket.here(), secret);
        let mtu = asked.or(made.map(|made| made.octets)).unwrap_or(MTU);
        let mut survey = Survey::new(tunnel, kinds, mtu, tag);
        socket.run(&mut survey)?;
        Ok((from, survey.report()))
    });
    let path_text = path.to_string();
    match done {
        Ok((from, report)) => {
            let (says, checks) = words(path, &report, gateway);
            let sizes = report.sizes.as_ref();
            Outcome {
                path: path_text,
                from: Some(from),
                says,
                checks,
                sizes_says: sizes.map(|sizes| sizes.sentence(path)),
                sizes_advice: sizes.map(|sizes| sizes.advice(path, made)).unwrap_or_default(),
                report: Some(report),
            }
        }
        Err(error) => Outcome {
            path: path_text,
            from: None,
            report: None,
            says: format!("this host cannot send to {}: {error}", path.first()),
            checks: vec!["Has it a route there, and does its own firewall let it send?".into()],
            sizes_says: None,
            sizes_advice: Vec::new(),
        },
    }
}

fn words(path: &Path, report: &probe::Report, gateway: bool) -> (String, Vec<String>) {
    match report.conclusion {
        Conclusion::BoxSilent { .. } if gateway => (
            format!("nothing is known about {}: silence, and no refusal", path.first()),
            vec![
                "A gateway answers only to packets for what it exports: name a host behind it, \
                 `nattt probe BOX HOST`, or ask for the name"
                    .into(),
                "Most machines without natttd refuse with \"port unreachable\"; a firewall is silent"
                    .into(),
            ],
        ),
        _ => (probe::sentence(path, report), probe::checks(path, report)),
    }
}

impl Outcome {
    fn reached(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.conclusion == Conclusion::Reached)
    }

    /// The end of a path.
    fn host(&self) -> &str {
        self.path.rsplit(' ').next().unwrap_or_default()
    }

    /// `told`: the hints of the paths above.
    fn render<'a>(&'a self, show: Show, told: &mut HashSet<&'a str>) -> String {
        let mut text = format!("Path {}", self.path);
        text += &self.from.map(|from| format!(", from {from}")).unwrap_or_default();
        text += ":\n";
        if let Some(report) = &self.report {
            text += &table(report, self.host(), show);
        }
        text += &format!("\nResult: {}.\n", escape(&self.says));
        text += &points(&self.checks, told);
        if let Some(says) = &self.sizes_says {
            text += &format!("Sizes: {}.\n", escape(says));
        }
        text + &points(&self.sizes_advice, told)
    }
}

/// What has been told is not told again, but that it holds here, too, is.
fn points<'a>(checks: &'a [String], told: &mut HashSet<&'a str>) -> String {
    let end = |check: &str| if check.ends_with('?') { "" } else { "." };
    let new: Vec<_> = checks.iter().filter(|check| told.insert(check.as_str())).collect();
    let mut text: String =
        new.iter().map(|check| format!("  - {}{}\n", escape(check), end(check))).collect();
    text += match (new.len(), checks.len()) {
        (new, all) if new == all => "",
        (0, _) => "  - As above.\n",
        _ => "  - Otherwise as above.\n",
    };
    text
}

impl Report {
    fn render(&self, show: Show) -> String {
        let mut told = HashSet::new();
        let paths: Vec<_> =
            self.paths.iter().map(|outcome| outcome.render(show, &mut told)).collect();
        let notes: String =
            self.notes.iter().map(|note| format!("\nNote: {}.\n", escape(note))).collect();
        format!("{}\n\n{}{notes}", escape(&self.target), paths.join("\n"))
    }
}

fn table(report: &probe::Report, host: &str, show: Show) -> String {
    let mut table = Table::new([
        ("PLACE", Align::Left),
        ("ADDRESS", Align::Left),
        ("SENT", Align::Left),
        ("RTT", Align::Right),
        ("ANSWER", Align::Left),
    ]);
    if show == Show::Levels {
        for level in &report.levels {
            table.row(box_row(level));
        }
    }
    for kind in &report.kinds {
        table.row(host_row(kind, report, host));
    }
    table.render()
}

fn box_row(level: &Level) -> [String; 5] {
    let answer = match level.state {
        BoxState::Forwards => "takes tunnel packets",
        BoxState::LetsThrough => "says nothing, but lets packets through",
        BoxState::Silent => "silent",
    };
    let place = format!("NAT box {}", level.number);
    [place, level.hop.to_string(), String::new(), rtt(level.time), answer.into()]
}

fn host_row(kind: &KindReport, report: &probe::Report, host: &str) -> [String; 5] {
    let last = report.levels.len();
    let answer = match (kind.host, kind.kind, kind.complaint) {
        (HostState::Open, Kind::Tcp(_), _) => "open".into(),
        (HostState::Open, ..) => "answers".into(),
        (HostState::Closed, ..) => "closed".into(),
        (HostState::Unreachable, _, Some(complaint)) => complaint.to_string(),
        _ if kind.exported => format!("silent; NAT box {last} lets it in"),
        _ => "silent".into(),
    };
    ["host".into(), host.to_owned(), kind.kind.to_string(), rtt(kind.time), answer]
}

fn rtt(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.2} ms", time.as_secs_f64() * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(path: &str, checks: &[&str], advice: &[&str]) -> Outcome {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Outcome {
            path: path.into(),
            from: None,
            report: None,
            says: "NAT box 1 is silent".into(),
            checks: owned(checks),
            sizes_says: (!advice.is_empty()).then(|| "large packets are lost".into()),
            sizes_advice: owned(advice),
        }
    }

    #[test]
    fn a_hint_that_several_paths_share_stands_once() {
        let report = Report {
            target: "b.example.".into(),
            reached: false,
            paths: vec![
                outcome("203.0.113.1:100 192.168.0.2", &["Is 1 right?", "Does it run"], &["Write"]),
                outcome("203.0.113.2:100 192.168.0.2", &["Is 2 right?", "Does it run"], &["Write"]),
                outcome("203.0.113.3:100 192.168.0.2", &[], &[]),
            ],
            notes: Vec::new(),
        };
        let text = report.render(Show::Levels);
        let lines = |wanted: &str| text.lines().filter(|line| *line == wanted).count();
        for once in ["  - Is 1 right?", "  - Is 2 right?", "  - Does it run.", "  - Write."] {
            assert_eq!(lines(once), 1, "{once} in\n{text}");
        }
        assert_eq!((lines("  - Otherwise as above."), lines("  - As above.")), (1, 1), "{text}");
        assert!(pretty(&report).matches("Does it run").count() == 2, "programs get all of them");
    }
}
