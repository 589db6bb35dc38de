//! `kill -9` at any instant: what was in the spool is found, whole, and delivered.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{settings, submit};
use uploader::{Outcome, RetryReason, SealedBatch, Settings, SpoolSettings, Transport, Uploader};

const FOLDER: &str = "UPLOADER_TEST_KILLED_FOLDER";
const FIRST: &str = "UPLOADER_TEST_KILLED_FIRST";

/// A platform that is away, or takes everything and remembers it.
struct Memory(Option<std::sync::mpsc::Sender<Vec<u128>>>);

impl Transport for Memory {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        match &self.0 {
            None => Outcome::retry(RetryReason::Connect),
            Some(sender) => {
                let plain = batch.plain().unwrap();
                for (number, id) in batch.ids().enumerate() {
                    let record = &plain[batch.span(number).unwrap()];
                    assert_eq!(record, support::record(u128::from_be_bytes(id.0) as u64, 2000));
                }
                sender.send(batch.ids().map(|id| u128::from_be_bytes(id.0)).collect()).unwrap();
                Outcome::Accepted
            }
        }
    }
}

fn uploader(folder: &std::path::Path, transport: Memory) -> Uploader {
    let settings: Settings = settings(folder);
    let spool = SpoolSettings::new(folder.join("spool"));
    Uploader::start(Settings { spool: Some(spool), ..settings }, transport).unwrap()
}

/// The process that is killed; without its variables, nothing.
#[test]
fn child() {
    let (Ok(folder), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST)) else { return };
    let uploader = uploader(folder.as_ref(), Memory(None));
    let stats = uploader.stats();
    let mut id: u64 = first.parse().unwrap();
    let found = stats.records().recovered;
    for batches in 1.. {
        submit(&uploader, id..id + 10, 2000);
        id += 10;
        // Said only once it is in the spool; several may be on their way.
        if batches % 3 == 0 {
            while stats.records().waiting_spool < found + batches * 10 {
                std::thread::yield_now();
            }
            use std::io::Write;
            let mut out = std::io::stderr().lock();
            writeln!(out, "spooled {id}").unwrap();
        }
    }
}

#[test]
fn what_was_spooled_is_delivered_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let rounds = std::env::var("UPLOADER_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    let mut random = StdRng::seed_from_u64(7);
    let mut promised = Vec::new();
    for round in 0..rounds {
        let first = round * 1_000_000u64;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let some = lines.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(0..60)));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = lines.map_while(Result::ok).last().unwrap_or(some);
        if let Some(end) = last.strip_prefix("spooled ").and_then(|end| end.parse::<u64>().ok()) {
            promised.extend(first..end);
        }
    }
    assert!(promised.len() as u64 >= rounds * 10, "{} records in {rounds} rounds", promised.len());
    let (sender, receiver) = std::sync::mpsc::channel();
    let uploader = uploader(folder.path(), Memory(Some(sender)));
    let report = uploader.drain(Duration::from_secs(60));
    assert!(report.complete && report.records.adds_up(), "{:?}", report.records);
    assert_eq!(report.records.accepted, report.records.recovered);
    let mut delivered: Vec<u128> = receiver.try_iter().flatten().collect();
    let count = delivered.len();
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(count, delivered.len(), "a record came twice");
    for id in promised {
        assert!(delivered.binary_search(&u128::from(id)).is_ok(), "record {id} was promised and is lost");
    }
    // Nothing of it is left, half written or whole.
    let left: Vec<_> = std::fs::read_dir(folder.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".batch") || name.ends_with(".tmp"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
