//! What stands around and between the records of a batch: data, not code.

use std::borrow::Cow;

/// The longest prefix, separator or suffix, and content type: they are stored with every batch.
pub(crate) const MAX_PART: usize = 4 << 10;

/// A batch's body is `prefix record (separator record)* suffix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub(crate) prefix: Cow<'static, [u8]>,
    pub(crate) separator: Cow<'static, [u8]>,
    pub(crate) suffix: Cow<'static, [u8]>,
    pub(crate) content_type: Cow<'static, str>,
}

impl Envelope {
    /// An envelope of the caller's own.
    ///
    /// # Errors
    ///
    /// If a part is longer than 4 KiB, or the content type is not a header value of printable ASCII.
    pub fn new(
        prefix: impl Into<Cow<'static, [u8]>>,
        separator: impl Into<Cow<'static, [u8]>>,
        suffix: impl Into<Cow<'static, [u8]>>,
        content_type: impl Into<Cow<'static, str>>,
    ) -> Result<Self, EnvelopeError> {
        let envelope = Self {
            prefix: prefix.into(),
            separator: separator.into(),
            suffix: suffix.into(),
            content_type: content_type.into(),
        };
        for (name, length) in [
            ("prefix", envelope.prefix.len()),
            ("separator", envelope.separator.len()),
            ("suffix", envelope.suffix.len()),
            ("content type", envelope.content_type.len()),
        ] {
            if length > MAX_PART {
                return Err(EnvelopeError::TooLong { name, length });
            }
        }
        if !is_header_value(&envelope.content_type) {
            return Err(EnvelopeError::ContentType);
        }
        Ok(envelope)
    }

    /// The platform's batch: `{"data":[…,…]}`.
    #[must_use]
    pub const fn edge_batch() -> Self {
        Self {
            prefix: Cow::Borrowed(b"{\"data\":["),
            separator: Cow::Borrowed(b","),
            suffix: Cow::Borrowed(b"]}"),
            content_type: Cow::Borrowed("application/json"),
        }
    }

    /// One record a line. The records must not hold line feeds, nor end with one.
    #[must_use]
    pub const fn lines() -> Self {
        Self {
            prefix: Cow::Borrowed(b""),
            separator: Cow::Borrowed(b"\n"),
            suffix: Cow::Borrowed(b"\n"),
            content_type: Cow::Borrowed("application/x-ndjson"),
        }
    }

    /// The body of a batch without records, to try an endpoint with.
    #[must_use]
    pub fn empty_body(&self) -> Vec<u8> {
        // A suffix that only closes the last record, as a line feed does, has nothing to close.
        if self.prefix.is_empty() { Vec::new() } else { [&self.prefix[..], &self.suffix[..]].concat() }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }
}

/// An envelope that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A part is too long.
    #[error("the envelope's {name} has {length} bytes; 4096 at most")]
    TooLong {
        /// Which part.
        name: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The content type cannot be a header's value.
    #[error("the envelope's content type must be printable ASCII, as application/json")]
    ContentType,
}

pub(crate) fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_batch_is_what_the_endpoint_would_parse() {
        assert_eq!(Envelope::edge_batch().empty_body(), b"{\"data\":[]}");
        assert_eq!(Envelope::lines().empty_body(), b"");
    }

    #[test]
    fn parts_are_bounded_and_the_content_type_is_a_header_value() {
        assert!(Envelope::new(&b"["[..], &b","[..], &b"]"[..], "application/json").is_ok());
        assert_eq!(
            Envelope::new(vec![b'x'; MAX_PART + 1], &b","[..], &b"]"[..], "a/b"),
            Err(EnvelopeError::TooLong { name: "prefix", length: MAX_PART + 1 })
        );
        assert_eq!(Envelope::new(&b""[..], &b""[..], &b""[..], "a/b\r\nX: y"), Err(EnvelopeError::ContentType));
    }
}
