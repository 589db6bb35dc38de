//! The ledger's lines about stream bytes, messages and exchanges.

use core::ops::AddAssign;

use crate::protocol::Protocol;

/// Why a message that had begun gave no record. A closed list: each is a label in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unparsable {
    /// Its head was longer than the limit.
    HeadTooLong,
    /// Its head could not be read.
    MalformedHead,
    /// Its head was cut by a gap before anything could be read of it.
    HeadLost,
    /// Its head was cut by the end of the connection before anything could be read of it.
    HeadCut,
    /// The memory for messages was full.
    Memory,
}

impl Unparsable {
    /// Every reason, in declaration order.
    pub const ALL: &'static [Self] =
        &[Self::HeadTooLong, Self::MalformedHead, Self::HeadLost, Self::HeadCut, Self::Memory];

    /// The stable `snake_case` name used in the ledger and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeadTooLong => "head_too_long",
            Self::MalformedHead => "malformed_head",
            Self::HeadLost => "head_lost",
            Self::HeadCut => "head_cut",
            Self::Memory => "memory",
        }
    }
}

/// Counts of a context since its start, unless a field says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes pushed as data or skipped, and lengths of gaps pushed.
    pub stream_bytes: u64,
    /// Bytes of messages, kept or not.
    pub parsed_bytes: u64,
    /// Bytes lost in gaps.
    pub gap_bytes: u64,
    /// Bytes that were not HTTP/1, by `Protocol as usize`.
    pub not_http_bytes: [u64; Protocol::ALL.len()],
    /// Bytes kept now because it is not decided yet what they are.
    pub undecided_bytes: u64,
    /// Messages begun (interim responses not counted).
    pub messages: u64,
    /// Messages whose end is not reached or that wait for their partner now.
    pub pending_messages: u64,
    /// Exchanges with both request and response.
    pub paired: u64,
    /// Requests emitted without a response.
    pub unanswered: u64,
    /// Responses emitted without a request.
    pub orphans: u64,
    /// Messages that gave no record, by `Unparsable as usize`.
    pub unparsable: [u64; Unparsable::ALL.len()],
    /// Interim (1xx) responses, which are part of their exchange.
    pub interim: u64,
    /// Connections, by what they were recognized as; indexed by `Protocol as usize`.
    pub recognized: [u64; Protocol::ALL.len()],
}

impl Stats {
    /// `stream bytes = parsed + gaps + not HTTP + undecided` and
    /// `messages = 2 × paired + unanswered + orphans + unparsable + pending`.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let bytes = self.parsed_bytes + self.gap_bytes + self.not_http_bytes.iter().sum::<u64>() + self.undecided_bytes;
        let messages = 2 * self.paired
            + self.unanswered
            + self.orphans
            + self.unparsable.iter().sum::<u64>()
            + self.pending_messages;
        self.stream_bytes == bytes && self.messages == messages
    }
}

impl AddAssign<&Self> for Stats {
    /// Adds every count of another part of the same whole.
    fn add_assign(&mut self, part: &Self) {
        // Named one by one: a count that is new is not forgotten here.
        let Self {
            stream_bytes,
            parsed_bytes,
            gap_bytes,
            not_http_bytes,
            undecided_bytes,
            messages,
            pending_messages,
            paired,
            unanswered,
            orphans,
            unparsable,
            interim,
            recognized,
        } = part;
        self.stream_bytes += stream_bytes;
        self.parsed_bytes += parsed_bytes;
        self.gap_bytes += gap_bytes;
        for (sum, count) in self.not_http_bytes.iter_mut().zip(not_http_bytes) {
            *sum += count;
        }
        self.undecided_bytes += undecided_bytes;
        self.messages += messages;
        self.pending_messages += pending_messages;
        self.paired += paired;
        self.unanswered += unanswered;
        self.orphans += orphans;
        for (sum, count) in self.unparsable.iter_mut().zip(unparsable) {
            *sum += count;
        }
        self.interim += interim;
        for (sum, count) in self.recognized.iter_mut().zip(recognized) {
            *sum += count;
        }
    }
}
