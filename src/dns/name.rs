//! Domain names: read from a message, compared without regard to case, printed without surprises.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest label, in octets (RFC 1035 §2.3.4).
pub(super) const MAX_LABEL: usize = 63;
/// The longest name in wire form, in octets, length octets and root included (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// The most compression pointers in one name. A sensible writer needs one; a name has at most 127
/// labels, so nobody needs more.
const MAX_POINTERS: usize = 127;

/// A domain name in uncompressed wire form, ASCII letters in lower case (RFC 4343 §3), the root's
/// zero octet at its end. Names that DNS calls equal are equal, and hash alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<[u8]>);

/// Why octets or text are not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// The message, or the part that a pointer may lead to, ends inside the name.
    Truncated,
    /// A length octet of 64 to 191 (RFC 1035 §4.1.4 reserves them).
    LabelType(u8),
    /// A compression pointer that does not lead backwards, so that it could lead in circles.
    Pointer,
    /// More compression pointers than a name has room for labels.
    Pointers,
    /// Text with an empty label.
    EmptyLabel,
    /// Text with a label of more than 63 octets.
    LabelTooLong,
    /// More than 255 octets.
    TooLong,
    /// Text with a `\` that is not followed by a character or by three digits up to 255.
    Escape,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the message ends inside a name"),
            Self::LabelType(octet) => write!(f, "label type {octet:#04x} does not exist"),
            Self::Pointer => write!(f, "a compression pointer does not lead backwards"),
            Self::Pointers => write!(f, "a name has more than {MAX_POINTERS} compression pointers"),
            Self::EmptyLabel => write!(f, "write a name without empty labels: `b.example`"),
            Self::LabelTooLong => write!(f, "a label has at most {MAX_LABEL} octets"),
            Self::TooLong => write!(f, "a name has at most {MAX_NAME} octets"),
            Self::Escape => write!(f, "write `\\DDD` (decimal, up to 255) or `\\X` after a `\\`"),
        }
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// Reads the name at `at`, following compression pointers (RFC 1035 §4.1.4). Also returns the
    /// offset of the first octet after it.
    pub fn read(octets: &[u8], at: usize) -> Result<(Self, usize), NameError> {
        let mut walk = Walk::new(octets, at);
        let mut wire = Vec::new();
        loop {
            match walk.step()? {
                Step::Label(label) => push_label(&mut wire, label),
                Step::Pointer => {}
                Step::Root => break,
            }
        }
        wire.push(0);
        Ok((Self::from_wire(wire), walk.end()))
    }

    /// The name without labels.
    pub(super) fn root() -> Self {
        Self::from_wire(vec![0])
    }

    /// Whether this is the name without labels.
    pub(super) fn is_root(&self) -> bool {
        self.as_wire() == [0]
    }

    /// The wire form: uncompressed, in lower case, with the root's zero octet.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels, leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.as_wire();
        std::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            (!label.is_empty()).then_some(label)
        })
    }

    /// The IPv4 address whose name this asks for: `D.C.B.A.in-addr.arpa` (RFC 1035 §3.5).
    pub fn reversed_address(&self) -> Option<Ipv4Addr> {
        let labels: Vec<&[u8]> = self.labels().collect();
        let (octets, zone) = labels.split_first_chunk::<4>()?;
        let [first, second] = zone else { return None };
        if !first.eq_ignore_ascii_case(b"in-addr") || !second.eq_ignore_ascii_case(b"arpa") {
            return None;
        }
        let octet = |label: &[u8]| std::str::from_utf8(label).ok()?.parse::<u8>().ok();
        let [d, c, b, a] = octets.map(octet);
        Some(Ipv4Addr::new(a?, b?, c?, d?))
    }

    /// A name from its labels, leftmost first.
    pub(crate) fn from_labels<'a>(
        labels: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, NameError> {
        let mut wire = Vec::new();
        for label in labels {
            match label.len() {
                0 => return Err(NameError::EmptyLabel),
                1..=MAX_LABEL => push_label(&mut wire, label),
                _ => return Err(NameError::LabelTooLong),
            }
        }
        wire.push(0);
        if wire.len() > MAX_NAME { Err(NameError::TooLong) } else { Ok(Self::from_wire(wire)) }
    }

    /// Whether this is `zone` or a name below it.
    pub fn is_in(&self, zone: &Self) -> bool {
        self.prefix_of(zone).is_some()
    }

    /// What a DNAME record at `owner` makes of a name below `owner` (RFC 6672 §2.2); nothing if
    /// this name is not below it.
    pub(super) fn substituted(
        &self,
        owner: &Self,
        target: &Self,
    ) -> Option<Result<Self, NameError>> {
        let prefix = self.prefix_of(owner).filter(|prefix| !prefix.is_empty())?;
        let wire = [prefix, target.as_wire()].concat();
        Some(if wire.len() > MAX_NAME {
            Err(NameError::TooLong)
        } else {
            Ok(Self::from_wire(wire))
        })
    }

    /// The octets of this name's labels in front of `zone`.
    fn prefix_of(&self, zone: &Self) -> Option<&[u8]> {
        let prefix = self.0.strip_suffix(zone.as_wire())?;
        let mut label_ends = self.labels().scan(0, |at, label| {
            *at += 1 + label.len();
            Some(*at)
        });
        (prefix.is_empty() || label_ends.any(|end| end == prefix.len())).then_some(prefix)
    }

    fn from_wire(mut wire: Vec<u8>) -> Self {
        // Length octets are below 64, so they are never taken for letters.
        wire.make_ascii_lowercase();
        Self(wire.into_boxed_slice())
    }
}

/// Appends one label, its length octet first. Labels come out of [`Walk`] or out of checked text,
/// so none has more than 63 octets.
pub(super) fn push_label(wire: &mut Vec<u8>, label: &[u8]) {
    wire.push(label.len() as u8);
    wire.extend(label);
}

/// One step along a name in a message.
pub(super) enum Step<'a> {
    /// A label, 1 to 63 octets, in the case in which it came.
    Label(&'a [u8]),
    /// A compression pointer; the walk goes on where it leads.
    Pointer,
    /// The end of the name.
    Root,
}

/// Walks a name in a message and checks it on the way. Every pointer leads to before the place
/// where the walk last landed, and what is read there ends before it too: so the walk ends, and a
/// name depends on nothing behind its own octets.
pub(super) struct Walk<'a> {
    /// The message, cut off where the walk last landed.
    octets: &'a [u8],
    at: usize,
    landed: usize,
    length: usize,
    pointers: usize,
    end: Option<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(octets: &'a [u8], at: usize) -> Self {
        Self { octets, at, landed: at, length: 1, pointers: 0, end: None }
    }

    /// The next label, pointer or the root.
    pub(super) fn step(&mut self) -> Result<Step<'a>, NameError> {
        let octet = self.octet(self.at)?;
        match octet {
            0 => {
                self.end.get_or_insert(self.at + 1);
                Ok(Step::Root)
            }
            1..=63 => self.label(usize::from(octet)),
            0xc0.. => self.pointer(octet),
            _ => Err(NameError::LabelType(octet)),
        }
    }

    /// The offset of the first octet after the name; after [`Step::Root`] only.
    pub(super) fn end(&self) -> usize {
        self.end.unwrap_or(self.at)
    }

    fn label(&mut self, length: usize) -> Result<Step<'a>, NameError> {
        let start = self.at + 1;
        let label = self.octets.get(start..start + length).ok_or(NameError::Truncated)?;
        self.at = start + length;
        self.length += 1 + length;
        if self.length > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Step::Label(label))
    }

    fn pointer(&mut self, high: u8) -> Result<Step<'a>, NameError> {
        let low = self.octet(self.at + 1)?;
        let target = usize::from(u16::from_be_bytes([high & 0x3f, low]));
        if target >= self.landed {
            return Err(NameError::Pointer);
        }
        self.pointers += 1;
        if self.pointers > MAX_POINTERS {
            return Err(NameError::Pointers);
        }
        self.end.get_or_insert(self.at + 2);
        self.octets = self.octets.get(..self.landed).ok_or(NameError::Pointer)?;
        self.at = target;
        self.landed = target;
        Ok(Step::Pointer)
    }

    fn octet(&self, at: usize) -> Result<u8, NameError> {
        self.octets.get(at).copied().ok_or(NameError::Truncated)
    }
}

/// Master file format (RFC 1035 §5.1) without the final dot. Whatever is not a printable ASCII
/// character, and whatever means something there, is escaped.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            label.iter().try_for_each(|&octet| write_octet(f, octet))?;
        }
        if self.labels().next().is_none() {
            f.write_str(".")?;
        }
        Ok(())
    }
}

fn write_octet(f: &mut fmt::Formatter<'_>, octet: u8) -> fmt::Result {
    match octet {
        b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
            write!(f, "\\{}", char::from(octet))
        }
        0x21..=0x7e => write!(f, "{}", char::from(octet)),
        _ => write!(f, "\\{octet:03}"),
    }
}

/// Reads what `Display` writes; the final dot may be there. Names are absolute either way.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::new();
        let mut rest = if text == "." { &[] } else { text.as_bytes() };
        if text.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        while !rest.is_empty() {
            let (label, tail) = read_label(rest)?;
            push_label(&mut wire, &label);
            rest = tail;
        }
        wire.push(0);
        if wire.len() > MAX_NAME { Err(NameError::TooLong) } else { Ok(Self::from_wire(wire)) }
    }
}

/// One label and what follows its dot.
fn read_label(text: &[u8]) -> Result<(Vec<u8>, &[u8]), NameError> {
    let mut label = Vec::new();
    let mut rest = text;
    while let Some((&character, tail)) = rest.split_first() {
        rest = tail;
        match character {
            b'.' => break,
            b'\\' => {
                let (octet, tail) = read_escape(tail)?;
                label.push(octet);
                rest = tail;
            }
            _ => label.push(character),
        }
    }
    match label.len() {
        0 => Err(NameError::EmptyLabel),
        1..=MAX_LABEL => Ok((label, rest)),
        _ => Err(NameError::LabelTooLong),
    }
}

/// What follows a `\`: three decimal digits, or any other character for itself.
fn read_escape(text: &[u8]) -> Result<(u8, &[u8]), NameError> {
    match *text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ref rest @ ..] => {
            let value = [a, b, c].iter().fold(0, |value, d| value * 10 + u16::from(d - b'0'));
            Ok((u8::try_from(value).map_err(|_| NameError::Escape)?, rest))
        }
        [b'0'..=b'9', ..] | [] => Err(NameError::Escape),
        [octet, ref rest @ ..] => Ok((octet, rest)),
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name as Hickory;
    use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let label = prop::collection::vec(any::<u8>(), 1..=MAX_LABEL);
        prop::collection::vec(label, 0..4).prop_filter("at most 255 octets", |labels| {
            labels.iter().map(|label| label.len() + 1).sum::<usize>() < MAX_NAME
        })
    }

    fn wire(labels: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        labels.iter().for_each(|label| push_label(&mut wire, label));
        wire.push(0);
        wire
    }

    #[test]
    fn case_does_not_count() {
        let (read, end) = Name::read(b"\x01B\x07eXaMpLe\0rest", 0).expect("a name");
        assert_eq!((&read, end), (&name("b.example"), 11));
        assert_eq!(read.to_string(), "b.example");
    }

    #[test]
    fn letters_beyond_ascii_keep_their_octets() {
        let (read, _) = Name::read(b"\x02\xc3\x84\0", 0).expect("a name");
        assert_eq!(read.to_string(), "\\195\\132");
    }

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        let (read, _) = Name::read(b"\x0ba.b\n\x1b[2J\\;\"\0", 0).expect("a name");
        assert_eq!(read.to_string(), "a\\.b\\010\\027[2j\\\\\\;\\\"");
    }

    #[test]
    fn the_root_is_a_dot() {
        assert_eq!(name(".").as_wire(), [0]);
        assert_eq!(name(".").to_string(), ".");
    }

    #[test]
    fn the_final_dot_may_be_left_out() {
        assert_eq!(name("b.example."), name("b.example"));
    }

    #[test]
    fn text_that_is_no_name() {
        let long = [&"a".repeat(63); 4].map(String::as_str).join(".");
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("..", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            ("a\\", NameError::Escape),
            ("a\\25", NameError::Escape),
            ("a\\256", NameError::Escape),
            (&"a".repeat(64), NameError::LabelTooLong),
            (&long, NameError::TooLong),
        ] {
            assert_eq!(text.parse::<Name>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_zone_ends_at_a_label() {
        assert!(name("b.example").is_in(&name("example")));
        assert!(name("example").is_in(&name("example")));
        assert!(name("example").is_in(&name(".")));
        assert!(!name("bexample").is_in(&name("example")));
        assert!(!name("example").is_in(&name("b.example")));
        // The zone's length octet (1) and letter are the end of another label here.
        assert!(!name("a\\001b").is_in(&name("b")));
    }

    #[test]
    fn dname_replaces_what_is_below_it() {
        let moved = |text: &str| name(text).substituted(&name("old"), &name("new.example"));
        assert_eq!(moved("a.b.old"), Some(Ok(name("a.b.new.example"))));
        assert_eq!(moved("old"), None);
        assert_eq!(moved("a.older"), None);
        let long = format!("{}.old", [&"a".repeat(60); 4].map(String::as_str).join("."));
        assert_eq!(moved(&long), Some(Err(NameError::TooLong)));
    }

    #[test]
    fn a_pointer_to_itself() {
        assert_eq!(Name::read(b"\xc0\x00", 0), Err(NameError::Pointer));
    }

    #[test]
    fn a_pointer_to_its_own_label() {
        assert_eq!(Name::read(b"\x01a\xc0\x00", 0), Err(NameError::Pointer));
    }

    #[test]
    fn two_pointers_in_a_circle() {
        assert_eq!(Name::read(b"\xc0\x02\xc0\x00", 2), Err(NameError::Pointer));
    }

    #[test]
    fn a_pointer_forwards() {
        assert_eq!(Name::read(b"\xc0\x02\x01a\0", 0), Err(NameError::Pointer));
    }

    #[test]
    fn a_label_that_covers_the_pointer_to_it() {
        assert_eq!(Name::read(b"\x02a\xc0\x00\0", 2), Err(NameError::Truncated));
    }

    #[test]
    fn more_pointers_than_labels() {
        let mut octets = vec![0, 0];
        for target in 0..200u16 {
            octets.extend((0xc000 | (target * 2)).to_be_bytes());
        }
        assert_eq!(Name::read(&octets, octets.len() - 2), Err(NameError::Pointers));
    }

    #[test]
    fn a_label_of_64_octets() {
        let mut octets = vec![64];
        octets.extend([b'a'; 64]);
        octets.push(0);
        assert_eq!(Name::read(&octets, 0), Err(NameError::LabelType(64)));
    }

    #[test]
    fn a_name_of_300_octets() {
        let octets = wire(&vec![vec![b'a'; 59]; 5]);
        assert_eq!(octets.len(), 301);
        assert_eq!(Name::read(&octets, 0), Err(NameError::TooLong));
    }

    #[test]
    fn a_name_that_ends_too_early() {
        for octets in [&b""[..], b"\x01", b"\x01a", b"\x05abc", b"\xc0"] {
            assert_eq!(Name::read(octets, 0), Err(NameError::Truncated), "{octets:?}");
        }
        assert_eq!(Name::read(b"\0", usize::MAX - 1), Err(NameError::Truncated));
    }

    /// The pointer at 2 would end in the label at 3.
    #[test]
    fn a_pointer_may_not_overlap_the_name_that_led_to_it() {
        assert_eq!(Name::read(&[0, 0, 0xc0, 1, b'a', 0xc0, 2], 3), Err(NameError::Truncated));
    }

    proptest! {
        #[test]
        fn wire_and_text_round_trip(labels in labels()) {
            let octets = wire(&labels);
            let (read, end) = Name::read(&octets, 0).expect("a name");
            prop_assert_eq!(end, octets.len());
            prop_assert_eq!(read.as_wire(), octets.to_ascii_lowercase());
            prop_assert!(read.to_string().bytes().all(|octet| (0x21..=0x7e).contains(&octet)));
            prop_assert_eq!(read.to_string().parse(), Ok(read.clone()));
            prop_assert_eq!(read.labels().count(), labels.len());
        }

        #[test]
        fn any_octets_are_a_name_or_an_error(
            octets in prop::collection::vec(any::<u8>(), 0..300),
            at in 0usize..300,
        ) {
            if let Ok((name, end)) = Name::read(&octets, at) {
                prop_assert!(name.as_wire().len() <= MAX_NAME && end <= octets.len());
            }
        }

        /// Pointers and short labels are likely here, so that names come out.
        #[test]
        fn hickory_reads_the_same_name(
            octets in prop::collection::vec(
                prop_oneof![Just(0u8), Just(0xc0), 1u8..4, b'a'..b'd'], 1..60),
            at in 0usize..60,
        ) {
            let at = at % octets.len();
            let mut decoder = BinDecoder::new(&octets).clone(at as u16);
            let (ours, other) = (Name::read(&octets, at), Hickory::read(&mut decoder));
            // Hickory lets a pointer overlap the name that led to it; nobody writes such a thing.
            prop_assume!(!(ours == Err(NameError::Truncated) && other.is_ok()));
            prop_assert_eq!(ours.is_ok(), other.is_ok(), "{:?} {:?}", ours, other);
            if let (Ok((name, end)), Ok(other)) = (ours, other) {
                prop_assert_eq!(decoder.index(), end);
                let labels: Vec<_> = other.iter().map(<[u8]>::to_ascii_lowercase).collect();
                prop_assert_eq!(labels, name.labels().map(<[u8]>::to_vec).collect::<Vec<_>>());
            }
        }

        #[test]
        fn any_text_is_a_name_or_an_error(text in ".{0,300}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }
    }
}
