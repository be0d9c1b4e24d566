//! The same rules for `iptables-restore --noflush`: chains of our own, and jumps to them.
//!
//! Loading the text declares our chains anew, which empties them. Jumps it can only add: the
//! language has no way to delete one that may be missing. A second plain load therefore leaves
//! them doubled, which changes nothing for any packet (the second pass meets a packet that the
//! first has queued, dropped or cleared of its mark, or one that no rule matches);
//! `nattt rules apply` first deletes, in the same transaction, those that are there.

use super::exported_tcp;
use super::timeouts::{TIMEOUTS, TimeoutPolicy};
use crate::config::{Client, Config, Export, Gateway, Mark, Queues};

/// Every chain of ours begins with this.
pub const PREFIX: &str = "NATTT-";

/// ICMP errors that may be passed on.
const ICMP_ERRORS: [&str; 3] = ["destination-unreachable", "time-exceeded", "parameter-problem"];

/// Leaves the destination as it is, and keeps later rules from changing it: NETMAP keeps the bits outside
/// its netmask, with /0 all of them.
const IDENTITY: &str = "NETMAP --to 0.0.0.0/0";

const HEADER: &str = "\
# NATTT's rules for `{tool}-restore --noflush`. Made from /etc/nattt/nattt.toml: change that
# file, not this text, then run `nattt rules apply`, which also removes the jumps of an older load.
";

pub(super) fn render(config: &Config, fingerprint: &str) -> String {
    let mut tables = Tables::default();
    tables.raw.declare(fingerprint);
    tables.answers(config.mark);
    if let Some(client) = &config.client {
        tables.client(config, client);
    }
    if let Some(gateway) = &config.gateway {
        tables.gateway(config, gateway);
    }
    HEADER.replace("{tool}", "iptables") + &tables.text()
}

/// IPv6's part: DNS replies that arrive over IPv6. Empty without the client role.
pub fn render_ip6tables(config: &Config) -> String {
    if config.client.is_none() {
        return String::new();
    }
    let mut security = Table::default();
    security.chain("INPUT", Place::Last);
    security.rule("INPUT", dns(config.queues));
    if let Some(client) = &config.client {
        security.served_dns(client, config.queues);
    }
    HEADER.replace("{tool}", "ip6tables") + &security.text("security")
}

/// Where a built-in chain gets its jump to ours.
#[derive(Clone, Copy)]
enum Place {
    /// Before the user's rules.
    First,
    /// After the user's rules.
    Last,
}

#[derive(Default)]
struct Tables {
    raw: Table,
    mangle: Table,
    nat: Table,
    filter: Table,
    security: Table,
}

impl Tables {
    /// What this host itself answers to the first packet of a tunnelled connection: see
    /// [`super::answers`].
    fn answers(&mut self, mark: Mark) {
        let answers = "--ctstate RELATED --ctdir REPLY ! --ctstatus CONFIRMED";
        let untracked = "-m conntrack --ctstate UNTRACKED";
        let marks = format!("-j MARK --set-xmark {mark}/{mark}");
        let unmarks = format!("-j MARK --set-xmark 0x00000000/{mark}");
        self.raw.chain("OUTPUT", Place::First);
        self.raw.declare("ANSWER");
        let others = format!("! -o lo {untracked} -m mark --mark {mark}/{mark}");
        self.raw.rule("OUTPUT", format!("{others} {unmarks}"));
        for kind in answers_of("-p tcp") {
            self.raw.rule("OUTPUT", format!("{kind} {} {answers} -j {PREFIX}ANSWER", ct(mark)));
        }
        self.raw.rule("ANSWER", unmarks);
        self.raw.rule("ANSWER", format!("-m addrtype --dst-type LOCAL {marks}"));
        self.raw.rule("ANSWER", "-j TEE --gateway 127.0.0.1");
        self.raw.rule("ANSWER", "-j DROP");

        self.mangle.chain("OUTPUT", Place::First);
        for kind in answers_of("-p tcp --tcp-flags RST RST") {
            let copy = format!("-o lo {kind} {untracked} -m addrtype --dst-type UNICAST");
            self.mangle.rule("OUTPUT", format!("{copy} {marks}"));
        }
    }

    /// Before others' rules that set the whole mark. Copies have no connection, so there is no NAT to wait
    /// for.
    fn copies(&mut self, matches: &str, config: &Config) {
        if !self.mangle.declares("COPIES") {
            self.mangle.declare("COPIES");
            self.mangle.jumps.push(format!("-I POSTROUTING -j {PREFIX}COPIES"));
        }
        let copies = copies(config.mark, config.queues);
        self.mangle.rule("COPIES", format!("{matches} {copies}"));
    }

    fn client(&mut self, config: &Config, client: &Client) {
        let (mark, pool, queues) = (config.mark, client.pool, config.queues);
        self.raw.chain("OUTPUT", Place::First);
        self.raw.rule("OUTPUT", format!("-s {pool} -p tcp --tcp-flags RST RST -j RETURN"));
        for error in ICMP_ERRORS {
            self.raw.rule("OUTPUT", format!("-s {pool} -p icmp --icmp-type {error} -j RETURN"));
        }
        self.raw.rule("OUTPUT", format!("-s {pool} -j DROP"));
        self.raw.queue("OUTPUT", format!("-d {pool}"), queues, ClientPort::Source);
        if config.gateway.is_some() {
            // To hosts right behind the gateway role there is no tunnel, and no keepalive either.
            self.raw.timeouts("OUTPUT", mark);
        }

        self.filter.chain("OUTPUT", Place::First);
        self.filter.reject("OUTPUT", client);

        self.mangle.save_mark("OUTPUT", "-m conntrack ! --ctstate UNTRACKED", mark);

        self.security.chain("INPUT", Place::Last);
        let replies = format!("-p udp {} --ctdir REPLY", ct(mark));
        self.security.queue("INPUT", replies, queues, ClientPort::Destination);
        if config.gateway.is_some() {
            // To hosts right behind the gateway role there is no tunnel.
            for protocol in ["-p tcp", "-p icmp"] {
                let replies =
                    format!("{protocol} {} --ctstate ESTABLISHED --ctdir REPLY", ct(mark));
                self.security.queue("INPUT", replies, queues, ClientPort::Destination);
            }
            self.security.rule("INPUT", format!("-p tcp {}", copies(mark, queues)));
        }
        let related = format!("-p icmp {} --ctstate RELATED --ctdir REPLY", ct(mark));
        self.security.rule("INPUT", format!("{related} {}", errors(queues)));
        self.security.rule("INPUT", format!("-p icmp {}", copies(mark, queues)));
        self.security.rule("INPUT", dns(config.queues));
        if client.is_routed() {
            self.routed_pool(config, client);
        }
        if !client.serve.is_empty() {
            self.served_hosts(config, client);
        }
    }

    /// Other hosts can send to a routed pool, whose route leads here.
    fn routed_pool(&mut self, config: &Config, client: &Client) {
        let pool = client.pool;
        self.raw.chain("PREROUTING", Place::First);
        self.raw.rule("PREROUTING", format!("! -i lo -s {pool} -j DROP"));
        for interface in &client.serve {
            let served = format!("-i {interface} -d {pool}");
            self.raw.queue("PREROUTING", served, config.queues, ClientPort::Source);
        }
        self.filter.chain("INPUT", Place::First);
        self.filter.reject("INPUT", client);
        // Local, but for nobody's published port: it stays as it is until it is refused.
        for hook in ["PREROUTING", "OUTPUT"] {
            self.nat.chain(hook, Place::First);
            self.nat.rule(hook, format!("-d {pool} -j {IDENTITY}"));
        }
    }

    fn served_hosts(&mut self, config: &Config, client: &Client) {
        self.mangle.chain("PREROUTING", Place::First);
        self.mangle.save_mark_of_arrivals(config.mark);
        self.security.served_dns(client, config.queues);
        if config.gateway.is_some() {
            // Whose own rule queues replies on all marked connections.
            return;
        }
        self.mangle.chain("POSTROUTING", Place::Last);
        for interface in &client.serve {
            let marked = ct(config.mark);
            let replies = format!("-o {interface} -p udp {marked} --ctdir REPLY");
            self.mangle.queue("POSTROUTING", replies, config.queues, ClientPort::Destination);
            let related =
                format!("-o {interface} -p icmp {marked} --ctstate RELATED --ctdir REPLY");
            self.mangle.rule("POSTROUTING", format!("{related} {}", errors(config.queues)));
            self.copies(&format!("-o {interface}"), config);
        }
    }

    fn gateway(&mut self, config: &Config, gateway: &Gateway) {
        self.decapsulate(config, gateway);
        self.forgotten(config, gateway);
        self.guard(config.mark, gateway);
        self.hairpin(config.mark, &config.turning());
        self.mangle.chain("POSTROUTING", Place::Last);
        // Those of this host's own programs arrive here, over lo too.
        let replies = format!("! -o lo {} --ctdir REPLY", ct(config.mark));
        self.mangle.queue("POSTROUTING", replies, config.queues, ClientPort::Destination);
        self.copies("! -o lo", config);
        let served = config.client.iter().flat_map(|client| &client.serve);
        for client in gateway.arrivals().chain(served) {
            for error in ICMP_ERRORS {
                let own = format!(
                    "-o {client} -p icmp --icmp-type {error} -m conntrack --ctstate INVALID,UNTRACKED"
                );
                self.mangle.rule("POSTROUTING", format!("{own} {}", errors(config.queues)));
            }
        }
    }

    fn decapsulate(&mut self, config: &Config, gateway: &Gateway) {
        let (mark, port) = (config.mark, gateway.port);
        // A routed pool is local, too.
        let routed = config.client.as_ref().filter(|client| client.is_routed());
        let own = routed.map_or(String::new(), |client| format!("! -d {} ", client.pool));
        let marked = format!("-m mark --mark {mark}/{mark}");
        self.raw.chain("PREROUTING", Place::First);
        self.raw.timeouts("PREROUTING", mark);
        self.raw.rule("PREROUTING", format!("{marked} -j RETURN"));
        for arrival in gateway.arrivals() {
            let local =
                format!("-i {arrival} {own}-p udp --dport {port} -m addrtype --dst-type LOCAL");
            self.raw.queue("PREROUTING", local, config.queues, ClientPort::Source);
            let quote = quotes_tunnel(port);
            for error in ICMP_ERRORS {
                let local = format!(
                    "-i {arrival} {own}-p icmp --icmp-type {error} -m addrtype --dst-type LOCAL"
                );
                self.raw.rule("PREROUTING", format!("{local} {quote} {}", errors(config.queues)));
            }
        }
        self.mangle.chain("PREROUTING", Place::First);
        self.mangle.save_mark_of_arrivals(mark);
        self.nat.chain("PREROUTING", Place::First);
        self.nat.rule("PREROUTING", format!("-m connmark --mark {mark}/{mark} -j {IDENTITY}"));
    }

    /// After the user's filter: what exported hosts send in the middle of connections that conntrack does not
    /// know, the first packet of each. Those of tunnels natttd gives back to it.
    fn forgotten(&mut self, config: &Config, gateway: &Gateway) {
        let (mark, errors) = (config.mark, errors(config.queues));
        let unknown = format!(
            "-m conntrack --ctstate NEW ! --ctstatus CONFIRMED -m connmark ! --mark {mark}/{mark}"
        );
        for (prefix, ports) in exported_tcp(gateway, ":") {
            self.security.chain("FORWARD", Place::Last);
            let ports = ports.map_or(String::new(), |ports| format!("--sport {ports} "));
            let middle = format!("-s {prefix} -p tcp {ports}! --syn {unknown}");
            self.security.rule("FORWARD", format!("{middle} {errors}"));
        }
    }

    fn guard(&mut self, mark: Mark, gateway: &Gateway) {
        let arrived = format!("{} --ctdir ORIGINAL", ct(mark));
        self.mangle.chain("FORWARD", Place::First);
        self.filter.chain("INPUT", Place::First);
        for address in gateway.exports.iter().filter_map(Export::exact) {
            self.filter.rule("INPUT", format!("-d {address} -j RETURN"));
        }
        for arrival in gateway.arrivals() {
            for out in gateway.outside.iter().filter(|out| !gateway.may_turn(arrival, out)) {
                self.mangle.rule("FORWARD", format!("-i {arrival} -o {out} {arrived} -j DROP"));
            }
            self.filter.rule("INPUT", format!("-i {arrival} {arrived} -j DROP"));
        }
    }

    /// Flows may leave where they came in, with this host's own address: the answers would pass it
    /// by otherwise. The mark of a flow's first packet asks for that; it stays on that packet, which
    /// leaves this host with it. (ICMP redirects would tell others of the shorter way, but the
    /// kernel sends none about what it translates.)
    fn hairpin(&mut self, mark: Mark, interfaces: &[&String]) {
        if interfaces.is_empty() {
            return;
        }
        for interface in interfaces {
            let turning = format!("-i {interface} -o {interface} {} --ctstate NEW", ct(mark));
            self.mangle.rule("FORWARD", format!("{turning} -j MARK --set-xmark {mark}/{mark}"));
        }
        self.nat.chain("POSTROUTING", Place::First);
        self.nat.rule("POSTROUTING", format!("-m mark --mark {mark}/{mark} -j MASQUERADE"));
    }

    fn text(&self) -> String {
        let tables = [
            ("raw", &self.raw),
            ("mangle", &self.mangle),
            ("nat", &self.nat),
            ("filter", &self.filter),
            ("security", &self.security),
        ];
        tables.into_iter().map(|(name, table)| table.text(name)).collect()
    }
}

/// One table's part of the text.
#[derive(Default)]
struct Table {
    chains: Vec<String>,
    jumps: Vec<String>,
    rules: Vec<String>,
}

impl Table {
    /// Declares `PREFIX` + `name`: made if missing, emptied if there.
    fn declare(&mut self, name: &str) {
        self.chains.push(format!(":{PREFIX}{name} - [0:0]"));
    }

    fn declares(&self, name: &str) -> bool {
        self.chains.contains(&format!(":{PREFIX}{name} - [0:0]"))
    }

    /// Declares our chain of a built-in one, with the jump to it. Both roles may want it.
    fn chain(&mut self, hook: &str, place: Place) {
        if self.declares(hook) {
            return;
        }
        self.declare(hook);
        let command = match place {
            Place::First => "-I",
            Place::Last => "-A",
        };
        self.jumps.push(format!("{command} {hook} -j {PREFIX}{hook}"));
    }

    fn rule(&mut self, chain: &str, rule: impl AsRef<str>) {
        self.rules.push(format!("-A {PREFIX}{chain} {}", rule.as_ref()));
    }

    /// The connections of what natttd has sent through here once more are remembered as long as its flows.
    fn timeouts(&mut self, chain: &str, mark: Mark) {
        for TimeoutPolicy { protocol, name, .. } in TIMEOUTS {
            let marked = format!("-m mark --mark {mark}/{mark} -p {protocol}");
            self.rule(chain, format!("{marked} -j CT --timeout {name}"));
        }
    }

    /// Queues what matches, in the flow's own queue.
    fn queue(&mut self, chain: &str, matches: String, queues: Queues, port: ClientPort) {
        let rules = spread(queues, port);
        if let [only] = &rules[..] {
            return self.rule(chain, format!("{matches} {only}"));
        }
        let name = format!("NFQUEUE-{}", port.name());
        self.rule(chain, format!("{matches} -j {PREFIX}{name}"));
        if !self.declares(&name) {
            self.declare(&name);
            rules.iter().for_each(|rule| self.rule(&name, rule));
        }
    }

    /// The sender fails at once.
    fn reject(&mut self, chain: &str, client: &Client) {
        let pool = client.pool;
        self.rule(chain, format!("-d {pool} -p tcp -j REJECT --reject-with tcp-reset"));
        self.rule(chain, format!("-d {pool} -j REJECT --reject-with icmp-admin-prohibited"));
    }

    /// DNS replies to served hosts.
    fn served_dns(&mut self, client: &Client, queues: Queues) {
        for interface in &client.serve {
            self.chain("FORWARD", Place::Last);
            self.rule("FORWARD", format!("-o {interface} {}", dns(queues)));
        }
    }

    /// The connection keeps the mark, the packet does not.
    fn save_mark(&mut self, chain: &str, matches: &str, mark: Mark) {
        self.set_marks(chain, (matches, matches), mark);
    }

    /// Of what has come from the network: not if it passes for an answer in a host's own connection. Whoever has
    /// forged it must not make a tunnel's of that.
    fn save_mark_of_arrivals(&mut self, mark: Mark) {
        let arrivals = ("! -i lo -m conntrack --ctdir ORIGINAL", "! -i lo");
        self.set_marks("PREROUTING", arrivals, mark);
    }

    fn set_marks(&mut self, chain: &str, (connections, packets): (&str, &str), mark: Mark) {
        let marked = format!("-m mark --mark {mark}/{mark}");
        let first = format!("{connections} {marked} -j CONNMARK --set-xmark {mark}/{mark}");
        if self.rules.contains(&format!("-A {PREFIX}{chain} {first}")) {
            return;
        }
        self.rule(chain, first);
        self.rule(chain, format!("{packets} {marked} -j MARK --set-xmark 0x00000000/{mark}"));
    }

    fn text(&self, name: &str) -> String {
        if self.chains.is_empty() {
            return String::new();
        }
        let parts = [&self.chains[..], &self.rules[..], &self.jumps[..]];
        format!("*{name}\n{}\nCOMMIT\n", parts.concat().join("\n"))
    }
}

/// Matches the connections that carry the mark; `--ctdir` is to follow.
fn ct(mark: Mark) -> String {
    format!("-m connmark --mark {mark}/{mark} -m conntrack")
}

/// Matches ICMP that quotes IPv4 without options, UDP and the source port `port`.
fn quotes_tunnel(port: u16) -> String {
    let icmp = "0>>22&0x3C@";
    format!("-m u32 --u32 \"{icmp}8>>24=0x45&&{icmp}16>>16&0xFF=17&&{icmp}28>>16={port}\"")
}

/// What may be an answer of this host itself: of TCP's segments `resets`, and ICMP errors.
fn answers_of(resets: &str) -> impl Iterator<Item = String> {
    let errors = ICMP_ERRORS.iter().map(|error| format!("-p icmp --icmp-type {error}"));
    std::iter::once(resets.to_owned()).chain(errors)
}

/// Queues the copies of what this host itself answers.
fn copies(mark: Mark, queues: Queues) -> String {
    let queue = queues.data().start;
    format!(
        "-m mark --mark {mark}/{mark} -m conntrack --ctstate UNTRACKED -j NFQUEUE --queue-num {queue}"
    )
}

/// Errors are rare: they need no queue of their flow. Without the daemon they go their own way.
fn errors(queues: Queues) -> String {
    format!("-j NFQUEUE --queue-num {} --queue-bypass", queues.data().start)
}

fn dns(queues: Queues) -> String {
    let queue = queues.dns();
    format!(
        "-p udp --sport 53 -m conntrack --ctdir REPLY -j NFQUEUE --queue-num {queue} --queue-bypass"
    )
}

/// The port that differs from flow to flow. The other one is a service's, or the tunnel port.
#[derive(Clone, Copy)]
enum ClientPort {
    Source,
    Destination,
}

impl ClientPort {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "SOURCE",
            Self::Destination => "DESTINATION",
        }
    }

    /// What `-m u32` reads: eight bits of the port behind the IPv4 header. The lowest bit is left
    /// out, because Linux gives connecting sockets even ports first. Of protocols without ports this
    /// reads something else; ping's checksum spreads its packets, whose order does not matter.
    fn bits(self) -> &'static str {
        match self {
            Self::Source => "0>>22&0x3C@0>>17&0xFF",
            Self::Destination => "0>>22&0x3C@0>>1&0xFF",
        }
    }
}

/// Rules that spread flows over the queues: all packets of one go to the same, so that they stay
/// in order. NFQUEUE's own spreading knows only addresses, which puts everything between two
/// hosts on one queue, or the CPU, which tears flows apart.
fn spread(queues: Queues, port: ClientPort) -> Vec<String> {
    let (first, workers) = (queues.data().start, u32::from(queues.workers));
    let share = |worker: u32| 256 * worker / workers;
    let mut rules: Vec<String> = (1..workers)
        .map(|worker| {
            let (bits, from, to) = (port.bits(), share(worker), share(worker + 1) - 1);
            let queue = u32::from(first) + worker;
            format!("-m u32 --u32 \"{bits}={from}:{to}\" -j NFQUEUE --queue-num {queue}")
        })
        .collect();
    rules.push(format!("-j NFQUEUE --queue-num {first}"));
    rules
}
