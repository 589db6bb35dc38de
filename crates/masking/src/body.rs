//! Bodies: which reader takes which part of them.

use base64::Engine as _;

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::form::{self, push_name};
use crate::layer::{Layer, View};
use crate::media::{Kind, MediaType, parameter};
use crate::{json, wide, xml};

/// Multipart bodies within parts of multipart bodies.
const MAX_NESTED: usize = 3;

/// The readers' memory, kept from body to body.
#[derive(Default)]
pub(crate) struct Readers {
    json: json::Reader,
    xml: xml::Reader,
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
    let is_cut = at_cut && engine.policy.has_text;
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
            Kind::Multipart { .. } => true,
            Kind::Xml | Kind::Json | Kind::Text => false,
        };
        if !may_hide {
            return;
        }
    }
    if has_neighbours {
        if look.is_quiet {
            engine.survey_in_full(text, at_cut);
        }
        // Elsewhere than in JSON any value may have such members in it.
        if kind != Kind::Json || has_zeros {
            engine.see_all(text.len());
        }
    }
    readers.json.has_neighbours = has_neighbours;
    part(engine, readers, text, (0, text.len()), media, location, at_cut, 0);
}

#[expect(clippy::too_many_arguments, reason = "a recursion of bounded depth, not an interface")]
fn part(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (start, end): (usize, usize),
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
    nested: usize,
) {
    let body = &text[start..end];
    match media.kind(body) {
        Kind::Multipart { boundary } if nested < MAX_NESTED => {
            multipart(engine, readers, text, (start, end), boundary, location, at_cut, nested);
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
        Kind::Text | Kind::Multipart { .. } => {
            let value = Value { at_cut, surveyed: true, ..Value::new(start, end, Layer::Plain, location) };
            engine.value(text, &value, &|_| {});
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "a recursion of bounded depth, not an interface")]
fn multipart(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (start, end): (usize, usize),
    boundary: &[u8],
    location: Location,
    at_cut: bool,
    nested: usize,
) {
    let finder = memchr::memmem::Finder::new(boundary);
    // A delimiter is the boundary behind two dashes at the start of a line.
    let delimiter = |mut from: usize| {
        while let Some(at) = text.get(from..end).and_then(|rest| finder.find(rest)).map(|at| from + at) {
            let line = at.saturating_sub(2);
            if at >= start + 2 && &text[line..at] == b"--" && (line == start || text[line - 1] == b'\n') {
                return Some((line, at + boundary.len()));
            }
            from = at + 1;
        }
        None
    };
    let mut at = start;
    let mut is_first = true;
    loop {
        let next = delimiter(at);
        let part_end = next.map_or(end, |(line, _)| line);
        let cut = at_cut && next.is_none();
        if is_first {
            let value = Value { at_cut: cut, surveyed: true, ..Value::new(at, part_end, Layer::Plain, location) };
            engine.value(text, &value, &|_| {});
        } else {
            one(engine, readers, text, (at, part_end), location, cut, nested);
        }
        is_first = false;
        let Some((_, behind)) = next else { return };
        at = behind;
    }
}

/// One part: its headers, and its body by its own content type.
fn one(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (start, end): (usize, usize),
    location: Location,
    at_cut: bool,
    nested: usize,
) {
    let part_text = &text[start..end];
    let blank = [&b"\r\n\r\n"[..], b"\n\n"]
        .into_iter()
        .filter_map(|blank| memchr::memmem::find(part_text, blank).map(|at| at + blank.len()));
    let head_end = start + blank.min().unwrap_or(part_text.len());
    let head = &text[start..head_end];
    let value = Value {
        at_cut: at_cut && head_end == end,
        surveyed: true,
        ..Value::new(start, head_end, Layer::Plain, location)
    };
    engine.value(text, &value, &|_| {});
    let header = |name: &[u8]| {
        let mut at = 0;
        while at < head.len() {
            // A field goes on in lines that start with a blank.
            let ends = memchr::memchr_iter(b'\n', &head[at..]).map(|len| at + len + 1);
            let is_end = |end: &usize| !matches!(head.get(*end), Some(b' ' | b'\t'));
            let end = { ends }.find(is_end).unwrap_or(head.len());
            let line = head[at..end].trim_ascii();
            at = end;
            if let Some(colon) = memchr::memchr(b':', line)
                && line[..colon].trim_ascii_end().eq_ignore_ascii_case(name)
            {
                return Some(line[colon + 1..].trim_ascii());
            }
        }
        None
    };
    let name = header(b"content-disposition")
        .and_then(|value| parameter(&value[memchr::memchr(b';', value).map_or(value.len(), |at| at + 1)..], b"name"));
    let media = MediaType::parse(header(b"content-type").unwrap_or_default());
    // The line break in front of the delimiter belongs to it.
    let body_end = match &text[head_end..end] {
        _ if at_cut => end,
        [.., b'\r', b'\n'] => end - 2,
        [.., b'\n'] => end - 1,
        _ => end,
    };
    let name = name.unwrap_or_default();
    let (forced, may_be_ssn) = form::named(engine, name, Layer::Plain, &mut View::default());
    let shown = |field: &mut String| push_name(field, name, false);
    let whole = Value { at_cut, surveyed: true, ..Value::new(head_end, body_end, Layer::Plain, location) };
    let content = &text[head_end..body_end];
    if forced.is_some() || may_be_ssn {
        engine.value(text, &Value { forced, may_be_ssn, ..whole }, &shown);
    } else if header(b"content-transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"base64")) {
        base64_part(engine, text, whole, content, &shown);
    } else if media.kind(content) == Kind::Text && memchr::memchr(0, content).is_none() {
        engine.value(text, &whole, &shown);
    } else {
        part(engine, readers, text, (head_end, body_end), &media, location, at_cut, nested + 1);
    }
}

/// A part in base64 is redacted whole if anything is in it.
fn base64_part(engine: &mut Engine, text: &[u8], whole: Value, content: &[u8], field: &dyn Fn(&mut String)) {
    let lenient = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let mut packed: Vec<u8> = content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    packed.truncate(packed.len() / 4 * 4);
    match lenient.decode(&packed) {
        Ok(decoded) => {
            if let Some(kind) = engine.first_kind(&decoded, whole.at_cut) {
                engine.value(text, &Value { forced: Some(kind), ..whole }, field);
            }
        }
        Err(_) => {
            engine.value(text, &whole, field);
        }
    }
}
