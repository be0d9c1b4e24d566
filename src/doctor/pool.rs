//! Who else uses addresses of the pool.

use std::net::IpAddr;

use ipnet::Ipv4Net;

use super::routes::{self, Route};
use super::{Facts, Finding};

/// Tor's own default (tor(1), VirtualAddrNetworkIPv4).
const TOR_DEFAULT: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 192, 0, 0), 10);
const ANOTHER: &str = "set another `pool` under [client], such as \"127.128.0.0/11\"";

pub(super) fn findings(facts: &Facts, pool: Ipv4Net) -> Vec<Finding> {
    let clashes = [
        address(facts, pool),
        route(facts, pool),
        listener(facts, pool),
        tor(facts, pool),
        hosts(facts, pool),
    ];
    clashes.into_iter().flatten().collect()
}

fn clash(what: String) -> Finding {
    Finding::problem("pool-clash", what, ANOTHER)
}

fn address(facts: &Facts, pool: Ipv4Net) -> Option<Finding> {
    let (name, net) = facts.addresses.iter().find(|(_, net)| pool.contains(&net.addr()))?;
    let addr = net.addr();
    Some(clash(format!("the address {addr} of interface {name} is inside the pool {pool}")))
}

/// Who made natttd's routes, by number.
const NATTT: &str = "100";

/// All of 127/8 has a route, and each address some of the kernel's. The pool's own is natttd's.
fn route(facts: &Facts, pool: Ipv4Net) -> Option<Finding> {
    let of_addresses = |route: &Route| route.table == "local" && route.protocol == "kernel";
    // Addresses in it have their own where their paths carry less.
    let ours = |route: &Route| {
        (route.to == pool || route.protocol == NATTT && route.to.prefix_len() == 32)
            && route.table == "local"
            && ["local", "unreachable"].contains(&&*route.kind)
    };
    let routes = facts.routes.as_deref().map(routes::read).unwrap_or_default();
    let other = routes.into_iter().find(|route| {
        route.to.prefix_len() > 0
            && (pool.contains(&route.to) || route.to.contains(&pool))
            && !of_addresses(route)
            && !ours(route)
    })?;
    let (to, table) = (other.to, &other.table);
    Some(clash(format!("a route to {to} (table {table}) overlaps with the pool {pool}")))
}

fn listener(facts: &Facts, pool: Ipv4Net) -> Option<Finding> {
    let inside = |addr: IpAddr| matches!(addr, IpAddr::V4(addr) if pool.contains(&addr));
    let socket = facts.sockets.iter().find(|socket| inside(socket.addr))?;
    let (addr, port, owner) = (socket.addr, socket.port, socket.owner());
    Some(clash(format!("{owner} serves {addr} (UDP port {port}), inside the pool {pool}")))
}

/// Tor maps names to addresses only if told to.
fn tor(facts: &Facts, pool: Ipv4Net) -> Option<Finding> {
    let torrc = facts.torrc.as_deref()?;
    let options = || torrc.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    let value = |names: &[&str]| {
        let named = |(name, _): &(&str, &str)| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        options().filter(named).map(|(_, value)| value.trim()).next_back()
    };
    let named = value(&["VirtualAddrNetworkIPv4", "VirtualAddrNetwork"]);
    if named.is_none() && value(&["AutomapHostsOnResolve"]) != Some("1") {
        return None;
    }
    let network: Ipv4Net = named.map_or(Some(TOR_DEFAULT), |text| text.parse().ok())?;
    (network.contains(&pool) || pool.contains(&network)).then(|| {
        clash(format!(
            "Tor maps names to addresses of {network}, which overlaps with the pool {pool}"
        ))
    })
}

fn hosts(facts: &Facts, pool: Ipv4Net) -> Option<Finding> {
    let lines = facts.hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let addr = lines
        .filter_map(|line| line.split_whitespace().next()?.parse::<std::net::Ipv4Addr>().ok())
        .find(|addr| pool.contains(addr))?;
    Some(clash(format!("/etc/hosts gives a name to {addr}, which is inside the pool {pool}")))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, found, lacks, socket};

    #[test]
    fn an_address_inside_the_pool() {
        let mut facts = testing::client();
        facts.addresses.push(("lo".into(), "127.66.0.1/8".parse().expect("an address")));
        assert!(found(&facts, "pool-clash").what.contains("127.66.0.1 of interface lo"));
    }

    #[test]
    fn a_route_of_somebody_else() {
        let mut facts = testing::client();
        let mut with = |json: &str| {
            facts.routes = Ok(format!("[{json}]"));
            super::super::examine(&facts).iter().any(|finding| finding.id == "pool-clash")
        };
        assert!(with(r#"{"dst":"127.100.0.0/16","dev":"tun0"}"#));
        assert!(with(r#"{"dst":"127.64.0.0/10","dev":"tun0"}"#));
        assert!(with(r#"{"dst":"127.0.0.0/9","dev":"tun0"}"#));
        assert!(with(r#"{"dst":"127.0.0.0/8","dev":"eth0","protocol":"kernel"}"#));
        for harmless in [
            r#"{"type":"local","dst":"127.64.0.0/10","dev":"lo","table":"local","protocol":"static"}"#,
            r#"{"type":"unreachable","dst":"127.64.0.0/10","table":"local","protocol":"static"}"#,
            r#"{"type":"local","dst":"127.64.0.7","dev":"lo","table":"local","protocol":"100"}"#,
            r#"{"type":"local","dst":"127.0.0.0/8","dev":"lo","table":"local","protocol":"kernel"}"#,
            r#"{"dst":"default","dev":"eth0"}"#,
            r#"{"dst":"127.192.0.0/10","dev":"tor0"}"#,
        ] {
            assert!(!with(harmless), "{harmless}");
        }
    }

    #[test]
    fn tor_s_network() {
        let mut facts = testing::client();
        facts.torrc =
            Some("# VirtualAddrNetworkIPv4 127.64.0.0/10\nAutomapHostsOnResolve 1".into());
        lacks(&facts, "pool-clash");
        testing::configure(&mut facts, "[client]\npool = \"127.192.0.0/10\"");
        assert!(found(&facts, "pool-clash").what.contains("Tor"));
        facts.torrc = Some("VirtualAddrNetworkIPv4 127.64.0.0/10".into());
        lacks(&facts, "pool-clash");
        testing::configure(&mut facts, "[client]");
        assert!(found(&facts, "pool-clash").fix.contains("pool"));
        facts.torrc = Some("SocksPort 9050".into());
        lacks(&facts, "pool-clash");
    }

    #[test]
    fn listeners_and_hosts() {
        let mut facts = testing::client();
        facts.sockets.push(socket("127.64.0.9", 53, "dnsmasq (5)"));
        assert!(found(&facts, "pool-clash").what.contains("dnsmasq (5)"));
        let mut facts = testing::client();
        facts.hosts = "127.0.0.1 localhost\n127.0.1.1 pc # 127.64.0.1\n".into();
        lacks(&facts, "pool-clash");
        facts.hosts += "127.64.0.1 games\n";
        assert!(found(&facts, "pool-clash").what.contains("/etc/hosts"));
    }
}
