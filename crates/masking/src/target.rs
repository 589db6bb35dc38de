//! Request targets and URLs: user information, path segments, query, fragment.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::form;
use crate::layer::Layer;
use crate::pairs::userinfo_len;

/// What the parts of a URL are called in findings.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) userinfo: Location,
    pub(crate) path: Location,
    pub(crate) query: Location,
    /// What the names of findings start with.
    pub(crate) prefix: &'a [u8],
}

/// Masks the user information that an authority at `start` begins with, as a credential; gives where it ends, if there is any.
pub(crate) fn userinfo(
    engine: &mut Engine,
    text: &[u8],
    start: usize,
    location: Location,
    named: &impl Fn(&mut String),
) -> Option<usize> {
    let end = start + userinfo_len(&text[start..])?;
    let forced = engine.policy.credentials;
    let value = Value { forced, ..Value::new(start, end, Layer::Percent { plus: false }, location) };
    engine.value(text, &value, named);
    Some(end)
}

/// Masks a URL; the edits are in the engine.
pub(crate) fn mask(engine: &mut Engine, text: &[u8], places: Places<'_>, at_cut: bool) {
    engine.start();
    let hides = engine.policy.has_text && engine.policy.whole_patterns > 0;
    if engine.survey(text, at_cut) && !hides && memchr::memchr(b'+', text).is_none() {
        return;
    }
    let named = |name: &'static str| {
        move |field: &mut String| {
            if !places.prefix.is_empty() {
                form::push_name(field, places.prefix, false);
                field.push('.');
            }
            field.push_str(name);
        }
    };
    let mut at = 0;
    if let Some(scheme) =
        memchr::memmem::find(text, b"://").filter(|at| text[..*at].iter().all(u8::is_ascii_alphanumeric))
    {
        let authority = scheme + 3;
        if let Some(end) = userinfo(engine, text, authority, places.userinfo, &named("userinfo")) {
            at = end;
        }
    }
    let query = memchr::memchr2(b'?', b'#', &text[at..]).map_or(text.len(), |len| at + len);
    while at < query {
        let end = memchr::memchr(b'/', &text[at..query]).map_or(query, |len| at + len);
        let value = Value {
            at_cut: at_cut && end == text.len(),
            surveyed: true,
            ..Value::new(at, end, Layer::Percent { plus: false }, places.path)
        };
        engine.value(text, &value, &named("path"));
        at = end + 1;
    }
    let mut at = query;
    // A query, and a fragment, which may be written as one (`#access_token=…`).
    while at < text.len() {
        let start = at + 1;
        let end = memchr::memchr(b'#', &text[start..]).map_or(text.len(), |len| start + len);
        let place = form::Place {
            location: places.query,
            prefix: places.prefix,
            at_cut: at_cut && end == text.len(),
            surveyed: true,
        };
        form::mask(engine, text, (start, end), place);
        at = end;
    }
}
