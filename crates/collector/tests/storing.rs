//! The store under many senders at once, under kill -9, and read in pages while it grows.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use collector::{Collector, Options, Store, StoreKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{JSON, NDJSON, batch, edge, fetch, native, post, send};

#[test]
fn eight_senders_of_the_same_store_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreKind::Sqlite(folder.path().join("store"));
    let collector = Collector::start(Options { store, threads: 4, ..Options::default() }).unwrap();
    let at = collector.address();
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for sender in 0..8 {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for round in 0..10 {
                    // The same twenty ids from all, in an order of each sender's own.
                    let records: Vec<String> =
                        (0..20).map(|number| edge(&format!("{round}-{}", (number + sender * 7) % 20))).collect();
                    let reply = post(at, "/api-transactions", &[JSON], batch(&records));
                    assert_eq!(reply.status, 200, "{}", reply.text());
                }
            });
        }
    });
    let store = collector.store().unwrap();
    let stats = collector.shutdown();
    assert_eq!((stats.records, stats.duplicates), (1600, 1400));
    let totals = store.totals().unwrap();
    assert_eq!((totals.batches, totals.stored, totals.duplicates, totals.differing), (80, 200, 1400, 0));
    assert_eq!(store.ids().unwrap().len(), 200);
    store.verify().unwrap();
}

/// The process that is killed: this test program itself, told to be a collector.
#[test]
#[allow(clippy::print_stdout)] // Its parent reads the address there.
fn be_a_collector() {
    let Ok(path) = std::env::var("BE_A_COLLECTOR") else { return };
    let options = Options { store: StoreKind::Sqlite(path.into()), ..Options::default() };
    let collector = Collector::start(options).unwrap();
    println!("listening on {}", collector.address());
    loop {
        std::thread::park();
    }
}

fn spawn(path: &std::path::Path) -> (Child, std::net::SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "be_a_collector", "--nocapture"])
        .env("BE_A_COLLECTOR", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| line.split_once("listening on ")?.1.parse().ok());
    (child, address.unwrap())
}

/// Killed at random instants under load: what was answered with 200 is there, every batch is there whole or not at all, and
/// the file opens again. `KILL_ROUNDS` for more than a few.
#[test]
fn kill_9_leaves_the_store_intact() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut random = StdRng::seed_from_u64(3);
    let accepted = Mutex::new(BTreeSet::new());
    for round in 0..rounds {
        let (mut child, at) = spawn(&path);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for sender in 0..3 {
                let (over, accepted) = (&over, &accepted);
                scope.spawn(move || {
                    for number in 0.. {
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                        let name = format!("{round}.{sender}.{number}");
                        let records: Vec<String> = (0..20).map(|part| edge(&format!("{name}/{part}"))).collect();
                        match send(at, "POST", "/api-transactions", &[JSON], batch(&records).as_bytes()) {
                            Ok(reply) if reply.status == 200 => accepted.lock().unwrap().insert(name),
                            _ => false,
                        };
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(random.random_range(20..250)));
            child.kill().unwrap();
            child.wait().unwrap();
            over.store(true, Ordering::Relaxed);
        });
        let store = Store::open(&path).unwrap();
        store.verify().unwrap();
        let mut parts = std::collections::BTreeMap::<String, u32>::new();
        for id in store.ids().unwrap() {
            *parts.entry(id.split('/').next().unwrap().to_owned()).or_default() += 1;
        }
        assert!(parts.values().all(|count| *count == 20), "a batch is there whole or not at all");
        let accepted = accepted.lock().unwrap();
        let lost: Vec<_> = accepted.iter().filter(|name| !parts.contains_key(*name)).collect();
        assert!(lost.is_empty(), "round {round}: answered with 200 and lost: {lost:?}");
    }
    assert!(accepted.lock().unwrap().len() > rounds, "too little was sent to show anything");
}

#[test]
fn pages_are_stable_while_records_arrive() {
    let collector = Collector::start(Options::default()).unwrap();
    let at = collector.address();
    let lines = |range: std::ops::Range<u64>| range.map(|id| native(id) + "\n").collect::<String>();
    assert_eq!(post(at, "/native", &[NDJSON], lines(0..57)).status, 200);
    for (order, expected) in [("newest", (0..57).rev().collect::<Vec<u64>>()), ("oldest", (0..57).collect())] {
        let begun = collector.store().unwrap().count().unwrap();
        let (mut cursor, mut seen, mut arrived) = (String::new(), Vec::new(), begun);
        loop {
            let listing = fetch(at, &format!("/transactions?limit=10&order={order}&status=201&cursor={cursor}")).json();
            let page = listing["transactions"].as_array().unwrap();
            seen.extend(page.iter().map(|one| u64::from_str_radix(one["id"].as_str().unwrap(), 16).unwrap()));
            match listing["next"].as_str() {
                Some(next) if arrived < begun + 30 => cursor = next.to_owned(),
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
            if arrived < begun + 30 {
                assert_eq!(post(at, "/native", &[NDJSON], lines(arrived..arrived + 7)).status, 200);
                arrived += 7;
            }
        }
        let expected: Vec<u64> = if order == "newest" { expected } else { (0..arrived).collect() };
        let distinct: BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "{order}: none twice");
        assert_eq!(seen, expected, "{order}");
    }
}
