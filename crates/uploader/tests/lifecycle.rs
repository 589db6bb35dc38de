//! Start, end, and what happens when callers do not know about either.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::{settings, submit, wait_until};
use uploader::{
    Answer, BatchLimits, Coding, Destination, DropReason, FileSettings, NullTransport, Outcome, RecordId, RecordsLine,
    RetryReason, SealedBatch, Settings, SpoolError, SpoolSettings, StartError, Transport, Uploader,
};

/// Answers as it is told, in turn.
struct Moody {
    answers: Vec<Outcome>,
    next: AtomicUsize,
    taken: Arc<Mutex<Vec<RecordId>>>,
}

impl Transport for Moody {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let outcome = self.answers.get(number).cloned().unwrap_or(Outcome::Accepted);
        if outcome == Outcome::Accepted {
            self.taken.lock().unwrap().extend(batch.ids());
        }
        outcome
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Accepted),
        2 => proptest::sample::select(RetryReason::ALL).prop_map(Outcome::retry),
        1 => Just(Outcome::Refresh),
        2 => Just(Outcome::Split),
        1 => Just(Outcome::Reject { status: 400, answer: Answer(b"no".to_vec()) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a transport answers, from any number of workers, with a spool and without: every record is accepted once
    /// or rejected, and the line adds up.
    #[test]
    fn every_record_has_one_fate(
        answers in proptest::collection::vec(outcome(), 0..40),
        workers in 1u64..4,
        records in 1u64..60,
        coding in prop_oneof![Just(Coding::Identity), Just(Coding::Gzip), Just(Coding::Zstd)],
        spooled in any::<bool>(),
        sealing_threads in 1usize..3,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings { coding, sealing_threads, ..settings(folder.path()) };
        settings.batch.records = 7;
        settings.retry.backoff_base = Duration::from_millis(1);
        settings.retry.backoff_cap = Duration::from_millis(3);
        if !spooled {
            settings.spool = None;
        }
        let taken = Arc::new(Mutex::new(Vec::new()));
        let transport = Moody { answers, next: AtomicUsize::new(0), taken: Arc::clone(&taken) };
        let uploader = Uploader::start(settings, transport).unwrap();
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let uploader = &uploader;
                scope.spawn(move || submit(uploader, worker * 1000..worker * 1000 + records, 30));
            }
        });
        let report = uploader.drain(Duration::from_secs(20));
        let line = report.records;
        prop_assert!(line.adds_up() && report.complete, "{:?}", line);
        prop_assert_eq!(line.taken, workers * records);
        prop_assert_eq!(line.accepted + line.rejected, line.taken);
        let mut taken = taken.lock().unwrap();
        prop_assert_eq!(taken.len() as u64, line.accepted);
        taken.sort();
        taken.dedup();
        prop_assert_eq!(taken.len() as u64, line.accepted);
    }
}

/// Workers that go on while the uploader ends lose nothing unseen, and learn of it.
#[test]
fn an_end_under_load_is_accounted_for() {
    for spooled in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        if !spooled {
            settings.spool = None;
        }
        let uploader = Uploader::start(settings, NullTransport).unwrap();
        let stats = uploader.stats();
        let handed_in: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3u64)
                .map(|worker| {
                    let (mut batcher, intake) = (uploader.batcher(), uploader.intake());
                    scope.spawn(move || {
                        let (mut handed_in, start) = (0, Instant::now());
                        for id in 0.. {
                            let id = RecordId(u128::from(worker << 32 | id).to_be_bytes());
                            let Some(batch) = batcher.push(id, b"{}", start) else { continue };
                            handed_in += batch.records().len() as u64;
                            let ended = if worker == 0 { intake.submit(batch) } else { intake.offer(batch) }.is_err();
                            if ended && (worker == 0 || start.elapsed() > Duration::from_millis(300)) {
                                break;
                            }
                        }
                        handed_in
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(50));
            uploader.drain(Duration::from_millis(100));
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        let line = stats.records();
        assert!(line.adds_up(), "{line:?}");
        assert_eq!(line.taken, handed_in);
        assert!(line.accepted > 0 && line.dropped(DropReason::Shutdown) > 0, "{line:?}");
        assert!(spooled || line.waiting() == 0);
    }
}

struct Panics(AtomicUsize);

impl Transport for Panics {
    async fn send(&self, _: &SealedBatch) -> Outcome {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) % 2 == 1, "a fault in a transport");
        Outcome::Accepted
    }
}

#[test]
fn a_transport_that_panics_costs_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), Panics(AtomicUsize::new(0))).unwrap();
    submit(&uploader, 0..50, 10);
    let line = uploader.drain(Duration::from_secs(20)).records;
    assert_eq!(line, RecordsLine { taken: 50, accepted: 50, ..RecordsLine::default() });
}

/// Looks a name up at a server that does not answer, as the system does it: on a thread that nobody can wake.
struct Unresolved;

impl Transport for Unresolved {
    async fn send(&self, _: &SealedBatch) -> Outcome {
        let _ = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(20))).await;
        Outcome::retry(RetryReason::Connect)
    }
}

#[test]
fn a_name_that_is_looked_up_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), Unresolved).unwrap();
    submit(&uploader, 0..50, 10);
    wait_until("an attempt", || uploader.stats().in_flight() > 0);
    let start = Instant::now();
    let line = uploader.drain(Duration::from_millis(200)).records;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(line, RecordsLine { taken: 50, waiting_spool: 50, ..RecordsLine::default() });
}

#[test]
fn a_drop_without_drain_keeps_what_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let answers = vec![Outcome::retry(RetryReason::Connect); 1000];
    let transport = Moody { answers, next: AtomicUsize::new(0), taken: Arc::default() };
    let uploader = Uploader::start(settings(folder.path()), transport).unwrap();
    submit(&uploader, 0..50, 10);
    drop(uploader);
    let uploader = Uploader::start(settings(folder.path()), NullTransport).unwrap();
    assert_eq!(uploader.stats().records().recovered, 50);
    let line = uploader.drain(Duration::from_secs(20)).records;
    assert_eq!(line, RecordsLine { recovered: 50, accepted: 50, ..RecordsLine::default() });
}

#[test]
fn faults_at_the_start_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let bad = Settings { sealing_threads: 0, queue_batches: 0, ..settings(folder.path()) };
    let error = Uploader::start(bad, NullTransport).unwrap_err();
    assert!(matches!(&error, StartError::Settings(problems) if problems.len() == 2), "{error}");
    let first = Uploader::start(settings(folder.path()), NullTransport).unwrap();
    let error = Uploader::start(settings(folder.path()), NullTransport).unwrap_err();
    assert!(matches!(error, StartError::Spool(SpoolError::InUse { .. })), "{error}");
    drop(first);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let spool = Some(SpoolSettings::new(file.join("spool")));
    let error = Uploader::start(Settings { spool, ..settings(folder.path()) }, NullTransport).unwrap_err();
    assert!(error.to_string().contains("spool"), "{error}");
    let destination = Destination::File(FileSettings::new(folder.path().join("absent/out")));
    assert!(Uploader::start_to(settings(folder.path()), &destination, None).is_err());
}

#[test]
fn to_a_file_one_record_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let uploader =
        Uploader::start_to(settings(folder.path()), &Destination::File(FileSettings::new(&path)), None).unwrap();
    submit(&uploader, 0..100, 10);
    assert!(uploader.drain(Duration::from_secs(20)).complete);
    let text = std::fs::read_to_string(path).unwrap();
    let mut ids: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
}

/// A source that can wait is held up by an outage once everything is full, and nothing is dropped.
#[test]
fn a_patient_source_waits_for_the_platform() {
    struct Gate(Arc<AtomicUsize>);
    impl Transport for Gate {
        async fn send(&self, _: &SealedBatch) -> Outcome {
            if self.0.load(Ordering::SeqCst) == 0 { Outcome::retry(RetryReason::Connect) } else { Outcome::Accepted }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let open = Arc::new(AtomicUsize::new(0));
    let mut settings = settings(folder.path());
    settings.batch = BatchLimits { records: 100, ..BatchLimits::default() };
    settings.spool = Some(SpoolSettings { bytes: 2 << 20, ..SpoolSettings::new(folder.path().join("spool")) });
    settings.queue_batches = 2;
    let uploader = Uploader::start(settings, Gate(Arc::clone(&open))).unwrap();
    let stats = uploader.stats();
    std::thread::scope(|scope| {
        let source = scope.spawn(|| submit(&uploader, 0..10_000, 1000));
        wait_until("a full spool", || stats.spool_bytes() > (2 << 20) - 150_000);
        std::thread::sleep(Duration::from_millis(200));
        assert!(!source.is_finished());
        assert!(stats.spool_bytes() <= 2 << 20);
        open.store(1, Ordering::SeqCst);
        source.join().unwrap();
    });
    let line = uploader.drain(Duration::from_secs(20)).records;
    assert_eq!(line, RecordsLine { taken: 10_000, accepted: 10_000, ..RecordsLine::default() });
}

/// During an outage the newest records are kept, in the spool and in memory.
#[test]
fn an_outage_costs_a_live_source_its_oldest() {
    for spooled in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        settings.batch = BatchLimits { records: 100, ..BatchLimits::default() };
        settings.memory_bytes = 2 << 20;
        settings.spool =
            spooled.then(|| SpoolSettings { bytes: 2 << 20, ..SpoolSettings::new(folder.path().join("spool")) });
        let answers = vec![Outcome::retry(RetryReason::Connect); 100_000];
        let taken = Arc::new(Mutex::new(Vec::new()));
        let transport = Moody { answers, next: AtomicUsize::new(0), taken };
        let uploader = Uploader::start(settings.clone(), transport).unwrap();
        let stats = uploader.stats();
        let (mut batcher, intake) = (uploader.batcher(), uploader.intake());
        for id in 0..5000u64 {
            let record = support::record(id, 1000);
            if let Some(batch) = batcher.push(RecordId(u128::from(id).to_be_bytes()), &record, Instant::now()) {
                wait_until("sealing", || stats.batches_sealed() >= id / 100);
                intake.offer(batch).unwrap();
            }
        }
        wait_until("sealing", || stats.batches_sealed() == 50);
        let reason = if spooled { DropReason::SpoolFull } else { DropReason::MemoryFull };
        wait_until("drops", || stats.records().dropped(reason) >= 3000);
        let line = stats.records();
        assert!(line.adds_up());
        assert_eq!(line.dropped_total(), line.dropped(reason), "{line:?}");
        if spooled {
            drop(uploader);
            let taken = Arc::new(Mutex::new(Vec::new()));
            let transport = Moody { answers: Vec::new(), next: AtomicUsize::new(0), taken: Arc::clone(&taken) };
            let uploader = Uploader::start(settings, transport).unwrap();
            assert!(uploader.drain(Duration::from_secs(20)).complete);
            let taken = taken.lock().unwrap();
            let lowest = taken.iter().min().unwrap().0;
            assert_eq!(u128::from_be_bytes(lowest), 5000 - taken.len() as u128, "the newest are kept, all of them");
        }
    }
}
