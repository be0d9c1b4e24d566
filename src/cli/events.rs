//! `nattt events`: what happens in natttd, as it happens.

use std::time::{SystemTime, UNIX_EPOCH};

use super::table::escape;
use super::{Done, FAILED, Failure, Global, NO_DAEMON, flows, print, status};
use crate::control::{
    Dated, Ends, Event, Flow, Mapping, Reload, ReloadState, Reply, Request, encode,
};
use crate::os::control::{ask, watch};

/// Prints every event, until nobody reads any more. A daemon whose configuration changes breaks every
/// conversation off and goes on: this one is then begun anew.
pub(super) fn run(global: &Global) -> Result<Done, Failure> {
    let daemon = pid(global)?;
    let mut heard = Heard::default();
    loop {
        let mut printed = Ok(true);
        let enough = watch(&global.socket, |event| {
            let late = heard.next(event.time_ms, now_ms());
            late.iter().chain([event]).all(|event| {
                printed = print(&if global.json { json(event) } else { line(event) });
                matches!(printed, Ok(true))
            })
        })?;
        heard.broken_off();
        printed?;
        if enough {
            return Ok(Done::well(String::new()));
        }
        if pid(global).ok() != Some(daemon) {
            return Err(Failure { status: NO_DAEMON, message: "natttd has ended".into() });
        }
    }
}

/// Events that were read later than this after they happened: their reader was busy elsewhere, or asleep.
const SLOW_MS: u64 = 5_000;

/// What was heard of the daemon. It hangs up on a reader who takes nothing for a while, and cannot say so:
/// the reader must find that out when it begins anew.
#[derive(Debug, Default)]
struct Heard {
    last_ms: u64,
    slow: bool,
    hung_up: bool,
}

impl Heard {
    /// What is to be told before the next event: that some are missing, if it is so.
    fn next(&mut self, time_ms: u64, now_ms: u64) -> Option<Dated> {
        let gap_ms = time_ms.saturating_sub(self.last_ms);
        let late = std::mem::take(&mut self.hung_up);
        self.slow |= now_ms.saturating_sub(time_ms) > SLOW_MS;
        self.last_ms = time_ms;
        late.then_some(Dated { time_ms, event: Event::Late { gap_ms } })
    }

    /// There are no more.
    fn broken_off(&mut self) {
        self.hung_up = std::mem::take(&mut self.slow);
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The daemon's process. While its configuration changes the answer waits.
fn pid(global: &Global) -> Result<u32, Failure> {
    match ask(&global.socket, &Request::Status)? {
        Reply::Status(status) => Ok(status.pid),
        _ => Err(Failure { status: FAILED, message: "natttd answered another question".into() }),
    }
}

/// One object a line, as on the socket.
fn json(event: &Dated) -> String {
    String::from_utf8_lossy(&encode(&Reply::Event(event.clone()))).into_owned()
}

fn line(Dated { time_ms, event }: &Dated) -> String {
    let (what, about) = words(event);
    format!("{}  {what:<16} {}\n", clock(*time_ms), escape(&about))
}

/// Time of day, UTC.
fn clock(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, time_ms % 1000)
}

fn words(event: &Event) -> (&'static str, String) {
    match event {
        Event::Watching { flows, mappings, rules, reload } => {
            let last = reload.as_ref().map(|last| format!("; {}", reloaded(last)));
            let rules = status::rules(rules);
            let now = format!("{flows} flows, {mappings} mapped addresses; rules {rules}");
            ("watching", now + &last.unwrap_or_default())
        }
        Event::FlowOpened { flow } => ("flow opened", shown(flow)),
        Event::FlowChanged { flow, was } => {
            ("flow changed", format!("{was} -> {}: {}", flow.state, shown(flow)))
        }
        Event::FlowEnded { flow } => {
            let [to_host, to_client] = [flow.to_host, flow.to_client].map(flows::traffic);
            let last = format!("; {to_host} to the host, {to_client} back");
            ("flow ended", shown(flow) + &last)
        }
        Event::MappingAdded { mapping } => ("mapping added", mapped(mapping)),
        Event::MappingRemoved { mapping } => ("mapping removed", mapped(mapping)),
        Event::PathSilent { address, names, path } => {
            ("path silent", of_path(address, names, path))
        }
        Event::PathUsed { address, names, path } => {
            ("path used again", of_path(address, names, path))
        }
        Event::Rules { rules } => ("rules", status::rules(rules)),
        Event::Reload { reload } => ("reload", reloaded(reload)),
        Event::Warning { message } => ("WARNING", message.clone()),
        Event::Counted { counter, count, explanation } => {
            ("counted", format!("{count} more {counter}: {explanation}"))
        }
        Event::Missed { flows: Some(flows), .. } => {
            ("missed", format!("more than {flows} flows: none of them is told of"))
        }
        Event::Missed { mappings: Some(mappings), .. } => {
            ("missed", format!("more than {mappings} mapped addresses: none of them is told of"))
        }
        Event::Missed { events, .. } => ("missed", format!("{events} more events at once")),
        Event::Late { gap_ms } => (
            "late",
            format!(
                "no look for {:.1} s: what came and went meanwhile is missing",
                *gap_ms as f64 / 1000.0
            ),
        ),
    }
}

fn reloaded(Reload { number, state }: &Reload) -> String {
    match state {
        ReloadState::Waiting(rules) => format!("reload {number} waits for its rules ({rules})"),
        ReloadState::Done => format!("reload {number} is done"),
        ReloadState::Refused(why) => format!("reload {number} was refused: {why}"),
    }
}

fn shown(flow: &Flow) -> String {
    match &flow.ends {
        Ends::Client { application, mapped, name, outer, inner } => format!(
            "{} {application} -> {mapped} {}, as {} -> {} [{} -> {}]",
            flow.protocol,
            name.as_deref().unwrap_or("-"),
            outer.from,
            outer.to,
            inner.from,
            inner.to
        ),
        Ends::Gateway { client, inner, host, seen_as } => {
            format!("{} {client} [{inner}] -> {host}, seen as {seen_as}", flow.protocol)
        }
    }
}

fn mapped(mapping: &Mapping) -> String {
    let (names, paths) = (mapping.names.join(", "), mapping.paths.join("; "));
    format!("{} {names}: {paths}", mapping.address)
}

fn of_path(address: &std::net::Ipv4Addr, names: &[String], path: &str) -> String {
    format!("{address} {}: {path}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_an_object() {
        let event = Event::Counted {
            counter: "malformed".into(),
            count: 3,
            explanation: "Bad\x1b packets.".into(),
        };
        let dated = Dated { time_ms: 86_400_000 + 3_723_045, event };
        assert_eq!(
            line(&dated),
            "01:02:03.045  counted          3 more malformed: Bad\\027 packets.\n"
        );
        let object = json(&dated);
        assert!(
            object.starts_with(
                r#"{"version":1,"reply":"event","time_ms":90123045,"event":"counted""#
            )
        );
        assert!(object.ends_with("}\n") && object.matches('\n').count() == 1);
    }

    #[test]
    fn a_reader_who_slept_is_told_what_is_missing() {
        let mut heard = Heard::default();
        assert_eq!(heard.next(1_000, 1_100), None);
        // A reload: nobody was slow.
        heard.broken_off();
        assert_eq!(heard.next(2_000, 2_100), None);
        assert_eq!(heard.next(3_000, 90_000), None);
        heard.broken_off();
        let late = Dated { time_ms: 90_500, event: Event::Late { gap_ms: 87_500 } };
        assert_eq!(heard.next(90_500, 90_600), Some(late));
        heard.broken_off();
        assert_eq!(heard.next(91_000, 91_000), None);
    }

    #[test]
    fn a_reload_and_its_reason() {
        let state = ReloadState::Refused("c.toml: line 3: `\x1b`".into());
        let dated =
            Dated { time_ms: 0, event: Event::Reload { reload: Reload { number: 2, state } } };
        assert_eq!(
            line(&dated),
            "00:00:00.000  reload           reload 2 was refused: c.toml: line 3: `\\027`\n"
        );
        assert_eq!(
            json(&dated),
            "{\"version\":1,\"reply\":\"event\",\"time_ms\":0,\"event\":\"reload\",\"reload\":{\"number\":2,\
             \"state\":{\"refused\":\"c.toml: line 3: `\\u001b`\"}}}\n"
        );
    }
}
