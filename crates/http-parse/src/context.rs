//! What the connections of one worker share: settings, counts, and the pools that messages come from and go back to.

use crate::message::{Message, MessageKind};
use crate::settings::Settings;
use crate::stats::Stats;
use crate::{Position, Side, message::HeaderSpan};

/// Idle messages kept for reuse.
const POOLED_MESSAGES: usize = 512;
/// Idle body buffers kept for reuse, in each of the two sizes.
const POOLED_BODIES: usize = 64;
/// A body buffer up to this capacity is a small one. Bodies whose length is known to be small take only those, so that a
/// message that waits does not sit on a large buffer.
const SMALL_BODY: usize = 4 << 10;
/// A body buffer beyond this capacity is freed when its message goes back: a few large bodies must not keep what many
/// ordinary ones need.
const POOLED_BODY: usize = 256 << 10;
/// What is reserved for a body before its first byte came, at most: a length is only what a sender says.
const MAX_PROMISED: usize = 64 << 10;
/// A head buffer beyond this capacity is freed when its message goes back to the pool: one long head must not make every
/// later message heavy.
const POOLED_HEAD: usize = 4 << 10;
/// The same for span tables, in entries.
const POOLED_SPANS: usize = 64;

/// Settings, pooled buffers and counts shared by the connections of one worker.
#[derive(Debug)]
pub struct Context {
    settings: Settings,
    pub(crate) stats: Stats,
    // Boxes, because messages move between pools, queues and connections: a move must be a pointer's, not 300 bytes'.
    #[expect(clippy::vec_box, reason = "messages travel as pointers")]
    messages: Vec<Box<Message>>,
    small_bodies: Vec<Vec<u8>>,
    large_bodies: Vec<Vec<u8>>,
    memory: usize,
    /// While bytes are read anew of which a head came to no end: whose they are, and up to where a head that starts is known
    /// to come to none.
    pub(crate) endless: Option<(Side, u64)>,
    /// While bytes are read that were held back in vain: they are not held back again.
    pub(crate) releases: bool,
}

impl Context {
    /// A context with empty pools.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            stats: Stats::default(),
            messages: Vec::new(),
            small_bodies: Vec::new(),
            large_bodies: Vec::new(),
            memory: 0,
            endless: None,
            releases: false,
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes allocated by the context and its connections now: capacities of heads, span tables, bodies and queues, in
    /// use or pooled. The [`crate::Connection`]s themselves lie with their owner and are not counted.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether a head of `side` that starts at `offset` is known to come to no end.
    pub(crate) fn is_endless(&self, side: Side, offset: u64) -> bool {
        self.endless.is_some_and(|(known, until)| known == side && offset < until)
    }

    /// Whether memory for captured bodies is used up.
    pub(crate) fn is_full(&self) -> bool {
        self.memory >= self.settings.memory
    }

    /// Whether memory is so short that what waits only to be surer should not.
    pub(crate) fn is_short(&self) -> bool {
        self.memory >= self.settings.memory / 2
    }

    /// Bytes that captured bodies may still take.
    fn left_for_bodies(&self) -> usize {
        self.settings.memory.saturating_sub(self.memory)
    }

    /// Bytes that heads, and what may become one, may still take.
    fn left_for_heads(&self) -> usize {
        self.settings.memory.saturating_add(self.settings.memory / 8).saturating_sub(self.memory)
    }

    /// Makes room for `more` bytes of head; false, and nothing has changed, when the memory for heads does not allow it.
    #[must_use]
    pub(crate) fn make_head_room(&mut self, message: &mut Message, more: usize) -> bool {
        let left = self.left_for_heads();
        let has_room = left > 0 && make_room(&mut message.head, more, self.settings.max_head, left);
        self.charge(message);
        has_room
    }

    /// Makes room for `more` bytes of body; false, and nothing has changed, when the memory for bodies does not allow it.
    #[must_use]
    pub(crate) fn make_body_room(&mut self, message: &mut Message, more: usize) -> bool {
        let left = self.left_for_bodies();
        let has_room = make_room(&mut message.body, more, self.settings.body_limit, left);
        self.charge(message);
        has_room
    }

    /// An empty message from the pool, or a new one.
    pub(crate) fn take(&mut self, kind: MessageKind, start: Position) -> Box<Message> {
        let mut message = self.messages.pop().unwrap_or_else(|| {
            self.memory += size_of::<Message>();
            Box::default()
        });
        message.reset(kind, start);
        message
    }

    /// Takes a message back.
    pub(crate) fn give_back(&mut self, mut message: Box<Message>) {
        if message.pieces.is_some() {
            self.drop_pieces(&mut message);
        }
        let body = std::mem::take(&mut message.body);
        let body_capacity = body.capacity();
        if message.head.capacity() > POOLED_HEAD {
            message.head = Vec::new();
        }
        if message.headers.capacity() > POOLED_SPANS {
            message.headers = Vec::new();
        }
        if message.trailers.capacity() > POOLED_SPANS {
            message.trailers = Vec::new();
        }
        self.memory = self.memory - message.charged.min(self.memory) + body_capacity;
        message.charged = message.allocated();
        self.memory += message.charged;
        // Above the limit nothing is pooled: what is free must not stand in the way of what is needed.
        let room = !self.is_full();
        if body_capacity > 0 {
            let pool = if body_capacity <= SMALL_BODY { &mut self.small_bodies } else { &mut self.large_bodies };
            if room && pool.len() < POOLED_BODIES && body_capacity <= POOLED_BODY {
                pool.push(body);
            } else {
                self.memory = self.memory.saturating_sub(body_capacity);
            }
        }
        if room && self.messages.len() < POOLED_MESSAGES {
            self.messages.push(message);
        } else {
            self.memory = self.memory.saturating_sub(message.charged + size_of::<Message>());
        }
    }

    /// Gives `message` an empty body buffer for `expected` bytes, or the first of them; `None`: the length is not known.
    pub(crate) fn lend_body(&mut self, message: &mut Message, expected: Option<usize>) {
        if message.body.capacity() > 0 {
            return;
        }
        let small = expected.is_some_and(|expected| expected <= SMALL_BODY);
        let pooled = if small {
            self.small_bodies.pop()
        } else {
            self.large_bodies.pop().or_else(|| expected.is_none().then(|| self.small_bodies.pop()).flatten())
        };
        if let Some(mut body) = pooled {
            body.clear();
            // The buffer was counted as the pool's; from here on it is counted as the message's.
            message.charged += body.capacity();
            message.body = body;
        }
        if let Some(expected) = expected {
            // Where this fails, so may the first bytes; those are what counts.
            let _ = self.make_body_room(message, expected.min(MAX_PROMISED));
        }
        self.charge(message);
    }

    /// Counts what `message` has allocated since it was last counted.
    pub(crate) fn charge(&mut self, message: &mut Message) {
        let allocated = message.allocated();
        self.memory = (self.memory + allocated).saturating_sub(message.charged);
        message.charged = allocated;
    }

    /// Counts the change of a queue's capacity.
    pub(crate) fn charge_queue(&mut self, before: usize, after: usize) {
        self.memory = (self.memory + after).saturating_sub(before);
    }
}

/// Makes room for `more` bytes behind those of `buffer`, which may take `left` bytes more than it has and is not meant to
/// hold more than `most`; false, and nothing has changed, when there is none.
///
/// It doubles, so that filling it costs linear work, but for more than is needed it takes half of what is left at most:
/// one buffer must not take everything.
fn make_room(buffer: &mut Vec<u8>, more: usize, most: usize, left: usize) -> bool {
    let (len, capacity) = (buffer.len(), buffer.capacity());
    if capacity - len >= more {
        return true;
    }
    let Some(needed) = len.checked_add(more) else { return false };
    let least = needed - capacity;
    if least > left {
        return false;
    }
    let growth = capacity.min(left / 2).min(most.saturating_sub(capacity)).max(least);
    buffer.try_reserve_exact(capacity - len + growth).is_ok()
}

const _: () = assert!(size_of::<HeaderSpan>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_within_what_is_left() {
        let mut buffer = Vec::new();
        let (mut left, mut steps) = (10_000_usize, 0);
        loop {
            let before = buffer.capacity();
            if !make_room(&mut buffer, 10, usize::MAX, left) {
                break;
            }
            steps += usize::from(buffer.capacity() > before);
            left -= buffer.capacity() - before;
            buffer.extend_from_slice(&[0; 10]);
        }
        assert!((9_990..=10_000).contains(&buffer.len()), "{}", buffer.len());
        assert!(steps < 30, "{steps} steps are not linear work");
    }

    #[test]
    fn room_is_not_made_beyond_what_is_meant() {
        let mut buffer = vec![0; 60];
        assert!(make_room(&mut buffer, 1, 100, usize::MAX));
        assert!(buffer.capacity() <= 100, "{}", buffer.capacity());
        assert!(!make_room(&mut buffer, usize::MAX, 100, usize::MAX));
        assert!(!make_room(&mut Vec::new(), isize::MAX as usize, usize::MAX, usize::MAX), "no allocator gives that");
    }

    #[test]
    fn a_length_is_not_believed_before_bytes_came() {
        let mut cx = Context::new(Settings { body_limit: usize::MAX, ..Settings::default() });
        let mut message = cx.take(MessageKind::Request, Position::default());
        cx.lend_body(&mut message, Some(60_000_000_000));
        assert!(message.body.capacity() <= MAX_PROMISED);
        assert!(cx.memory() <= MAX_PROMISED + size_of::<Message>());
    }
}
