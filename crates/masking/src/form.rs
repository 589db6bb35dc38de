//! `application/x-www-form-urlencoded`, and the query of a URL, which is the same.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::layer::{Layer, View};
use crate::names::{Meaning, Names};
use crate::pairs;
use crate::policy::KindId;

/// Of longer names the end is looked up.
const MAX_NAME: usize = 4096;
/// How often a name is decoded: clients encode names that are encoded.
const MAX_DECODED: usize = 3;

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
    let mut is_grant = None;
    let mut at = start;
    while at < end {
        let pair_end = memchr::memchr(b'&', &text[at..end]).map_or(end, |len| at + len);
        let name_end = memchr::memchr(b'=', &text[at..pair_end]).map_or(pair_end, |len| at + len);
        let name = &text[at..name_end];
        let (forced, may_be_ssn) = match !surveyed || engine.names_matter() || name.contains(&b'+') {
            true => named(engine, name, layer, &mut scratch),
            false => (None, false),
        };
        // A code names everything, but for one that is handed out for a token.
        let forced = match name {
            b"code" if *is_grant.get_or_insert_with(|| has_grant(&text[start..end])) => engine.policy.credentials,
            _ => forced,
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

/// Whether a query or form may be one that carries a code from the server that authorizes to one that asks it for a token.
pub(crate) fn has_grant(text: &[u8]) -> bool {
    // The first pair may have a sign in front of it.
    let is_start = |at: usize| at < 2 || matches!(text[at - 1], b'&' | b'?' | b'#');
    let is_code = |at: usize| text[..at].ends_with(b"code") && is_start(at - 4);
    let has = |name: &[u8]| memchr::memmem::find(text, name).is_some();
    memchr::memchr_iter(b'=', text).any(is_code) && (has(b"state=") || has(b"grant_type=") || has(b"iss="))
}

/// Whether the name of a pair, or one in its value, has a blank written as a plus, which a survey does not see as one.
pub(crate) fn has_spaced_names(names: &Names, text: &[u8]) -> bool {
    let mut start = 0;
    text.split(|byte| *byte == b'&').any(|pair| {
        let from = start;
        start += pair.len() + 1;
        let Some(plus) = memchr::memchr(b'+', pair) else { return false };
        let equals = memchr::memchr(b'=', pair);
        equals.is_some_and(|equals| plus < equals)
            || memchr::memchr2_iter(b':', b'=', &pair[plus..])
                .any(|at| !pairs::is_dismissed(names, text, from + plus + at))
    })
}

/// What the name of a field says of its value.
pub(crate) fn named(engine: &Engine, name: &[u8], layer: Layer, scratch: &mut View) -> (Option<KindId>, bool) {
    let names = &engine.policy.fields;
    let name = &name[name.len().saturating_sub(MAX_NAME)..];
    let mut meaning = None;
    let has_escapes = layer.has_escapes(name);
    if has_escapes || Layer::Any.has_escapes(name) {
        // What has none of its own may have those of a text in it: `api&nbsp;key`.
        let layer = if has_escapes { layer } else { Layer::Any };
        layer.decode(name, |i| i as u32, scratch);
        meaning = names.meaning_of_path(&scratch.text);
        let mut decoded = 1;
        while meaning.is_none() && decoded < MAX_DECODED && Layer::Any.has_escapes(&scratch.text) {
            let text = std::mem::take(&mut scratch.text);
            Layer::Any.decode(&text, |i| i as u32, scratch);
            meaning = names.meaning_of_path(&scratch.text);
            decoded += 1;
        }
    }
    // What is no escape of those that it may have is part of it.
    match meaning.or_else(|| names.meaning_of_path(name)) {
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
