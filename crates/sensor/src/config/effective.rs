//! What is in force, and where each value came from: TOML again, so that it can be read, compared and used.

use std::collections::BTreeMap;
use std::fmt;

use super::gather::INCLUDE;
use super::place::{Origin, Place};

/// A section's values in force, and those of the sections within.
#[derive(Clone, Debug, Default)]
pub(super) struct Effective {
    pub(super) path: String,
    /// Whether it is one of a list.
    pub(super) is_element: bool,
    pub(super) values: Vec<EffectiveValue>,
    pub(super) sections: Vec<Effective>,
}

/// A value in force.
#[derive(Clone, Debug)]
pub(super) struct EffectiveValue {
    pub(super) name: &'static str,
    /// As TOML.
    pub(super) text: String,
    /// The same without secrets.
    pub(super) shown: String,
    pub(super) place: Place,
    /// Whether a running sensor takes a new one.
    pub(super) is_live: bool,
}

impl Effective {
    /// Every value by its path, list items numbered, and whether it can change in a running sensor.
    pub(super) fn flat(&self) -> BTreeMap<String, (&str, bool)> {
        let mut flat = BTreeMap::new();
        self.collect("", &mut flat);
        flat
    }

    fn collect<'a>(&'a self, path: &str, flat: &mut BTreeMap<String, (&'a str, bool)>) {
        for value in &self.values {
            flat.insert(super::describe::join(path, value.name), (&value.text, value.is_live));
        }
        let mut index = 0;
        for (at, section) in self.sections.iter().enumerate() {
            let name = section.path.rsplit('.').next().unwrap_or(&section.path);
            let is_next = at > 0 && self.sections[at - 1].path == section.path;
            index = if is_next { index + 1 } else { 0 };
            let name = if section.is_element { format!("{name}[{index}]") } else { name.to_owned() };
            section.collect(&super::describe::join(path, &name), flat);
        }
    }
}

/// A file's name may hold what would end a comment.
pub(super) fn in_a_comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() && (self.is_element || !self.values.is_empty()) {
            let (open, close) = if self.is_element { ("[[", "]]") } else { ("[", "]") };
            writeln!(f, "\n{open}{}{close}", self.path)?;
        }
        for value in &self.values {
            let place = &value.place;
            let place = match place.origin() {
                Origin::Default => "default".to_owned(),
                Origin::Environment(name) => name.clone(),
                Origin::File(path) => format!("{}:{}", path.display(), place.line()),
            };
            // What was included stands here itself: included again, it would be there twice.
            let (open, close) = if value.name == INCLUDE { ("# ", ", which stands below") } else { ("", "") };
            writeln!(f, "{open}{} = {}  # {}{close}", value.name, value.shown, in_a_comment(&place))?;
        }
        self.sections.iter().try_for_each(|section| section.fmt(f))
    }
}
