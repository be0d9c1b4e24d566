//! What a gateway opens, and whether it is behind it.

use ipnet::Ipv4Net;

use super::routes::{self, Route};
use super::{Facts, Finding};
use crate::config::{Export, Gateway};

pub(super) fn findings(facts: &Facts, gateway: &Gateway) -> Vec<Finding> {
    let routes = facts.routes.as_deref().map(routes::read).unwrap_or_default();
    gateway.exports.iter().filter_map(|export| judge(facts, gateway, &routes, export)).collect()
}

fn judge(facts: &Facts, gateway: &Gateway, routes: &[Route], export: &Export) -> Option<Finding> {
    let prefix = export.prefix;
    let may_leave = |name: &str| !is(&gateway.outside, name) || is(&gateway.hairpin, name);
    let behind = networks(facts, routes, may_leave);
    if export.exact().is_some_and(|addr| facts.is_own(addr))
        || behind.iter().any(|(_, net)| net.contains(&prefix))
    {
        return None;
    }
    let outside = networks(facts, routes, |name| !may_leave(name));
    let outside = outside.iter().find(|(_, net)| net.contains(&prefix)).map(|(name, _)| name);
    let inner: Vec<String> = behind
        .iter()
        .filter(|(_, net)| prefix.contains(net))
        .map(|(_, net)| net.to_string())
        .collect();
    Some(match (inner.is_empty(), outside) {
        (false, _) => too_wide(prefix, &inner, outside),
        (true, Some(name)) => through_outside(prefix, name, routes),
        (true, None) => Finding::warning(
            "export-not-here",
            format!("`exports` opens {prefix}, but no inside interface or route leads there"),
            "correct `exports` under [gateway], or add the address or route that is missing",
        ),
    })
}

/// What is reached is reached; the rest is nowhere, or outside, where nothing from a tunnel goes.
fn too_wide(prefix: Ipv4Net, inner: &[String], outside: Option<&String>) -> Finding {
    let what = match outside {
        Some(name) => format!(
            "`exports` opens {prefix}, of which only a part is behind this host: the rest is at {name}, an \
             interface in `outside`, and not reached"
        ),
        None => format!("`exports` opens {prefix}, which is more than this host is attached to"),
    };
    let fix = format!("write what is behind it: {}", inner.join(", "));
    Finding::warning("export-too-wide", what, fix)
}

/// Nothing from a tunnel leaves by an outside interface again unless it is told to turn there: a home
/// host has only one, and a router's inside one may stand in the wrong place.
fn through_outside(prefix: Ipv4Net, name: &str, routes: &[Route]) -> Finding {
    let mut defaults = routes.iter().filter(|route| route.to.prefix_len() == 0);
    let other = defaults.find_map(|route| route.interface.as_deref().filter(|way| *way != name));
    let turn = format!("write `hairpin = [\"{name}\"]` under [gateway], too");
    let fix = match other {
        Some(way) => {
            format!("if {name} is the inside, write `outside = [\"{way}\"]`; otherwise {turn}")
        }
        None => format!("{turn}: this host then forwards what came in there, from its own address"),
    };
    Finding::problem(
        "export-outside",
        format!(
            "`exports` opens {prefix}, which is at {name}, an interface in `outside`: nothing from \
             tunnels is sent out there"
        ),
        fix,
    )
}

fn is(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other == name)
}

/// Networks that are reached through such interfaces, each with its own.
fn networks(
    facts: &Facts,
    routes: &[Route],
    through: impl Fn(&str) -> bool,
) -> Vec<(String, Ipv4Net)> {
    let wanted = |name: &str| name != "lo" && through(name);
    let attached = facts.addresses.iter().filter(|(name, _)| wanted(name));
    let routed = routes.iter().filter(|route| route.table == "main" && route.to.prefix_len() > 0);
    let routed = routed.filter_map(|route| {
        let name = route.interface.as_deref().filter(|name| wanted(name))?;
        Some((name.to_owned(), route.to))
    });
    let mut all: Vec<_> =
        attached.map(|(name, net)| (name.clone(), net.trunc())).chain(routed).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::testing::{self, found, lacks};
    use super::*;

    fn configure(facts: &mut Facts, settings: &str) {
        testing::configure(facts, &format!("[gateway]\n{settings}"));
    }

    #[test]
    fn exports_that_are_wider_than_what_is_here() {
        let mut facts = testing::gateway();
        let export = |facts: &mut Facts, prefix: &str| {
            configure(facts, &format!("outside=[\"wan\"]\nexports=[\"{prefix}\"]"));
        };
        export(&mut facts, "192.168.0.0/16");
        assert!(found(&facts, "export-too-wide").fix.contains("192.168.0.0/24"));
        export(&mut facts, "10.0.0.0/24");
        assert!(found(&facts, "export-not-here").what.contains("10.0.0.0/24"));
        facts.routes = Ok(r#"[{"dst":"10.0.0.0/16","dev":"lan"}]"#.into());
        lacks(&facts, "export-not-here");
    }

    #[test]
    fn a_home_host_that_was_not_told_to_turn() {
        let mut facts = testing::gateway();
        configure(&mut facts, "outside=[\"wan\"]\nexports=[\"203.0.113.7\"]");
        let finding = found(&facts, "export-outside");
        assert_eq!(finding.severity, Severity::Problem);
        assert!(finding.fix.starts_with("write `hairpin = [\"wan\"]`"), "{finding:?}");
        configure(&mut facts, "outside=[\"wan\"]\nhairpin=[\"wan\"]\nexports=[\"203.0.113.7\"]");
        lacks(&facts, "export-outside");
        lacks(&facts, "export-not-here");
        // Its own address it serves itself.
        configure(&mut facts, "outside=[\"wan\"]\nexports=[\"203.0.113.1\"]");
        lacks(&facts, "export-outside");
    }

    /// Nested NATs often number both sides from one range.
    #[test]
    fn a_part_is_behind_and_the_rest_outside() {
        let mut facts = testing::gateway();
        facts.routes = Ok(r#"[{"dst":"192.168.0.0/16","dev":"wan"}]"#.into());
        configure(&mut facts, "outside=[\"wan\"]\nexports=[\"192.168.0.0/16\"]");
        lacks(&facts, "export-outside");
        let finding = found(&facts, "export-too-wide");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(
            finding.what.contains("the rest is at wan, an interface in `outside`"),
            "{finding:?}"
        );
        assert!(finding.fix.contains("192.168.0.0/24"), "{finding:?}");
        configure(&mut facts, "outside=[\"wan\"]\nexports=[\"192.168.9.0/24\"]");
        assert_eq!(found(&facts, "export-outside").severity, Severity::Problem);
    }

    #[test]
    fn an_inside_interface_in_the_place_of_the_outside_one() {
        let mut facts = testing::gateway();
        configure(&mut facts, "outside=[\"lan\"]\nexports=[\"192.168.0.2\"]");
        let finding = found(&facts, "export-outside");
        assert!(finding.what.contains("192.168.0.2/32, which is at lan"), "{finding:?}");
        assert!(finding.fix.contains("write `outside = [\"wan\"]`"), "{finding:?}");
    }
}
