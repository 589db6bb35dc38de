//! A record as the collector sees it: the few fields that it finds records by, and the text as it was sent.
//!
//! A record is never written anew: what is stored and shown is the sender's bytes. What is wrong with one is a
//! [`BadRecord`], which names the place and the rule but quotes nothing of the content.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How deep arrays and objects may be nested in a body. Records have about six levels.
const MAX_DEPTH: usize = 64;

/// The longest id that is taken, in bytes.
const MAX_ID: usize = 200;

/// Which of the two shapes a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The platform's transaction object.
    Edge,
    /// The sensor's own record (docs/output-format.md).
    Native,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Native => "native",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Edge, Self::Native].into_iter().find(|shape| shape.name() == name)
    }
}

/// One record that keeps its shape's rules.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) id: String,
    pub(crate) shape: Shape,
    /// Of the request, in nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) client: String,
    pub(crate) server: String,
    pub(crate) method: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) status: Option<u16>,
    /// As sent.
    pub(crate) text: &'a str,
}

/// What is wrong with a record or with what is around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord {
    /// A stable name: `bad_json`, `missing_field`, `invalid_field`, `duplicate_field`, `too_deep`, `bad_utf8`.
    pub(crate) error: &'static str,
    pub(crate) message: String,
    /// The record's place in its batch, from 0.
    pub(crate) index: Option<usize>,
    /// The place in the record, as in `request.headers[2]`.
    pub(crate) field: Option<String>,
}

impl BadRecord {
    pub(crate) fn new(error: &'static str, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), index: None, field: None }
    }

    pub(crate) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    pub(crate) fn in_field(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// The same without the content that serde_json would quote.
    pub(crate) fn from_json(error: &serde_json::Error, path: Option<String>) -> Self {
        let text = error.to_string();
        let within = |field: &str| match &path {
            Some(path) => format!("{path}.{field}"),
            None => field.to_owned(),
        };
        let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
        if !error.is_data() {
            // Syntax errors quote nothing.
            return Self { field: path, ..Self::new("bad_json", format!("this is no JSON: {text}")) };
        }
        if text.starts_with("missing field `") {
            let field = within(&quoted(&text));
            return Self { field: Some(field), ..Self::new("missing_field", "a field that must be there is missing") };
        }
        if text.starts_with("duplicate field `") {
            let field = within(&quoted(&text));
            return Self { field: Some(field), ..Self::new("duplicate_field", "a field is there twice") };
        }
        let expected = text.rsplit_once(", expected ").map_or("another type", |(_, expected)| expected);
        let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
        Self { field: path, ..Self::new("invalid_field", format!("a field has a wrong value: expected {expected}")) }
    }
}

/// Reads one JSON value, no more, and says where it is wrong.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadRecord> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        // A second time, slower, to learn where.
        Err(_) => {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            let read: Result<T, _> = serde_path_to_error::deserialize(&mut deserializer);
            let (error, path) = match read {
                Ok(_) => match deserializer.end() {
                    Ok(()) => return Err(BadRecord::new("bad_json", "this is no JSON")),
                    Err(error) => (error, None),
                },
                Err(error) => {
                    let path = error.path().to_string();
                    (error.into_inner(), (path != "." && !path.contains('?')).then_some(path))
                }
            };
            Err(BadRecord::from_json(&error, path))
        }
    }
}

/// The text of a body, if it is UTF-8 and no deeper than any reader of it may be expected to go.
pub(crate) fn body_text(body: &[u8]) -> Result<&str, BadRecord> {
    let text = std::str::from_utf8(body).map_err(|error| {
        BadRecord::new("bad_utf8", format!("JSON is UTF-8, but byte {} of the body is not", error.valid_up_to()))
    })?;
    if deeper_than(text, MAX_DEPTH) {
        return Err(BadRecord::new("too_deep", format!("arrays and objects are nested deeper than {MAX_DEPTH}")));
    }
    Ok(text)
}

/// Whether brackets outside of strings are nested deeper than `limit`. Exact for JSON; for anything else the parser says no.
fn deeper_than(text: &str, limit: usize) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                // To behind the closing quote.
                while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                    at += found + 1;
                    if bytes[at - 1] == b'"' {
                        break;
                    }
                    at += 1;
                }
            }
            _ => {}
        }
    }
    false
}

/// A type that is read from a string by a rule, whose text says what was expected.
macro_rules! from_text {
    ($type:ty, $expected:literal, $read:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        let read: fn(&str) -> Option<$type> = $read;
                        read(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Other("text"), &self))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}
pub(crate) use from_text;

/// A transaction's id: 1 to 200 bytes without control characters.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) String);
from_text!(Id, "an id of 1 to 200 bytes", |text| {
    (!text.is_empty() && text.len() <= MAX_ID && !text.contains(char::is_control)).then(|| Id(text.to_owned()))
});

/// An IP address as text.
#[derive(Debug)]
pub(crate) struct Address(pub(crate) std::net::IpAddr);
from_text!(Address, "an IP address", |text| text.parse().ok().map(Address));

/// A time in RFC 3339, in nanoseconds since 1970. What is later than can be counted is the latest time that can be: captures
/// have odd clocks, and a record is not worth refusing for that.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX))
}

/// Unix seconds with an optional fraction of up to nine digits, in nanoseconds; too late a time as above.
pub(crate) fn unix_seconds(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i64>().ok()?;
    let seconds = i64::try_from(seconds.parse::<u64>().ok()?).unwrap_or(i64::MAX);
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Nanoseconds since 1970 in RFC 3339.
pub(crate) fn write_time(nanos: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(nanos.into())
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| nanos.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(!deeper_than("[[]]", 2));
        assert!(deeper_than("[[[]]]", 2));
        assert!(!deeper_than(r#"{"a":"[[[[\"[[[[","b":[]}"#, 2));
        assert!(!deeper_than(r#"["\\",[],[],"\\\"[["]"#, 2));
        assert!(!deeper_than("\"\\", 0));
        assert!(body_text(&vec![b'['; 1 << 20]).is_err());
    }

    #[test]
    fn times_are_read() {
        assert_eq!(unix_seconds("1690000000.123"), Some(1_690_000_000_123_000_000));
        assert_eq!(unix_seconds("0"), Some(0));
        for bad in ["", ".", "1.", ".5", "-1", "1e9", "1.0000000001", "99999999999999999999", "1 "] {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
        assert_eq!(unix_seconds("9999999999999.999"), Some(i64::MAX));
        assert_eq!(rfc3339("2554-07-21T23:34:33.709551615Z"), Some(i64::MAX));
        assert_eq!(rfc3339("1970-01-01T00:00:01.000000002Z"), Some(1_000_000_002));
        assert_eq!(write_time(1_000_000_002), "1970-01-01T00:00:01.000000002Z");
    }

    #[test]
    fn errors_quote_no_content() {
        #[derive(Debug, Deserialize)]
        struct Sample {
            #[serde(rename = "port")]
            _port: u16,
        }
        for text in [
            r#"{"port": "hunter2, expected nothing"}"#,
            r#"{"port": 70000}"#,
            r#"{"port": -5}"#,
            r#"{"port": {"hunter2": 1}}"#,
        ] {
            let bad = read::<Sample>(text).unwrap_err();
            assert_eq!((bad.error, bad.field.as_deref()), ("invalid_field", Some("port")), "{bad:?}");
            assert!(
                bad.message.contains("u16") && !bad.message.contains("hunter2") && !bad.message.contains("70000"),
                "{bad:?}"
            );
        }
        assert_eq!(read::<Sample>(r#"{"port": 1} x"#).unwrap_err().error, "bad_json");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn depth_is_what_a_parser_finds(value in nested()) {
            fn depth(value: &serde_json::Value) -> usize {
                match value {
                    serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
                    serde_json::Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
                    _ => 0,
                }
            }
            let text = value.to_string();
            let depth = depth(&value);
            prop_assert!(!deeper_than(&text, depth));
            prop_assert!(depth == 0 || deeper_than(&text, depth - 1));
        }
    }

    fn nested() -> impl Strategy<Value = serde_json::Value> {
        let leaf = "[\\[\\]{}\"\\\\a]{0,6}".prop_map(serde_json::Value::from);
        leaf.prop_recursive(5, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("[\\[\"\\\\b]{0,3}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
