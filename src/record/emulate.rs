//! A records that stand for a NAT record, for zones that take no unknown types: one for each NAT box
//! and one for the host, at names that templates make of the name they are about.

use std::fmt;
use std::str::FromStr;

use super::RecordSet;
use super::format::absolute;
use crate::dns::Name;
use crate::path::{Hop, TUNNEL_PORT};

const PLACEHOLDERS: [&str; 3] = ["{name}", "{label}", "{parent}"];

/// A name with placeholders: `{name}`, its first `{label}` and its `{parent}`, the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// The name of a NAT box and the UDP port where it takes tunnel packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxTemplate {
    /// Its name.
    pub template: Template,
    /// Its port, host order; not 0.
    pub port: u16,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// It has no placeholder, so that all names would share one record; or a brace elsewhere.
    Placeholder,
    /// It makes no name of `b.example`.
    Name,
    /// What follows the `:` of a NAT box's is no port.
    Port,
}

/// Where the A records are that stand for a NAT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulation {
    /// Has the host's address.
    pub host: Template,
    /// Have the NAT boxes' addresses, outermost first. If none is given, the n-th is
    /// `{label}-natN.{parent}`.
    pub boxes: Vec<BoxTemplate>,
}

/// Why A records cannot stand for NAT records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmulationError {
    /// Only one path can be said.
    Paths(usize),
    /// An A record says no port; the template says another than this NAT box has.
    Port {
        /// The NAT box.
        hop: Hop,
        /// The template's port.
        port: u16,
    },
    /// More NAT boxes than templates for them.
    Boxes {
        /// NAT boxes of the path.
        boxes: usize,
        /// Templates for boxes.
        templates: usize,
    },
    /// This template makes no name of the name: one that is too long, or of the root.
    Name(Template),
    /// Two templates make the same name of it.
    Twice(Name),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placeholder => write!(
                f,
                "a template needs {{name}}, {{label}} or {{parent}}, and no other braces: \
                 `{{label}}-in.{{parent}}`"
            ),
            Self::Name => {
                write!(f, "this makes no name of b.example: write `{{label}}-in.{{parent}}`")
            }
            Self::Port => write!(
                f,
                "write a port from 1 to 65535 after the `:`, or leave both out for {TUNNEL_PORT}"
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

impl fmt::Display for EmulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(paths) => write!(f, "A records can stand for one path, not for {paths}"),
            Self::Port { hop, port } => write!(
                f,
                "A records say no ports: {hop} needs a template that ends with `:{}`, not with the \
                 port {port}",
                hop.port
            ),
            Self::Boxes { boxes, templates } => write!(
                f,
                "the path has {boxes} NAT boxes, but there are {templates} templates for boxes; \
                 give one for each"
            ),
            Self::Name(template) => {
                write!(f, "{template} makes no name of it; a shorter template may")
            }
            Self::Twice(name) => {
                write!(f, "two templates make {name}; give each box and the host a name of its own")
            }
        }
    }
}

impl std::error::Error for EmulationError {}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let rest = PLACEHOLDERS.iter().fold(text.to_owned(), |rest, one| rest.replace(one, ""));
        if rest.len() == text.len() || rest.contains(['{', '}']) {
            return Err(TemplateError::Placeholder);
        }
        let template = Self(text.to_owned());
        let example = "b.example".parse().ok();
        example.and_then(|name| template.expand(&name)).ok_or(TemplateError::Name)?;
        Ok(template)
    }
}

/// A template, then `:PORT` if the port is not [`TUNNEL_PORT`].
impl FromStr for BoxTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (template, port) = match text.split_once(':') {
            Some((template, port)) => (template, port.parse().map_err(|_| TemplateError::Port)?),
            None => (text, TUNNEL_PORT),
        };
        match port {
            0 => Err(TemplateError::Port),
            _ => Ok(Self { template: template.parse()?, port }),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Template {
    /// What it makes of `name`; nothing if that would be too long for a name, or if `name` is the
    /// root.
    pub fn expand(&self, name: &Name) -> Option<Name> {
        name.labels().next()?;
        let whole = name.to_string();
        let (label, parent) = split(&whole);
        // The placeholders' braces are none of the name's: those stay as they are.
        let mut made = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, one, after)) = next_placeholder(rest) {
            made.push_str(before);
            made.push_str(match one {
                "{name}" => &whole,
                "{label}" => label,
                _ => parent,
            });
            rest = after;
        }
        made.push_str(rest);
        made.parse().ok()
    }
}

impl Default for Emulation {
    fn default() -> Self {
        Self { host: Template("{label}-in.{parent}".into()), boxes: Vec::new() }
    }
}

impl Emulation {
    /// The A records that say what `set` says, as lines of a zone file, the outermost box first.
    pub fn a_records(&self, set: &RecordSet) -> Result<String, EmulationError> {
        let [path] = set.paths.paths() else {
            return Err(EmulationError::Paths(set.paths.paths().len()));
        };
        let boxes = self.boxes(path.hops().len())?;
        for (hop, &BoxTemplate { port, .. }) in path.hops().iter().zip(&boxes) {
            if hop.port != port {
                return Err(EmulationError::Port { hop: *hop, port });
            }
        }
        let templates = boxes.iter().map(|one| &one.template).chain([&self.host]);
        let names = distinct_names(templates, &set.name)?;
        let addresses = path.hops().iter().map(|hop| hop.addr).chain([path.host()]);
        let line = |(name, addr)| format!("{} {} IN A {addr}\n", absolute(name), set.ttl);
        Ok(names.iter().zip(addresses).map(line).collect())
    }

    /// The templates of so many boxes.
    fn boxes(&self, boxes: usize) -> Result<Vec<BoxTemplate>, EmulationError> {
        let numbered = |n| BoxTemplate {
            template: Template(format!("{{label}}-nat{n}.{{parent}}")),
            port: TUNNEL_PORT,
        };
        match self.boxes.len() {
            0 => Ok((1..=boxes).map(numbered).collect()),
            templates if templates < boxes => Err(EmulationError::Boxes { boxes, templates }),
            _ => Ok(self.boxes[..boxes].to_vec()),
        }
    }
}

/// What the templates make of the name.
fn distinct_names<'a>(
    templates: impl Iterator<Item = &'a Template>,
    name: &Name,
) -> Result<Vec<Name>, EmulationError> {
    let mut names = Vec::new();
    for template in templates {
        let made = template.expand(name);
        let made = made.ok_or_else(|| EmulationError::Name(template.clone()))?;
        if names.contains(&made) {
            return Err(EmulationError::Twice(made));
        }
        names.push(made);
    }
    Ok(names)
}

/// The first label of a name's text, and what follows its dot.
fn split(name: &str) -> (&str, &str) {
    let mut escaped = false;
    let dot = name.bytes().position(|octet| {
        let ends = octet == b'.' && !escaped;
        escaped = octet == b'\\' && !escaped;
        ends
    });
    dot.map_or((name, ""), |dot| (&name[..dot], &name[dot + 1..]))
}

fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (at, one) = PLACEHOLDERS
        .iter()
        .filter_map(|one| text.find(one).map(|at| (at, *one)))
        .min_by_key(|(at, _)| *at)?;
    Some((&text[..at], one, &text[at + one.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::PathSet;

    fn template(text: &str) -> Template {
        text.parse().expect("a template")
    }

    fn boxes(texts: &[&str]) -> Vec<BoxTemplate> {
        texts.iter().map(|text| text.parse().expect("a template")).collect()
    }

    fn set(name: &str, path: &str) -> RecordSet {
        let paths = PathSet::new(vec![path.parse().expect("a path")]).expect("a path");
        let name = name.parse().expect("a name");
        RecordSet { name, ttl: 300, record_type: 65324, paths }
    }

    #[test]
    fn templates_take_a_name_apart() {
        let made = |text: &str, name: &str| {
            template(text).expand(&name.parse().expect("a name")).map(|name| name.to_string())
        };
        assert_eq!(made("{label}-in.{parent}", "b.home.example"), Some("b-in.home.example".into()));
        assert_eq!(made("in.{name}", "b.example"), Some("in.b.example".into()));
        assert_eq!(made("{label}-in.{parent}", "b"), Some("b-in".into()));
        assert_eq!(made("{label}.in.{parent}", "a\\.b.example"), Some("a\\.b.in.example".into()));
        // A name that looks like a placeholder is only a name.
        assert_eq!(made("in.{label}.{parent}", "{name}.x"), Some("in.{name}.x".into()));
        assert_eq!(made("{label}-in.{parent}", &"a".repeat(62)), None);
        assert_eq!(made("{label}-in.{parent}", "."), None);
        for bad in ["in.example", "", "{}", "{Label}.x", "{label}-{n}.x", "{label}..x"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
        for bad in ["nat.{parent}:", "nat.{parent}:0", "nat.{parent}:65536", "nat:100"] {
            assert!(bad.parse::<BoxTemplate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_record_a_box_and_one_for_the_host() {
        let emulation = Emulation::default();
        let text = emulation.a_records(&set("b.example", "203.0.113.1 10.0.0.9 192.168.0.2"));
        assert_eq!(
            text.expect("A records"),
            "b-nat1.example. 300 IN A 203.0.113.1\n\
             b-nat2.example. 300 IN A 10.0.0.9\n\
             b-in.example. 300 IN A 192.168.0.2\n"
        );
        let own = Emulation { host: template("{name}"), boxes: boxes(&["nat.{parent}:101"]) };
        assert_eq!(
            own.a_records(&set("b.example", "203.0.113.1:101 192.168.0.2")).expect("A records"),
            "nat.example. 300 IN A 203.0.113.1\nb.example. 300 IN A 192.168.0.2\n"
        );
    }

    #[test]
    fn what_a_records_cannot_say() {
        let one = |host: &str, names: &[&str], path: &str| {
            Emulation { host: template(host), boxes: boxes(names) }
                .a_records(&set("b.example", path))
        };
        let hop = "203.0.113.1:101".parse().expect("a hop");
        let none: &[&str] = &[];
        assert_eq!(
            one("{name}", none, "203.0.113.1:101 192.168.0.2"),
            Err(EmulationError::Port { hop, port: 100 })
        );
        assert_eq!(
            one("{name}", &["nat.{name}"], "203.0.113.1 10.0.0.9 192.168.0.2"),
            Err(EmulationError::Boxes { boxes: 2, templates: 1 })
        );
        assert_eq!(
            one("{name}", &["{name}"], "203.0.113.1 192.168.0.2"),
            Err(EmulationError::Twice("b.example".parse().expect("a name")))
        );
    }
}
