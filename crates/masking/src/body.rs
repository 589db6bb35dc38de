//! Bodies: which reader takes which part of them.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::form;
use crate::layer::Layer;
use crate::media::{Kind, MediaType};
use crate::policy::KindId;
use crate::{json, pairs, parts, wide, xml};

/// The readers' memory, kept from body to body.
#[derive(Default)]
pub(crate) struct Readers {
    json: json::Reader,
    xml: xml::Reader,
    /// Multipart bodies and messages within each other that are open.
    pub(crate) nested: usize,
}

/// Masks all of `text`, which is in a superset of ASCII. The edits are in the engine.
pub(crate) fn mask(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
) {
    engine.start();
    let look = engine.look(text);
    let has_zeros = if look.is_quiet { look.has_zeros } else { memchr::memchr(0, text).is_some() };
    let is_clean = look.is_quiet || engine.survey_in_full(text, at_cut);
    // Of a secret that a cut goes through, a name is in front; or detectors have to be asked.
    let is_cut = at_cut && (engine.policy.has_text || pairs::cut_userinfo(text).is_some());
    let kind = media.kind(text);
    // What a survey does not see: members that name what others hold.
    let has_neighbours = engine.has_neighbours(text);
    if is_clean
        && !has_neighbours
        && !is_cut
        && !has_zeros
        && engine.policy.whole_patterns == 0
        && engine.policy.paths.is_empty()
    {
        let may_hide = match kind {
            // A form's `+` is a space.
            Kind::Form => {
                memchr::memchr(b'+', text).is_some() && (engine.policy.has_text || form::has_spaced_names(text))
            }
            // The name of a part is in its head, and so is that of a header.
            Kind::Multipart { .. } | Kind::Message => true,
            Kind::Xml | Kind::Json | Kind::Text => false,
        };
        if !may_hide {
            return;
        }
    }
    if has_neighbours || is_cut {
        if look.is_quiet {
            engine.survey_in_full(text, at_cut);
        }
        // Elsewhere than in JSON any value may have such members in it.
        if has_neighbours && kind != Kind::Json || has_zeros {
            engine.see_all(text.len());
        }
    }
    readers.json.has_neighbours = has_neighbours;
    read(engine, readers, text, (0, text.len()), media, location, at_cut);
}

/// What kind of secret comes first in a text that is packed in another, which this is called in the midst of.
pub(crate) fn probe(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
) -> Option<KindId> {
    let has_neighbours = readers.json.has_neighbours;
    let kind = engine.probe(|engine| mask(engine, readers, text, media, location, at_cut));
    readers.json.has_neighbours = has_neighbours;
    kind
}

/// Hands `text[start..end]` to the reader of its kind. A survey of all of the text has to have been made.
pub(crate) fn read(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (start, end): (usize, usize),
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
) {
    let body = &text[start..end];
    match media.kind(body) {
        Kind::Multipart { boundary } => {
            parts::mask(engine, readers, text, (start, end), boundary, location, at_cut);
        }
        _ if memchr::memchr(0, body).is_some() => wide::mask(engine, text, (start, end), location, at_cut),
        Kind::Json => {
            let skip = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            json::mask(engine, &mut readers.json, text, (start + skip, end), location, at_cut);
        }
        Kind::Xml => xml::mask(engine, &mut readers.xml, text, (start, end), location, at_cut),
        Kind::Form => {
            let place = form::Place { location, prefix: b"", at_cut, surveyed: true };
            form::mask(engine, text, (start, end), place);
        }
        Kind::Message => parts::message(engine, readers, text, (start, end), location, at_cut),
        Kind::Text => {
            let value = Value { at_cut, surveyed: true, ..Value::new(start, end, Layer::Plain, location) };
            engine.value(text, &value, &|_| {});
        }
    }
}
