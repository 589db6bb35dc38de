//! Content types: what a body says it is, and what it looks like.

use crate::parts;

/// How a body (or part of one) is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Json,
    Xml,
    Form,
    /// Parts, between delimiters; the boundary that was declared, which may be another one than theirs.
    Multipart {
        boundary: Option<&'a [u8]>,
    },
    /// A message of HTTP: a start line, header fields and a body.
    Message,
    Text,
}

/// A content type's parts, unquoted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MediaType<'a> {
    essence: &'a [u8],
    pub(crate) charset: Option<&'a [u8]>,
    boundary: Option<&'a [u8]>,
}

impl<'a> MediaType<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let Some(at) = memchr::memchr(b';', text) else {
            return Self { essence: text.trim_ascii(), ..Self::default() };
        };
        let (essence, parameters) = (&text[..at], &text[at + 1..]);
        Self {
            essence: essence.trim_ascii(),
            charset: parameter(parameters, b"charset"),
            boundary: parameter(parameters, b"boundary"),
        }
    }

    /// The boundary that is declared, if there is one.
    pub(crate) fn boundary(&self) -> Option<&'a [u8]> {
        self.boundary
    }

    /// How to read `body`. What it looks like counts more than what it is called, but for forms, which look like nothing.
    pub(crate) fn kind(&self, body: &'a [u8]) -> Kind<'a> {
        let essence = self.essence;
        let starts =
            |prefix: &[u8]| essence.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let ends = |suffix: &[u8]| {
            essence.len() >= suffix.len() && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
        };
        let is_declared = starts(b"multipart/");
        if (is_declared || parts::look_like(body)) && parts::has_delimiter(body, self.boundary) {
            return Kind::Multipart { boundary: self.boundary };
        }
        match body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start().first() {
            Some(b'{' | b'[') => return Kind::Json,
            Some(b'<') => return Kind::Xml,
            Some(b'H') if body.trim_ascii_start().starts_with(b"HTTP/1.") => return Kind::Message,
            _ => {}
        }
        if ends(b"json") || ends(b"ndjson") || ends(b"jsonl") || ends(b"/json-seq") {
            Kind::Json
        } else if starts(b"application/x-www-form-urlencoded") {
            Kind::Form
        } else if essence.eq_ignore_ascii_case(b"message/http") || essence.eq_ignore_ascii_case(b"application/http") {
            Kind::Message
        } else if looks_like_form(body) {
            Kind::Form
        } else {
            Kind::Text
        }
    }
}

/// Bytes that a form is told by.
const MAX_LOOK: usize = 256;

/// Whether a body starts as a form does that is called something else: a name, `=`, another pair, and no byte that a form
/// escapes.
fn looks_like_form(body: &[u8]) -> bool {
    let start = body.get(..MAX_LOOK).unwrap_or(body).trim_ascii_end();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~*%+[]$:".contains(byte);
    let name = start.iter().position(|byte| !is_name(byte)).unwrap_or(start.len());
    let is_form = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'{' | b'}');
    name > 0 && start.get(name) == Some(&b'=') && start.contains(&b'&') && start.iter().all(is_form)
}

/// The value of a parameter behind a content type, without its quotes.
fn parameter<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters(text).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The parameters behind a content type or disposition, in order, each with its name; values without their quotes.
pub(crate) fn parameters(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            // A quoted value may hold semicolons.
            let mut quoted = false;
            let is_end = |byte: &u8| {
                quoted ^= *byte == b'"';
                *byte == b';' && !quoted
            };
            let end = rest.iter().position(is_end).unwrap_or(rest.len());
            let item = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if let Some(equals) = memchr::memchr(b'=', item) {
                let value = item[equals + 1..].trim_ascii();
                let inner = value.strip_prefix(b"\"");
                let value = inner.map_or(value, |inner| inner.strip_suffix(b"\"").unwrap_or(inner));
                return Some((item[..equals].trim_ascii(), value));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_looks_are_told() {
        let kind = |content_type: &'static str, body: &'static str| {
            MediaType::parse(content_type.as_bytes()).kind(body.as_bytes())
        };
        assert_eq!(kind("application/problem+json; charset=utf-8", "1"), Kind::Json);
        assert_eq!(kind("application/x-www-form-urlencoded", "a=b"), Kind::Form);
        assert_eq!(kind("application/x-www-form-urlencoded", " {\"a\":1}"), Kind::Json);
        assert_eq!(kind("", "<a/>"), Kind::Xml);
        for form in ["a=b&c=d", "user[a]=it's&b=%20\r\n", "a+b=&c"] {
            assert_eq!(kind("text/plain", form), Kind::Form);
        }
        for text in ["a=b c=d", "a", "=", "=a", "a=\"b\"", "a: b=c", "a=1\nb=2&c", "a=b,c=d"] {
            assert_eq!(kind("text/plain", text), Kind::Text);
        }
        assert_eq!(kind("text/plain", "a"), Kind::Text);
        let declared = Kind::Multipart { boundary: Some(b"b c") };
        assert_eq!(kind("Multipart/Form-Data; x=\";boundary=no\"; boundary=\"b c\"", "--b c\r\n\r\n"), declared);
        let part = "--abc\r\nContent-Type: text/plain\r\n\r\n";
        assert_eq!(kind("multipart/mixed", part), Kind::Multipart { boundary: None });
        assert_eq!(kind("multipart/mixed; boundary=ABC", part), Kind::Multipart { boundary: Some(b"ABC") });
        assert_eq!(kind("text/plain", part), Kind::Multipart { boundary: None });
        assert_eq!(kind("multipart/mixed", "abc"), Kind::Text);
        assert_eq!(kind("multipart/mixed; boundary=abc", "{\"a\":1}"), Kind::Json);
        assert_eq!(kind("text/plain", "--abc\r\nx: y"), Kind::Text);
        assert_eq!(kind("", "HTTP/1.1 200 OK\r\n"), Kind::Message);
        assert_eq!(kind("message/http", "TRACE / HTTP/1.1\r\n"), Kind::Message);
    }
}
