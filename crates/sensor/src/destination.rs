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
    /// Waiting for the platform ends when for so long no record got anywhere.
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
                while stats.records().waiting() > 0 && !interrupted.load(Ordering::Relaxed) {
                    let now = settled(&stats.records());
                    if now != last.0 {
                        last = (now, Instant::now());
                    } else if last.1.elapsed() >= patience {
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

/// Records with a final fate.
fn settled(records: &RecordsLine) -> u64 {
    records.accepted + records.rejected + records.dropped_total()
}
