//! Lanes that run for months: what wakes them without traffic, and what they tell of themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use decap::{Segment, Timestamp};

use super::merge::{Horizon, Merge, Part, SLACK};
use crate::dispatch::{Batch, Dispatcher, Inbox, Refused};
use crate::pipeline::{Lane, LaneReport, Segments};
use crate::sealing::Queue;

/// How long a thread waits for something to do before it looks around.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How often counts are told, and records that do not fill a buffer handed on.
const TELL: Duration = Duration::from_millis(500);
/// Frames may be this late where another thread reads them: a clock that stands in for them stays that much behind.
const LATE: Duration = Duration::from_millis(500);
/// How long segments are gathered before they are handed to workers.
const GATHER: Duration = Duration::from_millis(5);
/// How often a source without frames says so where others wait for it.
const WAITED_FOR: Duration = Duration::from_millis(20);
/// How long a worker that holds segments for a source to catch up waits before it looks again.
const HOLDING: Duration = Duration::from_millis(5);

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

    /// How long a turn may wait for a frame.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// A capture thread's way to workers on other threads.
#[derive(Debug)]
pub(super) struct Feed {
    dispatcher: Dispatcher,
    /// Where workers merge several sources: how far this one has got.
    horizon: Option<Horizon>,
    /// When the latest segment was captured.
    latest: Timestamp,
    flushed: Instant,
}

impl Feed {
    pub(super) fn new(dispatcher: Dispatcher, horizon: Option<Horizon>) -> Self {
        Self { dispatcher, horizon, latest: Timestamp::ZERO, flushed: Instant::now() }
    }

    /// Hands on the rest, waiting for the workers if need be; gives what no worker could take.
    pub(super) fn finish(mut self) -> Refused {
        self.dispatcher.finish();
        if let Some(horizon) = &self.horizon {
            horizon.end();
        }
        self.dispatcher.refused()
    }
}

impl Segments for Feed {
    #[inline]
    fn push(&mut self, segment: &Segment<'_>) {
        self.latest = segment.at;
        self.dispatcher.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.dispatcher.tick(now);
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.dispatcher.is_stopped()
    }
}

impl LiveSegments for Feed {
    fn pulse(&mut self, now: Timestamp, idle: bool) {
        // Not at every turn: a socket gives a few datagrams in each, and a queue has room for so many batches.
        if !idle && self.flushed.elapsed() < GATHER {
            return;
        }
        self.flushed = Instant::now();
        self.dispatcher.flush();
        if let Some(horizon) = &self.horizon {
            let silent = Timestamp::from_nanos(now.as_nanos().saturating_sub(SLACK.as_nanos() as u64));
            horizon.reach(if idle { silent } else { self.latest });
        }
    }

    fn patience(&self) -> Duration {
        match &self.horizon {
            _ if self.dispatcher.holds_any() => GATHER,
            // Others wait for what this one says.
            Some(_) => WAITED_FOR,
            None => PATIENCE,
        }
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

    /// Works off what one feed sends until it is gone.
    pub(super) fn work(mut self, inbox: &Inbox) -> LaneReport {
        loop {
            let idle = match inbox.batches.recv_timeout(PATIENCE) {
                Ok(batch) => {
                    batch.replay(&mut self.lane);
                    give_back(inbox, batch);
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.pulse(wall_clock(), idle);
        }
        self.finish()
    }

    /// Works off what several feeds send, in the order of capture, until the last of them is gone.
    pub(super) fn work_merged(mut self, inbox: &Inbox, mut merge: Merge) -> LaneReport {
        loop {
            let patience = if merge.is_empty() { PATIENCE } else { HOLDING };
            let first = inbox.batches.recv_timeout(patience);
            let is_over = matches!(first, Err(RecvTimeoutError::Disconnected));
            merge.look();
            let now = Instant::now();
            for batch in first.into_iter().chain(inbox.batches.try_iter()) {
                merge.take(batch, now);
                if merge.is_full() {
                    break;
                }
            }
            let idle = merge.is_empty();
            let lane = &mut self.lane;
            let mut give = |part: Part<'_>| match part {
                Part::Run(batch, place, last) => batch.replay_to(last, place, lane),
                Part::Tick(at) => lane.tick(at),
            };
            merge.release(now, is_over, &mut give, |batch| give_back(inbox, batch));
            if is_over {
                return self.finish();
            }
            self.pulse(wall_clock(), idle);
        }
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
        if idle {
            // Flows wait for packet time, which stands still without packets.
            self.lane.tick(Timestamp::from_nanos(now.as_nanos().saturating_sub(LATE.as_nanos() as u64)));
        }
        if self.last_told.elapsed() >= TELL {
            self.last_told = Instant::now();
            self.lane.records_mut().flush();
            self.told.tell(self.lane.report());
        }
    }
}

/// For its reading thread to use again.
fn give_back(inbox: &Inbox, mut batch: Batch) {
    batch.clear();
    let _ = inbox.give_back.try_send(batch);
}

/// The wall clock, which is what live captures stamp frames with.
pub(super) fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_nanos(since.map_or(0, |since| since.as_nanos() as u64))
}
