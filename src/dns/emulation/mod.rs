//! NAT records emulated by A records, for DNS services that hold no new record types: in some
//! zones, names made from a host's name have the addresses of its NAT boxes, and of the host.
//!
//! A name that a template makes is never followed up itself. Otherwise the daemon's own question
//! for it, whose reply passes the same queue, would lead to questions without end.

mod template;

use std::fmt;
use std::str::FromStr;

pub use self::template::{Template, TemplateError};
use super::Name;
use crate::path::{MAX_HOPS, TUNNEL_PORT};

/// How the names of some zones become the names whose A records emulate a NAT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulation {
    zones: Vec<Name>,
    host: Template,
    boxes: Vec<BoxTemplate>,
}

/// The name of a NAT box and the UDP port where it takes tunnel packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxTemplate {
    /// Its name.
    pub template: Template,
    /// Its port, host order; not 0.
    pub port: u16,
}

/// Which part of an emulation is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The list of zones.
    Zones,
    /// The host's template.
    Host,
    /// The list of NAT boxes.
    Boxes,
    /// One NAT box, counted from 0.
    Box(usize),
}

/// Why zones and templates do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is listed.
    Empty,
    /// More NAT boxes than a path may lead through.
    TooMany(usize),
    /// The same template stands for two parts of the path.
    Twice,
    /// Every name of this zone could be made by the template, and so none would be followed up.
    EveryName(Name),
    /// Not even a short name of this zone has room for the template's text.
    TooLong(Name),
}

/// A part of an emulation that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmulationError {
    /// The part.
    pub part: Part,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for EmulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.fault, self.part) {
            (Fault::Empty, Part::Zones) => {
                write!(f, "write the zones whose names it is for: `zones = [\"example.org\"]`")
            }
            (Fault::Empty, _) => write!(
                f,
                "write the names of the NAT boxes, outermost first: \
                 `boxes = [\"{{label}}-nat1.{{parent}}\"]`"
            ),
            (Fault::TooMany(count), _) => {
                write!(f, "a path leads through {MAX_HOPS} NAT boxes at most, not {count}")
            }
            (Fault::Twice, _) => write!(
                f,
                "another part of the path has this name already; each NAT box, and the host, has \
                 its own"
            ),
            (Fault::EveryName(zone), _) => write!(
                f,
                "every name of {zone} could be made this way, and names that are made are never \
                 followed up; write one that tells them apart, like `{{label}}-nat1.{{parent}}`"
            ),
            (Fault::TooLong(zone), _) => {
                write!(f, "this leaves no room for names of {zone}; write something shorter")
            }
        }
    }
}

impl std::error::Error for EmulationError {}

impl Emulation {
    /// An emulation for the names of `zones`: the name of the host's address, and the names of the
    /// NAT boxes' addresses, outermost first.
    pub fn new(
        zones: Vec<Name>,
        host: Template,
        boxes: Vec<BoxTemplate>,
    ) -> Result<Self, EmulationError> {
        let wrong = |part, fault| Err(EmulationError { part, fault });
        if zones.is_empty() {
            return wrong(Part::Zones, Fault::Empty);
        }
        match boxes.len() {
            0 => return wrong(Part::Boxes, Fault::Empty),
            1..=MAX_HOPS => {}
            count => return wrong(Part::Boxes, Fault::TooMany(count)),
        }
        let emulation = Self { zones, host, boxes };
        let parts = (0..emulation.boxes.len()).map(Part::Box).chain([Part::Host]);
        match parts.filter_map(|part| Some((part, emulation.fault(part)?))).next() {
            Some((part, fault)) => wrong(part, fault),
            None => Ok(emulation),
        }
    }

    /// The zones whose names it is for.
    pub fn zones(&self) -> &[Name] {
        &self.zones
    }

    /// The name that has the host's address.
    pub fn host(&self) -> &Template {
        &self.host
    }

    /// The names that have the NAT boxes' addresses, outermost first.
    pub fn boxes(&self) -> &[BoxTemplate] {
        &self.boxes
    }

    fn fault(&self, part: Part) -> Option<Fault> {
        let (template, earlier) = match part {
            Part::Box(index) => (&self.boxes[index].template, &self.boxes[..index]),
            _ if self.host.is_name() => return None,
            _ => (&self.host, &self.boxes[..]),
        };
        if earlier.iter().any(|other| other.template == *template) {
            return Some(Fault::Twice);
        }
        self.zones.iter().find_map(|zone| misfit(template, zone))
    }

    /// The most specific of its zones in which `name` is.
    fn zone_of(&self, name: &Name) -> Option<&Name> {
        let zones = self.zones.iter().filter(|zone| name.is_in(zone));
        zones.max_by_key(|zone| zone.labels().count())
    }

    /// Whether one of its templates makes `name` of some name in its zones. The host's name may be
    /// the name itself: that makes nothing.
    fn makes(&self, name: &Name) -> bool {
        let templates = self.boxes.iter().map(|one| &one.template).chain([&self.host]);
        templates
            .filter(|template| !template.is_name())
            .any(|template| self.zones.iter().any(|zone| makes(template, zone, name)))
    }

    fn expand(&self, name: &Name, zone: &Name) -> Option<Names> {
        let made = |template: &Template| expand(template, zone, name);
        let boxes = self.boxes.iter().map(|one| Some((made(&one.template)?, one.port)));
        Some(Names { host: made(&self.host)?, boxes: boxes.collect::<Option<_>>()? })
    }
}

/// What `template` makes of a name in `zone`. Of the zone's own name, `{parent}` would lead out of
/// the zone, to names of somebody else.
fn expand(template: &Template, zone: &Name, name: &Name) -> Option<Name> {
    let made = template.expand(name)?;
    let leads_out = template.ends_with_parent() && !made.is_in(zone);
    (!leads_out).then_some(made)
}

/// Whether `template` makes `made` of some name in `zone`.
fn makes(template: &Template, zone: &Name, made: &Name) -> bool {
    let Some(origin) = template.origin(made) else { return false };
    match (origin.label, origin.parent) {
        (Some(label), Some(parent)) => {
            let labels = std::iter::once(label.as_slice()).chain(parent.labels());
            let name = Name::from_labels(labels).ok().filter(|name| name.is_in(zone));
            name.is_some_and(|name| expand(template, zone, &name).as_ref() == Some(made))
        }
        // Any label does. Only the zone's own name has a parent outside of it.
        (None, Some(parent)) => {
            parent.is_in(zone) || expand(template, zone, zone).as_ref() == Some(made)
        }
        (_, None) => true,
    }
}

/// Why a template does not serve for the names of `zone`.
fn misfit(template: &Template, zone: &Name) -> Option<Fault> {
    // No template has these octets in its text.
    let probe = |labels: &[&'static [u8]]| {
        Name::from_labels(labels.iter().copied().chain(zone.labels())).ok()
    };
    let short = probe(&[b"\xfe"]).filter(|name| expand(template, zone, name).is_some());
    match short {
        None => Some(Fault::TooLong(zone.clone())),
        Some(short) => {
            let deep = probe(&[b"\xff", b"\xfe"]);
            let every =
                [Some(short), deep].iter().flatten().any(|name| makes(template, zone, name));
            every.then(|| Fault::EveryName(zone.clone()))
        }
    }
}

/// The names whose A records emulate one name's NAT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The name that has the host's address.
    pub host: Name,
    /// The names that have the NAT boxes' addresses, outermost first, and the boxes' ports.
    pub boxes: Vec<(Name, u16)>,
}

/// All emulations that are configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Emulations(Vec<Emulation>);

impl Emulations {
    /// No zone is in two of them.
    pub fn new(emulations: Vec<Emulation>) -> Self {
        Self(emulations)
    }

    /// Whether nothing is emulated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names that emulate the NAT record of `name`. The most specific zone counts.
    pub fn names(&self, name: &Name) -> Option<Names> {
        let zones = self.0.iter().filter_map(|one| Some((one, one.zone_of(name)?)));
        let (emulation, zone) = zones.max_by_key(|(_, zone)| zone.labels().count())?;
        emulation.expand(name, zone)
    }

    /// Whether `name` is one that emulates another's NAT record.
    pub fn makes(&self, name: &Name) -> bool {
        self.0.iter().any(|emulation| emulation.makes(name))
    }
}

/// Why text is not a NAT box's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoxError {
    /// The name is no template.
    Template(TemplateError),
    /// What follows the `:` is no port.
    Port(String),
}

impl fmt::Display for BoxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(error) => error.fmt(f),
            Self::Port(wrong) => write!(
                f,
                "`{}` is no UDP port; write 1 to 65535 after the `:`, or leave both out for \
                 {TUNNEL_PORT}",
                wrong.escape_debug()
            ),
        }
    }
}

impl std::error::Error for BoxError {}

/// A template, then `:PORT` if the port is not [`TUNNEL_PORT`].
impl FromStr for BoxTemplate {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        let (template, port) = match text.split_once(':') {
            None => (text, TUNNEL_PORT),
            Some((template, port)) => match port.parse() {
                Ok(number) if number != 0 => (template, number),
                _ => return Err(BoxError::Port(port.to_owned())),
            },
        };
        Ok(Self { template: template.parse().map_err(BoxError::Template)?, port })
    }
}

#[cfg(test)]
mod tests;
