//! `nattt status`.

use super::table;
use super::units;
use crate::control::{Fragmented, Queue, Role, RulesState, RulesStatus, Sizes, Status, Usage};

/// One fact a line; a fact that needs attention says what to do.
pub(super) fn render(status: &Status) -> String {
    let mut facts = vec![
        ("Daemon", daemon(status)),
        ("Roles", roles(&status.roles)),
        ("Rules", rules(&status.rules)),
        ("Queues", queues(&status.queues)),
    ];
    let pool = status.pool.map(|pool| pool.to_string());
    facts.extend(pool.map(|pool| ("Pool", pool)));
    let tables = [
        ("Mappings", status.mappings),
        ("Client flows", status.client_flows),
        ("Gateway flows", status.gateway_flows),
    ];
    facts.extend(tables.iter().filter_map(|&(name, table)| Some((name, usage(table?)))));
    let sizes = [("Client MTU", status.client_sizes), ("Gateway MTU", status.gateway_sizes)];
    for (name, sizes) in sizes {
        facts.extend(sizes.iter().map(|Sizes { mtu, .. }| (name, mtu.explained("default route"))));
        let fragmented = sizes.and_then(|sizes| sizes.fragmented);
        facts.extend(fragmented.map(|fragmented| ("  Fragments", fragments(fragmented))));
    }
    facts.extend(status.warnings.iter().map(|warning| ("WARNING", warning.clone())));
    table::facts(&facts)
}

fn daemon(status: &Status) -> String {
    let Status { daemon_version, pid, uptime_s, .. } = status;
    format!("natttd {daemon_version}, process {pid}, up {}", units::duration(*uptime_s))
}

fn roles(roles: &[Role]) -> String {
    let name = |role: &Role| match role {
        Role::Client => "client",
        Role::Gateway => "gateway",
    };
    match roles {
        [] => "none; configure [client] or [gateway] in /etc/nattt/nattt.toml".into(),
        roles => roles.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn rules(rules: &RulesStatus) -> String {
    let expected = &rules.expected;
    match rules.state {
        RulesState::Loaded => format!("loaded ({expected})"),
        RulesState::Missing => {
            format!("MISSING ({expected} expected); load them: nattt rules apply")
        }
        RulesState::Stale => format!(
            "STALE ({} loaded, {expected} expected): the configuration changed; \
             make rules and daemon agree: nattt reload",
            rules.found.as_deref().unwrap_or("unmarked rules")
        ),
        RulesState::Damaged => format!(
            "DAMAGED ({}): somebody changed them; load them again: nattt rules apply",
            rules.wrong.as_deref().unwrap_or("not as they were loaded")
        ),
        RulesState::Unknown => {
            let why = rules.wrong.as_deref().unwrap_or("`journalctl -u nattt` says why");
            format!("unknown ({expected} expected): {why}")
        }
    }
}

fn queues(queues: &[Queue]) -> String {
    let name = |queue: &Queue| {
        let bound = if queue.bound { "" } else { " NOT BOUND" };
        format!("{} {}{bound}", queue.number, queue.purpose)
    };
    match queues {
        [] => "none".into(),
        queues => queues.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

fn fragments(Fragmented { packets, last_to, route_mtu }: Fragmented) -> String {
    format!(
        "{packets} packets that forbid them travelled in fragments, the last one to {last_to}, where the \
         way has an MTU of {route_mtu}"
    )
}

fn usage(usage: Usage) -> String {
    format!("{} of at most {}", usage.count, usage.cap)
}
