//! `[[client.emulation]]`: where A records emulate NAT records.

use std::ops::Range;

use toml::Spanned;

use super::ConfigError;
use super::check::{Source, zone};
use super::raw;
use crate::dns::Name;
use crate::dns::emulation::{BoxTemplate, Emulation, Part, Template};

const ZONES: &str = "an emulation needs the zones whose names it is for; write \
                     `zones = [\"example.org\"]`";
const BOXES: &str = "an emulation needs the names of the NAT boxes, outermost first; write \
                     `boxes = [\"{label}-nat1.{parent}\"]`";

impl Source<'_> {
    pub(super) fn emulations(
        &self,
        raw: Vec<Spanned<raw::Emulation>>,
    ) -> Result<Vec<Emulation>, ConfigError> {
        let mut seen: Vec<Name> = Vec::new();
        raw.into_iter().map(|one| self.emulation(one, &mut seen)).collect()
    }

    fn emulation(
        &self,
        raw: Spanned<raw::Emulation>,
        seen: &mut Vec<Name>,
    ) -> Result<Emulation, ConfigError> {
        let section = raw.span();
        let raw = raw.into_inner();
        let places = Places::of(&raw, &section);
        let zones = self.required(raw.zones, &section, ZONES, |text| one_zone(text))?;
        self.once_each(&zones, &places, seen)?;
        let host = match raw.host {
            None => Template::name(),
            Some(text) => {
                text.get_ref().parse().map_err(|error| self.wrong(&text, as_text(error)))?
            }
        };
        let boxes = self.required(raw.boxes, &section, BOXES, |text| {
            text.parse::<BoxTemplate>().map_err(as_text)
        })?;
        Emulation::new(zones, host, boxes)
            .map_err(|error| ConfigError::at(self.0, places.place(error.part), as_text(error)))
    }

    /// A zone in two emulations would leave open which one is meant.
    fn once_each(
        &self,
        zones: &[Name],
        places: &Places,
        seen: &mut Vec<Name>,
    ) -> Result<(), ConfigError> {
        for (zone, place) in zones.iter().zip(&places.zones) {
            if seen.contains(zone) {
                let message = format!("{zone} has its templates already; list each zone once");
                return Err(ConfigError::at(self.0, place.clone(), message));
            }
            seen.push(zone.clone());
        }
        Ok(())
    }
}

/// Where in the file the parts of an emulation stand.
struct Places {
    section: Range<usize>,
    zones: Vec<Range<usize>>,
    host: Option<Range<usize>>,
    boxes: Vec<Range<usize>>,
    all_boxes: Option<Range<usize>>,
}

impl Places {
    fn of(raw: &raw::Emulation, section: &Range<usize>) -> Self {
        let items = |list: &Option<Spanned<Vec<Spanned<String>>>>| {
            let items = list.iter().flat_map(|list| list.get_ref());
            items.map(Spanned::span).collect()
        };
        Self {
            section: section.clone(),
            zones: items(&raw.zones),
            host: raw.host.as_ref().map(Spanned::span),
            boxes: items(&raw.boxes),
            all_boxes: raw.boxes.as_ref().map(Spanned::span),
        }
    }

    fn place(&self, part: Part) -> Range<usize> {
        let place = match part {
            Part::Zones => self.zones.first().cloned(),
            Part::Host => self.host.clone(),
            Part::Boxes => self.all_boxes.clone(),
            Part::Box(index) => self.boxes.get(index).cloned(),
        };
        place.unwrap_or_else(|| self.section.clone())
    }
}

fn one_zone(text: &str) -> Result<Name, String> {
    zone(text)?.parse().map_err(as_text)
}

fn as_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
