//! Other names and addresses in place of those in a text, the same for the same everywhere, so that
//! it still can be followed who talks to whom.
//!
//! What looks like an address or a DNS name is replaced, rather one too many than one too few:
//! names of files and our own settings are the only ones that stay.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Endings of file names, which are no domains.
const FILES: [&str; 10] =
    ["conf", "toml", "sock", "nft", "json", "service", "path", "log", "rs", "so"];
/// Settings with a dot, and others that look like names.
const OURS: [&str; 5] = ["client.emulation", "nattt.counters", "e.g", "i.e", "rc.local"];

/// Remembers what became of each.
#[derive(Debug, Default)]
pub struct Anonymous {
    known: HashMap<String, String>,
    counts: HashMap<&'static str, usize>,
    /// Words that are a name without having a dot: this host's.
    hosts: Vec<String>,
}

impl Anonymous {
    /// `hosts`: names without dots that are to go as well.
    pub fn new(hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| host.trim().to_ascii_lowercase());
        Self { hosts: hosts.filter(|host| !host.is_empty()).collect(), ..Self::default() }
    }

    /// The text with all of them replaced.
    pub fn text(&mut self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_part) {
            let end =
                rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |octets| start + octets);
            replaced += &rest[..start];
            replaced += &self.word(&rest[start..end]);
            rest = &rest[end..];
        }
        replaced + rest
    }

    fn word(&mut self, word: &str) -> String {
        // The end of a sentence or a list, or the port behind an address.
        let core = word.trim_end_matches(['.', ':', '-', '_', '\\']);
        let tail = &word[core.len()..];
        if let Some(found) = self.whole(core) {
            return found + tail;
        }
        match core.rsplit_once(':') {
            Some((first, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => {
                match self.whole(first) {
                    Some(found) => format!("{found}:{port}{tail}"),
                    None => word.to_owned(),
                }
            }
            _ => word.to_owned(),
        }
    }

    fn whole(&mut self, word: &str) -> Option<String> {
        if let Ok(addr) = word.parse::<IpAddr>() {
            return kind_of(addr).map(|kind| self.instead(word, kind));
        }
        let lower = word.to_ascii_lowercase();
        let is_host = self.hosts.contains(&lower);
        (is_host || is_name(&lower)).then(|| self.instead(&lower, "name"))
    }

    fn instead(&mut self, word: &str, kind: &'static str) -> String {
        if let Some(known) = self.known.get(word) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let made = format!("{kind}-{count}");
        self.known.insert(word.to_owned(), made.clone());
        made
    }
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '\\') || !c.is_ascii()
}

/// What an address is called; `None` where it tells nothing about anybody.
fn kind_of(addr: IpAddr) -> Option<&'static str> {
    let shared = |addr: Ipv4Addr| addr.octets()[0] == 100 && addr.octets()[1] & 0xc0 == 64;
    match addr {
        IpAddr::V4(addr) if addr.is_loopback() || addr.is_unspecified() || addr.is_broadcast() => {
            None
        }
        IpAddr::V4(addr) if addr.is_private() || addr.is_link_local() || shared(addr) => {
            Some("private")
        }
        IpAddr::V4(_) => Some("public"),
        IpAddr::V6(Ipv6Addr::LOCALHOST | Ipv6Addr::UNSPECIFIED) => None,
        IpAddr::V6(_) => Some("v6"),
    }
}

/// Labels with dots between, the last one of letters only.
fn is_name(word: &str) -> bool {
    let Some((first, last)) = word.rsplit_once('.') else { return false };
    let top = last.len() >= 2
        && (last.starts_with("xn--")
            || last.chars().all(|c| c.is_ascii_alphabetic() || !c.is_ascii()));
    top && !first.is_empty()
        && !word.contains("::")
        && !FILES.contains(&last)
        && !OURS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replaced(text: &str) -> String {
        Anonymous::new(&["larry\n", ""]).text(text)
    }

    #[test]
    fn the_same_becomes_the_same() {
        assert_eq!(
            replaced("b.example: 203.0.113.1:100 192.168.0.2, again B.Example. and 203.0.113.1."),
            "name-1: public-1:100 private-1, again name-1. and public-1."
        );
        assert_eq!(replaced("192.168.0.0/24 fe80::1 100.64.0.1"), "private-1/24 v6-1 private-2");
        assert_eq!(replaced("Nov 25 larry natttd[7]: ok"), "Nov 25 name-1 natttd[7]: ok");
        assert_eq!(replaced("(of mail.b.example, TTL 5m00s)"), "(of name-1, TTL 5m00s)");
    }

    #[test]
    fn what_tells_nothing_stays() {
        for text in [
            "natttd 0.1.0 on 6.1.0-25-amd64, nftables v1.0.6",
            "127.118.232.255:80 -> 127.0.0.1, 0.0.0.0, ::1",
            "/etc/nattt/nattt.toml, /run/nattt/control.sock, nattt.service",
            "net/ipv4/udp_early_demux = 0; [[client.emulation]]",
            "[2026-11-25T06:24:12Z INFO  nattt::daemon::guard] rules: loaded, a1d53145499ed4ee",
        ] {
            assert_eq!(replaced(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_address_is_left(addr: u32, before in "[ a-z(\\[\"=]?", after in "[ )\\],\"/.;]?|:[0-9]{1,5}") {
            let addr = Ipv4Addr::from(addr);
            prop_assume!(kind_of(addr.into()).is_some());
            // A letter right before is part of the word.
            prop_assume!(!before.chars().any(|c| c.is_ascii_alphabetic()));
            let text = replaced(&format!("{before}{addr}{after}"));
            prop_assert!(!text.contains(&addr.to_string()), "{}", text);
        }

        #[test]
        fn any_text_is_taken(text in ".*") {
            let once = replaced(&text);
            prop_assert_eq!(text.lines().count(), once.lines().count());
        }
    }
}
