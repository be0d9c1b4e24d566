//! Whether the replies to programs here pass where natttd sees them: over UDP from port 53, also
//! from a resolver on this very host.

use std::net::{IpAddr, SocketAddr};

use super::{Facts, Finding};
use crate::config::Client;

const DNS: u16 = 53;

pub(super) fn findings(facts: &Facts, client: &Client) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(tcp_only(&facts.resolv_conf, client));
    findings.extend(nss_resolve(facts, client));
    findings.extend(nobody_to_ask(&facts.resolv_conf, client));
    findings.extend(asks_each_other(&facts.resolv_conf, client));
    findings.extend(no_dns(&facts.nsswitch_conf));
    // Addresses of a routed pool mean something to hosts that are served.
    if client.pool.network().is_loopback() {
        findings.extend(serves_others(facts));
    }
    findings.extend(facts.nscd.then(nscd));
    findings
}

/// Not where natttd answers itself.
fn tcp_only(resolv_conf: &str, client: &Client) -> Option<Finding> {
    let mut options = settings(resolv_conf, "options").flat_map(str::split_whitespace);
    let tcp_only = options.any(|option| option == "use-vc");
    let asks_us = name_servers(resolv_conf).next().is_some_and(|server| answers(client, server));
    (tcp_only && !asks_us).then(|| {
        Finding::problem(
            "dns-over-tcp",
            "/etc/resolv.conf has `options use-vc`: questions go over TCP, where natttd sees no reply",
            "remove `use-vc` from /etc/resolv.conf; or let natttd answer: `listen = [\"127.0.0.1\"]` \
             and `upstream = [...]` with the servers of now under [client], and `nameserver 127.0.0.1` \
             in /etc/resolv.conf",
        )
    })
}

/// Programs reach systemd-resolved through a socket of its own, so only its questions to its servers
/// are packets; those must be plain, or go to natttd.
fn nss_resolve(facts: &Facts, client: &Client) -> Option<Finding> {
    let resolved_conf = facts.resolved_conf.as_deref()?;
    hosts_sources(&facts.nsswitch_conf).any(|source| source == "resolve").then_some(())?;
    let on = |name| last_value(resolved_conf, name).filter(|value| !is_no(value));
    // natttd speaks no TLS.
    let tls_only = on("DNSOverTLS").is_some_and(|value| value != "opportunistic");
    let servers = last_value(resolved_conf, "DNS").unwrap_or_default().split_whitespace();
    if !tls_only && servers.filter_map(server).any(|server| answers(client, server)) {
        return None;
    }
    let hides = on("DNSOverTLS")
        .map(|value| format!("DNSOverTLS={value} encrypts its questions"))
        .or_else(|| on("DNSSEC").map(|value| format!("DNSSEC={value} refuses changed answers")))?;
    Some(Finding::problem(
        "dns-hidden",
        format!("programs ask systemd-resolved through nss-resolve, and {hides}"),
        if tls_only { BY_PACKETS.to_owned() } else { format!("{BY_PACKETS}; or {TO_NATTTD}") },
    ))
}

const BY_PACKETS: &str = "remove `resolve` and the `[...]` behind it from the line `hosts:` of \
                          /etc/nsswitch.conf, and have /etc/resolv.conf name 127.0.0.53: programs then \
                          ask by packets";
const TO_NATTTD: &str = "write `listen = [\"127.0.0.1:300\"]` under [client], and send it the zones with \
                         NAT records: `DNS=127.0.0.1:300` and `Domains=~example.org` in \
                         /etc/systemd/resolved.conf";

/// A proxy that is to ask the servers of resolv.conf, which names the proxy only.
fn nobody_to_ask(resolv_conf: &str, client: &Client) -> Option<Finding> {
    let mut servers = name_servers(resolv_conf).peekable();
    let from_host = !client.listen.is_empty() && client.upstream.is_empty();
    let alone = servers.peek().is_some() && servers.all(|server| answers(client, server));
    (from_host && alone).then(|| {
        Finding::problem(
            "dns-proxy-alone",
            "the DNS proxy asks the servers of /etc/resolv.conf, which names natttd only",
            "write `upstream = [\"ADDRESS\"]` under [client], with the servers that it shall ask",
        )
    })
}

/// A resolver on this host, not systemd-resolved, that may be told to ask the proxy.
fn asks_each_other(resolv_conf: &str, client: &Client) -> Option<Finding> {
    let from_host = !client.listen.is_empty() && client.upstream.is_empty();
    let local = |server: &SocketAddr| server.ip().is_loopback() && !answers(client, *server);
    let local = name_servers(resolv_conf).filter(local).find(|server| !is_resolved(*server))?;
    from_host.then(|| {
        Finding::warning(
            "dns-proxy-circle",
            format!(
                "the DNS proxy asks {}, a resolver on this host: names that it sends to natttd go in \
                 circles",
                local.ip()
            ),
            "write `upstream = [\"ADDRESS\"]` under [client], with the servers that it asks itself",
        )
    })
}

/// Whose own servers the proxy asks.
fn is_resolved(server: SocketAddr) -> bool {
    ["127.0.0.53", "127.0.0.54"].contains(&server.ip().to_string().as_str())
}

fn answers(client: &Client, server: SocketAddr) -> bool {
    client.listen.contains(&server)
}

fn name_servers(resolv_conf: &str) -> impl Iterator<Item = SocketAddr> {
    let values =
        settings(resolv_conf, "nameserver").filter_map(|rest| rest.split_whitespace().next());
    values.filter_map(server)
}

/// `127.0.0.1`, `127.0.0.1:300`; in resolved.conf(5) an interface and a name may follow.
fn server(text: &str) -> Option<SocketAddr> {
    let text = text.split(['%', '#']).next()?;
    let with_port = |ip: IpAddr| SocketAddr::from((ip, DNS));
    text.parse().ok().or_else(|| text.parse().ok().map(with_port))
}

fn no_dns(nsswitch_conf: &str) -> Option<Finding> {
    let sources: Vec<&str> = hosts_sources(nsswitch_conf).collect();
    let asks = sources.iter().any(|source| ["dns", "resolve"].contains(source));
    (!sources.is_empty() && !asks).then(|| {
        Finding::warning(
            "dns-unused",
            "the line `hosts:` of /etc/nsswitch.conf names no DNS, so programs find no NAT records",
            "add `dns` to that line",
        )
    })
}

/// 127/8 means nothing to other hosts.
fn serves_others(facts: &Facts) -> Option<Finding> {
    let server =
        facts.sockets.iter().find(|socket| socket.port == DNS && !socket.addr.is_loopback())?;
    let (owner, addr) = (server.owner(), server.addr);
    Some(Finding::warning(
        "dns-for-others",
        format!(
            "{owner} answers DNS at {addr}: other hosts that ask it get mapped addresses, which mean \
             nothing there"
        ),
        "let it serve this host only (listen on loopback), or set a routed `pool` and `serve` under \
         [client]",
    ))
}

fn nscd() -> Finding {
    Finding::information(
        "nscd",
        "nscd remembers names: one that was looked up before its NAT record was there stays unknown \
         for a while",
        "run `nscd -i hosts` to make it forget",
    )
}

/// The sources of the line `hosts:`, without actions like `[NOTFOUND=return]`.
fn hosts_sources(nsswitch_conf: &str) -> impl Iterator<Item = &str> {
    let line = nsswitch_conf.lines().find_map(|line| line.trim().strip_prefix("hosts:"));
    let line = line.unwrap_or_default().split('#').next().unwrap_or_default();
    line.split_whitespace().filter(|word| !word.starts_with('['))
}

/// What follows a keyword at the beginning of a line.
fn settings<'a>(resolv_conf: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    let rest = move |line: &'a str| line.trim_start().strip_prefix(keyword);
    resolv_conf.lines().filter_map(rest).filter(|rest| rest.starts_with([' ', '\t']))
}

/// Later settings replace earlier ones.
fn last_value<'a>(ini: &'a str, name: &str) -> Option<&'a str> {
    let settings = ini.lines().filter_map(|line| line.trim().split_once('='));
    settings.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next_back()
}

fn is_no(value: &str) -> bool {
    ["", "no", "false", "0", "off"].contains(&value)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, found, lacks, socket};

    #[test]
    fn resolv_conf_that_forces_tcp() {
        let mut facts = testing::client();
        facts.resolv_conf += "# options use-vc\noptions timeout:3\n";
        lacks(&facts, "dns-over-tcp");
        facts.resolv_conf += "options edns0 use-vc\n";
        assert!(found(&facts, "dns-over-tcp").fix.contains("use-vc"));
    }

    #[test]
    fn resolved_is_asked_through_its_socket_and_encrypts() {
        let mut facts = testing::client();
        facts.nsswitch_conf = "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n".into();
        facts.resolved_conf = Some("[Resolve]\n#DNSOverTLS=yes\nDNSSEC=no\n".into());
        lacks(&facts, "dns-hidden");
        for setting in ["DNSOverTLS=opportunistic", "DNSOverTLS = yes", "DNSSEC=allow-downgrade"] {
            facts.resolved_conf = Some(format!("[Resolve]\nDNSOverTLS=no\n{setting}\n"));
            assert!(found(&facts, "dns-hidden").fix.contains("nsswitch.conf"), "{setting}");
        }
        facts.nsswitch_conf = "hosts: files dns # resolve\n".into();
        lacks(&facts, "dns-hidden");
        facts.nsswitch_conf = "hosts: files resolve dns\n".into();
        facts.resolved_conf = None;
        lacks(&facts, "dns-hidden");
    }

    #[test]
    fn natttd_answers_over_tcp_itself() {
        let mut facts = testing::client();
        facts.resolv_conf = "nameserver 127.0.0.1\noptions use-vc\n".into();
        assert!(found(&facts, "dns-over-tcp").fix.contains("listen = "));
        testing::configure(
            &mut facts,
            "[client]\nlisten = [\"127.0.0.1\"]\nupstream = [\"192.0.2.1\"]",
        );
        lacks(&facts, "dns-over-tcp");
        testing::configure(&mut facts, "[client]\nlisten = [\"127.0.0.1:300\"]");
        found(&facts, "dns-over-tcp");
    }

    #[test]
    fn resolved_sends_questions_to_natttd() {
        let mut facts = testing::client();
        facts.nsswitch_conf = "hosts: files resolve dns\n".into();
        let resolved_conf = |tls: &str| {
            format!("[Resolve]\nDNS=198.51.100.53 127.0.0.1:300\nDNSOverTLS={tls}\nDNSSEC=yes\n")
        };
        facts.resolved_conf = Some(resolved_conf("opportunistic"));
        assert!(found(&facts, "dns-hidden").fix.contains("DNS=127.0.0.1:300"));
        testing::configure(&mut facts, "[client]\nlisten = [\"127.0.0.1:300\"]");
        lacks(&facts, "dns-hidden");
        facts.resolved_conf = Some(resolved_conf("yes"));
        assert!(!found(&facts, "dns-hidden").fix.contains("DNS=127.0.0.1:300"));
    }

    #[test]
    fn a_proxy_that_has_nobody_to_ask() {
        let mut facts = testing::client();
        testing::configure(&mut facts, "[client]\nlisten = [\"127.0.0.1\"]");
        facts.resolv_conf = "nameserver 127.0.0.1\nnameserver 192.0.2.53\n".into();
        lacks(&facts, "dns-proxy-alone");
        facts.resolv_conf = "nameserver 127.0.0.1\n".into();
        assert!(found(&facts, "dns-proxy-alone").fix.contains("upstream = "));
        testing::configure(
            &mut facts,
            "[client]\nlisten = [\"127.0.0.1\"]\nupstream = [\"192.0.2.1\"]",
        );
        lacks(&facts, "dns-proxy-alone");
    }

    #[test]
    fn a_proxy_that_asks_a_resolver_here() {
        let mut facts = testing::client();
        facts.resolv_conf = "nameserver 127.0.0.1\n".into();
        lacks(&facts, "dns-proxy-circle");
        testing::configure(&mut facts, "[client]\nlisten = [\"127.0.0.1:300\"]");
        assert!(found(&facts, "dns-proxy-circle").what.contains("127.0.0.1"));
        facts.resolv_conf = "nameserver 127.0.0.53\n".into();
        lacks(&facts, "dns-proxy-circle");
    }

    #[test]
    fn names_without_dns() {
        let mut facts = testing::client();
        facts.nsswitch_conf = "hosts: files mdns4_minimal [NOTFOUND=return]\n".into();
        found(&facts, "dns-unused");
        facts.nsswitch_conf.clear();
        lacks(&facts, "dns-unused");
    }

    #[test]
    fn a_resolver_that_serves_others() {
        let mut facts = testing::client();
        facts.sockets =
            vec![socket("127.0.0.53", 53, "systemd-resolve (9)"), socket("::1", 53, "x")];
        lacks(&facts, "dns-for-others");
        facts.sockets.push(socket("0.0.0.0", 53, "dnsmasq (12)"));
        assert!(found(&facts, "dns-for-others").what.contains("dnsmasq (12)"));
        testing::configure(&mut facts, testing::SERVING);
        lacks(&facts, "dns-for-others");
    }

    #[test]
    fn a_cache_of_names() {
        let mut facts = testing::client();
        facts.nscd = true;
        found(&facts, "nscd");
    }
}
