//! A capture thread: one source, its decapsulator, and what takes the segments. What it says waits for nobody: the log has a
//! thread of its own.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::interface::{EVERY, Interface};
use super::interface_error::InterfaceError;
use super::lanes::{LiveSegments, Told, wall_clock};
use super::links::link_called;
use super::listener::Share;
use super::own::{OwnTraffic, WithoutOwn};
use super::pattern::Absence;
use super::plan::{Source, SourceError, SourceKind, SourcePlan};
use super::repetition::Repetition;
use super::right::Opener;
use super::source::{LiveSource, Lost, SourceCounts};
use crate::dispatch::Refused;
use crate::guard::{Faults, Trouble};
use crate::pipeline::{Pipeline, Segments as _};

/// How long to wait before a source that is gone is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often counts are told.
const TELL: Duration = Duration::from_millis(500);
/// How long what the kernel holds at the end may take.
const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait for frames that the kernel has counted and not handed over yet.
const LAST_LOOK: Duration = Duration::from_millis(20);

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
    /// No interface is there for it now, and none need be: it is one that a pattern has to spare, or the pattern's that it had
    /// was removed and is not required.
    Waiting = 3,
}

impl SourceState {
    /// The name in metrics and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
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
    /// Segments of the sensor's own connections.
    pub own: Refused,
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
    name: String,
    interface: Mutex<Option<String>>,
    pub(super) told: Told<CaptureReport>,
    state: AtomicU8,
}

impl CaptureStatus {
    pub(super) fn new(name: String) -> Self {
        let state = AtomicU8::new(SourceState::Down as u8);
        Self { name, interface: Mutex::default(), told: Told::default(), state }
    }

    /// What the source is called, whatever interface it has.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The interface that it has, or had last.
    pub(super) fn interface(&self) -> Option<String> {
        self.interface.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_at(&self, interface: Option<&str>) {
        *self.interface.lock().unwrap_or_else(PoisonError::into_inner) = interface.map(str::to_owned);
    }

    pub(super) fn state(&self) -> SourceState {
        match self.state.load(Ordering::Relaxed) {
            0 => SourceState::Up,
            1 => SourceState::Down,
            3 => SourceState::Waiting,
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
    /// What the source is called now.
    name: String,
    plan: SourcePlan,
    status: Arc<CaptureStatus>,
    stop: Arc<AtomicBool>,
    pipeline: Pipeline<WithoutOwn<S>>,
    report: CaptureReport,
    /// Of the times before this one that the source was open.
    before: SourceCounts,
    /// Frames taken since the source was opened.
    taken: u64,
    last_told: Instant,
    faults: Faults,
    opener: Opener,
    /// How often it was lost lately.
    losses: Repetition,
    /// Whether its coming and going is told now.
    is_told: bool,
}

impl<S: LiveSegments> Capture<S> {
    pub(super) fn new(
        plan: SourcePlan,
        opener: Opener,
        own: Option<Arc<OwnTraffic>>,
        status: Arc<CaptureStatus>,
        stop: Arc<AtomicBool>,
        segments: S,
    ) -> Self {
        Self {
            pipeline: Pipeline::new(plan.decap.clone(), WithoutOwn::new(segments, own)),
            name: plan.name.clone(),
            plan,
            status,
            stop,
            report: CaptureReport::default(),
            before: SourceCounts::default(),
            taken: 0,
            last_told: Instant::now(),
            faults: Faults::default(),
            opener,
            losses: Repetition::default(),
            is_told: true,
        }
    }

    /// `first` is the source as it was opened at the start, or what was made ready for it; `complaint` what was said of that.
    pub(super) fn run(mut self, first: Option<Source>, mut complaint: String) -> (S, CaptureReport) {
        let mut source = first;
        let mut interface = source.as_ref().and_then(Source::interface).map(str::to_owned);
        self.call(interface.as_deref());
        while !self.is_over() {
            let Some(open) = source.as_mut().filter(|source| source.is_up()) else {
                self.stay_away(&mut interface);
                self.wait(source.as_mut());
                // After the end nothing is taken up any more.
                if !self.is_over() {
                    self.find(&mut source, &mut interface, &mut complaint);
                }
                continue;
            };
            self.status.set(SourceState::Up);
            if let Err(lost) = self.turn(open, self.pipeline.segments().patience()) {
                self.tell(Some(open));
                self.lose(&lost, interface.as_deref());
                complaint = lost.to_string();
                // What can be bound to another interface is kept.
                if open.is_up() {
                    self.leave();
                    source = None;
                }
            } else if self.last_told.elapsed() >= TELL {
                self.follow_name(open, &mut interface);
                self.tell(Some(open));
                self.sum_up("it is captured from now");
            }
        }
        // One that was lost may have been up again for a moment: then there is something in its ring.
        if let Some(open) = source.as_mut().filter(|source| !source.is_spare()) {
            self.drain(open);
        }
        self.pipeline.finish();
        self.tell(source.as_mut());
        if source.is_some() {
            self.abandon();
            self.status.told.tell(self.report.clone());
        }
        self.status.set(SourceState::Stopped);
        (self.pipeline.into_segments().into_inner(), self.report)
    }

    /// From now on it captures from `interface`.
    fn call(&mut self, interface: Option<&str>) {
        self.name = self.plan.name_with(interface);
        self.status.is_at(interface);
    }

    /// Says what it is while it has nothing to capture from. `interface` is the one that it had.
    fn stay_away(&mut self, interface: &mut Option<String>) {
        let Some(pattern) = &self.plan.pattern else { return self.status.set(SourceState::Down) };
        // Nobody knows: it is what it was.
        let Ok(absence) = pattern.absence(interface.as_deref(), self.plan.is_required) else { return };
        self.status.set(match absence {
            Absence::OfNone => SourceState::Waiting,
            Absence::OfAnother => {
                *interface = None;
                self.status.is_at(None);
                SourceState::Waiting
            }
            Absence::Removed => SourceState::Waiting,
            Absence::Missed => SourceState::Down,
        });
        self.sum_up("it is gone now");
    }

    /// The interface may have another name: a section means the one that is called as it says.
    fn follow_name(&mut self, source: &mut Source, interface: &mut Option<String>) {
        let Source::Interface(ring) = source else { return };
        let Some(name) = ring.renamed() else { return };
        match &self.plan.pattern {
            Some(pattern) if pattern.matches(&name) => {
                tracing::info!(source = self.name, "its interface is called {name} from now on");
                pattern.rename(ring.name(), &name);
                ring.rename(&name);
                self.call(Some(&name));
                *interface = Some(name);
            }
            _ => ring.turn_away(&format!("it is called {name} now")),
        }
    }

    /// The source gives nothing further.
    fn lose(&mut self, lost: &Lost, interface: Option<&str>) {
        self.is_told = self.losses.may_say(Instant::now());
        let what_next = match (&self.plan.pattern, interface) {
            (Some(pattern), Some(interface)) => {
                pattern.release(interface);
                format!("waiting until it or another that matches {} is up", pattern.glob())
            }
            _ => "trying again every second".to_owned(),
        };
        if self.is_told {
            tracing::warn!(source = self.name, "{lost}; {what_next}");
        }
        if self.plan.pattern.is_some() {
            self.name = self.plan.name_with(None);
        }
    }

    /// Says how often it came and went unsaid, when that has been long enough.
    fn sum_up(&mut self, now: &str) {
        if let Some(times) = self.losses.left_out(Instant::now()) {
            tracing::warn!(source = self.name, "it was lost and found again {times} times more than was said; {now}");
            self.is_told = true;
        }
    }

    /// The source is closed: its counts begin again with the next one.
    fn leave(&mut self) {
        self.abandon();
        self.before = self.report.source;
        self.taken = 0;
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.pipeline.segments().is_stopped()
    }

    /// One look at the source.
    fn turn(&mut self, source: &mut Source, patience: Duration) -> Result<usize, Lost> {
        let (pipeline, faults) = (&mut self.pipeline, &mut self.faults);
        // A panic must not run through libpcap, which hands out the frames.
        let taken = source.poll(patience, &mut |frame| {
            faults.guard(Trouble::Frame, || pipeline.push(frame));
        });
        let count = *taken.as_ref().unwrap_or(&0);
        self.report.frames += count as u64;
        self.taken += count as u64;
        self.status.told.beat();
        self.pipeline.segments_mut().pulse(wall_clock(), count == 0);
        taken
    }

    /// Waits a little before the next try. What `lost` gets meanwhile is taken: an interface that is up for a moment is not to
    /// fill the ring unseen.
    fn wait(&mut self, mut lost: Option<&mut Source>) {
        let until = Instant::now() + RETRY;
        let is_spare = self.plan.pattern.is_some();
        while Instant::now() < until && !self.is_over() {
            let patience = self.pipeline.segments().patience();
            let mut taken = 0;
            match &mut lost {
                Some(Source::Interface(ring)) if ring.is_lost() => taken = self.take_strays(ring, patience),
                _ => std::thread::sleep(patience),
            }
            self.status.told.beat();
            if is_spare && taken == 0 {
                self.pipeline.segments_mut().absent(wall_clock());
            } else {
                self.pipeline.segments_mut().pulse(wall_clock(), taken == 0);
            }
            if self.last_told.elapsed() >= TELL {
                self.tell(lost.as_deref_mut());
            }
        }
    }

    /// Takes what came of an interface that is lost, unless it is another source's by now.
    fn take_strays(&mut self, ring: &mut Interface, patience: Duration) -> usize {
        if self.plan.pattern.as_ref().is_some_and(|pattern| pattern.is_taken(ring.name())) {
            // That one has them, too. It is opened again with the next interface.
            if let Err(error) = ring.close_intake() {
                tracing::debug!(source = self.name, "cannot shut out what is another source's now: {error}");
            }
            std::thread::sleep(patience);
            return 0;
        }
        let (pipeline, faults) = (&mut self.pipeline, &mut self.faults);
        let taken = ring.take_strays(patience, &mut |frame| {
            faults.guard(Trouble::Frame, || pipeline.push(frame));
        });
        self.report.frames += taken as u64;
        self.taken += taken as u64;
        taken
    }

    /// Tries once. `interface` is the one that it had, and then the one that it has.
    fn find(&mut self, source: &mut Option<Source>, interface: &mut Option<String>, complaint: &mut String) {
        let mut kind = self.plan.kind.clone();
        let pattern = self.plan.pattern.clone();
        match (&mut kind, &pattern) {
            (SourceKind::Interface(options), Some(pattern)) => {
                let Ok(Some(name)) = pattern.claim(interface.as_deref()) else { return };
                options.name.clone_from(&name);
                *interface = Some(name);
            }
            // The others may be there.
            (SourceKind::Listener(options), _) if options.share == Share::First => options.share = Share::Further,
            _ => {}
        }
        let error = match self.open(source, &kind) {
            // The thread that opens ends with the last of those that ask.
            None => return,
            Some(Ok(())) => {
                self.report.reopened += 1;
                complaint.clear();
                self.call(interface.as_deref().or(match &kind {
                    SourceKind::Interface(options) => Some(&options.name),
                    SourceKind::Listener(_) => None,
                }));
                if self.is_told {
                    tracing::info!(source = self.name, "capturing");
                }
                return;
            }
            Some(Err(error)) => error,
        };
        let mut words = error.to_string();
        if let SourceError::Interface(InterfaceError::Forbidden { name, .. }) = &error {
            words = format!(
                "interface {name} is there, but the right to open it was given up at the start: restart the sensor, or keep the right (privileges.reopen = true)"
            );
        }
        let after = match (&pattern, interface.as_deref()) {
            // It went down or away in between: it may come again.
            (Some(pattern), Some(name)) if error.is_of_the_moment() => {
                pattern.release(name);
                "trying again"
            }
            (Some(pattern), Some(name)) => {
                pattern.refuse(name);
                "it is left out"
            }
            _ => "trying again every second",
        };
        // Once for each reason: it may stay so for days.
        if *complaint != words && self.is_told {
            tracing::warn!(source = self.name, "{words}; {after}");
            *complaint = words;
        }
    }

    /// Binds what there is to the interface, which takes no right, or has it opened.
    fn open(&mut self, source: &mut Option<Source>, kind: &SourceKind) -> Option<Result<(), SourceError>> {
        if let (Some(Source::Interface(ring)), SourceKind::Interface(options)) = (source.as_mut(), kind) {
            match ring.take_up(&options.name) {
                Err(error @ InterfaceError::OtherKind { .. }) if !self.opener.has_right() => {
                    return Some(Err(error.into()));
                }
                Err(InterfaceError::OtherKind { .. }) => {}
                result => return Some(result.map_err(SourceError::from)),
            }
        }
        // Without the right that is missed first, whether there is such an interface or not.
        if let SourceKind::Interface(options) = kind
            && !self.opener.has_right()
            && options.name != EVERY
            && link_called(&options.name).is_ok_and(|found| found.is_none())
        {
            return Some(Err(InterfaceError::Missing { name: options.name.clone() }.into()));
        }
        let (status, segments) = (&self.status, self.pipeline.segments_mut());
        let opened = self.opener.open(kind, || {
            status.told.beat();
            segments.pulse(wall_clock(), true);
        });
        Some(opened?.map(|opened| {
            if source.is_some() {
                self.tell(source.as_mut());
                self.leave();
            }
            *source = Some(opened);
        }))
    }

    /// Takes what the kernel had already accepted when the end came, and nothing that comes later.
    fn drain(&mut self, source: &mut Source) {
        if let Err(error) = source.close_intake() {
            tracing::debug!(source = self.name, "cannot stop the kernel's side first: {error}");
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
        self.report.own = self.pipeline.segments().left_out();
        self.status.told.tell(self.report.clone());
    }
}
