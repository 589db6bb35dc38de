//! The way into the store, and what goes when there is no room.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{Entry, Inner, Store};
use crate::sealed::SealedBatch;
use crate::spool::{Number, Spool, format};
use crate::stats::{DropReason, Fate, Place};

/// Files in a spool at most, however small: each takes an entry in memory and a name in the folder.
const MAX_FILES: usize = 500_000;

/// How many of the oldest files are given up for one write on a full disk, before it is put off.
const DISK_FULL_ROUNDS: usize = 4;

/// Batches written at once that were known before.
const RESPOOL_BATCHES: usize = 8;

/// Bytes that may have grace at once, of at most half the memory: what `kill -9` would cost beside what is in the making.
const FRESH_BYTES: u64 = 8 << 20;

/// A batch on its way into the store.
pub(crate) struct Arrival {
    pub(crate) batch: SealedBatch,
    /// Whether its sender would rather wait than see something dropped.
    pub(crate) patient: bool,
}

struct Reserved {
    number: Number,
    batch: SealedBatch,
    bytes: u64,
    patient: bool,
    /// Delivery has known it before it is written.
    is_known: bool,
}

impl Store {
    /// Takes batches in. Returns when each is on the disk (where there is a spool that works), has grace, is in memory, or
    /// dropped.
    pub(crate) fn put(&self, arrivals: Vec<Arrival>) {
        let mut reserved = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let Some(Arrival { batch, patient }) = self.give_grace(arrival) else { continue };
            // What is older gets to the disk before it.
            self.end_grace(true);
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
            let mut place = self.reserve(bytes, patient);
            if place.is_none() && !reserved.is_empty() {
                // Those before it must be deliverable, or the room would never come; and they are the oldest that could go.
                self.write(std::mem::take(&mut reserved));
                place = self.reserve(bytes, patient);
            }
            while place.is_none() && patient && self.lock().may_wait() {
                self.wait_for(|inner| self.fits(inner, bytes));
                place = self.reserve(bytes, patient);
            }
            match place {
                Some(number) => reserved.push(Reserved { number, batch, bytes, patient, is_known: false }),
                // All that fills the spool is under way: there will be room shortly.
                None => {
                    let number = self.lock().next_number();
                    self.keep_in_memory(number, batch, patient);
                }
            }
        }
        self.write(reserved);
    }

    /// Takes a batch in without writing it yet. Gives it back where that cannot be: the platform is away, or too much has
    /// grace already.
    fn give_grace(&self, arrival: Arrival) -> Option<Arrival> {
        let (cost, bytes) = (arrival.batch.cost(), format::file_len(&arrival.batch));
        let most = FRESH_BYTES.min(self.memory_most / 2);
        if self.grace.is_zero() || self.spool.is_none() || bytes > self.spool_most || cost > most {
            return Some(arrival);
        }
        let mut inner = self.lock();
        loop {
            if self.stats.platform_down() || inner.entries.len() >= MAX_FILES {
                return Some(arrival);
            }
            if inner.fresh_bytes + cost <= most {
                break;
            }
            // One that can wait waits for those before it, which are being accepted or else written before long.
            let may_wait = arrival.patient && inner.deadline.is_none();
            let Some(due) = inner.fresh.values().next().copied().filter(|_| may_wait) else { return Some(arrival) };
            let timeout = due.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                drop(inner);
                self.end_grace(false);
                inner = self.lock();
            } else {
                inner = self.room.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        while inner.memory_bytes + cost > self.memory_most {
            let Some(cached) = inner.cached.pop_last() else { return Some(arrival) };
            inner.let_go(cached);
        }
        let records = arrival.batch.records() as u32;
        let number = inner.next_number();
        inner.memory_bytes += cost;
        inner.fresh_bytes += cost;
        inner.fresh.insert(number, Instant::now() + self.grace);
        let held = Some(Box::new(arrival.batch));
        inner.entries.insert(
            number,
            Entry { records, remaining: records, leases: 0, file_bytes: 0, patient: arrival.patient, held },
        );
        inner.waiting.insert(number);
        self.publish(&inner);
        drop(inner);
        self.news.notify_one();
        None
    }

    /// When the next batch has to be written that has grace now.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.lock().fresh.values().next().copied()
    }

    /// Writes the batches whose grace is over: all of them if `at_once`, or while the platform is away. May block.
    pub(crate) fn end_grace(&self, at_once: bool) {
        loop {
            let now = Instant::now();
            let at_once = at_once || self.stats.platform_down();
            let mut due = Vec::new();
            let mut inner = self.lock();
            while due.len() < RESPOOL_BATCHES
                && let Some(first) = inner.fresh.first_entry().filter(|first| at_once || *first.get() <= now)
            {
                let number = *first.key();
                first.remove();
                let Some(entry) = inner.entries.get(&number) else { continue };
                let (Some(batch), patient) = (entry.held.as_deref().cloned(), entry.patient) else { continue };
                inner.fresh_bytes -= batch.cost();
                inner.writing.insert(number);
                let bytes = format::file_len(&batch);
                due.push(Reserved { number, batch, bytes, patient, is_known: true });
            }
            drop(inner);
            if due.is_empty() {
                return;
            }
            due.retain(|one| {
                let has_room = self.make_room(one.bytes, one.patient);
                if !has_room {
                    // All that fills the spool is under way, or may not be dropped for it: there will be room.
                    self.lock().stays_in_memory(one.number);
                }
                has_room
            });
            self.write(due);
        }
    }

    /// Nothing more comes: waits until everything is accepted or on the disk, as far as the disk works. May block.
    pub(crate) fn await_grace(&self) {
        let mut inner = self.lock();
        while let Some(due) = inner.fresh.values().next().copied() {
            let until = inner.deadline.map_or(due, |deadline| deadline.min(due));
            let timeout = until.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                drop(inner);
                self.end_grace(true);
                inner = self.lock();
            } else {
                inner = self.room.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Writes what could not be written when it came. For a thread that may block.
    pub(crate) fn tend(&self) {
        let Some(spool) = &self.spool else { return };
        let _alone = match self.tending.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return, // Another thread is at it.
        };
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
                        late.push(Reserved { number, batch, bytes, patient: false, is_known: true });
                    }
                }
            }
            if late.is_empty() {
                return;
            }
            if let Err((failed, error)) = self.write_once(spool, late) {
                self.give_room_back(&failed);
                self.report(&error, "spool write failed; batches wait in memory");
                return;
            }
        }
    }

    fn fits(&self, inner: &Inner, bytes: u64) -> bool {
        inner.spool_bytes + bytes <= self.spool_most && inner.entries.len() < MAX_FILES
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

    /// A number and room for a new file, as [`Store::make_room`] does.
    fn reserve(&self, bytes: u64, patient: bool) -> Option<Number> {
        self.make_room(bytes, patient).then(|| self.lock().next_number())
    }

    /// Room in the spool for a file, at the cost of the oldest if need be; false if everything in it is under way, or if
    /// the file's sender may still wait.
    fn make_room(&self, bytes: u64, patient: bool) -> bool {
        let mut inner = self.lock();
        let mut victims = Vec::new();
        while !(self.fits(&inner, bytes) || patient && inner.may_wait()) {
            let Some(victim) = self.drop_oldest(&mut inner, Place::Spool, DropReason::SpoolFull) else { break };
            victims.push(victim);
        }
        let has_room = self.fits(&inner, bytes);
        if has_room {
            inner.spool_bytes += bytes;
        }
        self.publish(&inner);
        drop(inner);
        for (number, records) in victims {
            self.remove_file(number, records);
        }
        has_room
    }

    /// Writes reserved batches and makes them known; those that cannot be written stay in memory.
    fn write(&self, mut reserved: Vec<Reserved>) {
        let Some(spool) = &self.spool else { return };
        let mut rounds = 0;
        loop {
            if reserved.is_empty() {
                return;
            }
            let removed = self.lock().removed;
            let Err((failed, error)) = self.write_once(spool, reserved) else { return };
            self.report(&error, "spool write failed");
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full && failed.iter().any(|one| one.patient && !one.is_known) && self.wait_for_disk(removed) {
                reserved = failed;
                continue;
            }
            // What delivery knows already stays in memory, where it takes no more than it did.
            let stays = |one: &Reserved| one.patient && one.is_known;
            let may_drop = full && rounds < DISK_FULL_ROUNDS && !(failed.iter().all(stays) && self.lock().may_wait());
            if may_drop && self.make_room_on_disk(failed.iter().map(|one| one.bytes).sum()) {
                rounds += 1;
                reserved = failed;
                continue;
            }
            self.give_room_back(&failed);
            for one in failed {
                if one.is_known {
                    self.lock().stays_in_memory(one.number);
                } else {
                    self.keep_in_memory(one.number, one.batch, one.patient);
                }
            }
            return;
        }
    }

    /// Writes batches and makes those known that are on the disk then; gives back the others, if there are any.
    fn write_once(&self, spool: &Spool, batches: Vec<Reserved>) -> Result<(), (Vec<Reserved>, io::Error)> {
        let results = spool.write(&batches.iter().map(|one| (one.number, &one.batch)).collect::<Vec<_>>());
        self.stats.spool_failing.store(results.iter().any(Result::is_err), Ordering::Relaxed);
        let (mut failed, mut last_error, mut gone) = (Vec::new(), None, Vec::new());
        let mut inner = self.lock();
        for (one, result) in batches.into_iter().zip(results) {
            match result {
                Ok(()) => gone.extend(self.written(&mut inner, one)),
                Err(error) => {
                    last_error = Some(error);
                    failed.push(one);
                }
            }
        }
        self.publish(&inner);
        drop(inner);
        self.news.notify_one();
        for (number, records) in gone {
            self.remove_file(number, records);
        }
        last_error.map_or(Ok(()), |error| Err((failed, error)))
    }

    /// What was reserved for files that could not be written.
    fn give_room_back(&self, failed: &[Reserved]) {
        let mut inner = self.lock();
        inner.spool_bytes -= failed.iter().map(|one| one.bytes).sum::<u64>();
        self.publish(&inner);
    }

    /// A batch that is on the disk: delivery may have it. Gives back the file's name if that is of no use any more.
    fn written(&self, inner: &mut Inner, one: Reserved) -> Option<(Number, u32)> {
        let records = one.batch.records() as u32;
        if one.is_known {
            let Some(entry) = inner.entries.get_mut(&one.number) else {
                // It was accepted, or dropped, meanwhile.
                inner.spool_bytes -= one.bytes;
                return Some((one.number, records));
            };
            entry.file_bytes = one.bytes;
            self.stats.spooled(entry.remaining.into());
            inner.writing.remove(&one.number);
            inner.unspooled.remove(&one.number);
            inner.cached.insert(one.number);
            return None;
        }
        self.stats.spooled(records.into());
        let cost = one.batch.cost();
        let held = (inner.memory_bytes + cost <= self.memory_most).then(|| Box::new(one.batch));
        if held.is_some() {
            inner.memory_bytes += cost;
            inner.cached.insert(one.number);
        }
        inner.entries.insert(
            one.number,
            Entry { records, remaining: records, leases: 0, file_bytes: one.bytes, patient: one.patient, held },
        );
        inner.waiting.insert(one.number);
        None
    }

    /// Waits until a file has gone since `removed` had, for a while otherwise: others may make room on the disk, too. False
    /// if nobody waits any more, or if no file is there whose delivery would make room.
    fn wait_for_disk(&self, removed: u64) -> bool {
        let again = Instant::now() + Duration::from_secs(1);
        let mut inner = self.lock();
        loop {
            if !inner.may_wait() {
                return false;
            }
            if inner.removed != removed {
                return true;
            }
            if !inner.entries.values().any(|entry| entry.file_bytes > 0) {
                return false;
            }
            let until = inner.deadline.map_or(again, |deadline| deadline.min(again));
            let timeout = until.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                return inner.may_wait();
            }
            inner = self.room.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
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
        let mut inner = self.lock();
        while inner.memory_bytes + cost > self.memory_most {
            // Bodies that are on the disk, too, go first; the youngest, for they are needed last.
            if let Some(cached) = inner.cached.pop_last() {
                inner.let_go(cached);
            } else if patient && cost <= self.memory_most && inner.may_wait() {
                // All the rest is known to delivery, which makes room; so does a disk that takes some of it again.
                let second = Duration::from_secs(1);
                let timeout =
                    inner.deadline.map_or(second, |by| second.min(by.saturating_duration_since(Instant::now())));
                drop(self.room.wait_timeout(inner, timeout));
                self.tend();
                inner = self.lock();
            } else if self.drop_oldest(&mut inner, Place::Memory, DropReason::MemoryFull).is_none() {
                self.stats.settle(records.into(), Place::Memory, Fate::Dropped(DropReason::MemoryFull));
                self.report_drop(records.into(), DropReason::MemoryFull);
                self.note_want_of_room(DropReason::MemoryFull);
                return;
            }
        }
        inner.memory_bytes += cost;
        if self.spool.is_some() {
            inner.unspooled.insert(number);
        }
        let held = Some(Box::new(batch));
        inner.entries.insert(number, Entry { records, remaining: records, leases: 0, file_bytes: 0, patient, held });
        inner.waiting.insert(number);
        self.publish(&inner);
        drop(inner);
        self.news.notify_one();
    }

    /// Drops the oldest batch in `place` that is not under way. Returns its file's name, for removal without the lock.
    fn drop_oldest(&self, inner: &mut Inner, place: Place, reason: DropReason) -> Option<(Number, u32)> {
        let spooled = |number: &&Number| inner.entries.get(number).is_some_and(|entry| entry.file_bytes > 0);
        let candidates = match place {
            Place::Spool => [inner.waiting.iter().find(spooled), inner.idle.iter().find(spooled)],
            Place::Memory if self.spool.is_some() => {
                let free = |number: &&Number| inner.waiting.contains(number) || inner.idle.contains(number);
                [inner.unspooled.iter().find(free), None]
            }
            Place::Memory => [inner.waiting.first(), inner.idle.first()],
        };
        let number = candidates.into_iter().flatten().min().copied()?;
        let entry = inner.remove(number)?;
        self.stats.settle(entry.remaining.into(), entry.place(), Fate::Dropped(reason));
        self.report_drop(entry.remaining.into(), reason);
        self.note_want_of_room(reason);
        Some((number, entry.records))
    }

    /// With a spool it is memory that is full where the disk does not take what is in it.
    fn note_want_of_room(&self, reason: DropReason) {
        if self.spool.is_some() && matches!(reason, DropReason::DiskFull | DropReason::MemoryFull) {
            self.stats.ran_out_of_room(Instant::now());
        }
    }
}

impl Inner {
    /// A batch that could not be written: it is, once the disk takes it.
    fn stays_in_memory(&mut self, number: Number) {
        if self.writing.remove(&number) {
            self.unspooled.insert(number);
        }
    }
}
