//! What a flow holds while something of it is out of order, lost or undecided. Most flows at most times hold nothing.

use core::mem::size_of;
use std::collections::VecDeque;

use decap::{Direction, Timestamp, TunnelPath};

use crate::pages::Pages;
use crate::pair::Pair;
use crate::slab::{NONE, Slab};
use crate::timers::Timers;

/// Emptied holds kept for use, so that a mirror that reorders all the time does not allocate all the time.
const SPARE: usize = 16;
/// Ranges for which an emptied hold keeps its memory.
const SPARE_RANGES: usize = 32;
/// Ranges for which the first one of a side makes room.
const LEAST_RANGES: usize = 2;

/// Why a range cannot be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The memory for what is out of order, of all flows.
    Pages,
    /// What one direction may hold.
    Direction,
}

/// A moment of a flow, in packet time and in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at: Timestamp,
    /// [`Hold::counter`] at that time.
    pub(crate) count: u32,
}

/// Bytes of one segment, ahead of a hole. Ranges of a direction are sorted and never overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The first byte's offset.
    pub(crate) start: u64,
    /// Bytes captured. May be 0, where a segment is known only to have been sent.
    pub(crate) len: u32,
    /// The first page, or [`NONE`] when the content is not kept.
    pub(crate) page: u32,
    /// The end of what is known to have been sent and cut off behind the captured bytes; at least [`Range::end`].
    pub(crate) lost_end: u64,
    /// Capture time of the segment.
    pub(crate) at: Timestamp,
    /// Its acknowledgement.
    pub(crate) acked: Option<u64>,
    /// When it came, by the flow's clock.
    pub(crate) seen: Timestamp,
    /// When the peer acknowledged all before it.
    pub(crate) confirmed: Option<Mark>,
    /// It looks like a keep-alive probe: one byte, without PSH.
    pub(crate) may_probe: bool,
}

impl Range {
    pub(crate) const fn end(&self) -> u64 {
        self.start + self.len as u64
    }
}

/// What one direction holds.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) ranges: VecDeque<Range>,
    /// Bytes whose content is held.
    pub(crate) held: usize,
    /// Since when the direction waits, for its anchor or for the hole in front of it.
    pub(crate) since: Option<Mark>,
    /// Nothing held behind the hole: when the peer acknowledged beyond it.
    pub(crate) acked_since: Option<Mark>,
    /// A FIN that was not reached yet: capture time and acknowledgement of its segment.
    pub(crate) fin: Option<(Timestamp, Option<u64>)>,
    /// The data of the SYN, while it is open whether the peer took it; then the direction is not anchored.
    pub(crate) early: Option<Range>,
}

/// Where an offset falls among the ranges of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// In the range at this index.
    Held(usize),
    /// Between ranges: the index a new range would get, and the start of the range behind it.
    Free(usize, u64),
}

impl Side {
    /// Where `offset` falls.
    pub(crate) fn spot(&self, offset: u64) -> Spot {
        // Most segments come behind all that is held.
        match self.ranges.back() {
            None => return Spot::Free(0, u64::MAX),
            Some(last) if last.end() <= offset => return Spot::Free(self.ranges.len(), u64::MAX),
            Some(_) => {}
        }
        let index = self.ranges.partition_point(|range| range.end() <= offset);
        match self.ranges.get(index) {
            Some(range) if range.start <= offset => Spot::Held(index),
            Some(range) => Spot::Free(index, range.start),
            None => Spot::Free(index, u64::MAX),
        }
    }

    /// The highest offset held.
    pub(crate) fn top(&self) -> u64 {
        self.ranges.back().map_or(0, Range::end)
    }

    /// Notes that the peer's acknowledgement rose to `acked`.
    pub(crate) fn confirm(&mut self, acked: u64, now: Mark) {
        if self.ranges.front().is_none_or(|first| first.start > acked) {
            return;
        }
        let until = self.ranges.partition_point(|range| range.start <= acked);
        // Those confirmed before are a prefix, but for what was put in between, which was noted then.
        for range in self.ranges.range_mut(..until).rev() {
            if range.confirmed.is_some() {
                break;
            }
            range.confirmed = Some(now);
        }
    }

    fn is_idle(&self) -> bool {
        self.ranges.is_empty()
            && self.since.is_none()
            && self.acked_since.is_none()
            && self.fin.is_none()
            && self.early.is_none()
    }

    fn clear(&mut self) {
        debug_assert!(self.ranges.is_empty() && self.early.is_none());
        self.ranges.shrink_to(SPARE_RANGES);
        (self.held, self.since, self.acked_since, self.fin) = (0, None, None, None);
    }
}

/// A reset that has not taken effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    /// Capture time.
    pub(crate) at: Timestamp,
    /// When it came, by the flow's clock.
    pub(crate) seen: Timestamp,
    /// Who seems to have sent it.
    pub(crate) sender: Direction,
    /// The direction that [`Reset::offset`] is of: the sender's, or the other when the reset is known by what it
    /// acknowledges.
    pub(crate) side: Direction,
    /// Its place.
    pub(crate) offset: u64,
    /// The place is where the stream stands.
    pub(crate) is_exact: bool,
    /// How far the sender's stream was known when it came.
    pub(crate) sent: u64,
    /// How far the sender had acknowledged.
    pub(crate) acknowledged: u64,
}

/// What one flow holds.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Whose it is.
    pub(crate) flow: u32,
    /// Segments of the flow since, copies of the mirror left out.
    pub(crate) counter: u32,
    pub(crate) side: Pair<Side>,
    /// A reset that takes effect after lingering.
    pub(crate) reset: Option<Reset>,
    /// The encapsulations of the first segment held, while the flow is not opened.
    pub(crate) path: Option<Box<TunnelPath>>,
}

impl Hold {
    pub(crate) const fn mark(&self, at: Timestamp) -> Mark {
        Mark { at, count: self.counter }
    }

    /// Whether nothing is held.
    pub(crate) fn is_idle(&self) -> bool {
        self.reset.is_none() && self.side.forward.is_idle() && self.side.reverse.is_idle()
    }

    fn allocated(&self) -> usize {
        (self.side.forward.ranges.capacity() + self.side.reverse.ranges.capacity()) * size_of::<Range>()
            + if self.path.is_some() { size_of::<TunnelPath>() } else { 0 }
    }
}

/// The holds of all flows, with their pages and deadlines.
#[derive(Debug)]
pub(crate) struct Holds {
    holds: Slab<Hold>,
    spare: Vec<Hold>,
    pub(crate) pages: Pages,
    pub(crate) timers: Timers,
}

impl Holds {
    pub(crate) fn new(page_memory: usize) -> Self {
        Self { holds: Slab::new(), spare: Vec::new(), pages: Pages::new(page_memory), timers: Timers::default() }
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&Hold> {
        self.holds.get(id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Hold> {
        self.holds.get_mut(id)
    }

    #[inline]
    pub(crate) fn side(&self, id: u32, direction: Direction) -> Option<&Side> {
        Some(&self.holds.get(id)?.side[direction])
    }

    #[inline]
    pub(crate) fn side_mut(&mut self, id: u32, direction: Direction) -> Option<&mut Side> {
        Some(&mut self.holds.get_mut(id)?.side[direction])
    }

    /// A new hold for `flow`.
    pub(crate) fn create(&mut self, flow: u32) -> u32 {
        let fresh = || Hold { flow, counter: 0, side: Pair::default(), reset: None, path: None };
        let hold = self.spare.pop().map_or_else(fresh, |spare| Hold { flow, ..spare });
        self.holds.insert(hold)
    }

    /// Bytes that a side with room for this many ranges takes, its hold with it.
    const fn cost(ranges: usize) -> usize {
        if ranges == 0 { 0 } else { ranges * size_of::<Range>() + size_of::<Hold>() }
    }

    fn costs(hold: &Hold) -> usize {
        Self::cost(hold.side.forward.ranges.capacity()) + Self::cost(hold.side.reverse.ranges.capacity())
    }

    /// Frees a hold that holds no ranges.
    pub(crate) fn release(&mut self, id: u32) {
        self.timers.remove(id);
        let Some(mut hold) = self.holds.remove(id) else { return };
        let before = Self::costs(&hold);
        let is_kept = self.spare.len() < SPARE;
        if is_kept {
            hold.side.forward.clear();
            hold.side.reverse.clear();
            (hold.counter, hold.reset, hold.path) = (0, None, None);
        }
        // What a spare one keeps goes on counting.
        self.pages.resize_ranges(before, if is_kept { Self::costs(&hold) } else { 0 });
        if is_kept {
            self.spare.push(hold);
        }
    }

    /// Puts a range into its place; its content (if it has any to keep) is copied.
    ///
    /// # Errors
    /// When there is no room, and which.
    pub(crate) fn insert(
        &mut self,
        id: u32,
        direction: Direction,
        index: usize,
        range: Range,
        content: Option<&[u8]>,
        limits: &crate::Limits,
    ) -> Result<(), Full> {
        let Some(hold) = self.holds.get_mut(id) else { return Err(Full::Pages) };
        let side = &mut hold.side[direction];
        let kept = content.map_or(0, <[u8]>::len);
        if side.ranges.len() >= limits.max_ranges_per_direction || side.held + kept > limits.max_held_per_direction {
            return Err(Full::Direction);
        }
        let before = side.ranges.capacity();
        let more = before + before.max(LEAST_RANGES);
        if side.ranges.len() == before && !self.pages.has_room_for_ranges(Self::cost(more) - Self::cost(before)) {
            return Err(Full::Pages);
        }
        let page = match content {
            Some(bytes) => self.pages.store(bytes).ok_or(Full::Pages)?,
            None => NONE,
        };
        if side.ranges.len() == before {
            side.ranges.reserve_exact(more - before);
            self.pages.resize_ranges(Self::cost(before), Self::cost(side.ranges.capacity()));
        }
        side.held += kept;
        side.ranges.insert(index, Range { page, ..range });
        Ok(())
    }

    /// Takes out the first range of a side. Its pages stay until they are released.
    pub(crate) fn pop(&mut self, id: u32, direction: Direction) -> Option<Range> {
        let side = &mut self.holds.get_mut(id)?.side[direction];
        let range = side.ranges.pop_front()?;
        let before = side.ranges.capacity();
        if before > SPARE_RANGES && side.ranges.len() < before / 4 {
            // Else many flows that once held much would keep room for it.
            side.ranges.shrink_to((side.ranges.len() * 2).max(SPARE_RANGES));
            self.pages.resize_ranges(Self::cost(before), Self::cost(side.ranges.capacity()));
        }
        if range.page != NONE {
            side.held -= range.len as usize;
        }
        Some(range)
    }

    /// Bytes allocated. Walks the holds.
    pub(crate) fn allocated(&self) -> usize {
        self.holds.allocated()
            + self.holds.iter().chain(&self.spare).map(Hold::allocated).sum::<usize>()
            + self.spare.capacity() * size_of::<Hold>()
            + self.pages.allocated()
            + self.timers.allocated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u32) -> Range {
        let at = Timestamp::ZERO;
        let lost_end = start + u64::from(len);
        Range { start, len, page: NONE, lost_end, at, acked: None, seen: at, confirmed: None, may_probe: false }
    }

    #[test]
    fn spots() {
        let side = Side { ranges: [range(10, 5), range(20, 0), range(20, 5), range(25, 5)].into(), ..Side::default() };
        assert_eq!(side.spot(0), Spot::Free(0, 10));
        assert_eq!(side.spot(9), Spot::Free(0, 10));
        assert_eq!(side.spot(14), Spot::Held(0));
        assert_eq!(side.spot(15), Spot::Free(1, 20));
        assert_eq!(side.spot(20), Spot::Held(2), "an empty range covers nothing");
        assert_eq!(side.spot(29), Spot::Held(3));
        assert_eq!(side.spot(30), Spot::Free(4, u64::MAX));
        assert_eq!(Side::default().spot(1), Spot::Free(0, u64::MAX));
    }

    #[test]
    fn acknowledgements_confirm_what_they_cover_once() {
        let mark = |nanos| Mark { at: Timestamp::from_nanos(nanos), count: 0 };
        let mut side = Side { ranges: [range(10, 5), range(20, 5), range(30, 5)].into(), ..Side::default() };
        side.confirm(5, mark(1));
        side.confirm(20, mark(2));
        side.confirm(40, mark(3));
        let times: Vec<_> = side.ranges.iter().map(|range| range.confirmed).collect();
        assert_eq!(times, [Some(mark(2)), Some(mark(2)), Some(mark(3))]);
    }

    #[test]
    fn released_holds_come_back_empty() {
        let mut holds = Holds::new(1 << 16);
        let id = holds.create(7);
        let limits = crate::Limits::default();
        assert_eq!(holds.insert(id, Direction::Forward, 0, range(5, 3), Some(b"abc"), &limits), Ok(()));
        assert_eq!(holds.side(id, Direction::Forward).unwrap().held, 3);
        let taken = holds.pop(id, Direction::Forward).unwrap();
        assert_eq!(holds.pages.slices(taken.page, 3).next(), Some(&b"abc"[..]));
        holds.pages.release(taken.page);
        assert!(holds.get(id).unwrap().is_idle());
        holds.get_mut(id).unwrap().counter = 9;
        holds.release(id);
        assert!(holds.get(id).is_none());
        let id = holds.create(8);
        assert_eq!(holds.get(id).map(|hold| (hold.flow, hold.counter)), Some((8, 0)));
    }
}
