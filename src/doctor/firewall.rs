//! Other people's firewall rules that drop our packets.

use ipnet::Ipv4Net;

use super::ruleset::{Chain, Direction, Hook, Language, Packet, Place, Ruleset};
use super::{Facts, Finding};
use crate::config::{Config, Export, Gateway, Mark};
use crate::path::TUNNEL_PORT;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet of ours and the place where rules see it.
struct Sample {
    hook: Hook,
    packet: Packet,
    /// What it is, for a sentence: "... are dropped".
    about: String,
}

pub(super) fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let text = |asked: &Result<String, String>| asked.clone().unwrap_or_default();
    let ruleset = Ruleset::read(&text(&facts.nft), &text(&facts.iptables));
    let mut findings: Vec<Finding> = unseen(facts).into_iter().collect();
    let mut blamed: Vec<&Chain> = Vec::new();
    for sample in samples(facts, config) {
        let Some(chain) = ruleset.dropping(sample.hook, &sample.packet) else { continue };
        // One rule lets all of them pass.
        if !blamed.contains(&chain) {
            blamed.push(chain);
            findings.push(Finding::problem(
                "firewall-drops",
                format!("{} are dropped by {chain}", sample.about),
                remedy(&ruleset, chain, config.mark),
            ));
        }
    }
    findings
}

fn unseen(facts: &Facts) -> Option<Finding> {
    let why = facts.nft.as_ref().err().or(facts.iptables.as_ref().err())?;
    let what = format!("other firewall rules cannot be seen: {why}");
    Some(Finding::information("firewall-unseen", what, "run `sudo nattt doctor`"))
}

fn samples(facts: &Facts, config: &Config) -> Vec<Sample> {
    let mark = config.mark.bit();
    let mut samples = Vec::new();
    if let Some(config) = &config.client {
        samples.extend(client(mark));
        let there = config.serve.iter().filter(|interface| exists(facts, interface));
        samples.extend(there.flat_map(|interface| served(interface, mark)));
    }
    if let Some(gateway) = &config.gateway {
        for export in &gateway.exports {
            samples.extend(of_export(facts, gateway, export, mark));
        }
    }
    samples
}

/// Nothing is known of it but that its connection is ours.
fn packet(mark: u32, direction: Direction) -> Packet {
    Packet {
        input: None,
        output: None,
        source: Place::Unknown,
        destination: Place::Unknown,
        protocol: TCP,
        source_port: None,
        destination_port: None,
        direction,
        mark,
    }
}

fn client(mark: u32) -> [Sample; 2] {
    let (out, back) = (packet(mark, Direction::New), packet(mark, Direction::Reply));
    let port = Some(TUNNEL_PORT);
    let out = Packet { protocol: UDP, destination: Place::Public, destination_port: port, ..out };
    let back = Packet { protocol: UDP, source: Place::Public, source_port: port, ..back };
    [
        Sample { hook: Hook::Output, packet: out, about: "tunnel packets to NAT boxes".into() },
        Sample { hook: Hook::Input, packet: back, about: "tunnel packets from NAT boxes".into() },
    ]
}

/// The same of hosts that are served: forwarded, as if they had sent them.
fn served(interface: &str, mark: u32) -> [Sample; 2] {
    let [out, back] = client(mark);
    let inside = Some(interface.to_owned());
    let out = Packet { input: inside.clone(), ..out.packet };
    let back = Packet { output: inside, ..back.packet };
    let about = |which: &str| format!("tunnel packets {which} hosts behind {interface}");
    [
        Sample { hook: Hook::Forward, packet: out, about: about("of") },
        Sample { hook: Hook::Forward, packet: back, about: about("to") },
    ]
}

/// What comes out of tunnels, and the answers.
fn of_export(facts: &Facts, gateway: &Gateway, export: &Export, mark: u32) -> Vec<Sample> {
    let own = export.exact().filter(|addr| facts.is_own(*addr)).is_some();
    let (hook_in, hook_out) =
        if own { (Hook::Input, Hook::Output) } else { (Hook::Forward, Hook::Forward) };
    let inside = (!own).then(|| inside(facts, export.prefix)).flatten();
    let protocol = export.protocol.unwrap_or(TCP);
    let port = export.ports.first().map(|range| *range.start());
    let host = Place::In(export.prefix);
    let of = |arrival: &String| {
        let to = Packet {
            input: Some(arrival.clone()),
            output: inside.clone(),
            source: Place::Public,
            destination: host,
            protocol,
            destination_port: port,
            ..packet(mark, Direction::New)
        };
        let back = Packet {
            input: inside.clone(),
            output: Some(arrival.clone()),
            source: host,
            destination: Place::Public,
            protocol,
            source_port: port,
            ..packet(mark, Direction::Reply)
        };
        let prefix = export.prefix;
        [
            Sample {
                hook: hook_in,
                packet: to,
                about: format!("packets from tunnels to {prefix}"),
            },
            Sample {
                hook: hook_out,
                packet: back,
                about: format!("answers of {prefix} to clients"),
            },
        ]
    };
    gateway.outside.iter().filter(|interface| exists(facts, interface)).flat_map(of).collect()
}

/// Nothing comes in by an interface that is not there: that is another finding.
fn exists(facts: &Facts, interface: &str) -> bool {
    facts.interfaces().any(|name| name == interface)
}

/// The interface to a network that is attached here.
fn inside(facts: &Facts, prefix: Ipv4Net) -> Option<String> {
    let attached = |(_, net): &&(String, Ipv4Net)| net.trunc().contains(&prefix);
    facts.addresses.iter().find(attached).map(|(name, _)| name.clone())
}

/// How the chain's keeper is told to accept marked connections; docs/firewalls.md names the test of each.
fn remedy(ruleset: &Ruleset, chain: &Chain, mark: Mark) -> String {
    match chain.language {
        Language::Iptables if chain.name.starts_with("ufw-") || ruleset.has_chain("ufw-") => {
            ufw(chain, mark)
        }
        Language::Iptables if chain.name == "FORWARD" && ruleset.has_chain("DOCKER-USER") => {
            format!("run `iptables -I DOCKER-USER {}`, and at every boot", accept(mark))
        }
        Language::Iptables => {
            let (table, name) = (&chain.table, &chain.name);
            format!("run `iptables -t {table} -I {name} {}`, and at every boot", accept(mark))
        }
        Language::Nft if chain.table.ends_with(" firewalld") => firewalld(chain),
        Language::Nft => format!(
            "run `nft insert rule {} {} ct mark and {mark} != 0 accept`, and write it into \
             /etc/nftables.conf",
            chain.table, chain.name
        ),
    }
}

/// A rule of iptables, its chain apart.
fn accept(mark: Mark) -> String {
    format!("-m connmark --mark {mark}/{mark} -j ACCEPT")
}

fn ufw(chain: &Chain, mark: Mark) -> String {
    if chain.name == "OUTPUT" {
        return format!("run `ufw allow out {TUNNEL_PORT}/udp`");
    }
    let before = format!("ufw-before-{}", chain.name.to_ascii_lowercase());
    format!(
        "add the line `-A {before} {}` to /etc/ufw/before.rules, before its COMMIT, and run \
         `ufw reload`",
        accept(mark)
    )
}

/// Its rules cannot ask for a mark, and what another table accepts, it still drops.
fn firewalld(chain: &Chain) -> String {
    if chain.name.contains("INPUT") {
        return "open the exported service in the zone where tunnels arrive, as in `firewall-cmd \
                --permanent --zone=external --add-service=http`, and run `firewall-cmd --reload`"
            .into();
    }
    "copy firewalld-policy.xml of /usr/share/doc/nattt/examples/firewall to \
     /etc/firewalld/policies/nattt.xml, write the zones of your interfaces into it, and run \
     `firewall-cmd --reload`; firewalld-direct.xml beside it keeps out what came through no tunnel"
        .into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, found, lacks};

    /// iptables-save of a filter table with these policies and rules.
    fn saved(policies: [&str; 3], rules: &str) -> Result<String, String> {
        let [input, forward, output] = policies;
        Ok(format!(
            "# Generated by iptables-save v1.8.9 (nf_tables)\n*filter\n:INPUT {input} [0:0]\n\
             :FORWARD {forward} [0:0]\n:OUTPUT {output} [0:0]\n{rules}\nCOMMIT\n"
        ))
    }

    const ESTABLISHED: &str = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";

    #[test]
    fn a_client_s_firewall_must_let_outer_udp_pass() {
        let mut facts = testing::client();
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], ESTABLISHED);
        lacks(&facts, "firewall-drops");
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], "-A INPUT -i lo -j ACCEPT");
        let input = found(&facts, "firewall-drops");
        assert!(
            input.what.contains("from NAT boxes are dropped by iptables' chain INPUT"),
            "{input:?}"
        );
        facts.iptables = saved(["ACCEPT", "DROP", "DROP"], "-A OUTPUT -p tcp -j ACCEPT");
        let output = found(&facts, "firewall-drops");
        assert!(output.fix.contains("-I OUTPUT -m connmark --mark 0x04000000/0x04000000"));
        facts.iptables =
            saved(["ACCEPT", "DROP", "DROP"], "-A OUTPUT -p udp --dport 100 -j ACCEPT");
        lacks(&facts, "firewall-drops");
    }

    #[test]
    fn hosts_that_are_served_pass_forward() {
        let mut facts = testing::client();
        testing::configure(&mut facts, testing::SERVING);
        facts.iptables = saved(["ACCEPT", "DROP", "ACCEPT"], "");
        // An interface that is not there is another finding.
        lacks(&facts, "firewall-drops");
        testing::set(&mut facts, "net/ipv4/conf/lan/forwarding", "1");
        let replies = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT";
        facts.iptables = saved(["ACCEPT", "DROP", "ACCEPT"], replies);
        assert!(found(&facts, "firewall-drops").what.contains("of hosts behind lan"));
        let both = format!("{replies}\n-A FORWARD -i lan -j ACCEPT");
        facts.iptables = saved(["ACCEPT", "DROP", "ACCEPT"], &both);
        lacks(&facts, "firewall-drops");
    }

    #[test]
    fn a_gateway_s_forward_chain_needs_one_rule() {
        let mut facts = testing::gateway();
        let replies = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT";
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], replies);
        let forward = found(&facts, "firewall-drops");
        assert!(forward.what.contains("packets from tunnels to 192.168.0.0/24"), "{forward:?}");
        assert!(forward.fix.contains("iptables -t filter -I FORWARD"), "{forward:?}");
        let rule = "-A FORWARD -m connmark --mark 0x4000000/0x4000000 -j ACCEPT";
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], rule);
        lacks(&facts, "firewall-drops");
        let one_way = "-A FORWARD -i wan -o lan -j ACCEPT";
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], one_way);
        assert!(found(&facts, "firewall-drops").what.contains("answers of 192.168.0.0/24"));
    }

    #[test]
    fn a_gateway_s_own_service_is_for_input() {
        let mut facts = testing::gateway();
        testing::configure(
            &mut facts,
            "[gateway]\noutside=[\"wan\"]\nexports=[{prefix=\"192.168.0.1\",protocol=\"tcp\",ports=[80]}]",
        );
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], "-A INPUT -p tcp --dport 22 -j ACCEPT");
        assert!(found(&facts, "firewall-drops").what.contains("chain INPUT"));
        facts.iptables = saved(["DROP", "DROP", "ACCEPT"], "-A INPUT -p tcp --dport 80 -j ACCEPT");
        lacks(&facts, "firewall-drops");
    }

    #[test]
    fn the_keeper_of_the_rules_is_named() {
        let fix = |rules: &str| {
            let mut facts = testing::gateway();
            facts.iptables = saved(["ACCEPT", "DROP", "ACCEPT"], rules);
            found(&facts, "firewall-drops").fix
        };
        assert!(fix(":ufw-before-forward - [0:0]").contains("-A ufw-before-forward -m connmark"));
        assert!(fix(":DOCKER-USER - [0:0]").contains("-I DOCKER-USER"));
        let mut client = testing::client();
        client.iptables = saved(["ACCEPT", "DROP", "DROP"], ":ufw-before-output - [0:0]");
        assert_eq!(found(&client, "firewall-drops").fix, "run `ufw allow out 100/udp`");
        let mut facts = testing::gateway();
        let nft = |table: &str| {
            Ok(format!(
                r#"{{"nftables":[{{"chain":{{"family":"inet","table":"{table}","name":"fwd",
                "type":"filter","hook":"forward","prio":10,"policy":"drop"}}}}]}}"#
            ))
        };
        facts.nft = nft("site");
        let fix = found(&facts, "firewall-drops").fix;
        assert!(fix.contains("nft insert rule inet site fwd ct mark and 0x04000000 != 0 accept"));
        facts.nft = nft("firewalld");
        assert!(found(&facts, "firewall-drops").fix.contains("firewalld-policy.xml"));
        facts.nft = nft("nattt");
        lacks(&facts, "firewall-drops");
    }

    #[test]
    fn rules_that_cannot_be_seen_are_named() {
        let mut facts = testing::client();
        facts.nft = Err("Operation not permitted".into());
        assert!(found(&facts, "firewall-unseen").what.contains("not permitted"));
    }
}
