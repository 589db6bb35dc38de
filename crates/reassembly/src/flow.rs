//! One flow's slot.
//!
//! What an in-order segment touches lies in the first two cache lines; what only handshakes, ends and losses need comes
//! behind; what only out-of-order data needs is a [`crate::hold::Hold`] elsewhere; the handler's state is elsewhere too,
//! so that a flood of flows without payload costs no more than slots.

use decap::{Direction, FlowKey, SeqNum, Timestamp};

use crate::pair::Pair;
use crate::recent::Recent;
use crate::slab::NONE;

/// The coordinate that the first sequence number of a direction is lifted to, so that there is room to go back.
const EPOCH: u64 = 1 << 32;

/// The farthest that two numbers of one direction can lie apart: the largest window (RFC 7323, section 2.3).
pub(crate) const WINDOW: u64 = 1 << 30;

/// How far a number may lie beyond everything known before it needs a second witness. A forged segment that guesses
/// blindly comes this near once in a thousand times; a stream without loss never moves farther at once.
pub(crate) const NEAR: u64 = 4 << 20;

/// Where a flow is in its life; also the list that it hangs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Never carried payload.
    Quiet,
    /// Carries payload.
    Active,
    /// Over, and kept to absorb late copies.
    Closed,
    /// Over, and what was seen is still sent again: kept until that stops.
    Late,
    /// Over; the slot can go.
    Dead,
}

impl Phase {
    /// All in which a flow hangs in a list, in the order in which the lists are looked through for silence.
    pub(crate) const LISTED: [Self; 4] = [Self::Quiet, Self::Active, Self::Closed, Self::Late];

    /// Whether the flow has ended.
    #[inline]
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Late | Self::Dead)
    }
}

/// What is known of a direction, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u8);

impl Marks {
    /// Some number of the direction was seen: [`Half::next`] is a coordinate.
    pub(crate) const KNOWN: u8 = 1;
    /// The stream has a beginning: [`Half::next`] is where it stands.
    pub(crate) const ANCHORED: u8 = 1 << 1;
    /// Not anchored, and [`Half::next`] is the first acknowledgement of the peer.
    pub(crate) const HINTED: u8 = 1 << 2;
    /// A SYN was seen; [`Rest::start`] is the byte behind it.
    pub(crate) const SYN: u8 = 1 << 3;
    /// A FIN was seen; [`Rest::end`] is its place.
    pub(crate) const FIN: u8 = 1 << 4;
    /// The stream reached its FIN.
    pub(crate) const ENDED: u8 = 1 << 5;
    /// [`Rest::skip_until`] holds.
    pub(crate) const SKIP: u8 = 1 << 6;
    /// [`Rest::far_ack`] holds.
    pub(crate) const FAR: u8 = 1 << 7;

    #[inline]
    pub(crate) const fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    pub(crate) const fn set(&mut self, marks: u8) {
        self.0 |= marks;
    }

    pub(crate) const fn clear(&mut self, marks: u8) {
        self.0 &= !marks;
    }
}

/// The part of a direction that every segment touches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Half {
    /// Anchored: the next byte to hand over. Only known: the first coordinate seen.
    pub(crate) next: u64,
    /// How far the peer has acknowledged; 0 when it has not (coordinates start far above).
    pub(crate) acked: u64,
}

/// The part of a direction that is rarely touched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rest {
    /// Where the stream was anchored.
    pub(crate) start: u64,
    /// Where the FIN is.
    pub(crate) end: u64,
    /// How far the handler does not need the content.
    pub(crate) skip_until: u64,
    /// Payload bytes since the flow was shunted.
    pub(crate) shunted: u64,
    /// Where the last payload out of the window ended.
    pub(crate) stray: SeqNum,
    /// An acknowledgement that was too far ahead to be believed once.
    pub(crate) far_ack: SeqNum,
    /// 0: there is no `stray`; else 1 and the acknowledgements that agreed with it.
    pub(crate) confirmations: u8,
}

/// One flow.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    /// The flow's clock: the latest capture time of its segments.
    pub(crate) last: Timestamp,
    /// The handler's state, once the flow is opened.
    pub(crate) conn: u32,
    /// What is held out of order, while there is any.
    pub(crate) hold: u32,

    pub(crate) half: Pair<Half>,
    pub(crate) recent: Recent,

    pub(crate) marks: Pair<Marks>,
    pub(crate) phase: Phase,
    /// The list that the flow hangs in.
    pub(crate) list: Phase,
    /// The handler wants nothing more.
    pub(crate) shunted: bool,
    pub(crate) initiator: Option<Direction>,
    /// Counted as picked up without a handshake.
    pub(crate) is_mid_stream: bool,
    /// [`Flow::rival`] is one.
    pub(crate) is_contested: bool,
    pub(crate) previous_in_list: u32,
    pub(crate) next_in_list: u32,
    /// The flow's own number.
    pub(crate) id: u32,
    /// Its hash, as the table keeps it.
    pub(crate) tag: u32,
    /// Capture time of the first segment; once closed, when that was by the flow's clock.
    pub(crate) edge: Timestamp,
    pub(crate) rest: Pair<Rest>,
    /// What is known of a connection that may take the flow's place, in [`crate::streams::Streams::rivals`].
    pub(crate) rival: u32,
}

impl Flow {
    pub(crate) fn new(key: FlowKey, at: Timestamp) -> Self {
        Self {
            key,
            last: at,
            conn: NONE,
            hold: NONE,
            half: Pair::default(),
            recent: Recent::default(),
            marks: Pair::default(),
            phase: Phase::Quiet,
            list: Phase::Dead,
            shunted: false,
            initiator: None,
            is_mid_stream: false,
            is_contested: false,
            previous_in_list: NONE,
            next_in_list: NONE,
            id: NONE,
            tag: 0,
            edge: at,
            rest: Pair::default(),
            rival: NONE,
        }
    }

    /// Makes the slot that of a new connection between the same endpoints; its place in table and list stays.
    pub(crate) fn restart(&mut self, at: Timestamp) {
        debug_assert_eq!((self.conn, self.hold, self.rival), (NONE, NONE, NONE));
        *self = Self {
            list: self.list,
            previous_in_list: self.previous_in_list,
            next_in_list: self.next_in_list,
            id: self.id,
            tag: self.tag,
            ..Self::new(self.key, at)
        };
    }

    /// The coordinate of a number of `direction`, near what is known of it; the first one is where coordinates start.
    pub(crate) fn lift(&mut self, direction: Direction, number: SeqNum) -> u64 {
        if !self.marks[direction].has(Marks::KNOWN) {
            self.half[direction].next = EPOCH + u64::from(number.0);
            self.marks[direction].set(Marks::KNOWN);
        }
        number.unwrap_near(self.half[direction].next)
    }

    /// Whether a byte with this sequence number is the next to be handed over.
    #[inline]
    pub(crate) fn is_next(&self, direction: Direction, number: SeqNum) -> bool {
        self.half[direction].next as u32 == number.0 && self.marks[direction].has(Marks::ANCHORED)
    }

    /// Makes `offset` the beginning of a direction.
    pub(crate) fn anchor(&mut self, direction: Direction, offset: u64) {
        self.half[direction].next = offset;
        self.rest[direction].start = offset;
        self.marks[direction].set(Marks::ANCHORED | Marks::KNOWN);
        self.marks[direction].clear(Marks::HINTED);
    }

    /// Whether the peer acknowledged bytes that the stream has not reached. One byte alone may be a FIN that was not
    /// captured, so it says nothing while no FIN is known.
    #[inline]
    pub(crate) fn is_acked_ahead(&self, direction: Direction) -> bool {
        let half = &self.half[direction];
        half.acked > half.next + 1
    }

    /// Whether both directions ended.
    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.marks.forward.has(Marks::ENDED) && self.marks.reverse.has(Marks::ENDED)
    }

    /// Whether a SYN with the sequence number in front of `first_byte` belongs to this connection: a copy, or one that
    /// was captured late.
    pub(crate) fn is_own_syn(&self, direction: Direction, first_byte: SeqNum) -> bool {
        let marks = self.marks[direction];
        if marks.has(Marks::SYN) {
            return first_byte == SeqNum(self.rest[direction].start as u32);
        }
        if !marks.has(Marks::KNOWN) {
            return !self.phase.is_over();
        }
        if marks.has(Marks::FIN) && SeqNum(self.rest[direction].end as u32).offset_from(first_byte) < 0 {
            // A stream cannot end before it begins: the FIN was forged, or of an earlier connection.
            return false;
        }
        let known = if marks.has(Marks::ANCHORED) { self.rest[direction].start } else { self.half[direction].next };
        let ahead = SeqNum(known as u32).offset_from(first_byte);
        // Before the anchor, `known` may be a segment in the middle of the first flight, and the first data behind it.
        (-(1 << 16)..=1 << 20).contains(&ahead) && (ahead >= 0 || !marks.has(Marks::ANCHORED))
    }
}

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn the_hot_part_is_two_cache_lines() {
        assert_eq!(offset_of!(Flow, half), 64);
        assert!(offset_of!(Flow, is_contested) < 128);
        assert_eq!(size_of::<Flow>(), 256);
        assert_eq!(size_of::<Option<Flow>>(), size_of::<Flow>());
    }
}
