//! `nattt explain`: everything about one name.

use std::fmt::Write;
use std::io;
use std::net::IpAddr;

use clap::Args;
use serde::Serialize;

use super::table::escape;
use super::{Done, FAILED, Failure, Global, NO_DAEMON, flows, mappings, units};
use crate::control::{
    Explanation, Judgement, LastDrop, Measurement, PathMtu, Reply, Request, RulesState, Subject,
    pretty,
};
use crate::dns::Name;
use crate::explain::{Answer, Asked, Conclusion, Data, Part, Record, conclude, hex};
use crate::os::control::{AskError, ask};
use crate::os::question;
use crate::path::{NAT_RR_TYPE, Path};

/// Which name, and who is asked about it.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The name: b.example
    name: Name,
    /// Ask this name server instead of those of /etc/resolv.conf
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
}

/// Everything that is known about a name.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    asked: Asked,
    /// The names whose addresses emulate a NAT record, where there is none.
    emulated_by: Vec<Part>,
    /// What the daemon knows, if it could be asked.
    known: Option<Explanation>,
    conclusion: Conclusion,
    /// Why the daemon said nothing.
    daemon: Option<String>,
}

/// Asks daemon, DNS, and the daemon again about what the DNS said.
pub(super) fn run(args: &ExplainArgs, global: &Global) -> Result<Done, Failure> {
    let name = args.name.to_string();
    let subject = Subject { name: name.clone(), ..Subject::default() };
    let first = known(global, subject);
    let record_type = first.as_ref().map_or(NAT_RR_TYPE, |known| known.record_type);
    let servers = args.server.map_or_else(question::name_servers, |server| vec![server]);
    let asked = question::ask(&args.name, record_type, &servers)
        .map_err(|error| failed(format!("cannot ask the DNS: {error}")))?
        .ok_or_else(|| failed("cannot ask the DNS: no name server can be used".into()))?;
    let known = first.and_then(|_| known(global, asked.subject(&name)));
    let no_daemon = matches!(known, Err(AskError::NoDaemon(_)));
    let report = Report::new(name, asked, known, rules(global));
    let status = match report.conclusion {
        _ if no_daemon => NO_DAEMON,
        Conclusion::Tunnelled
        | Conclusion::Direct
        | Conclusion::Ordinary
        | Conclusion::AddressWins
        | Conclusion::MappedBefore => 0,
        _ => FAILED,
    };
    let text = if global.json { pretty(&report) } else { report.render() };
    Ok(Done { text, status })
}

pub(super) fn failed(message: String) -> Failure {
    Failure { status: FAILED, message }
}

pub(super) fn known(global: &Global, subject: Subject) -> Result<Explanation, AskError> {
    match ask(&global.socket, &Request::Explain(subject))? {
        Reply::Explanation(explanation) => Ok(*explanation),
        _ => Err(AskError::Refused("it answered another question".into())),
    }
}

/// How the firewall rules are, as far as the daemon says.
pub(super) fn rules(global: &Global) -> RulesState {
    match ask(&global.socket, &Request::Status) {
        Ok(Reply::Status(status)) => status.rules.state,
        _ => RulesState::Unknown,
    }
}

impl Report {
    fn new(
        name: String,
        asked: Asked,
        known: Result<Explanation, AskError>,
        rules: RulesState,
    ) -> Self {
        let (known, daemon) = match known {
            Ok(known) => (Some(known), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let emulated_by = known.as_ref().map(|known| parts(&asked, known)).unwrap_or_default();
        let conclusion =
            conclude(&asked, known.as_ref()).with_emulation(&emulated_by).with_rules(rules);
        Self { name, asked, emulated_by, known, conclusion, daemon }
    }

    fn render(&self) -> String {
        let mut text = format!("{}, asked of {}:\n", escape(&self.name), self.asked.server);
        text += &lines("address", &self.asked.address);
        text += &lines("NAT record", &self.asked.nat);
        text += &self.paths();
        text += &emulation(&self.emulated_by);
        text += &self.known.as_ref().map(shown).unwrap_or_default();
        let daemon = self.daemon.as_ref().map(|error| format!("\n{}\n", escape(error)));
        text += &daemon.unwrap_or_default();
        text + &format!("\n{}: {}.\n", escape(&self.name), sentence(self.conclusion))
    }

    /// Each record decoded, with what the daemon thinks of it.
    fn paths(&self) -> String {
        let mut judgements = self.known.iter().flat_map(|known| &known.judgements);
        let mut text = String::new();
        for (record, path) in self.asked.paths() {
            let Data::Nat(rdata) = &record.data else { continue };
            text += &format!("\nRecord {}:\n", hex(rdata));
            match path {
                Ok(path) => text += &levels(&path, judgements.next()),
                Err(wrong) => text += &format!("  malformed: {wrong}\n"),
            }
        }
        text
    }
}

/// Asks for the names that emulate the NAT record. Of an alias they would be others.
fn parts(asked: &Asked, known: &Explanation) -> Vec<Part> {
    let is_alias = |record: &Record| matches!(record.data, Data::Alias(_));
    if !asked.paths().is_empty() || asked.address.records().iter().any(is_alias) {
        return Vec::new();
    }
    let part = |name: &String| {
        let answer = question::address(&name.parse().ok()?, asked.server);
        let failed = |error: io::Error| Answer::Failed { reason: error.to_string() };
        Some(Part { name: name.clone(), answer: answer.unwrap_or_else(failed) })
    };
    known.emulated_by.iter().filter_map(part).collect()
}

/// The boxes' names come first, then the host's.
fn emulation(parts: &[Part]) -> String {
    let place = |index: usize| match index + 1 == parts.len() {
        true => "host".into(),
        false => format!("NAT box {}", index + 1),
    };
    let one = |(index, part): (usize, &Part)| {
        format!("  {}:\n  {}", escape(&part.name), lines(&place(index), &part.answer))
    };
    let all: String = parts.iter().enumerate().map(one).collect();
    if all.is_empty() { all } else { format!("\nEmulated by the A records of:\n{all}") }
}

/// What a question brought.
fn lines(label: &str, answer: &Answer) -> String {
    let none = match answer {
        Answer::Records { records } => {
            return records.iter().map(|record| line(label, record)).collect();
        }
        Answer::NoData => "none (the name is there: NOERROR)".into(),
        Answer::NoName => "none (there is no such name: NXDOMAIN)".into(),
        Answer::Silent => "no answer came".into(),
        Answer::Failed { reason } => format!("no answer: {}", escape(reason)),
    };
    format!("  {label:<12}{none}\n")
}

fn line(label: &str, record: &Record) -> String {
    let owner = escape(&record.owner);
    let (label, what) = match &record.data {
        Data::Alias(target) => ("alias", escape(target)),
        Data::Address(addr) => (label, addr.to_string()),
        Data::Nat(rdata) => (label, hex(rdata)),
    };
    format!("  {label:<12}{what} (of {owner}, TTL {})\n", units::duration(record.ttl.into()))
}

/// The boxes on the way, each inside the one before.
fn levels(path: &Path, judgement: Option<&Judgement>) -> String {
    let mut text = String::new();
    for (level, hop) in (1..).zip(path.hops()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  NAT box {level}   {}, UDP port {}", hop.addr, hop.port);
    }
    let _ = writeln!(text, "  host        {}", path.host());
    if let Some(judgement) = judgement {
        let _ = match &judgement.refused {
            Some(why) => writeln!(text, "  REFUSED     {}", escape(why)),
            None => writeln!(text, "  MTU         {}", mtu(path, judgement)),
        };
    }
    text
}

/// What an application can send, and why.
fn mtu(path: &Path, Judgement { mtu, outer, path: known, .. }: &Judgement) -> String {
    let Some(outer) = outer else { return format!("{mtu} octets") };
    let link = outer.explained(&format!("route to {}", path.first().addr));
    let text = format!("{mtu} octets; with the tunnel's headers ");
    let Some(PathMtu { tcp, measured }) = known else { return text + &link };
    let Some(Measurement { octets, ago_s }) = measured else {
        return format!(
            "{text}{link}. What the whole path carries is not known: TCP counts on {tcp}"
        );
    };
    let ago = units::duration(*ago_s);
    let said = match *octets < outer.octets {
        true => format!(
            "{text}{octets} octets, what gets through whole, as measured {ago} ago; the first link \
             takes {link}"
        ),
        false => format!("{text}{link}. That gets through whole, as measured {ago} ago"),
    };
    match *tcp < (*octets).min(outer.octets) {
        true => format!("{said}. No more than {tcp} come back whole: TCP counts on that"),
        false => said,
    }
}

/// What the daemon knows.
fn shown(known: &Explanation) -> String {
    let mut text = match &known.mapping {
        Some(mapping) => format!("\nMapped:\n{}", mappings::render(std::slice::from_ref(mapping))),
        None => "\nMapped: no\n".into(),
    };
    if known.mapping.is_some() {
        text += &format!("\n{}", flows::render(known.flows.len(), &known.flows));
    }
    if let Some(LastDrop { counter, explanation, ago_s }) = &known.last_drop {
        let ago = units::duration(*ago_s);
        let why = format!("{counter}: {explanation}");
        text += &format!("\nLast packet not passed on, {ago} ago:\n  {}\n", escape(&why));
    }
    text
}

pub(super) fn sentence(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Tunnelled => "programs here reach it through a tunnel",
        Conclusion::Direct => {
            "it is right behind this host, and reached from here without a tunnel"
        }
        Conclusion::Unanswered => {
            "programs here send to it through a tunnel, but nothing has come back: `nattt trace` shows \
             how far packets get"
        }
        Conclusion::Outdated => {
            "programs here are still led where an earlier NAT record said: until its TTL ends, or natttd \
             is restarted (connections outlive that)"
        }
        Conclusion::Ordinary => "it has an address of its own, so natttd leaves it alone",
        Conclusion::AddressWins => {
            "it has an address of its own, which wins over its NAT record: remove its A record from the \
             zone if programs shall take the tunnel"
        }
        Conclusion::MappedBefore => {
            "its address is of the range of mapped ones, but not of natttd here: it seems that the router \
             that serves this host has given it, and leads there"
        }
        Conclusion::NoName => {
            "there is no such name; one with a NAT record exists, also without an address"
        }
        Conclusion::NoRecord => "it has neither an address nor a NAT record: add one in its zone",
        Conclusion::HalfEmulated => {
            "not every name that emulates its NAT record has an address: add what is missing in its zone"
        }
        Conclusion::EmulationSilent => {
            "its name server does not say whether every name that emulates its NAT record has an address: ask \
             again, or use another one"
        }
        Conclusion::NoAnswer => {
            "its name server gives no answer: look at /etc/resolv.conf, try `--server ADDRESS`, or write \
             the name whole (the search list is not used)"
        }
        Conclusion::NoNatAnswer => {
            "its name server does not answer questions for NAT records: use another one"
        }
        Conclusion::Malformed => "its NAT record is malformed: correct it in its zone",
        Conclusion::Refused => "its NAT record is refused, so nothing was mapped",
        Conclusion::LeftAlone => {
            "its NAT record is right, but the configuration leaves this name alone (`only_names`, \
             `except_names`)"
        }
        Conclusion::NotMapped => {
            "its NAT record is right, but the reply brought no mapped address. If the record is new: \
             that there was none is remembered for up to five minutes, by natttd until it is restarted. \
             Otherwise `nattt doctor` looks for the reason"
        }
        Conclusion::NoRules => {
            "natttd's firewall rules are not as they should be, so no mapped address leads anywhere: \
             `nattt status` says what to do"
        }
        Conclusion::Forgotten => {
            "natttd does not know its mapped address any more: a cache gave it; ask again in a minute"
        }
        Conclusion::NoDaemon => "its NAT record is right, but natttd cannot be asked",
        Conclusion::Unknown => {
            "whether its address is a mapped one or its own, natttd knows, here or on the router that serves \
             this host; it cannot be asked here"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Mapping, MappingState, Mtu};
    use std::net::Ipv4Addr;

    fn asked(address: Answer, rdata: &[u8]) -> Asked {
        let record = |data| Record { owner: "b.example.".into(), ttl: 300, data };
        let records =
            vec![record(Data::Alias("c\x1b.example.".into())), record(Data::Nat(rdata.to_vec()))];
        let server = Ipv4Addr::new(198, 51, 100, 53).into();
        Asked { server, address, nat: Answer::Records { records } }
    }

    fn known() -> Explanation {
        let mapping = Mapping {
            address: Ipv4Addr::new(127, 118, 232, 255),
            names: vec!["b.example.".into()],
            paths: vec!["203.0.113.1:100 10.0.0.1:100 192.168.0.2".into()],
            silent_paths: Vec::new(),
            expires_in_s: 250,
            flows: 0,
            state: MappingState::Live,
        };
        let drop = LastDrop { counter: "x".into(), explanation: "What x means.".into(), ago_s: 61 };
        Explanation {
            record_type: 65324,
            left_alone: false,
            emulated_by: Vec::new(),
            direct: false,
            judgements: vec![Judgement {
                refused: None,
                mtu: 1364,
                link_mtu: Some(1364),
                outer: Some(OUTER),
                path: None,
            }],
            mapping: Some(mapping),
            unmapped: Vec::new(),
            flows: Vec::new(),
            last_drop: Some(drop),
        }
    }

    const OUTER: Mtu = Mtu { octets: 1420, configured: 1500, route: Some(1420) };
    const NESTED: [u8; 16] = [203, 0, 113, 1, 0, 100, 10, 0, 0, 1, 0, 101, 192, 168, 0, 2];

    #[test]
    fn everything_is_shown() {
        let report = Report::new(
            "b.example.".into(),
            asked(Answer::NoData, &NESTED),
            Ok(known()),
            RulesState::Loaded,
        );
        let text = report.render();
        for part in [
            "b.example., asked of 198.51.100.53:\n",
            "  address     none (the name is there: NOERROR)\n",
            "  alias       c\\027.example. (of b.example., TTL 5m00s)\n",
            "  NAT record  CB00710100640A0000010065C0A80002 (of b.example.",
            "  NAT box 1   203.0.113.1, UDP port 100\n  NAT box 2   10.0.0.1, UDP port 101\n",
            "  host        192.168.0.2\n  MTU         1364 octets; with the tunnel's headers 1420 octets, \
             the MTU of the route to 203.0.113.1 (`mtu` = 1500)\n",
            "127.118.232.255  live",
            "No flow is open.",
            "1m01s ago:\n  x: What x means.\n",
            "\nb.example.: its NAT record is right, but",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_refused_or_malformed_is_said() {
        let mut known = known();
        known.judgements[0].refused = Some("it is private".into());
        let text =
            Report::new("b.".into(), asked(Answer::NoData, &NESTED), Ok(known), RulesState::Loaded)
                .render();
        assert!(text.contains("  REFUSED     it is private\n") && !text.contains("MTU"), "{text}");
        let daemon = AskError::NoDaemon("/run/x".into());
        let text =
            Report::new("b.".into(), asked(Answer::Silent, &[1]), Err(daemon), RulesState::Unknown)
                .render();
        assert!(text.contains("malformed: a NAT record has 6n+4 octets"), "{text}");
        assert!(text.contains("no natttd listens on /run/x"), "{text}");
        assert!(text.contains("address     no answer came"), "{text}");
    }

    #[test]
    fn json_has_the_conclusion_and_the_octets() {
        let daemon = AskError::NoDaemon("/run/x".into());
        let report = Report::new(
            "b.".into(),
            asked(Answer::NoData, &NESTED),
            Err(daemon),
            RulesState::Unknown,
        );
        let text = pretty(&report);
        for part in [r#""conclusion": "no-daemon""#, r#""nat": "CB0071"#, r#""answer": "no_data""#]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
