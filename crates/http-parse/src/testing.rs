//! Messages made from parts, for the tests of what consumes exchanges. Never used by the parser.

use crate::message::{HeaderSpan, Message, MessageKind, Span, Version};
use crate::{Flags, Position};

/// What a [`Message`] is made of. Nothing of it is checked: a test may build what the parser never would.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Request or response.
    pub kind: MessageKind,
    /// Where and when it starts.
    pub start: Position,
    /// When its last byte was captured.
    pub end_at: u64,
    /// Whether its end was seen.
    pub complete: bool,
    /// The method of a request, the reason phrase of a response.
    pub method_or_reason: Vec<u8>,
    /// The target of a request.
    pub target: Vec<u8>,
    /// The version of the start line.
    pub version: Version,
    /// The status code of a response.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The trailer fields.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What was kept of the body.
    pub body: Vec<u8>,
    /// The body's length.
    pub body_bytes: u64,
    /// Bytes of the body that were lost.
    pub body_missing: u64,
    /// What was odd.
    pub flags: Flags,
}

impl Parts {
    /// The message, its head laid out as on the wire.
    #[must_use]
    pub fn build(&self) -> Message {
        let mut head = Vec::new();
        let (method_or_reason, target);
        match self.kind {
            MessageKind::Request => {
                method_or_reason = append(&mut head, &self.method_or_reason);
                head.push(b' ');
                target = append(&mut head, &self.target);
                append(&mut head, format!(" HTTP/{}.{}\r\n", self.version.major, self.version.minor).as_bytes());
            }
            MessageKind::Response => {
                let line = format!("HTTP/{}.{} {:03} ", self.version.major, self.version.minor, self.status);
                append(&mut head, line.as_bytes());
                method_or_reason = append(&mut head, &self.method_or_reason);
                target = Span::default();
                append(&mut head, b"\r\n");
            }
        }
        let headers = append_fields(&mut head, &self.headers);
        let head_end = self.start.offset + head.len() as u64;
        let trailers = append_fields(&mut head, &self.trailers);
        Message {
            kind: self.kind,
            start: self.start,
            head_end,
            end: head_end + 2 + self.body_bytes,
            end_at: self.end_at,
            complete: self.complete,
            head,
            method_or_reason,
            target,
            version: self.version,
            status: self.status,
            headers,
            trailers,
            body: self.body.clone(),
            body_bytes: self.body_bytes,
            body_missing: self.body_missing,
            flags: self.flags,
        }
    }
}

fn append(head: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = end_of(head);
    head.extend_from_slice(bytes);
    Span { start, end: end_of(head) }
}

fn append_fields(head: &mut Vec<u8>, fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<HeaderSpan> {
    let mut spans = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let name = append(head, name);
        append(head, b": ");
        let value = append(head, value);
        append(head, b"\r\n");
        spans.push(HeaderSpan { name, value });
    }
    spans
}

fn end_of(head: &[u8]) -> u32 {
    u32::try_from(head.len()).unwrap_or(u32::MAX)
}
