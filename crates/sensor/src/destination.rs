//! Where a replay's records go: to a file or standard output, or to a platform.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use uploader::{DrainReport, RecordsLine};

use crate::outlet::{Outlet, Output, OutputFailure};
use crate::record::Sealed;
use crate::upload::UploadOutlet;

/// How often a delivery that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What is under way when waiting ends gets this long.
const PARTING: Duration = Duration::from_secs(2);
/// A platform may ask for patience again and again: for so long without a record that got anywhere it is granted.
const MOST_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// One of the two.
#[derive(Debug)]
pub enum Destination {
    /// Lines of JSON.
    Output(Output),
    /// Batches.
    Upload(Box<Upload>),
}

/// An upload, and how long it may stand still at the end.
#[derive(Debug)]
pub struct Upload {
    /// What gathers the batches.
    pub outlet: UploadOutlet,
    /// Waiting for the platform ends when for so long no record got anywhere, counted from the end of the time for which it
    /// asked to be left alone, if it did.
    pub patience: Duration,
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// Why the output ended early, if it did.
    pub failure: Option<OutputFailure>,
    /// What became of the records that were sent.
    pub delivery: Option<DrainReport>,
}

impl Outlet for Destination {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        match self {
            Self::Output(output) => output.accept(records),
            Self::Upload(upload) => upload.outlet.accept(records),
        }
    }

    fn pulse(&mut self) {
        match self {
            Self::Output(output) => output.pulse(),
            Self::Upload(upload) => upload.outlet.pulse(),
        }
    }

    fn flush(&mut self) {
        match self {
            Self::Output(output) => output.flush(),
            Self::Upload(upload) => upload.outlet.flush(),
        }
    }
}

impl Destination {
    /// Waits for what is under way, unless `interrupted` says otherwise, and ends it.
    #[must_use]
    pub fn conclude(self, interrupted: &Arc<AtomicBool>) -> Conclusion {
        match self {
            Self::Output(mut output) => Conclusion { failure: output.take_failure(), delivery: None },
            Self::Upload(upload) => {
                // The sealing thread has flushed it before it gave it back.
                let Upload { outlet, patience } = *upload;
                let stats = outlet.stats();
                let mut last = (settled(&stats.records()), Instant::now());
                let mut quiet_until = None;
                while stats.records().waiting() > 0 && !interrupted.load(Ordering::Relaxed) {
                    let now = settled(&stats.records());
                    if now != last.0 {
                        last = (now, Instant::now());
                    }
                    // It is forgotten once it is over.
                    quiet_until = quiet_until.max(stats.quiet_until());
                    if Instant::now() >= end_of_patience(last.1, quiet_until, patience) {
                        break;
                    }
                    outlet.reload_if_told();
                    thread::sleep(LOOK);
                }
                Conclusion { failure: None, delivery: outlet.drain(PARTING) }
            }
        }
    }
}

/// When waiting ends, if nothing has got anywhere since `last`.
fn end_of_patience(last: Instant, quiet_until: Option<Instant>, patience: Duration) -> Instant {
    let from = quiet_until.map_or(last, |quiet_until| quiet_until.max(last));
    (from + patience).min(last + patience.max(MOST_PATIENCE))
}

/// Records with a final fate.
fn settled(records: &RecordsLine) -> u64 {
    records.accepted + records.rejected + records.dropped_total()
}

#[cfg(test)]
mod tests {
    use uploader::{Outcome, RecordId, RetryReason, SealedBatch, Transport, Uploader};

    use super::*;
    use crate::dispatch::WhenFull;

    /// Asks for three seconds of quiet, and then takes everything.
    #[derive(Default)]
    struct Busy(AtomicBool);

    impl Transport for Busy {
        async fn send(&self, _: &SealedBatch) -> Outcome {
            if self.0.swap(true, Ordering::Relaxed) {
                return Outcome::Accepted;
            }
            Outcome::Retry { reason: RetryReason::TooManyRequests, after: Some(Duration::from_secs(3)) }
        }
    }

    #[test]
    fn a_platform_that_asks_for_more_time_than_there_is_patience_gets_it() {
        for is_interrupted in [false, true] {
            let uploader = Uploader::start(uploader::Settings::default(), Busy::default()).unwrap();
            let mut batcher = uploader.batcher();
            assert!(batcher.push(RecordId(Default::default()), b"{}", Instant::now()).is_none());
            uploader.intake().submit(batcher.flush().unwrap()).unwrap();
            let outlet = UploadOutlet::new(uploader, WhenFull::Wait);
            let upload = Upload { outlet, patience: Duration::from_millis(500) };
            let interrupted = Arc::new(AtomicBool::new(is_interrupted));
            let end = Destination::Upload(Box::new(upload)).conclude(&interrupted).delivery.unwrap();
            // A signal ends it earlier.
            let (accepted, dropped) = (end.records.accepted, end.records.dropped_total());
            assert_eq!((accepted, dropped), if is_interrupted { (0, 1) } else { (1, 0) });
        }
    }

    #[test]
    fn patience_reaches_past_what_the_platform_asked_for_within_bounds() {
        let last = Instant::now();
        let seconds = Duration::from_secs;
        let end = |asked: Option<u64>, patience| {
            end_of_patience(last, asked.map(|asked| last + seconds(asked)), seconds(patience)) - last
        };
        assert_eq!(end(None, 60), seconds(60));
        assert_eq!(end(Some(90), 60), seconds(150));
        assert_eq!(end(Some(900), 60), MOST_PATIENCE);
        assert_eq!(end(Some(u64::from(u32::MAX)), 60), MOST_PATIENCE);
        assert_eq!(end(Some(90), 3_600), seconds(3_600));
        // It asked before the last record got somewhere.
        assert_eq!(end_of_patience(last + seconds(100), Some(last + seconds(90)), seconds(60)) - last, seconds(160));
    }
}
