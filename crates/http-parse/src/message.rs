//! One HTTP message: a raw head with a table of spans, and what was kept of its body.

use crate::Position;
use crate::connection::pieces::Pieces;
use crate::flags::Flags;

/// A range of the head buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A header field's name and value within the head buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// Request or response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A request.
    #[default]
    Request,
    /// A response.
    Response,
}

/// The protocol version of a start line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// The digit before the dot.
    pub major: u8,
    /// The digit after the dot.
    pub minor: u8,
}

/// A header field, as it stands on the wire: name in its case, value without surrounding white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The field name.
    pub name: &'a [u8],
    /// The field value; an obs-fold stands in it as it was sent.
    pub value: &'a [u8],
}

/// What is known of a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// Its length in bytes after transfer decoding, lost bytes of known position included.
    pub bytes: u64,
    /// Its first bytes, after transfer decoding: contiguous from the start, ending at the limit or at the first loss.
    pub captured: &'a [u8],
    /// Bytes of it that were lost before capture.
    pub missing: u64,
}

impl Body<'_> {
    /// Whether `captured` is less than the whole body.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        (self.captured.len() as u64) < self.bytes
    }
}

/// One HTTP message. Its buffers come from the context's pool and go back to it.
#[derive(Debug, Default)]
pub struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) start: Position,
    pub(crate) head_end: u64,
    pub(crate) end: u64,
    pub(crate) end_at: u64,
    pub(crate) complete: bool,
    pub(crate) head: Vec<u8>,
    pub(crate) method_or_reason: Span,
    pub(crate) target: Span,
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) headers: Vec<HeaderSpan>,
    pub(crate) trailers: Vec<HeaderSpan>,
    pub(crate) body: Vec<u8>,
    pub(crate) body_bytes: u64,
    pub(crate) body_missing: u64,
    pub(crate) flags: Flags,
    /// The position among the requests of the connection, from 1.
    pub(crate) index: u32,
    /// A message of the same side may have been lost between the one before and this.
    pub(crate) after_loss: bool,
    /// The same, and there were segments between the two of which nothing is known.
    pub(crate) after_hole: bool,
    /// Bytes between where those segments were lost and this message, and how many of them were lost.
    pub(crate) hole_before: (u64, u32),
    /// Bytes that the client had received since it sent the request before this one, if that is known.
    pub(crate) heard_since: Option<u64>,
    /// A message of the same side stood between the one before and this, for certain, and is not known.
    pub(crate) after_unknown: bool,
    /// A request that was not taken for the one answered only because of the unknown one before it.
    pub(crate) doubted: bool,
    /// What its header fields say of its length.
    pub(crate) framing: FramingFields,
    /// A request before this one that may still be answered is not waiting any more.
    pub(crate) after_hidden: bool,
    /// A request that acknowledges more than the request before it: the client has heard the server in between.
    pub(crate) opens_turn: bool,
    /// A request whose body was announced but never came, though nothing of it was lost.
    pub(crate) unfinished: bool,
    /// A response's start, or that of the interim responses right before it.
    pub(crate) answer_start: u64,
    /// How far the peer had been received, by what the bytes before the segment of `answer_start` said; 0: nothing did.
    pub(crate) acked_before: u64,
    /// What was decided of a response's request.
    pub(crate) match_state: MatchState,
    /// Behind a request: the offset of the first bytes that may hide another request; `u64::MAX`: none.
    pub(crate) hole_after: u64,
    /// The pieces in which a candidate came; charged apart.
    pub(crate) pieces: Option<Box<Pieces>>,
    /// The allocated bytes that the context's count holds for this message.
    pub(crate) charged: usize,
}

/// What is known of the header fields that say how long a message is, Content-Length and Transfer-Encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FramingFields {
    /// There may be some: they are to be looked at.
    #[default]
    Some,
    /// There are none.
    None,
    /// One, a Content-Length of this plain number.
    Length(u64),
}

/// What was decided of a response's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MatchState {
    /// Nothing yet.
    #[default]
    Undecided,
    /// It answers the request at the front of the queue.
    Matched,
    /// The same, unless the next message shows that requests before that one were still unanswered.
    Tentative,
    /// Its request is not known.
    Orphan,
}

impl MatchState {
    /// Whether the request at the front of the queue is, as far as is known, the one answered.
    pub(crate) const fn has_request(self) -> bool {
        matches!(self, Self::Matched | Self::Tentative)
    }
}

impl Message {
    /// Request or response.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Where its first byte stands.
    #[must_use]
    pub const fn start(&self) -> Position {
        self.start
    }

    /// When its last byte was captured: nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn end_at(&self) -> u64 {
        self.end_at
    }

    /// Whether its end was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The raw head: start line and header fields, without the empty line; trailers may follow in the same buffer but are
    /// not part of it.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        let len = usize::try_from(self.head_end.saturating_sub(self.start.offset)).unwrap_or(usize::MAX);
        self.head.get(..len.min(self.head.len())).unwrap_or_default()
    }

    /// The method of a request; empty for a response.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        match self.kind {
            MessageKind::Request => self.slice(self.method_or_reason),
            MessageKind::Response => &[],
        }
    }

    /// The request target as sent; empty for a response.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.slice(self.target)
    }

    /// The reason phrase of a response; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.kind {
            MessageKind::Request => &[],
            MessageKind::Response => self.slice(self.method_or_reason),
        }
    }

    /// The status code of a response; 0 for a request.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The version of the start line.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The header fields in wire order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'_>> {
        self.headers.iter().map(|span| self.header_at(*span))
    }

    /// The lengths of the header fields' names, each as the bit of that number; the highest stands for 63 and more.
    #[must_use]
    pub fn header_name_lengths(&self) -> u64 {
        let length = |span: &HeaderSpan| span.name.end.wrapping_sub(span.name.start).min(63);
        self.headers.iter().fold(0, |lengths, span| lengths | 1 << length(span))
    }

    /// The trailer fields in wire order.
    pub fn trailers(&self) -> impl ExactSizeIterator<Item = Header<'_>> {
        self.trailers.iter().map(|span| self.header_at(*span))
    }

    /// The value of the first header field of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        // The length tells nearly every other name apart without a look at its bytes.
        let same_length = |span: &&HeaderSpan| span.name.end.wrapping_sub(span.name.start) as usize == name.len();
        let mut fields = self.headers.iter().filter(same_length).map(|span| self.header_at(*span));
        fields.find(|header| header.name.eq_ignore_ascii_case(name.as_bytes())).map(|header| header.value)
    }

    /// What was kept of the body.
    #[must_use]
    pub fn body(&self) -> Body<'_> {
        Body { bytes: self.body_bytes, captured: &self.body, missing: self.body_missing }
    }

    /// What was odd about this message.
    #[must_use]
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether this request is known to have been sent before the answer to one that is not known itself, which starts at
    /// `answer` or behind it.
    pub(crate) fn is_sent_with_unknown(&self, answer: u64) -> bool {
        self.after_unknown && self.start.acked.is_some_and(|acked| acked <= answer)
    }

    /// Allocated bytes, without the message itself.
    pub(crate) fn allocated(&self) -> usize {
        self.head.capacity()
            + self.body.capacity()
            + (self.headers.capacity() + self.trailers.capacity()) * size_of::<HeaderSpan>()
    }

    /// Makes it a message of which nothing is known, at `start`; buffers and what is charged for them stay.
    pub(crate) fn reset(&mut self, kind: MessageKind, start: Position) {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            kind: old_kind,
            start: old_start,
            head_end,
            end,
            end_at,
            complete,
            head,
            method_or_reason,
            target,
            version,
            status,
            headers,
            trailers,
            body,
            body_bytes,
            body_missing,
            flags,
            index,
            after_loss,
            after_hole,
            hole_before,
            heard_since,
            after_unknown,
            doubted,
            framing,
            after_hidden,
            opens_turn,
            unfinished,
            answer_start,
            acked_before,
            match_state,
            hole_after,
            pieces: _,
            charged: _,
        } = self;
        (*old_kind, *old_start) = (kind, start);
        (*head_end, *end, *end_at, *complete) = (0, 0, 0, false);
        (*method_or_reason, *target) = (Span::default(), Span::default());
        (*version, *status, *index) = (Version::default(), 0, 0);
        (*body_bytes, *body_missing, *flags) = (0, 0, Flags::NONE);
        (*after_loss, *after_hidden, *opens_turn, *unfinished) = (false, false, false, false);
        (*after_hole, *after_unknown, *doubted) = (false, false, false);
        (*hole_before, *heard_since) = ((0, 0), None);
        *framing = FramingFields::Some;
        (*answer_start, *acked_before) = (start.offset, 0);
        (*match_state, *hole_after) = (MatchState::Undecided, u64::MAX);
        head.clear();
        headers.clear();
        trailers.clear();
        body.clear();
    }

    pub(crate) fn header_at(&self, span: HeaderSpan) -> Header<'_> {
        Header { name: self.slice(span.name), value: self.slice(span.value) }
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.head.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}
