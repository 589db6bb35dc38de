//! What a running appliance knows of itself, for the status endpoints and the watchdog.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uploader::Stats;

use crate::live::{Snapshot, SourceState, SourceStatus};
use crate::status::{Check, Condition, Kind, Metric, Sample, ledger_metrics, source_metrics};

/// A thread that has not moved for so long is stuck: each looks around ten times a second.
const STUCK: Duration = Duration::from_secs(10);

/// What was seen at the last look.
#[derive(Debug, Default)]
struct Seen {
    snapshot: Option<Snapshot>,
    /// Of each thread: its beats, and when they last moved.
    beats: Vec<(u64, Instant)>,
}

/// The state, as the watching thread writes it and the status endpoints read it.
#[derive(Debug)]
pub struct State {
    seen: Mutex<Seen>,
    upload: Option<Arc<Stats>>,
    /// How many bytes of batches may wait, where records are sent.
    room: u64,
    begun: Instant,
}

impl State {
    /// Of a sensor that sends with `upload`, where `room` bytes of batches may wait.
    #[must_use]
    pub fn new(upload: Option<Arc<Stats>>, room: u64) -> Self {
        Self { seen: Mutex::default(), upload, room, begun: Instant::now() }
    }

    /// Takes in what was seen at `now`.
    pub fn note(&self, mut snapshot: Snapshot, beats: &[u64], now: Instant) {
        snapshot.ledger.delivery = self.upload.as_ref().map(|stats| stats.records());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.beats.resize(beats.len(), (0, now));
        for (last, beats) in seen.beats.iter_mut().zip(beats) {
            if last.0 != *beats {
                *last = (*beats, now);
            }
        }
        seen.snapshot = Some(snapshot);
    }

    /// Whether every thread has moved lately.
    #[must_use]
    pub fn is_alive(&self, now: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.beats.iter().all(|(_, moved)| now.duration_since(*moved) < STUCK)
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
        seen.beats.iter().enumerate().map(check).collect()
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
        if let Some(stats) = &self.upload {
            let waiting = stats.memory_bytes() + stats.spool_bytes();
            let has_room = waiting < self.room;
            let is_down = stats.platform_down();
            let detail = match (is_down, has_room) {
                (false, _) => "reachable".to_owned(),
                (true, true) => format!("not reachable; batches wait, {waiting} of {} bytes are taken", self.room),
                (true, false) => "not reachable, and there is no room for batches: the oldest are dropped".to_owned(),
            };
            checks.push(Check { name: "platform".to_owned(), holds: !is_down || has_room, detail });
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
    use super::*;
    use crate::ledger::Ledger;
    use crate::live::CaptureReport;
    use crate::tally::Tally;

    fn snapshot(state: SourceState) -> Snapshot {
        let report = CaptureReport::default();
        let source = SourceStatus { name: "eth1".to_owned(), interface: Some("eth1".to_owned()), state, report };
        Snapshot { sources: vec![source], ledger: Ledger::default(), tally: Tally::default(), records_refused: 0 }
    }

    #[test]
    fn a_thread_that_stands_still_is_told() {
        let (state, begin) = (State::new(None, 0), Instant::now());
        state.note(snapshot(SourceState::Up), &[1, 1], begin);
        assert!(state.is_alive(begin));
        let later = begin + STUCK;
        state.note(snapshot(SourceState::Up), &[2, 1], later);
        assert!(!state.is_alive(later), "the worker did not move");
        state.note(snapshot(SourceState::Up), &[2, 2], later);
        assert!(state.is_alive(later));
        let names: Vec<_> = state.health().into_iter().map(|check| check.name).collect();
        assert_eq!(names, ["capture of eth1", "worker 0"]);
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
