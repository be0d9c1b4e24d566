//! How large outer packets may be, and why.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The largest outer packet that is sent in one direction, octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mtu {
    /// What counts.
    pub octets: u16,
    /// What the configuration says.
    pub configured: u16,
    /// The MTU of the route; absent without a route.
    pub route: Option<u16>,
}

/// What is known of the links behind the first, octets with the tunnel's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMtu {
    /// What TCP counts on.
    pub tcp: u16,
    /// The last measurement; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measurement>,
}

/// What gets through whole, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// Octets.
    pub octets: u16,
    /// How long ago that was found, seconds.
    pub ago_s: u64,
}

/// What a role makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Where the default route leads.
    pub mtu: Mtu,
    /// Packets that travelled in fragments although they forbid that; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragmented: Option<Fragmented>,
}

/// Packets with DF that were larger with the tunnel's headers than their way carries: their outer packet,
/// whose DF is clear, travelled in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragmented {
    /// How many.
    pub packets: u64,
    /// Where the last one went: the outermost NAT box, or the client.
    pub last_to: Ipv4Addr,
    /// The MTU of the way there, octets: of its route, or of all of it as it was measured.
    pub route_mtu: u16,
}

impl Mtu {
    /// The size and its reason; `route` names the route, without an article.
    pub fn explained(&self, route: &str) -> String {
        let Self { octets, configured, .. } = *self;
        match self.route {
            Some(mtu) if mtu == octets && mtu == configured => {
                format!("{octets} octets, as configured and as the {route} has it")
            }
            Some(mtu) if mtu == octets => {
                format!("{octets} octets, the MTU of the {route} (`mtu` = {configured})")
            }
            Some(mtu) if mtu < octets && octets < configured => format!(
                "{octets} octets, the least that a route counts for: the MTU of the {route} is {mtu} \
                 (`mtu` = {configured})"
            ),
            Some(mtu) => format!("{octets} octets, as configured; the MTU of the {route} is {mtu}"),
            None => format!("{octets} octets, as configured; there is no {route}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_said() {
        let said = |octets, configured, route| {
            Mtu { octets, configured, route }.explained("default route")
        };
        for (text, why) in [
            (
                said(1420, 1500, Some(1420)),
                "1420 octets, the MTU of the default route (`mtu` = 1500)",
            ),
            (
                said(1500, 1500, Some(9000)),
                "1500 octets, as configured; the MTU of the default route is 9000",
            ),
            (
                said(1500, 1500, Some(1500)),
                "1500 octets, as configured and as the default route has it",
            ),
            (
                said(1280, 1500, Some(600)),
                "1280 octets, the least that a route counts for: the MTU of the default route is 600 (`mtu` = 1500)",
            ),
            (
                said(1000, 1000, Some(600)),
                "1000 octets, as configured; the MTU of the default route is 600",
            ),
            (said(1500, 1500, None), "1500 octets, as configured; there is no default route"),
        ] {
            assert_eq!(text, why);
        }
    }
}
