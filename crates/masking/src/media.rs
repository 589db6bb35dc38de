//! Content types: what a body says it is, and what it looks like.

/// How a body (or part of one) is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Json,
    Xml,
    Form,
    Multipart { boundary: &'a [u8] },
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
        let (essence, parameters) = match memchr::memchr(b';', text) {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &text[text.len()..]),
        };
        Self {
            essence: essence.trim_ascii(),
            charset: parameter(parameters, b"charset"),
            boundary: parameter(parameters, b"boundary"),
        }
    }

    /// How to read `body`. What it looks like counts more than what it is called, but for forms and parts, which look
    /// like nothing.
    pub(crate) fn kind(&self, body: &'a [u8]) -> Kind<'a> {
        let essence = self.essence;
        let starts =
            |prefix: &[u8]| essence.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let ends = |suffix: &[u8]| {
            essence.len() >= suffix.len() && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
        };
        let is_multipart = starts(b"multipart/");
        if is_multipart || looks_like_parts(body) {
            // A boundary that does not come up is none.
            let declared =
                self.boundary.filter(|boundary| is_multipart && memchr::memmem::find(body, boundary).is_some());
            let boundary = declared.or_else(|| first_boundary(body)).or(self.boundary.filter(|_| is_multipart));
            if let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) {
                return Kind::Multipart { boundary };
            }
        }
        match body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start().first() {
            Some(b'{' | b'[') => return Kind::Json,
            Some(b'<') => return Kind::Xml,
            _ => {}
        }
        if ends(b"json") || ends(b"ndjson") || ends(b"jsonl") || ends(b"/json-seq") {
            Kind::Json
        } else if starts(b"application/x-www-form-urlencoded") {
            Kind::Form
        } else {
            Kind::Text
        }
    }
}

/// The value of a parameter behind a content type or disposition, without its quotes.
pub(crate) fn parameter<'a>(parameters: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = parameters;
    while !rest.is_empty() {
        // A quoted value may hold semicolons.
        let mut quoted = false;
        let is_end = |byte: &u8| {
            quoted ^= *byte == b'"';
            *byte == b';' && !quoted
        };
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let item = rest[..end].trim_ascii();
        if let Some(equals) = memchr::memchr(b'=', item)
            && item[..equals].trim_ascii().eq_ignore_ascii_case(name)
        {
            let value = item[equals + 1..].trim_ascii();
            let inner = value.strip_prefix(b"\"");
            return Some(inner.map_or(value, |inner| inner.strip_suffix(b"\"").unwrap_or(inner)));
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    None
}

/// Whether a body starts with a delimiter and the head of a part, whatever it is called.
fn looks_like_parts(body: &[u8]) -> bool {
    const HEAD: usize = 512;
    const FIELD: &[u8] = b"content-disposition";
    let start = body.get(..HEAD).unwrap_or(body);
    start.starts_with(b"--") && start.windows(FIELD.len()).any(|field| field.eq_ignore_ascii_case(FIELD))
}

/// The boundary that a body without a declared one starts with.
fn first_boundary(body: &[u8]) -> Option<&[u8]> {
    let line = body.strip_prefix(b"--")?;
    let end = line.iter().take(72).position(|byte| matches!(byte, b'\r' | b'\n'))?;
    Some(&line[..end])
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
        assert_eq!(kind("text/plain", "a"), Kind::Text);
        assert_eq!(
            kind("Multipart/Form-Data; x=\";boundary=no\"; boundary=\"b c\"", ""),
            Kind::Multipart { boundary: b"b c" }
        );
        assert_eq!(kind("multipart/mixed", "--abc\r\n"), Kind::Multipart { boundary: b"abc" });
        assert_eq!(kind("multipart/mixed", "abc"), Kind::Text);
    }
}
