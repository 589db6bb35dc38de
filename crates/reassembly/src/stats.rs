//! The ledger's lines about payload and stream bytes, and what stands beside them.

use core::ops::AddAssign;

/// Why payload bytes were dropped. A closed list: each is a label in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// The pages for out-of-order data were full.
    PageMemory,
    /// The direction held too many bytes or ranges.
    DirectionLimit,
    /// The flow was evicted while it held out-of-order data.
    Evicted,
    /// Payload on a segment that belongs to no acceptable state (after a reset, after the end of the stream).
    AfterEnd,
    /// The flow was given up ([`crate::Reassembler::give_up`]) while it held this, or was at work on it.
    GivenUp,
}

impl DropReason {
    /// Every reason, in declaration order.
    pub const ALL: &'static [Self] =
        &[Self::PageMemory, Self::DirectionLimit, Self::Evicted, Self::AfterEnd, Self::GivenUp];

    /// The stable `snake_case` name used in the ledger and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PageMemory => "page_memory",
            Self::DirectionLimit => "direction_limit",
            Self::Evicted => "evicted",
            Self::AfterEnd => "after_end",
            Self::GivenUp => "given_up",
        }
    }
}

/// Counts since the start, unless a field says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments pushed.
    pub segments: u64,
    /// Captured payload bytes pushed. The ledger's line: [`Stats::is_balanced`].
    pub payload_bytes: u64,
    /// Payload bytes handed to the handler as data.
    pub delivered_bytes: u64,
    /// Payload bytes handed to the handler as skipped, at its own wish.
    pub skipped_bytes: u64,
    /// Payload bytes of flows that the handler wanted nothing more of.
    pub shunted_bytes: u64,
    /// Payload bytes that had been seen before: retransmissions, copies of the mirror, keep-alive probes. Also those that
    /// come after their place in the stream was given up as a gap.
    pub already_seen_bytes: u64,
    /// Payload bytes outside of anything the stream could hold: before a mid-stream pick-up, far out of the window, in a SYN
    /// whose peer did not take them.
    pub out_of_window_bytes: u64,
    /// Payload bytes dropped, by reason; indexed by `DropReason as usize`.
    pub dropped_bytes: [u64; DropReason::ALL.len()],
    /// Payload bytes waiting out of order now.
    pub held_bytes: u64,
    /// Bytes reported to the handler as gaps: not part of the payload line, they were never captured.
    pub gap_bytes: u64,
    /// Gaps reported.
    pub gaps: u64,
    /// Times that a stream went on without what it waited for, lost or late, because the memory for what is out of order
    /// was full ([`crate::Limits::page_memory`]). What comes too late for that is [`Stats::already_seen_bytes`] or
    /// [`Stats::out_of_window_bytes`].
    pub forced_by_memory: u64,
    /// The same, because its direction held as much as one may.
    pub forced_by_limit: u64,
    /// Segments that were a second copy of one already seen (same IP id, near in time): the mirror copies twice.
    pub duplicate_segments: u64,
    /// Segments whose payload had all been seen before and that were not such copies.
    pub retransmitted_segments: u64,
    /// Segments that arrived ahead of a hole.
    pub out_of_order_segments: u64,
    /// Overlapping bytes whose content differed from the first copy, which won.
    pub conflicting_overlaps: u64,
    /// Flows created.
    pub flows: u64,
    /// Of those: picked up without a handshake.
    pub mid_stream_flows: u64,
    /// Flows opened towards the handler.
    pub opened: u64,
    /// Flows closed towards the handler, by `CloseReason as usize`.
    pub closed: [u64; 6],
    /// Flows evicted before their end because `max_flows` was reached.
    pub evicted_flows: u64,
    /// Flows tracked now.
    pub active_flows: u64,
}

impl Stats {
    /// `payload = delivered + skipped + shunted + already seen + out of window + dropped + held`.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.payload_bytes == self.known_bytes()
    }

    /// Payload bytes whose fate is known.
    pub(crate) fn known_bytes(&self) -> u64 {
        self.delivered_bytes
            + self.skipped_bytes
            + self.shunted_bytes
            + self.already_seen_bytes
            + self.out_of_window_bytes
            + self.dropped_bytes.iter().sum::<u64>()
            + self.held_bytes
    }
}

impl AddAssign<&Self> for Stats {
    /// Adds every count of another part of the same whole.
    fn add_assign(&mut self, part: &Self) {
        // Named one by one: a count that is new is not forgotten here.
        let Self {
            segments,
            payload_bytes,
            delivered_bytes,
            skipped_bytes,
            shunted_bytes,
            already_seen_bytes,
            out_of_window_bytes,
            dropped_bytes,
            held_bytes,
            gap_bytes,
            gaps,
            forced_by_memory,
            forced_by_limit,
            duplicate_segments,
            retransmitted_segments,
            out_of_order_segments,
            conflicting_overlaps,
            flows,
            mid_stream_flows,
            opened,
            closed,
            evicted_flows,
            active_flows,
        } = part;
        self.segments += segments;
        self.payload_bytes += payload_bytes;
        self.delivered_bytes += delivered_bytes;
        self.skipped_bytes += skipped_bytes;
        self.shunted_bytes += shunted_bytes;
        self.already_seen_bytes += already_seen_bytes;
        self.out_of_window_bytes += out_of_window_bytes;
        for (sum, count) in self.dropped_bytes.iter_mut().zip(dropped_bytes) {
            *sum += count;
        }
        self.held_bytes += held_bytes;
        self.gap_bytes += gap_bytes;
        self.gaps += gaps;
        self.forced_by_memory += forced_by_memory;
        self.forced_by_limit += forced_by_limit;
        self.duplicate_segments += duplicate_segments;
        self.retransmitted_segments += retransmitted_segments;
        self.out_of_order_segments += out_of_order_segments;
        self.conflicting_overlaps += conflicting_overlaps;
        self.flows += flows;
        self.mid_stream_flows += mid_stream_flows;
        self.opened += opened;
        for (sum, count) in self.closed.iter_mut().zip(closed) {
            *sum += count;
        }
        self.evicted_flows += evicted_flows;
        self.active_flows += active_flows;
    }
}
