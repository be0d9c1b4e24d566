//! Events, from what a daemon answers now and what it answered at the last look.
//!
//! Nothing in a packet's way tells of events, so they cost nothing while nobody listens, and no queue
//! of them can grow: a slow reader gets fewer looks. Little is missed by that, since no flow lives
//! less than the 25 s of an unanswered one, unless it makes room for another.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::{Counter, Dated, Endpoint, Ends, Event, Flow, Mapping, Reload, RulesStatus, Status};
use crate::counters;

/// How often to look, milliseconds.
pub const INTERVAL_MS: u64 = 500;
/// A reader that makes looks rarer than this is told that it missed something.
const LATE_MS: u64 = 5_000;
/// With more flows, none is told of: every look would cost too much.
pub const MAX_FLOWS: usize = 20_000;
/// The same of mapped addresses.
pub const MAX_MAPPINGS: usize = 20_000;
/// The most events of one look.
const MAX_EVENTS: usize = 1_000;

/// What a daemon answers.
#[derive(Debug, Clone)]
pub struct Look {
    /// When, milliseconds since the UNIX epoch.
    pub time_ms: u64,
    /// To [`super::Request::Status`].
    pub status: Status,
    /// To [`super::Request::Counters`].
    pub counters: Vec<Counter>,
    /// To [`super::Request::Mappings`]; `None`: there are more than [`MAX_MAPPINGS`].
    pub mappings: Option<Vec<Mapping>>,
    /// How many flows there are.
    pub total: usize,
    /// To [`super::Request::Flows`], [`MAX_FLOWS`] at most.
    pub flows: Vec<Flow>,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub struct Watcher {
    last: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    time_ms: u64,
    rules: RulesStatus,
    reload: Option<Reload>,
    warnings: Vec<String>,
    counters: HashMap<String, u64>,
    /// `None`: there were too many.
    mappings: Option<HashMap<Ipv4Addr, Mapping>>,
    /// The same.
    flows: Option<HashMap<Key, Flow>>,
}

/// What makes two flows the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key(String, [Endpoint; 3]);

impl Watcher {
    /// What happened since the last look.
    pub fn look(&mut self, look: Look) -> Vec<Dated> {
        let time_ms = look.time_ms;
        let seen = Seen::of(look);
        let mut events = match &self.last {
            Some(last) => seen.since(last),
            None => vec![Event::Watching {
                flows: seen.flows.as_ref().map_or(MAX_FLOWS, HashMap::len),
                mappings: seen.mappings.as_ref().map_or(MAX_MAPPINGS, HashMap::len),
                rules: seen.rules.clone(),
                reload: seen.reload.clone(),
            }],
        };
        self.last = Some(seen);
        let left = events.len().saturating_sub(MAX_EVENTS) as u64;
        if left > 0 {
            events.truncate(MAX_EVENTS);
            events.push(Event::Missed { events: left, flows: None, mappings: None });
        }
        events.into_iter().map(|event| Dated { time_ms, event }).collect()
    }
}

impl Seen {
    fn of(look: Look) -> Self {
        let too_many = look.total > look.flows.len();
        let flows = look.flows.into_iter().map(|flow| (Key::of(&flow), flow));
        Self {
            time_ms: look.time_ms,
            rules: look.status.rules,
            reload: look.status.reload,
            warnings: look.status.warnings,
            counters: look.counters.iter().filter(|c| is_trouble(c)).map(counted).collect(),
            mappings: look.mappings.map(|mappings| {
                mappings.into_iter().map(|mapping| (mapping.address, mapping)).collect()
            }),
            flows: (!too_many).then(|| flows.collect()),
        }
    }

    fn since(&self, last: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        let gap_ms = self.time_ms.saturating_sub(last.time_ms);
        if gap_ms > LATE_MS {
            events.push(Event::Late { gap_ms });
        }
        if self.rules != last.rules {
            events.push(Event::Rules { rules: self.rules.clone() });
        }
        let reload = self.reload.as_ref().filter(|_| self.reload != last.reload);
        events.extend(reload.map(|reload| Event::Reload { reload: reload.clone() }));
        let new = self.warnings.iter().filter(|warning| !last.warnings.contains(warning));
        events.extend(new.map(|message| Event::Warning { message: message.clone() }));
        events.extend(self.mapping_events(last));
        events.extend(self.flow_events(last));
        events.extend(self.counter_events(last));
        events
    }

    fn mapping_events(&self, last: &Self) -> Vec<Event> {
        let (Some(now), Some(then)) = (&self.mappings, &last.mappings) else {
            let first = self.mappings.is_none() && last.mappings.is_some();
            let missed = Event::Missed { events: 0, flows: None, mappings: Some(MAX_MAPPINGS) };
            return if first { vec![missed] } else { Vec::new() };
        };
        let mut events = Vec::new();
        for (address, mapping) in sorted(then) {
            if now.get(address).is_none_or(|now| now.paths != mapping.paths) {
                events.push(Event::MappingRemoved { mapping: Box::new(mapping.clone()) });
            }
        }
        for (address, mapping) in sorted(now) {
            let before = then.get(address).filter(|last| last.paths == mapping.paths);
            if before.is_none() {
                events.push(Event::MappingAdded { mapping: Box::new(mapping.clone()) });
            }
            let silent = |mapping: &Mapping| mapping.silent_paths.iter().cloned().collect();
            let was: BTreeSet<String> = before.map(silent).unwrap_or_default();
            let is: BTreeSet<String> = silent(mapping);
            let names = &mapping.names;
            let (address, names) = (*address, || names.clone());
            events.extend(is.difference(&was).map(|path| Event::PathSilent {
                address,
                names: names(),
                path: path.clone(),
            }));
            events.extend(was.difference(&is).map(|path| Event::PathUsed {
                address,
                names: names(),
                path: path.clone(),
            }));
        }
        events
    }

    fn flow_events(&self, last: &Self) -> Vec<Event> {
        let (Some(now), Some(then)) = (&self.flows, &last.flows) else {
            let first = self.flows.is_none() && last.flows.is_some();
            let missed = Event::Missed { events: 0, flows: Some(MAX_FLOWS), mappings: None };
            return if first { vec![missed] } else { Vec::new() };
        };
        let flow = |flow: &Flow| Box::new(flow.clone());
        let ended = then.iter().filter(|(key, _)| !now.contains_key(key));
        let mut events: Vec<_> =
            ended.map(|(_, gone)| Event::FlowEnded { flow: flow(gone) }).collect();
        for (key, found) in now {
            match then.get(key) {
                None => events.push(Event::FlowOpened { flow: flow(found) }),
                Some(before) if before.state != found.state => {
                    events.push(Event::FlowChanged { flow: flow(found), was: before.state.clone() })
                }
                Some(_) => {}
            }
        }
        events
    }

    fn counter_events(&self, last: &Self) -> Vec<Event> {
        let more = counters::Counter::ALL.iter().filter_map(|counter| {
            let name = counter.name();
            let value = self.counters.get(name)?;
            let count = value.saturating_sub(*last.counters.get(name)?);
            (count > 0).then(|| Event::Counted {
                counter: name.to_owned(),
                count,
                explanation: counter.explanation().to_owned(),
            })
        });
        more.collect()
    }
}

fn sorted(mappings: &HashMap<Ipv4Addr, Mapping>) -> Vec<(&Ipv4Addr, &Mapping)> {
    let mut sorted: Vec<_> = mappings.iter().collect();
    sorted.sort_by_key(|(address, _)| **address);
    sorted
}

fn counted(counter: &Counter) -> (String, u64) {
    (counter.name.clone(), counter.value)
}

/// What goes up while all is well is no event.
fn is_trouble(counter: &Counter) -> bool {
    use counters::Counter::{
        ClientDecapsulated, ClientDirect, ClientEncapsulated, ClientErrorDelivered,
        ClientErrorSent, DnsDenialLifted, DnsEmulated, DnsHeld, DnsHintsDropped, DnsMapped,
        DnsNamed, DnsNoRecord, DnsPassed, GatewayDecapsulated, GatewayEncapsulated,
        GatewayErrorForwarded, GatewayErrorPassed, GatewayErrorSent, KeepalivesReceived,
        KeepalivesSent, PathsMeasured, ProxyQuestions,
    };
    const FINE: [counters::Counter; 22] = [
        ClientDecapsulated,
        ClientDirect,
        ClientEncapsulated,
        ClientErrorDelivered,
        ClientErrorSent,
        DnsDenialLifted,
        DnsEmulated,
        DnsHeld,
        DnsHintsDropped,
        DnsMapped,
        DnsNamed,
        DnsNoRecord,
        DnsPassed,
        GatewayDecapsulated,
        GatewayEncapsulated,
        GatewayErrorForwarded,
        GatewayErrorPassed,
        GatewayErrorSent,
        KeepalivesReceived,
        KeepalivesSent,
        PathsMeasured,
        ProxyQuestions,
    ];
    FINE.iter().all(|fine| fine.name() != counter.name)
}

impl Key {
    fn of(flow: &Flow) -> Self {
        let ends = match &flow.ends {
            Ends::Client { application, mapped, outer, .. } => [*application, *mapped, outer.from],
            Ends::Gateway { client, inner, host, .. } => [*client, *inner, *host],
        };
        Self(flow.protocol.clone(), ends)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Leg, MappingState, RulesState, Traffic};
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().expect("an endpoint")
    }

    fn flow(port: u16, state: &str) -> Flow {
        let at = |addr: &str| endpoint(&format!("{addr}:{port}"));
        let leg = |from, to| Leg { from, to };
        let ends = Ends::Client {
            application: at("127.0.0.1"),
            mapped: endpoint("127.64.0.1:80"),
            name: None,
            outer: leg(at("198.51.100.10"), endpoint("203.0.113.1:100")),
            inner: leg(at("198.51.100.10"), endpoint("192.168.0.2:80")),
        };
        let traffic = Traffic::default();
        Flow {
            protocol: "tcp".into(),
            state: state.into(),
            ends,
            to_host: traffic,
            to_client: traffic,
            idle_s: 0,
            expires_in_s: 9,
        }
    }

    fn mapping(path: &str, silent: bool) -> Mapping {
        Mapping {
            address: Ipv4Addr::new(127, 64, 0, 1),
            names: vec!["b.example.".into()],
            paths: vec![path.into(), "other".into()],
            silent_paths: if silent { vec![path.into()] } else { Vec::new() },
            expires_in_s: 9,
            flows: 0,
            state: MappingState::Live,
        }
    }

    fn look(time_ms: u64, flows: Vec<Flow>, mappings: Vec<Mapping>, malformed: u64) -> Look {
        let counters = counters::Counters::default();
        counters.add_many(counters::Counter::Malformed, malformed);
        counters.add_many(counters::Counter::DnsPassed, malformed);
        let super::super::Reply::Counters { counters } = super::super::Reply::counters(&counters)
        else {
            unreachable!("counters were asked for")
        };
        const STATUS: &str = r#"{"version":1,"reply":"status","daemon_version":"0","pid":1,
            "uptime_s":1,"roles":[],"rules":{"state":"loaded","expected":"x"},"queues":[]}"#;
        let Ok(super::super::Reply::Status(status)) = super::super::decode(STATUS.as_bytes())
        else {
            unreachable!("a status")
        };
        let status = *status;
        Look { time_ms, status, counters, mappings: Some(mappings), total: flows.len(), flows }
    }

    fn events(watcher: &mut Watcher, look: Look) -> Vec<Event> {
        watcher.look(look).into_iter().map(|dated| dated.event).collect()
    }

    #[test]
    fn a_flow_is_opened_changes_and_ends() {
        let mut watcher = Watcher::default();
        let first = events(&mut watcher, look(0, vec![flow(1, "opening")], Vec::new(), 5));
        assert!(matches!(first[..], [Event::Watching { flows: 1, mappings: 0, .. }]), "{first:?}");
        let both = vec![flow(1, "established"), flow(2, "opening")];
        let mut second = events(&mut watcher, look(500, both, Vec::new(), 5));
        second.sort_by_key(|event| matches!(event, Event::FlowOpened { .. }));
        assert!(
            matches!(&second[..], [Event::FlowChanged { was, .. }, Event::FlowOpened { flow }]
                if was == "opening" && **flow == super::tests::flow(2, "opening")),
            "{second:?}"
        );
        let left = vec![flow(2, "opening")];
        let third = events(&mut watcher, look(1000, left.clone(), Vec::new(), 5));
        assert_eq!(third, [Event::FlowEnded { flow: Box::new(flow(1, "established")) }]);
        assert_eq!(events(&mut watcher, look(1500, left, Vec::new(), 5)), []);
    }

    #[test]
    fn mappings_and_their_paths() {
        let mut watcher = Watcher::default();
        watcher.look(look(0, Vec::new(), Vec::new(), 0));
        let mut told = |mappings| events(&mut watcher, look(0, Vec::new(), mappings, 0));
        let one = || Box::new(mapping("one", false));
        assert_eq!(told(vec![*one()]), [Event::MappingAdded { mapping: one() }]);
        let silent = told(vec![mapping("one", true)]);
        assert!(matches!(&silent[..], [Event::PathSilent { path, .. }] if path == "one"));
        let used = told(vec![*one()]);
        assert!(matches!(&used[..], [Event::PathUsed { path, .. }] if path == "one"));
        let two = || Box::new(mapping("two", false));
        assert_eq!(
            told(vec![*two()]),
            [Event::MappingRemoved { mapping: one() }, Event::MappingAdded { mapping: two() }]
        );
        assert_eq!(told(Vec::new()), [Event::MappingRemoved { mapping: two() }]);
    }

    #[test]
    fn only_trouble_is_counted_and_slowness_is_told() {
        let mut watcher = Watcher::default();
        watcher.look(look(0, Vec::new(), Vec::new(), 5));
        let told = events(&mut watcher, look(60_000, Vec::new(), Vec::new(), 8));
        assert!(
            matches!(&told[..], [Event::Late { gap_ms: 60_000 }, Event::Counted { counter, count: 3, .. }]
                if counter == "malformed"),
            "{told:?}"
        );
    }

    #[test]
    fn rules_and_warnings() {
        let mut watcher = Watcher::default();
        watcher.look(look(0, Vec::new(), Vec::new(), 0));
        let mut bad = look(500, Vec::new(), Vec::new(), 0);
        bad.status.rules.state = RulesState::Missing;
        bad.status.warnings = vec!["no".into()];
        let rules = Event::Rules { rules: bad.status.rules.clone() };
        let told = events(&mut watcher, bad.clone());
        assert_eq!(told, [rules, Event::Warning { message: "no".into() }]);
        assert_eq!(events(&mut watcher, bad), []);
    }

    #[test]
    fn a_reload_and_what_becomes_of_it() {
        use super::super::ReloadState;
        let with = |time_ms, reload: Option<(u64, ReloadState)>| {
            let mut look = look(time_ms, Vec::new(), Vec::new(), 0);
            look.status.reload = reload.map(|(number, state)| Reload { number, state });
            look
        };
        let told = |number, state| vec![Event::Reload { reload: Reload { number, state } }];
        let refused = || ReloadState::Refused("line 3".into());
        let mut watcher = Watcher::default();
        let first = events(&mut watcher, with(0, None));
        assert!(matches!(first[..], [Event::Watching { reload: None, .. }]), "{first:?}");
        let waiting = || ReloadState::Waiting("0123456789abcdef".into());
        assert_eq!(events(&mut watcher, with(500, Some((1, waiting())))), told(1, waiting()));
        assert_eq!(events(&mut watcher, with(1000, Some((1, waiting())))), []);
        let done = events(&mut watcher, with(1500, Some((1, ReloadState::Done))));
        assert_eq!(done, told(1, ReloadState::Done));
        assert_eq!(events(&mut watcher, with(2000, Some((2, refused())))), told(2, refused()));
        // The same refusal, but of another call.
        assert_eq!(events(&mut watcher, with(2500, Some((3, refused())))), told(3, refused()));
        let anew = events(&mut Watcher::default(), with(3000, Some((3, refused()))));
        assert!(
            matches!(&anew[..], [Event::Watching { reload: Some(last), .. }] if last.number == 3),
            "{anew:?}"
        );
    }

    /// A counter of what goes well would be told of twice a second.
    #[test]
    fn every_counter_that_is_told_of_says_what_is_wrong() {
        const WORDS: [&str; 11] = [
            "dropped",
            "rejected",
            "ignored",
            "refused",
            "passed on as they came",
            "passed on at once",
            "made room",
            "server failure",
            "another path",
            "past the tunnel",
            "in fragments",
        ];
        let all = Counter::all(&counters::Counters::default());
        for Counter { name, explanation, .. } in all.iter().filter(|counter| is_trouble(counter)) {
            assert!(WORDS.iter().any(|word| explanation.contains(word)), "{name}: {explanation}");
        }
    }

    #[test]
    fn more_than_a_reader_can_take_is_counted() {
        let mut watcher = Watcher::default();
        watcher.look(look(0, Vec::new(), Vec::new(), 0));
        let many = (0..MAX_EVENTS as u16 + 7).map(|port| flow(port, "opening")).collect();
        let told = events(&mut watcher, look(500, many, Vec::new(), 0));
        assert_eq!(told.len(), MAX_EVENTS + 1);
        assert_eq!(told.last(), Some(&Event::Missed { events: 7, flows: None, mappings: None }));
        let mut too_many = look(1000, vec![flow(1, "opening")], Vec::new(), 0);
        too_many.total = MAX_FLOWS + 1;
        let told = events(&mut watcher, too_many.clone());
        assert_eq!(told, [Event::Missed { events: 0, flows: Some(MAX_FLOWS), mappings: None }]);
        assert_eq!(events(&mut watcher, too_many), []);
        // The same of mapped addresses, of which the daemon then sends none.
        let unmapped = || Look { mappings: None, ..look(1500, Vec::new(), Vec::new(), 0) };
        let told = events(&mut watcher, unmapped());
        assert_eq!(told, [Event::Missed { events: 0, flows: None, mappings: Some(MAX_MAPPINGS) }]);
        assert_eq!(events(&mut watcher, unmapped()), []);
        assert_eq!(events(&mut watcher, look(2000, Vec::new(), Vec::new(), 0)), []);
    }
}
