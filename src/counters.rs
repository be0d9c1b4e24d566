//! Named counters. A packet that is not passed on always increments one, and every counter has a
//! sentence that explains it to the user.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($variant:ident $name:literal $text:literal)*) => {
        /// What is counted. The sentence of each is [`Counter::explanation`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $text] $variant,)*
        }

        impl Counter {
            /// Every counter, in the order in which they are shown.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];

            /// The name that is shown and exported.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// A sentence that explains the counter to the user.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

counters! {
    // Packets passed on.
    ClientEncapsulated "client_encapsulated" "Packets of applications here, sent through a tunnel."
    ClientDirect "client_direct" "Packets to hosts right behind this host, of its own gateway role's `exports`, passed on without a tunnel."
    ClientDecapsulated "client_decapsulated" "Tunnel packets delivered to applications here."
    GatewayDecapsulated "gateway_decapsulated" "Tunnel packets forwarded to exported hosts."
    GatewayEncapsulated "gateway_encapsulated" "Replies of exported hosts, sent back through a tunnel."
    ClientErrorDelivered "client_error_delivered" "ICMP errors about packets sent through a tunnel, delivered to applications here."
    ClientErrorSpared "client_error_spared" "ICMP errors about one of several paths, kept from the application: its next packet takes another path."
    ClientErrorSent "client_error_sent" "ICMP errors of this host about tunnel packets delivered here, sent through the tunnel."
    GatewayErrorForwarded "gateway_error_forwarded" "ICMP errors of clients, or about packets to them, forwarded to exported hosts."
    GatewayErrorSent "gateway_error_sent" "ICMP errors about packets of clients, sent back through a tunnel."
    GatewayErrorPassed "gateway_error_passed" "ICMP errors leaving this host that are about no tunnelled packet; passed on as they came."
    GatewayMiddlePassed "gateway_middle_passed" "Packets of exported hosts in the middle of TCP connections that the kernel's connection tracking did not know, none of a tunnel's; passed on as they came."
    KeepalivesSent "keepalives_sent" "One-octet datagrams sent so that NAT boxes on the way keep a live flow's mapping."
    KeepalivesReceived "keepalives_received" "Keepalive datagrams taken by the gateway; they carry nothing and end there."
    PathsMeasured "paths_measured" "Measurements of what a path carries that have ended (measure_mtu); each begins when a flow is answered on a path that was not measured lately."
    // Of these, some.
    ClientFragmented "client_fragmented" "Of the packets sent through a tunnel, those that forbid fragments (DF) and were larger with the tunnel's headers than their route's MTU, or than what is known to get through: they travelled in fragments of the outer packet, which some NATs drop."
    GatewayFragmented "gateway_fragmented" "Of the replies sent back through a tunnel, those that forbid fragments (DF) and were larger than their route's MTU with the tunnel's header: they left in fragments of the outer packet, which some NATs drop."
    // Packets refused: the application learns it at once.
    ClientUnmapped "client_unmapped" "Packets to a pool address that stands for no host; rejected, so the application fails at once."
    ClientNoRoute "client_no_route" "Packets rejected because this host has no route to the outermost NAT box."
    ClientLoop "client_loop" "Packets rejected because their path leads back to this host: it is the outermost NAT box without a gateway role at that port, or the next box as well; or a program here used another protocol than TCP, UDP and ping to a host right behind this one."
    ClientRenumbered "client_renumbered" "Packets rejected because their TCP connection to a host right behind this one began with an address that is this host's no more."
    ClientNoPort "client_no_port" "Packets rejected because no port could be reserved for their flow (descriptor limit or all ports in use)."
    ClientFlowsFull "client_flows_full" "Packets rejected because the client's flow table is full."
    ClientHostFull "client_host_full" "Packets of served hosts rejected because their host has as many flows as one may have (max_flows_per_host)."
    ClientConflict "client_conflict" "Packets rejected because another flow already looks the same to the host: same protocol, same ports."
    // Packets dropped.
    ClientBadSource "client_bad_source" "Packets to pool addresses from the network that are none of a served host's: another interface than those of `serve`, or a source that is this host's or nobody's; dropped."
    Truncated "truncated" "Packets the kernel handed over shortened; dropped, because the rest is unknown."
    Malformed "malformed" "Packets whose lengths or headers contradict themselves; dropped."
    Fragment "fragment" "Inner fragments; dropped, because only the first names a port."
    InnerOptions "inner_options" "Packets with IP options; dropped, because a verdict cannot change the header's length."
    TooLong "too_long" "Packets that would exceed 65,531 octets, the most that the kernel takes back, once changed; dropped."
    TtlExpired "ttl_expired" "Tunnel packets whose inner TTL had run out; dropped."
    Congestion "congestion" "Packets whose outer header says congestion while their sender does not understand it; dropped (RFC 6040)."
    IcmpError "icmp_error" "ICMP errors that quote no packet of a live flow, quote too little of it, or are of a kind that is never passed on; dropped."
    IcmpUnasked "icmp_unasked" "ICMP answers to questions that nobody asked through a tunnel; dropped."
    UnexpectedHook "unexpected_hook" "Packets queued from a place where the rules never queue; dropped. Are the loaded rules ours?"
    RulesMissing "rules_missing" "Packets from the network, of tunnels or of served hosts, dropped because the loaded rules are not the ones the configuration means; load them with `nattt rules apply`."
    ClientStrayReply "client_stray_reply" "Tunnel packets that are not the exact reverse of a flow opened here; dropped."
    ClientOpening "client_opening" "Tunnel packets that would open a connection to an application here; dropped."
    ClientStale "client_stale" "Tunnel packets from a peer whose flow has expired; dropped."
    GatewayBadOuterSource "gateway_bad_outer_source" "Tunnel packets whose outer source cannot be a client (loopback, multicast, inside address); dropped."
    GatewayNotExported "gateway_not_exported" "Tunnel packets to a host, protocol or port that `exports` does not list; dropped."
    GatewayOwnAddress "gateway_own_address" "Tunnel packets to one of the gateway's own addresses that `exports` does not list by itself; dropped."
    GatewayBadInnerSource "gateway_bad_inner_source" "Tunnel packets whose inner source cannot be a host; dropped."
    GatewayFlowsFull "gateway_flows_full" "Tunnel packets that would open a flow while the table is full of answered ones; dropped."
    GatewaySourceFull "gateway_source_full" "Tunnel packets that would open more flows than one client address may have; dropped."
    GatewayConflict "gateway_conflict" "Tunnel packets of a protocol without ports to a host that another client already uses; dropped."
    GatewayNoFlow "gateway_no_flow" "Replies of exported hosts whose flow has expired; dropped, so that they do not leave unencapsulated."
    GatewayMiddleDropped "gateway_middle_dropped" "Packets of exported hosts in the middle of a tunnel's TCP connections that the kernel's connection tracking had forgotten (`conntrack -F`?); dropped, so that they do not leave unencapsulated: the host sends them again, and they are known by then."
    // Tables.
    FlowsEvicted "flows_evicted" "Unanswered flows that made room for new ones."
    FlowsRerouted "flows_rerouted" "Unanswered flows that went on through another path of their name."
    // Connection tracking.
    ConnectionsTurned "connections_turned" "Connections that the kernel's connection tracking forgot (`conntrack -F`?) and would take, or took, for ones that the other side opens, so that packets go past the tunnel; set right."
    // DNS.
    DnsPassed "dns_passed" "DNS replies passed on as they came, at once."
    DnsHeld "dns_held" "DNS replies that waited for the NAT record of their name, or for what emulates it."
    DnsMapped "dns_mapped" "DNS replies answered with a mapped address."
    DnsEmulated "dns_emulated" "Of the replies that were changed, those whose path was made of A records (`[[client.emulation]]`)."
    DnsNamed "dns_named" "DNS replies that found no name for a mapped address and now have it."
    DnsHintsDropped "dns_hints_dropped" "DNS replies whose SVCB or HTTPS records were left out, because their address hints would go past the NAT boxes of a mapped name."
    DnsDenialLifted "dns_denial_lifted" "DNS replies to questions for other types than A that said \"no such name\" and now say \"no such record\": A records emulate the name's NAT record."
    DnsNoRecord "dns_no_record" "DNS replies passed on as they came: the name has no NAT record, and nothing that emulates one."
    DnsLookupFailed "dns_lookup_failed" "DNS replies passed on as they came: the lookup of the NAT record failed."
    DnsTimeout "dns_timeout" "DNS replies passed on as they came: the NAT record did not come in time."
    DnsServerSilent "dns_server_silent" "DNS replies passed on at once: their server ignores the questions that follow from them."
    DnsMalformed "dns_malformed" "DNS replies passed on as they came: they contradict themselves."
    DnsMalformedRecord "dns_malformed_record" "NAT records ignored: wrong length or no path."
    DnsRefusedRecord "dns_refused_record" "NAT records ignored: an address in them can never be a NAT box or host (SECURITY.md lists them)."
    DnsTooLarge "dns_too_large" "DNS replies passed on as they came: the answer would not fit the client's limit."
    DnsHoldFull "dns_hold_full" "DNS replies passed on as they came: too many others were waiting."
    DnsExcessRecord "dns_excess_record" "NAT records ignored: their name has more than can be of use."
    DnsEvicted "dns_evicted" "Remembered answers about NAT records, open questions and silent servers that made room for new ones."
    MappingsFull "mappings_full" "DNS replies passed on as they came: no pool address is free."
    // The DNS proxy.
    ProxyQuestions "proxy_questions" "Questions that the DNS proxy (`listen`) sent on to a server."
    ProxyNoAnswer "proxy_no_answer" "Questions to the DNS proxy answered with \"server failure\", because no server answered in time."
    ProxyFull "proxy_full" "Questions to the DNS proxy answered with \"server failure\", because too many were open, or too many that ask the same: a resolver that sends natttd what natttd asks it?"
    ProxyHostFull "proxy_host_full" "Questions of served hosts answered by the DNS proxy with \"server failure\", because their host had as many open as were left for others."
    ProxyConnectionRefused "proxy_connection_refused" "TCP connections that the DNS proxy refused: too many were open, or their host had as many as were left for others."
    ProxyRefused "proxy_refused" "Messages that the DNS proxy refused or ignored, because they are no questions it could send on: malformed, zone transfers, updates."
    // Kernel.
    VerdictRefused "verdict_refused" "Verdicts that the kernel refused."
}

/// One value a counter, shared by all workers.
#[derive(Debug)]
pub struct Counters([AtomicU64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Counter::ALL.len()])
    }
}

impl Counters {
    /// Adds one.
    pub fn add(&self, counter: Counter) {
        self.add_many(counter, 1);
    }

    /// Adds `count`.
    pub fn add_many(&self, counter: Counter, count: u64) {
        self.0[counter as usize].fetch_add(count, Relaxed);
    }

    /// The value now.
    pub fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Relaxed)
    }

    /// Every counter with its value.
    pub fn snapshot(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|&counter| (counter, self.value(counter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_counter_has_its_own_name_and_a_sentence() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        for counter in Counter::ALL {
            assert!(counter.explanation().ends_with(['.', '?']), "{counter:?}");
        }
    }

    #[test]
    fn snapshot_shows_what_was_added() {
        let counters = Counters::default();
        counters.add_many(Counter::Malformed, 3);
        let shown: Vec<_> = counters.snapshot().filter(|(_, value)| *value > 0).collect();
        assert_eq!(shown, [(Counter::Malformed, 3)]);
    }
}
