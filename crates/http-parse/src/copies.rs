//! Copies of messages, packed one behind the other: for whoever is to look at them later, or on another thread.
//!
//! A message is its connection's and its context's; what is to outlive the call that shows it is copied. Many copies share
//! three buffers, so that they cost neither an allocation nor a place in the cache each.
//!
//! Invariant: the ends in `messages` never fall, and none is beyond its buffer.

use crate::message::{HeaderSpan, Message, MessageKind, Span, Version};
use crate::{Flags, Position};

/// Copies of messages, in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Copies {
    messages: Vec<Packed>,
    /// Heads and bodies.
    bytes: Vec<u8>,
    /// Headers and trailers.
    spans: Vec<HeaderSpan>,
}

/// What can be asked of a message beside what stands in its buffers, and where the contents of those end. What its connection
/// noted about it for pairing is of no use any more.
#[derive(Clone, Copy, Debug)]
struct Packed {
    kind: MessageKind,
    start: Position,
    head_end: u64,
    end_at: u64,
    complete: bool,
    method_or_reason: Span,
    target: Span,
    version: Version,
    status: u16,
    body_bytes: u64,
    body_missing: u64,
    flags: Flags,
    head: usize,
    body: usize,
    headers: usize,
    trailers: usize,
}

impl Copies {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The bytes that they take, without what is allocated beyond.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<HeaderSpan>() + self.messages.len() * size_of::<Packed>()
    }

    /// Takes a copy.
    pub fn push(&mut self, message: &Message) {
        let Self { messages, bytes, spans } = self;
        bytes.extend_from_slice(&message.head);
        let head = bytes.len();
        bytes.extend_from_slice(&message.body);
        spans.extend_from_slice(&message.headers);
        let headers = spans.len();
        spans.extend_from_slice(&message.trailers);
        messages.push(Packed {
            kind: message.kind,
            start: message.start,
            head_end: message.head_end,
            end_at: message.end_at,
            complete: message.complete,
            method_or_reason: message.method_or_reason,
            target: message.target,
            version: message.version,
            status: message.status,
            body_bytes: message.body_bytes,
            body_missing: message.body_missing,
            flags: message.flags,
            head,
            body: bytes.len(),
            headers,
            trailers: spans.len(),
        });
    }

    /// Makes `message` answer as the `n`th copied one, from 0, in the buffers that it has. False, and nothing has changed,
    /// when there are no more than `n`.
    pub fn restore(&self, n: usize, message: &mut Message) -> bool {
        let Some(copy) = self.messages.get(n) else { return false };
        let (byte, span) = self.ends(n);
        message.kind = copy.kind;
        message.start = copy.start;
        message.head_end = copy.head_end;
        message.end_at = copy.end_at;
        message.complete = copy.complete;
        message.method_or_reason = copy.method_or_reason;
        message.target = copy.target;
        message.version = copy.version;
        message.status = copy.status;
        message.body_bytes = copy.body_bytes;
        message.body_missing = copy.body_missing;
        message.flags = copy.flags;
        refill(&mut message.head, self.bytes.get(byte..copy.head));
        refill(&mut message.body, self.bytes.get(copy.head..copy.body));
        refill(&mut message.headers, self.spans.get(span..copy.headers));
        refill(&mut message.trailers, self.spans.get(copy.headers..copy.trailers));
        true
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        let (byte, span) = self.ends(len);
        self.messages.truncate(len);
        self.bytes.truncate(byte);
        self.spans.truncate(span);
    }

    /// Forgets all of them. Of each buffer's memory, `kept` bytes stay at most.
    pub fn clear(&mut self, kept: usize) {
        self.truncate(0);
        self.messages.shrink_to(kept / size_of::<Packed>());
        self.bytes.shrink_to(kept);
        self.spans.shrink_to(kept / size_of::<HeaderSpan>());
    }

    /// Where bytes and spans of the first `len` end.
    fn ends(&self, len: usize) -> (usize, usize) {
        let last = len.min(self.messages.len()).checked_sub(1);
        last.and_then(|last| self.messages.get(last)).map_or((0, 0), |copy| (copy.body, copy.trailers))
    }
}

#[inline]
fn refill<T: Copy>(buffer: &mut Vec<T>, contents: Option<&[T]>) {
    buffer.clear();
    if let Some(contents) = contents.filter(|contents| !contents.is_empty()) {
        buffer.extend_from_slice(contents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flag;
    use crate::testing::Parts;

    fn message(n: usize) -> Message {
        let fields = |count: usize, what: &str| {
            (0..count).map(|field| (format!("{what}-{field}").into(), vec![n as u8; field * 7])).collect()
        };
        let kind = if n.is_multiple_of(2) { MessageKind::Request } else { MessageKind::Response };
        let mut flags = Flags::NONE;
        if n.is_multiple_of(3) {
            flags.insert(Flag::InvalidStartLine);
        }
        let parts = Parts {
            kind,
            start: Position { at: n as u64, offset: n as u64 * 10, acked: (n % 2 == 1).then_some(7) },
            end_at: n as u64 + 1,
            complete: n.is_multiple_of(5),
            method_or_reason: vec![b'A'; n % 4],
            target: format!("/{n}").into(),
            version: Version { major: 1, minor: (n % 2) as u8 },
            status: 200 + n as u16,
            headers: fields(n % 6, "header"),
            trailers: fields(n % 3, "trailer"),
            body: vec![b'b'; n * 11 % 300],
            body_bytes: 1_000 + n as u64,
            body_missing: n as u64 % 4,
            flags,
        };
        parts.build()
    }

    /// In any order, into a message that was another, behind others that were taken back.
    #[test]
    fn a_copy_is_what_it_was_taken_of() {
        let messages: Vec<_> = (0..60).map(message).collect();
        let mut copies = Copies::default();
        let mut restored = Message::default();
        for round in 0..3 {
            assert!(copies.is_empty() && !copies.restore(0, &mut restored));
            for (n, message) in messages.iter().enumerate() {
                copies.push(message);
                copies.push(&messages[(n + 7) % messages.len()]);
                copies.truncate(n + 1);
            }
            assert_eq!(copies.len(), messages.len());
            for n in (0..messages.len()).rev().chain([3, 3, 59, 0]) {
                assert!(copies.restore(n, &mut restored));
                same(&restored, &messages[n]);
            }
            assert!(!copies.restore(messages.len(), &mut restored));
            assert!(copies.size() > messages.iter().map(|it| it.head.len() + it.body.len()).sum());
            copies.clear(if round == 1 { 100 } else { 1 << 20 });
        }
    }

    /// Whatever can be asked.
    fn same(one: &Message, other: &Message) {
        let plain = |it: &Message| (it.kind(), it.start(), it.end_at(), it.is_complete(), it.status(), it.version());
        assert_eq!(plain(one), plain(other));
        let text = |it: &Message| [it.head(), it.method(), it.target(), it.reason()].map(<[u8]>::to_vec);
        assert_eq!(text(one), text(other));
        assert!(one.headers().eq(other.headers()) && one.trailers().eq(other.trailers()));
        assert_eq!((one.body(), one.flags()), (other.body(), other.flags()));
        assert_eq!(one.header("HEADER-1"), other.header("HEADER-1"));
    }

    #[test]
    fn what_a_long_message_took_is_given_back() {
        let mut copies = Copies::default();
        let mut long = message(1);
        long.body = vec![0; 1 << 20];
        copies.push(&long);
        copies.clear(1 << 10);
        assert!(copies.bytes.capacity() <= 1 << 10);
    }
}
