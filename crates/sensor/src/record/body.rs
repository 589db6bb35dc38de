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
        let cut = body.is_truncated() || body.missing > 0;
        let as_sent = Content { bytes: body.captured, is_decoded: false, is_truncated: cut, flags: Flags::NONE };
        if body.captured.is_empty() || content_codings(message).next().is_none() {
            return as_sent;
        }
        self.decoded.clear();
        let outcome = self.decoder.decode(content_codings(message), body.captured, self.limit, &mut self.decoded);
        let mut flags = Flags::NONE;
        match outcome {
            DecodeOutcome::Identity => return as_sent,
            DecodeOutcome::Complete => {}
            // The coding of a body that was cut ends early too; that says nothing about its sender.
            DecodeOutcome::Partial if cut || !message.is_complete() => {}
            DecodeOutcome::Partial | DecodeOutcome::Failed => flags.insert(Flag::DecodeFailed),
            DecodeOutcome::Limited => flags.insert(Flag::DecodeLimit),
            DecodeOutcome::Unknown => flags.insert(Flag::UnknownContentCoding),
        }
        match outcome {
            DecodeOutcome::Complete | DecodeOutcome::Limited => {}
            DecodeOutcome::Partial | DecodeOutcome::Failed if !self.decoded.is_empty() => {}
            // Nothing came of it: better the bytes as sent than none.
            _ => return Content { flags, ..as_sent },
        }
        let is_truncated = cut || outcome != DecodeOutcome::Complete;
        Content { bytes: &self.decoded, is_decoded: true, is_truncated, flags }
    }
}

fn content_codings(message: &Message) -> impl Iterator<Item = &[u8]> {
    message
        .headers()
        .filter(|header| header.name.eq_ignore_ascii_case(b"content-encoding"))
        .map(|header| header.value)
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
