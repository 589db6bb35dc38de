//! A disk that is really full: a small file system in a mount namespace of its own.
//! Passes without doing anything where none can be made (that takes root).

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{settings, wait_until};
use uploader::{
    BatchLimits, Destination, DropReason, FileSettings, Outcome, RecordId, RetryReason, SealedBatch, Transport,
    Uploader,
};

const FOLDER: &str = "UPLOADER_TEST_FULL_DISK";

struct Gate(Arc<AtomicBool>);

impl Transport for Gate {
    async fn send(&self, _: &SealedBatch) -> Outcome {
        if self.0.load(Ordering::SeqCst) { Outcome::Accepted } else { Outcome::retry(RetryReason::Connect) }
    }
}

fn offer(uploader: &Uploader, ids: std::ops::Range<u64>) {
    let (mut batcher, intake, stats) = (uploader.batcher(), uploader.intake(), uploader.stats());
    for id in ids {
        let record = support::record(id, 1000);
        if let Some(batch) = batcher.push(RecordId(u128::from(id).to_be_bytes()), &record, Instant::now()) {
            let before = stats.batches_sealed();
            intake.offer(batch).unwrap();
            wait_until("sealing", || stats.batches_sealed() > before);
        }
    }
}

/// What runs on the small disk; without its variable, nothing.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut settings = settings(folder.as_ref());
    settings.batch = BatchLimits { records: 100, ..BatchLimits::default() };
    settings.memory_bytes = 2 << 20;
    let patient = settings.clone();
    let open = Arc::new(AtomicBool::new(false));
    let uploader = Uploader::start(settings, Gate(Arc::clone(&open))).unwrap();
    let stats = uploader.stats();
    // Ten megabytes onto four.
    offer(&uploader, 0..10_000);
    wait_until("drops", || stats.records().dropped(DropReason::DiskFull) >= 5000);
    let line = stats.records();
    assert!(line.adds_up());
    assert_eq!(line.dropped_total(), line.dropped(DropReason::DiskFull), "{line:?}");
    assert!(stats.spool_errors() > 0 && line.waiting_spool > 2000, "{line:?}");
    // Though the latest write had room, that of the oldest.
    assert!(stats.spool_out_of_room(Instant::now()));
    // Somebody else takes what is left: batches wait in memory.
    let other = std::path::Path::new(&folder).join("other");
    let mut file = std::fs::File::create(&other).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    // It is over, and everything that still waits goes out.
    std::fs::remove_file(other).unwrap();
    offer(&uploader, 10_000..10_500);
    wait_until("the spool", || stats.records().waiting_memory == 0);
    open.store(true, Ordering::SeqCst);
    let report = uploader.drain(Duration::from_secs(20));
    assert!(report.complete && report.records.adds_up(), "{report:?}");
    assert_eq!(report.records.taken, report.records.accepted + report.records.dropped(DropReason::DiskFull));

    // A source that can wait does, and loses nothing.
    let open = Arc::new(AtomicBool::new(false));
    let uploader = Uploader::start(patient, Gate(Arc::clone(&open))).unwrap();
    let stats = uploader.stats();
    std::thread::scope(|scope| {
        let source = scope.spawn(|| support::submit(&uploader, 0..10_000, 1000));
        wait_until("a full disk", || stats.spool_errors() > 0);
        std::thread::sleep(Duration::from_millis(500));
        assert!(!source.is_finished());
        open.store(true, Ordering::SeqCst);
    });
    let report = uploader.drain(Duration::from_secs(20));
    assert_eq!((report.records.accepted, report.records.taken), (10_000, 10_000), "{report:?}");

    std::io::Write::write_all(&mut std::io::stdout(), b"passed").unwrap();
}

/// The same, with the destination on the small disk and the spool elsewhere.
#[test]
fn child_to_a_file() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let spool = tempfile::tempdir().unwrap();
    let path = std::path::Path::new(&folder).join("out.ndjson");
    let to_file = Destination::File(FileSettings::new(&path));
    let uploader = Uploader::start_to(settings(spool.path()), &to_file, None).unwrap();
    let stats = uploader.stats();
    std::thread::scope(|scope| {
        scope.spawn(|| support::submit(&uploader, 0..10_000, 1000));
        wait_until("a full disk", || stats.retries(RetryReason::Local) > 20);
    });
    assert!(!uploader.drain(Duration::ZERO).complete);
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.len() > 3 << 20, "{}", before.len());
    // A start on a full disk, with nothing of the spool in memory.
    let uploader = Uploader::start_to(settings(spool.path()), &to_file, None).unwrap();
    let stats = uploader.stats();
    wait_until("a full disk", || stats.retries(RetryReason::Local) > 20);
    // As whoever copies a file and cuts it does.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    wait_until("delivery", || stats.records().accepted > 2000);
    let report = uploader.drain(Duration::ZERO);
    assert_eq!(report.records.dropped_total(), 0, "{report:?}");
    let after = std::fs::read_to_string(&path).unwrap();
    for text in [before, after] {
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
    std::io::Write::write_all(&mut std::io::stdout(), b"passed").unwrap();
}

#[test]
fn a_full_disk_costs_the_oldest_only() {
    on_a_small_disk("child");
}

#[test]
fn a_full_disk_under_the_destination_costs_nothing() {
    on_a_small_disk("child_to_a_file");
}

fn on_a_small_disk(child: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=4m none \"$1\" && shift && exec \"$@\"";
    let run = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", mount, "sh"]).arg(folder.path()).args(command);
        unshare.env(FOLDER, folder.path()).output()
    };
    if !run(&["true"]).is_ok_and(|output| output.status.success()) {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = run(&[program.to_str().unwrap(), "--exact", child, "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
