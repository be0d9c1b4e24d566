//! Replacing or removing iptables rules that are loaded, in one transaction a table.
//!
//! `saved` is what `iptables-save` printed. Jumps to our chains are deleted wherever they stand,
//! also those a person added; everything else is left alone.

use super::iptables::PREFIX;

/// `text` (a whole `iptables-restore --noflush` input of ours) with commands added that remove
/// what an earlier load left.
pub fn replacement(saved: &str, text: &str) -> String {
    let (loaded, wanted) = (sections(saved), sections(text));
    let mut result = String::new();
    for (table, lines) in &wanted {
        let stale = loaded.iter().filter(|(name, _)| name == table);
        let mut commands: Vec<String> = stale.flat_map(|(_, lines)| purge(lines)).collect();
        commands.extend(lines.iter().map(|line| (*line).to_owned()));
        result += &section(table, &commands);
    }
    let forgotten =
        loaded.iter().filter(|(name, _)| !wanted.iter().any(|(table, _)| table == name));
    forgotten.fold(result, |result, (table, lines)| result + &section(table, &purge(lines)))
}

/// The `iptables-restore --noflush` input that removes everything of ours.
pub fn removal(saved: &str) -> String {
    replacement(saved, "")
}

/// The lines of each `*table` up to its `COMMIT`, comments left out.
pub(super) fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('*') {
            sections.push((table, Vec::new()));
        } else if !line.is_empty() && !line.starts_with('#') && line != "COMMIT" {
            sections.last_mut().into_iter().for_each(|(_, lines)| lines.push(line));
        }
    }
    sections
}

fn section(table: &str, commands: &[String]) -> String {
    if commands.is_empty() {
        return String::new();
    }
    format!("*{table}\n{}\nCOMMIT\n", commands.join("\n"))
}

/// Deletes jumps first, then empties and deletes the chains nothing refers to any more.
fn purge(lines: &[&str]) -> Vec<String> {
    let ours: Vec<&str> = lines.iter().filter_map(|line| own_chain(line)).collect();
    let jumps = lines.iter().filter_map(|line| line.strip_prefix("-A "));
    let jumps = jumps.filter(|rule| !rule.starts_with(PREFIX) && jumps_to_ours(rule));
    let jumps = jumps.map(|rule| format!("-D {rule}"));
    let flushed = ours.iter().map(|chain| format!("-F {chain}"));
    let deleted = ours.iter().map(|chain| format!("-X {chain}"));
    jumps.chain(flushed).chain(deleted).collect()
}

/// The name in `:NATTT-OUTPUT - [0:0]`.
fn own_chain(line: &str) -> Option<&str> {
    let name = line.strip_prefix(':')?.split_whitespace().next()?;
    name.starts_with(PREFIX).then_some(name)
}

fn jumps_to_ours(rule: &str) -> bool {
    let words: Vec<&str> = rule.split_whitespace().collect();
    words.windows(2).any(|pair| matches!(pair, ["-j" | "-g", target] if target.starts_with(PREFIX)))
}
