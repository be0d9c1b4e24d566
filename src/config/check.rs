//! From what the file says to what the program may rely on.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::export::{Export, network};
use super::raw::{self, Int, Text, Texts};
use super::{Client, Config, ConfigError, Daemon, Flavour, Gateway, Mark, Queues};
use crate::dns::names::{Pattern, Selection};
use crate::path::{NAT_RR_TYPE, TUNNEL_PORT};

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
/// Resolvers and distributions use addresses here (127.0.0.53, 127.0.1.1).
const TAKEN: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 23);
const DEFAULT_POOL: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 64, 0, 0), 10);

/// Smallest datagram that every host takes (RFC 791 §3.1), to a jumbo frame.
const MTU: RangeInclusive<i64> = 576..=9000;
/// Longest interface name: IFNAMSIZ less its final zero.
const MAX_IFNAME: usize = 15;
/// Longest path of a Unix socket: `sun_path` less its final zero.
const MAX_SOCKET_PATH: usize = 107;
/// Longest name without its final dot, and longest label (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

pub(super) fn config(text: &str, raw: raw::Config) -> Result<Config, ConfigError> {
    if raw.client.is_none() && raw.gateway.is_none() {
        return Err(ConfigError::whole(
            "neither role is configured: write `[client]`, `[gateway]` or both on a line of its own",
        ));
    }
    let source = Source(text);
    let gateway = raw.gateway.map(|gateway| source.gateway(gateway)).transpose()?;
    let arrivals: Vec<&String> = gateway.iter().flat_map(Gateway::arrivals).collect();
    let client = raw.client.map(|client| source.client(client, &arrivals)).transpose()?;
    let pool = client.as_ref().map(|client| client.pool);
    Ok(Config {
        client,
        gateway,
        metrics: raw.metrics.map(|metrics| source.metrics(metrics, pool)).transpose()?,
        queues: source.queues(&raw.queues)?,
        mark: source.mark(raw.mark)?,
        firewall: source.firewall(raw.firewall)?,
        daemon: source.daemon(raw.daemon)?,
    })
}

/// The file's text, from which errors quote.
pub(super) struct Source<'a>(pub(super) &'a str);

impl Source<'_> {
    fn client(&self, raw: raw::Client, arrivals: &[&String]) -> Result<Client, ConfigError> {
        let pool = self.pool(raw.pool)?;
        let serve = self.serve(raw.serve, pool, arrivals)?;
        let listen = self.listen(raw.listen, pool, !serve.is_empty())?;
        Ok(Client {
            pool,
            serve,
            record_type: self.record_type(raw.record_type)?,
            answer_ttl: self.seconds(raw.answer_ttl_s, 1..=3600, 60)?,
            lookup_patience: self.millis(raw.lookup_patience_ms, 50..=4000, 1000)?,
            private_zones: self.each(raw.private_zones, zone)?,
            mtu: self.int(raw.mtu, MTU, 1500)?,
            measure_mtu: raw.measure_mtu.unwrap_or(true),
            max_flows: self.int(raw.max_flows, 1..=4_194_304, 65_536)?,
            max_flows_per_host: self.int(raw.max_flows_per_host, 1..=4_194_304, 4096)?,
            max_ports: self.int(raw.max_ports, 1..=60_000, 16_384)?,
            max_mappings: self.int(raw.max_mappings, 1..=4_194_304, 65_536)?,
            // A Linux NAT box forgets an unanswered UDP flow after 30 s.
            keepalive: self.seconds(raw.keepalive_s, 1..=120, 20)?,
            quarantine: self.seconds(raw.quarantine_s, 0..=604_800, 3600)?,
            emulations: self.emulations(raw.emulation)?,
            names: Selection {
                only: self.each(raw.only_names, pattern)?,
                except: self.each(raw.except_names, pattern)?,
            },
            upstream: self.upstream(raw.upstream, &listen)?,
            listen,
        })
    }

    fn gateway(&self, raw: Spanned<raw::Gateway>) -> Result<Gateway, ConfigError> {
        let section = raw.span();
        let raw = raw.into_inner();
        let max_flows = self.int(raw.max_flows, 1..=16_777_216, 262_144)?;
        let default_share = 8192.min(max_flows);
        let most = i64::try_from(max_flows).unwrap_or(i64::MAX);
        Ok(Gateway {
            outside: self.required(raw.outside, &section, OUTSIDE, |name| interface(name))?,
            hairpin: self.each(raw.hairpin, interface)?,
            enable_forwarding: raw.enable_forwarding.unwrap_or(false),
            port: self.int(raw.port, 1..=65_535, TUNNEL_PORT)?,
            exports: self
                .required(raw.exports, &section, EXPORTS, |raw| Export::from_raw(&raw.0))?,
            inside_sources: self.each(raw.inside_sources, network)?,
            mtu: self.int(raw.mtu, MTU, 1500)?,
            max_flows,
            max_flows_per_source: self.int(raw.max_flows_per_source, 1..=most, default_share)?,
        })
    }

    fn queues(&self, raw: &raw::Queues) -> Result<Queues, ConfigError> {
        let highest = i64::from(u16::MAX - Queues::LAST);
        Ok(Queues {
            first: self.int(raw.first.clone(), 0..=highest, 26_800)?,
            workers: self.int(raw.workers.clone(), 1..=i64::from(Queues::MAX_WORKERS), 4)?,
        })
    }

    fn mark(&self, raw: Int) -> Result<Mark, ConfigError> {
        let Some(raw) = raw else { return Ok(Mark::DEFAULT) };
        u32::try_from(*raw.get_ref()).ok().and_then(Mark::new).ok_or_else(|| {
            let default = Mark::DEFAULT;
            self.wrong(
                &raw,
                format!("the mark is one bit of 32; write one like `mark = {default}`"),
            )
        })
    }

    fn firewall(&self, raw: Text) -> Result<Flavour, ConfigError> {
        let Some(raw) = raw else { return Ok(Flavour::Nft) };
        raw.get_ref().parse().map_err(|_| {
            self.wrong(&raw, "write `firewall = \"nft\"` or `firewall = \"iptables\"`")
        })
    }

    fn daemon(&self, raw: raw::Daemon) -> Result<Daemon, ConfigError> {
        let control_socket = self.path(raw.control_socket, "/run/nattt/control.sock")?;
        Ok(Daemon { state_dir: self.path(raw.state_dir, "/var/lib/nattt")?, control_socket })
    }

    fn pool(&self, raw: Text) -> Result<Ipv4Net, ConfigError> {
        let Some(raw) = raw else { return Ok(DEFAULT_POOL) };
        let pool = network(raw.get_ref()).and_then(pool);
        pool.map_err(|message| self.wrong(&raw, message))
    }

    fn serve(
        &self,
        raw: Option<Spanned<Vec<Spanned<String>>>>,
        pool: Ipv4Net,
        arrivals: &[&String],
    ) -> Result<Vec<String>, ConfigError> {
        let Some(raw) = raw else { return Ok(Vec::new()) };
        if LOOPBACK.contains(&pool) && !raw.get_ref().is_empty() {
            return Err(self.wrong(&raw, SERVE_POOL));
        }
        self.list(raw.into_inner(), |name: &String| match interface(name)? {
            name if arrivals.contains(&&name) => Err(format!(
                "tunnel packets arrive on `{name}` for the gateway, so its hosts cannot be served; \
                 leave it out here or under [gateway]"
            )),
            name => Ok(name),
        })
    }

    fn record_type(&self, raw: Int) -> Result<u16, ConfigError> {
        // Types up to 255 have a meaning of their own, 65535 is reserved (RFC 6895 §3.1).
        self.int(raw, 256..=65_534, NAT_RR_TYPE)
    }

    fn path(&self, raw: Text, default: &str) -> Result<PathBuf, ConfigError> {
        let Some(raw) = raw else { return Ok(PathBuf::from(default)) };
        let path = raw.get_ref();
        if !path.starts_with('/') || path.len() > MAX_SOCKET_PATH || path.contains('\0') {
            let example = format!("write a path that starts with `/`, such as {default}");
            return Err(self.wrong(&raw, format!("{example}, of at most {MAX_SOCKET_PATH} octets")));
        }
        Ok(PathBuf::from(path))
    }

    /// An integer inside `range`; `T` holds every value of it.
    fn int<T: TryFrom<i64>>(
        &self,
        raw: Int,
        range: RangeInclusive<i64>,
        default: T,
    ) -> Result<T, ConfigError> {
        let Some(raw) = raw else { return Ok(default) };
        let value = Some(*raw.get_ref()).filter(|value| range.contains(value));
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.wrong(&raw, format!("write a number from {least} to {most}"))
        })
    }

    fn seconds(
        &self,
        raw: Int,
        range: RangeInclusive<i64>,
        default: u64,
    ) -> Result<Duration, ConfigError> {
        self.int(raw, range, default).map(Duration::from_secs)
    }

    fn millis(
        &self,
        raw: Int,
        range: RangeInclusive<i64>,
        default: u64,
    ) -> Result<Duration, ConfigError> {
        self.int(raw, range, default).map(Duration::from_millis)
    }

    /// A list that may be left out.
    fn each<T>(
        &self,
        raw: Texts,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        self.list(raw.unwrap_or_default(), |text: &String| parse(text))
    }

    /// A list that must be there and have an entry.
    pub(super) fn required<R, T>(
        &self,
        raw: Option<Spanned<Vec<Spanned<R>>>>,
        section: &std::ops::Range<usize>,
        missing: &str,
        parse: impl Fn(&R) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let raw = raw.ok_or_else(|| ConfigError::at(self.0, section.clone(), missing))?;
        if raw.get_ref().is_empty() {
            return Err(self.wrong(&raw, missing));
        }
        self.list(raw.into_inner(), parse)
    }

    pub(super) fn list<R, T>(
        &self,
        raw: Vec<Spanned<R>>,
        parse: impl Fn(&R) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let one =
            |item: &Spanned<R>| parse(item.get_ref()).map_err(|message| self.wrong(item, message));
        raw.iter().map(one).collect()
    }

    pub(super) fn wrong<T>(&self, value: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        ConfigError::at(self.0, value.span(), message)
    }
}

const OUTSIDE: &str = "a gateway needs the interfaces where tunnel packets arrive; write \
                       `outside = [\"eth0\"]` with their names";
const EXPORTS: &str = "a gateway lets nothing be reached unless told what; write \
                       `exports = [\"192.168.0.0/24\"]` with the networks behind it";

const SERVE_POOL: &str = "other hosts cannot send packets to addresses in 127.0.0.0/8; write \
                          `pool = \"198.18.0.0/15\"` too";

/// Networks that a routed pool may take: for benchmarks (RFC 2544 §11), shared (RFC 6598), private
/// (RFC 1918). Nobody on the Internet has an address there.
const ROUTED: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(198, 18, 0, 0), 15),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 168, 0, 0), 16),
];

fn pool(pool: Ipv4Net) -> Result<Ipv4Net, String> {
    if ![LOOPBACK].iter().chain(&ROUTED).any(|net| net.contains(&pool)) {
        return Err(format!(
            "the pool must lie inside 127.0.0.0/8, or, to be routed, inside 198.18.0.0/15 or a \
             private network; write one like `{DEFAULT_POOL}` or `198.18.0.0/15`"
        ));
    }
    if !(9..=24).contains(&pool.prefix_len()) {
        return Err(format!(
            "the pool's prefix must be /9 to /24; write one like `{DEFAULT_POOL}`"
        ));
    }
    if pool.contains(&TAKEN) || TAKEN.contains(&pool) {
        return Err(format!(
            "127.0.0.0 to 127.0.1.255 belong to the host's own services; write one like \
             `{DEFAULT_POOL}`"
        ));
    }
    Ok(pool)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    text.parse().map_err(|error| format!("`{}` is no name: {error}", text.escape_debug()))
}

/// A zone's name in lower case without its final dot.
pub(super) fn zone(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    if name.len() > MAX_NAME || !name.split('.').all(label) {
        return Err(format!(
            "`{}` is no zone; write a name like `corp.example`",
            text.escape_debug()
        ));
    }
    Ok(name)
}

/// A name that means one interface in every rule language: no wildcards, nothing to quote.
fn interface(name: &str) -> Result<String, String> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    let starts = name.bytes().next().is_some_and(|octet| octet.is_ascii_alphanumeric());
    if name == "lo" {
        return Err("tunnel packets never arrive on `lo`; name the interface to the outside".into());
    }
    if !starts || name.len() > MAX_IFNAME || !name.bytes().all(plain) {
        return Err(format!(
            "an interface name has 1 to {MAX_IFNAME} letters, digits, `.`, `_` or `-`; `ip link` \
             lists those of this host"
        ));
    }
    Ok(name.to_owned())
}
