//! What waits to be delivered: in the spool, in memory, or in both; and what goes when there is too much of it.
//!
//! Sealing threads put batches in, delivery takes the oldest, loads it, and settles its records' fate. A batch just
//! written stays in memory while there is room, so that it is not read back.
//!
//! # Invariants
//!
//! - *Nothing is lost unseen*: a record leaves only through [`Store::settle`] or by a counted drop.
//! - *Bounds*: memory for bodies stays within its size; waiting files stay within the spool's. When either is full, the
//!   oldest batches that are not under way go (or a patient caller waits).
//! - *A failing disk is survived*: what cannot be written stays in memory, within its size, and is written later.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::outcome::Answer;
use crate::sealed::SealedBatch;
use crate::seldom::Seldom;
use crate::spool::{Number, ReadError, Spool, format};
use crate::stats::{DropReason, Fate, Place, Stats, add};

/// Files in a spool at most, however small: each takes an entry in memory and a name in the folder.
const MAX_FILES: usize = 500_000;

/// How many of the oldest files are given up for one write on a full disk, before it is put off.
const DISK_FULL_ROUNDS: usize = 4;

/// Batches written late at once.
const RESPOOL_BATCHES: usize = 8;

pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// Told whenever room is made.
    room: Condvar,
    /// Told whenever there is something new to deliver.
    pub(crate) news: tokio::sync::Notify,
    spool: Option<Spool>,
    spool_most: u64,
    memory_most: u64,
    stats: Arc<Stats>,
    log_trouble: Seldom,
    log_drops: Seldom,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Number, Entry>,
    /// Those not under way.
    waiting: BTreeSet<Number>,
    /// Those on the disk whose body is in memory, too.
    cached: BTreeSet<Number>,
    /// Those that are in memory only although there is a spool.
    unspooled: BTreeSet<Number>,
    last: u64,
    memory_bytes: u64,
    /// Bytes of files, those being written included.
    spool_bytes: u64,
    /// From when on nobody waits for room any more.
    deadline: Option<Instant>,
}

struct Entry {
    /// Records in the file or body; part of the file's name.
    records: u32,
    /// Of those: without fate yet.
    remaining: u32,
    /// Length of the file; 0: there is none.
    file_bytes: u64,
    held: Option<Box<SealedBatch>>,
}

impl Entry {
    fn place(&self) -> Place {
        if self.file_bytes > 0 { Place::Spool } else { Place::Memory }
    }
}

/// A batch on its way into the store.
pub(crate) struct Arrival {
    pub(crate) batch: SealedBatch,
    /// Whether its sender would rather wait than see something dropped.
    pub(crate) patient: bool,
}

/// Why a batch cannot be loaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// It has been dropped, here or just now.
    Gone,
    /// The disk failed; it may work later.
    Disk,
}

struct Reserved {
    number: Number,
    batch: SealedBatch,
    bytes: u64,
    patient: bool,
}

impl Store {
    /// A store over an open spool and what was found in it, or in memory only.
    pub(crate) fn new(
        spool: Option<(Spool, Vec<crate::spool::Found>, u64)>,
        memory_most: u64,
        stats: Arc<Stats>,
    ) -> Self {
        let mut inner = Inner::default();
        let (spool, spool_most) = match spool {
            None => (None, 0),
            Some((spool, found, most)) => {
                for found in found {
                    stats.recover(found.records.into());
                    let entry = Entry {
                        records: found.records,
                        remaining: found.records,
                        file_bytes: found.bytes.max(1),
                        held: None,
                    };
                    inner.spool_bytes += entry.file_bytes;
                    inner.entries.insert(found.number, entry);
                    inner.waiting.insert(found.number);
                    inner.last = inner.last.max(found.number.0);
                }
                (Some(spool), most)
            }
        };
        let store = Self {
            inner: Mutex::new(inner),
            room: Condvar::new(),
            news: tokio::sync::Notify::new(),
            spool,
            spool_most,
            memory_most,
            stats,
            log_trouble: Seldom::new(Duration::from_secs(30)),
            log_drops: Seldom::new(Duration::from_secs(10)),
        };
        store.publish(&store.lock());
        store
    }

    /// Takes batches in. Returns when each is on the disk (where there is a spool that works), in memory, or dropped.
    pub(crate) fn put(&self, arrivals: Vec<Arrival>) {
        let mut reserved = Vec::with_capacity(arrivals.len());
        for Arrival { batch, patient } in arrivals {
            if self.spool.is_none() {
                let number = self.lock().next_number();
                self.keep_in_memory(number, batch, patient);
                continue;
            }
            let bytes = format::file_len(&batch);
            if bytes > self.spool_most {
                self.stats.settle(batch.records() as u64, Place::Memory, Fate::Dropped(DropReason::TooLarge));
                continue;
            }
            if patient && !self.has_room(bytes) {
                // Those before it must be deliverable, or the room would never come.
                self.write(std::mem::take(&mut reserved));
                self.wait_for(|inner| self.fits(inner, bytes));
            }
            let mut place = self.reserve(bytes);
            if place.is_none() && !reserved.is_empty() {
                // Those before it are the oldest that could go.
                self.write(std::mem::take(&mut reserved));
                place = self.reserve(bytes);
            }
            match place {
                Some(number) => reserved.push(Reserved { number, batch, bytes, patient }),
                // All that fills the spool is under way: there will be room shortly.
                None => {
                    let number = self.lock().next_number();
                    self.keep_in_memory(number, batch, patient);
                }
            }
        }
        self.write(reserved);
    }

    /// Writes what could not be written when it came. For a thread that may block.
    pub(crate) fn tend(&self) {
        let Some(spool) = &self.spool else { return };
        loop {
            let mut late = Vec::new();
            {
                let mut inner = self.lock();
                let numbers: Vec<Number> = inner.unspooled.iter().copied().take(RESPOOL_BATCHES).collect();
                for number in numbers {
                    let Some(held) = inner.entries.get(&number).and_then(|entry| entry.held.as_deref()) else {
                        continue;
                    };
                    let (batch, bytes) = (held.clone(), format::file_len(held));
                    if self.fits(&inner, bytes) {
                        inner.spool_bytes += bytes;
                        late.push(Reserved { number, batch, bytes, patient: false });
                    }
                }
            }
            if late.is_empty() {
                return;
            }
            let results = spool.write(&late.iter().map(|one| (one.number, &one.batch)).collect::<Vec<_>>());
            let mut gone = Vec::new();
            let mut failed = None;
            let mut inner = self.lock();
            for (one, result) in late.into_iter().zip(results) {
                match (result, inner.entries.get_mut(&one.number)) {
                    (Ok(()), Some(entry)) => {
                        entry.file_bytes = one.bytes;
                        self.stats.spooled(entry.remaining.into());
                        inner.unspooled.remove(&one.number);
                        inner.cached.insert(one.number);
                    }
                    (Ok(()), None) => {
                        inner.spool_bytes -= one.bytes;
                        gone.push((one.number, one.batch.records() as u32));
                    }
                    (Err(error), _) => {
                        inner.spool_bytes -= one.bytes;
                        failed = Some(error);
                    }
                }
            }
            self.publish(&inner);
            drop(inner);
            for (number, records) in gone {
                self.remove_file(number, records);
            }
            if let Some(error) = failed {
                self.report(&error, "spool write failed; batches wait in memory");
                return;
            }
        }
    }

    /// The oldest batch that is not under way.
    pub(crate) fn oldest(&self) -> Option<Number> {
        self.lock().waiting.first().copied()
    }

    /// Marks a batch as under way, so that it is not dropped for room. Returns its number of records.
    pub(crate) fn lease(&self, number: Number) -> Option<u32> {
        let mut inner = self.lock();
        inner.waiting.remove(&number);
        inner.entries.get(&number).map(|entry| entry.records)
    }

    /// The batch, if its body is in memory.
    pub(crate) fn held(&self, number: Number) -> Option<SealedBatch> {
        self.lock().entries.get(&number)?.held.as_deref().cloned()
    }

    /// The batch, read back if need be. May block. A damaged file is set aside and its records are counted as dropped.
    pub(crate) fn load(&self, number: Number) -> Result<SealedBatch, LoadError> {
        let (records, bytes) = {
            let inner = self.lock();
            let Some(entry) = inner.entries.get(&number) else { return Err(LoadError::Gone) };
            if let Some(held) = &entry.held {
                return Ok((**held).clone());
            }
            (entry.records, entry.file_bytes)
        };
        let Some(spool) = &self.spool else { return Err(LoadError::Gone) };
        match spool.read(number, records) {
            Ok(batch) => Ok(batch),
            Err(ReadError::Missing) => {
                self.lose(number, DropReason::Missing);
                Err(LoadError::Gone)
            }
            Err(ReadError::Corrupt(corrupt)) => {
                add(&self.stats.spool_errors, 1);
                tracing::warn!(
                    folder = %spool.folder().display(), number = number.0, records, %corrupt,
                    "a spool file is damaged; it is set aside in corrupt/ and its records are lost"
                );
                self.set_aside(number, records, bytes);
                Err(LoadError::Gone)
            }
            Err(ReadError::Io(error)) => {
                self.report(&error, "spool read failed; it is tried again");
                Err(LoadError::Disk)
            }
        }
    }

    /// Sets a batch's file aside whatever is in it, and counts what it held as dropped.
    pub(crate) fn give_up(&self, number: Number) {
        let found = self.lock().entries.get(&number).map(|entry| (entry.records, entry.file_bytes));
        if let Some((records, bytes)) = found {
            self.set_aside(number, records, bytes);
        }
    }

    /// Settles the fate of `records` of a batch; with the last of them, the batch is removed. May block.
    pub(crate) fn settle(&self, number: Number, records: u32, fate: Fate) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&number) else { return };
        let records = records.min(entry.remaining);
        entry.remaining -= records;
        self.stats.settle(records.into(), entry.place(), fate);
        if entry.remaining > 0 {
            return;
        }
        let (all, on_disk) = (entry.records, entry.file_bytes > 0);
        inner.remove(number);
        self.publish(&inner);
        drop(inner);
        self.room.notify_all();
        if on_disk {
            self.remove_file(number, all);
        }
    }

    /// Keeps a rejected batch (or a part of one from record `from` on) with its answer. May block.
    pub(crate) fn bury(&self, number: Number, from: u32, batch: &SealedBatch, status: u16, answer: &Answer) {
        if let Some(spool) = &self.spool
            && let Err(error) = spool.bury(number, from, batch, status, answer)
        {
            self.report(&error, "a rejected batch could not be kept in dead-letter/");
        }
    }

    /// From `deadline` on nobody waits for room any more.
    pub(crate) fn close(&self, deadline: Instant) {
        self.lock().deadline = Some(deadline);
        self.room.notify_all();
    }

    /// The end: what is in memory only is written if possible, else counted as dropped. Nothing is delivered afterwards.
    pub(crate) fn finish(&self) {
        self.tend();
        let mut inner = self.lock();
        let in_memory: Vec<Number> =
            inner.entries.iter().filter(|(_, entry)| entry.file_bytes == 0).map(|(number, _)| *number).collect();
        let mut lost = 0;
        for number in in_memory {
            if let Some(entry) = inner.remove(number) {
                lost += u64::from(entry.remaining);
                self.stats.settle(entry.remaining.into(), Place::Memory, Fate::Dropped(DropReason::Shutdown));
            }
        }
        self.publish(&inner);
        if lost > 0 {
            tracing::warn!(
                records = lost,
                "records were still in memory at the end and are lost; a spool would keep them"
            );
        }
    }

    /// Whether rejected batches are kept.
    pub(crate) fn keeps_rejected(&self) -> bool {
        self.spool.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, inner: &Inner, bytes: u64) -> bool {
        inner.spool_bytes + bytes <= self.spool_most && inner.entries.len() < MAX_FILES
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.fits(&self.lock(), bytes)
    }

    /// Waits until `enough` or the deadline.
    fn wait_for(&self, enough: impl Fn(&Inner) -> bool) {
        let mut inner = self.lock();
        while !enough(&inner) {
            let timeout = match inner.deadline {
                // Looks again now and then, so that a missed call costs no more than that.
                None => Duration::from_secs(1),
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if timeout.is_zero() {
                return;
            }
            inner = self.room.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Room in the spool for a file, at the cost of the oldest if need be; `None` if everything in it is under way.
    fn reserve(&self, bytes: u64) -> Option<Number> {
        let mut inner = self.lock();
        let mut victims = Vec::new();
        while !self.fits(&inner, bytes) {
            let Some(victim) = self.drop_oldest(&mut inner, Place::Spool, DropReason::SpoolFull) else { break };
            victims.push(victim);
        }
        let number = self.fits(&inner, bytes).then(|| {
            inner.spool_bytes += bytes;
            inner.next_number()
        });
        self.publish(&inner);
        drop(inner);
        for (number, records) in victims {
            self.remove_file(number, records);
        }
        number
    }

    /// Writes reserved batches and makes them known; those that cannot be written stay in memory.
    fn write(&self, mut reserved: Vec<Reserved>) {
        let Some(spool) = &self.spool else { return };
        for round in 0.. {
            if reserved.is_empty() {
                return;
            }
            let results = spool.write(&reserved.iter().map(|one| (one.number, &one.batch)).collect::<Vec<_>>());
            let mut failed = Vec::new();
            let mut last_error = None;
            let mut inner = self.lock();
            for (one, result) in reserved.into_iter().zip(results) {
                match result {
                    Ok(()) => self.known(&mut inner, one),
                    Err(error) => {
                        last_error = Some(error);
                        failed.push(one);
                    }
                }
            }
            self.publish(&inner);
            drop(inner);
            self.news.notify_one();
            let Some(error) = last_error else { return };
            self.report(&error, "spool write failed");
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full && round < DISK_FULL_ROUNDS && self.make_room_on_disk(failed.iter().map(|one| one.bytes).sum()) {
                reserved = failed;
                continue;
            }
            self.lock().spool_bytes -= failed.iter().map(|one| one.bytes).sum::<u64>();
            for one in failed {
                self.keep_in_memory(one.number, one.batch, one.patient);
            }
            return;
        }
    }

    /// A batch that is on the disk: delivery may have it.
    fn known(&self, inner: &mut Inner, one: Reserved) {
        let records = one.batch.records() as u32;
        self.stats.spooled(records.into());
        let cost = one.batch.cost();
        let held = (inner.memory_bytes + cost <= self.memory_most).then(|| Box::new(one.batch));
        if held.is_some() {
            inner.memory_bytes += cost;
            inner.cached.insert(one.number);
        }
        inner.entries.insert(one.number, Entry { records, remaining: records, file_bytes: one.bytes, held });
        inner.waiting.insert(one.number);
    }

    /// Gives up the oldest files for `bytes` on a disk that is full. False if there is none to give up.
    fn make_room_on_disk(&self, bytes: u64) -> bool {
        let (mut freed, mut victims) = (0, Vec::new());
        let mut inner = self.lock();
        while freed < bytes {
            let before = inner.spool_bytes;
            let Some(victim) = self.drop_oldest(&mut inner, Place::Spool, DropReason::DiskFull) else { break };
            freed += before - inner.spool_bytes;
            victims.push(victim);
        }
        drop(inner);
        for (number, records) in &victims {
            self.remove_file(*number, *records);
        }
        !victims.is_empty()
    }

    /// Keeps a batch in memory only, at the cost of the oldest of its kind if need be.
    fn keep_in_memory(&self, number: Number, batch: SealedBatch, patient: bool) {
        let cost = batch.cost();
        let records = batch.records() as u32;
        if patient && self.spool.is_none() {
            self.wait_for(|inner| inner.memory_bytes + cost <= self.memory_most);
        }
        let mut inner = self.lock();
        while inner.memory_bytes + cost > self.memory_most {
            // Bodies that are on the disk, too, go first; the youngest, for they are needed last.
            if let Some(cached) = inner.cached.pop_last() {
                inner.let_go(cached);
            } else if self.drop_oldest(&mut inner, Place::Memory, DropReason::MemoryFull).is_none() {
                self.stats.settle(records.into(), Place::Memory, Fate::Dropped(DropReason::MemoryFull));
                self.report_drop(records.into(), DropReason::MemoryFull);
                return;
            }
        }
        inner.memory_bytes += cost;
        if self.spool.is_some() {
            inner.unspooled.insert(number);
        }
        let held = Some(Box::new(batch));
        inner.entries.insert(number, Entry { records, remaining: records, file_bytes: 0, held });
        inner.waiting.insert(number);
        self.publish(&inner);
        drop(inner);
        self.news.notify_one();
    }

    /// Drops the oldest batch in `place` that is not under way. Returns its file's name, for removal without the lock.
    fn drop_oldest(&self, inner: &mut Inner, place: Place, reason: DropReason) -> Option<(Number, u32)> {
        let number = match place {
            Place::Spool => inner.waiting.iter().copied().find(|number| !inner.unspooled.contains(number))?,
            Place::Memory if self.spool.is_some() => {
                inner.unspooled.iter().copied().find(|number| inner.waiting.contains(number))?
            }
            Place::Memory => inner.waiting.first().copied()?,
        };
        let entry = inner.remove(number)?;
        self.stats.settle(entry.remaining.into(), entry.place(), Fate::Dropped(reason));
        self.report_drop(entry.remaining.into(), reason);
        Some((number, entry.records))
    }

    fn set_aside(&self, number: Number, records: u32, bytes: u64) {
        if let Some(spool) = &self.spool
            && let Err(error) = spool.set_aside(number, records, bytes)
        {
            self.report(&error, "a damaged spool file could not be set aside");
        }
        self.lose(number, DropReason::Corrupt);
    }

    /// Forgets a batch whose file is not there any more.
    fn lose(&self, number: Number, reason: DropReason) {
        let mut inner = self.lock();
        if let Some(entry) = inner.remove(number) {
            self.stats.settle(entry.remaining.into(), entry.place(), Fate::Dropped(reason));
            self.report_drop(entry.remaining.into(), reason);
        }
        self.publish(&inner);
        drop(inner);
        self.room.notify_all();
    }

    fn remove_file(&self, number: Number, records: u32) {
        if let Some(spool) = &self.spool
            && let Err(error) = spool.remove(number, records)
        {
            self.report(&error, "a spool file could not be removed; its records will be sent again after a restart");
        }
    }

    fn publish(&self, inner: &Inner) {
        self.stats.memory_bytes.store(inner.memory_bytes, Ordering::Relaxed);
        self.stats.spool_bytes.store(inner.spool_bytes, Ordering::Relaxed);
        let in_memory = if self.spool.is_some() { inner.unspooled.len() } else { inner.entries.len() };
        self.stats.spool_batches.store((inner.entries.len() - in_memory) as u64, Ordering::Relaxed);
        self.stats.set_oldest(inner.entries.keys().next().map(|number| number.0));
    }

    fn report(&self, error: &io::Error, what: &str) {
        add(&self.stats.spool_errors, 1);
        if let Some(left_out) = self.log_trouble.admit(Instant::now()) {
            let folder = self.spool.as_ref().map(|spool| spool.folder().display().to_string()).unwrap_or_default();
            tracing::warn!(folder, %error, left_out, "{what}; check the disk's space and the folder's rights");
        }
    }

    fn report_drop(&self, records: u64, reason: DropReason) {
        if let Some(left_out) = self.log_drops.admit(Instant::now()) {
            tracing::warn!(reason = reason.name(), records, left_out, "dropped the oldest records that waited");
        }
    }
}

impl Inner {
    /// The next batch's number: the time, unless that is not after the last one.
    fn next_number(&mut self) -> Number {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        self.last = now.max(self.last.saturating_add(1));
        Number(self.last)
    }

    /// Takes an entry out, with all that is known of it elsewhere.
    fn remove(&mut self, number: Number) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.waiting.remove(&number);
        self.cached.remove(&number);
        self.unspooled.remove(&number);
        self.spool_bytes -= entry.file_bytes;
        if let Some(held) = &entry.held {
            self.memory_bytes -= held.cost();
        }
        Some(entry)
    }

    /// Lets the body go of a batch that is on the disk.
    fn let_go(&mut self, number: Number) {
        if let Some(held) = self.entries.get_mut(&number).and_then(|entry| entry.held.take()) {
            self.memory_bytes -= held.cost();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::RecordId;
    use crate::envelope::Envelope;
    use crate::sealed::tests::{contents, sealed};
    use crate::settings::{Coding, SpoolSettings, SpoolSync};
    use crate::spool::disk::Disk;
    use crate::spool::simulated::SimulatedDisk;

    const FOLDER: &str = "/spool";

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
            waiting += usize::from(inner.waiting.contains(number));
            assert_eq!(inner.cached.contains(number), entry.held.is_some() && entry.file_bytes > 0);
        }
        assert_eq!((line.waiting_memory, line.waiting_spool), (memory, files));
        assert_eq!((inner.memory_bytes, inner.spool_bytes), (bytes[0], bytes[1]));
        assert_eq!(waiting, inner.waiting.len());
        assert!(inner.memory_bytes <= store.memory_most);
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
                                _ => leased.push((number, records)),
                            }
                        }
                        Step::Tend => store.tend(),
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
                    Step::Lease | Step::Tend | Step::Fail(..) | Step::Capacity(_) => store.tend(),
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
        // One under way is not dropped, whatever its age.
        let oldest = store.oldest().unwrap();
        store.lease(oldest);
        for first in 5..9 {
            put(&store, vec![batch(first * 10, 2, 50)]);
        }
        assert!(store.load(oldest).is_ok());
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
}
