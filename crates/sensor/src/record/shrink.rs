//! An edge record that is too large for the platform, made smaller.

use memchr::memmem;

use super::edge::truncated;
use super::options::HeaderValues;

/// What stands before a body's length. In JSON text, a quotation mark inside a string has a backslash before it and one
/// that ends a string has no letter behind it: so this can stand nowhere but where the writer put it.
const BODY: &[u8] = b",\"body\":{\"length\":";
const DATA: &[u8] = b",\"data\":\"";
const HEADERS: &[u8] = b"},\"headers\":[";

/// An edge record as it was but for the data of its bodies, each of which now says that it was cut. The length of a body
/// and everything else stays. `header_values` is what the record was written with.
///
/// `None`: the record has no such data, or is none that [`RecordWriter`](super::RecordWriter) wrote in the edge shape.
/// The result is a few dozen bytes longer at worst, where the data was shorter than what says that it was cut; it is given
/// only if it is shorter than the record.
#[must_use]
pub fn without_bodies(record: &[u8], header_values: HeaderValues) -> Option<Vec<u8>> {
    let truncated = truncated(header_values);
    let mut out = Vec::with_capacity(record.len().min(64 << 10));
    let mut rest = record;
    while let Some(at) = memmem::find(rest, BODY) {
        let body = FoundBody::at(rest, at + BODY.len())?;
        out.extend_from_slice(body.before);
        rest = body.behind;
        if body.data.is_empty() {
            continue;
        }
        out.push(b'"');
        out.extend_from_slice(HEADERS);
        rest = rest.strip_prefix(b"\"")?.strip_prefix(HEADERS)?;
        if !rest.starts_with(truncated) {
            out.extend_from_slice(truncated);
            if !rest.starts_with(b"]") {
                out.push(b',');
            }
        }
    }
    out.extend_from_slice(rest);
    (out.len() < record.len()).then_some(out)
}

/// A record cut at the data of a body.
struct FoundBody<'a> {
    before: &'a [u8],
    data: &'a [u8],
    /// From the data's closing quotation mark on.
    behind: &'a [u8],
}

impl<'a> FoundBody<'a> {
    /// The body whose length stands at `at`; `None` when it is not as the writer has it.
    fn at(record: &'a [u8], at: usize) -> Option<Self> {
        let rest = record.get(at..)?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let rest = rest.get(digits..)?.strip_prefix(DATA)?;
        let (data, behind) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
        Some(Self { before: record.get(..record.len() - rest.len())?, data, behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(record: &str) -> Option<String> {
        without_bodies(record.as_bytes(), HeaderValues::Base64).map(|record| String::from_utf8(record).unwrap())
    }

    fn message(data: &str, headers: &str) -> String {
        format!(r#"{{"a":"x","body":{{"length":7,"data":"{data}"}},"headers":[{headers}]}}"#)
    }

    #[test]
    fn data_goes_and_the_cut_is_told_once() {
        let data = "A".repeat(100);
        for (headers, expected) in [
            ("", r#""cq-body-truncated:dHJ1ZQ==""#),
            (r#""a:Yg==""#, r#""cq-body-truncated:dHJ1ZQ==","a:Yg==""#),
            (r#""cq-body-truncated:dHJ1ZQ==","a:Yg==""#, r#""cq-body-truncated:dHJ1ZQ==","a:Yg==""#),
        ] {
            assert_eq!(cut(&message(&data, headers)).unwrap(), message("", expected));
        }
        let two = |one: &str, other: &str, headers: &str| {
            format!(r#"{{"request":{},"response":{}}}"#, message(one, ""), message(other, headers))
        };
        assert_eq!(cut(&two("", &data, "")).unwrap(), two("", "", r#""cq-body-truncated:dHJ1ZQ==""#));
    }

    #[test]
    fn what_cannot_become_smaller_is_refused() {
        let data = "A".repeat(100);
        for record in [
            "".to_owned(),
            "{}".to_owned(),
            message("", r#""a:Yg==""#),
            // Shorter than what would say that it was cut.
            message("QUJD", ""),
            // None of ours: cut off, or in another order.
            message(&data, "").split("headers").next().unwrap().to_owned(),
            format!(r#"{{"x":1,"body":{{"length":7,"data":"{data}"#),
            format!(r#"{{"x":1,"body":{{"length":7,"data":"{data}"}}}}"#),
            format!(r#"{{"x":1,"body":{{"length":"7","data":"{data}"}},"headers":[]}}"#),
        ] {
            assert_eq!(cut(&record), None, "{record}");
        }
    }

    /// A client that writes a body's JSON into a header changes nothing but that header's value.
    #[test]
    fn text_that_looks_like_a_body_is_left_alone() {
        let look = r#"\",\"body\":{\"length\":1,\"data\":\"AAAA\"},\"headers\":["#;
        let data = "A".repeat(100);
        let record = format!(r#"{{"host":"{look}","request":{}}}"#, message(&data, ""));
        let expected = format!(r#"{{"host":"{look}","request":{}}}"#, message("", r#""cq-body-truncated:dHJ1ZQ==""#));
        assert_eq!(cut(&record).unwrap(), expected);
    }
}
