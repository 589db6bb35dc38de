//! Data in a SYN (TCP Fast Open, RFC 7413).
//!
//! The peer may take all of it, a part or nothing: what its SYN-ACK does not acknowledge was thrown away and is sent again,
//! and what is sent again need not be the same. So such data is kept aside until an acknowledgement tells, or what the
//! client sends next does.

use decap::{Direction, Segment, Timestamp};

use crate::flow::{Flow, Marks, NEAR, Phase};
use crate::handler::StreamHandler;
use crate::hold::Range;
use crate::slab::NONE;
use crate::stats::DropReason;
use crate::streams::{Moment, Streams};

impl<H: StreamHandler> Streams<H> {
    /// Takes the payload of a SYN that opens a connection. False where nothing is open about it: it is to be taken as any
    /// other.
    #[inline(never)]
    pub(crate) fn take_early(&mut self, flow: &mut Flow, segment: &Segment<'_>, is_copy: bool, now: Timestamp) -> bool {
        let direction = segment.direction;
        let bytes = segment.payload;
        let len = bytes.len() as u64;
        let offset = flow.lift(direction, segment.seq.add(1));
        if flow.shunted || segment.flags.fin() || flow.marks[direction].has(Marks::FIN) {
            // Where the stream's end is known, it may have ended already, and nothing comes behind that.
            return false;
        }
        if self.early(flow, direction).is_some() {
            // The first copy counts, if any does.
            self.stats.already_seen_bytes += len;
            self.stats.retransmitted_segments += u64::from(!is_copy);
            return true;
        }
        let (half, marks) = (flow.half[direction], flow.marks[direction]);
        let is_first = marks.has(Marks::SYN) && marks.has(Marks::ANCHORED) && half.next == offset;
        if !is_first || offset != flow.rest[direction].start || half.acked >= offset + len {
            return false;
        }
        self.ensure_hold(flow);
        let page = self.holds.pages.store(bytes);
        let (Some(page), Some(hold)) = (page, self.holds.get_mut(flow.hold)) else {
            // A hole, unless it is sent again.
            self.count_dropped(DropReason::PageMemory, len);
            return true;
        };
        hold.side[direction].early = Some(Range {
            start: offset,
            len: bytes.len() as u32,
            page,
            lost_end: offset + len + u64::from(segment.missing),
            at: segment.at,
            acked: None,
            seen: now,
            confirmed: None,
            may_probe: false,
        });
        if flow.conn == NONE && !(segment.path.hops.is_empty() && segment.path.vlans.is_empty()) {
            hold.path.get_or_insert_with(|| Box::new(segment.path.clone()));
        }
        self.stats.held_bytes += len;
        flow.phase = Phase::Active;
        // Where the stream goes on is open until it is decided what it begins with.
        flow.marks[direction].clear(Marks::ANCHORED);
        if half.acked > 0 {
            // The mirror put the answer first.
            self.decide_early(flow, direction, Moment { at: now, path: Some(segment.path) }, half.acked);
        }
        true
    }

    /// The data of a direction's SYN, while it is open whether the peer took it.
    pub(crate) fn early(&self, flow: &Flow, direction: Direction) -> Option<&Range> {
        self.holds.side(flow.hold, direction)?.early.as_ref()
    }

    /// The peer acknowledges up to `offset`: true if that decides about the data of the SYN, or there is none; false if the
    /// acknowledgement is not of this connection's opening. `is_answer`: it is that of the SYN-ACK.
    #[cold]
    pub(crate) fn acknowledge_early(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        moment: Moment<'_>,
        offset: u64,
        is_answer: bool,
    ) -> bool {
        let Some(early) = self.early(flow, direction) else { return true };
        if offset < early.start || offset > early.lost_end + NEAR {
            return false;
        }
        // Without the answer, what is acknowledged may as well be what the client sent again; it did so from where the
        // answer told it that the peer was.
        let again = self.holds.side(flow.hold, direction).and_then(|side| side.ranges.front()).map(|range| range.start);
        let until = again.filter(|_| !is_answer).map_or(offset, |again| offset.min(again));
        self.decide_early(flow, direction, moment, until);
        true
    }

    /// An unanchored direction goes on at `offset`, which no acknowledgement told: it is the first byte known. Where the SYN
    /// had data, what is sent again was not taken, and what the client went on behind was.
    pub(crate) fn anchor(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, offset: u64) {
        if self.early(flow, direction).is_some() {
            self.decide_early(flow, direction, moment, offset);
        } else {
            let offset = offset + u64::from(self.drop_probe(flow, direction, offset));
            flow.anchor(direction, offset);
            self.settle(flow, direction, moment, moment.at, None, 0);
        }
    }

    /// Drops a keep-alive probe that is the first that was captured of a direction, at `offset`: its byte was sent and
    /// received long before (RFC 9293, section 3.8.4), and its content is made up. Whoever writes a single byte pushes it,
    /// and one that is part of more has the rest right behind it.
    fn drop_probe(&mut self, flow: &Flow, direction: Direction, offset: u64) -> bool {
        let Some(side) = self.holds.side(flow.hold, direction) else { return false };
        let is_probe = side.ranges.front().is_some_and(|range| range.may_probe && range.start == offset)
            && side.ranges.get(1).is_none_or(|next| next.start > offset + 1);
        if is_probe && let Some(range) = self.holds.pop(flow.hold, direction) {
            self.holds.pages.release(range.page);
            self.stats.held_bytes -= 1;
            self.stats.already_seen_bytes += 1;
        }
        is_probe
    }

    /// The stream begins with the data of the SYN up to `until`; the rest was not taken. Then it goes on with what is held.
    pub(crate) fn decide_early(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, until: u64) {
        let Some(mut early) = self.holds.side_mut(flow.hold, direction).and_then(|side| side.early.take()) else {
            return;
        };
        flow.anchor(direction, early.start);
        let taken = until.saturating_sub(early.start).min(u64::from(early.len));
        let refused = u64::from(early.len) - taken;
        self.stats.held_bytes -= refused;
        self.stats.out_of_window_bytes += refused;
        early.len = taken as u32;
        // Without content, the range only gives its pages back.
        self.range(flow, direction, moment, &early);
        let lost = if until > early.end() { until.min(early.lost_end) } else { 0 };
        self.settle(flow, direction, moment, early.at, None, lost);
    }
}
