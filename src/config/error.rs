//! Errors that carry the line, what stands there, and what to write instead.

use std::fmt;
use std::ops::Range;

use super::PACKAGED;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    line: usize,
    shown: String,
    message: String,
}

impl ConfigError {
    /// An error about the octets `span` of `text`.
    pub(super) fn at(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let shown = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Self { line, shown: shown.trim().to_owned(), message: message.into() }
    }

    /// An error about the file as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { line: 0, shown: String::new(), message: message.into() }
    }

    /// An error of the TOML reader, with advice added.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let Some(span) = error.span() else { return Self::whole(error.message()) };
        let section = section(text.get(..span.start).unwrap_or_default());
        let mut wrong = Self::at(text, span, error.message());
        if let Some(advice) = advice(error.message(), section, &wrong.shown) {
            wrong.message = advice;
        }
        wrong
    }

    /// The line that is wrong, counted from 1; none if the file as a whole is.
    pub fn line(&self) -> Option<usize> {
        (self.line > 0).then_some(self.line)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            Some(line) => write!(f, "line {line}: `{}`: {}", self.shown, self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The last header before a place: `[client]`. Nothing stands for the top.
fn section(before: &str) -> &str {
    before.lines().map(str::trim).rfind(|line| line.starts_with('[')).unwrap_or_default()
}

fn advice(message: &str, section: &str, line: &str) -> Option<String> {
    if message.starts_with("unknown field") {
        return Some(unknown_key(message, section, line));
    }
    if message.starts_with("duplicate key") {
        return Some(duplicate(line));
    }
    let key = line.split_once('=')?.0.trim();
    example(section, key).map(|example| format!("{message}; write it like `{example}`"))
}

/// TOML has each section, and each setting of a section, once.
fn duplicate(line: &str) -> String {
    match line.starts_with('[') {
        true => {
            "this section is there already, further up: move what follows there, without this line"
                .into()
        }
        false => "this is set already, further up: leave one of the two".into(),
    }
}

/// serde says: unknown field `pol`, expected one of `pool`, `mtu`.
fn unknown_key(message: &str, section: &str, line: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let nearest = known.iter().min_by_key(|name| distance(wrong, name));
    let near = nearest.filter(|name| distance(wrong, name) <= name.len().min(9) / 3 + 1);
    let elsewhere = if line.starts_with('[') { Vec::new() } else { homes(wrong, section) };
    match (near, &elsewhere[..]) {
        (_, [""]) => format!("`{wrong}` belongs at the top of the file, above the first `[`"),
        (_, [_, ..]) => format!("`{wrong}` belongs under {}", elsewhere.join(" or ")),
        (Some(nearest), []) => format!("there is no setting `{wrong}`; did you mean `{nearest}`?"),
        (None, []) => {
            format!("there is no setting `{wrong}` here; there are: {}", known.join(", "))
        }
    }
}

/// The line of the packaged file that shows how `key` is written in a section.
fn example(section: &str, key: &str) -> Option<&'static str> {
    settings().find(|(inside, name, _)| *inside == section && *name == key).map(|(.., line)| line)
}

/// Other sections that have a setting of this name.
fn homes(key: &str, section: &str) -> Vec<&'static str> {
    let all = settings().filter(|(inside, name, _)| *name == key && *inside != section);
    let mut homes: Vec<_> = all.map(|(inside, ..)| inside).collect();
    homes.dedup();
    homes
}

/// The settings of the packaged file: section, name, the whole line.
fn settings() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let mut inside = "";
    PACKAGED.lines().map(|line| line.trim_start_matches(['#', ' '])).filter_map(move |line| {
        if line.starts_with('[') {
            inside = line;
        }
        let (name, _) = line.split_once(" = ")?;
        (!name.contains(' ')).then_some((inside, name, line))
    })
}

/// Levenshtein's distance: the fewest letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, above) in to.iter().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(a != *b)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "", 0), ("pol", "pool", 1), ("kitten", "sitting", 3), ("abc", "", 3)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn any_place_in_any_text_has_a_line(text in "\\PC{0,20}\n?\\PC{0,20}", at in 0usize..60) {
            let error = ConfigError::at(&text, at..at, "wrong");
            prop_assert!(error.line().is_some());
        }

        #[test]
        fn distance_is_symmetric(a in "[a-d]{0,6}", b in "[a-d]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
