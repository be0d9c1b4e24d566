//! Names made from names: `{label}-nat1.{parent}` makes `b-nat1.example` of `b.example`.

use std::fmt;
use std::str::FromStr;

use crate::dns::Name;
use crate::dns::name::MAX_LABEL;

/// What makes one name of another. `{label}` is a name's first label, `{parent}` what follows it,
/// `{name}` both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    text: String,
}

/// What stands between two dots.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// One label.
    Label(Vec<Chunk>),
    /// All labels of the parent.
    Parent,
}

/// A part of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Chunk {
    Text(String),
    Label,
}

/// Why text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// A placeholder that does not exist.
    Placeholder(String),
    /// A `{` without its `}`, or the other way round.
    Brace,
    /// `{parent}`, or the end of `{name}`, next to something other than a dot.
    ParentInLabel,
    /// `{parent}` or `{name}` twice.
    SecondParent,
    /// Two dots in a row, or one at the beginning.
    EmptyLabel,
    /// A label whose own text is longer than a label may be.
    LongLabel,
    /// A character that names of hosts do not have.
    Character(char),
    /// Nothing but one label: it would name a top-level domain.
    TopLevel,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXAMPLE: &str = "`{label}-nat1.{parent}`";
        match self {
            Self::Placeholder(wrong) => write!(
                f,
                "there is no `{{{}}}`; there are `{{name}}`, `{{label}}` (its first label) and \
                 `{{parent}}` (the rest)",
                wrong.escape_debug()
            ),
            Self::Brace => write!(f, "a brace is alone; write a template like {EXAMPLE}"),
            Self::ParentInLabel => write!(
                f,
                "`{{parent}}` stands between dots, and nothing follows `{{name}}` but a dot: write \
                 a template like {EXAMPLE} or `nat1-{{name}}`"
            ),
            Self::SecondParent => {
                write!(f, "`{{parent}}` or `{{name}}` stands there twice; write it once")
            }
            Self::EmptyLabel => {
                write!(f, "nothing stands between two dots; write a template like {EXAMPLE}")
            }
            Self::LongLabel => write!(f, "a label has at most {MAX_LABEL} characters"),
            Self::Character(wrong) => write!(
                f,
                "`{}` is in no host's name; use letters, digits, `-` and `_`",
                wrong.escape_debug()
            ),
            Self::TopLevel => {
                write!(f, "this names a top-level domain; write a template like {EXAMPLE}")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// What of a name can be read off what a template made of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its first label; nothing if the template leaves it out.
    pub(super) label: Option<Vec<u8>>,
    /// What followed; nothing if the template leaves it out.
    pub(super) parent: Option<Name>,
}

impl Template {
    /// The template that makes every name of itself: `{name}`.
    pub fn name() -> Self {
        let pieces = vec![Piece::Label(vec![Chunk::Label]), Piece::Parent];
        Self { pieces, text: "{name}".to_owned() }
    }

    /// Whether it makes every name of itself.
    pub fn is_name(&self) -> bool {
        self.pieces == Self::name().pieces
    }

    /// What it makes of `name`; nothing if that would be too long for a name, or if `name` is the
    /// root.
    pub fn expand(&self, name: &Name) -> Option<Name> {
        let mut labels = name.labels();
        let label = labels.next()?;
        let parent: Vec<&[u8]> = labels.collect();
        let mut made: Vec<Vec<u8>> = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Label(chunks) => made.push(fill(chunks, label)),
                Piece::Parent => made.extend(parent.iter().map(|label| label.to_vec())),
            }
        }
        Name::from_labels(made.iter().map(Vec::as_slice)).ok()
    }

    /// Whether what it makes lies in the same zone as what it is made of.
    pub(super) fn ends_with_parent(&self) -> bool {
        self.pieces.last() == Some(&Piece::Parent)
    }

    /// What `name` can have been made of; nothing if this template never makes it.
    pub(super) fn origin(&self, name: &Name) -> Option<Origin> {
        let labels: Vec<&[u8]> = name.labels().collect();
        let at = self.pieces.iter().position(|piece| *piece == Piece::Parent);
        let (front, back) = match at {
            Some(at) => (at, self.pieces.len() - at - 1),
            None => (self.pieces.len(), 0),
        };
        let between = labels.len().checked_sub(front + back)?;
        if at.is_none() && between > 0 {
            return None;
        }
        let parent = at.and_then(|at| labels.get(at..at + between));
        let parent = parent.map(|labels| Name::from_labels(labels.iter().copied()));
        let own = labels[..front].iter().chain(&labels[front + between..]);
        let patterns = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Label(chunks) => Some(chunks),
            Piece::Parent => None,
        });
        let mut label = None;
        for (chunks, made) in patterns.zip(own) {
            let read = read(chunks, made)?;
            if label.is_some() && read.is_some() && label != read {
                return None;
            }
            label = label.or(read);
        }
        Some(Origin { label: label.map(<[u8]>::to_vec), parent: parent.and_then(Result::ok) })
    }
}

/// One label of what is made.
fn fill(chunks: &[Chunk], label: &[u8]) -> Vec<u8> {
    let mut filled = Vec::new();
    for chunk in chunks {
        filled.extend(match chunk {
            Chunk::Text(text) => text.as_bytes(),
            Chunk::Label => label,
        });
    }
    filled
}

/// The other way: `None` if it does not fit, `Some(None)` if it fits any label.
fn read<'a>(chunks: &[Chunk], made: &'a [u8]) -> Option<Option<&'a [u8]>> {
    let text = |chunk: &Chunk| match chunk {
        Chunk::Text(text) => text.len(),
        Chunk::Label => 0,
    };
    let rest = made.len().checked_sub(chunks.iter().map(text).sum())?;
    let label = match chunks.iter().filter(|chunk| **chunk == Chunk::Label).count() {
        0 => None,
        count => {
            let before = chunks.iter().take_while(|chunk| **chunk != Chunk::Label).map(text).sum();
            Some(made.get(before..before + rest / count).filter(|label| !label.is_empty())?)
        }
    };
    (fill(chunks, label.unwrap_or_default()) == made).then_some(label)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let whole = text.replace("{name}", "{label}.{parent}");
        let pieces: Vec<Piece> = whole.split('.').map(piece).collect::<Result<_, _>>()?;
        match pieces.iter().filter(|piece| **piece == Piece::Parent).count() {
            0 if pieces.len() == 1 => Err(TemplateError::TopLevel),
            0 | 1 => Ok(Self { pieces, text }),
            _ => Err(TemplateError::SecondParent),
        }
    }
}

fn piece(text: &str) -> Result<Piece, TemplateError> {
    match text {
        "{parent}" => Ok(Piece::Parent),
        "" => Err(TemplateError::EmptyLabel),
        text if text.contains("{parent}") => Err(TemplateError::ParentInLabel),
        text => chunks(text).map(Piece::Label),
    }
}

/// `a{label}b` taken apart.
fn chunks(text: &str) -> Result<Vec<Chunk>, TemplateError> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}').ok_or(TemplateError::Brace)?;
        if placeholder != "label" {
            return Err(TemplateError::Placeholder(placeholder.to_owned()));
        }
        push_text(&mut chunks, before)?;
        chunks.push(Chunk::Label);
        rest = after;
    }
    push_text(&mut chunks, rest)?;
    if fill(&chunks, b"x").len() > MAX_LABEL { Err(TemplateError::LongLabel) } else { Ok(chunks) }
}

fn push_text(chunks: &mut Vec<Chunk>, text: &str) -> Result<(), TemplateError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match text.chars().find(|&c| !allowed(c)) {
        Some('{' | '}') => Err(TemplateError::Brace),
        Some(wrong) => Err(TemplateError::Character(wrong)),
        None if text.is_empty() => Ok(()),
        None => {
            chunks.push(Chunk::Text(text.to_owned()));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::name;
    use proptest::prelude::*;

    fn template(text: &str) -> Template {
        text.parse().expect(text)
    }

    #[test]
    fn what_templates_make() {
        for (text, from, made) in [
            ("{name}", "b.example.org", "b.example.org"),
            ("{label}-nat1.{parent}", "B.example.org", "b-nat1.example.org"),
            ("nat1-{name}", "b.example.org", "nat1-b.example.org"),
            ("nat.{name}.", "b.example.org", "nat.b.example.org"),
            ("{name}.dyn.example.net", "b.example.org", "b.example.org.dyn.example.net"),
            ("{label}.dyn.example.net", "b.example.org", "b.dyn.example.net"),
            ("nat1.{parent}", "b.example.org", "nat1.example.org"),
            ("gw.Example.net", "b.example.org", "gw.example.net"),
            ("{label}{label}.{label}.{parent}", "b.example.org", "bb.b.example.org"),
        ] {
            assert_eq!(template(text).expand(&name(from)), Some(name(made)), "{text}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_made() {
        let long = name(&format!("{}.example", "x".repeat(60)));
        assert_eq!(template("{label}-nat1.{parent}").expand(&long), None);
        assert!(template("a-{label}.{parent}").expand(&long).is_some());
        assert_eq!(template("a-{label}.{parent}").expand(&name(".")), None);
    }

    #[test]
    fn what_is_no_template() {
        let long = "x".repeat(63);
        for (text, error) in [
            ("{host}-in.{parent}", TemplateError::Placeholder("host".to_owned())),
            ("{}.{parent}", TemplateError::Placeholder(String::new())),
            ("{label.{parent}", TemplateError::Brace),
            ("label}.{parent}", TemplateError::Brace),
            ("{label", TemplateError::Brace),
            ("{label}-{parent}", TemplateError::ParentInLabel),
            ("{name}-nat1", TemplateError::ParentInLabel),
            ("{parent}.{parent}", TemplateError::SecondParent),
            ("{label}..{parent}", TemplateError::EmptyLabel),
            ("", TemplateError::EmptyLabel),
            ("{label} 1.{parent}", TemplateError::Character(' ')),
            ("{label}-nat1", TemplateError::TopLevel),
            ("gw", TemplateError::TopLevel),
            (&format!("{{label}}{long}.{{parent}}"), TemplateError::LongLabel),
        ] {
            let refused = text.parse::<Template>().expect_err(text);
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().is_empty());
        }
    }

    #[test]
    fn what_a_name_was_made_of() {
        let origin = |text: &str, of: &str| template(text).origin(&name(of));
        let (label, parent) = (Some(b"b".to_vec()), Some(name("example.org")));
        let both = Some(Origin { label: label.clone(), parent: parent.clone() });
        assert_eq!(origin("{label}-nat1.{parent}", "b-nat1.example.org"), both);
        assert_eq!(origin("{label}.nat.{parent}.x", "b.nat.example.org.x"), both);
        let without = Some(Origin { label: None, parent });
        assert_eq!(origin("nat1.{parent}", "NAT1.example.org"), without);
        let alone = Some(Origin { label, parent: None });
        assert_eq!(origin("{label}{label}.x", "bb.x"), alone);
        for (text, other) in [
            ("{label}-nat1.{parent}", "b.example.org"),
            ("{label}-nat1.{parent}", "-nat1.example.org"),
            ("{label}{label}.x", "bc.x"),
            ("{label}{label}.x", "bbb.x"),
            ("{label}.{label}.x", "b.c.x"),
            ("gw.x", "a.gw.x"),
            ("gw.x", "x"),
        ] {
            assert_eq!(origin(text, other), None, "{text} {other}");
        }
    }

    /// Templates as they can be written, and names with any octets.
    fn templates() -> impl Strategy<Value = String> {
        let label = prop_oneof![
            "[a-z]{1,3}",
            "[a-z]{0,2}\\{label\\}[a-z0-9]{0,2}",
            "\\{label\\}-\\{label\\}"
        ];
        let tail = prop_oneof![Just(""), Just(".{parent}"), Just(".{parent}.x"), Just(".{name}")];
        (prop::collection::vec(label, 1..3), tail)
            .prop_map(|(labels, tail)| labels.join(".") + tail)
    }

    fn names() -> impl Strategy<Value = Name> {
        let label = prop::collection::vec(prop_oneof![b'a'..=b'c', any::<u8>()], 1..9);
        prop::collection::vec(label, 1..5).prop_map(|labels| {
            Name::from_labels(labels.iter().map(Vec::as_slice)).expect("short labels")
        })
    }

    proptest! {
        #[test]
        fn what_is_made_can_be_traced_back(text in templates(), from in names()) {
            let Ok(template) = text.parse::<Template>() else { return Ok(()) };
            let made = template.expand(&from).expect("short");
            let origin = template.origin(&made).expect("made by it");
            let mut labels = from.labels();
            let label = labels.next().expect("not the root");
            prop_assert!(origin.label.is_none_or(|read| read == label));
            let parent = Name::from_labels(labels).expect("short");
            prop_assert!(origin.parent.is_none_or(|read| read == parent));
        }

        #[test]
        fn what_is_traced_back_was_made(text in templates(), made in names()) {
            let Ok(template) = text.parse::<Template>() else { return Ok(()) };
            if let Some(Origin { label: Some(label), parent: Some(parent) }) = template.origin(&made) {
                let labels = std::iter::once(label.as_slice()).chain(parent.labels());
                let from = Name::from_labels(labels).expect("short");
                prop_assert_eq!(template.expand(&from), Some(made));
            }
        }

        #[test]
        fn any_text_is_a_template_or_an_error(text in "[a-z{}.é-]{0,20}|\\PC{0,20}") {
            match text.parse::<Template>() {
                Ok(template) => prop_assert_eq!(template.to_string().parse(), Ok(template)),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
