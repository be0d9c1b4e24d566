//! How long the kernel's conntrack remembers decapsulated flows, and those of programs here without a
//! tunnel: a little longer than our own table, or B's late answer would have lost its mark and leave
//! unencapsulated.

/// One connection tracking timeout policy of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Name in the kernel, for iptables' `-j CT --timeout`: `nt` and the protocol's number. Not
    /// longer, because the kernel shows only four octets of it (xt_CT's `usersize`), and rules that
    /// somebody saves with `iptables-save` should be those that were loaded.
    pub name: &'static str,
    /// Name of the object in nft's table; none where nft cannot express the policy.
    pub nft_name: Option<&'static str>,
    /// Name of the protocol in both rule languages.
    pub protocol: &'static str,
    /// IP protocol number.
    pub number: u8,
    /// State's name in nft, its netlink attribute (`CTA_TIMEOUT_*`) and seconds. States that are
    /// left out keep the kernel's defaults.
    pub states: &'static [(&'static str, u16, u32)],
}

/// Our flows live 300 s (UDP, RFC 4787 REQ-5), 2 h 4 min (TCP, RFC 5382 REQ-5) and 60 s (ICMP
/// queries, RFC 5508 REQ-2).
pub const TIMEOUTS: &[TimeoutPolicy] = &[
    TimeoutPolicy {
        name: "nt17",
        nft_name: Some("nattt_udp"),
        protocol: "udp",
        number: 17,
        states: &[("unreplied", 1, 310), ("replied", 2, 310)],
    },
    TimeoutPolicy {
        name: "nt06",
        nft_name: Some("nattt_tcp"),
        protocol: "tcp",
        number: 6,
        states: &[("established", 3, 7500)],
    },
    // nft's language has timeout policies for UDP and TCP only; there, ICMP keeps the kernel's 30 s.
    TimeoutPolicy {
        name: "nt01",
        nft_name: None,
        protocol: "icmp",
        number: 1,
        states: &[("timeout", 1, 70)],
    },
];
