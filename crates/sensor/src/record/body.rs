//! What a record says about a message's body.

use http_parse::{Body, DecodeOutcome, Decoder, Flag, Flags, Message};

use super::json::{append_base64, append_number, append_str};

/// Writes bodies; keeps the decoder's buffers.
#[derive(Debug)]
pub(super) struct BodyWriter {
    decoder: Decoder,
    decoded: Vec<u8>,
    limit: usize,
}

/// What of a body is written.
#[derive(Clone, Copy)]
struct Content<'a> {
    bytes: &'a [u8],
    /// A content coding was undone to get `bytes`.
    is_decoded: bool,
    /// `bytes` is not the whole of it.
    is_truncated: bool,
    /// What was odd about the coding.
    flags: Flags,
}

impl BodyWriter {
    /// `limit`: bytes that a body may be decoded to.
    pub(super) fn new(limit: usize) -> Self {
        Self { decoder: Decoder::new(), decoded: Vec::new(), limit }
    }

    /// Appends the body of `message`, or `null` when it has none. Gives what was odd about its content coding.
    #[inline]
    pub(super) fn append(&mut self, message: &Message, out: &mut Vec<u8>) -> Flags {
        let body = message.body();
        if body.bytes == 0 && body.missing == 0 && body.captured.is_empty() {
            out.extend_from_slice(b"null");
            return Flags::NONE;
        }
        let content = self.content(message, &body);
        append_body(&body, &content, out);
        content.flags
    }

    /// The body without its content coding as far as that can be had, else as it was sent.
    fn content<'a>(&'a mut self, message: &Message, body: &Body<'a>) -> Content<'a> {
        // Where a message's end was not seen (the connection broke off, or chunks could not be followed behind a loss), more
        // of the body may have been sent than was counted.
        let is_truncated = body.is_truncated() || body.missing > 0 || !message.is_complete();
        let as_sent = Content { bytes: body.captured, is_decoded: false, is_truncated, flags: Flags::NONE };
        if body.captured.is_empty() || content_codings(message).next().is_none() {
            return as_sent;
        }
        self.decoded.clear();
        let outcome = self.decoder.decode(content_codings(message), body.captured, self.limit, &mut self.decoded);
        as_sent.decoded(outcome, &self.decoded, message.is_complete())
    }
}

impl<'a> Content<'a> {
    /// What to write of a body sent as `self`, which decoded to `decoded`. `is_complete`: the message's end was seen.
    fn decoded(self, outcome: DecodeOutcome, decoded: &'a [u8], is_complete: bool) -> Self {
        let flag = match outcome {
            DecodeOutcome::Identity | DecodeOutcome::Complete => None,
            // The coding of a body that was cut ends early too; that says nothing about its sender.
            DecodeOutcome::Partial if self.is_truncated || !is_complete => None,
            DecodeOutcome::Partial | DecodeOutcome::Failed => Some(Flag::DecodeFailed),
            DecodeOutcome::Limited => Some(Flag::DecodeLimit),
            DecodeOutcome::Unknown => Some(Flag::UnknownContentCoding),
        };
        let is_decoded = match outcome {
            DecodeOutcome::Identity | DecodeOutcome::Unknown => false,
            DecodeOutcome::Complete | DecodeOutcome::Limited => true,
            // Where nothing came of it, the bytes as sent are better than none.
            DecodeOutcome::Partial | DecodeOutcome::Failed => !decoded.is_empty(),
        };
        let mut content = self;
        if let Some(flag) = flag {
            content.flags.insert(flag);
        }
        if is_decoded {
            content.bytes = decoded;
            content.is_decoded = true;
            content.is_truncated |= outcome != DecodeOutcome::Complete;
        }
        content
    }
}

fn content_codings(message: &Message) -> impl Iterator<Item = &[u8]> {
    message.headers().filter(|header| header.name.eq_ignore_ascii_case(b"content-encoding")).map(|header| header.value)
}

fn append_body(body: &Body<'_>, content: &Content<'_>, out: &mut Vec<u8>) {
    let text = as_text(content);
    let captured = text.map_or(content.bytes, str::as_bytes);
    out.extend_from_slice(b"{\"bytes\":");
    append_number(body.bytes, out);
    out.extend_from_slice(b",\"decoded_bytes\":");
    if content.is_decoded && !content.is_truncated {
        append_number(captured.len() as u64, out);
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"captured\":");
    append_number(captured.len() as u64, out);
    out.extend_from_slice(if content.is_truncated { b",\"truncated\":true" } else { b",\"truncated\":false" });
    out.extend_from_slice(b",\"missing\":");
    append_number(body.missing, out);
    out.extend_from_slice(if content.is_decoded { b",\"decoded\":true" } else { b",\"decoded\":false" });
    match text {
        Some("") if content.is_truncated => out.extend_from_slice(b",\"encoding\":\"utf8\",\"content\":null"),
        Some(text) => {
            out.extend_from_slice(b",\"encoding\":\"utf8\",\"content\":");
            append_str(text, out);
        }
        None => {
            out.extend_from_slice(b",\"encoding\":\"base64\",\"content\":");
            append_base64(content.bytes, out);
        }
    }
    out.push(b'}');
}

/// The content as text, if it is: a character that the cut went through is left out.
fn as_text<'a>(content: &Content<'a>) -> Option<&'a str> {
    match core::str::from_utf8(content.bytes) {
        Ok(text) => Some(text),
        Err(error) if content.is_truncated && error.error_len().is_none() && error.valid_up_to() > 0 => {
            content.bytes.get(..error.valid_up_to()).and_then(|whole| core::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(is_truncated: bool) -> Content<'static> {
        Content { bytes: b"sent", is_decoded: false, is_truncated, flags: Flags::NONE }
    }

    /// Each outcome of decoding, of whole and cut bodies: what is written, whether it is truncated, and the flag.
    #[test]
    fn decoding_outcomes() {
        use DecodeOutcome::*;
        const DECODED: &[u8] = b"decoded";
        for (outcome, decoded, is_cut, is_complete, bytes, is_truncated, flag) in [
            (Identity, DECODED, false, true, b"sent".as_slice(), false, None),
            (Unknown, b"", false, true, b"sent", false, Some(Flag::UnknownContentCoding)),
            (Unknown, b"", true, true, b"sent", true, Some(Flag::UnknownContentCoding)),
            (Complete, DECODED, false, true, DECODED, false, None),
            (Complete, b"", false, true, b"", false, None),
            (Complete, DECODED, true, true, DECODED, true, None),
            (Partial, DECODED, true, true, DECODED, true, None),
            (Partial, DECODED, false, false, DECODED, true, None),
            (Partial, DECODED, false, true, DECODED, true, Some(Flag::DecodeFailed)),
            (Partial, b"", true, true, b"sent", true, None),
            (Limited, DECODED, false, true, DECODED, true, Some(Flag::DecodeLimit)),
            (Limited, b"", false, true, b"", true, Some(Flag::DecodeLimit)),
            (Failed, DECODED, false, true, DECODED, true, Some(Flag::DecodeFailed)),
            (Failed, b"", false, true, b"sent", false, Some(Flag::DecodeFailed)),
        ] {
            let content = sent(is_cut).decoded(outcome, decoded, is_complete);
            let case = (outcome, decoded, is_cut, is_complete);
            assert_eq!(content.bytes, bytes, "{case:?}");
            assert_eq!(content.is_decoded, bytes != b"sent", "{case:?}");
            assert_eq!(content.is_truncated, is_truncated, "{case:?}");
            assert_eq!(content.flags.iter().collect::<Vec<_>>(), flag.into_iter().collect::<Vec<_>>(), "{case:?}");
        }
    }

    fn written(captured: &[u8], content: &Content<'_>) -> serde_json::Value {
        let body = Body { bytes: 100, captured, missing: 0 };
        let mut out = Vec::new();
        append_body(&body, content, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn only_a_whole_decoded_body_has_a_decoded_length() {
        let content =
            |is_decoded, is_truncated| Content { bytes: b"text", is_decoded, is_truncated, flags: Flags::NONE };
        for (is_decoded, is_truncated, expected) in
            [(true, false, Some(4)), (true, true, None), (false, false, None), (false, true, None)]
        {
            let body = written(b"text", &content(is_decoded, is_truncated));
            assert_eq!(body["decoded_bytes"].as_u64(), expected);
            assert_eq!(body["decoded"], is_decoded);
            assert_eq!(body["content"], "text");
        }
        let empty = written(b"text", &Content { bytes: b"", ..content(true, false) });
        assert_eq!((&empty["decoded_bytes"], &empty["content"]), (&0.into(), &"".into()));
        let lost = written(b"", &Content { bytes: b"", ..content(false, true) });
        assert_eq!((&lost["captured"], &lost["content"]), (&0.into(), &serde_json::Value::Null));
    }

    /// "ä€𝄞" cut at each byte: text as far as its characters are whole.
    #[test]
    fn a_character_at_the_cut_is_left_out() {
        let text = "ä€𝄞";
        for end in 0..=text.len() {
            let bytes = &text.as_bytes()[..end];
            let body = written(bytes, &Content { bytes, is_decoded: false, is_truncated: true, flags: Flags::NONE });
            let whole = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap();
            let (captured, encoding, content) = match (end, whole) {
                (0, _) => (0, "utf8", serde_json::Value::Null),
                // Not even one character: nothing shows that it is text.
                (_, 0) => (end, "base64", "ww==".into()),
                _ => (whole, "utf8", text[..whole].into()),
            };
            assert_eq!(body["captured"], captured, "{end}");
            assert_eq!(body["encoding"], encoding, "{end}");
            assert_eq!(body["content"], content, "{end}");
        }
    }

    #[test]
    fn a_half_character_in_a_whole_body_makes_it_binary() {
        let bytes = b"ab\xc3";
        let body = written(bytes, &Content { bytes, is_decoded: false, is_truncated: false, flags: Flags::NONE });
        assert_eq!((&body["encoding"], &body["content"]), (&"base64".into(), &"YWLD".into()));
    }
}
