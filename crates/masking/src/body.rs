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
    // A form may be a part of others, too.
    let is_more_in_parts =
        matches!(kind, Kind::Form | Kind::Multipart { .. } | Kind::Message) && engine.is_more_in_parts();
    if is_clean
        && !is_more_in_parts
        && !has_neighbours
        && !is_cut
        && !has_zeros
        && engine.policy.whole_patterns == 0
        && engine.policy.paths.is_empty()
    {
        let may_hide = match kind {
            // A form's `+` is a space. And what is handed out for a token is no secret by its name alone.
            Kind::Form => {
                memchr::memchr(b'+', text).is_some()
                    && (engine.policy.has_text || form::has_spaced_names(&engine.policy.fields, text))
                    || form::has_grant(text)
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
    if is_more_in_parts {
        engine.distrust(text.len());
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

/// What servers put before JSON so that no page of others can run it as a script.
const GUARDS: &[&[u8]] = &[b")]}'", b"for(;;);", b"for (;;);", b"while(1);", b"while (1);", b"{}&&", b"&&&START&&&"];
/// The longest name of a function that JSON is handed to, as it is looked for.
const MAX_CALL: usize = 256;

/// How long what stands before JSON is, in a script that is nothing but JSON handed to a function (`callback({…})`, JSONP), or
/// behind what keeps it from being run as one.
fn preamble_len(body: &[u8]) -> Option<usize> {
    let rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let rest = rest.strip_prefix(b"/**/").unwrap_or(rest);
    let behind = match GUARDS.iter().find_map(|guard| rest.strip_prefix(*guard)) {
        Some(behind) => behind.trim_ascii_start().strip_prefix(b",").unwrap_or(behind),
        None => {
            let start = rest.get(..MAX_CALL).unwrap_or(rest);
            let name = start.split(|byte| *byte == b'(').next().filter(|name| name.len() < start.len())?;
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$.[]".contains(byte);
            if name.is_empty() || !name.trim_ascii().iter().all(is_name) {
                return None;
            }
            &rest[name.len() + 1..]
        }
    };
    let json = behind.trim_ascii_start();
    matches!(json.first(), Some(b'{' | b'[')).then_some(body.len() - json.len())
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
    // Paths are the one thing that JSON within a script is read as JSON for.
    let preamble = if engine.policy.paths.is_empty() { None } else { preamble_len(body) };
    match media.kind(body) {
        Kind::Multipart { boundary } => {
            parts::mask(engine, readers, text, (start, end), boundary, location, at_cut);
        }
        _ if memchr::memchr(0, body).is_some() => wide::mask(engine, text, (start, end), location, at_cut),
        Kind::Json | Kind::Text if let Some(len) = preamble => {
            let before = Value { surveyed: true, ..Value::new(start, start + len, Layer::Plain, location) };
            engine.value(text, &before, &|_| {});
            json::mask(engine, &mut readers.json, text, (start + len, end), location, at_cut);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::Action;
    use crate::finding::Side;
    use crate::masker::{MaskedBody, Masker};
    use crate::policy::{PathRule, Policy, Settings};

    fn masked(media_type: &str, text: &str) -> String {
        let path = PathRule { name: "NOTE".into(), path: "$.a.note".into(), action: Action::Redact };
        let settings = Settings { key: vec![7; 32], paths: vec![path], ..Settings::default() };
        let mut masker = Masker::new(Arc::new(Policy::new(&settings).unwrap()));
        match masker.body(Side::Response, Some(media_type.as_bytes()), text.as_bytes(), false) {
            MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
            _ => text.to_owned(),
        }
    }

    #[test]
    fn paths_are_followed_into_json_within_a_script() {
        for (before, behind) in [
            ("", ""),
            ("cb(", ");"),
            ("/**/ my.app.cb[0] (\n", ")\n"),
            ("/**/typeof_cb(", ", 200);"),
            (")]}',\n", ""),
            (")]}'\n", ""),
            ("for(;;);", ""),
            ("while(1);", "\n"),
            ("\u{feff}cb(", ");"),
            ("\x1e", "\n\x1e{\"b\":1}\n"),
        ] {
            let text = format!(
                "{before}{{\"a\":{{\"note\":\"hunter22\",\"b\":\"plain\",\"password\":\"hunter33\"}}}}{behind}"
            );
            for media_type in ["application/json", "application/javascript", "text/plain", ""] {
                // What is behind a separator is not told to be JSON by its looks.
                if before == "\x1e" && media_type != "application/json" {
                    continue;
                }
                let masked = masked(media_type, &text);
                assert!(
                    !masked.contains("hunter") && masked.contains("\"b\":\"plain\""),
                    "{media_type}: {text}: {masked}"
                );
                assert!(masked.starts_with(before) && masked.ends_with(behind), "{masked}");
            }
        }
    }

    #[test]
    fn a_script_is_read_as_text_where_it_is_no_such_one() {
        for text in [
            "if (x) { password = 'hunter22' }",
            "cb(password: [hunter22",
            "password: ({hunter22})",
            "cb({'password': 'hunter22'})",
        ] {
            assert!(!masked("application/javascript", text).contains("hunter"), "{text}");
        }
        assert_eq!(masked("text/plain", "note(s) on {\"a\":1}"), "note(s) on {\"a\":1}");
    }
}
