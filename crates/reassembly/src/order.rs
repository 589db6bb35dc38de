//! Putting bytes in order: what is next is handed on as it lies, what is ahead of a hole is held, what was seen is
//! counted.

use decap::{Direction, Timestamp};

use crate::flow::{Flow, Marks};
use crate::handler::StreamHandler;
use crate::hold::{Full, Range, Spot};
use crate::slab::NONE;
use crate::streams::{Moment, Streams};

/// What a segment brings to its direction, cut to where it may lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// Capture time of the segment.
    pub(crate) at: Timestamp,
    /// Its acknowledgement.
    pub(crate) acked: Option<u64>,
    /// Offset of the first byte.
    pub(crate) offset: u64,
    /// The captured bytes.
    pub(crate) bytes: &'a [u8],
    /// The end of what was cut off behind them.
    pub(crate) lost_end: u64,
    /// A second copy by the mirror.
    pub(crate) is_copy: bool,
    /// It looks like a keep-alive probe.
    pub(crate) may_probe: bool,
}

impl Arrival<'_> {
    const fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The bytes between two offsets.
    fn between(&self, from: u64, to: u64) -> &[u8] {
        self.bytes.get((from - self.offset) as usize..(to - self.offset) as usize).unwrap_or_default()
    }
}

impl<H: StreamHandler> Streams<H> {
    /// The hold of a flow, made if there is none.
    pub(crate) fn ensure_hold(&mut self, flow: &mut Flow) {
        if flow.hold == NONE {
            flow.hold = self.holds.create(flow.id);
        }
    }

    /// Takes in what a segment brings: each byte is handed over, held, or counted as seen. The first copy wins.
    pub(crate) fn absorb(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, arrival: Arrival<'_>) {
        let (mut cursor, end) = (arrival.offset, arrival.end());
        let (mut fresh, mut ahead) = (false, false);
        while cursor < end {
            if flow.shunted {
                self.count_shunted(flow, direction, end - cursor);
                flow.half[direction].next = flow.half[direction].next.max(end);
                return;
            }
            let is_anchored = flow.marks[direction].has(Marks::ANCHORED);
            let next = flow.half[direction].next;
            if is_anchored && cursor < next {
                let to = end.min(next);
                self.stats.already_seen_bytes += to - cursor;
                cursor = to;
                continue;
            }
            match self.holds.side(flow.hold, direction).map_or(Spot::Free(0, u64::MAX), |side| side.spot(cursor)) {
                Spot::Held(index) => cursor = self.compare(flow, direction, index, &arrival, cursor),
                Spot::Free(..) if is_anchored && self.is_range_due(flow, direction) => {
                    self.settle(flow, direction, moment, moment.at, None, 0);
                }
                Spot::Free(index, until) if is_anchored && cursor == next => {
                    let to = end.min(until);
                    let acked = self.acked_at_first(flow, direction, &arrival, index, cursor);
                    self.data(flow, direction, moment, arrival.at, acked, arrival.between(cursor, to));
                    (cursor, fresh) = (to, true);
                }
                Spot::Free(index, until) => {
                    let to = end.min(until);
                    let acked = self.acked_at_first(flow, direction, &arrival, index, cursor);
                    let arrival = Arrival { acked, ..arrival };
                    match self.hold_back(flow, direction, moment, &arrival, index, cursor, to) {
                        Ok(()) => (cursor, fresh, ahead) = (to, true, true),
                        Err(full) => self.make_room(flow, direction, moment, cursor, full),
                    }
                }
            }
        }
        if flow.shunted {
            return;
        }
        if ahead && flow.marks[direction].has(Marks::ANCHORED) {
            self.stats.out_of_order_segments += 1;
        }
        if !fresh && !arrival.bytes.is_empty() && !arrival.is_copy {
            self.stats.retransmitted_segments += 1;
        }
        let mut lost = 0;
        if arrival.lost_end > end {
            if flow.marks[direction].has(Marks::ANCHORED) && end <= flow.half[direction].next {
                lost = arrival.lost_end;
            } else {
                self.note_lost(flow, direction, moment, &arrival);
            }
        }
        self.settle(flow, direction, moment, arrival.at, arrival.acked, lost);
    }

    /// What the sender had acknowledged when it first sent the arrival's bytes at `cursor`, which belong before the held
    /// range at `index`, if any; `None` where they came in a retransmission.
    ///
    /// A retransmission acknowledges what was received by then, which may be answers to its own bytes. It shows where its
    /// bytes fill a hole: it holds bytes that were seen before, too, or acknowledges more than bytes behind it did, which
    /// were first sent later.
    fn acked_at_first(
        &self,
        flow: &Flow,
        direction: Direction,
        arrival: &Arrival<'_>,
        index: usize,
        cursor: u64,
    ) -> Option<u64> {
        let Some(behind) = self.holds.side(flow.hold, direction).and_then(|side| side.ranges.get(index)) else {
            return arrival.acked;
        };
        let overlaps = cursor > arrival.offset || arrival.end() > behind.start;
        let acked = arrival.acked?;
        let is_first = !overlaps && behind.acked.is_none_or(|later| acked <= later);
        is_first.then_some(acked)
    }

    /// Hands over what became next: held ranges, and what is known to have been cut off by the capture, up to `lost` and
    /// behind each range. `at` and `acked` are those of the segment that `lost` comes from.
    pub(crate) fn settle(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        moment: Moment<'_>,
        mut at: Timestamp,
        mut acked: Option<u64>,
        mut lost: u64,
    ) {
        if !flow.marks[direction].has(Marks::ANCHORED) {
            return;
        }
        let before = flow.half[direction].next;
        loop {
            let next = flow.half[direction].next;
            let first = self.holds.side(flow.hold, direction).and_then(|side| side.ranges.front()).map(|r| r.start);
            match first {
                Some(start) if start <= next => {
                    let Some(range) = self.holds.pop(flow.hold, direction) else { break };
                    self.range(flow, direction, moment, &range);
                    if range.lost_end > lost {
                        (lost, at, acked) = (range.lost_end, range.at, range.acked);
                    }
                }
                _ if lost > next => {
                    let to = first.map_or(lost, |start| start.min(lost));
                    self.gap(flow, direction, moment, at, acked, to);
                }
                _ => break,
            }
        }
        let next = flow.half[direction].next;
        if let Some(side) = self.holds.side_mut(flow.hold, direction) {
            if next != before {
                // The direction moves, so its patience starts anew.
                (side.since, side.acked_since) = (None, None);
            }
            let marks = flow.marks[direction];
            if marks.has(Marks::FIN)
                && !marks.has(Marks::ENDED)
                && next >= flow.rest[direction].end
                && let Some((at, acked)) = side.fin.take()
            {
                self.end(flow, direction, at, acked);
            }
        }
    }

    /// Gives up the hole in front of the first held range or of `cursor`, whichever comes first, because there is no room
    /// to wait longer.
    #[cold]
    fn make_room(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, cursor: u64, full: Full) {
        match full {
            Full::Pages => self.stats.forced_by_memory += 1,
            Full::Direction => self.stats.forced_by_limit += 1,
        }
        let first = self.holds.side(flow.hold, direction).and_then(|side| side.ranges.front()).map(|r| r.start);
        let to = first.map_or(cursor, |start| start.min(cursor));
        if flow.marks[direction].has(Marks::ANCHORED) {
            self.give_up(flow, direction, moment, to);
        } else {
            self.anchor(flow, direction, moment, to);
        }
    }

    fn is_range_due(&self, flow: &Flow, direction: Direction) -> bool {
        self.holds
            .side(flow.hold, direction)
            .and_then(|side| side.ranges.front())
            .is_some_and(|range| range.start <= flow.half[direction].next)
    }

    /// Holds the arrival's bytes between two offsets.
    ///
    /// # Errors
    /// When there is no room.
    #[allow(clippy::too_many_arguments, reason = "one call, and a struct for it would only rename them")]
    fn hold_back(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        moment: Moment<'_>,
        arrival: &Arrival<'_>,
        index: usize,
        from: u64,
        to: u64,
    ) -> Result<(), Full> {
        self.ensure_hold(flow);
        let marks = flow.marks[direction];
        let is_needed =
            !(marks.has(Marks::ANCHORED) && marks.has(Marks::SKIP) && to <= flow.rest[direction].skip_until);
        let bytes = arrival.between(from, to);
        let Some(hold) = self.holds.get(flow.hold) else { return Err(Full::Pages) };
        let range = Range {
            start: from,
            len: bytes.len() as u32,
            page: NONE,
            lost_end: if to == arrival.end() { arrival.lost_end } else { to },
            at: arrival.at,
            acked: arrival.acked,
            seen: moment.at,
            confirmed: (flow.half[direction].acked >= from).then(|| hold.mark(moment.at)),
            may_probe: arrival.may_probe,
        };
        let content = is_needed.then_some(bytes).filter(|bytes| !bytes.is_empty());
        self.holds.insert(flow.hold, direction, index, range, content, &self.limits)?;
        self.stats.held_bytes += u64::from(range.len);
        if flow.conn == NONE
            && let Some(path) = moment.path.filter(|path| !path.hops.is_empty() || !path.vlans.is_empty())
            && let Some(hold) = self.holds.get_mut(flow.hold)
        {
            hold.path.get_or_insert_with(|| Box::new(path.clone()));
        }
        Ok(())
    }

    /// Remembers, ahead of a hole, that bytes behind the arrival's captured ones were sent but cut off.
    fn note_lost(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, arrival: &Arrival<'_>) {
        let end = arrival.end();
        self.ensure_hold(flow);
        let Some(side) = self.holds.side_mut(flow.hold, direction) else { return };
        // The last range that starts at or before `end` either reaches it, and takes the note, or a new one is needed.
        let index = side.ranges.partition_point(|range| range.start <= end);
        if let Some(range) = index.checked_sub(1).and_then(|before| side.ranges.get_mut(before))
            && range.end() >= end
        {
            range.lost_end = range.lost_end.max(arrival.lost_end);
            return;
        }
        if let Err(full) = self.hold_back(flow, direction, moment, arrival, index, end, end) {
            self.make_room(flow, direction, moment, end, full);
            self.settle(flow, direction, moment, arrival.at, arrival.acked, arrival.lost_end);
        }
    }

    /// Counts the arrival's bytes from `cursor` on that the range at `index` holds already, and those that differ.
    /// Returns where they end.
    fn compare(&mut self, flow: &Flow, direction: Direction, index: usize, arrival: &Arrival<'_>, cursor: u64) -> u64 {
        let range = self.holds.side(flow.hold, direction).and_then(|side| side.ranges.get(index)).copied();
        // Cannot be: the index was just found. Ending the walk is the safe answer.
        let Some(range) = range else { return arrival.end() };
        let to = range.end().min(arrival.end());
        self.stats.already_seen_bytes += to - cursor;
        if range.page != NONE {
            let mut again = arrival.between(cursor, to);
            let mut skip = (cursor - range.start) as usize;
            let mut differing = 0;
            for slice in self.holds.pages.slices(range.page, range.len as usize) {
                let here = slice.get(skip..).unwrap_or_default();
                skip = skip.saturating_sub(slice.len());
                let len = here.len().min(again.len());
                let (now, rest) = again.split_at_checked(len).unwrap_or_default();
                if here.get(..len) != Some(now) {
                    differing += here.iter().zip(now).filter(|(first, second)| first != second).count();
                }
                again = rest;
            }
            self.stats.conflicting_overlaps += differing as u64;
        }
        to
    }
}
