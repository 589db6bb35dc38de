//! The main thread: it watches over the others, tells the service manager, reloads and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use uploader::RecordsLine;

use super::attended::Attended;
use super::notify::Notifier;
use super::reloading::{Reload, Reloading};
use super::state::State;
use crate::destination::{Conclusion, Destination};
use crate::ledger::Ledger;
use crate::live::{Run, Running, Snapshot, StartError};
use crate::outlet::OutputFailure;
use crate::workers::WorkerFailed;

/// How often signals and threads are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often the totals are said.
const TOTALS: Duration = Duration::from_secs(60);
/// How long the stop may take. What is parsed by then is delivered or in the spool.
pub const DEADLINE: Duration = Duration::from_millis(4_800);

/// A sensor that is to run until it is told to stop.
#[derive(Debug)]
pub struct Appliance {
    /// What runs.
    pub run: Run<Attended<Destination>>,
    /// What it knows of itself.
    pub state: Arc<State>,
    /// Set by SIGTERM and SIGINT.
    pub stop: Arc<AtomicBool>,
    /// Set by SIGHUP.
    pub reload: Arc<AtomicBool>,
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    /// Every unit's fate.
    pub snapshot: Snapshot,
    /// Why the output ended early, if it did.
    pub output_failure: Option<OutputFailure>,
    /// Whether a signal asked for it.
    pub is_asked_for: bool,
    /// Whether something stood still for longer than a stop may take: the counts are those that were told last, and may be off by
    /// what was under way.
    pub is_late: bool,
}

/// Why it did not start, or not end well.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread failed.
    #[error(transparent)]
    Worker(#[from] WorkerFailed),
}

impl Appliance {
    /// Runs until it is told to stop, or the output takes nothing further. Each SIGHUP has `at_once` done here, and a `reload`
    /// begun on its own thread; those that come while one is under way are one more behind it.
    ///
    /// # Errors
    /// When it cannot start, or a thread failed.
    pub fn run(self, at_once: impl Fn(), reload: impl Reload) -> Result<End, ApplianceError> {
        let Self { run, state, stop, reload: asked } = self;
        let mut reloading = Reloading::start(reload).map_err(StartError::Thread)?;
        let mut is_reload_due = false;
        let running = run.start()?;
        let witness = running.witness();
        state.note(witness.snapshot(), &witness.beats(), Instant::now());
        let mut manager = Notifier::from_environment();
        manager.tell(&[NotifyState::Ready]);
        tracing::info!("capturing");
        let is_watched = is_watched(|name| std::env::var(name).ok());
        let (mut said, mut was_alive) = (Instant::now(), true);
        while !stop.load(Ordering::Relaxed) && !running.is_over() {
            thread::sleep(TICK);
            let now = Instant::now();
            state.note(witness.snapshot(), &witness.beats(), now);
            let is_alive = state.is_alive(now);
            if is_watched && is_alive {
                manager.beat();
            } else {
                manager.catch_up();
            }
            if was_alive && !is_alive {
                tracing::error!("a thread makes no progress; /healthz says which");
            }
            was_alive = is_alive;
            if asked.swap(false, Ordering::Relaxed) {
                at_once();
                is_reload_due = true;
            }
            if reloading.has_ended() {
                manager.tell(&[NotifyState::Ready]);
            }
            if is_reload_due && reloading.begin() {
                is_reload_due = false;
                let clock = NotifyState::monotonic_usec_now().ok();
                let mut states = vec![NotifyState::Reloading];
                states.extend(clock);
                manager.tell(&states);
            }
            if said.elapsed() >= TOTALS {
                said = now;
                say_totals(&state, false);
            }
        }
        let is_asked_for = stop.load(Ordering::Relaxed);
        manager.tell(&[NotifyState::Stopping]);
        tracing::info!("stopping");
        let look = || {
            manager.catch_up();
            state.note(witness.snapshot(), &witness.beats(), Instant::now());
        };
        // Without a ledger there is at least what the threads have told.
        let ended = end(running, is_asked_for, look).inspect_err(|_| say_totals(&state, true))?;
        Ok(match (ended, state.snapshot()) {
            (Some(end), _) => end,
            (None, Some(snapshot)) => end_of_last_look(snapshot, is_asked_for),
            (None, None) => return Err(WorkerFailed.into()),
        })
    }
}

/// Stops within the deadline, whatever stands still: then there is no end to tell of. `look` is called now and then until it is
/// over, and once more.
fn end(
    running: Running<Attended<Destination>>,
    is_asked_for: bool,
    mut look: impl FnMut(),
) -> Result<Option<End>, ApplianceError> {
    let deadline = Instant::now() + DEADLINE;
    let (done, over) = mpsc::channel();
    let stopping = thread::Builder::new().name("stopping".to_owned()).spawn(move || {
        let ended = running.stop().map(|(mut snapshot, destination)| {
            let written = destination.turns().written();
            // What is not delivered soon waits in the spool for the next start.
            let Conclusion { failure, delivery } = destination.into_inner().conclude(&Arc::new(AtomicBool::new(true)));
            let ledger = &mut snapshot.ledger;
            ledger.delivery = delivery.map(|report| report.records);
            match &failure {
                Some(OutputFailure::Stalled { cut_off, .. }) => ledger.unwritten += cut_off,
                Some(OutputFailure::Failed { remains, .. } | OutputFailure::Closed(remains)) => {
                    let written = (written + remains.taken).saturating_sub(remains.unread);
                    ledger.unwritten = ledger.recorded.saturating_sub(ledger.unsealed + written);
                }
                None => {}
            }
            End { snapshot, output_failure: failure, is_asked_for, is_late: false }
        });
        let _ = done.send(ended);
    });
    stopping.map_err(StartError::Thread)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = over.recv_timeout(left.min(TICK));
        look();
        match ended {
            Ok(ended) => return Ok(Some(ended?)),
            Err(mpsc::RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(WorkerFailed.into()),
        }
    }
}

/// The end of a sensor whose stop is not complete, by what its threads told last: what was on its way to the output is lost, and
/// what waits in memory for the platform goes with the process. Of a batch that the disk has yet, no more is known.
fn end_of_last_look(mut snapshot: Snapshot, is_asked_for: bool) -> End {
    lose_what_waits(&mut snapshot.ledger);
    End { snapshot, output_failure: None, is_asked_for, is_late: true }
}

/// What waits for the output, and in memory for the platform, goes with the process.
fn lose_what_waits(ledger: &mut Ledger) {
    ledger.unwritten += ledger.unsettled.take().unwrap_or(0);
    ledger.delivery.iter_mut().for_each(RecordsLine::lose_memory);
}

/// Whether the service manager waits to be told that all is well. Without a process id it is whoever has the variables that is
/// meant (sd_watchdog_enabled(3)).
fn is_watched(variable: impl Fn(&str) -> Option<String>) -> bool {
    let has_interval =
        variable("WATCHDOG_USEC").and_then(|value| value.parse::<u64>().ok()).is_some_and(|every| every > 0);
    let is_meant = variable("WATCHDOG_PID").is_none_or(|value| value.parse() == Ok(std::process::id()));
    has_interval && is_meant
}

/// The line of totals. With the last one, what waits is lost.
fn say_totals(state: &State, is_last: bool) {
    let Some(Snapshot { mut ledger, sources, .. }) = state.snapshot() else { return };
    if is_last {
        lose_what_waits(&mut ledger);
    }
    let down = sources.iter().filter(|source| source.state == crate::live::SourceState::Down).count();
    let records = ledger.delivery.unwrap_or_default();
    tracing::info!(
        frames = ledger.captures.frames,
        kernel_drops = ledger.captures.system_drops,
        flows = ledger.reassembly.active_flows,
        transactions = ledger.recorded,
        unsealed = ledger.unsealed,
        accepted = records.accepted,
        output_stalled = ledger.unwritten,
        waiting = records.waiting() + ledger.unsettled.unwrap_or(0),
        dropped = records.dropped_total(),
        sources_down = down,
        "totals"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_memory_at_a_late_end_is_lost() {
        let (ledger, tally) = Default::default();
        let mut snapshot = Snapshot { sources: Vec::new(), ledger, tally, records_refused: 0 };
        let waiting =
            RecordsLine { taken: 9, accepted: 2, waiting_memory: 4, waiting_spool: 3, ..RecordsLine::default() };
        snapshot.ledger.delivery = Some(waiting);
        (snapshot.ledger.unwritten, snapshot.ledger.unsettled) = (1, Some(5));
        let end = end_of_last_look(snapshot, true);
        let records = end.snapshot.ledger.delivery.unwrap();
        assert_eq!((records.waiting_memory, records.waiting_spool, records.dropped_total()), (0, 3, 4));
        assert_eq!(records.dropped(uploader::DropReason::Shutdown), 4);
        assert!(end.is_late && records.adds_up());
        assert_eq!((end.snapshot.ledger.unwritten, end.snapshot.ledger.unsettled), (6, None));
    }

    #[test]
    fn a_watchdog_is_fed_where_it_is_meant_for_this_process() {
        let own = std::process::id().to_string();
        for (interval, id, expected) in [
            (Some("2000000"), Some(own.as_str()), true),
            (Some("2000000"), None, true),
            (Some("2000000"), Some("1"), false),
            (Some("2000000"), Some(""), false),
            (Some("0"), None, false),
            (Some("soon"), None, false),
            (None, Some(own.as_str()), false),
        ] {
            let variable = |name: &str| if name == "WATCHDOG_USEC" { interval } else { id }.map(str::to_owned);
            assert_eq!(is_watched(variable), expected, "{interval:?} {id:?}");
        }
    }
}
