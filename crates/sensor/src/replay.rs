//! Capture files in, records out: the loop over inputs and frames, and what it says at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::destination::{Conclusion, Destination};
use crate::interruptible::Interruptible;
use crate::ledger::{Captures, Ledger};
use crate::outlet::OutputFailure;
use crate::pipeline::{IDLE, LaneReport, Pipeline, Segments, Settings};
use crate::progress::Progress;
use crate::sealing::Sealing;
use crate::source::{CaptureReader, Filter, Input, OpenError, ReadError, ReadOptions};
use crate::tally::Tally;
use crate::workers::{WorkerFailed, Workers};

/// Frames between two looks at the progress bar; a power of two.
const PROGRESS_FRAMES: u64 = 4_096;

/// What to replay, how and where to.
#[derive(Debug)]
pub struct Replay {
    /// What to read, in this order. Flows go on from one file into the next, as rotated captures need it.
    pub inputs: Vec<Input>,
    /// How to read.
    pub read: ReadOptions,
    /// Which frames to look at, as they were captured.
    pub filter: Option<Filter>,
    /// Settings of every stage, for `workers` workers.
    pub settings: Settings,
    /// How many threads work on flows; 1 means the reading thread does.
    pub workers: usize,
    /// Where records go.
    pub output: Destination,
    /// Set from outside to stop reading and to finish what is complete.
    pub interrupted: Arc<AtomicBool>,
}

/// What came of a replay.
#[derive(Debug)]
pub struct Outcome {
    /// Every unit's fate.
    pub ledger: Ledger,
    /// Hosts, status classes, server names.
    pub tally: Tally,
    /// From the first frame asked for to the last record written.
    pub elapsed: Duration,
    /// What was wrong with the inputs, in their order.
    pub failures: Vec<Failure>,
    /// Why the output ended early, if it did.
    pub output_failure: Option<OutputFailure>,
    /// What became of the records, where they were sent.
    pub delivery: Option<uploader::DrainReport>,
    /// Whether it was stopped from outside before the end.
    pub was_interrupted: bool,
}

/// What was wrong with an input. The inputs after it were read all the same.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It could not be opened; nothing of it was read.
    #[error("{0}{hint}", hint = .0.hint().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Open(OpenError),
    /// It is damaged; all before the damage was read.
    #[error("{0}")]
    Read(ReadError),
}

impl Failure {
    /// The exit code that it asks for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) => error.exit_code(),
            Self::Read(_) => 1,
        }
    }
}

/// The replay itself could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The system gave no threads.
    #[error("cannot start {workers} worker threads: {source}; try fewer with --workers")]
    Threads {
        /// How many were asked for.
        workers: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// A worker panicked.
    #[error(transparent)]
    Worker(#[from] WorkerFailed),
}

impl Replay {
    /// Reads everything, writes everything.
    ///
    /// Faults of inputs and output do not end it with an error: they are part of the outcome.
    ///
    /// # Errors
    /// When threads cannot be had or fail.
    pub fn run(self, progress: &Progress) -> Result<Outcome, ReplayError> {
        let Self { inputs, read, filter, settings, workers, output, interrupted } = self;
        let start = Instant::now();
        let mut reading = Reading {
            read,
            filter,
            progress,
            interrupted: &interrupted,
            captures: Captures::default(),
            failures: Vec::new(),
        };
        let (decap, payload_bytes, lanes, output) = if workers > 1 {
            let workers = Workers::start(&settings, workers, output)
                .map_err(|source| ReplayError::Threads { workers, source })?;
            let mut pipeline = Pipeline::new(settings.decap.clone(), workers);
            reading.feed(&inputs, &mut pipeline);
            pipeline.finish();
            let (decap, payload_bytes) = (pipeline.decap_stats().clone(), pipeline.payload_bytes());
            let (lanes, output) = pipeline.into_segments().finish()?;
            (decap, payload_bytes, lanes, output)
        } else {
            // Reading and the pipeline share this thread; ids and as many records as it has time for are another's.
            let (sealing, queue) =
                Sealing::start_writing(output, &settings).map_err(|source| ReplayError::Threads { workers, source })?;
            let mut pipeline = Pipeline::inline(&settings, queue);
            reading.feed(&inputs, &mut pipeline);
            pipeline.finish();
            let (decap, payload_bytes) = (pipeline.decap_stats().clone(), pipeline.payload_bytes());
            let mut lane = pipeline.into_segments();
            lane.finish();
            let report = lane.report();
            // Its queue goes with it, which is how the thread learns that there is no more.
            drop(lane);
            let (output, written) = sealing.finish_counted()?;
            (decap, payload_bytes, vec![report, written], output)
        };
        progress.finish();
        let Reading { captures, failures, filter, .. } = reading;
        if let Some(problem) = filter.as_ref().and_then(Filter::problem) {
            tracing::warn!("{problem}; frames of this type were left out");
        }
        let mut tally = Tally::default();
        for LaneReport { tally: part, .. } in &lanes {
            tally.merge(part);
        }
        let Conclusion { failure: output_failure, delivery } = output.conclude(&interrupted);
        let mut ledger = Ledger::gather(captures, &decap, payload_bytes, &lanes);
        if let Some(OutputFailure::Stalled { cut_off, .. }) = output_failure {
            ledger.unwritten += cut_off;
        }
        ledger.delivery = delivery.map(|report| report.records);
        Ok(Outcome {
            ledger,
            tally,
            elapsed: start.elapsed(),
            failures,
            output_failure,
            delivery,
            was_interrupted: interrupted.load(Ordering::Relaxed),
        })
    }
}

/// The reading side.
struct Reading<'a> {
    read: ReadOptions,
    filter: Option<Filter>,
    progress: &'a Progress,
    interrupted: &'a Arc<AtomicBool>,
    captures: Captures,
    failures: Vec<Failure>,
}

impl Reading<'_> {
    fn feed<S: Segments>(&mut self, inputs: &[Input], pipeline: &mut Pipeline<S>) {
        for (n, input) in inputs.iter().enumerate() {
            if self.is_over(pipeline) {
                return;
            }
            let opened = match Interruptible::open(input, self.interrupted) {
                Some(pipe) => CaptureReader::from_read(Box::new(pipe), input.to_string(), &self.read)
                    .and_then(|reader| reader.waiting_at_most(IDLE)),
                None => CaptureReader::open(input, &self.read),
            };
            match opened {
                Ok(mut reader) => {
                    self.captures.opened += 1;
                    self.progress.start(reader.name(), n + 1, inputs.len(), reader.progress());
                    let end = self.feed_capture(&mut reader, pipeline);
                    self.captures.unsupported += reader.counts().unsupported;
                    self.captures.interface_drops += reader.counts().interface_drops;
                    self.captures.system_drops += reader.counts().system_drops;
                    // Where it was stopped, the input seems to be cut.
                    if self.is_over(pipeline) {
                        return;
                    }
                    for warning in reader.warnings() {
                        self.progress.suspend(|| tracing::warn!("{warning}"));
                    }
                    if let Err(error) = end {
                        self.fail(Failure::Read(error));
                    }
                }
                Err(_) if self.is_over(pipeline) => return,
                Err(error) => self.fail(Failure::Open(error)),
            }
        }
    }

    fn feed_capture<S: Segments>(
        &mut self,
        reader: &mut CaptureReader,
        pipeline: &mut Pipeline<S>,
    ) -> Result<(), ReadError> {
        while !self.is_over(pipeline) {
            let captured = match reader.next() {
                Ok(Some(captured)) => captured,
                Ok(None) => break,
                // A pipe, which is quiet, or whose traffic may be nobody's: what it gave so far is not to wait for more.
                Err(ReadError::Waiting { .. }) => {
                    pipeline.segments_mut().idle();
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.captures.frames += 1;
            if self.filter.as_mut().is_none_or(|filter| filter.matches(&captured)) {
                pipeline.push(captured.frame);
            } else {
                self.captures.filtered += 1;
            }
            if self.captures.frames.is_multiple_of(PROGRESS_FRAMES) {
                self.progress.update(reader.progress(), self.captures.frames);
            }
        }
        Ok(())
    }

    fn is_over<S: Segments>(&self, pipeline: &Pipeline<S>) -> bool {
        pipeline.segments().is_stopped() || self.interrupted.load(Ordering::Relaxed)
    }

    /// Says it at once, for whoever waits for a long replay, and remembers it for the exit code.
    fn fail(&mut self, failure: Failure) {
        self.progress.suspend(|| tracing::error!("{failure}"));
        self.failures.push(failure);
    }
}
