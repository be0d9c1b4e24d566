//! Aligned columns for people.

use std::fmt::Write;

/// Between two columns.
const GAP: &str = "  ";

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under a heading. Every cell is made safe for a terminal.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    align: [Align; COLUMNS],
    /// The heading first.
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(columns: [(&str, Align); COLUMNS]) -> Self {
        let heading = columns.map(|(name, _)| name.to_owned());
        Self { align: columns.map(|(_, align)| align), rows: vec![heading] }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.map(|cell| escape(&cell)));
    }

    /// The lines, each with its line end and without trailing spaces.
    pub(super) fn render(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(widths).zip(self.align) {
                // Writing to a string cannot fail.
                let _ = match align {
                    Align::Left => write!(line, "{cell:<width$}{GAP}"),
                    Align::Right => write!(line, "{cell:>width$}{GAP}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> [usize; COLUMNS] {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.len().max(*width);
            }
        }
        widths
    }
}

/// One named fact a line.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let line =
        |(name, fact): &(&str, String)| format!("{:<15}{}\n", format!("{name}:"), escape(fact));
    facts.iter().map(line).collect()
}

/// Only visible ASCII and spaces reach the terminal; other octets become `\DDD`, as in DNS
/// presentation format (RFC 1035 §5.1). Names come escaped already, and stay as they are.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b' '..=b'~' => escaped.push(char::from(octet)),
            _ => drop(write!(escaped, "\\{octet:03}")),
        }
    }
    escaped
}

/// A text of several lines, for a terminal: files, logs and servers may say anything, and it must not
/// obey.
pub(super) fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '?' } else { c };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["a".into(), "100".into()]);
        table.row(["longer".into(), "7".into()]);
        assert_eq!(table.render(), "NAME      N\na       100\nlonger    7\n");
    }

    #[test]
    fn terminal_sequences_are_shown_not_run() {
        assert_eq!(escape("\x1b[2Jb\u{202e}.example"), "\\027[2Jb\\226\\128\\174.example");
        assert_eq!(escape("a\\027b.example."), "a\\027b.example.");
    }

    #[test]
    fn a_message_keeps_its_lines_and_nothing_else_that_moves_a_cursor() {
        assert_eq!(printable("a\x1b[2J\r\u{9b}2J\n\tb\u{e9}"), "a?[2J??2J\n\tb\u{e9}");
    }

    proptest! {
        #[test]
        fn any_cell_stays_on_its_line(cells in prop::collection::vec(".*", 0..5)) {
            let mut table = Table::new([("A", Align::Left), ("B", Align::Right)]);
            cells.iter().for_each(|cell| table.row([cell.clone(), cell.clone()]));
            let text = table.render();
            prop_assert_eq!(text.lines().count(), cells.len() + 1);
            prop_assert!(text.bytes().all(|octet| matches!(octet, b'\n' | b' '..=b'~')));
        }
    }
}
