//! Names that natttd may follow up, by patterns: `example.org` is that name and all below it,
//! `*.example.org` only those below.

use std::fmt;
use std::str::FromStr;

use super::name::{Name, NameError};

/// Which names may get a mapped address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These; if there is none, all.
    pub only: Vec<Pattern>,
    /// But not these.
    pub except: Vec<Pattern>,
}

/// A name and what is below it, or only that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    zone: Name,
    below_only: bool,
}

/// Text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    /// Its name is none.
    Name(NameError),
    /// Letters of other alphabets: names are compared as they are on the wire.
    NotAscii,
    /// A `*` anywhere but in front.
    Star,
    /// A space, which no program asks for.
    Space,
}

impl Selection {
    /// Whether a name may be followed up.
    pub fn includes(&self, name: &Name) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.only.is_empty() || any(&self.only)) && !any(&self.except)
    }
}

impl Pattern {
    /// Whether it means this name, in whatever case.
    pub fn matches(&self, name: &Name) -> bool {
        name.is_in(&self.zone) && !(self.below_only && *name == self.zone)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if !text.is_ascii() {
            return Err(PatternError::NotAscii);
        }
        let (zone, below_only) = match text.strip_prefix("*.") {
            Some(zone) => (zone, true),
            None => (text, false),
        };
        if zone.contains('*') {
            return Err(PatternError::Star);
        }
        if zone.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
            return Err(PatternError::Space);
        }
        Ok(Self { zone: zone.parse().map_err(PatternError::Name)?, below_only })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below_only { "*." } else { "" }, self.zone)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::NotAscii => write!(
                f,
                "write international names as DNS has them, in A-labels: `xn--bcher-kva.example` \
                 for `bücher.example`"
            ),
            Self::Star => write!(
                f,
                "a `*` stands in front only: `*.example.org` is every name below example.org"
            ),
            Self::Space => write!(f, "write one name, such as `example.org`"),
        }
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::name;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().expect("a pattern")).collect()
    }

    fn selection(only: &[&str], except: &[&str]) -> Selection {
        Selection { only: patterns(only), except: patterns(except) }
    }

    #[test]
    fn all_names_are_included_by_default() {
        assert!(Selection::default().includes(&name("b.example")));
    }

    #[test]
    fn a_name_stands_for_all_below_it_too_a_star_for_those_only() {
        let only = selection(&["Example.ORG.", "*.example.net"], &[]);
        for (asked, included) in [
            ("example.org", true),
            ("a.b.EXAMPLE.org", true),
            ("notexample.org", false),
            ("example.net", false),
            ("b.example.net", true),
            ("example", false),
        ] {
            assert_eq!(only.includes(&name(asked)), included, "{asked}");
        }
    }

    #[test]
    fn an_exception_always_wins() {
        let both = selection(&["example.org"], &["*.corp.example.org"]);
        assert!(both.includes(&name("corp.example.org")));
        assert!(!both.includes(&name("b.corp.example.org")));
        assert!(selection(&["b.org"], &["org"]).only[0].matches(&name("b.org")));
        assert!(!selection(&["b.org"], &["org"]).includes(&name("b.org")));
    }

    #[test]
    fn the_root_is_everything() {
        assert!(selection(&["."], &[]).includes(&name("b.example")));
        assert!(!selection(&[], &["*.."]).includes(&name("b.example")));
    }

    #[test]
    fn what_is_no_pattern_says_what_to_write() {
        for (text, advice) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("b.*.example", "in front only"),
            ("*b.example", "in front only"),
            ("*", "in front only"),
            ("a b", "one name"),
            ("a..b", "without empty labels"),
            ("", "without empty labels"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert!(error.contains(advice), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_is_shown_as_it_can_be_written(text in "(\\*\\.)?[a-z0-9-]{1,9}(\\.[A-Z]{1,9}){0,3}") {
            let pattern: Pattern = text.parse().expect("a pattern");
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }

        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "\\PC{0,30}") {
            if let Err(error) = text.parse::<Pattern>() {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
