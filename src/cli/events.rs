//! `nattt events`: what happens in natttd, as it happens.

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
    loop {
        let mut printed = Ok(true);
        let enough = watch(&global.socket, |event| {
            printed = print(&if global.json { json(event) } else { line(event) });
            matches!(printed, Ok(true))
        })?;
        printed?;
        if enough {
            return Ok(Done::well(String::new()));
        }
        if pid(global).ok() != Some(daemon) {
            return Err(Failure { status: NO_DAEMON, message: "natttd has ended".into() });
        }
    }
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
        Event::Missed { events, flows: None } => {
            ("missed", format!("{events} more events at once"))
        }
        Event::Missed { flows: Some(flows), .. } => {
            ("missed", format!("more than {flows} flows: none of them is told of"))
        }
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
