//! What this host itself answers to the first packet of a tunnelled connection, in nft's language.
//!
//! Such an answer (an ICMP error; the reset of a reject rule) comes with the connection of the packet
//! that it is about. Conntrack has not confirmed that connection yet, and will not: the packet ends
//! here. The kernel drops what shares an unconfirmed connection on its way to a queue, and `notrack`
//! does not part them. `dup` does: its copy is untracked. The original is dropped.
//!
//! The copy is sent to lo, as the `TEE` of iptables can do no more than send to an address that the
//! rules know. There the mark is set, which makes the kernel look for the way of the copy's own
//! addresses. What is for this host itself stays on lo and has the mark before. So a marked packet
//! without a connection is such a copy: others' copies of marked packets do not leave through lo, and
//! lose the mark in OUTPUT.

use super::nft::{ICMP_ERRORS, TABLE, has_mark};
use crate::config::Mark;

/// The table of family ip: `dup` knows no inet.
pub(super) fn table(mark: Mark) -> String {
    let (has_mark, packet_has, others) =
        (has_mark("ct", mark), has_mark("meta", mark), mark.others());
    let answer =
        format!("{has_mark} ct state related ct direction reply ct status & confirmed == 0");
    let copy = "oifname \"lo\" ct state untracked fib daddr type unicast";
    format!(
        "
# What this host itself answers to the first packet of a tunnelled connection shares that connection
# before it is confirmed, and the kernel queues no such packet. A copy has no connection. (`dup` is for
# the families ip and ip6 only.)
table ip {TABLE} {{
	chain answers {{
		type filter hook output priority raw; policy accept;
		oifname != \"lo\" ct state untracked {packet_has} meta mark set meta mark & {others:#010x}
		{answer} meta l4proto tcp counter jump answer
		{answer} {ICMP_ERRORS} counter jump answer
	}}
	chain answer {{
		meta mark set meta mark & {others:#010x}
		fib daddr type local meta mark set meta mark | {mark}
		dup to 127.0.0.1
		drop
	}}

	# The mark tells copies from all else, and makes the kernel look for their own way.
	chain copies {{
		type route hook output priority mangle + 10; policy accept;
		{copy} tcp flags & rst == rst counter meta mark set meta mark | {mark}
		{copy} {ICMP_ERRORS} counter meta mark set meta mark | {mark}
	}}
}}
"
    )
}
