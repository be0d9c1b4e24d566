//! How large outer packets may be.

use super::{Facts, Finding};
use crate::control::{Fragmented, Mtu, Sizes};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(status) = facts.status() else { return Vec::new() };
    let roles = [("client", status.client_sizes), ("gateway", status.gateway_sizes)];
    let sizes = roles.iter().filter_map(|&(role, sizes)| Some((role, sizes?)));
    sizes
        .flat_map(|(role, Sizes { mtu, fragmented })| {
            let fragments = fragmented.map(|fragmented| fragments(role, fragmented));
            [small_route(role, mtu), fragments]
        })
        .flatten()
        .collect()
}

/// What the route carries decides, unless it is less than any route counts for.
fn small_route(role: &str, mtu: Mtu) -> Option<Finding> {
    let Mtu { octets, configured, .. } = mtu;
    let route = mtu.route.filter(|&route| route < configured)?;
    let below = format!("the MTU of the default route, {route}, is below `mtu` under [{role}]");
    Some(if route < octets {
        Finding::warning(
            "route-mtu",
            format!(
                "{below}, and below what any route counts for: packets of {octets} octets leave in \
                 fragments"
            ),
            format!("write `mtu = {route}` under [{role}] if that is what the link carries"),
        )
    } else {
        Finding::information(
            "route-mtu",
            format!("{below}, {configured}: natttd works with {octets}"),
            "nothing, that is as it should be",
        )
    })
}

fn fragments(role: &str, fragmented: Fragmented) -> Finding {
    let Fragmented { packets, last_to, route_mtu } = fragmented;
    Finding::information(
        "fragments",
        format!(
            "{packets} packets of the {role} that forbid fragments travelled in fragments of the outer \
             packet, the last one to {last_to}, where the way has an MTU of {route_mtu}"
        ),
        "nothing, unless connections hang when much is sent: a NAT on the way then drops fragments. New \
         TCP connections fit by themselves; let UDP programs send less (`nattt explain NAME` says how \
         much)",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::testing::{self, found, lacks, status};
    use super::*;

    fn sizes(octets: u16, route: Option<u16>) -> Option<Sizes> {
        Some(Sizes { mtu: Mtu { octets, configured: 1500, route }, fragmented: None })
    }

    #[test]
    fn a_route_that_carries_less_is_a_fact() {
        let mut facts = testing::client();
        for (octets, route) in [(1500, None), (1500, Some(1500)), (1500, Some(9000))] {
            status(&mut facts).client_sizes = sizes(octets, route);
            lacks(&facts, "route-mtu");
        }
        status(&mut facts).client_sizes = sizes(1420, Some(1420));
        let finding = found(&facts, "route-mtu");
        assert_eq!(finding.severity, Severity::Information);
        assert!(finding.what.contains("under [client], 1500: natttd works with 1420"));
    }

    #[test]
    fn a_route_that_carries_less_than_any_counts_for_is_to_be_configured() {
        let mut facts = testing::gateway();
        status(&mut facts).gateway_sizes = sizes(1280, Some(1000));
        let finding = found(&facts, "route-mtu");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.fix.contains("`mtu = 1000` under [gateway]"), "{}", finding.fix);
    }

    #[test]
    fn fragments_are_told_of() {
        let mut facts = testing::client();
        lacks(&facts, "fragments");
        let fragmented =
            Some(Fragmented { packets: 12, last_to: [203, 0, 113, 1].into(), route_mtu: 1420 });
        status(&mut facts).client_sizes =
            sizes(1420, Some(1420)).map(|sizes| Sizes { fragmented, ..sizes });
        let finding = found(&facts, "fragments");
        assert_eq!(finding.severity, Severity::Information);
        assert!(finding.what.contains("12 packets of the client") && finding.what.contains("1420"));
    }
}
