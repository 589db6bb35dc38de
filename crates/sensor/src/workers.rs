//! Several workers for a replay: the reading thread decapsulates and hands copied segments on, in batches, by flow.
//!
//! Each worker sees its segments and the ticks in the order in which they were read; so the set of records does not depend
//! on the number of workers. A full channel blocks: replay loses nothing, it waits.
//!
//! Memory: a worker has at most 4 batches waiting, one in work and one being filled, each 256 KiB of
//! payload and its headers; all of them are reused.

use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::RecvTimeoutError;
use decap::{Segment, Timestamp};

use crate::dispatch::{Dispatcher, Inbox, WhenFull};
use crate::outlet::Outlet;
use crate::pipeline::{IDLE, Lane, LaneReport, Segments, Settings};
use crate::sealing::{Queue, Sealing, most_waiting};

/// Batches that may wait for a worker.
const QUEUED: usize = 4;

/// Spreads segments over worker threads, and gathers their records on a sealing thread.
#[derive(Debug)]
pub struct Workers<O> {
    dispatcher: Dispatcher,
    threads: Vec<JoinHandle<LaneReport>>,
    sealing: Sealing<O>,
}

/// A worker ended before its input did. A defect: workers have no other way to fail than to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker thread failed; this is a defect of the program, please report it with the lines above")]
pub struct WorkerFailed;

impl<O: Outlet + Send + 'static> Workers<O> {
    /// Starts `count` workers (at least 1) whose records go to `outlet`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(settings: &Settings, count: usize, outlet: O) -> std::io::Result<Self> {
        let count = count.max(1);
        let (sealing, queue) = Sealing::start(outlet, count, WhenFull::Wait, most_waiting(settings, count))?;
        let (dispatcher, inboxes) = Dispatcher::new(count, QUEUED, WhenFull::Wait, sealing.stop_flag());
        let threads = inboxes
            .into_iter()
            .enumerate()
            .map(|(number, inbox)| {
                let (settings, queue) = (settings.clone(), queue.clone());
                thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn(move || work(Lane::new(&settings, queue), &inbox))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { dispatcher, threads, sealing })
    }

    /// Waits until everything is worked off and written.
    ///
    /// # Errors
    /// When a thread failed.
    pub fn finish(mut self) -> Result<(Vec<LaneReport>, O), WorkerFailed> {
        self.dispatcher.flush();
        // Closed channels are how the threads learn that there is no more, first the workers, then the sealing one.
        drop(self.dispatcher);
        let reports = self.threads.into_iter().map(JoinHandle::join).collect::<Result<Vec<_>, _>>();
        let sealed = self.sealing.finish_counted();
        match (reports, sealed) {
            (Ok(mut reports), Ok((outlet, sealed))) => {
                reports.push(sealed);
                Ok((reports, outlet))
            }
            _ => Err(WorkerFailed),
        }
    }
}

impl<O> Segments for Workers<O> {
    fn push(&mut self, segment: &Segment<'_>) {
        self.dispatcher.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.dispatcher.tick(now);
    }

    fn idle(&mut self) {
        self.dispatcher.flush();
    }

    fn is_stopped(&self) -> bool {
        self.dispatcher.is_stopped()
    }
}

fn work(mut lane: Lane<Queue>, inbox: &Inbox) -> LaneReport {
    let mut flushed = Instant::now();
    loop {
        // However much comes, a few records are not to wait for company for longer.
        if flushed.elapsed() >= IDLE {
            lane.flush();
            flushed = Instant::now();
        }
        let mut batch = match inbox.batches.recv_timeout(IDLE) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // With the output gone nothing of it is worth the work, but for the ledger; and it is a few batches, as the reader stops.
        batch.replay(&mut lane);
        batch.clear();
        let _ = inbox.give_back.try_send(batch);
    }
    lane.finish();
    lane.report()
}
