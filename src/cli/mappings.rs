//! `nattt mappings`.

use super::table::{Align, Table};
use super::units;
use crate::control::{Mapping, MappingState};

/// One mapped address a line; a quarantined one is valid, but nothing uses it.
pub(super) fn render(mappings: &[Mapping]) -> String {
    if mappings.is_empty() {
        return "No address is mapped: no name with a NAT record was looked up yet.\n".into();
    }
    let mut table = Table::new([
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("FLOWS", Align::Right),
        ("EXPIRES", Align::Right),
        ("NAMES", Align::Left),
        ("PATHS", Align::Left),
    ]);
    for mapping in mappings {
        table.row([
            mapping.address.to_string(),
            state(mapping.state).into(),
            mapping.flows.to_string(),
            units::duration(mapping.expires_in_s),
            mapping.names.join(", "),
            paths(mapping),
        ]);
    }
    table.render()
}

fn paths(mapping: &Mapping) -> String {
    let shown = |path: &String| match mapping.silent_paths.contains(path) {
        true => format!("{path} (silent)"),
        false => path.clone(),
    };
    mapping.paths.iter().map(shown).collect::<Vec<_>>().join(" | ")
}

fn state(state: MappingState) -> &'static str {
    match state {
        MappingState::Live => "live",
        MappingState::Quarantined => "quarantined",
    }
}
