//! From a reading thread to the workers: copied segments, in batches, by flow.
//!
//! A flow always goes to the same worker, both directions alike, and a worker sees what one reading thread gave it in the
//! order in which it was read. Batches are reused.

use std::hash::BuildHasher;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use decap::{Direction, FlowKey, Segment, SeqNum, TcpFlags, Timestamp, TunnelPath};
use foldhash::quality::FixedState;

use crate::pipeline::Segments;

/// Payload bytes at which a batch is full.
const BATCH_BYTES: usize = 256 << 10;
/// Segments at which a batch is full.
const BATCH_SEGMENTS: usize = 1_024;
/// Distinct tunnel paths at which a batch is full: they are large, and a hostile capture may change them every frame.
const BATCH_PATHS: usize = 128;
/// A worker for whom so many batches wait has enough to do.
const BEHIND: usize = 4;
/// How many of a batch's latest paths a segment's path is compared with.
const RECENT_PATHS: usize = 4;

/// Copied segments on their way to a worker.
#[derive(Debug, Default)]
pub struct Batch {
    headers: Vec<Header>,
    /// All payloads, one after the other.
    bytes: Vec<u8>,
    paths: Vec<TunnelPath>,
    /// Packet time has passed, after all segments of the batch.
    tick: Option<Timestamp>,
    /// Which of the reading threads it comes from.
    source: usize,
}

/// How far a batch has been given on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchPlace {
    segments: usize,
    bytes: usize,
}

/// A segment without its payload and path, which lie in the batch.
#[derive(Clone, Copy, Debug)]
struct Header {
    at: Timestamp,
    key: FlowKey,
    direction: Direction,
    seq: SeqNum,
    ack: SeqNum,
    flags: TcpFlags,
    window: u16,
    ip_id: u16,
    payload_end: u32,
    missing: u32,
    path: u32,
}

impl Batch {
    fn push(&mut self, segment: &Segment<'_>) {
        let recent = self.paths.len().saturating_sub(RECENT_PATHS);
        let path = match self.paths[recent..].iter().position(|path| path == segment.path) {
            Some(place) => recent + place,
            None => {
                self.paths.push(segment.path.clone());
                self.paths.len() - 1
            }
        };
        self.bytes.extend_from_slice(segment.payload);
        self.headers.push(Header {
            at: segment.at,
            key: segment.key,
            direction: segment.direction,
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            window: segment.window,
            ip_id: segment.ip_id,
            // A batch holds less than BATCH_BYTES and one payload of a datagram: far below 4 GiB.
            payload_end: self.bytes.len() as u32,
            missing: segment.missing,
            path: path as u32,
        });
    }

    fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.tick.is_none()
    }

    fn is_full(&self) -> bool {
        self.headers.len() >= BATCH_SEGMENTS || self.bytes.len() >= BATCH_BYTES || self.paths.len() >= BATCH_PATHS
    }

    /// Gives the segments on, and then the tick.
    pub(crate) fn replay(&self, lane: &mut impl Segments) {
        self.replay_to(Timestamp::from_nanos(u64::MAX), &mut BatchPlace::default(), lane);
        if let Some(now) = self.tick {
            lane.tick(now);
        }
    }

    /// Goes on from where `place` stands, up to the first segment captured after `last`. `place` has moved past a
    /// segment by the time that it is given on.
    pub(crate) fn replay_to(&self, last: Timestamp, place: &mut BatchPlace, lane: &mut impl Segments) {
        while let Some(header) = self.headers.get(place.segments).filter(|header| header.at <= last) {
            let (start, end) = (place.bytes, header.payload_end as usize);
            *place = BatchPlace { segments: place.segments + 1, bytes: end };
            lane.push(&Segment {
                at: header.at,
                key: header.key,
                direction: header.direction,
                seq: header.seq,
                ack: header.ack,
                flags: header.flags,
                window: header.window,
                ip_id: header.ip_id,
                payload: &self.bytes[start..end],
                missing: header.missing,
                path: &self.paths[header.path as usize],
            });
        }
    }

    /// When the first segment was captured that has not been given on; `None` when all have.
    pub(crate) fn next_at(&self, place: BatchPlace) -> Option<Timestamp> {
        self.headers.get(place.segments).map(|header| header.at)
    }

    /// How far packet time has passed behind the segments, if that is said.
    pub(crate) const fn tick(&self) -> Option<Timestamp> {
        self.tick
    }

    /// The number of the reading thread that it comes from, as [`Dispatcher::another`] was told.
    pub(crate) const fn source(&self) -> usize {
        self.source
    }

    /// A batch as a reading thread would have made it.
    #[cfg(test)]
    pub(crate) fn of(source: usize, segments: &[Segment<'_>], tick: Option<Timestamp>) -> Self {
        let mut batch = Self { tick, source, ..Self::default() };
        segments.iter().for_each(|segment| batch.push(segment));
        batch
    }

    pub(crate) fn clear(&mut self) {
        self.headers.clear();
        self.bytes.clear();
        self.paths.clear();
        self.tick = None;
    }
}

/// The worker, of `workers`, that a flow belongs to. The same for both directions, in every process and on every run:
/// whoever replays one capture twice finds the same flows together.
#[must_use]
pub fn worker_of(key: &FlowKey, workers: usize) -> usize {
    let hash = FixedState::with_seed(0).hash_one(key);
    // The upper bits of the product spread evenly over any number of workers, without a division.
    ((u128::from(hash) * workers as u128) >> 64) as usize
}

/// What a reading thread does when a worker cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits: a file can.
    Wait,
    /// It drops the batch and counts it: a mirror cannot wait, and what the kernel would drop instead has no name.
    Drop,
}

/// Segments that no worker could take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub segments: u64,
    /// Their captured payload bytes.
    pub payload_bytes: u64,
}

impl AddAssign for Refused {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.payload_bytes += other.payload_bytes;
    }
}

/// A reading thread's way to the workers.
#[derive(Debug)]
pub struct Dispatcher {
    senders: Vec<Sender<Batch>>,
    filling: Vec<Batch>,
    emptied: Receiver<Batch>,
    /// An empty batch that was taken and not needed.
    spare: Option<Batch>,
    when_full: WhenFull,
    is_stopped: Arc<AtomicBool>,
    refused: Refused,
    /// Its number among those to the same workers.
    source: usize,
}

/// A worker's end.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// What is to be worked off; closed when every dispatcher is gone.
    pub batches: Receiver<Batch>,
    /// Where emptied batches go. A batch that finds no room is freed.
    pub give_back: Sender<Batch>,
}

impl Dispatcher {
    /// A dispatcher to `workers` workers (at least 1), of whose batches `queued` may wait for each; and the workers' ends.
    /// With `is_stopped` set nothing further is of use.
    #[must_use]
    pub fn new(workers: usize, queued: usize, when_full: WhenFull, is_stopped: Arc<AtomicBool>) -> (Self, Vec<Inbox>) {
        let workers = workers.max(1);
        let (give_back, emptied) = bounded(workers * (queued + 2));
        let (senders, inboxes) = (0..workers)
            .map(|_| {
                let (sender, batches) = bounded(queued);
                (sender, Inbox { batches, give_back: give_back.clone() })
            })
            .unzip();
        (Self::with(senders, emptied, when_full, is_stopped), inboxes)
    }

    fn with(
        senders: Vec<Sender<Batch>>,
        emptied: Receiver<Batch>,
        when_full: WhenFull,
        is_stopped: Arc<AtomicBool>,
    ) -> Self {
        let filling = senders.iter().map(|_| Batch::default()).collect();
        Self { senders, filling, emptied, spare: None, when_full, is_stopped, refused: Refused::default(), source: 0 }
    }

    /// Another thread's way to the same workers, with counts of its own; its batches say that they are of `source`.
    #[must_use]
    pub fn another(&self, source: usize) -> Self {
        let is_stopped = Arc::clone(&self.is_stopped);
        Self { source, ..Self::with(self.senders.clone(), self.emptied.clone(), self.when_full, is_stopped) }
    }

    /// Whether anything is gathered that was not handed on.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.filling.iter().any(|batch| !batch.is_empty())
    }

    /// The same, of a worker's.
    #[must_use]
    pub fn holds_for(&self, worker: usize) -> bool {
        self.filling.get(worker).is_some_and(|batch| !batch.is_empty())
    }

    /// Hands on what is gathered so far.
    pub fn flush(&mut self) {
        for worker in 0..self.senders.len() {
            if !self.filling[worker].is_empty() {
                self.send(worker);
            }
        }
    }

    /// Hands on what is gathered so far, but to workers that are behind by a few batches only what fills one: they lose
    /// no time by it, and their queue has room for as many full ones as it can take.
    pub fn flush_to_ready(&mut self) {
        for worker in 0..self.senders.len() {
            if !self.filling[worker].is_empty() && self.senders[worker].len() < BEHIND {
                self.send(worker);
            }
        }
    }

    /// Hands on what is gathered, waiting for the workers if need be: reading is over.
    pub fn finish(&mut self) {
        self.when_full = WhenFull::Wait;
        self.flush();
    }

    /// What no worker could take.
    #[must_use]
    pub const fn refused(&self) -> Refused {
        self.refused
    }

    fn send(&mut self, worker: usize) {
        let next = self.spare.take().or_else(|| self.emptied.try_recv().ok()).unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.filling[worker], next);
        batch.source = self.source;
        let is_gone = match self.when_full {
            WhenFull::Wait => self.senders[worker].send(batch).is_err(),
            WhenFull::Drop => match self.senders[worker].try_send(batch) {
                Ok(()) => false,
                Err(TrySendError::Full(mut batch)) => {
                    self.refused.segments += batch.headers.len() as u64;
                    self.refused.payload_bytes += batch.bytes.len() as u64;
                    batch.clear();
                    self.spare = Some(batch);
                    false
                }
                Err(TrySendError::Disconnected(_)) => true,
            },
        };
        if is_gone {
            // The worker is gone; whoever joins it says so. Until then nothing further is worth reading.
            self.is_stopped.store(true, Ordering::Relaxed);
        }
    }
}

impl Segments for Dispatcher {
    fn push(&mut self, segment: &Segment<'_>) {
        let worker = worker_of(&segment.key, self.senders.len());
        let batch = &mut self.filling[worker];
        batch.push(segment);
        if batch.is_full() {
            self.send(worker);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        for worker in 0..self.senders.len() {
            self.filling[worker].tick = Some(now);
            self.send(worker);
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use decap::{Domain, Endpoint};
    use proptest::prelude::*;

    use super::*;

    fn endpoint(ip: u32, port: u16) -> Endpoint {
        Endpoint { ip: std::net::Ipv4Addr::from(ip).into(), port }
    }

    /// Keeps owned copies of what it is given.
    #[derive(Default)]
    struct Collected {
        segments: Vec<(FlowKey, u32, Vec<u8>, TunnelPath)>,
        ticks: Vec<(usize, Timestamp)>,
    }

    impl Segments for Collected {
        fn push(&mut self, segment: &Segment<'_>) {
            self.segments.push((segment.key, segment.seq.0, segment.payload.to_vec(), segment.path.clone()));
        }

        fn tick(&mut self, now: Timestamp) {
            self.ticks.push((self.segments.len(), now));
        }

        fn is_stopped(&self) -> bool {
            false
        }
    }

    proptest! {
        #[test]
        fn a_batch_gives_back_what_was_put_in(
            segments in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40), 0_u16..6), 0..60),
        ) {
            let mut batch = Batch::default();
            let mut expected = Collected::default();
            for (n, (port, payload, vlan)) in segments.iter().enumerate() {
                let (key, direction) = FlowKey::new(endpoint(1, *port), endpoint(2, 80), Domain::GLOBAL);
                let mut path = TunnelPath::default();
                path.vlans.push(*vlan);
                let segment = Segment {
                    at: Timestamp::from_nanos(n as u64),
                    key,
                    direction,
                    seq: SeqNum(n as u32),
                    ack: SeqNum(0),
                    flags: TcpFlags(TcpFlags::ACK),
                    window: 1,
                    ip_id: 2,
                    payload,
                    missing: 0,
                    path: &path,
                };
                batch.push(&segment);
                expected.push(&segment);
            }
            batch.tick = Some(Timestamp::from_nanos(7));
            expected.tick(Timestamp::from_nanos(7));
            let mut given_back = Collected::default();
            batch.replay(&mut given_back);
            prop_assert_eq!(&given_back.segments, &expected.segments);
            prop_assert_eq!(&given_back.ticks, &expected.ticks);
            batch.clear();
            let mut nothing = Collected::default();
            batch.replay(&mut nothing);
            prop_assert!(nothing.segments.is_empty() && nothing.ticks.is_empty());
        }

        #[test]
        fn both_directions_go_to_one_worker(a: u32, b: u32, port: u16, workers in 1_usize..64) {
            let (client, server) = (endpoint(a, port), endpoint(b, 80));
            let (there, _) = FlowKey::new(client, server, Domain::GLOBAL);
            let (back, _) = FlowKey::new(server, client, Domain::GLOBAL);
            prop_assert_eq!(worker_of(&there, workers), worker_of(&back, workers));
            prop_assert!(worker_of(&there, workers) < workers);
        }
    }

    #[test]
    fn flows_spread_evenly() {
        let mut loads = [0_u32; 7];
        for n in 0..7_000 {
            let (key, _) = FlowKey::new(endpoint(0x0a00_0001, 1_024 + n), endpoint(0x0a00_0002, 80), Domain::GLOBAL);
            loads[worker_of(&key, loads.len())] += 1;
        }
        assert!(loads.iter().all(|load| (850..1_150).contains(load)), "{loads:?}");
    }

    fn segment<'a>(key: FlowKey, direction: Direction, path: &'a TunnelPath) -> Segment<'a> {
        Segment {
            at: Timestamp::ZERO,
            key,
            direction,
            seq: SeqNum(0),
            ack: SeqNum(0),
            flags: TcpFlags(0),
            window: 0,
            ip_id: 0,
            payload: b"payload",
            missing: 0,
            path,
        }
    }

    #[test]
    fn a_worker_that_stands_still_for_a_moment_costs_nothing() {
        const QUEUED: usize = 8;
        let (key, direction) = FlowKey::new(endpoint(1, 2), endpoint(3, 4), Domain::GLOBAL);
        let path = TunnelPath::default();
        let (mut dispatcher, inboxes) = Dispatcher::new(1, QUEUED, WhenFull::Drop, Arc::default());
        // A few at a time, many more times than there is room for batches.
        let room = (QUEUED - BEHIND) * BATCH_SEGMENTS;
        let mut pushed = 0;
        while pushed < room {
            (0..10).for_each(|_| dispatcher.push(&segment(key, direction, &path)));
            pushed += 10;
            dispatcher.flush_to_ready();
        }
        assert_eq!(dispatcher.refused(), Refused::default());
        // As soon as it works again it has all of it.
        let mut taken = 0;
        while taken < pushed {
            if let Ok(batch) = inboxes[0].batches.try_recv() {
                taken += batch.headers.len();
            } else {
                assert!(dispatcher.holds_any(), "{taken} of {pushed}");
            }
            dispatcher.flush_to_ready();
        }
        assert_eq!((taken, dispatcher.holds_any()), (pushed, false));
        // What is too much is dropped, and counted.
        for _ in 0..(QUEUED + 1) * BATCH_SEGMENTS {
            dispatcher.push(&segment(key, direction, &path));
        }
        let refused = dispatcher.refused();
        assert_eq!((refused.segments, refused.payload_bytes), (BATCH_SEGMENTS as u64, 7 * BATCH_SEGMENTS as u64));
    }

    #[test]
    fn hostile_paths_fill_a_batch() {
        let (key, direction) = FlowKey::new(endpoint(1, 2), endpoint(3, 4), Domain::GLOBAL);
        let mut batch = Batch::default();
        let mut pushed = 0;
        while !batch.is_full() {
            let mut path = TunnelPath::default();
            path.vlans.push(pushed);
            pushed += 1;
            batch.push(&segment(key, direction, &path));
        }
        assert_eq!(usize::from(pushed), BATCH_PATHS);
    }
}
