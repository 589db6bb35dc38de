//! How long a flow waits, and for what.
//!
//! Deadlines are the flow's own and are computed from what it holds, never stored: [`Streams::advance`] runs them in
//! order up to a time, whether the flow's next segment brings that time or a tick does. So both give the same result.

use core::time::Duration;

use decap::{Direction, Timestamp};

use crate::flow::{Flow, Marks, NEAR, Phase};
use crate::handler::{CloseReason, StreamHandler};
use crate::hold::{Mark, Reset};
use crate::pair::BOTH;
use crate::slab::NONE;
use crate::streams::{Fate, Moment, Streams};

/// How long a direction picked up mid-stream waits for what may lie before its first segment.
const ANCHOR_WAIT: Duration = Duration::from_millis(200);
/// How many further segments of the flow it waits for. Mirrors swap neighbours; they rarely do more.
const ANCHOR_SEGMENTS: u32 = 3;
/// How many further segments of the flow make an acknowledged hole a gap: more than a mirror reorders, few enough that
/// a busy stream goes on before it holds much.
const ACKNOWLEDGED_SEGMENTS: u32 = 16;
/// How long a reset waits for data that the mirror put behind it. One that is not exactly in its place waits for
/// [`crate::Limits::linger`] whether the connection goes on.
const RESET_WAIT: Duration = Duration::from_millis(200);
/// How many ranges make bytes far ahead credible that nobody acknowledged.
const CREDIBLE_RANGES: usize = 4;

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// Nothing.
    Nothing,
    /// What may come before the first bytes seen, which are at this offset.
    Anchor(u64),
    /// A hole in front of a held range that starts at this offset.
    Range(u64),
    /// A hole in front of the FIN at this offset.
    Fin(u64),
    /// Bytes up to this offset that the peer acknowledged; nothing is held behind them.
    Acknowledged(u64),
}

/// What a flow's next deadline is about.
#[derive(Clone, Copy, Debug)]
enum Due {
    Direction(Direction),
    Reset,
    Idle,
    Linger,
}

impl<H: StreamHandler> Streams<H> {
    /// Lets the flow's clock reach `now`: acts on every deadline before it, in order.
    pub(crate) fn advance(&mut self, flow: &mut Flow, now: Timestamp) {
        while let Some((deadline, due)) = self.next_deadline(flow).filter(|&(deadline, _)| deadline < now) {
            match due {
                Due::Direction(direction) => {
                    self.expire(flow, direction, deadline);
                    self.review(flow, Moment::deadline(deadline));
                }
                Due::Reset => {
                    self.review_reset(flow, deadline);
                    if let Some(reset) = self.holds.get(flow.hold).and_then(|hold| hold.reset) {
                        self.close(flow, CloseReason::Reset, reset.at, deadline);
                    }
                }
                Due::Idle => {
                    self.close(flow, CloseReason::Idle, deadline, deadline);
                    flow.phase = Phase::Dead;
                }
                Due::Linger => flow.phase = Phase::Dead,
            }
        }
        self.schedule(flow);
    }

    /// Looks at what both directions wait for after something changed, and acts on what does not depend on time.
    #[inline]
    pub(crate) fn review(&mut self, flow: &mut Flow, moment: Moment<'_>) {
        let is_plain =
            flow.hold == NONE && !flow.is_acked_ahead(Direction::Forward) && !flow.is_acked_ahead(Direction::Reverse);
        if !is_plain {
            self.review_holes(flow, moment);
        }
        if flow.is_finished() {
            // A no-op when it is closed already.
            self.close(flow, CloseReason::Finished, moment.at, moment.at);
        }
    }

    /// Releases the flow's hold if it holds nothing any more, else sets its timer.
    #[inline]
    pub(crate) fn schedule(&mut self, flow: &mut Flow) {
        if flow.hold != NONE {
            self.schedule_hold(flow);
        }
    }

    #[inline(never)]
    fn schedule_hold(&mut self, flow: &mut Flow) {
        if self.holds.get(flow.hold).is_none_or(|hold| hold.is_idle()) {
            self.holds.release(flow.hold);
            flow.hold = NONE;
            return;
        }
        let deadlines = BOTH.map(|direction| self.deadline(flow, direction));
        let reset = self.reset_deadline(flow);
        match deadlines.into_iter().chain([reset]).flatten().min() {
            Some(deadline) => self.holds.timers.set(flow.hold, deadline),
            None => self.holds.timers.remove(flow.hold),
        }
    }

    /// Hands over all that is held and reports all that is missing: the flow ends.
    pub(crate) fn flush(&mut self, flow: &mut Flow, moment: Moment<'_>) {
        for direction in BOTH {
            loop {
                match self.pending(flow, direction) {
                    Pending::Anchor(offset) => self.start_at(flow, direction, moment, offset),
                    Pending::Range(to) => self.cross(flow, direction, moment, to),
                    Pending::Fin(end) => self.give_up(flow, direction, moment, end),
                    Pending::Acknowledged(_) => break,
                    Pending::Nothing => {
                        // A SYN's data that nothing came behind: it was sent, if not taken.
                        self.decide_early(flow, direction, moment, u64::MAX);
                        break;
                    }
                }
            }
        }
        for direction in BOTH {
            if let Pending::Acknowledged(to) = self.pending(flow, direction)
                && flow.conn != NONE
            {
                self.give_up(flow, direction, moment, to);
            }
        }
    }

    /// Reports the hole up to `to` as a gap and goes on behind it.
    pub(crate) fn give_up(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, to: u64) {
        if !flow.marks[direction].has(Marks::ANCHORED) {
            self.anchor(flow, direction, moment, flow.half[direction].next);
        }
        self.gap(flow, direction, moment, moment.at, None, to);
        self.settle(flow, direction, moment, moment.at, None, 0);
        self.restart_patience(flow, direction);
    }

    #[inline(never)]
    fn review_holes(&mut self, flow: &mut Flow, moment: Moment<'_>) {
        self.review_reset(flow, moment.at);
        for direction in BOTH {
            while self.review_direction(flow, direction, moment) {}
        }
    }

    /// One step of [`Streams::review`]; true when it changed what the direction waits for.
    fn review_direction(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>) -> bool {
        let pending = self.pending(flow, direction);
        if pending == Pending::Nothing && flow.hold == NONE {
            return false;
        }
        self.ensure_hold(flow);
        let acked = flow.half[direction].acked;
        let hinted = flow.marks[direction].has(Marks::HINTED).then_some(flow.half[direction].next);
        let Some(hold) = self.holds.get_mut(flow.hold) else { return false };
        let now = hold.mark(moment.at);
        let side = &mut hold.side[direction];
        let is_over = |mark: Option<Mark>, limit| mark.is_some_and(|mark| now.count.wrapping_sub(mark.count) >= limit);
        match pending {
            Pending::Nothing => {
                (side.since, side.acked_since) = (None, None);
                false
            }
            Pending::Anchor(offset) => {
                side.since.get_or_insert(now);
                side.acked_since = None;
                // A FIN that was acknowledged lies one before what acknowledges it.
                let is_certain =
                    Some(offset) == hinted || (offset == acked && hinted.is_none_or(|start| offset < start));
                if is_certain || is_over(side.since, ANCHOR_SEGMENTS) {
                    self.start_at(flow, direction, moment, offset);
                    return true;
                }
                false
            }
            Pending::Range(to) => {
                side.since.get_or_insert(now);
                side.acked_since = None;
                if is_over(side.ranges.front().and_then(|range| range.confirmed), ACKNOWLEDGED_SEGMENTS) {
                    self.give_up(flow, direction, moment, to);
                    return true;
                }
                false
            }
            Pending::Fin(end) => {
                side.since.get_or_insert(now);
                if acked <= flow.half[direction].next {
                    side.acked_since = None;
                    return false;
                }
                side.acked_since.get_or_insert(now);
                if is_over(side.acked_since, ACKNOWLEDGED_SEGMENTS) {
                    self.give_up(flow, direction, moment, acked.min(end));
                    return true;
                }
                false
            }
            Pending::Acknowledged(to) => {
                side.since = None;
                side.acked_since.get_or_insert(now);
                if is_over(side.acked_since, ACKNOWLEDGED_SEGMENTS) {
                    self.give_up(flow, direction, moment, to);
                    return true;
                }
                false
            }
        }
    }

    fn pending(&self, flow: &Flow, direction: Direction) -> Pending {
        let (marks, half) = (flow.marks[direction], &flow.half[direction]);
        if flow.shunted || flow.phase.is_over() || !marks.has(Marks::KNOWN) {
            return Pending::Nothing;
        }
        let side = self.holds.side(flow.hold, direction);
        let first = side.and_then(|side| side.ranges.front()).map(|range| range.start);
        let fin = (marks.has(Marks::FIN) && !marks.has(Marks::ENDED)).then(|| flow.rest[direction].end);
        if !marks.has(Marks::ANCHORED) {
            let is_hinted = marks.has(Marks::HINTED);
            if let Some(offset) = first.into_iter().chain(fin).min() {
                // What lies between the peer's first acknowledgement and the first bytes captured is a hole, unless they
                // are so far apart that one of the two is not of this stream.
                let is_near = is_hinted && offset <= half.next.max(half.acked) + NEAR;
                return Pending::Anchor(if is_near { offset.min(half.next) } else { offset });
            }
            if !is_hinted {
                return Pending::Nothing;
            }
        }
        match (first, fin) {
            (Some(start), _) => Pending::Range(start),
            (None, Some(end)) => Pending::Fin(end),
            (None, None) if flow.is_acked_ahead(direction) && flow.phase == Phase::Active => {
                // A direction that ended has nothing behind its end, whatever a forged acknowledgement says.
                if marks.has(Marks::ENDED) { Pending::Nothing } else { Pending::Acknowledged(half.acked) }
            }
            (None, None) => Pending::Nothing,
        }
    }

    /// When the direction's patience ends.
    fn deadline(&self, flow: &Flow, direction: Direction) -> Option<Timestamp> {
        let side = self.holds.side(flow.hold, direction)?;
        let acknowledged = |mark: Option<Mark>| mark.map(|mark| mark.at + self.limits.acknowledged_hole);
        let unacknowledged = side.since.map(|mark| mark.at + self.limits.hole);
        match self.pending(flow, direction) {
            Pending::Nothing => None,
            Pending::Anchor(_) => side.since.map(|mark| mark.at + ANCHOR_WAIT),
            Pending::Range(_) => {
                let confirmed = side.ranges.front().and_then(|range| range.confirmed);
                unacknowledged.into_iter().chain(acknowledged(confirmed)).min()
            }
            Pending::Fin(_) => unacknowledged.into_iter().chain(acknowledged(side.acked_since)).min(),
            Pending::Acknowledged(_) => acknowledged(side.acked_since),
        }
    }

    fn reset_deadline(&self, flow: &Flow) -> Option<Timestamp> {
        let reset = self.holds.get(flow.hold)?.reset?;
        Some(reset.seen + if reset.is_exact { RESET_WAIT } else { self.limits.linger })
    }

    /// Looks whether what came since a reset brings the stream to its place, or shows that the connection goes on.
    fn review_reset(&mut self, flow: &Flow, now: Timestamp) {
        let Some(reset) = self.holds.get(flow.hold).and_then(|hold| hold.reset).filter(|reset| !reset.is_exact) else {
            return;
        };
        let is_exact = self.is_exact(flow, reset.side, reset.offset);
        let sent = self.top(flow, reset.sender);
        let is_late = now > reset.seen + RESET_WAIT;
        let is_beyond = sent > reset.sent && (reset.side != reset.sender || sent > reset.offset);
        let goes_on = sent > reset.sent || flow.half[reset.sender.opposite()].acked > reset.acknowledged;
        let Some(hold) = self.holds.get_mut(flow.hold) else { return };
        if is_exact && !is_late {
            // The mirror put it before data.
            hold.reset = Some(Reset { is_exact, ..reset });
        } else if is_beyond || (is_late && goes_on) {
            hold.reset = None;
        }
    }

    /// Whether `offset` is where a direction stands: its next byte, its end, what its peer acknowledged.
    pub(crate) fn is_exact(&self, flow: &Flow, direction: Direction, offset: u64) -> bool {
        let (half, marks) = (flow.half[direction], flow.marks[direction]);
        let held_top = self.holds.side(flow.hold, direction).map_or(0, |side| side.top());
        let end = flow.rest[direction].end;
        offset == half.next
            || offset == half.acked
            || offset == held_top
            || (marks.has(Marks::FIN) && (offset == end || offset == end + 1))
    }

    /// How far a direction is known to have sent.
    pub(crate) fn top(&self, flow: &Flow, direction: Direction) -> u64 {
        let half = flow.half[direction];
        let held_top = self.holds.side(flow.hold, direction).map_or(0, |side| side.top());
        half.next.max(half.acked).max(held_top)
    }

    fn next_deadline(&self, flow: &Flow) -> Option<(Timestamp, Due)> {
        match flow.phase {
            Phase::Dead => return None,
            Phase::Closed => return Some((flow.edge + self.limits.linger, Due::Linger)),
            Phase::Late => return Some((flow.last + self.silence(flow.phase), Due::Linger)),
            Phase::Quiet | Phase::Active => {}
        }
        let mut soonest = (flow.last + self.silence(flow.phase), Due::Idle);
        if flow.hold == NONE {
            return Some(soonest);
        }
        // Of equal deadlines the first in this order: both directions, the reset, silence.
        if let Some(at) = self.reset_deadline(flow).filter(|&at| at <= soonest.0) {
            soonest = (at, Due::Reset);
        }
        for direction in BOTH.into_iter().rev() {
            if let Some(at) = self.deadline(flow, direction).filter(|&at| at <= soonest.0) {
                soonest = (at, Due::Direction(direction));
            }
        }
        Some(soonest)
    }

    /// The silence after which a live flow is over, or one that is over and still sent again is forgotten.
    #[inline]
    pub(crate) const fn silence(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Quiet | Phase::Late => self.limits.idle_without_payload,
            _ => self.limits.idle,
        }
    }

    /// Acts on the direction's deadline.
    fn expire(&mut self, flow: &mut Flow, direction: Direction, deadline: Timestamp) {
        let moment = Moment::deadline(deadline);
        let acked = flow.half[direction].acked;
        match self.pending(flow, direction) {
            Pending::Nothing => {}
            Pending::Anchor(offset) => self.start_at(flow, direction, moment, offset),
            Pending::Range(to) => self.cross(flow, direction, moment, to),
            Pending::Fin(end) => {
                let side = self.holds.side(flow.hold, direction);
                let is_acknowledged = side
                    .and_then(|side| side.acked_since)
                    .is_some_and(|mark| mark.at + self.limits.acknowledged_hole <= deadline);
                let to = if is_acknowledged { acked.min(end) } else { end };
                self.give_up(flow, direction, moment, to);
            }
            Pending::Acknowledged(to) => self.give_up(flow, direction, moment, to),
        }
    }

    /// Crosses the hole in front of a held range. A few bytes far ahead that nobody acknowledged are more likely forged
    /// than a stream: to follow them would make everything real look old.
    fn cross(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, to: u64) {
        let half = &flow.half[direction];
        let is_far = to > half.next.max(half.acked) + NEAR;
        let ranges = self.holds.side(flow.hold, direction).map_or(0, |side| side.ranges.len());
        if is_far && ranges < CREDIBLE_RANGES {
            self.discard(flow, direction, Fate::OutOfWindow);
        } else {
            self.give_up(flow, direction, moment, to);
        }
    }

    /// Anchors the direction at the lowest offset seen.
    fn start_at(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, offset: u64) {
        self.anchor(flow, direction, moment, offset);
        self.restart_patience(flow, direction);
    }

    /// A hole became the first one: it has been known since the range behind it came.
    fn restart_patience(&mut self, flow: &Flow, direction: Direction) {
        let Some(hold) = self.holds.get_mut(flow.hold) else { return };
        let count = hold.counter;
        let side = &mut hold.side[direction];
        side.since = side.ranges.front().map(|range| Mark { at: range.seen, count });
        side.acked_since = None;
    }
}
