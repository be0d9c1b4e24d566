//! Finds NAT records in text: zone files, servers' configurations, what dig prints, bare hex, paths.

use std::fmt;

use data_encoding::HEXUPPER_PERMISSIVE;

use super::lines::{Entries, Entry};
use super::{Record, json};
use crate::dns::{Name, NameError};
use crate::path::{Hop, Path, PathError};

/// First words of nsupdate's other commands.
const COMMANDS: [&str; 17] = [
    "answer",
    "check-names",
    "class",
    "debug",
    "gsstsig",
    "key",
    "local",
    "oldgsstsig",
    "prereq",
    "quit",
    "realm",
    "send",
    "server",
    "show",
    "ttl",
    "version",
    "zone",
];
/// Types that stand beside NAT records in zone files, some of which leave the class out.
const OTHER_TYPES: [&str; 22] = [
    "A", "AAAA", "CAA", "CDNSKEY", "CDS", "CNAME", "DNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR",
    "NS", "NSEC", "NSEC3", "PTR", "RRSIG", "SOA", "SRV", "SSHFP", "TLSA", "TXT",
];
/// A type is among so many first words of a record: owner, TTL, class, type.
const HEAD: usize = 4;

/// Why there is no NAT record in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The line, from 1; none if it is about all of the text.
    pub line: Option<usize>,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is nothing that is known here.
    Unknown,
    /// A record of the NAT type whose data is not in generic syntax (RFC 3597 §5).
    NotGeneric,
    /// Its hex has other characters, or half an octet.
    Hex,
    /// It says that there are more or fewer octets than there are.
    Count {
        /// Octets it speaks of.
        said: String,
        /// Octets there are.
        found: usize,
    },
    /// Its octets or words are no path.
    Path(PathError),
    /// Its owner is no name.
    Name(NameError),
    /// It is JSON, but not such as is written here.
    Json(String),
    /// There are records of unknown types, but not of this one.
    OtherType {
        /// The type asked for.
        wanted: u16,
        /// A type that is there.
        found: u16,
    },
    /// There is no record at all.
    Nothing,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(
                f,
                "this is no NAT record; give a zone line (`... TYPE65324 \\# 10 HEX`), the hex, or \
                 a path (`203.0.113.1:100 192.168.0.2`)"
            ),
            Self::NotGeneric => {
                write!(f, "after the type comes the data as `\\# LENGTH HEX` (RFC 3597)")
            }
            Self::Hex => write!(f, "the data is no hex, two digits an octet"),
            Self::Count { said, found } => {
                write!(f, "it says {said:?} octets, but there are {found}")
            }
            Self::Path(error) => write!(f, "{error}"),
            Self::Name(error) => write!(f, "the owner is no name: {error}"),
            Self::Json(error) => write!(f, "this JSON holds no NAT records: {error}"),
            Self::OtherType { wanted, found } => write!(
                f,
                "there is no record of type {wanted}, but one of type {found}; if that is your \
                 type of NAT records, add `--type {found}`"
            ),
            Self::Nothing => write!(f, "there is no NAT record in it"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<PathError> for Reason {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<NameError> for Reason {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

/// Every NAT record in the text, never none. Comments, other records and settings and nsupdate's
/// other commands are passed over, so that whole zone files and configurations and all that dig
/// prints can be given.
pub fn decode(text: &str, record_type: u16) -> Result<Vec<Record>, DecodeError> {
    if is_json(text) {
        return json::from_json(text, record_type)
            .map_err(|reason| DecodeError { line: None, reason });
    }
    let mut reader = Reader { record_type, ..Reader::default() };
    let mut entries = Entries::default();
    for (line, text) in (1..).zip(text.lines()) {
        reader
            .line(&mut entries, line, text)
            .map_err(|reason| DecodeError { line: Some(line), reason })?;
    }
    if let Some(entry) = entries.finish() {
        let line = Some(entry.line);
        reader.entry(&entry).map_err(|reason| DecodeError { line, reason })?;
    }
    reader.finish().map_err(|reason| DecodeError { line: None, reason })
}

/// An object with something in it; a name may begin with a brace, too.
fn is_json(text: &str) -> bool {
    let object = text.trim_start().strip_prefix('{');
    object.is_some_and(|members| members.trim_start().starts_with('"'))
}

/// Hex digits to octets; dnsmasq also takes colons and blanks between them.
pub(super) fn octets(hex: &str) -> Result<Vec<u8>, Reason> {
    let digits: String = hex.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| Reason::Hex)
}

/// What was read so far.
#[derive(Debug, Default)]
struct Reader {
    record_type: u16,
    records: Vec<Record>,
    /// The last type that was neither known nor wanted.
    other_type: Option<u16>,
    /// What relative names are relative to, as `$ORIGIN` had it.
    origin: Option<String>,
    /// What `$TTL` had, for records without a TTL.
    ttl: Option<u32>,
    /// The owner before, for entries that begin with a blank.
    owner: Option<Name>,
}

impl Reader {
    fn line(&mut self, entries: &mut Entries, line: usize, text: &str) -> Result<(), Reason> {
        let trimmed = text.trim();
        if let Some(text) = trimmed.strip_prefix("local-data:") {
            return self.unbound(line, text);
        }
        if let Some(text) = trimmed.trim_start_matches("--").strip_prefix("dns-rr=") {
            return self.dnsmasq(text);
        }
        if trimmed.starts_with('#') || is_setting(trimmed) {
            return Ok(());
        }
        entries.push(line, text).map_or(Ok(()), |entry| self.entry(&entry))
    }

    /// The line of a zone file between quotation marks.
    fn unbound(&mut self, line: usize, text: &str) -> Result<(), Reason> {
        let text = text.trim_start();
        let inner = text
            .strip_prefix(['"', '\''])
            .and_then(|rest| rest.split_once(['"', '\'']))
            .map_or(text, |(inner, _)| inner);
        let mut entries = Entries::default();
        let entry = entries.push(line, inner).or_else(|| entries.finish());
        entry.map_or(Ok(()), |entry| self.entry(&entry))
    }

    /// `NAME,TYPE,HEX`
    fn dnsmasq(&mut self, text: &str) -> Result<(), Reason> {
        let mut parts = text.splitn(3, ',');
        let [name, kind, data] = [(); 3].map(|()| parts.next().unwrap_or_default().trim());
        let kind = kind.parse().map_err(|_| Reason::Unknown)?;
        if kind != self.record_type {
            self.other_type = Some(kind);
            return Ok(());
        }
        let data = data.split('#').next().unwrap_or_default();
        let path = Path::from_rdata(&octets(data)?)?;
        self.records.push(Record { name: Some(name.parse()?), ttl: None, path });
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Reason> {
        let words: Vec<&str> = entry.words.iter().map(String::as_str).collect();
        let words = match words[..] {
            ["update", "add", ..] => &words[2..],
            ["update", ..] => return Ok(()),
            _ => &words[..],
        };
        match words {
            ["$ORIGIN", origin, ..] => self.origin = Some(self.absolute(origin)),
            ["$TTL", ttl, ..] => self.ttl = seconds(ttl),
            _ => match (words.iter().position(|word| *word == "\\#" || *word == "#"), words) {
                (Some(at), _) => return self.generic(entry.blank, &words[..at], &words[at + 1..]),
                (None, []) => {}
                (None, [first, ..]) if first.starts_with('$') => {}
                (None, _) => return self.other(entry.blank, words),
            },
        }
        Ok(())
    }

    /// `[NAME] [TTL] [CLASS] TYPE \# LENGTH HEX...`; dig's short form begins with the `\#`.
    fn generic(&mut self, blank: bool, head: &[&str], data: &[&str]) -> Result<(), Reason> {
        let (name, ttl) = match head.split_last() {
            None => (None, None),
            Some((kind, head)) => {
                let head = self.head(blank, head)?;
                match type_number(kind) {
                    Some(kind) if kind == self.record_type => head,
                    Some(kind) => {
                        self.other_type = Some(kind);
                        return Ok(());
                    }
                    None => return Err(Reason::Unknown),
                }
            }
        };
        let (said, hex) = data.split_first().ok_or(Reason::NotGeneric)?;
        let rdata = octets(&hex.concat())?;
        if said.parse() != Ok(rdata.len()) {
            let said = (*said).to_owned();
            return Err(Reason::Count { said, found: rdata.len() });
        }
        self.records.push(Record { name, ttl, path: Path::from_rdata(&rdata)? });
        Ok(())
    }

    /// Owner and TTL. An indented line that names an owner all the same is taken at its word.
    fn head(&mut self, blank: bool, head: &[&str]) -> Result<(Option<Name>, Option<u32>), Reason> {
        let is_name = |word: &str| !blank || seconds(word).is_none() && !is_class(word);
        let rest = match head.split_first() {
            Some((first, rest)) if is_name(first) => {
                self.owner = Some(self.absolute(first).parse()?);
                rest
            }
            _ => head,
        };
        let ttl = rest.iter().find_map(|word| seconds(word)).or(self.ttl);
        Ok((self.owner.clone(), ttl))
    }

    /// A line without `\#`.
    fn other(&mut self, blank: bool, words: &[&str]) -> Result<(), Reason> {
        let is_type = |word: &&str| OTHER_TYPES.iter().any(|kind| word.eq_ignore_ascii_case(kind));
        let head = &words[..words.len().min(HEAD)];
        if head.iter().any(|word| type_number(word) == Some(self.record_type)) {
            return Err(Reason::NotGeneric);
        }
        if head.iter().any(is_type) || head[1..].iter().any(|word| is_class(word)) {
            if !blank {
                self.owner = self.absolute(words[0]).parse().ok();
            }
            return Ok(());
        }
        if COMMANDS.contains(&words[0]) {
            return Ok(());
        }
        self.records.push(Record { name: None, ttl: None, path: bare_path(words)? });
        Ok(())
    }

    /// A name without a final dot is relative to the origin, if there is one.
    fn absolute(&self, name: &str) -> String {
        let backslashes = name.trim_end_matches('.').bytes().rev().take_while(|&b| b == b'\\');
        let is_absolute = name.ends_with('.') && backslashes.count() % 2 == 0;
        match &self.origin {
            Some(origin) if name == "@" => origin.clone(),
            Some(origin) if !is_absolute => format!("{name}.{}", origin.trim_start_matches('.')),
            _ => name.to_owned(),
        }
    }

    fn finish(self) -> Result<Vec<Record>, Reason> {
        match (self.records.is_empty(), self.other_type) {
            (false, _) => Ok(self.records),
            (true, Some(found)) => Err(Reason::OtherType { wanted: self.record_type, found }),
            (true, None) => Err(Reason::Nothing),
        }
    }
}

/// A path in words, or as hex.
fn bare_path(words: &[&str]) -> Result<Path, Reason> {
    if words[0].parse::<Hop>().is_ok() {
        return Ok(words.join(" ").parse()?);
    }
    let hex = words.concat();
    let digits = hex.strip_prefix("0x").unwrap_or(&hex);
    match digits.chars().all(|c| c.is_ascii_hexdigit() || c == ':') {
        true => Ok(Path::from_rdata(&octets(digits)?)?),
        false => Err(Reason::Unknown),
    }
}

/// Another line of dnsmasq's or Unbound's configuration: `name=value`, `flag-name`, `name: value`.
fn is_setting(line: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name = line.trim_start_matches("--");
    let (name, rest) = name.split_at(name.find(|c| !is_name(c)).unwrap_or(name.len()));
    let mut rest = rest.chars();
    !name.is_empty()
        && match rest.next() {
            None => name.contains('-'),
            Some('=') => true,
            Some(':') => rest.next().is_none_or(char::is_whitespace),
            Some(_) => false,
        }
}

/// `TYPE65324` (RFC 3597 §5)
fn type_number(word: &str) -> Option<u16> {
    let (kind, number) = word.split_at_checked(4)?;
    kind.eq_ignore_ascii_case("TYPE").then(|| number.parse().ok())?
}

fn is_class(word: &str) -> bool {
    ["IN", "CH", "HS", "CLASS1"].iter().any(|class| word.eq_ignore_ascii_case(class))
}

/// A TTL: `300`, or with the units of BIND and others, `1h30m`.
fn seconds(word: &str) -> Option<u32> {
    let (mut sum, mut number) = (0u32, None);
    for character in word.chars() {
        number = match (character.to_digit(10), number) {
            (Some(digit), before) => {
                Some(before.unwrap_or(0u32).checked_mul(10)?.checked_add(digit)?)
            }
            (None, Some(count)) => {
                let unit = match character.to_ascii_lowercase() {
                    's' => 1,
                    'm' => 60,
                    'h' => 3600,
                    'd' => 86_400,
                    'w' => 604_800,
                    _ => return None,
                };
                sum = sum.checked_add(count.checked_mul(unit)?)?;
                None
            }
            (None, None) => return None,
        };
    }
    if word.is_empty() { None } else { sum.checked_add(number.unwrap_or(0)) }
}
