//! A records that stand for a NAT record, for zones that take no unknown types: one for each NAT box
//! and one for the host, at names that templates make of the name they are about.

use std::fmt;

use super::RecordSet;
use super::format::absolute;
use crate::dns::Name;
use crate::dns::emulation::{BoxTemplate, Template};
use crate::path::{Hop, TUNNEL_PORT};

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

impl Default for Emulation {
    fn default() -> Self {
        Self { host: template("{label}-in.{parent}"), boxes: Vec::new() }
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
        let lines: String = names.iter().zip(addresses).map(line).collect();
        Ok(lines + &self.advice(&set.name, &boxes))
    }

    /// What the clients' configuration needs, as a comment in a zone file.
    fn advice(&self, name: &Name, boxes: &[BoxTemplate]) -> String {
        let zone = name.labels().skip(1);
        let zone =
            Name::from_labels(zone).map_or_else(|_| name.to_string(), |zone| zone.to_string());
        let one = |BoxTemplate { template, port }: &BoxTemplate| match *port {
            TUNNEL_PORT => format!("\"{template}\""),
            port => format!("\"{template}:{port}\""),
        };
        let boxes: Vec<_> = boxes.iter().map(one).collect();
        format!(
            "; Clients need in nattt.toml:\n; [[client.emulation]]\n; zones = [\"{zone}\"]\n\
             ; host = \"{}\"\n; boxes = [{}]\n",
            self.host,
            boxes.join(", ")
        )
    }

    /// The templates of so many boxes.
    fn boxes(&self, boxes: usize) -> Result<Vec<BoxTemplate>, EmulationError> {
        let numbered = |n| BoxTemplate {
            template: template(&format!("{{label}}-nat{n}.{{parent}}")),
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

/// One of those above, whose text is sound: a test makes them all.
fn template(text: &str) -> Template {
    text.parse().unwrap_or_else(|_| Template::name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::PathSet;

    fn boxes(texts: &[&str]) -> Vec<BoxTemplate> {
        texts.iter().map(|text| text.parse().expect("a template")).collect()
    }

    fn set(name: &str, path: &str) -> RecordSet {
        let paths = PathSet::new(vec![path.parse().expect("a path")]).expect("a path");
        let name = name.parse().expect("a name");
        RecordSet { name, ttl: 300, record_type: 65324, paths }
    }

    #[test]
    fn one_record_a_box_and_one_for_the_host() {
        let emulation = Emulation::default();
        let text = emulation.a_records(&set("b.example", "203.0.113.1 10.0.0.9 192.168.0.2"));
        assert_eq!(
            text.expect("A records"),
            "b-nat1.example. 300 IN A 203.0.113.1\n\
             b-nat2.example. 300 IN A 10.0.0.9\n\
             b-in.example. 300 IN A 192.168.0.2\n\
             ; Clients need in nattt.toml:\n\
             ; [[client.emulation]]\n\
             ; zones = [\"example\"]\n\
             ; host = \"{label}-in.{parent}\"\n\
             ; boxes = [\"{label}-nat1.{parent}\", \"{label}-nat2.{parent}\"]\n"
        );
        let own = Emulation { host: template("{name}"), boxes: boxes(&["nat.{parent}:101"]) };
        let text = own.a_records(&set("b.example", "203.0.113.1:101 192.168.0.2"));
        let text = text.expect("A records");
        let records = "nat.example. 300 IN A 203.0.113.1\nb.example. 300 IN A 192.168.0.2\n;";
        assert!(text.starts_with(records), "{text}");
        assert!(text.ends_with("; boxes = [\"nat.{parent}:101\"]\n"), "{text}");
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
