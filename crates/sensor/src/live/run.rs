//! Starting, watching and stopping: capture threads, workers and the sealing thread.
//!
//! With one source and one worker the capture thread does it all. Else capture threads hand segments to workers by flow, so
//! that the directions of a connection may come from two interfaces; workers put what comes from several in the order of
//! capture. Nothing in front of the outlet ever waits: what a full
//! queue cannot take is dropped, and counted there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, ScopedJoinHandle};

use super::capture::{Capture, CaptureReport, CaptureStatus, SourceState};
use super::hold::{HeldPorts, HeldProtocols, Keeping};
use super::lanes::{Feed, LiveLane, Told};
use super::merge::{Horizons, Merge};
use super::own::OwnTraffic;
use super::pinning::{Pinning, pin};
use super::plan::{Source, SourceError, SourceKind, SourcePlan};
use super::renewal::Renewal;
use super::right::Opener;
use crate::dispatch::{Dispatcher, Refused, WhenFull};
use crate::ledger::{Captures, Ledger};
use crate::outlet::Outlet;
use crate::pipeline::{Lane, LaneReport, Settings};
use crate::sealing::{Queue, Sealing, most_waiting};
use crate::tally::Tally;
use crate::workers::WorkerFailed;

/// Batches that may wait for a worker: up to 16 MiB of payload, a tenth of a second at 1 Gbit/s.
const QUEUED: usize = 64;

/// Interfaces that are opened at the same time: it takes the kernel a fifth of a second to make a ring of 64 MiB.
const OPENED_AT_ONCE: usize = 16;

/// Sources that are open, or are waited for.
#[derive(Debug)]
pub struct Sources {
    /// Each with what was said of it.
    opened: Vec<(SourcePlan, Option<Source>, String)>,
    held: Held,
}

/// What is held so that the host stays silent.
#[derive(Debug, Default)]
struct Held {
    ports: HeldPorts,
    protocols: Option<HeldProtocols>,
}

impl Sources {
    /// Opens them all. Whoever starts as root can give that up from here on: for what is not there yet a ring is made ready,
    /// unless it is said that the [`Opener`] keeps the right.
    ///
    /// # Errors
    /// When a required source cannot be opened, or one cannot for a reason that waiting does not mend.
    pub fn open(plans: Vec<SourcePlan>, keeps_right: bool) -> Result<Self, SourceError> {
        let mut sources = Vec::with_capacity(plans.len());
        for some in plans.chunks(OPENED_AT_ONCE) {
            for source in open_all(some, keeps_right) {
                sources.push(source?);
            }
        }
        let opened: Vec<_> =
            plans.into_iter().zip(sources).map(|(plan, (source, said))| (plan, source, said)).collect();
        for (plan, ..) in &opened {
            if let Some(pattern) = &plan.pattern
                && pattern.expect_these() == 0
                && plan.is_required
            {
                return Err(SourceError::Pattern { pattern: pattern.glob().to_owned() });
            }
        }
        // Behind the listeners, which have their ports first.
        let held = hold(opened.iter().map(|(plan, ..)| plan));
        Ok(Self { opened, held })
    }
}

/// What to run.
#[derive(Debug)]
pub struct Run<O> {
    /// What to capture from; at least one.
    pub sources: Sources,
    /// What opens them again. Made while the right to is there.
    pub opener: Opener,
    /// What tells the sensor's own connections, which are not recorded.
    pub own: Option<Arc<OwnTraffic>>,
    /// Settings of every stage behind decapsulation, for `workers` workers.
    pub settings: Settings,
    /// What workers change to while they run.
    pub renewal: Arc<Renewal>,
    /// How many workers (at least 1).
    pub workers: usize,
    /// Where threads stay.
    pub pinning: Pinning,
    /// Where records go.
    pub outlet: O,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No threads.
    #[error("cannot start a thread: {0}; the limit of the user or the service (TasksMax) may be reached")]
    Thread(#[from] std::io::Error),
}

/// A sensor that captures.
#[derive(Debug)]
pub struct Running<O> {
    stop: Arc<AtomicBool>,
    threads: Threads,
    witness: Witness,
    queue: Queue,
    sealing: Sealing<O>,
    _held: (Keeping, Option<HeldProtocols>),
}

/// What the threads of a running sensor tell, also while it stops.
#[derive(Clone, Debug)]
pub struct Witness {
    captures: Vec<Arc<CaptureStatus>>,
    lanes: Vec<Arc<Told<LaneReport>>>,
    /// Records that the sealing thread could not take.
    refused: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Threads {
    /// The capture thread does it all.
    One(JoinHandle<(LiveLane, CaptureReport)>),
    /// Capture threads in front of workers.
    Many { captures: Vec<JoinHandle<(Feed, CaptureReport)>>, workers: Vec<JoinHandle<LaneReport>> },
}

/// A source, as the status shows it.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// Its name, which no other has.
    pub name: String,
    /// The interface that it has, or had last.
    pub interface: Option<String>,
    /// Whether it gives frames.
    pub state: SourceState,
    /// What it counted.
    pub report: CaptureReport,
}

/// What a running sensor has counted, as told by its threads within the last second.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Each source.
    pub sources: Vec<SourceStatus>,
    /// Every unit's fate so far. The threads tell at slightly different times, so lines may be off by what is under way.
    pub ledger: Ledger,
    /// Hosts and status classes.
    pub tally: Tally,
    /// Records dropped because the sealing thread could not keep up.
    pub records_refused: u64,
}

impl<O: Outlet + Send + 'static> Run<O> {
    /// Begins to capture.
    ///
    /// # Errors
    /// When threads cannot be had.
    pub fn start(self) -> Result<Running<O>, StartError> {
        let Self { sources: Sources { mut opened, held }, opener, own, settings, renewal, workers, pinning, outlet } =
            self;
        let workers = workers.max(1);
        let stop = Arc::new(AtomicBool::new(false));
        let held = (held.ports.keep()?, held.protocols);
        let (sealing, queue) = Sealing::start(outlet, workers, WhenFull::Drop, most_waiting(&settings, workers))?;
        let captures: Vec<_> =
            opened.iter().map(|(plan, ..)| Arc::new(CaptureStatus::new(plan.name.clone()))).collect();
        let lanes: Vec<Arc<Told<LaneReport>>> = (0..workers).map(|_| Arc::default()).collect();
        let lane = |number: usize| {
            LiveLane::new(Lane::new(&settings, queue.clone()), Arc::clone(&lanes[number]), Arc::clone(&renewal))
        };
        let spawn = |name: String| thread::Builder::new().name(name);
        let threads = if opened.len() == 1 && workers == 1 {
            let (plan, source, said) = opened.remove(0);
            let status = Arc::clone(&captures[0]);
            let capture = Capture::new(plan, opener, own, status, Arc::clone(&stop), lane(0));
            let cpu = pinning.of_both();
            let run = move || {
                pin(cpu);
                capture.run(source, said)
            };
            Threads::One(spawn("capture-0".to_owned()).spawn(run)?)
        } else {
            let (first, inboxes) = Dispatcher::new(workers, QUEUED, WhenFull::Drop, sealing.stop_flag());
            let mut worker_threads = Vec::with_capacity(workers);
            // Of one source all comes in order as it is.
            let count = if opened.len() > 1 { workers } else { 0 };
            let horizons: Vec<Horizons> = (0..count).map(|_| Horizons::new(opened.len())).collect();
            for (number, inbox) in inboxes.into_iter().enumerate() {
                let lane = lane(number);
                let merge = horizons.get(number).cloned().map(Merge::new);
                let cpu = pinning.of_worker(number);
                let work = move || {
                    pin(cpu);
                    match merge {
                        Some(merge) => lane.work_merged(&inbox, merge),
                        None => lane.work(&inbox),
                    }
                };
                worker_threads.push(spawn(format!("worker-{number}")).spawn(work)?);
            }
            let mut capture_threads = Vec::with_capacity(opened.len());
            for (number, (plan, source, said)) in opened.into_iter().enumerate() {
                let status = Arc::clone(&captures[number]);
                let horizons = horizons.iter().map(|horizons| horizons.of(number)).collect();
                let feed = Feed::new(first.another(number), horizons);
                let capture = Capture::new(plan, opener.clone(), own.clone(), status, Arc::clone(&stop), feed);
                let cpu = pinning.of_capture(number);
                let run = move || {
                    pin(cpu);
                    capture.run(source, said)
                };
                capture_threads.push(spawn(format!("capture-{number}")).spawn(run)?);
            }
            Threads::Many { captures: capture_threads, workers: worker_threads }
        };
        let witness = Witness { captures, lanes, refused: queue.refusals() };
        Ok(Running { stop, threads, witness, queue, sealing, _held: held })
    }
}

impl Witness {
    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let captures = self.captures.iter().map(|status| SourceStatus {
            name: status.name().to_owned(),
            interface: status.interface(),
            state: status.state(),
            report: status.told.latest(),
        });
        let lanes: Vec<_> = self.lanes.iter().map(|told| told.latest()).collect();
        // What a dispatcher refused is known at the end only; until then it is what is missing.
        snapshot(captures.collect(), &lanes, None, self.refused.load(Ordering::Relaxed))
    }

    /// How often each thread has said that it is alive: a watchdog compares two of these.
    #[must_use]
    pub fn beats(&self) -> Vec<u64> {
        let captures = self.captures.iter().map(|status| status.told.beats());
        captures.chain(self.lanes.iter().map(|told| told.beats())).collect()
    }
}

impl<O: Outlet + Send + 'static> Running<O> {
    /// What the threads tell: this outlives the stop.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.witness.clone()
    }

    /// Whether the outlet takes nothing further.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.sealing.is_stopped()
    }

    /// Stops capturing, takes what the kernel already has, ends every flow, and hands everything to the outlet.
    ///
    /// # Errors
    /// When a thread failed.
    pub fn stop(self) -> Result<(Snapshot, O), WorkerFailed> {
        self.stop.store(true, Ordering::Relaxed);
        // What is still in rings and queues is parsed now: to wait for the sealing thread costs no frame.
        self.queue.wait_when_full();
        let Self { threads, witness: Witness { captures, .. }, queue, sealing, .. } = self;
        let (reports, lanes, refused) = match threads {
            Threads::One(thread) => {
                let (lane, report) = thread.join().map_err(|_| WorkerFailed)?;
                (vec![report], vec![lane.finish()], Refused::default())
            }
            Threads::Many { captures, workers } => {
                let mut refused = Refused::default();
                let mut reports = Vec::with_capacity(captures.len());
                for thread in captures {
                    let (feed, report) = thread.join().map_err(|_| WorkerFailed)?;
                    refused += feed.finish();
                    reports.push(report);
                }
                let lanes: Result<Vec<_>, _> = workers.into_iter().map(JoinHandle::join).collect();
                (reports, lanes.map_err(|_| WorkerFailed)?, refused)
            }
        };
        let records_refused = queue.refused();
        // The last sender goes: that is how the sealing thread learns that there is no more.
        drop(queue);
        let (outlet, sealed) = sealing.finish_counted()?;
        let sources = captures
            .iter()
            .zip(reports)
            .map(|(status, report)| SourceStatus {
                name: status.name().to_owned(),
                interface: status.interface(),
                state: status.state(),
                report,
            })
            .collect();
        let mut snapshot = snapshot(sources, &lanes, Some(refused), records_refused);
        snapshot.ledger.unwritten += sealed.unwritten;
        Ok((snapshot, outlet))
    }
}

/// Opens each, interfaces at the same time; sockets one by one, because those that share a port go by who was first. The threads
/// are over when it returns: none of them keeps a right.
fn open_all(plans: &[SourcePlan], keeps_right: bool) -> Vec<Result<(Option<Source>, String), SourceError>> {
    thread::scope(|scope| {
        let opening: Vec<_> = plans
            .iter()
            .map(|plan| {
                let open = move || plan.open(keeps_right);
                match plan.kind {
                    SourceKind::Interface(_) if plans.len() > 1 => {
                        thread::Builder::new().name("opening".to_owned()).spawn_scoped(scope, open).map_err(|_| open())
                    }
                    _ => Err(open()),
                }
            })
            .collect();
        let result = |opening: Result<ScopedJoinHandle<'_, _>, _>| match opening {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(opened) => opened,
        };
        opening.into_iter().map(result).collect()
    })
}

/// What cannot be held is worth a warning, not a refusal.
fn hold<'a>(plans: impl Iterator<Item = &'a SourcePlan> + Clone) -> Held {
    let ports = plans.clone().flat_map(|plan| plan.held_ports.iter().copied()).collect();
    let listened: Vec<_> = plans
        .filter_map(|plan| match &plan.kind {
            SourceKind::Listener(options) => Some(options.address),
            SourceKind::Interface(_) => None,
        })
        .collect();
    let mut held = Held { ports: HeldPorts::hold(&ports, &listened), protocols: None };
    if !ports.is_empty() {
        match HeldProtocols::hold() {
            Ok(protocols) => held.protocols = Some(protocols),
            Err(error) => tracing::warn!(
                "cannot hold the IP protocols of tunnels: {error}; the host may answer a mirror in GRE or IP-in-IP with ICMP protocol unreachable (drop those in the firewall, or switch this off with hold_port = false)"
            ),
        }
    }
    held
}

fn snapshot(
    sources: Vec<SourceStatus>,
    lanes: &[LaneReport],
    refused: Option<Refused>,
    records_refused: u64,
) -> Snapshot {
    let mut captures = Captures { opened: sources.len() as u64, ..Captures::default() };
    let mut decap = decap::Stats::default();
    let (mut payload_bytes, mut given_up, mut own) = (0, 0, Refused::default());
    for SourceStatus { report, .. } in &sources {
        captures.frames += report.frames;
        captures.received += report.source.received;
        captures.abandoned += report.abandoned;
        captures.interface_drops += report.source.interface_drops;
        captures.system_drops += report.source.kernel_drops;
        decap += &report.decap;
        payload_bytes += report.payload_bytes;
        given_up += report.given_up;
        own += report.own;
    }
    let mut ledger = Ledger::gather(captures, &decap, payload_bytes, lanes);
    ledger.refused = refused.unwrap_or_default();
    ledger.unsealed = records_refused;
    ledger.own = own;
    // Of workers' threads they are counted as those of lanes.
    ledger.frames_given_up = given_up;
    let mut tally = Tally::default();
    for lane in lanes {
        tally.merge(&lane.tally);
    }
    Snapshot { sources, ledger, tally, records_refused }
}
