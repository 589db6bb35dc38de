//! One side of a connection: where it stands and what it is in the middle of.

use memchr::{memchr, memmem};

use super::chunked::Chunked;
use crate::flags::Flag;
use crate::message::Message;

/// What a side is in the middle of. A message being read is in [`Stream::message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The next byte starts a message or another protocol: start of the stream, or right behind a message. Bytes too few
    /// to tell wait in [`Stream::message`].
    Boundary,
    /// The end of the last message is not known: segment starts are tried for a start line. Bytes of a candidate wait in
    /// [`Stream::message`].
    Search,
    /// A head is being gathered.
    Head,
    /// In a body of which this many bytes are to come.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// In a body that ends with the stream.
    UntilClose,
}

/// One side's stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) state: State,
    /// The message being read, or a candidate for one.
    pub(super) message: Option<Box<Message>>,
    /// The offset behind the last byte or gap taken.
    pub(super) next: u64,
    /// When its latest bytes were captured.
    pub(super) at: u64,
    /// Whether a byte or a gap ever came.
    pub(super) seen: bool,
    /// How much of a head being gathered has been searched for its end.
    pub(super) scanned: u32,
    /// Bytes skipped since the last message of the connection was found.
    pub(super) searched: u64,
    /// A message may hide between the last one and the next.
    pub(super) lossy: bool,
    /// A request that may still be answered, before the next one, is not waiting any more.
    pub(super) hidden: bool,
    /// Where segments were lost behind the start of the last message, so that there is no telling what they held;
    /// `u64::MAX`: nowhere.
    pub(super) hole: u64,
    /// How many bytes of them there were.
    pub(super) hole_bytes: u32,
    /// Where a message was due that is not known: it was lost, or could not be read; `u64::MAX`: nowhere.
    pub(super) due: u64,
    /// How far the peer had been received, by what this side's bytes before those in hand said; 0: nothing did.
    pub(super) acked_before: u64,
    /// The same with those in hand.
    pub(super) acked: u64,
    /// Where the interim responses begin that came right before the next response, and `acked_before` there.
    pub(super) answer: (u64, u64),
    /// Whether there are such.
    pub(super) answer_begun: bool,
    /// What the latest bytes acknowledge that were passed over since the last message; 0: nothing.
    pub(super) unread: u64,
    /// A start line stands in the middle of bytes passed over since the last message.
    pub(super) unread_line: bool,
    /// Bytes that are known to have been sent were lost.
    pub(super) gapped: bool,
    /// The next message is found by searching.
    pub(super) resynchronized: bool,
    /// Empty lines or white space came before the next message.
    pub(super) leading: bool,
    /// An interim response came before the next response.
    pub(super) interim: bool,
    /// The body's bytes are being kept.
    pub(super) capturing: bool,
    /// The body's existence is not certain: nothing of it has come yet, and the request that would tell is not known, or
    /// a request waits for 100 (Continue).
    pub(super) doubtful: bool,
    /// The stream has ended in order.
    pub(super) ended: bool,
}

impl Stream {
    /// A stream before its first byte; `from_start`: its start is being seen.
    pub(super) fn new(from_start: bool) -> Self {
        Self {
            state: if from_start { State::Boundary } else { State::Search },
            message: None,
            next: 0,
            at: 0,
            seen: false,
            scanned: 0,
            searched: 0,
            lossy: !from_start,
            hidden: false,
            hole: u64::MAX,
            hole_bytes: 0,
            due: u64::MAX,
            acked_before: 0,
            acked: 0,
            answer: (0, 0),
            answer_begun: false,
            unread: 0,
            unread_line: false,
            gapped: false,
            resynchronized: !from_start,
            leading: false,
            interim: false,
            capturing: false,
            doubtful: false,
            ended: false,
        }
    }

    /// Takes `message` in hand: the only way there, so that none can replace another that would then be counted for ever.
    pub(super) fn hold(&mut self, message: Box<Message>) {
        debug_assert!(self.message.is_none(), "one message at a time");
        self.message = Some(message);
    }

    /// Whether a body is being read: the message in hand has its head.
    pub(super) const fn in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_) | State::UntilClose)
    }

    /// Takes note of an interim response: the answer begins with the first of those right before it.
    pub(super) fn begin_answer(&mut self, interim: &Message) {
        self.interim = true;
        if !std::mem::replace(&mut self.answer_begun, true) {
            self.answer = (interim.start.offset, interim.acked_before);
        }
    }

    /// A final response takes over what interim responses before it left.
    pub(super) fn end_answer(&mut self, response: &mut Message) {
        if std::mem::take(&mut self.interim) {
            response.flags.insert(Flag::Interim);
        }
        if std::mem::take(&mut self.answer_begun) {
            (response.answer_start, response.acked_before) = self.answer;
        }
    }

    /// The message whose body is being read.
    pub(super) fn reading(&self) -> Option<&Message> {
        if self.in_body() { self.message.as_deref() } else { None }
    }

    /// The message whose body is being read.
    pub(super) fn reading_mut(&mut self) -> Option<&mut Message> {
        if self.in_body() { self.message.as_deref_mut() } else { None }
    }

    /// Whether bytes wait that may become a message.
    pub(super) const fn has_candidate(&self) -> bool {
        self.message.is_some() && matches!(self.state, State::Boundary | State::Search)
    }

    /// The message that has begun and is not at its end.
    pub(super) fn begun_mut(&mut self) -> Option<&mut Message> {
        if matches!(self.state, State::Boundary | State::Search) { None } else { self.message.as_deref_mut() }
    }

    /// Whether a message may hide before the next one, of which the head is not whole yet, if any of it is there.
    pub(super) fn may_hide_before_next(&self) -> bool {
        let begun = self.message.as_deref().filter(|_| self.state == State::Head);
        self.lossy || self.hidden || begun.is_some_and(|next| next.after_loss || next.after_hidden)
    }

    /// Up to which offset every message start is known; `None`: nothing is.
    pub(super) fn settled(&self) -> Option<u64> {
        if self.ended {
            return Some(u64::MAX);
        }
        match (&self.message, self.in_body()) {
            (Some(message), false) => Some(message.start.offset),
            _ => self.seen.then_some(self.next),
        }
    }

    /// Takes note of captured bytes that no message is read from.
    pub(super) fn pass(&mut self, acked: Option<u64>, bytes: &[u8]) {
        self.unread = self.unread.max(acked.unwrap_or_default());
        self.unread_line |= may_hold_version(bytes);
    }

    /// The next message can only be found by searching, and others may hide before it.
    pub(super) fn lose_sync(&mut self) {
        self.state = State::Search;
        self.lossy = true;
        self.answer_begun = false;
        self.resynchronized = true;
    }
}

/// Whether the version of a start line stands in `bytes`, or begins at their end, behind their first line: that may be the
/// rest of the one lost line before.
fn may_hold_version(bytes: &[u8]) -> bool {
    const VERSION: &[u8] = b" HTTP/1.";
    let Some(bytes) = memchr(b'\n', bytes).and_then(|end| bytes.get(end..)) else { return false };
    memmem::find(bytes, VERSION).is_some()
        || (2..VERSION.len()).any(|len| bytes.ends_with(VERSION.get(..len).unwrap_or(VERSION)))
}
