//! What waits to be delivered: in the spool, in memory, or in both; and what goes when there is too much of it.
//!
//! Sealing threads put batches in, delivery takes the oldest, loads it, and settles its records' fate. While the platform
//! takes batches, a new one is sent from memory first and has a short grace before it is written: one that is accepted
//! by then never touches the disk. A batch just written stays in memory while there is room, so that it is not read back.
//!
//! # Invariants
//!
//! - *Nothing is lost unseen*: a record leaves only through [`Store::settle`] or by a counted drop.
//! - *Bounds*: memory for bodies stays within its size; waiting files stay within the spool's. When either is full, the
//!   oldest batches that are not under way go (or a patient caller waits).
//! - *Grace is short*: what has neither been accepted nor written when its grace is over is written, oldest first; it is
//!   bounded in bytes, too.
//! - *A failing disk is survived*: what cannot be written stays in memory, within its size, and is written later.

mod intake;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::outcome::Answer;
use crate::sealed::SealedBatch;
use crate::seldom::Seldom;
use crate::spool::{Burial, Number, ReadError, Spool};
use crate::stats::{DropReason, Fate, Place, Stats, add};

pub(crate) use self::intake::Arrival;

pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// Held by the one thread that writes late batches.
    tending: Mutex<()>,
    /// Told whenever room is made.
    room: Condvar,
    /// Told whenever there is something new to deliver.
    pub(crate) news: tokio::sync::Notify,
    spool: Option<Spool>,
    spool_most: u64,
    memory_most: u64,
    /// How long a new batch may wait to be accepted before it is written.
    grace: Duration,
    stats: Arc<Stats>,
    log_trouble: Seldom,
    log_drops: Seldom,
    log_evictions: Seldom,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Number, Entry>,
    /// Those that delivery has not seen yet.
    waiting: BTreeSet<Number>,
    /// Those that delivery has seen and that are not under way now: they wait for their next attempt.
    idle: BTreeSet<Number>,
    /// Those on the disk whose body is in memory, too.
    cached: BTreeSet<Number>,
    /// Those that are in memory only although there is a spool: they could not be written.
    unspooled: BTreeSet<Number>,
    /// Those that need not be written yet, and until when.
    fresh: BTreeMap<Number, Instant>,
    /// Those whose grace is over and that are being written.
    writing: BTreeSet<Number>,
    last: u64,
    memory_bytes: u64,
    /// Of it: what is fresh.
    fresh_bytes: u64,
    /// Bytes of files, those being written included.
    spool_bytes: u64,
    /// Files removed so far: whoever waits for room on a full disk tries again when there are more.
    removed: u64,
    /// From when on nobody waits for room any more.
    deadline: Option<Instant>,
}

struct Entry {
    /// Records in the file or body; part of the file's name.
    records: u32,
    /// Of those: without fate yet.
    remaining: u32,
    /// Parts of it under way.
    leases: u32,
    /// Length of the file; 0: there is none.
    file_bytes: u64,
    /// Its sender would rather wait than see something dropped for it.
    patient: bool,
    held: Option<Box<SealedBatch>>,
}

impl Entry {
    fn place(&self) -> Place {
        if self.file_bytes > 0 { Place::Spool } else { Place::Memory }
    }
}

/// Why a batch cannot be loaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// It has been dropped, here or just now.
    Gone,
    /// The disk failed; it may work later.
    Disk,
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
                add(&stats.spool_errors, spool.misnamed);
                for found in found {
                    stats.recover(found.records.into());
                    let entry = Entry {
                        records: found.records,
                        remaining: found.records,
                        leases: 0,
                        file_bytes: found.bytes.max(1),
                        patient: false,
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
            tending: Mutex::default(),
            room: Condvar::new(),
            news: tokio::sync::Notify::new(),
            spool,
            spool_most,
            memory_most,
            grace: Duration::ZERO,
            stats,
            log_trouble: Seldom::new(Duration::from_secs(30)),
            log_drops: Seldom::new(Duration::from_secs(10)),
            log_evictions: Seldom::new(Duration::from_secs(10)),
        };
        store.publish(&store.lock());
        store.report_evictions();
        store
    }

    /// The same, with some grace for new batches.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The oldest batch that delivery has not seen yet.
    pub(crate) fn oldest(&self) -> Option<Number> {
        self.lock().waiting.first().copied()
    }

    /// Marks a batch, or a part of it, as under way, so that it is not dropped for room. Returns its number of records, or
    /// `None` if it has been dropped. Each lease is given back with [`Store::release`].
    pub(crate) fn lease(&self, number: Number) -> Option<u32> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(&number)?;
        entry.leases += 1;
        let records = entry.records;
        inner.waiting.remove(&number);
        inner.idle.remove(&number);
        Some(records)
    }

    /// Gives a lease back, if the batch is still there.
    pub(crate) fn release(&self, number: Number) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&number) else { return };
        entry.leases = entry.leases.saturating_sub(1);
        if entry.leases == 0 {
            inner.idle.insert(number);
        }
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

    /// Keeps a rejected batch (or a part of one from record `from` on) with its answer, if that can be. May block.
    pub(crate) fn bury(&self, number: Number, from: u32, batch: &SealedBatch, status: u16, answer: &Answer) -> Burial {
        let burial = self.spool.as_ref().map_or(Burial::NoFolder, |spool| {
            let file = self.lock().entries.get(&number).and_then(|entry| {
                let is_whole = entry.records as usize == batch.records() && entry.remaining == entry.records;
                (is_whole && entry.file_bytes > 0).then_some(entry.file_bytes)
            });
            let buried = spool.bury(number, from, batch, file, status, answer);
            self.report_evictions();
            buried.unwrap_or_else(|error| {
                self.report(&error, "a rejected batch could not be kept in dead-letter/");
                Burial::Disk
            })
        });
        let counter = if burial.is_kept() { &self.stats.rejected_kept } else { &self.stats.rejected_lost };
        add(counter, batch.records() as u64);
        burial
    }

    fn report_evictions(&self) {
        let records = self.spool.as_ref().map_or(0, Spool::take_evicted);
        add(&self.stats.dead_letters_evicted, records);
        if records > 0
            && let Some(left_out) = self.log_evictions.admit(Instant::now())
        {
            let in_all = self.stats.dead_letters_evicted();
            tracing::warn!(
                records,
                in_all,
                left_out,
                "dead-letter/ has reached its size: the oldest rejected records in it are lost; raise dead_letter_bytes"
            );
        }
    }

    /// From `deadline` on nobody waits for room any more.
    pub(crate) fn close(&self, deadline: Instant) {
        self.lock().deadline = Some(deadline);
        self.room.notify_all();
    }

    /// The end: what is in memory only is written if possible, else counted as dropped. Nothing is delivered afterwards.
    pub(crate) fn finish(&self) {
        self.end_grace(true);
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
            let why = if self.spool.is_some() { "the spool did not take them" } else { "a spool would keep them" };
            tracing::warn!(records = lost, "records were still in memory at the end and are lost; {why}");
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.lock().removed += 1;
        self.room.notify_all();
    }

    fn publish(&self, inner: &Inner) {
        self.stats.memory_bytes.store(inner.memory_bytes, Ordering::Relaxed);
        self.stats.spool_bytes.store(inner.spool_bytes, Ordering::Relaxed);
        let in_memory = match self.spool {
            Some(_) => inner.unspooled.len() + inner.fresh.len() + inner.writing.len(),
            None => inner.entries.len(),
        };
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
    /// Whether whoever can wait still may.
    fn may_wait(&self) -> bool {
        self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// The next batch's number: the time, unless that is not after the last one.
    fn next_number(&mut self) -> Number {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let next = now.max(self.last.saturating_add(1));
        // Behind a foreign file at the end of the range there is no next one: then the time, or what is free after it.
        self.last = if next <= Number::MOST.0 { next } else { now.min(Number::MOST.0 / 2) };
        while self.entries.contains_key(&Number(self.last)) {
            self.last += 1;
        }
        Number(self.last)
    }

    /// Takes an entry out, with all that is known of it elsewhere.
    fn remove(&mut self, number: Number) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.waiting.remove(&number);
        self.idle.remove(&number);
        self.cached.remove(&number);
        self.unspooled.remove(&number);
        self.writing.remove(&number);
        let cost = entry.held.as_ref().map_or(0, |held| held.cost());
        if self.fresh.remove(&number).is_some() {
            self.fresh_bytes -= cost;
        }
        self.spool_bytes -= entry.file_bytes;
        self.memory_bytes -= cost;
        Some(entry)
    }

    /// Lets the body go of a batch that is on the disk.
    fn let_go(&mut self, number: Number) {
        if let Some(held) = self.entries.get_mut(&number).and_then(|entry| entry.held.take()) {
            self.memory_bytes -= held.cost();
        }
    }
}
