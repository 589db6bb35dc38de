//! What a running appliance knows of itself, for the status endpoints and the watchdog.
//!
//! A thread that does not move is stuck, and the process is to be restarted: unless it waits for a disk, or for whoever reads
//! the output. That is no fault a restart would mend: the next process would wait for the same, and what memory holds would be
//! lost, while capture goes on meanwhile. So then the process is alive but not ready.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uploader::Stats;

use super::attended::Turns;
use crate::ledger::Ledger;
use crate::live::{Snapshot, SourceState, SourceStatus};
use crate::status::{Check, Condition, Kind, Metric, Sample, ledger_metrics, source_metrics};

/// A thread that has not moved for so long is stuck: each looks around ten times a second.
const STUCK: Duration = Duration::from_secs(10);

/// The thread that takes records from workers.
const SEALING: &str = "sealing";
/// What a thread that is held up may be slower than what holds it up: it says every second at least that it moves.
const SLACK: Duration = Duration::from_secs(3);

/// What was seen at the last look.
#[derive(Debug, Default)]
struct Seen {
    snapshot: Option<Snapshot>,
    /// Of each thread: its beats, and when they last moved.
    beats: Vec<(u64, Instant)>,
    /// The same of each behind the workers, with its name.
    behind: Vec<(&'static str, u64, Instant)>,
}

/// Where batches wait while the platform is away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// On the disk, or in memory.
    pub is_spool: bool,
    /// Bytes that may wait there.
    pub bytes: u64,
    /// Bytes of a batch, at the start: where not even one more fits, the oldest go.
    pub batch: u64,
}

/// The state, as the watching thread writes it and the status endpoints read it.
#[derive(Debug)]
pub struct State {
    seen: Mutex<Seen>,
    upload: Option<Arc<Stats>>,
    /// Where records are sent.
    room: Room,
    /// Bytes of a batch, as they are now.
    batch: AtomicU64,
    /// Of the thread that seals.
    turns: Arc<Turns>,
    begun: Instant,
}

impl State {
    /// Of a sensor that sends with `upload`, where `room` bytes of batches may wait in memory.
    #[must_use]
    pub fn new(upload: Option<Arc<Stats>>, room: u64) -> Self {
        let room = Room { bytes: room, ..Room::default() };
        let (seen, batch) = (Mutex::default(), AtomicU64::new(room.batch));
        Self { seen, upload, room, batch, turns: Arc::default(), begun: Instant::now() }
    }

    /// The same, of batches that wait in `room`.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { room, batch: AtomicU64::new(room.batch), ..self }
    }

    /// From now on batches have so many `bytes`.
    pub fn resize_batches(&self, bytes: u64) {
        self.batch.store(bytes, Ordering::Relaxed);
    }

    /// The same, of a sensor whose sealing thread makes these `turns`.
    #[must_use]
    pub fn with_turns(self, turns: Arc<Turns>) -> Self {
        Self { turns, ..self }
    }

    /// Takes in what was seen at `now`.
    pub fn note(&self, mut snapshot: Snapshot, beats: &[u64], now: Instant) {
        match &self.upload {
            Some(stats) => snapshot.ledger.delivery = Some(stats.records()),
            None => {
                let Ledger { recorded, unsealed, unwritten, .. } = snapshot.ledger;
                let handed_on = recorded.saturating_sub(unsealed + unwritten);
                snapshot.ledger.unsettled = Some(handed_on.saturating_sub(self.turns.written()));
            }
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.beats.resize(beats.len(), (0, now));
        for (last, beats) in seen.beats.iter_mut().zip(beats) {
            if last.0 != *beats {
                *last = (*beats, now);
            }
        }
        let uploads = self.upload.iter().flat_map(|stats| stats.threads()).map(|thread| (thread.name, thread.beats));
        let behind = std::iter::once((SEALING, self.turns.beats())).chain(uploads);
        for (number, (name, beats)) in behind.enumerate() {
            match seen.behind.get_mut(number) {
                Some(last) if last.1 == beats => {}
                Some(last) => *last = (name, beats, now),
                None => seen.behind.push((name, beats, now)),
            }
        }
        seen.snapshot = Some(snapshot);
    }

    /// Whether every thread has moved lately, but for those that a disk or a reader holds up.
    #[must_use]
    pub fn is_alive(&self, now: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.beats.iter().all(|(_, moved)| now.duration_since(*moved) < STUCK)
            && seen.behind.iter().all(|(name, _, moved)| self.may_stand(name, now.duration_since(*moved), now))
    }

    /// Whether a thread behind the workers may have stood for as long as it has: not yet too long, or held up all that time.
    fn may_stand(&self, name: &str, still: Duration, now: Instant) -> bool {
        still < STUCK || self.held_up(name, now).is_some_and(|held_up| held_up + SLACK >= still)
    }

    /// For how long a disk, or whoever reads the output, has held up a thread behind the workers.
    fn held_up(&self, name: &str, now: Instant) -> Option<Duration> {
        if name == SEALING { self.turns.held_up(now) } else { self.upload.as_ref()?.disk_wait(now) }
    }

    /// What was seen last.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).snapshot.clone()
    }
}

impl Condition for State {
    fn health(&self) -> Vec<Check> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let sources: Vec<&str> =
            seen.snapshot.iter().flat_map(|snapshot| &snapshot.sources).map(|source| source.name.as_str()).collect();
        let name = |number: usize| match sources.get(number) {
            Some(source) => format!("capture of {source}"),
            None => format!("worker {}", number - sources.len()),
        };
        let check = |(number, (_, moved)): (usize, &(u64, Instant))| {
            let still = moved.elapsed();
            let detail = format!("moved {:.1} s ago", still.as_secs_f64());
            Check { name: name(number), holds: still < STUCK, detail }
        };
        let now = Instant::now();
        let behind = seen.behind.iter().map(|(name, _, moved)| {
            let still = now.saturating_duration_since(*moved);
            let why = match self.held_up(name, now).filter(|_| still >= SLACK) {
                Some(_) if *name == SEALING => "; the output takes nothing",
                Some(_) => "; it waits for the disk",
                None => "",
            };
            let detail = format!("moved {:.1} s ago{why}", still.as_secs_f64());
            Check { name: (*name).to_owned(), holds: self.may_stand(name, still, now), detail }
        });
        seen.beats.iter().enumerate().map(check).chain(behind).collect()
    }

    fn readiness(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let Some(snapshot) = self.snapshot() else {
            return vec![Check { name: "start".to_owned(), holds: false, detail: "under way".to_owned() }];
        };
        let is_any_up = snapshot.sources.iter().any(|source| source.state == SourceState::Up);
        for source in &snapshot.sources {
            checks.push(Check {
                name: format!("source {}", source.name),
                // What a pattern has to spare need not be there; but something has to be.
                holds: source.state == SourceState::Up || (source.state == SourceState::Waiting && is_any_up),
                detail: source_detail(source),
            });
        }
        let now = Instant::now();
        if let Some(stats) = &self.upload {
            checks.push(self.platform(stats));
            checks.push(Self::not_held_up("disk", stats.disk_wait(now)));
        } else {
            checks.push(Self::not_held_up("output", self.turns.held_up(now)));
        }
        checks
    }

    fn metrics(&self) -> Vec<Metric> {
        let up = self.begun.elapsed().as_secs_f64();
        let mut metrics = vec![Metric::plain("uptime_seconds", "Since the start", Kind::Gauge, up)];
        if let Some(snapshot) = self.snapshot() {
            metrics.extend(source_metrics(&snapshot.sources));
            metrics.extend(ledger_metrics(&snapshot.ledger));
        }
        if let Some(stats) = &self.upload {
            metrics.extend(upload_metrics(stats));
        }
        metrics
    }
}

impl State {
    /// Whether batches get to the platform, or have where to wait for it.
    fn platform(&self, stats: &Stats) -> Check {
        let Room { is_spool, bytes, .. } = self.room;
        let batch = self.batch.load(Ordering::Relaxed);
        // What is in the spool and in memory, too, would count twice.
        let taken = if is_spool { stats.spool_bytes() } else { stats.memory_bytes() };
        // A disk may have less room than it was to have.
        let is_out_of_room = is_spool && stats.spool_out_of_room(Instant::now());
        let is_full = is_out_of_room || taken.saturating_add(batch) > bytes;
        let is_failing = is_spool && stats.spool_failing();
        let is_reachable = stats.was_reached() && !stats.platform_down();
        let way = match (stats.platform_down(), stats.was_reached()) {
            (true, _) => "not reachable",
            (false, true) => "reachable",
            (false, false) => "not asked yet",
        };
        let detail = match (is_reachable, is_failing, is_full) {
            (true, ..) => way.to_owned(),
            (false, _, true) => format!("{way}, and there is no room for batches: the oldest are dropped"),
            (false, true, false) => format!("{way}, and the spool cannot be written: batches wait in memory"),
            (false, false, false) => format!("{way}; batches wait, {taken} of {bytes} bytes are taken"),
        };
        Check { name: "platform".to_owned(), holds: is_reachable || !(is_full || is_failing), detail }
    }

    fn not_held_up(name: &str, held_up: Option<Duration>) -> Check {
        let held_up = held_up.unwrap_or_default();
        let holds = held_up < STUCK;
        let detail = if holds { "answers".to_owned() } else { format!("nothing for {:.0} s", held_up.as_secs_f64()) };
        Check { name: name.to_owned(), holds, detail }
    }
}

/// The state of a source, with its interface where that has another name.
fn source_detail(source: &SourceStatus) -> String {
    let state = source.state.name();
    match source.interface.as_deref().filter(|interface| *interface != source.name) {
        Some(interface) if source.state == SourceState::Up => format!("{state}, {interface}"),
        Some(interface) if source.state == SourceState::Waiting => format!("{state}, {interface} was removed"),
        Some(interface) => format!("{state}, it had {interface}"),
        None => state.to_owned(),
    }
}

fn upload_metrics(stats: &Stats) -> Vec<Metric> {
    let counter = |name, help, value: u64| Metric::plain(name, help, Kind::Counter, value as f64);
    let gauge = |name, help, value: f64| Metric::plain(name, help, Kind::Gauge, value);
    let mut metrics = vec![
        counter("upload_batches_sent", "Requests with a batch", stats.batches_sent()),
        counter("upload_batches_rejected", "Batches the platform refused", stats.batches_rejected()),
        counter("upload_bytes_sent", "Bytes of bodies sent", stats.bytes_sent()),
        counter("upload_token_errors", "Tokens that could not be had", stats.token_errors()),
        counter("upload_spool_errors", "Failures of the spool", stats.spool_errors()),
        counter("upload_rejected_kept", "Refused records that went to the dead letters", stats.rejected_kept()),
        counter("upload_rejected_lost", "Refused records that could not be kept there", stats.rejected_lost()),
        counter(
            "upload_dead_letters_evicted",
            "Refused records that went from there for want of room",
            stats.dead_letters_evicted(),
        ),
        counter(
            "upload_batches_doubted",
            "Batches that count as accepted by the status, though the answer leaves doubts",
            stats.batches_doubted(),
        ),
        gauge(
            "upload_disk_wait_seconds",
            "For how long the disk has not come back with what is under way",
            stats.disk_wait(Instant::now()).unwrap_or_default().as_secs_f64(),
        ),
        gauge("upload_in_flight", "Batches on their way", stats.in_flight() as f64),
        gauge("upload_memory_bytes", "Bytes of batches in memory", stats.memory_bytes() as f64),
        gauge("upload_spool_bytes", "Bytes of batches in the spool", stats.spool_bytes() as f64),
        gauge(
            "upload_platform_down",
            "Whether the platform cannot be reached",
            f64::from(u8::from(stats.platform_down())),
        ),
    ];
    metrics.push(Metric {
        name: "upload_batches".to_owned(),
        help: "Batches by step",
        kind: Kind::Counter,
        samples: [("sealed", stats.batches_sealed()), ("accepted", stats.batches_accepted())]
            .into_iter()
            .map(|(step, count)| Sample { labels: vec![("step", step.to_owned())], value: count as f64 })
            .collect(),
    });
    if let Some(age) = stats.oldest_age(SystemTime::now()) {
        metrics.push(gauge("upload_oldest_batch_seconds", "Age of the oldest batch that waits", age.as_secs_f64()));
    }
    if let Some(expiry) = stats.certificate_expiry() {
        let at = expiry.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        metrics.push(gauge("upload_certificate_expiry_timestamp_seconds", "When the client's certificate ends", at));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::super::attended::Attended;
    use super::*;
    use crate::live::CaptureReport;
    use crate::outlet::{Discard, Outlet};
    use crate::record::Sealed;
    use crate::tally::Tally;

    fn snapshot(state: SourceState) -> Snapshot {
        let report = CaptureReport::default();
        let source = SourceStatus { name: "eth1".to_owned(), interface: Some("eth1".to_owned()), state, report };
        Snapshot { sources: vec![source], ledger: Ledger::default(), tally: Tally::default(), records_refused: 0 }
    }

    #[test]
    fn a_thread_that_stands_still_is_told() {
        let mut outlet = Attended::new(Discard::default(), false);
        let (state, begin) = (State::new(None, 0).with_turns(outlet.turns()), Instant::now());
        state.note(snapshot(SourceState::Up), &[1, 1], begin);
        assert!(state.is_alive(begin));
        let later = begin + STUCK;
        outlet.pulse();
        state.note(snapshot(SourceState::Up), &[2, 1], later);
        assert!(!state.is_alive(later), "the worker did not move");
        state.note(snapshot(SourceState::Up), &[2, 2], later);
        assert!(state.is_alive(later));
        let names: Vec<_> = state.health().into_iter().map(|check| check.name).collect();
        assert_eq!(names, ["capture of eth1", "worker 0", "sealing"]);
    }

    /// One that hangs of itself is told from one that is held up, for which a restart does nothing.
    #[test]
    fn the_threads_behind_the_workers_count_too() {
        let stats = Arc::new(Stats::default());
        let (state, begin) = (State::new(Some(stats), 0), Instant::now());
        state.note(snapshot(SourceState::Up), &[1], begin);
        let names: Vec<_> = state.health().into_iter().map(|check| check.name).collect();
        assert_eq!(names, ["capture of eth1", "sealing", "deliver"]);
        state.note(snapshot(SourceState::Up), &[2], begin + STUCK);
        assert!(!state.is_alive(begin + STUCK), "neither seals nor delivers");

        struct Stalled(std::sync::mpsc::Receiver<()>);
        impl Outlet for Stalled {
            fn accept(&mut self, _: &Sealed<'_>) -> std::ops::ControlFlow<()> {
                let _ = self.0.recv();
                std::ops::ControlFlow::Continue(())
            }
        }
        for may_stall in [true, false] {
            let (go, going) = std::sync::mpsc::channel();
            let mut outlet = Attended::new(Stalled(going), may_stall);
            let state = State::new(None, 0).with_turns(outlet.turns());
            let begin = Instant::now();
            state.note(snapshot(SourceState::Up), &[1], begin);
            let thread = std::thread::spawn(move || outlet.accept(&Sealed { bytes: b"", records: &[] }));
            while may_stall && state.turns.held_up(Instant::now()).is_none() {
                std::thread::yield_now();
            }
            let later = begin + 10 * STUCK;
            state.note(snapshot(SourceState::Up), &[2], later);
            assert_eq!(state.is_alive(later), may_stall);
            drop(go);
            let _ = thread.join();
        }
        assert!(!State::not_held_up("disk", Some(STUCK)).holds && State::not_held_up("disk", None).holds);
    }

    #[test]
    fn a_platform_that_was_never_asked_is_not_said_to_be_reachable() {
        let stats = Arc::new(Stats::default());
        let room = Room { is_spool: true, bytes: 10, batch: 4 };
        let state = State::new(Some(Arc::clone(&stats)), 0).with_room(room);
        let check = state.platform(&stats);
        assert!(check.holds && check.detail.starts_with("not asked yet; batches wait, 0 of 10"), "{}", check.detail);
        // Batches may become larger, or smaller again.
        state.resize_batches(11);
        assert!(!state.platform(&stats).holds);
        state.resize_batches(10);
        assert!(state.platform(&stats).holds);
        // Not even one batch fits: what comes drops what is there.
        let state = State::new(None, 0).with_room(Room { batch: 11, ..room });
        let check = state.platform(&stats);
        assert!(!check.holds && check.detail.contains("no room"), "{}", check.detail);
    }

    #[test]
    fn which_interface_of_a_pattern_is_meant_is_told() {
        let state = State::new(None, 0);
        let told = |of: SourceState| {
            let mut seen = snapshot(of);
            seen.sources[0].name = "eth* #1".to_owned();
            state.note(seen, &[1], Instant::now());
            state.readiness().remove(0).detail
        };
        assert_eq!(told(SourceState::Up), "up, eth1");
        assert_eq!(told(SourceState::Down), "down, it had eth1");
        assert_eq!(told(SourceState::Waiting), "waiting, eth1 was removed");
    }

    #[test]
    fn a_source_that_is_down_is_not_ready() {
        let state = State::new(None, 0);
        assert!(!state.readiness()[0].holds, "nothing was seen yet");
        state.note(snapshot(SourceState::Down), &[1], Instant::now());
        assert!(!state.readiness()[0].holds);
        state.note(snapshot(SourceState::Waiting), &[1], Instant::now());
        assert!(!state.readiness()[0].holds, "nothing at all is captured");
        let mut both = snapshot(SourceState::Up);
        both.sources.extend(snapshot(SourceState::Waiting).sources);
        state.note(both, &[1, 1], Instant::now());
        assert!(state.readiness().iter().all(|check| check.holds), "one may be to spare");
        state.note(snapshot(SourceState::Up), &[2], Instant::now());
        assert!(state.readiness().iter().all(|check| check.holds));
    }
}
