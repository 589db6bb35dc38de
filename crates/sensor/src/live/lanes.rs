//! Lanes that run for months: what wakes them without traffic, and what they tell of themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use decap::{Segment, Timestamp};

use crate::dispatch::{Dispatcher, Inbox};
use crate::pipeline::{Lane, LaneReport, Segments};
use crate::sealing::Queue;

/// How long a thread waits for something to do before it looks around.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How often counts are told, and records that do not fill a buffer handed on.
const TELL: Duration = Duration::from_millis(500);
/// Frames may be this late where another thread reads them: a clock that stands in for them stays that much behind.
const SLACK: Duration = Duration::from_millis(500);

/// What a thread tells of itself while it runs.
#[derive(Debug, Default)]
pub(super) struct Told<T> {
    latest: Mutex<T>,
    beats: AtomicU64,
}

impl<T: Clone> Told<T> {
    /// Replaces what was told. Holds the lock for a move; readers hold it for a clone, once a second or so.
    pub(super) fn tell(&self, news: T) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = news;
    }

    /// What was told last.
    pub(super) fn latest(&self) -> T {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The thread is alive.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it said so.
    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// What a capture thread feeds: it is told when it has nothing for now.
pub(super) trait LiveSegments: Segments {
    /// Called several times a second: at the end of a turn, or, with `idle`, when nothing came. `now` is the wall clock.
    fn pulse(&mut self, now: Timestamp, idle: bool);
}

impl LiveSegments for Dispatcher {
    fn pulse(&mut self, _: Timestamp, _: bool) {
        self.flush();
    }
}

/// A lane on the thread that captures, or on a worker's.
#[derive(Debug)]
pub(super) struct LiveLane {
    lane: Lane<Queue>,
    told: Arc<Told<LaneReport>>,
    last_told: Instant,
}

impl LiveLane {
    pub(super) fn new(lane: Lane<Queue>, told: Arc<Told<LaneReport>>) -> Self {
        Self { lane, told, last_told: Instant::now() }
    }

    /// Works off what dispatchers send until the last of them is gone.
    pub(super) fn work(mut self, inbox: &Inbox) -> LaneReport {
        loop {
            let idle = match inbox.batches.recv_timeout(PATIENCE) {
                Ok(mut batch) => {
                    batch.replay(&mut self.lane);
                    batch.clear();
                    let _ = inbox.give_back.try_send(batch);
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.pulse(wall_clock(), idle);
        }
        self.finish()
    }

    /// Ends every flow, hands on every record, and gives the last report.
    pub(super) fn finish(mut self) -> LaneReport {
        self.lane.finish();
        let report = self.lane.report();
        self.told.tell(report.clone());
        report
    }
}

impl Segments for LiveLane {
    #[inline]
    fn push(&mut self, segment: &Segment<'_>) {
        self.lane.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.lane.tick(now);
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.lane.is_stopped()
    }
}

impl LiveSegments for LiveLane {
    fn pulse(&mut self, now: Timestamp, idle: bool) {
        self.told.beat();
        self.lane.refresh();
        if idle {
            // Flows wait for packet time, which stands still without packets.
            self.lane.tick(Timestamp::from_nanos(now.as_nanos().saturating_sub(SLACK.as_nanos() as u64)));
        }
        if self.last_told.elapsed() >= TELL {
            self.last_told = Instant::now();
            self.lane.records_mut().flush();
            self.told.tell(self.lane.report());
        }
    }
}

/// The wall clock, which is what live captures stamp frames with.
pub(super) fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_nanos(since.map_or(0, |since| since.as_nanos() as u64))
}
