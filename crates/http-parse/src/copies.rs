//! Copies of messages, packed one behind the other: for whoever is to look at them later, or on another thread.
//!
//! A message is its connection's and its context's; what is to outlive the call that shows it is copied. Many copies share
//! three buffers, so that they cost neither an allocation nor a place in the cache each.
//!
//! Invariant: the ends in `messages` never fall, and none is beyond its buffer.

use crate::message::{HeaderSpan, Message};

/// Copies of messages, in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Copies {
    messages: Vec<Packed>,
    /// Heads and bodies.
    bytes: Vec<u8>,
    /// Headers and trailers.
    spans: Vec<HeaderSpan>,
}

/// What a message has beside its buffers, which are empty here, and where the contents of those end.
#[derive(Debug)]
struct Packed {
    message: Message,
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
        messages.push(Packed { message: bare(message), head, body: bytes.len(), headers, trailers: spans.len() });
    }

    /// Makes `message` what the `n`th copy, from 0, was taken of, in the buffers that it has. False, and nothing has changed,
    /// when there are no more than `n`.
    pub fn restore(&self, n: usize, message: &mut Message) -> bool {
        let Some(copy) = self.messages.get(n) else { return false };
        let (byte, span) = self.ends(n);
        let mut buffers = core::mem::replace(message, bare(&copy.message));
        refill(&mut buffers.head, self.bytes.get(byte..copy.head));
        refill(&mut buffers.body, self.bytes.get(copy.head..copy.body));
        refill(&mut buffers.headers, self.spans.get(span..copy.headers));
        refill(&mut buffers.trailers, self.spans.get(copy.headers..copy.trailers));
        let Message { head, body, headers, trailers, .. } = buffers;
        (message.head, message.body, message.headers, message.trailers) = (head, body, headers, trailers);
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

/// A message without its buffers.
#[inline]
fn bare(message: &Message) -> Message {
    Message {
        head: Vec::new(),
        headers: Vec::new(),
        trailers: Vec::new(),
        body: Vec::new(),
        // No context counts what it has.
        charged: 0,
        ..*message
    }
}

fn refill<T: Clone>(buffer: &mut Vec<T>, contents: Option<&[T]>) {
    buffer.clear();
    buffer.extend_from_slice(contents.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Parts;
    use crate::{Flag, Flags, MessageKind, Position, Version};

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
                assert_eq!(format!("{restored:?}"), format!("{:?}", Message { charged: 0, ..clone(&messages[n]) }));
                assert_eq!(restored.head(), messages[n].head());
                assert!(restored.headers().eq(messages[n].headers()));
                assert_eq!(restored.body(), messages[n].body());
            }
            assert!(!copies.restore(messages.len(), &mut restored));
            assert!(copies.size() > messages.iter().map(|it| it.head.len() + it.body.len()).sum());
            copies.clear(if round == 1 { 100 } else { 1 << 20 });
        }
    }

    fn clone(message: &Message) -> Message {
        Message {
            head: message.head.clone(),
            headers: message.headers.clone(),
            trailers: message.trailers.clone(),
            body: message.body.clone(),
            ..*message
        }
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
