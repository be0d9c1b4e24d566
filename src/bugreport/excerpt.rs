//! Our rules as they are loaded, and of everybody else's only which chains there are.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rules::IPTABLES_PREFIX;

/// Base chains of `nft -j list ruleset`, one a line: family, table, name, hook, priority, policy, and
/// how many rules it has. Rules, sets and comments are left out.
pub fn nft_chains(json: &str) -> String {
    let Ok(listing) = serde_json::from_str::<Value>(json) else { return String::new() };
    let objects = listing.get("nftables").and_then(Value::as_array);
    let objects: Vec<_> = objects.into_iter().flatten().collect();
    let key = |object: &Value, name: &str| {
        ["family", "table", name].map(|field| word(object, field)).join(" ")
    };
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        *rules.entry(key(rule, "chain")).or_default() += 1;
    }
    let mut text = String::new();
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        let name = key(chain, "name");
        let count = rules.get(&name).copied().unwrap_or_default();
        if chain.get("hook").is_some() {
            let [hook, priority, policy] =
                ["hook", "prio", "policy"].map(|field| word(chain, field));
            text += &format!("{name}: {hook} {priority} {policy}, {count} rules\n");
        }
    }
    text
}

fn word(object: &Value, field: &str) -> String {
    match object.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".into(),
    }
}

/// `iptables-save`: our chains, the jumps to them, and the name and policy of every other chain with
/// how many rules it has.
pub fn iptables(saved: &str) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut table = "";
    for line in saved.lines() {
        table = line.strip_prefix('*').unwrap_or(table);
        if let Some(chain) = line.strip_prefix("-A ").and_then(|rule| rule.split(' ').next()) {
            *counts.entry((table, chain)).or_default() += 1;
        }
    }
    let mut text = String::new();
    for line in saved.lines() {
        table = line.strip_prefix('*').unwrap_or(table);
        if let Some(chain) = line.strip_prefix(':') {
            let mut fields = chain.split(' ');
            let (name, policy) = (fields.next().unwrap_or_default(), fields.next().unwrap_or("-"));
            let count = counts.get(&(table, name)).copied().unwrap_or_default();
            text += &format!(":{name} {policy}, {count} rules\n");
        } else if line.starts_with('*') || line.starts_with("-A") && line.contains(IPTABLES_PREFIX)
        {
            text += &format!("{line}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_other_rules_only_the_chains_are_shown() {
        let json = r#"{"nftables":[{"metainfo":{}},
            {"chain":{"family":"ip","table":"site","name":"in","handle":1,"type":"filter","hook":"input","prio":-5,"policy":"drop"}},
            {"chain":{"family":"ip","table":"site","name":"helper","handle":2}},
            {"rule":{"family":"ip","table":"site","chain":"in","comment":"the boss's laptop","expr":[]}}]}"#;
        assert_eq!(nft_chains(json), "ip site in: input -5 drop, 1 rules\n");
        assert_eq!(nft_chains("not json"), "");
        assert_eq!(nft_chains(r#"{"nftables":[{"chain":[]},{"rule":7}]}"#), "");
    }

    #[test]
    fn our_iptables_rules_are_shown() {
        let saved = "# Generated\n*mangle\n:OUTPUT ACCEPT [1:2]\n:NATTT-OUTPUT - [0:0]\n\
                     -A OUTPUT -j NATTT-OUTPUT\n-A OUTPUT -d 192.0.2.9/32 -j DROP\n\
                     -A NATTT-OUTPUT -j ACCEPT\nCOMMIT\n*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n";
        assert_eq!(
            iptables(saved),
            "*mangle\n:OUTPUT ACCEPT, 2 rules\n:NATTT-OUTPUT -, 1 rules\n\
             -A OUTPUT -j NATTT-OUTPUT\n-A NATTT-OUTPUT -j ACCEPT\n*filter\n:OUTPUT DROP, 0 rules\n"
        );
    }
}
