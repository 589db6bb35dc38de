//! Several sources in the order of capture.
//!
//! Each source's frames come in order, but in blocks: the kernel hands a block of a ring over when it is full or its time
//! has run out, so one source's responses may get here long before another's requests. A worker fed by several therefore
//! takes the segment that was captured first, and waits with it until no other source can still have an earlier one.
//!
//! What a source can still have, its capture thread says with a [`Horizon`]. A source that is silent moves it on with the
//! clock, so it holds a busy one back by [`SLACK`] and one look; a thread that says nothing is waited for [`STALLED`]; and
//! when [`HELD`] batches wait, the earliest goes on whatever the others say. Nothing is dropped here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use decap::Timestamp;

use crate::dispatch::{Batch, BatchPlace};

/// How long after its capture a frame may still be in a block that the kernel fills: a block is handed over at the second
/// run of its timer at the latest, and timers run late.
pub(super) const SLACK: Duration = Duration::from_millis(50);
/// For how long a source is waited for whose thread says nothing.
const STALLED: Duration = Duration::from_millis(200);
/// Batches that wait for another source, at most: some 20 MiB.
const HELD: usize = 64;

/// Up to when all that was captured has been handed to a worker, of each source.
#[derive(Clone, Debug)]
pub(super) struct Horizons(Arc<[AtomicU64]>);

impl Horizons {
    /// Of `sources` sources, none of which has given anything.
    pub(super) fn new(sources: usize) -> Self {
        Self((0..sources).map(|_| AtomicU64::new(0)).collect())
    }

    #[cfg(test)]
    pub(super) fn reached(&self, source: usize) -> Timestamp {
        Timestamp::from_nanos(self.0[source].load(Ordering::Acquire))
    }

    pub(super) fn of(&self, source: usize) -> Horizon {
        Horizon { all: self.clone(), source }
    }
}

/// One source's.
#[derive(Debug)]
pub(super) struct Horizon {
    all: Horizons,
    source: usize,
}

impl Horizon {
    /// All that was captured before `at` has been handed on. It may go back, as a clock may.
    pub(super) fn reach(&self, at: Timestamp) {
        if let Some(horizon) = self.all.0.get(self.source) {
            // After the batches: whoever sees this finds them.
            horizon.store(at.as_nanos(), Ordering::Release);
        }
    }

    /// The source gives nothing further, or nothing until it says so.
    pub(super) fn end(&self) {
        self.reach(Timestamp::from_nanos(u64::MAX));
    }
}

/// What one worker holds of each source.
#[derive(Debug)]
pub(super) struct Merge {
    horizons: Horizons,
    /// The horizons as they were before the last batches were taken in.
    reached: Vec<Timestamp>,
    sources: Vec<Waiting>,
    held: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<(Batch, Instant)>,
    /// How far the first of them has been given on.
    place: BatchPlace,
}

impl Waiting {
    fn next_at(&self) -> Option<Timestamp> {
        self.batches.front().and_then(|(batch, _)| batch.next_at(self.place))
    }
}

/// What is given on.
pub(super) enum Part<'a> {
    /// The batch's segments from the place on, up to those captured at the time given.
    Run(&'a Batch, &'a mut BatchPlace, Timestamp),
    /// Packet time has passed.
    Tick(Timestamp),
}

impl Merge {
    pub(super) fn new(horizons: Horizons) -> Self {
        let count = horizons.0.len();
        Self {
            horizons,
            reached: vec![Timestamp::ZERO; count],
            sources: (0..count).map(|_| Waiting::default()).collect(),
            held: 0,
        }
    }

    /// Whether anything waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether no more may be taken in before some has been released.
    pub(super) const fn is_full(&self) -> bool {
        self.held >= HELD
    }

    /// Looks at the horizons: to be called before what has arrived is taken in, since a batch may arrive in between.
    pub(super) fn look(&mut self) {
        for (reached, horizon) in self.reached.iter_mut().zip(self.horizons.0.iter()) {
            *reached = Timestamp::from_nanos(horizon.load(Ordering::Acquire));
        }
    }

    /// Takes in a batch that has arrived.
    pub(super) fn take(&mut self, batch: Batch, now: Instant) {
        // A source without a number of its own cannot be; it would be the first.
        let number = if batch.source() < self.sources.len() { batch.source() } else { 0 };
        self.sources[number].batches.push_back((batch, now));
        self.held += 1;
    }

    /// Gives on all that no earlier segment can be expected for; with `all`, everything. Emptied batches go to `emptied`.
    pub(super) fn release(
        &mut self,
        now: Instant,
        all: bool,
        give: &mut impl FnMut(Part<'_>),
        mut emptied: impl FnMut(Batch),
    ) {
        while self.held > 0 {
            // Whose turn it is: of what has no segment left, or else of what was captured first.
            let mut first: Option<(usize, Timestamp)> = None;
            let mut earliest = Timestamp::from_nanos(u64::MAX);
            let mut over = None;
            for (number, source) in self.sources.iter().enumerate() {
                match source.next_at() {
                    Some(at) if first.is_none() || at < earliest => {
                        first = Some((number, at));
                        earliest = at;
                    }
                    None if !source.batches.is_empty() => over = Some(number),
                    _ => {}
                }
            }
            if let Some(number) = over {
                self.end_batch(number, earliest, give, &mut emptied);
                continue;
            }
            let Some((number, at)) = first else { return };
            let arrived = self.sources[number].batches.front().map_or(now, |(_, arrived)| *arrived);
            let is_patient = !all && !self.is_full() && now.saturating_duration_since(arrived) < STALLED;
            let mut limit = Timestamp::from_nanos(u64::MAX);
            for (other, source) in self.sources.iter().enumerate().filter(|(other, _)| *other != number) {
                match source.next_at() {
                    Some(next) => limit = limit.min(next),
                    None if is_patient => limit = limit.min(self.reached[other]),
                    None => {}
                }
            }
            if at > limit {
                return;
            }
            let Waiting { batches, place } = &mut self.sources[number];
            if let Some((batch, _)) = batches.front() {
                give(Part::Run(batch, place, limit));
            }
        }
    }

    /// The first batch of a source has been given on but for what stands behind its segments.
    fn end_batch(
        &mut self,
        number: usize,
        earliest: Timestamp,
        give: &mut impl FnMut(Part<'_>),
        emptied: &mut impl FnMut(Batch),
    ) {
        let source = &mut self.sources[number];
        source.place = BatchPlace::default();
        if let Some((batch, _)) = source.batches.pop_front() {
            self.held -= 1;
            if let Some(tick) = batch.tick() {
                // Others may be further behind than the one that says so.
                give(Part::Tick(tick.min(earliest)));
            }
            emptied(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use decap::{Direction, Domain, Endpoint, FlowKey, Segment, SeqNum, TcpFlags, TunnelPath};
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::Segments;

    /// Times and, in the sequence number, which source.
    #[derive(Default)]
    struct Seen {
        segments: Vec<(u64, u32)>,
        ticks: Vec<u64>,
        emptied: usize,
    }

    impl Segments for Seen {
        fn push(&mut self, segment: &Segment<'_>) {
            self.segments.push((segment.at.as_nanos(), segment.seq.0));
        }

        fn tick(&mut self, now: Timestamp) {
            self.ticks.push(now.as_nanos());
        }

        fn is_stopped(&self) -> bool {
            false
        }
    }

    fn batch(source: usize, times: &[u64]) -> Batch {
        let endpoint = |port| Endpoint { ip: std::net::Ipv4Addr::LOCALHOST.into(), port };
        let (key, direction): (FlowKey, Direction) = FlowKey::new(endpoint(1), endpoint(2), Domain::GLOBAL);
        let path = TunnelPath::default();
        let segments: Vec<Segment<'_>> = times
            .iter()
            .map(|at| Segment {
                at: Timestamp::from_nanos(*at),
                key,
                direction,
                seq: SeqNum(source as u32),
                ack: SeqNum(0),
                flags: TcpFlags(0),
                window: 0,
                ip_id: 0,
                payload: b"x",
                missing: 0,
                path: &path,
            })
            .collect();
        Batch::of(source, &segments, None)
    }

    fn release(merge: &mut Merge, now: Instant, all: bool, seen: &mut Seen) {
        let mut emptied = 0;
        merge.release(
            now,
            all,
            &mut |part| match part {
                Part::Run(batch, place, last) => batch.replay_to(last, place, seen),
                Part::Tick(at) => seen.tick(at),
            },
            |_| emptied += 1,
        );
        seen.emptied += emptied;
    }

    #[test]
    fn a_batch_waits_for_the_source_that_may_have_an_earlier_one() {
        let horizons = Horizons::new(2);
        let mut merge = Merge::new(horizons.clone());
        let (mut seen, now) = (Seen::default(), Instant::now());
        merge.take(batch(0, &[10, 20, 30]), now);
        merge.look();
        release(&mut merge, now, false, &mut seen);
        assert_eq!(seen.segments, []);
        // The other has nothing before 15, and says so; then it has.
        horizons.of(1).reach(Timestamp::from_nanos(15));
        merge.look();
        release(&mut merge, now, false, &mut seen);
        assert_eq!(seen.segments, [(10, 0)]);
        merge.take(batch(1, &[16, 25]), now);
        release(&mut merge, now, false, &mut seen);
        assert_eq!(seen.segments, [(10, 0), (16, 1), (20, 0), (25, 1)]);
        horizons.of(1).end();
        merge.look();
        release(&mut merge, now, false, &mut seen);
        assert_eq!(seen.segments.last(), Some(&(30, 0)));
        assert!(merge.is_empty());
        assert_eq!(seen.emptied, 2);
    }

    #[test]
    fn a_thread_that_says_nothing_is_waited_for_and_no_longer() {
        let mut merge = Merge::new(Horizons::new(2));
        let (mut seen, now) = (Seen::default(), Instant::now());
        merge.take(batch(0, &[10]), now);
        release(&mut merge, now + STALLED / 2, false, &mut seen);
        assert_eq!(seen.segments, []);
        release(&mut merge, now + STALLED, false, &mut seen);
        assert_eq!(seen.segments, [(10, 0)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut merge = Merge::new(Horizons::new(3));
        let (mut seen, now) = (Seen::default(), Instant::now());
        for number in 0..1_000 {
            merge.take(batch(2, &[number]), now);
            if merge.is_full() {
                release(&mut merge, now, false, &mut seen);
            }
            assert!(merge.held < HELD);
        }
        assert!(seen.segments.len() > 900);
    }

    #[test]
    fn a_tick_does_not_run_ahead_of_what_waits() {
        let mut merge = Merge::new(Horizons::new(2));
        let (mut seen, now) = (Seen::default(), Instant::now());
        merge.take(batch(0, &[10, 40]), now);
        merge.take(Batch::of(1, &[], Some(Timestamp::from_nanos(50))), now);
        release(&mut merge, now, false, &mut seen);
        assert_eq!(seen.ticks, [10]);
    }

    proptest! {
        /// However the sources' batches are cut and interleaved on their way, while each says truly how far it has got:
        /// all segments come out once, in the order of capture.
        #[test]
        fn sources_that_keep_their_word_come_out_in_order(
            steps in prop::collection::vec((0_usize..3, 1_u64..50, any::<bool>(), any::<bool>()), 1..120),
        ) {
            let horizons = Horizons::new(3);
            let mut merge = Merge::new(horizons.clone());
            let (mut seen, now) = (Seen::default(), Instant::now());
            let mut clocks = [0_u64; 3];
            let mut filling: [Vec<u64>; 3] = Default::default();
            let mut expected = Vec::new();
            for (source, passes, is_frame, is_flush) in steps {
                clocks[source] += passes;
                if is_frame {
                    filling[source].push(clocks[source]);
                    expected.push((clocks[source], source as u32));
                }
                merge.look();
                if is_flush {
                    let times = std::mem::take(&mut filling[source]);
                    if !times.is_empty() {
                        merge.take(batch(source, &times), now);
                    }
                    horizons.of(source).reach(Timestamp::from_nanos(clocks[source]));
                }
                release(&mut merge, now, false, &mut seen);
            }
            for (source, times) in filling.iter().enumerate().filter(|(_, times)| !times.is_empty()) {
                merge.take(batch(source, times), now);
            }
            release(&mut merge, now, true, &mut seen);
            prop_assert!(merge.is_empty());
            prop_assert!(seen.segments.is_sorted_by_key(|(at, _)| *at), "{:?}", seen.segments);
            expected.sort();
            seen.segments.sort();
            prop_assert_eq!(seen.segments, expected);
        }
    }
}
