//! `nattt ping`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::explain::failed;
use super::table::escape;
use super::target::TargetArgs;
use super::{Done, FAILED, Failure, Global, print};
use crate::control::pretty;
use crate::os::probe::{Socket, interrupted, is_set, random};
use crate::path::Path;
use crate::probe::{Pinger, Pong, Summary, Tunnel};

/// Less would be no ping any more.
const LEAST_INTERVAL: f64 = 0.2;
const LONGEST_INTERVAL: f64 = 3600.0;

/// Who is pinged, and how often.
#[derive(Debug, Args)]
pub(super) struct PingArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Stop after so many requests; without it, at Ctrl-C
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: Option<u64>,
    /// Seconds between two requests, at least 0.2
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (LEAST_INTERVAL..=LONGEST_INTERVAL).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("write seconds, {LEAST_INTERVAL} to {LONGEST_INTERVAL}")),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    target: String,
    path: String,
    #[serde(flatten)]
    summary: Summary,
    loss_percent: f64,
    notes: Vec<String>,
}

/// Pings the first path. A second one is for `nattt trace`.
pub(super) fn run(args: &PingArgs, global: &Global) -> Result<Done, Failure> {
    let mut target = args.target.find(global)?;
    if target.gateway {
        let message = "name the host behind it, too: `nattt ping BOX HOST`".into();
        return Err(Failure { status: super::USAGE, message });
    }
    if target.paths.len() > 1 {
        let count = target.paths.len();
        target.notes.push(format!(
            "The name has {count} paths; this was the first. `nattt trace` shows all"
        ));
    }
    let path = target.paths.first().ok_or_else(|| failed("there is no path".into()))?;
    let summary = ping(args, path, global.json)
        .map_err(|error| failed(format!("cannot ping through {}: {error}", path.first())))?;
    let loss_percent = summary.loss();
    let report = Report {
        target: target.name,
        path: path.to_string(),
        summary,
        loss_percent,
        notes: target.notes,
    };
    let text = if global.json { pretty(&report) } else { report.render() };
    let status = if summary.received > 0 { 0 } else { FAILED };
    Ok(Done { text, status })
}

/// Tells about every reply as it comes, but for programs, who get the summary.
fn ping(args: &PingArgs, path: &Path, quiet: bool) -> std::io::Result<Summary> {
    let stop = interrupted()?;
    let socket = Socket::open(path.first())?;
    let [secret, tag] = [random() as u16, random() as u16];
    let tunnel = Tunnel::new(path.clone(), socket.here(), secret);
    let mut pinger = Pinger::new(tunnel, args.interval, args.count, tag);
    let mut reader = quiet || tell(&format!("PING {} through {path}\n", pinger.host()));
    while reader && !is_set(&stop) && socket.step(&mut pinger)? {
        let host = pinger.host();
        for news in pinger.news() {
            reader &= quiet || tell(&line(&news, host));
        }
    }
    let host = pinger.host();
    for news in pinger.news() {
        reader = reader && (quiet || tell(&line(&news, host)));
    }
    Ok(pinger.summary())
}

/// `false`: nobody reads any more.
fn tell(text: &str) -> bool {
    print(text).unwrap_or(false)
}

fn line(news: &Pong, host: std::net::Ipv4Addr) -> String {
    match news {
        Pong::Reply { number, time } => {
            format!("from {host}: seq={number} time={}\n", millis(*time))
        }
        Pong::Duplicate { number } => format!("from {host}: seq={number} (duplicate)\n"),
        Pong::Error { number: Some(number), complaint } => format!("seq={number}: {complaint}\n"),
        Pong::Error { number: None, complaint } => format!("{complaint}\n"),
    }
}

impl Report {
    fn render(&self) -> String {
        let Summary { sent, received, duplicates, errors, min, avg, max, deviation } = self.summary;
        let extra = |count: u64, what: &str| match count {
            0 => String::new(),
            count => format!(", +{count} {what}"),
        };
        let mut text = format!(
            "\n--- {} ---\n{sent} sent, {received} received{}{}, {:.0}% loss\n",
            escape(&self.target),
            extra(duplicates, "duplicates"),
            extra(errors, "errors"),
            self.loss_percent
        );
        if let (Some(min), Some(avg), Some(max), Some(deviation)) = (min, avg, max, deviation) {
            let times = [min, avg, max, deviation].map(millis).join(", ");
            text += &format!("rtt min, avg, max, mdev: {times}\n");
        }
        if received == 0 {
            text +=
                "`nattt trace` finds out where it ends. Ping may only be missing in `exports`.\n";
        }
        text + &self
            .notes
            .iter()
            .map(|note| format!("Note: {}.\n", escape(note)))
            .collect::<String>()
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
