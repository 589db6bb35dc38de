//! `kill -9` of the sensor at any instant of a replay with upload: what its spool had taken is stored once, whole.
//! `KILL_ROUNDS` says how often (5), `KILL_SEED` when.

mod upload_support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use collector::{Collector, Fault, Options, StoreKind};
use fixtures::Rng;
use upload_support::{Site, closed_records, ledger, sum, text, upload};
use uploader::{Outcome, SealedBatch, Settings, SpoolSettings, Transport, Uploader};

/// Copies of a real capture that a round replays: some 2,800 transactions.
const COPIES: u64 = 3;

/// Takes everything and remembers the ids.
struct Reader(Arc<Mutex<BTreeSet<String>>>);

impl Transport for Reader {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        let ids = batch.ids().map(|id| format!("{:032x}", u128::from_be_bytes(id.0)));
        self.0.lock().unwrap().extend(ids);
        Outcome::Accepted
    }
}

/// The ids in a spool, read from a copy of it, and how many of its files are damaged.
fn spooled(spool: &Path, copy: &Path) -> (BTreeSet<String>, u64) {
    let _ = std::fs::remove_dir_all(copy);
    std::fs::create_dir(copy).unwrap();
    for entry in std::fs::read_dir(spool).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && !entry.file_name().to_string_lossy().contains("lock") {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let ids = Arc::new(Mutex::new(BTreeSet::new()));
    let settings = Settings { spool: Some(SpoolSettings::new(copy)), ..Settings::default() };
    let report = Uploader::start(settings, Reader(Arc::clone(&ids))).unwrap().drain(Duration::from_secs(60));
    assert!(report.complete && report.records.adds_up(), "{:?}", report.records);
    let ids = std::mem::take(&mut *ids.lock().unwrap());
    (ids, report.records.dropped_total())
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: no number")))
}

#[test]
fn what_was_spooled_is_stored_once_after_any_kill() {
    let (rounds, seed) = (variable("KILL_ROUNDS", 5), variable("KILL_SEED", 3));
    let site = Site::new();
    let collector = site.collector();
    let store = collector.store().unwrap();
    // With and without grace: what is written before it is sent, and what is sent first and may be written meanwhile.
    let with_grace = |name: &str, grace: &str| {
        site.configuration(name, collector.address().port(), |text| format!("{text}grace = \"{grace}\"\n"))
    };
    let configs = [with_grace("at-once", "0s"), with_grace("sensor", "20ms")];
    // Each round has transactions of its own, that no round before has stored.
    let captures: Vec<PathBuf> = (0..rounds)
        .map(|round| {
            let first = u8::try_from(round * COPIES).expect("at most 80 rounds");
            site.capture_of(&format!("{round}.pcap"), first..first + COPIES as u8)
        })
        .collect();
    // What a restarted sensor reads: one transaction, besides what is in the spool.
    let small = fixtures::captures().into_iter().find(|capture| capture.name == "lighttpd-keep-alive").unwrap().path;
    let mut all: BTreeSet<String> = site.ids(&small).into_iter().collect();

    // Answers take their time, so that a spool fills while it is emptied.
    let slow = |collector: &Collector| collector.faults().add(Fault::delay(Duration::from_millis(40))).unwrap();
    slow(&collector);
    // How long it takes undisturbed, to another store.
    let other = Collector::start(Options { store: StoreKind::Memory, ..site.options(0) }).unwrap();
    slow(&other);
    let aside = site.configuration("aside", other.address().port(), |text| text.replace("/spool", "/aside"));
    let start = Instant::now();
    let whole = upload(&aside, &captures[0]).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let mut span = start.elapsed().as_millis() as usize;
    other.shutdown();

    let mut rng = Rng::new(seed);
    let (mut promised_in_all, mut in_the_midst) = (0, 0_u64);
    for (round, capture) in captures.iter().enumerate() {
        let config = &configs[round % 2];
        let of_round: BTreeSet<String> = site.ids(capture).into_iter().collect();
        let mut child = upload(config, capture)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(rng.below(span) as u64));
        match child.try_wait().unwrap() {
            None => in_the_midst += 1,
            // It took so long only because the machine was busy.
            Some(_) => span = (span / 2).max(1),
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let (promised, damaged) = spooled(&site.at("spool"), &site.at("copy"));
        assert_eq!(damaged, 0, "round {round}, seed {seed}: the kill left a damaged file in the spool");
        promised_in_all += promised.len();
        collector.faults().clear();
        let run = upload(config, &small).output().unwrap();
        assert_eq!(run.status.code(), Some(0), "round {round}, seed {seed}: {}", text(&run.stderr));
        let ledger = ledger(&run);
        let (total, accepted) = closed_records(&ledger);
        assert_eq!(total, accepted, "{}", ledger["records"]);
        let stored = store.ids().unwrap();
        let lost: Vec<_> = promised.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round}, seed {seed}: {} of {} are lost", lost.len(), promised.len());
        all.extend(of_round);
        assert!(stored.is_subset(&all), "round {round}, seed {seed}: an id that no capture has");
        slow(&collector);
    }
    eprintln!(
        "{rounds} rounds, seed {seed}: {in_the_midst} killed in the midst, {promised_in_all} records in their spools"
    );
    assert!(in_the_midst > 0, "all kills came too late to show anything");
    assert!(rounds < 5 || promised_in_all > 0, "no kill found anything in the spool");

    collector.faults().clear();
    let run = upload(&configs[1], &captures[0]).args(&captures[1..]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert_eq!(sum(&ledger(&run)["records"]["dropped"]), 0);
    assert_eq!(store.ids().unwrap(), all);
    let totals = store.totals().unwrap();
    assert_eq!(totals.stored, all.len() as u64);
    assert_eq!(totals.differing, 0, "a record that came again had other bytes");
    store.verify().unwrap();
    collector.shutdown();
}
