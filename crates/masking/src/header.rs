//! Header values: what a header's name says of its value.

use crate::engine::{Engine, Value};
use crate::finding::{Location, Side};
use crate::form::{self, push_name};
use crate::layer::{Layer, View};
use crate::names::Meaning;
use crate::policy::{KindId, Policy};
use crate::target::{self, Places};

/// What is done with the value of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing of it can be a secret.
    Skipped,
    /// Looked through.
    Text,
    /// A URL.
    Url,
    /// A host, before which nothing may stand; but clients have put user and password there.
    Authority,
    /// A secret as a whole.
    Secret(KindId),
    /// A secret behind the name of a scheme.
    Scheme(KindId),
    /// `name=value; name=value`.
    Cookies(Option<KindId>),
    /// `name=value`, then attributes.
    SetCookie(Option<KindId>),
}

/// Headers that hold URLs.
const URLS: &[&str] = &[
    "referer",
    "location",
    "content-location",
    "destination",
    "refresh",
    "origin",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-request-uri",
    "x-url",
    "x-waf-uri",
    "sourcemap",
    "ping-from",
    "ping-to",
];

/// Headers that hold a host and a port.
const AUTHORITIES: &[&str] = &["host", "x-forwarded-host", "x-original-host"];

/// Headers that hold no `name=password`, so that the default policy need not read them.
const PLAIN: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-request-headers",
    "access-control-request-method",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "dnt",
    "etag",
    "expect",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "pragma",
    "priority",
    "range",
    "retry-after",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "server",
    "strict-transport-security",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-content-type-options",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-frame-options",
    "x-powered-by",
    "x-real-ip",
    "x-request-id",
    "x-xss-protection",
];

/// Schemes of authentication. Behind any other word the word is taken to be part of the secret.
const SCHEMES: &[&str] = &[
    "apikey",
    "api-key",
    "aws",
    "aws4-hmac-sha256",
    "aws4-ecdsa-p256-sha256",
    "basic",
    "bearer",
    "concealed",
    "digest",
    "dpop",
    "goog4-rsa-sha256",
    "gnap",
    "hawk",
    "hmac",
    "hmac-sha256",
    "hoba",
    "jwt",
    "kerberos",
    "key",
    "mac",
    "mutual",
    "negotiate",
    "ntlm",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "sharedaccesssignature",
    "sharedkey",
    "sharedkeylite",
    "signature",
    "splunk",
    "ssws",
    "token",
    "vapid",
];

impl Class {
    pub(crate) fn of(policy: &Policy, name: &[u8]) -> Self {
        let is = |known: &[&str]| known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let kind = match policy.headers.meaning(name) {
            Some(Meaning::Secret(kind)) => Some(kind),
            _ => None,
        };
        let is_credential = kind.is_some() && kind == policy.credentials;
        match kind {
            _ if is(&["cookie", "cookie2", "x-original-cookie"]) && (kind.is_none() || is_credential) => {
                Self::Cookies(kind)
            }
            _ if is(&["set-cookie", "set-cookie2"]) && (kind.is_none() || is_credential) => Self::SetCookie(kind),
            Some(kind) if is_credential && name.to_ascii_lowercase().ends_with(b"authorization") => Self::Scheme(kind),
            Some(kind) => Self::Secret(kind),
            None if is(URLS) => Self::Url,
            None if is(AUTHORITIES) => Self::Authority,
            None if !policy.has_text && is(PLAIN) => Self::Skipped,
            None if policy.is_off() => Self::Skipped,
            None => Self::Text,
        }
    }
}

/// Masks a header's value; the edits are in the engine.
pub(crate) fn mask(engine: &mut Engine, class: Class, side: Side, name: &[u8], text: &[u8]) {
    let location = Location::header(side);
    let named = |field: &mut String| push_name(field, name, false);
    match class {
        Class::Skipped => engine.start(),
        Class::Text => {
            engine.start();
            if engine.is_quiet(text) {
                return;
            }
            engine.value(text, &Value::new(0, text.len(), Layer::Plain, location), &named);
        }
        Class::Url => {
            target::mask(
                engine,
                text,
                Places { userinfo: location, path: location, query: location, prefix: name },
                false,
            );
        }
        Class::Authority => {
            engine.start();
            let host = target::userinfo(engine, text, 0, location, &named).unwrap_or(0);
            if engine.policy.has_text && !engine.is_quiet(text) {
                engine.value(text, &Value::new(host, text.len(), Layer::Plain, location), &named);
            }
        }
        Class::Secret(kind) => {
            engine.start();
            let (start, end) = trimmed(text, 0, text.len());
            let value = Value { forced: Some(kind), ..Value::new(start, end, Layer::Plain, location) };
            engine.value(text, &value, &named);
        }
        Class::Scheme(kind) => {
            engine.start();
            let (start, end) = trimmed(text, 0, text.len());
            let word = text[start..end].iter().position(u8::is_ascii_whitespace).map_or(end, |len| start + len);
            let is_scheme =
                word < end && SCHEMES.iter().any(|scheme| text[start..word].eq_ignore_ascii_case(scheme.as_bytes()));
            let start = if is_scheme { trimmed(text, word, end).0 } else { start };
            let value = Value { forced: Some(kind), ..Value::new(start, end, Layer::Plain, location) };
            engine.value(text, &value, &named);
        }
        Class::Cookies(kind) => {
            engine.start();
            let mut at = 0;
            while at < text.len() {
                let end = memchr::memchr(b';', &text[at..]).map_or(text.len(), |len| at + len);
                cookie(engine, text, (at, end), kind, location, name);
                at = end + 1;
            }
        }
        Class::SetCookie(kind) => {
            engine.start();
            let end = memchr::memchr(b';', text).unwrap_or(text.len());
            cookie(engine, text, (0, end), kind, location, name);
            let mut at = end + 1;
            while at <= text.len() {
                let end = memchr::memchr(b';', &text[at..]).map_or(text.len(), |len| at + len);
                let from = if is_attribute(&text[at..end]) { more_cookies(text, at, end) } else { at };
                let value = Value::new(at, from, Layer::Plain, location);
                if engine.policy.has_text {
                    engine.value(text, &value, &named);
                }
                cookie(engine, text, (from, end), kind, location, name);
                at = end + 1;
            }
        }
    }
}

/// What stands behind a cookie and is none itself.
const ATTRIBUTES: &[&str] = &[
    "",
    "comment",
    "commenturl",
    "discard",
    "domain",
    "expires",
    "httponly",
    "max-age",
    "partitioned",
    "path",
    "port",
    "priority",
    "samesite",
    "secure",
    "version",
];

fn is_attribute(part: &[u8]) -> bool {
    let name = part[..memchr::memchr(b'=', part).unwrap_or(part.len())].trim_ascii();
    ATTRIBUTES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Where further cookies start in an attribute, joined by a comma: `Path=/, other=…`; its end if there are none.
fn more_cookies(text: &[u8], start: usize, end: usize) -> usize {
    let commas = memchr::memchr_iter(b',', &text[start..end]).map(|len| start + len + 1);
    { commas }.find(|comma| memchr::memchr(b'=', &text[*comma..end]).is_some()).unwrap_or(end)
}

/// One cookie: the name stays, unless it is itself a secret; the value is one by default.
fn cookie(
    engine: &mut Engine,
    text: &[u8],
    (start, end): (usize, usize),
    kind: Option<KindId>,
    location: Location,
    header: &[u8],
) {
    let layer = Layer::Percent { plus: false };
    let equals = memchr::memchr(b'=', &text[start..end]).map(|len| start + len);
    let (name_start, name_end) = trimmed(text, start, equals.unwrap_or(start));
    let name = &text[name_start..name_end];
    let is_hidden = engine.policy.has_text
        && engine
            .value(text, &Value::new(name_start, name_end, layer, location), &|field| push_name(field, header, false));
    let (mut from, mut to) = trimmed(text, equals.map_or(start, |equals| equals + 1), end);
    if let [b'"', .., b'"'] = &text[from..to] {
        (from, to) = (from + 1, to - 1);
    }
    let own =
        form::named(engine, name, layer, &mut View::default()).0.filter(|own| Some(*own) != engine.policy.credentials);
    let value = Value { forced: own.or(kind), ..Value::new(from, to, layer, location) };
    engine.value(text, &value, &|field| {
        push_name(field, header, false);
        if !name.is_empty() {
            field.push('.');
            push_name(field, name, is_hidden);
        }
    });
}

/// A range without the blanks around it.
fn trimmed(text: &[u8], start: usize, end: usize) -> (usize, usize) {
    let part = &text[start..end];
    let front = part.len() - part.trim_ascii_start().len();
    (start + front, (start + front).max(start + part.trim_ascii_end().len()))
}
