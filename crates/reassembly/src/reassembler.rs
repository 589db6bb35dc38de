//! The state machine over all flows.

use core::fmt;
use core::mem::size_of;

use decap::{FlowKey, Segment, Timestamp};

use crate::flow::{Flow, Phase};
use crate::handler::{CloseReason, Ending, StreamHandler};
use crate::intake::Outcome;
use crate::limits::Limits;
use crate::rival::Contest;
use crate::slab::NONE;
use crate::stats::{DropReason, Stats};
use crate::streams::{Moment, Streams};
use crate::table::FlowTable;

/// Flows that may be over are looked for when one is added, this many at a time: more than one, so that the table
/// shrinks even if nobody calls [`Reassembler::tick`]. Where somebody does, ticks alone say that time has passed: one
/// flow's segment must not end another, or it would matter which flows share a reassembler.
const REAPED_PER_NEW_FLOW: usize = 2;

/// Puts segments in order, flow by flow, and drives a [`StreamHandler`] with what comes out.
pub struct Reassembler<H: StreamHandler> {
    table: FlowTable,
    streams: Streams<H>,
    /// [`Limits::idle`], to compare with at every segment.
    idle_nanos: u64,
    /// The latest time that was pushed or ticked.
    now: Timestamp,
    /// The time of the latest tick, once there was one.
    ticked: Option<Timestamp>,
    /// Before this no silence and no lingering ends.
    silent_until: Timestamp,
    /// The flow whose clock is moved on for another reason than a segment of its own.
    in_work: u32,
}

impl<H: StreamHandler> Reassembler<H> {
    /// A reassembler with no flows.
    #[must_use]
    pub fn new(limits: Limits, handler: H) -> Self {
        Self {
            table: FlowTable::new(limits.seed),
            idle_nanos: u64::try_from(limits.idle.as_nanos()).unwrap_or(u64::MAX),
            streams: Streams::new(limits, handler),
            now: Timestamp::ZERO,
            ticked: None,
            silent_until: Timestamp::ZERO,
            in_work: NONE,
        }
    }

    /// Takes the next captured segment.
    ///
    /// Deadlines of its flow that lie before its capture time act first. Within a flow, time never runs back: a segment
    /// captured before its predecessor counts as captured with it, for deadlines.
    #[inline]
    pub fn push(&mut self, segment: &Segment<'_>) {
        self.streams.stats.segments += 1;
        self.streams.stats.payload_bytes += segment.payload.len() as u64;
        self.now = segment.at;
        let Some(id) = self.table.find(&segment.key).or_else(|| self.add(segment)) else { return };
        let Some(flow) = self.table.flow_mut(id) else { return };
        let now = flow.last.max(segment.at);
        let mut is_new = false;
        let is_silent = now.as_nanos() - flow.last.as_nanos() > self.idle_nanos;
        if flow.hold != NONE || flow.phase != Phase::Active || is_silent {
            self.streams.advance(flow, now);
            if flow.phase == Phase::Dead {
                if segment.flags.rst() {
                    // As if a tick had let the slot go: a reset begins no flow.
                    self.streams.count_dropped(DropReason::AfterEnd, segment.payload.len() as u64);
                    self.table.remove(id);
                    self.streams.stats.active_flows = self.table.len() as u64;
                    return;
                }
                restart(&mut self.streams, flow, segment);
                is_new = true;
            }
        }
        let mut is_foreign = false;
        if segment.flags.syn() || flow.is_contested {
            match self.streams.contest(flow, segment, now) {
                Contest::Own => {}
                Contest::Foreign => is_foreign = true,
                Contest::Won(rival) => {
                    self.streams.close(flow, CloseReason::Reused, now, now);
                    restart(&mut self.streams, flow, segment);
                    flow.adopt(&rival);
                    if core::mem::take(&mut flow.is_mid_stream) {
                        self.streams.stats.mid_stream_flows -= 1;
                    }
                    is_new = true;
                }
            }
        }
        let outcome = match flow.phase {
            _ if is_foreign => self.streams.refuse(segment),
            Phase::Closed | Phase::Late => self.streams.take_late(flow, segment),
            _ => self.streams.take(flow, segment, now),
        };
        if outcome == Outcome::NewConnection {
            self.streams.close(flow, CloseReason::Reused, now, now);
            restart(&mut self.streams, flow, segment);
            is_new = true;
            self.streams.take(flow, segment, now);
        }
        if !flow.phase.is_over() {
            self.streams.review(flow, Moment { at: now, path: Some(segment.path) });
            self.streams.schedule(flow);
        }
        let is_unit_over = FlowTable::is_unit_over(flow.last, now);
        flow.last = now;
        if flow.phase != flow.list || is_new || (is_unit_over && flow.phase != Phase::Closed) {
            self.table.relist(id);
            self.expect_silence(id);
        }
    }

    /// Lets packet time pass: gives up holes and flows whose deadline is before `now`. Cheap when nothing is due.
    ///
    /// What a handler sees of a flow does not depend on how often this is called, provided that no segment captured
    /// before `now` follows; a caller whose sources' clocks differ ticks that much later. Silent flows may be noticed up
    /// to about a second late; their end is reported as when it was due.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = now;
        self.ticked = Some(now);
        while let Some((_, hold)) = self.streams.holds.timers.soonest().filter(|&(deadline, _)| deadline < now) {
            let flow = self.streams.holds.get(hold).map_or(NONE, |hold| hold.flow);
            if self.table.flow_mut(flow).is_none() {
                // Cannot be; but a timer without a flow must not keep the loop going.
                self.streams.holds.timers.remove(hold);
            }
            self.advance(flow, now);
            self.in_work = NONE;
        }
        if now > self.silent_until {
            self.reap(now, usize::MAX);
            self.silent_until = Timestamp::from_nanos(u64::MAX);
            for phase in Phase::LISTED {
                if let Some(id) = self.table.oldest(phase).map(|flow| flow.id) {
                    self.expect_silence(id);
                }
            }
        }
    }

    /// Ends every flow: the input has ended.
    ///
    /// Deadlines before the latest time pushed or ticked act first, so that a flow that had been silent for long ends for
    /// that reason. With several reassemblers on parts of one input, tick each to the input's last time before.
    pub fn finish(&mut self) {
        for phase in [Phase::Active, Phase::Quiet, Phase::Closed, Phase::Late] {
            while let Some(id) = self.table.oldest(phase).map(|flow| flow.id) {
                self.advance(id, self.now);
                if let Some(flow) = self.table.flow_mut(id) {
                    let at = flow.last;
                    self.streams.close(flow, CloseReason::EndOfInput, at, at);
                    self.table.remove(id);
                }
                self.in_work = NONE;
            }
        }
        self.streams.stats.active_flows = self.table.len() as u64;
    }

    /// Forgets the flow at work on which [`Reassembler::push`], [`Reassembler::tick`] or [`Reassembler::finish`] panicked,
    /// so that its slot, its pages and its deadline do not stay behind, nor bring about the panic again. `key` is the
    /// segment's, if it was one. What the flow held, and what was not yet accounted for, is dropped as
    /// [`DropReason::GivenUp`]; the handler is told that the flow was evicted, last of all, because it may panic again.
    ///
    /// To be called after nothing else: in between two calls that returned it gives up a flow for no reason.
    #[cold]
    pub fn give_up(&mut self, key: Option<&FlowKey>) {
        let id = match core::mem::replace(&mut self.in_work, NONE) {
            NONE => key.and_then(|key| self.table.find(key)),
            id => Some(id),
        };
        let mut conn = None;
        if let Some(id) = id {
            if let Some(flow) = self.table.flow_mut(id) {
                conn = self.streams.relinquish(flow);
            }
            self.table.remove(id);
        }
        let stats = &mut self.streams.stats;
        stats.active_flows = self.table.len() as u64;
        let unaccounted = stats.payload_bytes.saturating_sub(stats.known_bytes());
        self.streams.count_dropped(DropReason::GivenUp, unaccounted);
        if let Some((conn, shunted)) = conn {
            self.streams.handler.close(conn, Ending { at: self.now, why: CloseReason::Evicted, shunted });
        }
    }

    /// The handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.streams.handler
    }

    /// The handler, to change.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.streams.handler
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.streams.stats
    }

    /// Bytes allocated for flows, tables and pages now (a handler's own memory not counted). Walks the flows that hold
    /// something.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.table.allocated() + self.streams.allocated()
    }

    /// Adds the flow of a segment that no flow is known for; none for a reset, which has nothing to end.
    #[cold]
    fn add(&mut self, segment: &Segment<'_>) -> Option<u32> {
        if segment.flags.rst() {
            self.streams.count_dropped(DropReason::AfterEnd, segment.payload.len() as u64);
            return None;
        }
        self.reap(self.ticked.map_or(segment.at, |ticked| ticked.min(segment.at)), REAPED_PER_NEW_FLOW);
        let limit = self.streams.limits.max_flows.clamp(1, NONE as usize);
        while self.table.len() >= limit {
            self.evict(segment.at)?;
        }
        let mut flow = Flow::new(segment.key, segment.at);
        count_flow(&mut self.streams.stats, &mut flow, segment);
        let id = self.table.insert(flow);
        self.streams.stats.active_flows = self.table.len() as u64;
        self.expect_silence(id);
        Some(id)
    }

    /// Makes room for a flow. Flows that matter least go first; none is left when this fails.
    fn evict(&mut self, at: Timestamp) -> Option<()> {
        let phases = [Phase::Quiet, Phase::Closed, Phase::Late, Phase::Active];
        let id = phases.into_iter().find_map(|phase| self.table.oldest(phase))?.id;
        let now = self.table.flow_mut(id)?.last.max(at);
        self.advance(id, now);
        if let Some(flow) = self.table.flow_mut(id) {
            if !flow.phase.is_over() {
                self.streams.stats.evicted_flows += 1;
            }
            self.streams.close(flow, CloseReason::Evicted, now, now);
            self.table.remove(id);
        }
        self.in_work = NONE;
        Some(())
    }

    /// Lets a flow's clock reach `now`, and its slot go if it is over.
    fn advance(&mut self, id: u32, now: Timestamp) {
        let Some(flow) = self.table.flow_mut(id) else { return };
        self.in_work = id;
        self.streams.advance(flow, now);
        if flow.phase == Phase::Dead {
            self.table.remove(id);
            self.streams.stats.active_flows = self.table.len() as u64;
        } else if flow.phase != flow.list {
            self.table.relist(id);
            self.expect_silence(id);
        }
    }

    /// Lets flows go whose silence or lingering ended before `now`, at most `most` of each list.
    fn reap(&mut self, now: Timestamp, most: usize) {
        for phase in Phase::LISTED {
            for _ in 0..most {
                let Some(flow) = self.table.oldest(phase).filter(|flow| self.silence_ends(flow) < now) else { break };
                let id = flow.id;
                self.advance(id, now);
                self.in_work = NONE;
            }
        }
    }

    fn silence_ends(&self, flow: &Flow) -> Timestamp {
        match flow.phase {
            Phase::Closed => flow.edge + self.streams.limits.linger,
            phase => flow.last + self.streams.silence(phase),
        }
    }

    /// Sees to it that ticks look for silence in time for a flow at the front or back of its list.
    fn expect_silence(&mut self, id: u32) {
        let Some(flow) = self.table.flow_mut(id) else { return };
        let ends = match flow.phase {
            Phase::Closed => flow.edge + self.streams.limits.linger,
            phase => FlowTable::unit_start(flow.last) + self.streams.silence(phase),
        };
        self.silent_until = self.silent_until.min(ends);
    }
}

/// Makes a slot that of the new connection that `segment` belongs to.
fn restart<H: StreamHandler>(streams: &mut Streams<H>, flow: &mut Flow, segment: &Segment<'_>) {
    flow.restart(segment.at);
    count_flow(&mut streams.stats, flow, segment);
}

fn count_flow(stats: &mut Stats, flow: &mut Flow, segment: &Segment<'_>) {
    stats.flows += 1;
    if !segment.flags.syn() {
        flow.is_mid_stream = true;
        stats.mid_stream_flows += 1;
    }
}

impl<H: StreamHandler> fmt::Debug for Reassembler<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reassembler").field("now", &self.now).field("stats", self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use decap::{Direction, Domain, Endpoint, SeqNum, TcpFlags, TunnelPath};

    use super::*;
    use crate::{FlowInfo, Position, Want};

    /// Wants nothing of any flow, and counts how often it is asked.
    #[derive(Default)]
    struct Nothing(u64);

    impl StreamHandler for Nothing {
        type Conn = ();

        fn open(&mut self, _: &FlowInfo<'_>) {
            self.0 += 1;
        }

        fn data(&mut self, (): &mut (), _: Direction, _: Position, _: &[u8]) -> Want {
            self.0 += 1;
            Want::Nothing
        }

        fn gap(&mut self, (): &mut (), _: Direction, _: Position, _: u64) -> Want {
            self.0 += 1;
            Want::Nothing
        }

        fn skipped(&mut self, (): &mut (), _: Direction, _: Position, _: u64) -> Want {
            self.0 += 1;
            Want::Nothing
        }

        fn end(&mut self, (): &mut (), _: Direction, _: Position) -> Want {
            self.0 += 1;
            Want::Nothing
        }

        fn close(&mut self, (): (), _: Ending) {}
    }

    /// A flow that is filtered by its addresses is one of which nothing is wanted: from then on a segment costs the look-up of
    /// its flow and a few numbers, in order or not, and nobody is asked again.
    #[test]
    fn a_flow_of_which_nothing_is_wanted_costs_one_look_up_a_segment() {
        let endpoint = |host, port| Endpoint { ip: Ipv4Addr::new(10, 0, 0, host).into(), port };
        let (key, forward) = FlowKey::new(endpoint(1, 40_000), endpoint(2, 80), Domain::GLOBAL);
        let path = TunnelPath::default();
        let mut reassembler = Reassembler::new(Limits::default(), Nothing::default());
        let push =
            |reassembler: &mut Reassembler<Nothing>, at: u64, is_client: bool, flags, seq, ack, payload: &[u8]| {
                let direction = if is_client { forward } else { forward.opposite() };
                reassembler.push(&Segment {
                    at: Timestamp::from_nanos(1_000_000_000 + at * 1_000_000),
                    key,
                    direction,
                    seq: SeqNum(seq),
                    ack: SeqNum(ack),
                    flags: TcpFlags(flags),
                    window: 1_000,
                    ip_id: 0,
                    payload,
                    missing: 0,
                    path: &path,
                });
            };
        push(&mut reassembler, 0, true, TcpFlags::SYN, 99, 0, &[]);
        push(&mut reassembler, 1, false, TcpFlags::SYN | TcpFlags::ACK, 499, 100, &[]);
        push(&mut reassembler, 2, true, TcpFlags::ACK, 100, 500, &[7; 100]);
        let (looked_up, asked) = (reassembler.table.look_ups, reassembler.handler().0);
        assert_eq!((looked_up, asked), (3, 2), "opened, and given its first bytes");
        let segments = 1_000;
        for n in 0..segments {
            // Each seventh is ahead of a hole, and the one behind it fills that; the server answers.
            let place = if n % 7 == 5 {
                n + 1
            } else if n % 7 == 6 {
                n - 1
            } else {
                n
            };
            let seq = 200 + place * 100;
            push(&mut reassembler, 3 + u64::from(n), n % 3 != 0, TcpFlags::ACK, seq, seq, &[7; 100]);
        }
        assert_eq!(reassembler.table.look_ups - looked_up, u64::from(segments));
        assert_eq!(reassembler.handler().0, asked, "nobody is asked again");
        assert_eq!(reassembler.stats().held_bytes, 0);
    }
}
