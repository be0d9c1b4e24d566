//! `[metrics]`: where metrics are served by HTTP.

use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use toml::Spanned;

use super::ConfigError;
use super::check::Source;
use super::raw;

const LISTEN: &str = "metrics need an address and a port to be served at; write \
                      `listen = \"127.0.0.1:9810\"`";
const NOT_AN_ADDRESS: &str =
    "write an address and a port, such as `listen = \"127.0.0.1:9810\"` or `\"[::1]:9810\"`";
const OTHER_HOSTS: &str = "whoever reaches this address could read the metrics; write one like \
                           `127.0.0.1:9810`, or allow it with `other_hosts = true`";
const POOL: &str = "this address belongs to the pool; write one like `127.0.0.1:9810`";

impl Source<'_> {
    /// Loopback only, unless others are allowed: nobody is asked for a password.
    pub(super) fn metrics(
        &self,
        raw: Spanned<raw::Metrics>,
        pool: Option<Ipv4Net>,
    ) -> Result<SocketAddr, ConfigError> {
        let section = raw.span();
        let raw = raw.into_inner();
        let text = raw.listen.ok_or_else(|| ConfigError::at(self.0, section, LISTEN))?;
        let listen: SocketAddr = text
            .get_ref()
            .parse()
            .ok()
            .filter(|listen: &SocketAddr| listen.port() != 0)
            .ok_or_else(|| self.wrong(&text, NOT_AN_ADDRESS))?;
        if !listen.ip().is_loopback() && raw.other_hosts != Some(true) {
            return Err(self.wrong(&text, OTHER_HOSTS));
        }
        if let (IpAddr::V4(addr), Some(pool)) = (listen.ip(), pool)
            && pool.contains(&addr)
        {
            return Err(self.wrong(&text, POOL));
        }
        Ok(listen)
    }
}
