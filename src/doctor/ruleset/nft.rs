//! `nft -j list ruleset` (libnftables-json(5)).

use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::iptables::{network, protocol};
use super::packet::{Match, Question};
use super::{Base, Chain, Hook, Language, Rule, Verdict};
use crate::rules::NFT_TABLE;

/// The chains of all tables that IPv4 packets pass, but for our own.
pub(super) fn chains(text: &str) -> Vec<Chain> {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let objects = document["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let mut chains: Vec<Chain> =
        objects.iter().filter_map(|object| chain(object.get("chain")?)).collect();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        let at = table(rule).zip(rule["chain"].as_str());
        let chain = at.and_then(|(table, name)| {
            chains.iter_mut().find(|chain| chain.table == table && chain.name == name)
        });
        if let (Some(chain), Some(expressions)) = (chain, rule["expr"].as_array()) {
            chain.rules.extend(rules(expressions));
        }
    }
    chains
}

fn chain(object: &Value) -> Option<Chain> {
    let table = table(object)?;
    let name = object["name"].as_str()?.to_owned();
    let hook = object["hook"].as_str().and_then(Hook::named);
    // Translation drops nothing.
    let filter = object["type"].as_str() == Some("filter");
    let priority = object["prio"].as_i64().unwrap_or_default();
    let drops = object["policy"].as_str() == Some("drop");
    let base = hook.filter(|_| filter).map(|hook| Base { hook, priority, drops });
    Some(Chain { language: Language::Nft, table, name, base, rules: Vec::new() })
}

/// Family and name.
fn table(object: &Value) -> Option<String> {
    let family = object["family"].as_str().filter(|family| ["ip", "inet"].contains(family))?;
    let name = object["table"].as_str()?;
    (name != NFT_TABLE).then(|| format!("{family} {name}"))
}

/// A rule, or one for each entry of the verdict map that it ends with.
fn rules(expressions: &[Value]) -> Vec<Rule> {
    let mut matches = Vec::new();
    for expression in expressions {
        let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next())
        else {
            continue;
        };
        match kind.as_str() {
            "match" => matches.extend(read_match(body)),
            "vmap" => return verdict_map(&matches, body),
            // A match that only iptables can read, or a target of its kind.
            "xt" if body["type"].as_str() == Some("target") => {
                let verdict = foreign_target(body["name"].as_str().unwrap_or_default());
                return vec![Rule { matches, verdict }];
            }
            "xt" | "limit" | "quota" | "ct count" => matches.push(unknown()),
            _ => {
                if let Some(verdict) = verdict(kind, body) {
                    return vec![Rule { matches, verdict }];
                }
            }
        }
    }
    vec![Rule { matches, verdict: Verdict::Continue }]
}

fn foreign_target(name: &str) -> Verdict {
    match name {
        "REJECT" => Verdict::Drop,
        "NFQUEUE" => Verdict::Elsewhere,
        _ => Verdict::Continue,
    }
}

fn verdict(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || body["target"].as_str().map(str::to_owned);
    match kind {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "queue" => Some(Verdict::Elsewhere),
        "jump" => target().map(Verdict::Jump),
        "goto" => target().map(Verdict::Goto),
        _ => None,
    }
}

fn verdict_map(before: &[Match], body: &Value) -> Vec<Rule> {
    let Some(entries) = body["data"]["set"].as_array() else {
        let matches = [before, &[unknown()]].concat();
        return vec![Rule { matches, verdict: Verdict::Elsewhere }];
    };
    let rule = |entry: &Value| {
        let (value, then) = (entry.get(0)?, entry.get(1)?.as_object()?.iter().next()?);
        let asked = asked(&body["key"], value, false);
        let matches = before.iter().cloned().chain(asked).collect();
        Some(Rule { matches, verdict: verdict(then.0, then.1).unwrap_or(Verdict::Continue) })
    };
    entries.iter().filter_map(rule).collect()
}

fn unknown() -> Match {
    Match { negated: false, question: Question::Unknown }
}

fn read_match(body: &Value) -> Vec<Match> {
    let (left, right) = (&body["left"], &body["right"]);
    match body["op"].as_str() {
        Some("==" | "in") => asked(left, right, false),
        Some("!=") => asked(left, right, true),
        _ => vec![unknown()],
    }
}

/// What is asked, after the protocol that the question implies: nft does not list that.
fn asked(left: &Value, right: &Value, negated: bool) -> Vec<Match> {
    let implied = left["payload"]["protocol"].as_str().and_then(|name| match name {
        "ip" | "th" => None,
        "ip6" => Some(Question::Family(false)),
        name => protocol(name).map(|number| Question::Protocol(vec![number])),
    });
    let implied = implied.map(|question| Match { negated: false, question });
    let asked = match question(left, right) {
        Some(question) => Match { negated, question },
        None => unknown(),
    };
    implied.into_iter().chain([asked]).collect()
}

/// What is asked, if all of it is understood.
fn question(left: &Value, right: &Value) -> Option<Question> {
    let values = values(right)?;
    if let Some(key) = left["meta"]["key"].as_str() {
        return of_meta(key, &values);
    }
    if let Some(key) = left["ct"]["key"].as_str() {
        return of_connection(key, &values);
    }
    if let Some(masked) = left["&"].as_array() {
        return masked_mark(masked, &values);
    }
    let payload = &left["payload"];
    match (payload["protocol"].as_str()?, payload["field"].as_str()?) {
        ("ip", "saddr") => each(&values, address).map(Question::Source),
        ("ip", "daddr") => each(&values, address).map(Question::Destination),
        ("ip", "protocol") => each(&values, protocol_number).map(Question::Protocol),
        (_, "sport") => each(&values, ports).map(Question::SourcePort),
        (_, "dport") => each(&values, ports).map(Question::DestinationPort),
        _ => None,
    }
}

fn of_meta(key: &str, values: &[&Value]) -> Option<Question> {
    match key {
        "iifname" | "iif" => each(values, text).map(Question::Input),
        "oifname" | "oif" => each(values, text).map(Question::Output),
        "l4proto" => each(values, protocol_number).map(Question::Protocol),
        "nfproto" => Some(Question::Family(values.iter().any(|family| *family == "ipv4"))),
        _ => None,
    }
}

fn of_connection(key: &str, values: &[&Value]) -> Option<Question> {
    match (key, values) {
        ("state", _) => each(values, text).map(Question::State),
        ("status", _) => each(values, text).map(Question::Status),
        ("direction", [one]) => text(one).map(Question::Direction),
        ("mark", [one]) => whole(one).map(|value| Question::Mark { value, mask: u32::MAX }),
        _ => None,
    }
}

/// `ct mark and MASK == VALUE`.
fn masked_mark(masked: &[Value], values: &[&Value]) -> Option<Question> {
    let ([left, mask], [value]) = (masked, values) else { return None };
    let is_mark = left["ct"]["key"].as_str() == Some("mark");
    let (value, mask) = (whole(value)?, whole(mask)?);
    is_mark.then_some(Question::Mark { value, mask })
}

/// One value, or those of a list or set. Named sets are not looked into.
fn values(right: &Value) -> Option<Vec<&Value>> {
    let list = right.as_array().or_else(|| right["set"].as_array());
    let values: Vec<&Value> = match list {
        Some(list) => {
            list.iter().map(|value| value.get("elem").map_or(value, |e| &e["val"])).collect()
        }
        None => vec![right],
    };
    let named = |value: &&Value| value.as_str().is_some_and(|text| text.starts_with('@'));
    (!values.iter().any(named)).then_some(values)
}

fn each<T>(values: &[&Value], read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    values.iter().map(|value| read(value)).collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|value| value.try_into().ok())
}

fn address(value: &Value) -> Option<Ipv4Net> {
    match value.get("prefix") {
        Some(prefix) => {
            let len = u8::try_from(prefix["len"].as_u64()?).ok()?;
            Ipv4Net::new(prefix["addr"].as_str()?.parse().ok()?, len).ok()
        }
        None => network(value.as_str()?),
    }
}

fn protocol_number(value: &Value) -> Option<u8> {
    match value.as_str() {
        Some(name) => protocol(name),
        None => value.as_u64().and_then(|value| value.try_into().ok()),
    }
}

fn ports(value: &Value) -> Option<RangeInclusive<u16>> {
    let port = |value: &Value| value.as_u64().and_then(|value| value.try_into().ok());
    match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => Some(port(first)?..=port(last)?),
        _ => port(value).map(|port| port..=port),
    }
}
