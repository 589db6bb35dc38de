//! What is handed to the handler: every call of [`StreamHandler`] is made here, and every delivered byte counted.

use decap::{Direction, Timestamp, TunnelPath};

use crate::flow::{Flow, Marks, Phase};
use crate::handler::{CloseReason, Ending, FlowInfo, Position, StreamHandler, Want};
use crate::hold::{Holds, Range};
use crate::limits::Limits;
use crate::pair::BOTH;
use crate::rival::Rival;
use crate::slab::{NONE, Slab};
use crate::stats::{DropReason, Stats};

/// When something happens to a flow, by its clock, and the encapsulations of the segment that brings it about (none
/// when a deadline does).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) at: Timestamp,
    pub(crate) path: Option<&'a TunnelPath>,
}

impl Moment<'_> {
    pub(crate) const fn deadline(at: Timestamp) -> Self {
        Self { at, path: None }
    }
}

/// What becomes of held bytes that are not delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Shunted,
    OutOfWindow,
    Dropped(DropReason),
}

/// All that flows share: the handler and its states, what is held out of order, the counts.
pub(crate) struct Streams<H: StreamHandler> {
    pub(crate) handler: H,
    pub(crate) limits: Limits,
    pub(crate) stats: Stats,
    pub(crate) holds: Holds,
    /// Connections that may take a live flow's place.
    pub(crate) rivals: Slab<Rival>,
    conns: Slab<H::Conn>,
    /// Where a held range of several pages is put together, so that it is handed over in one call.
    scratch: Vec<u8>,
    /// The path of a flow opened by a deadline that came in no encapsulation.
    bare: TunnelPath,
}

impl<H: StreamHandler> Streams<H> {
    pub(crate) fn new(limits: Limits, handler: H) -> Self {
        Self {
            handler,
            stats: Stats::default(),
            holds: Holds::new(limits.page_memory),
            rivals: Slab::new(),
            conns: Slab::new(),
            scratch: Vec::new(),
            bare: TunnelPath::default(),
            limits,
        }
    }

    /// Hands over captured bytes at the place where the direction stands.
    #[inline]
    pub(crate) fn data(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        moment: Moment<'_>,
        at: Timestamp,
        acked: Option<u64>,
        bytes: &[u8],
    ) {
        if bytes.is_empty() {
            return;
        }
        if flow.conn == NONE {
            self.open(flow, moment);
        }
        let len = bytes.len() as u64;
        let offset = flow.half[direction].next;
        flow.half[direction].next = offset + len;
        if flow.shunted {
            self.count_shunted(flow, direction, len);
            return;
        }
        let Some(conn) = self.conns.get_mut(flow.conn) else { return };
        self.stats.delivered_bytes += len;
        let want = self.handler.data(conn, direction, Position { at, offset, acked }, bytes);
        self.heed(flow, direction, want);
    }

    /// Hands over a range taken out of a hold, but for what lies behind the place where the direction stands, and frees
    /// its pages.
    pub(crate) fn range(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, range: &Range) {
        let behind = (flow.half[direction].next.saturating_sub(range.start) as usize).min(range.len as usize);
        let len = range.len as usize - behind;
        self.stats.held_bytes -= u64::from(range.len);
        self.stats.already_seen_bytes += behind as u64;
        if range.page == NONE {
            self.holds.pages.release(NONE);
            self.skipped(flow, direction, moment, range, len as u64);
            return;
        }
        // Taken out of `self` for the call, which borrows both.
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.clear();
        for slice in self.holds.pages.slices(range.page, range.len as usize) {
            scratch.extend_from_slice(slice);
        }
        self.holds.pages.release(range.page);
        self.data(flow, direction, moment, range.at, range.acked, scratch.get(behind..).unwrap_or_default());
        self.scratch = scratch;
    }

    fn skipped(&mut self, flow: &mut Flow, direction: Direction, moment: Moment<'_>, range: &Range, len: u64) {
        if len == 0 {
            return;
        }
        self.open(flow, moment);
        let offset = flow.half[direction].next;
        flow.half[direction].next = offset + len;
        if flow.shunted {
            self.count_shunted(flow, direction, len);
            return;
        }
        let Some(conn) = self.conns.get_mut(flow.conn) else { return };
        self.stats.skipped_bytes += len;
        let position = Position { at: range.at, offset, acked: range.acked };
        let want = self.handler.skipped(conn, direction, position, len);
        self.heed(flow, direction, want);
    }

    /// Reports everything up to `to` as lost. `at` is when that was declared; `acked` is known for bytes cut off by the
    /// capture.
    pub(crate) fn gap(
        &mut self,
        flow: &mut Flow,
        direction: Direction,
        moment: Moment<'_>,
        at: Timestamp,
        acked: Option<u64>,
        to: u64,
    ) {
        let offset = flow.half[direction].next;
        if to <= offset {
            return;
        }
        if flow.phase == Phase::Quiet {
            // Not one byte was captured, so there is nobody to tell.
            flow.half[direction].next = to;
            return;
        }
        self.open(flow, moment);
        flow.half[direction].next = to;
        if flow.shunted {
            return;
        }
        let Some(conn) = self.conns.get_mut(flow.conn) else { return };
        self.stats.gaps += 1;
        self.stats.gap_bytes += to - offset;
        let want = self.handler.gap(conn, direction, Position { at, offset, acked }, to - offset);
        self.heed(flow, direction, want);
    }

    /// The direction reached its FIN. A flow that is not opened is told when it is.
    pub(crate) fn end(&mut self, flow: &mut Flow, direction: Direction, at: Timestamp, acked: Option<u64>) {
        flow.marks[direction].set(Marks::ENDED);
        if flow.shunted {
            return;
        }
        let Some(conn) = self.conns.get_mut(flow.conn) else { return };
        let offset = flow.half[direction].next;
        let want = self.handler.end(conn, direction, Position { at, offset, acked });
        self.heed(flow, direction, want);
    }

    /// Ends a flow: what it holds is handed over, what is missing is reported, and the slot lingers. `at` is what ended
    /// it, `now` the flow's clock.
    #[inline(never)]
    pub(crate) fn close(&mut self, flow: &mut Flow, why: CloseReason, at: Timestamp, now: Timestamp) {
        if flow.phase.is_over() {
            return;
        }
        if why == CloseReason::Evicted && flow.conn == NONE {
            // Opening a flow only to close it would make a flood of them dearer just when room is short.
            for direction in BOTH {
                self.discard(flow, direction, Fate::Dropped(DropReason::Evicted));
            }
        } else if flow.phase == Phase::Active {
            self.flush(flow, Moment::deadline(at));
        }
        self.holds.release(flow.hold);
        flow.hold = NONE;
        self.forget_rival(flow);
        flow.phase = Phase::Closed;
        flow.edge = now;
        if let Some(conn) = self.conns.remove(core::mem::replace(&mut flow.conn, NONE)) {
            if let Some(count) = self.stats.closed.get_mut(why as usize) {
                *count += 1;
            }
            let shunted = [flow.rest.forward.shunted, flow.rest.reverse.shunted];
            self.handler.close(conn, Ending { at, why, shunted });
        }
    }

    /// Takes out all that a direction holds.
    pub(crate) fn discard(&mut self, flow: &mut Flow, direction: Direction, fate: Fate) {
        let mut early = self.holds.side_mut(flow.hold, direction).and_then(|side| side.early.take());
        while let Some(range) = early.take().or_else(|| self.holds.pop(flow.hold, direction)) {
            let len = u64::from(range.len);
            self.holds.pages.release(range.page);
            self.stats.held_bytes -= len;
            match fate {
                Fate::Shunted => self.count_shunted(flow, direction, len),
                Fate::OutOfWindow => self.stats.out_of_window_bytes += len,
                Fate::Dropped(reason) => self.count_dropped(reason, len),
            }
        }
        if let Some(side) = self.holds.side_mut(flow.hold, direction) {
            (side.since, side.acked_since) = (None, None);
        }
    }

    /// Takes away all that a flow has here, whatever was going on in it, and drops what it holds; gives its connection, which
    /// is counted as closed, and how much of each direction was shunted.
    #[cold]
    pub(crate) fn relinquish(&mut self, flow: &mut Flow) -> Option<(H::Conn, [u64; 2])> {
        for direction in BOTH {
            self.discard(flow, direction, Fate::Dropped(DropReason::GivenUp));
        }
        self.holds.release(flow.hold);
        flow.hold = NONE;
        self.forget_rival(flow);
        let conn = self.conns.remove(core::mem::replace(&mut flow.conn, NONE))?;
        if let Some(count) = self.stats.closed.get_mut(CloseReason::Evicted as usize) {
            *count += 1;
        }
        Some((conn, [flow.rest.forward.shunted, flow.rest.reverse.shunted]))
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason, len: u64) {
        if let Some(count) = self.stats.dropped_bytes.get_mut(reason as usize) {
            *count += len;
        }
    }

    pub(crate) fn count_shunted(&mut self, flow: &mut Flow, direction: Direction, len: u64) {
        self.stats.shunted_bytes += len;
        flow.rest[direction].shunted += len;
    }

    /// Bytes allocated, the table not counted.
    pub(crate) fn allocated(&self) -> usize {
        self.holds.allocated() + self.rivals.allocated() + self.conns.allocated() + self.scratch.capacity()
    }

    /// Opens the flow towards the handler, if it is not.
    #[cold]
    fn open(&mut self, flow: &mut Flow, moment: Moment<'_>) {
        if flow.conn != NONE {
            return;
        }
        let held = self.holds.get_mut(flow.hold).and_then(|hold| hold.path.take());
        let path = held.as_deref().or(moment.path).unwrap_or(&self.bare);
        let info = FlowInfo { key: &flow.key, at: flow.edge, initiator: flow.initiator, path };
        flow.conn = self.conns.insert(self.handler.open(&info));
        self.stats.opened += 1;
        for direction in BOTH {
            if flow.marks[direction].has(Marks::ENDED) {
                self.end(flow, direction, moment.at, None);
            }
        }
    }

    #[inline]
    fn heed(&mut self, flow: &mut Flow, direction: Direction, want: Want) {
        match want {
            Want::More => flow.marks[direction].clear(Marks::SKIP),
            Want::Skip(len) => {
                flow.rest[direction].skip_until = flow.half[direction].next.saturating_add(len);
                flow.marks[direction].set(Marks::SKIP);
            }
            Want::Nothing => self.shunt(flow),
        }
    }

    #[cold]
    fn shunt(&mut self, flow: &mut Flow) {
        flow.shunted = true;
        for direction in BOTH {
            self.discard(flow, direction, Fate::Shunted);
            if let Some(side) = self.holds.side_mut(flow.hold, direction)
                && side.fin.take().is_some()
            {
                flow.marks[direction].set(Marks::ENDED);
            }
        }
    }
}
