//! Interfaces, kernel settings, exports and the tunnel port.

use std::net::{IpAddr, Ipv4Addr};

use super::routes::{self, Route};
use super::{Facts, Finding};
use crate::config::{Client, Config, Gateway};

pub(super) fn findings(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = route_localnet(facts);
    findings.extend(interfaces(facts, config));
    if let Some(client) = &config.client {
        findings.extend(early_demux(facts));
        findings.extend(not_serving(client, |name| forwards(facts, name)));
    }
    findings.extend(conntrack(facts));
    if let Some(gateway) = &config.gateway {
        let routes = facts.routes.as_deref().map(routes::read).unwrap_or_default();
        findings.extend(forwarding(facts, gateway));
        findings.extend(reverse_path(facts, gateway, &routes));
        findings.extend(tunnel_port(facts, gateway.port));
        findings.extend(udp_lite(facts, gateway));
    }
    findings
}

/// Whether the kernel passes on what comes out of tunnels, and if not, what to do. A router's does;
/// an ordinary host's, the paper's home host, has to be told. `forwards` says whether packets that
/// arrive on an interface are passed on: the kernel asks the one a packet came in through.
pub fn not_forwarding(
    gateway: &Gateway,
    is_own: impl Fn(Ipv4Addr) -> bool,
    forwards: impl Fn(&str) -> bool,
) -> Option<Finding> {
    let serves_others =
        gateway.exports.iter().any(|export| export.exact().is_none_or(|addr| !is_own(addr)));
    let interface = gateway.arrivals().find(|name| serves_others && !forwards(name))?;
    Some(Finding::problem(
        "no-forwarding",
        format!(
            "this host does not forward packets that arrive on {interface}, so exported hosts \
             cannot be reached"
        ),
        format!(
            "run `sysctl -w net/ipv4/conf/{interface}/forwarding=1` (and write it to a file in \
             /etc/sysctl.d), or write `enable_forwarding = true` under [gateway]"
        ),
    ))
}

/// Whether the kernel passes on what comes from the hosts that are served.
pub fn not_serving(client: &Client, forwards: impl Fn(&str) -> bool) -> Option<Finding> {
    let interface = client.serve.iter().find(|name| !forwards(name))?;
    Some(Finding::problem(
        "no-forwarding",
        format!(
            "this host does not forward packets that arrive on {interface}, so the hosts there \
             cannot be served"
        ),
        "run `sysctl -w net.ipv4.ip_forward=1` (and write it to a file in /etc/sysctl.d)",
    ))
}

/// Until natttd runs it has not switched on what it is told to.
fn forwarding(facts: &Facts, gateway: &Gateway) -> Option<Finding> {
    if gateway.enable_forwarding && facts.status().is_none() {
        return None;
    }
    not_forwarding(gateway, |addr| facts.is_own(addr), |name| forwards(facts, name))
}

fn forwards(facts: &Facts, interface: &str) -> bool {
    facts.of_interface(interface, "forwarding") != Some("0")
}

/// Whether there is an interface where tunnel packets can arrive, and if not, what to do. `names`: the
/// interfaces of this host.
pub fn no_outside(gateway: &Gateway, names: &[impl AsRef<str>]) -> Option<Finding> {
    let exists = |wanted: &String| names.iter().any(|name| name.as_ref() == wanted);
    (!names.is_empty() && !gateway.outside.iter().any(exists)).then(|| {
        Finding::problem(
            "no-interface",
            format!(
                "there is no interface {}, so no tunnel packet arrives",
                gateway.outside.join(", ")
            ),
            format!("correct `outside` under [gateway]; this host has {}", others(names)),
        )
    })
}

fn others(names: &[impl AsRef<str>]) -> String {
    let names = names.iter().map(AsRef::as_ref).filter(|name| *name != "lo");
    names.collect::<Vec<_>>().join(", ")
}

/// What the configuration names must be there, sooner or later.
fn interfaces(facts: &Facts, config: &Config) -> Option<Finding> {
    let names: Vec<&str> = facts.interfaces().collect();
    let deaf = config.gateway.as_ref().and_then(|gateway| no_outside(gateway, &names));
    deaf.or_else(|| {
        let arrivals = config.gateway.iter().flat_map(Gateway::arrivals);
        let served = config.client.iter().flat_map(|client| &client.serve);
        let missing = arrivals.chain(served).find(|name| !names.contains(&name.as_str()))?;
        let fix = "correct it, or ignore this if it comes and goes; this host has";
        (!names.is_empty()).then(|| {
            Finding::warning(
                "no-interface",
                format!("the configuration names the interface {missing}, which is not there"),
                format!("{fix} {}", others(&names)),
            )
        })
    })
}

/// Strict filtering drops a packet that came in through another interface than an answer would
/// leave by: with several ways out, clients' packets.
fn reverse_path(facts: &Facts, gateway: &Gateway, routes: &[Route]) -> Option<Finding> {
    let strict = |interface: &str| {
        let value = |of| facts.of_interface(of, "rp_filter").and_then(|value| value.parse().ok());
        value("all").unwrap_or(0u8).max(value(interface).unwrap_or(0)) == 1
    };
    let is_way_out = |name: &str| {
        let mut defaults = routes.iter().filter(|route| route.to.prefix_len() == 0);
        defaults.any(|route| route.interface.as_deref() == Some(name))
    };
    let known = routes.iter().any(|route| route.to.prefix_len() == 0);
    let there = |name: &str| facts.interfaces().any(|there| there == name);
    let matters = |name: &&String| there(name) && strict(name) && !is_way_out(name);
    let interface = gateway.outside.iter().find(|name| known && matters(name))?;
    Some(Finding::warning(
        "reverse-path-filter",
        format!(
            "tunnel packets that arrive on {interface} are dropped if the route back to their \
             client leads elsewhere (rp_filter is strict there, the default route elsewhere)"
        ),
        format!("run `sysctl -w net/ipv4/conf/{interface}/rp_filter=2`, which asks for any route"),
    ))
}

/// RFC 1122 §3.2.1.3(g) keeps 127/8 inside the host; this setting lets it in.
fn route_localnet(facts: &Facts) -> Vec<Finding> {
    let names = facts.interfaces().filter(|name| *name != "lo").chain(["all"]);
    let on = names.filter(|name| facts.of_interface(name, "route_localnet") == Some("1"));
    on.map(|name| {
        Finding::warning(
            "route-localnet",
            format!(
                "route_localnet is 1 on {name}: neighbours there can reach this host's loopback, \
                 mapped addresses included"
            ),
            format!(
                "run `sysctl -w net/ipv4/conf/{name}/route_localnet=0` and remove what sets it \
                 (Docker without its userland proxy, kube-proxy); NATTT never needs it"
            ),
        )
    })
    .collect()
}

/// natttd sets it when it starts.
fn early_demux(facts: &Facts) -> Option<Finding> {
    let on = facts.setting("net/ipv4/udp_early_demux") == Some("1") && facts.status().is_some();
    on.then(|| {
        Finding::warning(
            "early-demux",
            "udp_early_demux is 1 again although natttd set it to 0: the second line of defence of \
             outer ports is gone",
            "run `sysctl -w net.ipv4.udp_early_demux=0` and remove what sets it",
        )
    })
}

/// A full table drops packets of new connections, tunnels among them.
fn conntrack(facts: &Facts) -> Option<Finding> {
    let number = |name| facts.setting(name).and_then(|value| value.parse::<u64>().ok());
    let count = number("net/netfilter/nf_conntrack_count")?;
    let most = number("net/netfilter/nf_conntrack_max").filter(|most| *most > 0)?;
    (count.saturating_mul(10) >= most.saturating_mul(9)).then(|| {
        Finding::warning(
            "conntrack-full",
            format!("the kernel tracks {count} of at most {most} connections: new ones may fail"),
            format!("run `sysctl -w net.netfilter.nf_conntrack_max={}`", most.saturating_mul(2)),
        )
    })
}

/// While natttd runs the port is its own: it does not start otherwise.
fn tunnel_port(facts: &Facts, port: u16) -> Option<Finding> {
    let blocks = |addr: IpAddr| addr.is_ipv4() || addr.is_unspecified();
    let taken = facts
        .sockets
        .iter()
        .find(|socket| socket.port == port && blocks(socket.addr) && facts.status().is_none())?;
    let (owner, addr) = (taken.owner(), taken.addr);
    (!taken.owner.as_deref().is_some_and(|owner| owner.starts_with("natttd "))).then(|| {
        Finding::problem(
            "tunnel-port-taken",
            format!("UDP port {port}, where tunnels arrive, is taken by {owner} at {addr}"),
            "stop that program (`ss -ulpn` lists them), or set another `port` under [gateway] and in \
             the NAT records",
        )
    })
}

/// Linux verifies UDP-Lite with UDP's protocol number.
fn udp_lite(facts: &Facts, gateway: &Gateway) -> Option<Finding> {
    const UDP_LITE: u8 = 136;
    let exported =
        gateway.exports.iter().any(|export| export.protocol.is_none_or(|only| only == UDP_LITE));
    let on = facts.setting("net/netfilter/nf_conntrack_checksum") == Some("1");
    (exported && on).then(|| {
        Finding::information(
            "udp-lite",
            "UDP-Lite does not pass: Linux takes its checksums for wrong",
            "only if you need UDP-Lite, run `sysctl -w net.netfilter.nf_conntrack_checksum=0`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, found, lacks, set, socket};

    #[test]
    fn an_interface_that_does_not_forward() {
        let mut facts = testing::gateway();
        set(&mut facts, "net/ipv4/conf/wan/forwarding", "0");
        let finding = found(&facts, "no-forwarding");
        assert!(finding.what.contains("wan") && finding.fix.contains("enable_forwarding"));
        // What natttd will switch on is not missing while it does not run.
        testing::configure(&mut facts, &format!("{}enable_forwarding = true", testing::GATEWAY));
        found(&facts, "no-forwarding");
        facts.daemon = super::super::Daemon::Absent("/run/x".into());
        lacks(&facts, "no-forwarding");
    }

    #[test]
    fn hosts_that_are_served_need_forwarding() {
        let mut facts = testing::client();
        testing::configure(&mut facts, testing::SERVING);
        lacks(&facts, "no-forwarding");
        set(&mut facts, "net/ipv4/conf/lan/forwarding", "0");
        assert!(found(&facts, "no-forwarding").what.contains("lan, so the hosts there"));
    }

    #[test]
    fn a_gateway_for_itself_need_not_forward() {
        let mut facts = testing::gateway();
        set(&mut facts, "net/ipv4/conf/wan/forwarding", "0");
        testing::configure(&mut facts, "[gateway]\noutside=[\"wan\"]\nexports=[\"192.168.0.1\"]");
        lacks(&facts, "no-forwarding");
    }

    #[test]
    fn an_interface_that_is_not_there() {
        let mut facts = testing::gateway();
        testing::configure(&mut facts, "[gateway]\noutside=[\"ppp0\"]\nexports=[\"192.168.0.2\"]");
        let finding = found(&facts, "no-interface");
        assert!(finding.what.contains("ppp0, so no tunnel packet arrives"), "{finding:?}");
        assert!(finding.fix.contains("this host has lan, wan"), "{finding:?}");
        assert_eq!(finding.severity, super::super::Severity::Problem);
        // What is not there filters nothing.
        set(&mut facts, "net/ipv4/conf/all/rp_filter", "1");
        lacks(&facts, "reverse-path-filter");
    }

    #[test]
    fn one_interface_of_several_that_is_not_there() {
        let mut facts = testing::gateway();
        let text = "[gateway]\noutside=[\"wan\",\"ppp0\"]\nexports=[\"192.168.0.2\"]";
        testing::configure(&mut facts, text);
        let finding = found(&facts, "no-interface");
        assert!(finding.what.contains("ppp0, which is not there"), "{finding:?}");
        assert_eq!(finding.severity, super::super::Severity::Warning);
        let mut facts = testing::client();
        testing::configure(&mut facts, testing::SERVING);
        assert!(found(&facts, "no-interface").what.contains("lan, which"));
        set(&mut facts, "net/ipv4/conf/lan/forwarding", "1");
        lacks(&facts, "no-interface");
    }

    #[test]
    fn strict_reverse_path_matters_beside_the_default_route_only() {
        let mut facts = testing::gateway();
        set(&mut facts, "net/ipv4/conf/all/rp_filter", "1");
        lacks(&facts, "reverse-path-filter");
        facts.routes = Ok(r#"[{"dst":"default","dev":"other"}]"#.into());
        assert!(found(&facts, "reverse-path-filter").fix.contains("wan/rp_filter=2"));
        set(&mut facts, "net/ipv4/conf/wan/rp_filter", "2");
        lacks(&facts, "reverse-path-filter");
    }

    #[test]
    fn loopback_that_is_routed() {
        for name in ["eth0", "all"] {
            let mut facts = testing::client();
            set(&mut facts, &format!("net/ipv4/conf/{name}/route_localnet"), "1");
            assert!(found(&facts, "route-localnet").what.contains(name));
        }
        let mut facts = testing::client();
        set(&mut facts, "net/ipv4/conf/lo/route_localnet", "1");
        lacks(&facts, "route-localnet");
    }

    #[test]
    fn early_demux_that_somebody_switched_on() {
        let mut facts = testing::client();
        set(&mut facts, "net/ipv4/udp_early_demux", "1");
        found(&facts, "early-demux");
        facts.daemon = super::super::Daemon::Absent("/run/x".into());
        lacks(&facts, "early-demux");
    }

    #[test]
    fn a_connection_table_that_is_nearly_full() {
        let mut facts = testing::client();
        set(&mut facts, "net/netfilter/nf_conntrack_max", "1000");
        set(&mut facts, "net/netfilter/nf_conntrack_count", "899");
        lacks(&facts, "conntrack-full");
        set(&mut facts, "net/netfilter/nf_conntrack_count", "900");
        assert!(found(&facts, "conntrack-full").fix.contains("=2000"));
    }

    #[test]
    fn a_tunnel_port_that_another_program_has() {
        let mut facts = testing::gateway();
        facts.sockets = vec![socket("0.0.0.0", 100, "tinc (77)")];
        lacks(&facts, "tunnel-port-taken");
        facts.daemon = super::super::Daemon::Absent("/run/x".into());
        assert!(found(&facts, "tunnel-port-taken").what.contains("tinc (77)"));
        facts.sockets = vec![socket("2001:db8::1", 100, "tinc (77)"), socket("::", 101, "x")];
        lacks(&facts, "tunnel-port-taken");
    }

    #[test]
    fn udp_lite_is_information_where_it_is_exported() {
        let mut facts = testing::gateway();
        set(&mut facts, "net/netfilter/nf_conntrack_checksum", "1");
        assert_eq!(found(&facts, "udp-lite").severity, super::super::Severity::Information);
        let tcp = "exports=[{prefix=\"192.168.0.2\",protocol=\"tcp\"}]";
        testing::configure(&mut facts, &format!("[gateway]\noutside=[\"wan\"]\n{tcp}"));
        lacks(&facts, "udp-lite");
    }
}
