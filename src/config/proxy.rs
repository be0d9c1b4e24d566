//! `listen` and `upstream` under `[client]`: the DNS proxy.

use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use toml::Spanned;

use super::ConfigError;
use super::check::Source;
use crate::dns::packet::DNS_PORT;

/// The most addresses in either list.
const MAX_ADDRESSES: usize = 16;

const NO_PROXY: &str = "these are the servers of the DNS proxy, which is off; write \
                        `listen = [\"127.0.0.1:300\"]` too, or leave `upstream` out";
const TOO_MANY: &str = "write 16 addresses at most";

type Addresses = Option<Spanned<Vec<Spanned<String>>>>;

impl Source<'_> {
    /// Where the proxy listens. Whether an address that is not loopback is a served interface's shows
    /// when it is bound.
    pub(super) fn listen(
        &self,
        raw: Addresses,
        pool: Ipv4Net,
        serves: bool,
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        self.addresses(raw, |text| {
            let addr = address(text, "127.0.0.1:300")?;
            match addr.ip() {
                IpAddr::V4(ip) if pool.contains(&ip) => Err(format!(
                    "{ip} is in the pool, whose addresses stand for remote hosts; write \
                     `127.0.0.1:300`"
                )),
                ip if ip.is_loopback() => Ok(addr),
                ip if ip.is_unspecified() => Err(format!(
                    "at {ip} anybody could ask; write `127.0.0.1:300`, or the address of an \
                     interface in `serve`"
                )),
                IpAddr::V4(_) if serves => Ok(addr),
                ip => Err(format!(
                    "other hosts could ask at {ip}; write `127.0.0.1:300`, or `serve` with a routed \
                     pool, and an IPv4 address of an interface that is served"
                )),
            }
        })
    }

    pub(super) fn upstream(
        &self,
        raw: Addresses,
        listen: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        if let Some(raw) = raw.as_ref().filter(|raw| listen.is_empty() && !raw.get_ref().is_empty())
        {
            return Err(self.wrong(raw, NO_PROXY));
        }
        self.addresses(raw, |text| {
            let addr = address(text, "198.51.100.53")?;
            let impossible = match addr.ip() {
                IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
                IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
            };
            match addr {
                _ if listen.contains(&addr) => Err(format!(
                    "natttd itself listens at {addr}; name the servers that it shall ask"
                )),
                _ if impossible => {
                    Err(format!("{} is no server's address; write `198.51.100.53`", addr.ip()))
                }
                SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                    Err(format!(
                        "a link-local address needs the number of its interface, which `ip link` \
                         shows; write `[{}%2]:{}`",
                        v6.ip(),
                        v6.port()
                    ))
                }
                addr => Ok(addr),
            }
        })
    }

    /// Each once.
    fn addresses(
        &self,
        raw: Addresses,
        parse: impl Fn(&str) -> Result<SocketAddr, String>,
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        let Some(raw) = raw else { return Ok(Vec::new()) };
        if raw.get_ref().len() > MAX_ADDRESSES {
            return Err(self.wrong(&raw, TOO_MANY));
        }
        let mut seen = Vec::new();
        for text in raw.get_ref() {
            let addr = parse(text.get_ref()).map_err(|message| self.wrong(text, message))?;
            if seen.contains(&addr) {
                return Err(self.wrong(text, format!("{addr} is there already; write it once")));
            }
            seen.push(addr);
        }
        Ok(seen)
    }
}

/// `127.0.0.1`, `127.0.0.1:300`, `::1`, `[::1]:300`. Without a port, that of DNS.
fn address(text: &str, example: &str) -> Result<SocketAddr, String> {
    let addr = match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::from((ip, DNS_PORT))),
        Err(_) => text.parse::<SocketAddr>(),
    };
    addr.ok().filter(|addr| addr.port() != 0).ok_or_else(|| {
        format!(
            "`{}` is no address; write one like `{example}` or `[::1]:300`, the port after a colon",
            text.escape_debug()
        )
    })
}
