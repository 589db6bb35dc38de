//! A capture thread: one source, its decapsulator, and what takes the segments.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::hold::HeldPort;
use super::interface::{Interface, InterfaceError, InterfaceOptions};
use super::lanes::{LiveSegments, Told, wall_clock};
use super::listener::{Listener, ListenerError, ListenerOptions};
use super::source::{LiveSource, Lost, SourceCounts};
use crate::guard::Faults;
use crate::pipeline::Pipeline;

/// How long to wait before a source that is gone is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often counts are told.
const TELL: Duration = Duration::from_millis(500);
/// How long what the kernel holds at the end may take.
const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait for frames that the kernel has counted and not handed over yet.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// One thing to capture from.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// What it is called in logs and metrics.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// How to take its tunnels off.
    pub decap: decap::Config,
    /// Whether its absence at the start is fatal.
    pub is_required: bool,
    /// UDP ports to hold, so that the host does not answer the mirror.
    pub held_ports: Vec<u16>,
}

/// The two kinds of live sources.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A network interface.
    Interface(InterfaceOptions),
    /// A UDP socket.
    Listener(ListenerOptions),
}

/// Why a source cannot be captured from now.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A socket.
    #[error(transparent)]
    Listener(#[from] ListenerError),
}

impl SourceError {
    /// Whether waiting may mend it.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Interface(error) => error.may_pass(),
            Self::Listener(_) => false,
        }
    }
}

/// An open source of either kind.
#[derive(Debug)]
pub(super) enum Source {
    Interface(Interface),
    Listener(Box<Listener>),
}

impl SourceKind {
    pub(super) fn open(&self) -> Result<Source, SourceError> {
        Ok(match self {
            Self::Interface(options) => Source::Interface(Interface::open(options)?),
            Self::Listener(options) => Source::Listener(Box::new(Listener::open(options)?)),
        })
    }
}

impl Source {
    /// Whether `received` is what was taken and dropped, rather than a count of the kernel's.
    fn counts_what_it_took(&self) -> bool {
        match self {
            Self::Interface(interface) => interface.sees_loopback(),
            Self::Listener(_) => true,
        }
    }

    /// Lets the kernel accept nothing further, so that its counts stand still while the rest is taken.
    fn close_intake(&mut self) -> io::Result<()> {
        match self {
            Self::Interface(interface) => interface.close_intake(),
            Self::Listener(listener) => listener.close_intake(),
        }
    }
}

impl LiveSource for Source {
    fn poll(&mut self, patience: Duration, take: &mut impl FnMut(decap::Frame<'_>)) -> Result<usize, Lost> {
        match self {
            Self::Interface(interface) => interface.poll(patience, take),
            Self::Listener(listener) => listener.poll(patience, take),
        }
    }

    fn counts(&mut self) -> SourceCounts {
        match self {
            Self::Interface(interface) => interface.counts(),
            Self::Listener(listener) => listener.counts(),
        }
    }
}

/// Whether a source gives frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SourceState {
    /// It does, when there are any.
    Up = 0,
    /// It does not; it is tried again every second.
    Down = 1,
    /// The sensor has stopped.
    Stopped = 2,
}

impl SourceState {
    /// The name in metrics and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

/// What a capture thread counts.
#[derive(Clone, Debug, Default)]
pub struct CaptureReport {
    /// Frames taken from the source.
    pub frames: u64,
    /// What the kernel counted, over every time that the source was opened.
    pub source: SourceCounts,
    /// Frames given up because of a defect of the program.
    pub given_up: u64,
    /// Frames that the kernel had accepted and nobody could take any more: the source was lost, or the end was due.
    pub abandoned: u64,
    /// How often it was lost and found again.
    pub reopened: u64,
    /// What decapsulation counted.
    pub decap: decap::Stats,
    /// Payload bytes of the segments that decapsulation gave.
    pub payload_bytes: u64,
}

/// What others see of a capture thread.
#[derive(Debug)]
pub(super) struct CaptureStatus {
    pub(super) name: String,
    pub(super) told: Told<CaptureReport>,
    state: AtomicU8,
}

impl CaptureStatus {
    pub(super) fn new(name: String) -> Self {
        Self { name, told: Told::default(), state: AtomicU8::new(SourceState::Down as u8) }
    }

    pub(super) fn state(&self) -> SourceState {
        match self.state.load(Ordering::Relaxed) {
            0 => SourceState::Up,
            1 => SourceState::Down,
            _ => SourceState::Stopped,
        }
    }

    fn set(&self, state: SourceState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// Captures until `stop` is set; gives back what takes the segments, and the last report.
#[derive(Debug)]
pub(super) struct Capture<S> {
    plan: SourcePlan,
    status: Arc<CaptureStatus>,
    stop: Arc<AtomicBool>,
    pipeline: Pipeline<S>,
    report: CaptureReport,
    /// Of the times before this one that the source was open.
    before: SourceCounts,
    /// Frames taken since the source was opened.
    taken: u64,
    last_told: Instant,
    faults: Faults,
    _held: Vec<HeldPort>,
}

impl<S: LiveSegments> Capture<S> {
    pub(super) fn new(
        plan: SourcePlan,
        held: Vec<HeldPort>,
        status: Arc<CaptureStatus>,
        stop: Arc<AtomicBool>,
        segments: S,
    ) -> Self {
        Self {
            pipeline: Pipeline::new(plan.decap.clone(), segments),
            plan,
            status,
            stop,
            report: CaptureReport::default(),
            before: SourceCounts::default(),
            taken: 0,
            last_told: Instant::now(),
            faults: Faults::default(),
            _held: held,
        }
    }

    /// `first` is the source as it was opened at the start, if it could be.
    pub(super) fn run(mut self, first: Option<Source>) -> (S, CaptureReport) {
        let mut source = first;
        let mut complaint = String::new();
        while !self.is_over() {
            let Some(open) = source.as_mut() else {
                source = self.reopen(&mut complaint);
                continue;
            };
            self.status.set(SourceState::Up);
            if let Err(lost) = self.turn(open, self.pipeline.segments().patience()) {
                self.tell(Some(open));
                self.abandon();
                self.before = self.report.source;
                self.taken = 0;
                self.status.set(SourceState::Down);
                tracing::warn!(source = self.plan.name, "{lost}; trying again every second");
                complaint = lost.to_string();
                source = None;
            } else if self.last_told.elapsed() >= TELL {
                self.tell(Some(open));
            }
        }
        if let Some(open) = source.as_mut() {
            self.drain(open);
        }
        self.pipeline.finish();
        self.tell(source.as_mut());
        if source.is_some() {
            self.abandon();
            self.status.told.tell(self.report.clone());
        }
        self.status.set(SourceState::Stopped);
        (self.pipeline.into_segments(), self.report)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.pipeline.segments().is_stopped()
    }

    /// One look at the source.
    fn turn(&mut self, source: &mut Source, patience: Duration) -> Result<usize, Lost> {
        let (pipeline, faults) = (&mut self.pipeline, &mut self.faults);
        // A panic must not run through libpcap, which hands out the frames.
        let taken = source.poll(patience, &mut |frame| {
            faults.guard(None, || pipeline.push(frame));
        });
        let count = *taken.as_ref().unwrap_or(&0);
        self.report.frames += count as u64;
        self.taken += count as u64;
        self.status.told.beat();
        self.pipeline.segments_mut().pulse(wall_clock(), count == 0);
        taken
    }

    /// Waits a little, then tries once.
    fn reopen(&mut self, complaint: &mut String) -> Option<Source> {
        let until = Instant::now() + RETRY;
        while Instant::now() < until && !self.is_over() {
            std::thread::sleep(self.pipeline.segments().patience());
            self.status.told.beat();
            self.pipeline.segments_mut().pulse(wall_clock(), true);
        }
        match self.plan.kind.open() {
            Ok(source) => {
                self.report.reopened += 1;
                complaint.clear();
                tracing::info!(source = self.plan.name, "capturing");
                Some(source)
            }
            Err(error) => {
                let words = error.to_string();
                // Once for each reason: it may stay so for days.
                if *complaint != words {
                    tracing::warn!(source = self.plan.name, "{words}; trying again every second");
                    *complaint = words;
                }
                None
            }
        }
    }

    /// Takes what the kernel had already accepted when the end came, and nothing that comes later.
    fn drain(&mut self, source: &mut Source) {
        if let Err(error) = source.close_intake() {
            tracing::debug!(source = self.plan.name, "cannot stop the kernel's side first: {error}");
        }
        let counts = source.counts();
        let waiting = counts.received.saturating_sub(counts.kernel_drops);
        let end = Instant::now() + DRAIN;
        // A block of the ring that is not full is handed over by a timer: an empty look is not the end.
        while self.taken < waiting && Instant::now() < end {
            if self.turn(source, LAST_LOOK).is_err() {
                return;
            }
        }
        // Where what was read is what is counted, the end is when nothing is left.
        if source.counts_what_it_took() {
            while Instant::now() < end && matches!(self.turn(source, 2 * LAST_LOOK), Ok(1..)) {}
        }
    }

    /// Counts what the kernel still held of the source as it is now open.
    fn abandon(&mut self) {
        let received = self.report.source.received - self.before.received;
        let drops = self.report.source.kernel_drops - self.before.kernel_drops;
        self.report.abandoned += received.saturating_sub(drops).saturating_sub(self.taken);
    }

    fn tell(&mut self, source: Option<&mut Source>) {
        self.last_told = Instant::now();
        if let Some(source) = source {
            let now = source.counts();
            self.report.source = SourceCounts {
                received: self.before.received + now.received,
                kernel_drops: self.before.kernel_drops + now.kernel_drops,
                interface_drops: self.before.interface_drops + now.interface_drops,
            };
        }
        self.report.decap = self.pipeline.decap_stats().clone();
        self.report.payload_bytes = self.pipeline.payload_bytes();
        self.report.given_up = self.faults.count();
        self.status.told.tell(self.report.clone());
    }
}
