//! What a segment says: its handshake, acknowledgement, payload, FIN and reset, checked for plausibility and lifted to
//! offsets.

use decap::{Direction, Segment, SeqNum, TcpFlags, Timestamp};

use crate::flow::{Flow, Marks, NEAR, Phase, WINDOW};
use crate::handler::StreamHandler;
use crate::hold::Reset;
use crate::order::Arrival;
use crate::slab::NONE;
use crate::stats::DropReason;
use crate::streams::{Moment, Streams};

/// How far behind its stream a retransmission or a late copy may lie.
const BEHIND: u64 = 64 << 20;
/// How far outside its stream a late copy of a closed flow may lie, before the start.
const LATE_BEFORE: u64 = 1 << 16;
/// How far from its stream a reset may lie: behind (the mirror put it behind data), and ahead (an unscaled window and the
/// segments lost on the way).
const RESET_BEHIND: u64 = 1 << 16;
const RESET_AHEAD: u64 = 1 << 20;
/// Acknowledgements that have to agree with payload out of the window before a new connection is taken for granted.
const CONFIRMATIONS: u8 = 3;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was taken in.
    Taken,
    /// It belongs to a new connection between the same endpoints; its payload was not counted yet.
    NewConnection,
}

/// What became of an acknowledgement.
enum Acknowledged {
    /// It is this offset.
    At(u64),
    /// It is implausible.
    Nonsense,
    /// It speaks of another connection, and not for the first time.
    NewConnection,
}

impl<H: StreamHandler> Streams<H> {
    /// Takes a segment of a live flow. `now` is the flow's clock.
    #[inline]
    pub(crate) fn take(&mut self, flow: &mut Flow, segment: &Segment<'_>, now: Timestamp) -> Outcome {
        let direction = segment.direction;
        if flow.hold == NONE && !segment.payload.is_empty() && flow.is_next(direction, segment.seq) {
            // Bytes that were not seen yet are no copy: in order, the question need not be asked.
            flow.recent.remember(segment);
            return self.take_new(flow, segment, now, false);
        }
        let is_copy = self.note(flow, segment);
        self.take_new(flow, segment, now, is_copy)
    }

    #[inline]
    fn take_new(&mut self, flow: &mut Flow, segment: &Segment<'_>, now: Timestamp, is_copy: bool) -> Outcome {
        let direction = segment.direction;
        if segment.flags.rst() {
            self.take_reset(flow, segment, now);
            return Outcome::Taken;
        }
        let is_syn = segment.flags.syn();
        if is_syn {
            self.take_syn(flow, segment, now);
            let opens = !segment.flags.ack() && !segment.payload.is_empty();
            if opens && self.take_early(flow, segment, is_copy, now) {
                return Outcome::Taken;
            }
        }
        let first_byte = segment.seq.add(u32::from(is_syn));
        let offset = flow.lift(direction, first_byte);
        let mut acked = None;
        if segment.flags.ack() {
            match self.acknowledge(flow, segment, is_copy, now) {
                Acknowledged::At(offset) => acked = Some(offset),
                Acknowledged::Nonsense => {}
                Acknowledged::NewConnection => return Outcome::NewConnection,
            }
        }
        if !segment.payload.is_empty() || segment.missing > 0 || segment.flags.fin() {
            self.take_payload(flow, segment, offset, acked, is_copy, now);
        }
        Outcome::Taken
    }

    /// Takes a segment of a closed flow that lingers: late copies are absorbed, anything else is a new connection.
    pub(crate) fn take_late(&mut self, flow: &mut Flow, segment: &Segment<'_>) -> Outcome {
        let direction = segment.direction;
        let len = segment.payload.len() as u64;
        if len > 0 && !segment.flags.rst() {
            if !flow.marks[direction].has(Marks::ANCHORED) {
                return Outcome::NewConnection;
            }
            let next = flow.half[direction].next;
            let offset = segment.seq.add(u32::from(segment.flags.syn())).unwrap_near(next);
            if offset + LATE_BEFORE < flow.rest[direction].start || offset > next + NEAR {
                return Outcome::NewConnection;
            }
            let is_copy = self.note(flow, segment);
            let seen = next.saturating_sub(offset).min(len);
            self.stats.already_seen_bytes += seen;
            self.count_dropped(DropReason::AfterEnd, len - seen);
            // Whoever hears no answer sends again at longer and longer intervals. Bytes that are new speak of a
            // connection that goes on, which must not be swallowed for longer than a late copy may take.
            flow.phase = if seen == len { Phase::Late } else { Phase::Closed };
            if seen == len && !is_copy {
                self.stats.retransmitted_segments += 1;
            }
        } else {
            self.note(flow, segment);
            self.count_dropped(DropReason::AfterEnd, len);
        }
        Outcome::Taken
    }

    /// Takes a segment of a connection that may be forged.
    #[cold]
    pub(crate) fn refuse(&mut self, segment: &Segment<'_>) -> Outcome {
        self.stats.out_of_window_bytes += segment.payload.len() as u64;
        Outcome::Taken
    }

    /// Notes a segment in the flow's short memory; true when it is a copy by the mirror.
    #[inline]
    fn note(&mut self, flow: &mut Flow, segment: &Segment<'_>) -> bool {
        let is_copy = flow.recent.note(segment);
        if is_copy {
            self.stats.duplicate_segments += 1;
        } else if flow.hold != NONE
            && let Some(hold) = self.holds.get_mut(flow.hold)
        {
            hold.counter = hold.counter.wrapping_add(1);
        }
        is_copy
    }

    /// A SYN of this connection: its number fixes where the direction begins, unless bytes were handed over already.
    #[inline(never)]
    fn take_syn(&mut self, flow: &mut Flow, segment: &Segment<'_>, now: Timestamp) {
        let direction = segment.direction;
        if flow.marks[direction].has(Marks::SYN) {
            return;
        }
        if flow.initiator.is_none() {
            flow.initiator = Some(if segment.flags.ack() { direction.opposite() } else { direction });
            if core::mem::take(&mut flow.is_mid_stream) {
                // The mirror put something before the handshake.
                self.stats.mid_stream_flows -= 1;
            }
        }
        let start = flow.lift(direction, segment.seq.add(1));
        let marks = flow.marks[direction];
        let is_untouched = flow.half[direction].next == flow.rest[direction].start && !marks.has(Marks::ENDED);
        if !marks.has(Marks::ANCHORED) || is_untouched {
            flow.anchor(direction, start);
            // What was held below it is not of this stream, and comes out as seen.
            let moment = Moment { at: now, path: Some(segment.path) };
            self.settle(flow, direction, moment, now, None, 0);
        }
        if flow.rest[direction].start == start {
            flow.marks[direction].set(Marks::SYN);
            if segment.flags.ack()
                && let Some(hold) = self.holds.get_mut(flow.hold)
            {
                // It accepts the connection. A reset before it was forged, or meant an attempt that was given up.
                hold.reset = None;
            }
        }
    }

    /// The acknowledgement of a segment: an offset of the other direction, and evidence for it. It never moves a stream.
    #[inline]
    fn acknowledge(&mut self, flow: &mut Flow, segment: &Segment<'_>, is_copy: bool, now: Timestamp) -> Acknowledged {
        let direction = segment.direction.opposite();
        let marks = flow.marks[direction];
        if !marks.has(Marks::KNOWN) {
            let offset = flow.lift(direction, segment.ack);
            flow.half[direction].acked = offset;
            flow.marks[direction].set(Marks::HINTED);
            if segment.flags.syn() {
                flow.anchor(direction, offset);
            }
            return Acknowledged::At(offset);
        }
        let half = flow.half[direction];
        let offset = segment.ack.unwrap_near(half.next);
        // The common case: nothing new, or what the stream has just reached.
        if offset <= half.next.max(half.acked) && offset + BEHIND >= half.next && marks.has(Marks::ANCHORED) {
            if offset > half.acked {
                flow.half[direction].acked = offset;
            }
            return Acknowledged::At(offset);
        }
        self.acknowledge_ahead(flow, direction, segment, offset, is_copy, now)
    }

    /// An acknowledgement of what the stream has not reached, or of nothing that it could be about.
    #[inline(never)]
    fn acknowledge_ahead(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        segment: &Segment<'_>,
        mut offset: u64,
        is_copy: bool,
        now: Timestamp,
    ) -> Acknowledged {
        let (half, marks) = (flow.half[direction], flow.marks[direction]);
        if offset + BEHIND < half.next || offset > half.next + WINDOW {
            let rest = &mut flow.rest[direction];
            if rest.confirmations > 0 && is_near(rest.stray, segment.ack) && !is_copy {
                rest.confirmations += 1;
                if rest.confirmations > CONFIRMATIONS {
                    return Acknowledged::NewConnection;
                }
            }
            return Acknowledged::Nonsense;
        }
        if !marks.has(Marks::ANCHORED) {
            let moment = Moment { at: now, path: Some(segment.path) };
            if !self.acknowledge_early(flow, direction, moment, offset, segment.flags.syn()) {
                return Acknowledged::At(offset);
            }
        }
        let (half, marks) = (flow.half[direction], flow.marks[direction]);
        let is_behind_end = marks.has(Marks::FIN) && offset > flow.rest[direction].end;
        if is_behind_end && (marks.has(Marks::ENDED) || offset == flow.rest[direction].end + 1) {
            // The FIN itself, or beyond what there can be.
            offset = flow.rest[direction].end;
        }
        if offset <= half.acked {
            let is_earlier = offset < half.next && offset + NEAR >= half.next;
            if marks.has(Marks::HINTED) && is_earlier && flow.initiator.is_some() {
                // Of a connection seen from its handshake on, all acknowledgements lie behind the start. The mirror put
                // the first one later.
                flow.half[direction].next = offset;
            }
            return Acknowledged::At(offset);
        }
        let held_top = self.holds.side(flow.hold, direction).map_or(0, |side| side.top());
        let is_start = held_top == 0 || (flow.initiator.is_some() && offset + NEAR >= held_top);
        if half.acked == 0 && !marks.has(Marks::ANCHORED) && is_start {
            // Only segments without payload were seen so far, or the handshake was: the first acknowledgement is the
            // better place to start.
            flow.half[direction].next = offset;
            flow.marks[direction].set(Marks::HINTED);
        }
        let half = flow.half[direction];
        if offset > half.next.max(half.acked).max(held_top) + NEAR {
            let rest = &mut flow.rest[direction];
            if is_copy || !marks.has(Marks::FAR) || !is_near(rest.far_ack, segment.ack) {
                rest.far_ack = segment.ack;
                flow.marks[direction].set(Marks::FAR);
                return Acknowledged::At(offset);
            }
        }
        if marks.has(Marks::FIN) && offset > flow.rest[direction].end {
            self.void_fin(flow, direction);
        }
        flow.half[direction].acked = offset;
        if let Some(hold) = self.holds.get_mut(flow.hold) {
            let mark = hold.mark(now);
            hold.side[direction].confirm(offset, mark);
        }
        if segment.flags.syn() && !marks.has(Marks::ANCHORED) {
            let first = self.holds.side(flow.hold, direction).and_then(|side| side.ranges.front()).map(|r| r.start);
            if first.is_none_or(|first| first >= offset) {
                flow.anchor(direction, offset);
                let moment = Moment { at: now, path: Some(segment.path) };
                self.settle(flow, direction, moment, now, None, 0);
            }
        }
        Acknowledged::At(offset)
    }

    /// Payload, what was cut off behind it, and FIN.
    #[inline]
    fn take_payload(
        &mut self,
        flow: &mut Flow,
        segment: &Segment<'_>,
        offset: u64,
        acked: Option<u64>,
        is_copy: bool,
        now: Timestamp,
    ) {
        let direction = segment.direction;
        let moment = Moment { at: now, path: Some(segment.path) };
        if flow.half[direction].next == offset
            && flow.hold == NONE
            && flow.marks[direction].has(Marks::ANCHORED)
            && !flow.marks[direction].has(Marks::FIN)
            && !segment.flags.fin()
            && segment.missing == 0
        {
            // In order, and nothing else to it.
            flow.phase = Phase::Active;
            self.data(flow, direction, moment, segment.at, acked, segment.payload);
            return;
        }
        self.take_irregular(flow, segment, offset, acked, is_copy, moment);
    }

    /// [`Streams::take_payload`] where anything may be out of order.
    #[inline(never)]
    fn take_irregular(
        &mut self,
        flow: &mut Flow,
        segment: &Segment<'_>,
        mut offset: u64,
        acked: Option<u64>,
        is_copy: bool,
        moment: Moment<'_>,
    ) {
        let direction = segment.direction;
        let mut bytes = segment.payload;
        let end = offset + bytes.len() as u64;
        // No segment is longer than the largest window.
        let mut lost_end = end + u64::from(segment.missing).min(WINDOW);
        let half = flow.half[direction];
        if offset > half.next + WINDOW || end + BEHIND < half.next {
            self.stats.out_of_window_bytes += bytes.len() as u64;
            if !bytes.is_empty() {
                let rest = &mut flow.rest[direction];
                rest.stray = segment.seq.add(bytes.len() as u32);
                rest.confirmations = rest.confirmations.max(1);
            }
            return;
        }
        if lost_end > offset {
            flow.phase = Phase::Active;
        }
        let fin = segment.flags.fin().then_some(lost_end);
        if flow.shunted {
            self.count_shunted(flow, direction, bytes.len() as u64);
            flow.half[direction].next = half.next.max(lost_end);
            if fin.is_some() {
                flow.marks[direction].set(Marks::FIN | Marks::ENDED);
            }
            return;
        }
        if flow.marks[direction].has(Marks::ANCHORED) {
            let start = flow.rest[direction].start;
            if offset < start {
                let before = bytes.len().min((start - offset) as usize);
                if offset + 1 == half.next && bytes.len() == 1 {
                    // A keep-alive probe (RFC 9293, section 3.8.4).
                    self.stats.already_seen_bytes += 1;
                } else {
                    self.stats.out_of_window_bytes += before as u64;
                }
                bytes = bytes.get(before..).unwrap_or_default();
                offset += before as u64;
            }
        } else {
            let is_first = self.holds.side(flow.hold, direction).is_none_or(|side| side.ranges.is_empty());
            // What the peer had acknowledged when it was first heard is the start. A later acknowledgement says only how
            // much came since, captured or not.
            let start = if flow.marks[direction].has(Marks::HINTED) { half.next } else { half.acked };
            if is_first && offset == start {
                self.anchor(flow, direction, moment, offset);
            }
        }
        if flow.marks[direction].has(Marks::FIN) && !flow.marks[direction].has(Marks::ENDED) {
            let end = flow.rest[direction].end;
            let is_next = fin == Some(half.next) && half.next < end && flow.marks[direction].has(Marks::ANCHORED);
            if (lost_end > end && offset <= end + NEAR) || is_next {
                // The stream goes on behind it, or ends before it: it was forged.
                self.void_fin(flow, direction);
            }
        }
        if flow.marks[direction].has(Marks::FIN) {
            // Nothing comes behind the end.
            let limit = flow.rest[direction].end.max(offset);
            let fits = bytes.len().min((limit - offset) as usize);
            self.count_dropped(DropReason::AfterEnd, (bytes.len() - fits) as u64);
            bytes = bytes.get(..fits).unwrap_or_default();
            lost_end = lost_end.min(limit);
        }
        if !bytes.is_empty() || lost_end > offset {
            let may_probe = bytes.len() == 1 && lost_end == offset + 1 && segment.flags.0 & TcpFlags::PSH == 0;
            let arrival = Arrival { at: segment.at, acked, offset, bytes, lost_end, is_copy, may_probe };
            self.absorb(flow, direction, moment, arrival);
        }
        if let Some(end) = fin {
            self.take_fin(flow, direction, end, segment.at, acked, moment);
        }
    }

    /// A FIN whose place is `end`. The first one counts; one before what was seen or acknowledged is not believed.
    fn take_fin(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        end: u64,
        at: Timestamp,
        acked: Option<u64>,
        moment: Moment<'_>,
    ) {
        let (half, marks) = (flow.half[direction], flow.marks[direction]);
        let is_anchored = marks.has(Marks::ANCHORED);
        let held_top = self.holds.side(flow.hold, direction).map_or(0, |side| side.top());
        let is_before = (is_anchored && end < half.next) || end < held_top || half.acked > end + 1;
        let is_far = end > half.next.max(half.acked).max(held_top) + NEAR;
        if marks.has(Marks::FIN) || is_before || is_far {
            return;
        }
        flow.marks[direction].set(Marks::FIN);
        flow.rest[direction].end = end;
        // The acknowledgement of a FIN is one more than that of the last byte.
        flow.half[direction].acked = half.acked.min(end);
        if flow.shunted {
            flow.marks[direction].set(Marks::ENDED);
        } else if is_anchored && half.next == end {
            self.end(flow, direction, at, acked);
        } else {
            self.ensure_hold(flow);
            if let Some(side) = self.holds.side_mut(flow.hold, direction) {
                side.fin = Some((at, acked));
            }
            self.settle(flow, direction, moment, moment.at, None, 0);
        }
    }

    /// A FIN that the stream did not reach yet turns out not to be its end.
    #[cold]
    fn void_fin(&mut self, flow: &mut Flow, direction: Direction) {
        flow.marks[direction].clear(Marks::FIN);
        if let Some(side) = self.holds.side_mut(flow.hold, direction) {
            side.fin = None;
        }
    }

    /// A reset, believed when it lies near its stream. It takes effect later: an exact one because mirrors put it before
    /// data, another if nothing contradicts it (RFC 5961, section 3.2, has the receiver ask back).
    #[inline(never)]
    fn take_reset(&mut self, flow: &mut Flow, segment: &Segment<'_>, now: Timestamp) {
        // RFC 9293, section 3.5.3: a reset may carry a text; it is not of the stream.
        self.count_dropped(DropReason::AfterEnd, segment.payload.len() as u64);
        let direction = segment.direction;
        let (side, number) = if flow.marks[direction].has(Marks::KNOWN) {
            (direction, segment.seq)
        } else if segment.flags.ack() && flow.marks[direction.opposite()].has(Marks::KNOWN) {
            // The answer to a SYN that nobody listens to has sequence number 0, and is known by what it acknowledges.
            (direction.opposite(), segment.ack)
        } else {
            return;
        };
        let half = flow.half[side];
        let offset = number.unwrap_near(half.next);
        let low = if half.acked == 0 { half.next } else { half.next.min(half.acked) };
        if offset + RESET_BEHIND < low || offset > self.top(flow, side) + RESET_AHEAD {
            return;
        }
        let reset = Reset {
            at: segment.at,
            seen: now,
            sender: direction,
            side,
            offset,
            is_exact: self.is_exact(flow, side, offset),
            sent: self.top(flow, direction),
            acknowledged: flow.half[direction.opposite()].acked,
        };
        self.ensure_hold(flow);
        if let Some(hold) = self.holds.get_mut(flow.hold)
            && hold.reset.is_none_or(|before| reset.is_exact && !before.is_exact)
        {
            hold.reset = Some(reset);
        }
    }
}

fn is_near(one: SeqNum, other: SeqNum) -> bool {
    u64::from(one.offset_from(other).unsigned_abs()) <= NEAR
}
