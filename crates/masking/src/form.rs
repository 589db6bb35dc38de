//! `application/x-www-form-urlencoded`, and the query of a URL, which is the same.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::layer::{Layer, View};
use crate::names::Meaning;
use crate::policy::KindId;

/// Of longer names the end is looked up.
const MAX_NAME: usize = 256;

/// Where the pairs stand.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) location: Location,
    /// What the names of findings start with.
    pub(crate) prefix: &'a [u8],
    pub(crate) at_cut: bool,
    pub(crate) surveyed: bool,
}

/// Masks the pairs in `text[start..end]`.
pub(crate) fn mask(engine: &mut Engine, text: &[u8], (start, end): (usize, usize), place: Place<'_>) {
    let Place { location, prefix, at_cut, surveyed } = place;
    let layer = Layer::Percent { plus: true };
    let mut scratch = View::default();
    let mut at = start;
    while at < end {
        let pair_end = memchr::memchr(b'&', &text[at..end]).map_or(end, |len| at + len);
        let name_end = memchr::memchr(b'=', &text[at..pair_end]).map_or(pair_end, |len| at + len);
        let name = &text[at..name_end];
        let (forced, may_be_ssn) = match !surveyed || engine.names_matter() || name.contains(&b'+') {
            true => named(engine, name, layer, &mut scratch),
            false => (None, false),
        };
        let cut = |to: usize| at_cut && to == end;
        let mut part = Value::new(at, name_end, layer, location);
        part.at_cut = cut(name_end);
        part.surveyed = surveyed;
        let is_hidden = engine.value(text, &part, &|field| push_name(field, prefix, false));
        if name_end < pair_end {
            part.start = name_end + 1;
            part.end = pair_end;
            part.at_cut = cut(pair_end);
            part.forced = forced;
            part.may_be_ssn = may_be_ssn;
            engine.value(text, &part, &|field| {
                if !prefix.is_empty() {
                    push_name(field, prefix, false);
                    field.push('.');
                }
                push_name(field, name, is_hidden);
            });
        }
        at = pair_end + 1;
    }
}

/// Whether the name of a pair has a blank written as a plus, which a survey does not see as one.
pub(crate) fn has_spaced_names(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'&').any(|pair| {
        memchr::memchr2(b'+', b'=', pair).is_some_and(|at| pair[at] == b'+' && memchr::memchr(b'=', pair).is_some())
    })
}

/// What the name of a field says of its value.
pub(crate) fn named(engine: &Engine, name: &[u8], layer: Layer, scratch: &mut View) -> (Option<KindId>, bool) {
    let name = &name[name.len().saturating_sub(MAX_NAME)..];
    let name = if layer.has_escapes(name) {
        layer.decode(name, |i| i as u32, scratch);
        &scratch.text
    } else {
        name
    };
    match engine.policy.fields.meaning_of_path(name) {
        Some(Meaning::Secret(kind)) => (Some(kind), false),
        Some(Meaning::Ssn) => (None, true),
        Some(Meaning::Harmless) | None => (None, false),
    }
}

/// Appends the name of a field to that of a finding; or a star for one that is itself a secret.
pub(crate) fn push_name(field: &mut String, name: &[u8], is_hidden: bool) {
    if is_hidden {
        field.push('*');
        return;
    }
    for chunk in name.utf8_chunks() {
        field.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            field.push(char::REPLACEMENT_CHARACTER);
        }
        if field.len() > 4 * crate::finding::MAX_FIELD_BYTES * crate::finding::MAX_FINDINGS {
            break;
        }
    }
}
