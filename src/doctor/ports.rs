//! Ports that others could take while natttd does not have them.

use std::net::SocketAddr;

use super::{Facts, Finding};
use crate::config::{Client, Config};

/// The first port that a process without rights may have (ip_unprivileged_port_start in
/// ip-sysctl.rst), and what it is where nobody has set it.
pub const FIRST_FREE_PORT: &str = "net/ipv4/ip_unprivileged_port_start";
const USUAL: u16 = 1024;

pub(super) fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let first =
        facts.settings.get(FIRST_FREE_PORT).and_then(|value| value.parse().ok()).unwrap_or(USUAL);
    let below = match first < USUAL {
        true => format!(
            "run `sysctl -w {}={USUAL}`, write a port below that",
            FIRST_FREE_PORT.replace('/', ".")
        ),
        false => format!("write a port below {first}"),
    };
    let anybody_s = |addr: &&SocketAddr| addr.port() >= first;
    let proxy = config.client.iter().flat_map(|client: &Client| &client.listen).find(anybody_s);
    let metrics = config.metrics.as_ref().filter(anybody_s);
    let proxy = proxy.map(|addr| {
        Finding::warning(
            "dns-port-free-for-all",
            format!(
                "any user of this host may listen at {addr} while natttd is stopped, and give those who \
                 ask there false answers"
            ),
            format!(
                "{below} in `listen` under [client], such as 300, and wherever questions are sent to it; \
                 if nobody else uses this host, nothing"
            ),
        )
    });
    let metrics = metrics.map(|addr| {
        Finding::information(
            "metrics-port-free-for-all",
            format!(
                "any user of this host may listen at {addr} while natttd is stopped, and tell Prometheus \
                 whatever they like"
            ),
            format!(
                "{below} in `listen` under [metrics] and in Prometheus, if such users are not trusted"
            ),
        )
    });
    proxy.into_iter().chain(metrics).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, configure, found, lacks, set};
    use super::*;

    const PROXY: &str = "dns-port-free-for-all";
    const METRICS: &str = "metrics-port-free-for-all";

    #[test]
    fn ports_that_any_user_could_take() {
        let mut facts = testing::client();
        let with = |listen: &str, metrics: u16| {
            format!("[client]\nlisten = [{listen}]\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n")
        };
        configure(&mut facts, &with("\"127.0.0.1\", \"127.0.0.1:1024\"", 9810));
        assert!(found(&facts, PROXY).what.contains("127.0.0.1:1024"));
        assert!(found(&facts, METRICS).what.contains("127.0.0.1:9810"));
        configure(&mut facts, &with("\"127.0.0.1\", \"127.0.0.1:300\"", 1023));
        lacks(&facts, PROXY);
        lacks(&facts, METRICS);
        // As containers have it.
        set(&mut facts, FIRST_FREE_PORT, "0");
        assert!(found(&facts, PROXY).what.contains("127.0.0.1:53"));
        assert!(found(&facts, METRICS).fix.contains("ip_unprivileged_port_start=1024"));
        set(&mut facts, FIRST_FREE_PORT, "2000");
        lacks(&facts, PROXY);
        configure(&mut facts, &with("\"127.0.0.1\"", 9810));
        assert!(found(&facts, METRICS).fix.contains("below 2000"));
    }
}
