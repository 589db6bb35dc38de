//! A disk that is really full: a small file system in a mount namespace of its own.
//! Passes without doing anything where none can be made (that takes root).

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{settings, wait_until};
use uploader::{BatchLimits, DropReason, Outcome, RecordId, RetryReason, SealedBatch, Transport, Uploader};

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

#[test]
fn a_full_disk_costs_the_oldest_only() {
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
    let output = run(&[program.to_str().unwrap(), "--exact", "child", "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
