//! Header values: what a header's name says of its value.

use crate::authority;
use crate::engine::{Engine, Value};
use crate::finding::{Location, Side};
use crate::form::{self, push_name};
use crate::layer::{Layer, View};
use crate::names::Meaning;
use crate::packed;
use crate::policy::{KindId, Policy};
use crate::target::{self, Places};

/// What is done with the value of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing of it can be a secret.
    Skipped,
    /// Looked through.
    Text,
    /// Looked through; nine digits are a social security number.
    Ssn,
    /// A URL.
    Url,
    /// A host, or a list of them, before which nothing may stand; but clients have put user and password there. Whether they
    /// are in parameters.
    Authority(bool),
    /// A secret as a whole.
    Secret(KindId),
    /// A secret behind the name of a scheme.
    Scheme(KindId),
    /// `name=value; name=value`.
    Cookies(Option<KindId>),
    /// `name=value`, then attributes.
    SetCookie(Option<KindId>),
    /// What a server wants to be shown; of some schemes with a token of its own.
    Challenge(KindId),
    /// Names of subprotocols, among which browsers have to put tokens, as they can send no header of their own.
    Protocols(KindId),
}

/// Headers that hold URLs.
const URLS: &[&str] = &[
    "referer",
    "location",
    "content-location",
    "destination",
    "refresh",
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

/// Headers that hold a host and a port, besides those whose names end with `host`; and those that have it in a parameter.
const AUTHORITIES: &[&str] = &[
    "authority",
    "origin",
    "access-control-allow-origin",
    "x-forwarded-server",
    "x-http-host-override",
    "alt-used",
    "via",
];
const AUTHORITY_PARAMETERS: &[&str] = &["forwarded", "x-forwarded", "alt-svc", "link"];

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
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-request-headers",
    "access-control-request-method",
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
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

/// Attributes of cookies that have a value; and those that have none.
const ATTRIBUTES: &[&str] =
    &["expires", "max-age", "domain", "path", "samesite", "priority", "version", "comment", "commenturl", "port"];
const FLAGS: &[&str] = &["secure", "httponly", "partitioned", "sameparty", "discard"];

/// Schemes whose challenges come with a token.
const CHALLENGES: &[&str] = &["negotiate", "ntlm", "kerberos"];

/// Longer names of subprotocols are no names.
const MAX_PROTOCOL: usize = 48;

pub(crate) fn is_one_of(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

impl Class {
    pub(crate) fn of(policy: &Policy, name: &[u8]) -> Self {
        let name = written(name);
        let is = |known: &[&str]| is_one_of(name, known);
        let kind = secret(policy, name);
        let is_credential = kind.is_some_and(|kind| policy.is_credential(kind));
        let lower = name.to_ascii_lowercase();
        let stem = lower.trim_ascii_end();
        let stem = stem.strip_suffix(b"2").or(stem.strip_suffix(b"s")).unwrap_or(stem);
        match kind {
            _ if stem.ends_with(b"cookie") && (kind.is_none() || is_credential) => {
                match stem.ends_with(b"set-cookie") {
                    true => Self::SetCookie(kind),
                    false => Self::Cookies(kind),
                }
            }
            Some(kind) if is_credential && lower.ends_with(b"authorization") => Self::Scheme(kind),
            Some(kind) => Self::Secret(kind),
            None if policy.headers.meaning(name) == Some(Meaning::Ssn) => Self::Ssn,
            None if is(URLS) => Self::Url,
            None if is(AUTHORITIES) || lower.ends_with(b"host") => Self::Authority(false),
            None if is(AUTHORITY_PARAMETERS) => Self::Authority(true),
            None if is(&["www-authenticate", "proxy-authenticate"]) => {
                policy.credentials.map_or(Self::Text, Self::Challenge)
            }
            None if is(&["sec-websocket-protocol"]) => policy.credentials.map_or(Self::Text, Self::Protocols),
            None if !policy.has_text && is(PLAIN) => Self::Skipped,
            None if policy.is_off() => Self::Skipped,
            None => Self::Text,
        }
    }

    /// Whether all of a value is looked at as one, whatever its lines look like.
    fn is_whole(self) -> bool {
        matches!(self, Self::Secret(_) | Self::Scheme(_) | Self::Cookies(_))
    }
}

/// A header's name without what no name has at its ends.
fn written(name: &[u8]) -> &[u8] {
    let is = |byte: &u8| byte.is_ascii_alphanumeric();
    let start = name.iter().position(is).unwrap_or(name.len());
    &name[start..name.iter().rposition(is).map_or(start, |last| last + 1)]
}

/// What the name of a header says of its value, if that is a secret.
fn secret(policy: &Policy, name: &[u8]) -> Option<KindId> {
    match policy.headers.meaning(name) {
        Some(Meaning::Secret(kind)) => Some(kind),
        _ => None,
    }
}

/// Masks a header's value; the edits are in the engine.
pub(crate) fn mask(engine: &mut Engine, class: Class, side: Side, name: &[u8], text: &[u8]) {
    let location = Location::header(side);
    if (name.is_empty() || memchr::memchr2(b'\r', b'\n', text).is_some()) && !class.is_whole() {
        lines(engine, class, name, text, location);
        return;
    }
    if class == Class::Url {
        let places = Places { userinfo: location, path: location, query: location, prefix: name };
        target::mask(engine, text, places, false);
        return;
    }
    engine.start();
    let class = match class {
        Class::Authority(_) if !authority::may_have_users(text) => {
            match !engine.policy.has_text && authority::is_address(text) {
                true => return,
                false => Class::Text,
            }
        }
        class => class,
    };
    if class == Class::Text && !has_scheme(text) && engine.is_quiet(text) {
        return;
    }
    within(engine, class, name, text, (0, text.len()), location);
}

/// Masks a field of a head within a body, if its name says that it is a secret; whether it does.
pub(crate) fn mask_within(
    engine: &mut Engine,
    name: &[u8],
    text: &[u8],
    (start, end): (usize, usize),
    location: Location,
) -> bool {
    let is_secret = secret(&engine.policy, written(name)).is_some();
    if is_secret {
        let class = Class::of(&engine.policy, name);
        within(engine, class, name, text, (start, end), location);
    }
    is_secret
}

/// Masks a value of several lines: what looks like a field of its own on one of them is one to those who read it so. The
/// same goes for a line without a colon, which has no name.
fn lines(engine: &mut Engine, class: Class, name: &[u8], text: &[u8], location: Location) {
    engine.start();
    let mut at = 0;
    let found = text.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')).find_map(|line| {
        let is_first = at == 0;
        at += line.len();
        if is_first && !name.is_empty() {
            return None;
        }
        let start = at - line.len();
        let word = line.len() - line.trim_ascii_start().len();
        let ends = |byte: &u8| *byte == b':' || is_first && byte.is_ascii_whitespace();
        let colon = word + line[word..].iter().position(ends)?;
        secret(&engine.policy, written(&line[word..colon])).is_some().then_some((start + word, start + colon))
    });
    let end = found.map_or(text.len(), |(start, _)| start);
    let class = if matches!(class, Class::Url | Class::Skipped) { Class::Text } else { class };
    within(engine, class, name, text, (0, end), location);
    if let Some((start, colon)) = found {
        // The name may be no name.
        let name = Value::new(start, colon, Layer::Plain, location);
        engine.value(text, &name, &|field| push_name(field, b"*", false));
        mask_within(engine, &text[start..colon], text, (colon + 1, text.len()), location);
    }
}

/// Masks the value of a header that is `text[start..end]`.
fn within(
    engine: &mut Engine,
    class: Class,
    name: &[u8],
    text: &[u8],
    (start, end): (usize, usize),
    location: Location,
) {
    let named = |field: &mut String| push_name(field, name, false);
    let whole = Value::new(start, end, Layer::Plain, location);
    match class {
        Class::Skipped => {}
        Class::Text | Class::Url => {
            let kind = engine.policy.credentials.filter(|_| has_scheme(&text[start..end]));
            match kind {
                Some(kind) => within(engine, Class::Scheme(kind), name, text, (start, end), location),
                None => {
                    engine.value(text, &whole, &named);
                }
            }
        }
        Class::Ssn => {
            engine.value(text, &Value { may_be_ssn: true, ..whole }, &named);
        }
        Class::Authority(has_parameters) => {
            let has_text = engine.policy.has_text;
            let mut done = start;
            for (from, to) in authority::users(&text[start..end], has_parameters) {
                let (from, to) = (start + from, start + to);
                if has_text || !authority::is_address(&text[done..from]) {
                    engine.value(text, &Value { start: done, end: from, ..whole }, &named);
                }
                target::userinfo(engine, text, (from, to), location, &named);
                done = to;
            }
            // What has more than a host may have a query.
            if has_text || !authority::is_address(&text[done..end]) {
                engine.value(text, &Value { start: done, ..whole }, &named);
            }
        }
        Class::Secret(kind) => {
            let (start, end) = trimmed(text, start, end);
            engine.value(text, &Value { forced: Some(kind), start, end, ..whole }, &named);
        }
        Class::Scheme(kind) => {
            let (start, end) = trimmed(text, start, end);
            let word = text[start..end].iter().position(u8::is_ascii_whitespace).map_or(end, |len| start + len);
            let is_scheme = word < end && is_one_of(&text[start..word], SCHEMES);
            let start = if is_scheme { trimmed(text, word, end).0 } else { start };
            engine.value(text, &Value { forced: Some(kind), start, end, ..whole }, &named);
        }
        Class::Cookies(kind) => {
            let mut at = start;
            while at < end {
                let to = memchr::memchr(b';', &text[at..end]).map_or(end, |len| at + len);
                cookie(engine, text, (at, to), kind, location, name);
                at = to + 1;
            }
        }
        Class::SetCookie(kind) => set_cookie(engine, text, (start, end), kind, location, name),
        Class::Challenge(kind) => items(engine, text, whole, kind, &named, |text, _, (from, to)| {
            let word = text[from..to].iter().position(u8::is_ascii_whitespace).map_or(to, |len| from + len);
            let token = trimmed(text, word, to);
            let is_token = |token: &[u8]| {
                !token.is_empty()
                    && !token[..token.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1)].contains(&b'=')
            };
            (is_one_of(&text[from..word], CHALLENGES) && is_token(&text[token.0..token.1])).then_some(token)
        }),
        Class::Protocols(kind) => {
            let policy = std::sync::Arc::clone(&engine.policy);
            items(engine, text, whole, kind, &named, |text, before, item| token_of(&policy, text, before, item));
        }
    }
}

/// Whether a value is a credential behind its scheme, in whatever header: `Bearer` and a word, or `Basic` and user and password.
fn has_scheme(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    if !matches!(text.first(), Some(b'B' | b'b')) {
        return false;
    }
    let Some((word, token)) = text.iter().position(u8::is_ascii_whitespace).map(|at| text.split_at(at)) else {
        return false;
    };
    let token = token.trim_ascii_start();
    let is_one = token.len() > 3 && !token.iter().any(u8::is_ascii_whitespace);
    let is_basic = || packed::unpack(b"base64", token).is_some_and(|user| user.contains(&b':'));
    is_one && (word.eq_ignore_ascii_case(b"bearer") || word.eq_ignore_ascii_case(b"basic") && is_basic())
}

/// Masks those of the items between commas that `secret` finds, given the one before, and looks through all others.
fn items(
    engine: &mut Engine,
    text: &[u8],
    whole: Value,
    kind: KindId,
    named: &dyn Fn(&mut String),
    secret: impl Fn(&[u8], &[u8], (usize, usize)) -> Option<(usize, usize)>,
) {
    let Value { start, end, .. } = whole;
    let (mut at, mut text_from, mut before) = (start, start, (start, start));
    while at < end {
        let to = memchr::memchr(b',', &text[at..end]).map_or(end, |len| at + len);
        let item = trimmed(text, at, to);
        if let Some((from, to)) = secret(text, &text[before.0..before.1], item) {
            engine.value(text, &Value { start: text_from, end: from, ..whole }, named);
            engine.value(text, &Value { forced: Some(kind), start: from, end: to, ..whole }, named);
            text_from = to;
        }
        before = item;
        at = to + 1;
    }
    engine.value(text, &Value { start: text_from, end, ..whole }, named);
}

/// The token in the name of a subprotocol: behind one that is a word for such, behind such a word in it, or by its length.
fn token_of(policy: &Policy, text: &[u8], before: &[u8], (from, to): (usize, usize)) -> Option<(usize, usize)> {
    let announces =
        |word: &[u8]| is_one_of(word, SCHEMES) || secret(policy, word).is_some() || word.eq_ignore_ascii_case(b"auth");
    let item = &text[from..to];
    if announces(before) || item.starts_with(b"eyJ") {
        return Some((from, to));
    }
    let mut at = 0;
    let mut token = None;
    for word in item.split_inclusive(|byte| matches!(byte, b'.' | b':' | b'=' | b'|' | b'-')).take(MAX_PROTOCOL) {
        at += word.len();
        // `bearer.`, `openai-insecure-api-key.`
        let (name, sign) = item[..at].split_at(at - 1);
        let start = name.iter().rposition(|byte| matches!(byte, b'.' | b':' | b'=' | b'|')).map_or(0, |at| at + 1);
        if at < item.len() && !sign.is_empty() && announces(&name[start..]) {
            token = Some(at);
        }
    }
    if let Some(at) = token {
        let rest = &item[at..];
        return Some((from + at + if rest.starts_with(b"k8s.io.") { 7 } else { 0 }, to));
    }
    (item.len() > MAX_PROTOCOL).then_some((from, to))
}

/// A cookie and its attributes. What is no attribute is another cookie: so are they joined by proxies, and by servers that
/// leave out what separates them.
fn set_cookie(
    engine: &mut Engine,
    text: &[u8],
    (start, end): (usize, usize),
    kind: Option<KindId>,
    location: Location,
    name: &[u8],
) {
    let named = |field: &mut String| push_name(field, name, false);
    let mut at = memchr::memchr(b';', &text[start..end]).map_or(end, |len| start + len);
    cookie(engine, text, (start, at), kind, location, name);
    let attributes = |engine: &mut Engine, (start, end): (usize, usize)| {
        let mut parts = text[start..end].split(|byte| *byte == b';');
        let mut has_names = || parts.any(|part| memchr::memchr(b'=', part).is_some_and(|at| may_name(&part[at + 1..])));
        if engine.policy.has_text || has_names() {
            engine.value(text, &Value::new(start, end, Layer::Plain, location), &named);
        }
    };
    let mut text_from = at;
    while at < end {
        let from = at + 1;
        at = memchr::memchr(b';', &text[from..end]).map_or(end, |len| from + len);
        if let Some(another) = cookie_among_attributes(&text[from..at]) {
            let another = from + another;
            attributes(engine, (text_from, another));
            cookie(engine, text, (another, at), kind, location, name);
            text_from = at;
        }
    }
    attributes(engine, (text_from, end));
}

/// Whether a text that is no value may have a name of one in it, or an escape of that.
fn may_name(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b':' | b'=' | b'%' | b'\\' | b'&' | b'<'))
}

/// Where in what should be an attribute another cookie starts.
fn cookie_among_attributes(text: &[u8]) -> Option<usize> {
    let equals = memchr::memchr(b'=', text);
    let word = text[..equals.unwrap_or(text.len())].trim_ascii();
    if word.is_empty() && equals.is_none() {
        return None;
    }
    let is_flag = is_one_of(word, FLAGS);
    if is_flag && equals.is_none() || is_one_of(word, ATTRIBUTES) {
        // `Path=/, id=…`, or a line that was folded. A date has a comma, too, but no name behind it.
        let is_name = |byte: &&u8| byte.is_ascii_graphic() && !matches!(**byte, b',' | b'=' | b'"');
        return memchr::memchr3_iter(b',', b'\r', b'\n', text).map(|at| at + 1).find(|at| {
            let rest = text[*at..].trim_ascii_start();
            let len = rest.iter().take_while(is_name).count();
            match text[*at - 1] {
                b',' => len > 0 && rest[len..].trim_ascii_start().starts_with(b"="),
                _ => !rest.is_empty(),
            }
        });
    }
    Some(0)
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
    // A text with a sign of equality somewhere is no name, and may have names of its own.
    let is_hidden = (engine.policy.has_text || may_name(name))
        && engine
            .value(text, &Value::new(name_start, name_end, layer, location), &|field| push_name(field, header, false));
    let (mut from, mut to) = trimmed(text, equals.map_or(start, |equals| equals + 1), end);
    if let [b'"', .., b'"'] = &text[from..to] {
        (from, to) = (from + 1, to - 1);
    }
    let own = form::named(engine, name, layer, &mut View::default()).0;
    let own = own.filter(|own| !engine.policy.is_credential(*own));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::detect::Detector;
    use crate::finding::Side;
    use crate::masker::{Masked, Masker};
    use crate::policy::{Policy, Settings};
    use crate::{Action, Pattern};

    const NAMES: &[&str] = &[
        "Cookie",
        "Set-Cookie",
        "Host",
        "Forwarded",
        "Via",
        "Origin",
        "Link",
        "Authorization",
        "WWW-Authenticate",
        "Sec-WebSocket-Protocol",
        "X-Any",
        "X-Api-Key",
        "",
    ];

    fn policies() -> Vec<Arc<Policy>> {
        let numbers = [Detector::Phone, Detector::CreditCard, Detector::UsSsn, Detector::Iban];
        let never = Pattern { name: "NONE".into(), regex: "^zzzqqqzzz$".into(), action: Action::Redact };
        let of = |detectors: &[Detector], patterns: Vec<Pattern>| {
            let detectors = detectors.iter().map(|detector| (*detector, Action::Redact)).collect();
            let settings = Settings { key: vec![7; 32], detectors, patterns, ..Settings::default() };
            Arc::new(Policy::new(&settings).unwrap())
        };
        vec![of(&[], vec![]), of(&[], vec![never]), of(&numbers, vec![]), of(&Detector::ALL, vec![])]
    }

    /// What becomes of a value in every header and as a target, and what is told of it.
    fn masked(policy: &Arc<Policy>, text: &str, is_thorough: bool) -> Vec<String> {
        let mut masker = Masker::new(Arc::clone(policy));
        masker.engine.is_thorough = is_thorough;
        masker.begin();
        let told = |masked: Masked<'_>| String::from_utf8_lossy(masked.or(text.as_bytes())).into_owned();
        let mut all: Vec<String> = Vec::new();
        for name in NAMES {
            all.push(told(masker.header(Side::Request, name.as_bytes(), text.as_bytes())));
        }
        all.extend(masker.findings().map(|finding| format!("{finding:?}")));
        all.push(hidden(&told(masker.target(text.as_bytes()))));
        for name in ["Referer", "Location", "Refresh"] {
            all.push(hidden(&told(masker.header(Side::Request, name.as_bytes(), text.as_bytes()))));
        }
        all
    }

    /// What of a URL is hidden. Of a plus, and what is on its two sides, the tokens may be one or several.
    fn hidden(target: &str) -> String {
        let mut parts = target.split("tok_");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.get(26..).unwrap_or_default();
            let joint = out.strip_suffix([' ', '+']).filter(|front| front.ends_with('#')).map(str::to_owned);
            out = joint.unwrap_or(out);
            out.push_str(if out.ends_with('#') { "" } else { "#" });
            out.push_str(rest);
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// A quick look finds what a full one does, whatever the header; and without detectors the same is found whether the
        /// policy has expressions to try or not.
        #[test]
        fn as_a_full_look(pieces in proptest::collection::vec(prop_oneof![
            4 => "(; |, |,|;|=|/|\\?|&|#| |\"|<|>|\\(|\\)|\t|:|//|@|%40|\\+|%2B|%20|\\\\|')",
            3 => "[a-z]{1,4}(=|:)?",
            2 => "(password|pin|token|sid|api key|x-auth)(\"|%22|\\\\\")?(=|:|%3D|%3A| : )",
            2 => "\\{\"(password|a|x)\":\"[a-z0-9]{1,8}\",?|\\}",
            2 => "(http|https|HTTP|x):/{0,2}",
            2 => "[a-z]{1,2}:[a-z0-9 #/\"]{1,8}@[a-z]{1,3}",
            2 => "(Basic|Bearer|Digest|Negotiate) ?|bWU6aHVudGVyMjI=|eyJhbGciOiJIUzI1NiJ9\\.eyJ4Ijp9\\.c2ln",
            2 => "(host|for|by|proto|realm|path|domain|expires|code|state|url|rel)=\"?",
            3 => "(\\+|%2B)(491701234567|12125550142|49 170 1234567|1-212-555-0142|49[/ ]170/1234567|99912345678)",
            2 => "[/ .-]?([0-9]{1,10}|2024-11-21|10:30|12th|4111 1111 1111 1111|4111111111111111|536-22-1234|10\\.1\\.2\\.3)",
            1 => "(DE89|DE89 3704 0044 0532 0130 00|GB29 ?NWBK 6016 1331 9268 19)",
            1 => "\r\n (Cookie|x|Authorization): ?",
            1 => "%[0-9a-f]{2}|&#[0-9]{1,3};|\\\\u00[0-7][0-9a-f]",
            1 => "[ -~]{0,12}",
        ], 0..14)) {
            let text = pieces.concat();
            let policies = policies();
            for (i, policy) in policies.iter().enumerate() {
                prop_assert_eq!(masked(policy, &text, false), masked(policy, &text, true), "{:?} {}", text, i);
            }
            prop_assert_eq!(masked(&policies[0], &text, false), masked(&policies[1], &text, false), "{:?}", text);
        }
    }
}
