//! The store against a model, on a disk that fails.

use std::path::Path;

use proptest::prelude::*;

use super::intake::Arrival;
use super::*;
use crate::batch::RecordId;
use crate::envelope::Envelope;
use crate::sealed::tests::{contents, sealed};
use crate::settings::{Coding, SpoolSettings, SpoolSync};
use crate::spool::disk::Disk;
use crate::spool::format;
use crate::spool::simulated::SimulatedDisk;

const FOLDER: &str = "/spool";
const HOUR: Duration = Duration::from_secs(3600);

fn batch(first: u128, records: usize, length: usize) -> SealedBatch {
    let records: Vec<Vec<u8>> = (0..records).map(|number| vec![b'a' + (number % 26) as u8; length]).collect();
    sealed(first, &records, Coding::Identity, &Envelope::lines())
}

fn open(disk: &SimulatedDisk, bytes: u64, memory: u64, sync: SpoolSync) -> (Store, Arc<Stats>) {
    let settings = SpoolSettings { bytes, sync, ..SpoolSettings::new(FOLDER) };
    let (spool, found) = Spool::open(&settings, Arc::new(disk.clone())).unwrap();
    let stats = Arc::new(Stats::default());
    (Store::new(Some((spool, found, bytes)), memory, Arc::clone(&stats)), stats)
}

fn in_memory(memory: u64) -> (Store, Arc<Stats>) {
    let stats = Arc::new(Stats::default());
    (Store::new(None, memory, Arc::clone(&stats)), stats)
}

fn put(store: &Store, batches: Vec<SealedBatch>) {
    for batch in &batches {
        store.stats.take(batch.records() as u64);
    }
    store.put(batches.into_iter().map(|batch| Arrival { batch, patient: false }).collect());
}

/// What is on the disk as far as the store says, with what it must hold.
fn on_disk(store: &Store) -> BTreeSet<Number> {
    store.lock().entries.iter().filter(|(_, entry)| entry.file_bytes > 0).map(|(number, _)| *number).collect()
}

fn consistent(store: &Store) {
    let inner = store.lock();
    let line = store.stats.records();
    assert!(line.adds_up(), "{line:?}");
    let (mut memory, mut files, mut bytes, mut waiting) = (0, 0, [0, 0], 0);
    for (number, entry) in &inner.entries {
        match entry.place() {
            Place::Memory => memory += u64::from(entry.remaining),
            Place::Spool => files += u64::from(entry.remaining),
        }
        bytes[0] += entry.held.as_ref().map_or(0, |held| held.cost());
        bytes[1] += entry.file_bytes;
        let places = [inner.waiting.contains(number), inner.idle.contains(number), entry.leases > 0];
        assert_eq!(places.into_iter().filter(|place| *place).count(), 1, "{places:?}");
        waiting += usize::from(inner.waiting.contains(number));
        assert_eq!(inner.cached.contains(number), entry.held.is_some() && entry.file_bytes > 0);
    }
    assert_eq!((line.waiting_memory, line.waiting_spool), (memory, files));
    assert_eq!((inner.memory_bytes, inner.spool_bytes), (bytes[0], bytes[1]));
    assert_eq!(waiting, inner.waiting.len());
    assert!(inner.memory_bytes <= store.memory_most);
    let fresh: u64 = inner.fresh.keys().map(|number| inner.entries[number].held.as_ref().unwrap().cost()).sum();
    assert_eq!(inner.fresh_bytes, fresh);
    assert!(inner.writing.is_empty());
    let in_memory = inner.unspooled.iter().chain(inner.fresh.keys());
    if store.spool.is_some() {
        assert!(
            in_memory.eq(inner.entries.iter().filter(|(_, entry)| entry.file_bytes == 0).map(|(number, _)| number))
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<(usize, usize)>),
    /// Lease the oldest and accept all of it.
    Accept,
    /// Lease the oldest and settle only some of it.
    AcceptSome(usize),
    Lease,
    Tend,
    EndGrace,
    Down(bool),
    Fail(u64, u64, bool),
    Capacity(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec((1usize..6, 0usize..60), 1..4).prop_map(Step::Put),
        3 => Just(Step::Accept),
        1 => (1usize..4).prop_map(Step::AcceptSome),
        1 => Just(Step::Lease),
        2 => Just(Step::Tend),
        2 => Just(Step::EndGrace),
        1 => any::<bool>().prop_map(Step::Down),
        1 => (0u64..4, 1u64..12, any::<bool>()).prop_map(|(first, count, full)| Step::Fail(first, first + count, full)),
        1 => proptest::option::of(400u64..3000).prop_map(Step::Capacity),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens to disk and process, and when: what the store said is on the disk is found after a restart
    /// exactly as it was written, unless its fate was settled; nothing damaged is ever taken for a batch; every
    /// record has one fate; memory and spool stay within their sizes.
    #[test]
    fn what_was_spooled_survives(
        sessions in proptest::collection::vec(
            (proptest::collection::vec(step(), 1..25), proptest::option::of(1u64..80), any::<bool>(), any::<u64>()),
            1..4,
        ),
        spool_most in 600u64..4000,
        memory_most in 400u64..3000,
        durable in any::<bool>(),
        has_grace in any::<bool>(),
    ) {
        let sync = if durable { SpoolSync::Batch } else { SpoolSync::None };
        let disk = SimulatedDisk::default();
        let mut next_id = 0u128;
        let mut written: BTreeMap<RecordId, Vec<(RecordId, Vec<u8>)>> = BTreeMap::new();
        let mut expected: BTreeMap<Number, Vec<(RecordId, Vec<u8>)>> = BTreeMap::new();
        for (steps, kill_after, power_lost, seed) in sessions {
            // Without syncs, a power loss may take anything.
            let power_lost = power_lost && durable;
            let (store, stats) = open(&disk, spool_most, memory_most, sync);
            let store = store.with_grace(if has_grace { HOUR } else { Duration::ZERO });
            // Files whose removal a power loss undid are over the size until room is needed.
            let most = stats.spool_bytes().max(spool_most);
            let found: Vec<Number> = store.lock().entries.keys().copied().collect();
            prop_assert_eq!(stats.records().recovered > 0, !found.is_empty());
            for number in expected.keys() {
                prop_assert!(found.contains(number), "a spooled batch is gone");
            }
            for number in found {
                let read = contents(&store.load(number).expect("nothing is damaged"));
                if let Some(expected) = expected.get(&number) {
                    prop_assert_eq!(expected, &read);
                }
                // Others are known, too: settled, or written when the process died.
                prop_assert_eq!(&written[&read[0].0], &read);
            }
            prop_assert_eq!(stats.records().dropped_total(), 0);
            if let Some(after) = kill_after {
                disk.kill_after(after);
            }
            let mut leased = Vec::new();
            for step in steps {
                match step {
                    Step::Put(sizes) => {
                        let batches: Vec<_> = sizes.into_iter().map(|(records, length)| {
                            let batch = batch(next_id, records, length);
                            next_id += 100;
                            written.insert(batch.ids().next().unwrap(), contents(&batch));
                            batch
                        }).collect();
                        put(&store, batches);
                    }
                    Step::Accept | Step::AcceptSome(_) | Step::Lease => {
                        let Some(number) = store.oldest() else { continue };
                        let Some(records) = store.lease(number) else { continue };
                        let loaded = store.load(number);
                        if let Ok(batch) = &loaded {
                            prop_assert_eq!(&written[&batch.ids().next().unwrap()], &contents(batch));
                        }
                        match step {
                            Step::Accept => store.settle(number, records, Fate::Accepted),
                            Step::AcceptSome(some) if some < records as usize => {
                                store.settle(number, some as u32, Fate::Accepted);
                                leased.push((number, records - some as u32));
                            }
                            // Every second one failed, and waits for its next attempt: it may be dropped.
                            _ if leased.len() % 2 == 1 => store.release(number),
                            _ => leased.push((number, records)),
                        }
                    }
                    Step::Tend => store.tend(),
                    Step::EndGrace => store.end_grace(true),
                    Step::Down(is_down) => stats.set_platform_down(is_down),
                    Step::Fail(first, last, full) => {
                        let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::TimedOut };
                        disk.fail(first, last, kind);
                    }
                    Step::Capacity(bytes) => disk.set_capacity(bytes),
                }
                consistent(&store);
                prop_assert!(stats.spool_bytes() <= most);
            }
            for (number, records) in leased.into_iter().skip(1) {
                store.settle(number, records, Fate::Rejected);
            }
            consistent(&store);
            expected.clear();
            for number in on_disk(&store) {
                let inner = store.lock();
                let entry = &inner.entries[&number];
                if let Some(held) = &entry.held {
                    expected.insert(number, contents(held));
                } else {
                    drop(inner);
                    if let Ok(read) = store.load(number) {
                        expected.insert(number, contents(&read));
                    }
                }
            }
            drop(store);
            disk.restart(power_lost, seed);
            disk.set_capacity(None);
        }
    }

    /// Without a spool: bounded, in order, and every record has one fate.
    #[test]
    fn memory_is_bounded(
        steps in proptest::collection::vec(step(), 1..60),
        memory_most in 400u64..3000,
    ) {
        let (store, stats) = in_memory(memory_most);
        let mut next_id = 0;
        let mut last = None;
        for step in steps {
            match step {
                Step::Put(sizes) => put(&store, sizes.into_iter().map(|(records, length)| {
                    next_id += 100;
                    batch(next_id, records, length)
                }).collect()),
                Step::Accept | Step::AcceptSome(_) => {
                    let Some(number) = store.oldest() else { continue };
                    prop_assert!(last.is_none_or(|last| number > last));
                    last = Some(number);
                    let records = store.lease(number).unwrap();
                    prop_assert!(store.load(number).is_ok());
                    store.settle(number, records, Fate::Accepted);
                }
                Step::Lease | Step::Tend | Step::EndGrace | Step::Down(_) | Step::Fail(..) | Step::Capacity(_) => store.tend(),
            }
            consistent(&store);
        }
        store.finish();
        consistent(&store);
        prop_assert_eq!(stats.records().waiting(), 0);
    }
}

#[test]
fn the_oldest_go_when_the_spool_is_full() {
    let disk = SimulatedDisk::default();
    let one = format::file_len(&batch(0, 2, 50));
    let (store, stats) = open(&disk, 3 * one, 1 << 20, SpoolSync::Batch);
    for first in 0..5 {
        put(&store, vec![batch(first * 10, 2, 50)]);
    }
    consistent(&store);
    assert_eq!(stats.records().dropped(DropReason::SpoolFull), 4);
    let left = contents(&store.load(store.oldest().unwrap()).unwrap());
    assert_eq!(left[0].0, RecordId(20u128.to_be_bytes()));
    assert_eq!(disk.files().len(), 3);
    // One under way is not dropped, whatever its age; one that only waits for its next attempt is.
    let oldest = store.oldest().unwrap();
    assert_eq!(store.lease(oldest), Some(2));
    for first in 5..9 {
        put(&store, vec![batch(first * 10, 2, 50)]);
    }
    assert!(store.load(oldest).is_ok());
    store.release(oldest);
    put(&store, vec![batch(90, 2, 50)]);
    assert_eq!(store.load(oldest).unwrap_err(), LoadError::Gone);
    assert_eq!(store.lease(oldest), None);
    consistent(&store);
}

#[test]
fn a_full_disk_costs_the_oldest_and_recovers_by_itself() {
    let disk = SimulatedDisk::default();
    let one = format::file_len(&batch(0, 2, 50));
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    disk.set_capacity(Some(3 * one + one / 2));
    for first in 0..6 {
        put(&store, vec![batch(first * 10, 2, 50)]);
        consistent(&store);
    }
    assert_eq!(stats.records().dropped(DropReason::DiskFull), 6);
    assert_eq!(stats.records().waiting_spool, 6);
    assert!(stats.spool_errors() >= 3);
    assert!(disk.files().iter().all(|path| path.extension().is_some_and(|extension| extension == "batch")));
    // Somebody else fills what is left: batches wait in memory, and are written once there is room.
    disk.set_capacity(Some(0));
    put(&store, vec![batch(100, 2, 50)]);
    consistent(&store);
    let line = stats.records();
    assert_eq!((line.waiting_memory, line.waiting_spool), (2, 0));
    disk.set_capacity(None);
    store.tend();
    consistent(&store);
    let line = stats.records();
    assert_eq!((line.waiting_memory, line.waiting_spool), (0, 2));
}

#[test]
fn a_damaged_file_is_set_aside_and_counted_once() {
    let disk = SimulatedDisk::default();
    let (store, _) = open(&disk, 1 << 20, 0, SpoolSync::Batch);
    put(&store, vec![batch(0, 3, 50), batch(10, 2, 50)]);
    drop(store);
    let path = disk.files()[0].clone();
    disk.damage(&path);
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    let oldest = store.oldest().unwrap();
    store.lease(oldest);
    assert_eq!(store.load(oldest).unwrap_err(), LoadError::Gone);
    assert_eq!(store.load(oldest).unwrap_err(), LoadError::Gone);
    consistent(&store);
    assert_eq!(stats.records().dropped(DropReason::Corrupt), 3);
    assert!(disk.files().contains(&Path::new(FOLDER).join("corrupt").join(path.file_name().unwrap())));
    drop(store);
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    assert_eq!(stats.records().recovered, 2);
    assert!(store.load(store.oldest().unwrap()).is_ok());
}

/// What a loss of power leaves where nothing is synced: a name, and behind it the beginning of a batch or nothing. Its records
/// once were in no line of the ledger.
#[test]
fn a_file_that_was_cut_short_costs_the_records_that_its_name_says() {
    for kept in [0, 1, 20, 60] {
        let disk = SimulatedDisk::default();
        let whole = batch(0, 50, 10);
        let bytes = [format::encode_head(&whole), whole.body().to_vec()].concat();
        disk.write(Path::new("/spool/0000000000000007-50.batch"), &[&bytes[..kept]], true).unwrap();
        let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::None);
        assert_eq!(stats.records().recovered, 50);
        let number = store.oldest().unwrap();
        store.lease(number);
        assert_eq!(store.load(number).unwrap_err(), LoadError::Gone);
        consistent(&store);
        assert_eq!((stats.records().dropped(DropReason::Corrupt), stats.spool_errors()), (50, 1));
        assert_eq!(disk.files(), [Path::new(FOLDER).join("corrupt/0000000000000007-50.batch")]);
    }
}

/// Found by the model: what a restart finds may have been renamed without the folder having been synced.
#[test]
fn what_a_restart_finds_survives_the_next_power_loss() {
    for seed in 0..20 {
        let disk = SimulatedDisk::default();
        let (store, _) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
        disk.kill_after(2); // During the rename.
        put(&store, vec![batch(0, 3, 50)]);
        assert_eq!(store.stats.records().waiting_memory, 3);
        drop(store);
        disk.restart(false, seed);
        let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
        assert_eq!(stats.records().recovered, 3);
        drop(store);
        disk.restart(true, seed);
        let (_, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
        assert_eq!(stats.records().recovered, 3);
    }
}

#[test]
fn numbers_differ_behind_the_last_one() {
    let disk = SimulatedDisk::default();
    let settings = SpoolSettings::new(FOLDER);
    let (spool, _) = Spool::open(&settings, Arc::new(disk.clone())).unwrap();
    assert!(spool.write(&[(Number::MOST, &batch(0, 2, 50)), (Number(u64::MAX), &batch(10, 2, 50))])[1].is_ok());
    drop(spool);
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    assert_eq!((stats.records().recovered, stats.spool_errors()), (2, 1));
    for first in 2..6 {
        put(&store, vec![batch(first * 10, 2, 50)]);
    }
    consistent(&store);
    drop(store);
    // And all of them are taken at the next start.
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    assert_eq!((stats.records().recovered, stats.spool_errors()), (10, 0));
    let numbers: Vec<Number> = store.lock().entries.keys().copied().collect();
    assert!(numbers.into_iter().all(|number| store.load(number).is_ok()));
}

#[test]
fn a_vanished_file_is_counted() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 0, SpoolSync::Batch);
    put(&store, vec![batch(0, 3, 50)]);
    disk.remove(&disk.files()[0]).unwrap();
    assert_eq!(store.load(store.oldest().unwrap()).unwrap_err(), LoadError::Gone);
    consistent(&store);
    assert_eq!(stats.records().dropped(DropReason::Missing), 3);
}

#[test]
fn the_patient_wait_for_room_and_the_end_does_not() {
    let (store, stats) = in_memory(batch(0, 2, 50).cost());
    put(&store, vec![batch(0, 2, 50)]);
    let first = store.oldest().unwrap();
    store.lease(first);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            store.stats.take(2);
            store.put(vec![Arrival { batch: batch(10, 2, 50), patient: true }]);
        });
        store.settle(first, 2, Fate::Accepted);
        waiting.join().unwrap();
    });
    consistent(&store);
    assert_eq!((stats.records().waiting_memory, stats.records().dropped_total()), (2, 0));
    store.close(Instant::now());
    store.stats.take(2);
    store.put(vec![Arrival { batch: batch(20, 2, 50), patient: true }]);
    consistent(&store);
    assert_eq!(stats.records().dropped(DropReason::MemoryFull), 2);
}

/// Delivers everything until `taken` records are accepted.
fn deliver(store: &Store, taken: u64) {
    let start = Instant::now();
    while store.stats.records().accepted < taken {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", store.stats.records());
        let Some(number) = store.oldest() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let Some(records) = store.lease(number) else { continue };
        store.load(number).unwrap();
        std::thread::sleep(Duration::from_micros(200));
        store.settle(number, records, Fate::Accepted);
    }
}

fn put_patient(store: &Store, firsts: std::ops::Range<u128>) {
    for first in firsts {
        store.stats.take(2);
        store.put(vec![Arrival { batch: batch(first * 10, 2, 50), patient: true }]);
    }
}

/// A source that could have waited once lost its oldest batches to a full disk, and to a full spool what came after grace.
#[test]
fn the_patient_lose_nothing_to_a_full_disk_or_spool() {
    let one = format::file_len(&batch(0, 2, 50));
    for (spool_most, capacity) in [(1 << 20, Some(3 * one + one / 2)), (3 * one, None)] {
        for grace in [Duration::ZERO, Duration::from_millis(2), HOUR] {
            let disk = SimulatedDisk::default();
            let (store, stats) = open(&disk, spool_most, 6 * one, SpoolSync::Batch);
            let store = store.with_grace(grace);
            disk.set_capacity(capacity);
            std::thread::scope(|scope| {
                let source = scope.spawn(|| put_patient(&store, 0..60));
                std::thread::sleep(Duration::from_millis(50));
                assert!(!source.is_finished());
                deliver(&store, 120);
            });
            consistent(&store);
            assert_eq!((stats.records().dropped_total(), stats.records().waiting()), (0, 0));
        }
    }
}

#[test]
fn waiting_for_a_full_disk_ends_with_delivery_or_where_nothing_of_ours_is_on_it() {
    let disk = SimulatedDisk::default();
    let one = format::file_len(&batch(0, 2, 50));
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    disk.set_capacity(Some(0));
    put_patient(&store, 0..1); // Would hang.
    assert_eq!((stats.records().waiting_memory, stats.records().waiting_spool), (2, 0));
    disk.set_capacity(Some(one + one / 2));
    store.tend();
    std::thread::scope(|scope| {
        let source = scope.spawn(|| put_patient(&store, 1..2));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!source.is_finished());
        // What others remove from the disk makes room, too.
        disk.set_capacity(Some(2 * one + one / 2));
        source.join().unwrap();
        assert_eq!(stats.records().waiting_spool, 4);
        let source = scope.spawn(|| put_patient(&store, 2..3));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!source.is_finished());
        store.close(Instant::now());
        source.join().unwrap();
    });
    consistent(&store);
    assert_eq!((stats.records().dropped(DropReason::DiskFull), stats.records().waiting()), (2, 4));
}

#[test]
fn the_patient_wait_for_memory_while_the_disk_takes_nothing_and_go_on_when_it_does() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 2 * batch(0, 2, 50).cost(), SpoolSync::Batch);
    disk.set_capacity(Some(0));
    std::thread::scope(|scope| {
        let source = scope.spawn(|| put_patient(&store, 0..5));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!source.is_finished());
        disk.set_capacity(None);
        source.join().unwrap();
    });
    consistent(&store);
    assert_eq!((stats.records().waiting(), stats.records().dropped_total()), (10, 0));
}

/// Rejected batches were once lost unseen: on a full disk, and to the folder's size.
#[test]
fn what_becomes_of_the_rejected_is_counted_and_said() {
    let disk = SimulatedDisk::default();
    let (one, answer) = (format::file_len(&batch(0, 2, 50)), Answer(b"no".to_vec()));
    let settings = SpoolSettings { dead_letter_bytes: 2 * one + 100, ..SpoolSettings::new(FOLDER) };
    let (spool, found) = Spool::open(&settings, Arc::new(disk.clone())).unwrap();
    let stats = Arc::new(Stats::default());
    let store = Store::new(Some((spool, found, 1 << 20)), 1 << 20, Arc::clone(&stats));
    let reject = |batch: &SealedBatch| {
        let number = store.oldest().unwrap();
        let records = store.lease(number).unwrap();
        let burial = store.bury(number, 0, batch, 400, &answer);
        store.settle(number, records, Fate::Rejected);
        burial
    };
    let counts = || (stats.rejected_kept(), stats.rejected_lost(), stats.dead_letters_evicted());
    put(&store, (0..6).map(|first| batch(first * 10, 2, 50)).collect());
    assert_eq!((0..3).map(|n| reject(&batch(n * 10, 2, 50))).collect::<Vec<_>>(), [Burial::Kept; 3]);
    assert_eq!(counts(), (6, 0, 2));
    // A full disk: what is in the spool is moved.
    disk.set_capacity(Some(0));
    assert_eq!(reject(&batch(30, 2, 50)), Burial::WithoutAnswer);
    assert_eq!(counts(), (8, 0, 4));
    // What the spool does not hold like this cannot be.
    assert_eq!(reject(&batch(40, 1, 50)), Burial::Disk);
    assert_eq!(counts(), (8, 1, 6));
    disk.set_capacity(None);
    assert_eq!(reject(&batch(0, 2, 5000)), Burial::TooLarge);
    assert_eq!(counts(), (8, 3, 6));
    consistent(&store);
    // One that is kept, and no answer without its batch.
    assert_eq!(disk.files().iter().map(|path| path.extension().unwrap()).collect::<Vec<_>>(), ["batch"]);
    drop(store);
    // A smaller size at the next start is no way out either.
    let (spool, _) =
        Spool::open(&SpoolSettings { dead_letter_bytes: one - 1, ..settings }, Arc::new(disk.clone())).unwrap();
    let stats = Arc::new(Stats::default());
    let _store = Store::new(Some((spool, Vec::new(), 1 << 20)), 1 << 20, Arc::clone(&stats));
    assert_eq!(stats.dead_letters_evicted(), 2);
    assert!(disk.files().is_empty());
}

/// Two sealing threads once wrote the same late batch, and counted it twice.
#[test]
fn what_is_written_late_is_written_once_by_however_many_threads() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    disk.set_slow();
    for round in 0..5 {
        disk.set_capacity(Some(0));
        for first in 0..20 {
            put(&store, vec![batch(round * 1000 + first * 10, 2, 50)]);
        }
        disk.set_capacity(None);
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| store.tend()))));
        store.tend();
        consistent(&store);
        assert_eq!(stats.records().waiting_memory, 0);
        while let Some(number) = store.oldest() {
            let records = store.lease(number).unwrap();
            assert_eq!(store.load(number).unwrap().records(), records as usize);
            store.settle(number, records, Fate::Accepted);
        }
    }
    assert_eq!(stats.records().accepted, 200);
    assert_eq!(disk.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_accepted_in_its_grace_never_touches_the_disk() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    let store = store.with_grace(HOUR);
    put(&store, vec![batch(0, 2, 50), batch(10, 3, 50)]);
    consistent(&store);
    assert_eq!((disk.files().len(), stats.records().waiting_memory), (0, 5));
    assert!(store.next_due().is_some_and(|due| due > Instant::now()));
    let oldest = store.oldest().unwrap();
    assert_eq!(store.lease(oldest), Some(2));
    // A part of it is under way when the grace ends: all of it is written.
    store.settle(oldest, 1, Fate::Accepted);
    store.end_grace(false);
    assert_eq!(disk.files().len(), 0);
    store.end_grace(true);
    consistent(&store);
    assert_eq!((disk.files().len(), stats.records().waiting_memory, stats.records().waiting_spool), (2, 0, 4));
    store.settle(oldest, 1, Fate::Accepted);
    assert_eq!(disk.files().len(), 1);
    put(&store, vec![batch(20, 2, 50)]);
    let next = store.oldest().unwrap();
    store.lease(next);
    store.settle(next, 3, Fate::Accepted);
    let next = store.oldest().unwrap();
    store.lease(next);
    store.settle(next, 2, Fate::Accepted);
    consistent(&store);
    assert_eq!((disk.files().len(), store.next_due()), (0, None));
    assert!(store.is_empty());
}

#[test]
fn nothing_has_grace_while_the_platform_is_away() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    let store = store.with_grace(HOUR);
    put(&store, vec![batch(0, 2, 50)]);
    stats.set_platform_down(true);
    store.end_grace(false);
    assert_eq!((disk.files().len(), store.next_due()), (1, None));
    put(&store, vec![batch(10, 2, 50)]);
    consistent(&store);
    assert_eq!((disk.files().len(), stats.records().waiting_memory), (2, 0));
}

#[test]
fn grace_is_bounded_in_bytes_and_the_older_is_written_first() {
    let disk = SimulatedDisk::default();
    let one = batch(0, 2, 50).cost();
    let (store, stats) = open(&disk, 1 << 20, 5 * one, SpoolSync::Batch);
    let store = store.with_grace(HOUR);
    put(&store, vec![batch(0, 2, 50), batch(10, 2, 50)]);
    assert_eq!(disk.files().len(), 0);
    put(&store, vec![batch(20, 2, 50)]);
    consistent(&store);
    assert_eq!((disk.files().len(), stats.records().waiting_memory), (3, 0));
    // Neither a full disk nor a full spool loses what had grace.
    disk.set_capacity(Some(0));
    put(&store, vec![batch(30, 2, 50)]);
    store.end_grace(true);
    consistent(&store);
    assert_eq!(stats.records().waiting() + stats.records().dropped(DropReason::DiskFull), 8);
    assert!(stats.records().waiting_memory >= 2);
    disk.set_capacity(None);
    store.tend();
    consistent(&store);
    assert_eq!(stats.records().waiting_memory, 0);
}

/// A batch that is accepted while it is written leaves no file behind.
#[test]
fn accepted_while_it_is_written() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    let store = store.with_grace(HOUR);
    disk.set_slow();
    for round in 0..10 {
        put(&store, (0..20).map(|n| batch(round * 1000 + n * 10, 2, 50)).collect());
        std::thread::scope(|scope| {
            scope.spawn(|| store.end_grace(true));
            scope.spawn(|| store.end_grace(true));
            while let Some(number) = store.oldest() {
                let records = store.lease(number).unwrap();
                assert_eq!(store.load(number).unwrap().records(), records as usize);
                store.settle(number, records, Fate::Accepted);
            }
        });
        consistent(&store);
        assert!(disk.files().is_empty(), "{:?}", disk.files());
    }
    assert_eq!((stats.records().accepted, stats.spool_bytes()), (400, 0));
}

#[test]
fn the_end_waits_for_no_more_than_the_grace() {
    let disk = SimulatedDisk::default();
    let (store, stats) = open(&disk, 1 << 20, 1 << 20, SpoolSync::Batch);
    let store = store.with_grace(Duration::from_millis(30));
    put(&store, vec![batch(0, 2, 50)]);
    store.await_grace();
    assert_eq!((disk.files().len(), stats.records().waiting_spool), (1, 2));
    let store = store.with_grace(HOUR);
    put(&store, vec![batch(10, 2, 50)]);
    store.close(Instant::now());
    store.await_grace();
    assert_eq!((disk.files().len(), stats.records().waiting_spool), (2, 4));
}
