//! Request targets and URLs: user information, path segments, query, fragment.

use crate::authority;
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

/// Masks user information, as a credential.
pub(crate) fn userinfo(
    engine: &mut Engine,
    text: &[u8],
    (start, end): (usize, usize),
    location: Location,
    named: &impl Fn(&mut String),
) {
    let forced = engine.policy.credentials;
    let value = Value { forced, ..Value::new(start, end, Layer::Percent { plus: false }, location) };
    engine.value(text, &value, named);
}

/// Schemes that are followed by an address, not by user and password.
const ADDRESSES: &[&str] = &["mailto", "sip", "sips", "xmpp", "acct", "tel", "sms", "im"];

/// The user information that a segment has in front of a host. URLs stand within paths (`/proxy/https://…`), and not all of
/// them are written in full.
fn user(text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let to_sign = |start: usize| (start, start + userinfo_len(&text[start..end]).unwrap_or(0));
    let slashes = text[..start].iter().rev().take(2).take_while(|byte| **byte == b'/').count();
    let before = text[..start - slashes].last();
    let is_authority = slashes == 2 && before.is_none_or(|byte| *byte == b':');
    if memchr::memchr(b'@', &text[start..end]).is_none() {
        // The sign itself may be escaped; as may be those of what is nothing but a host and what is in front of it.
        let is_alone = start == 0 && end == text.len();
        let escaped = (is_authority || is_alone).then(|| authority::users(&text[start..end], false).next())??;
        return Some((start + escaped.0, start + escaped.1));
    }
    // `https:\\user:password@host`
    if let Some(at) = memchr::memmem::rfind(&text[start..end], b"\\\\") {
        return Some(to_sign(start + at + 2));
    }
    if is_authority {
        return Some(to_sign(start));
    }
    // `user:password@host`, as in CONNECT; `http:/user:password@host`, where slashes were joined; `/x//user:password@host`.
    let user = &text[start..start + userinfo_len(&text[start..end])?];
    let Some(colon) = memchr::memchr(b':', user) else {
        // `token@host:port`: nothing else has a port.
        let host = &text[start + user.len() + 1..end];
        let is_whole = start == 0 && end == text.len() && host.contains(&b':') && authority::is_address(host);
        return is_whole.then_some(to_sign(start));
    };
    let is_alone = start == 0 && !ADDRESSES.iter().any(|scheme| user[..colon].eq_ignore_ascii_case(scheme.as_bytes()));
    (is_alone || slashes == 2 || slashes == 1 && before == Some(&b':')).then_some(to_sign(start))
}

/// Masks a URL; the edits are in the engine.
pub(crate) fn mask(engine: &mut Engine, text: &[u8], places: Places<'_>, at_cut: bool) {
    engine.start();
    let hides = engine.policy.has_text && engine.policy.whole_patterns > 0;
    // User information need not be behind a scheme, and what is handed out as a code is none elsewhere.
    let is_clean = engine.survey(text, at_cut);
    if engine.is_more_in_parts() {
        engine.distrust(text.len());
    } else if is_clean
        && !hides
        && memchr::memchr2(b'+', b'@', text).is_none()
        && (text.starts_with(b"/") || !authority::may_have_users(text))
        && !form::has_grant(text)
    {
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
    let query = memchr::memchr2(b'?', b'#', text).unwrap_or(text.len());
    let mut at = 0;
    while at < query {
        let end = memchr::memchr(b'/', &text[at..query]).map_or(query, |len| at + len);
        let mut value = Value {
            at_cut: at_cut && end == text.len(),
            surveyed: true,
            ..Value::new(at, end, Layer::Percent { plus: false }, places.path)
        };
        if let Some(user) = user(text, at, end) {
            engine.value(text, &Value { end: user.0, at_cut: false, ..value }, &named("path"));
            value.start = user.1;
            if user.0 < user.1 {
                userinfo(engine, text, user, places.userinfo, &named("userinfo"));
            }
        }
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
