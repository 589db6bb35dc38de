//! Heads: where they end, what they say, and whether bytes look like the start of one (RFC 9112, sections 2 to 5).
//!
//! A head is read once and never copied: names and values are spans of the raw bytes. [`regular`] reads nearly all of
//! them right where they lie in a segment. The others are gathered until their end is found; then `httparse` in its strict
//! configuration reads them, and what it refuses goes through [`lines`], which reads what can be read, keeps every line,
//! and names each oddity. All three read the same head the same way.

mod end;
mod lines;
mod regular;
mod start;

use std::mem::MaybeUninit;

use crate::flags::{Flag, Flags};
use crate::message::{FramingFields, HeaderSpan, Message, MessageKind, Span, Version};

#[cfg(test)]
pub(crate) use end::work;
pub(crate) use end::{find_blank_line, find_head_end};
pub(crate) use start::{StartLine, looks_like_start};

/// Header fields that the strict reader has room for; a head with more goes to the lenient one.
const STRICT_FIELDS: usize = 64;

/// The lengths of the names of the two fields that framing looks for: Content-Length and Transfer-Encoding.
pub(crate) const FRAMING_SHORT: usize = "content-length".len();
pub(crate) const FRAMING_LONG: usize = "transfer-encoding".len();

/// A start line of which nothing certain can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedHead;

/// What a start line says; `text` is the method or the reason phrase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Start {
    text: Span,
    target: Span,
    version: Version,
    status: u16,
}

/// Where fields go, and what is noted on the way.
struct Fields<'m> {
    spans: &'m mut Vec<HeaderSpan>,
    flags: Flags,
    hosts: usize,
    max: usize,
    /// What is known of the fields that framing looks for.
    framing: FramingFields,
}

/// Reads the head that `bytes` begin with, if it is regular and whole, into `message`, whose head buffer is empty; the
/// bytes of it, as many as returned, have yet to be put there. `None`: [`parse_head`] has to read it, once it is gathered.
pub(crate) fn read_regular_head(
    kind: MessageKind,
    bytes: &[u8],
    message: &mut Message,
    max_headers: usize,
) -> Option<usize> {
    let mut fields = Fields::new(&mut message.headers, max_headers);
    let (start, len) = regular::read_head(kind, bytes, &mut fields)?;
    let (flags, framing) = (fields.flags, fields.framing);
    message.put_start(kind, start, flags, framing);
    Some(len)
}

/// Reads the head in `message.head`, which ends with its empty line or is cut short, and fills in the start line, the
/// header fields (at most `max_headers`; beyond those only a few that framing needs) and the flags.
///
/// # Errors
///
/// [`MalformedHead`] if the start line is none, or is cut: the message has no fields then.
pub(crate) fn parse_head(kind: MessageKind, message: &mut Message, max_headers: usize) -> Result<(), MalformedHead> {
    message.kind = kind;
    let mut fields = Fields::new(&mut message.headers, max_headers);
    let start = match read_strictly(kind, &message.head, &mut fields) {
        Some(start) => Some(start),
        None => {
            fields = Fields::new(&mut message.headers, max_headers);
            lines::read_head(kind, &message.head, &mut fields)
        }
    };
    let (flags, framing) = (fields.flags, fields.framing);
    match start {
        Some(start) => {
            message.put_start(kind, start, flags, framing);
            Ok(())
        }
        None => {
            message.headers.clear();
            Err(MalformedHead)
        }
    }
}

/// Reads the trailer fields that were appended to `message.head` at `from`.
pub(crate) fn parse_trailers(message: &mut Message, from: usize, max_headers: usize) {
    message.trailers.clear();
    let mut fields = Fields::new(&mut message.trailers, max_headers);
    lines::read_fields(&message.head, from, &mut fields);
    message.flags = message.flags.union(fields.flags);
}

impl Message {
    fn put_start(&mut self, kind: MessageKind, start: Start, flags: Flags, framing: FramingFields) {
        let Start { text, target, version, status } = start;
        self.kind = kind;
        self.method_or_reason = text;
        self.target = target;
        self.version = version;
        self.status = status;
        self.flags = self.flags.union(flags);
        self.framing = framing;
    }
}

impl<'m> Fields<'m> {
    /// Before the first field; the table is emptied.
    fn new(spans: &'m mut Vec<HeaderSpan>, max: usize) -> Self {
        spans.clear();
        Self { spans, flags: Flags::NONE, hosts: 0, max, framing: FramingFields::Some }
    }

    /// Notes what only the whole head tells.
    fn conclude(&mut self, kind: MessageKind, version: Version, complete: bool) {
        if kind == MessageKind::Response {
            return;
        }
        match self.hosts {
            0 if complete && version.major == 1 && version.minor >= 1 => self.flags.insert(Flag::MissingHost),
            0 | 1 => {}
            _ => self.flags.insert(Flag::DuplicateHost),
        }
    }
}

/// Reads a complete head that keeps to the grammar; `None` for any other.
fn read_strictly(kind: MessageKind, head: &[u8], fields: &mut Fields<'_>) -> Option<Start> {
    u32::try_from(head.len()).ok()?;
    let mut slots = [const { MaybeUninit::uninit() }; STRICT_FIELDS];
    let parser = httparse::ParserConfig::default();
    let (read, headers, mut start, minor) = match kind {
        MessageKind::Request => {
            let mut request = httparse::Request::new(&mut []);
            let read = parser.parse_request_with_uninit_headers(&mut request, head, &mut slots).ok()?;
            let text = span_of(head, request.method?.as_bytes())?;
            let target = span_of(head, request.path?.as_bytes())?;
            (read, request.headers, Start { text, target, ..Start::default() }, request.version?)
        }
        MessageKind::Response => {
            let mut response = httparse::Response::new(&mut []);
            let read = parser.parse_response_with_uninit_headers(&mut response, head, &mut slots).ok()?;
            let status = response.code?;
            (read, response.headers, Start { status, ..Start::default() }, response.version?)
        }
    };
    if read != httparse::Status::Complete(head.len()) || headers.len() > fields.max {
        return None;
    }
    start.version = Version { major: 1, minor };

    // httparse takes LF for CRLF: every line's end is looked at, through the start of the line behind it.
    let mut all_crlf = head.ends_with(b"\r\n\r\n");
    fields.spans.reserve(headers.len());
    fields.framing = FramingFields::None;
    for header in &*headers {
        let name = span_of(head, header.name.as_bytes())?;
        let value = span_of(head, header.value)?;
        let at = name.start as usize;
        all_crlf &= at.checked_sub(2).and_then(|before| head.get(before..at)) == Some(b"\r\n");
        match header.name.len() {
            4 => fields.hosts += usize::from(header.name.eq_ignore_ascii_case("host")),
            FRAMING_SHORT | FRAMING_LONG => fields.framing = FramingFields::Some,
            _ => {}
        }
        fields.spans.push(HeaderSpan { name, value });
    }
    if !all_crlf {
        fields.flags.insert(Flag::BareLf);
    }
    let lead = end::leading(head);
    if lead > 0 {
        fields.flags.insert(Flag::LeadingEmptyLines);
    }
    if kind == MessageKind::Response {
        // `HTTP/1.1 200` is twelve bytes; httparse gives no reason phrase that is not ASCII.
        let from = lead.checked_add(12)?;
        let line = head.get(from..)?;
        let line = line.get(..memchr::memchr(b'\n', line)?)?;
        start.text = span_of(head, lines::trim(line))?;
    }
    fields.conclude(kind, start.version, true);
    Some(start)
}

/// The span of `part`, which is a slice of `head`.
fn span_of(head: &[u8], part: &[u8]) -> Option<Span> {
    let start = part.as_ptr().addr().checked_sub(head.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|end| *end <= head.len())?;
    Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
}

#[cfg(test)]
mod tests;
