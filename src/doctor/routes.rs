//! `ip -j -4 route show table all`.

use ipnet::Ipv4Net;
use serde_json::Value;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) to: Ipv4Net,
    /// `unicast`, `local`, `unreachable`; empty where it is not said: `unicast`.
    pub(super) kind: String,
    pub(super) interface: Option<String>,
    /// `main` where it is not said.
    pub(super) table: String,
    /// Who made it: `kernel`.
    pub(super) protocol: String,
}

/// Every route that can be read.
pub(super) fn read(json: &str) -> Vec<Route> {
    let document: Value = serde_json::from_str(json).unwrap_or_default();
    document.as_array().into_iter().flatten().filter_map(route).collect()
}

fn route(object: &Value) -> Option<Route> {
    let text = |key: &str| object[key].as_str().map(str::to_owned);
    let to = match object["dst"].as_str()? {
        "default" => Ipv4Net::default(),
        dst => {
            dst.parse().or_else(|_| dst.parse::<std::net::Ipv4Addr>().map(Ipv4Net::from)).ok()?
        }
    };
    Some(Route {
        to,
        kind: text("type").unwrap_or_default(),
        interface: text("dev"),
        table: text("table").unwrap_or_else(|| "main".into()),
        protocol: text("protocol").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn routes_of_every_kind() {
        let json = r#"[
            {"dst":"default","gateway":"10.0.0.1","dev":"eth0","flags":[]},
            {"type":"unreachable","dst":"127.64.0.0/10","table":"local","protocol":"static"},
            {"type":"local","dst":"10.0.0.2","dev":"eth0","table":"local","protocol":"kernel"},
            {"dst":"fe80::/64","dev":"eth0"}
        ]"#;
        let routes = read(json);
        let shown: Vec<_> =
            routes.iter().map(|route| format!("{} {}", route.to, route.table)).collect();
        assert_eq!(shown, ["0.0.0.0/0 main", "127.64.0.0/10 local", "10.0.0.2/32 local"]);
        assert_eq!(routes[0].interface.as_deref(), Some("eth0"));
        assert_eq!(
            (routes[1].kind.as_str(), routes[1].protocol.as_str()),
            ("unreachable", "static")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_of_routes(text in ".{0,60}") {
            prop_assert!(read(&text).is_empty());
        }
    }
}
