//! What the uploader counts: the records line of the ledger, and what stands beside it.
//!
//! The records line is kept under one lock, taken once for each step of a batch, so that a reader sees a line that adds
//! up at every moment. Everything else is atomics, updated per batch.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::operations::Operations;
use crate::outcome::RetryReason;

/// For how long a disk counts as full after it cost records.
const OUT_OF_ROOM: Duration = Duration::from_secs(30);

/// Why records were dropped. A closed list: each is a label in the ledger and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// The queue in front of the sealing threads was full (live capture does not wait).
    QueueFull,
    /// The spool had reached its size, and these were the oldest.
    SpoolFull,
    /// The disk was full, and these were the oldest.
    DiskFull,
    /// The memory for batches that are not in a spool was full, and these were the oldest.
    MemoryFull,
    /// The spool file was damaged or half written; it was set aside.
    Corrupt,
    /// The spool file could not be found any more: somebody else removed it.
    Missing,
    /// The batch was larger than anything that can be stored.
    TooLarge,
    /// The uploader ended, and there was no spool to keep them.
    Shutdown,
}

impl DropReason {
    /// Every reason, in declaration order.
    pub const ALL: &'static [Self] = &[
        Self::QueueFull,
        Self::SpoolFull,
        Self::DiskFull,
        Self::MemoryFull,
        Self::Corrupt,
        Self::Missing,
        Self::TooLarge,
        Self::Shutdown,
    ];

    /// The stable `snake_case` name used in the ledger and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::DiskFull => "disk_full",
            Self::MemoryFull => "memory_full",
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
            Self::TooLarge => "too_large",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The records line: every record handed in, or found in the spool at the start, has exactly one fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordsLine {
    /// Handed in through an [`crate::Intake`], those refused included.
    pub taken: u64,
    /// Found in the spool when it was opened.
    pub recovered: u64,
    /// The platform said that it has them.
    pub accepted: u64,
    /// In memory only.
    pub waiting_memory: u64,
    /// In the spool.
    pub waiting_spool: u64,
    /// The platform refused them.
    pub rejected: u64,
    /// Dropped, by reason; indexed by `DropReason as usize`.
    pub dropped: [u64; DropReason::ALL.len()],
    /// Of those accepted: what the answers that accepted them report as failed inside. Not a fate of its own, as the contract
    /// does not lay down what such reports look like: whoever sees this looks at what the platform stored.
    pub reported_failed: u64,
}

impl RecordsLine {
    /// Whether every record has exactly one fate.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.taken + self.recovered
            == self.accepted + self.waiting_memory + self.waiting_spool + self.rejected + self.dropped_total()
    }

    /// Dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// What is in memory only goes with the process: it counts as dropped by the shutdown.
    pub fn lose_memory(&mut self) {
        self.dropped[DropReason::Shutdown as usize] += std::mem::take(&mut self.waiting_memory);
    }

    /// Waiting anywhere.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting_memory + self.waiting_spool
    }
}

/// Where records wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    Spool,
}

/// How waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    Rejected,
    Dropped(DropReason),
}

/// A thread of the uploader, as a watchdog sees it: one that moves has other beats at the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadBeats {
    /// `deliver`, or `seal`.
    pub name: &'static str,
    /// Turns of its loop; at least one a second, whatever it waits for, but for a disk.
    pub beats: u64,
}

/// Counters since the start. Shared: readers take what they need whenever they like.
#[derive(Debug, Default)]
pub struct Stats {
    line: Mutex<RecordsLine>,
    pub(crate) batches_sealed: AtomicU64,
    pub(crate) batches_sent: AtomicU64,
    pub(crate) batches_accepted: AtomicU64,
    pub(crate) batches_rejected: AtomicU64,
    pub(crate) batches_split: AtomicU64,
    pub(crate) records_shrunk: AtomicU64,
    pub(crate) rejected_kept: AtomicU64,
    pub(crate) rejected_lost: AtomicU64,
    pub(crate) dead_letters_evicted: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) bytes_sealed: AtomicU64,
    pub(crate) bytes_plain: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_accepted: AtomicU64,
    pub(crate) memory_bytes: AtomicU64,
    pub(crate) spool_bytes: AtomicU64,
    pub(crate) spool_batches: AtomicU64,
    pub(crate) spool_errors: AtomicU64,
    pub(crate) tokens_fetched: AtomicU64,
    pub(crate) token_errors: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) reload_errors: AtomicU64,
    pub(crate) batches_doubted: AtomicU64,
    /// Of the thread that delivers, and of each that seals.
    pub(crate) delivering: AtomicU64,
    pub(crate) sealing: OnceLock<Box<[Arc<AtomicU64>]>>,
    /// What is under way on the disks of the spool and of the output file, and with certificates.
    pub(crate) disk: Operations,
    /// The latest write to the spool failed.
    pub(crate) spool_failing: AtomicBool,
    /// When records were last dropped because the spool's disk had no room for them.
    out_of_room: Mutex<Option<Instant>>,
    /// The receiver has answered, at one time or another.
    reached: AtomicBool,
    retries: [AtomicU64; RetryReason::ALL.len()],
    /// Microseconds since 1970 of the oldest waiting batch; 0: none.
    oldest_micros: AtomicU64,
    /// Seconds since 1970 at which the client certificate ends; 0: none.
    certificate_expiry: AtomicI64,
    /// Whether the last answer or attempt says that the platform can be reached.
    platform_down: AtomicU64,
    quiet_until: Mutex<Option<Instant>>,
}

impl Stats {
    /// The records line as it is now; it adds up.
    #[must_use]
    pub fn records(&self) -> RecordsLine {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches sealed.
    #[must_use]
    pub fn batches_sealed(&self) -> u64 {
        self.batches_sealed.load(Ordering::Relaxed)
    }

    /// Requests made, repeats and parts included.
    #[must_use]
    pub fn batches_sent(&self) -> u64 {
        self.batches_sent.load(Ordering::Relaxed)
    }

    /// Batches (or parts of split ones) that were accepted.
    #[must_use]
    pub fn batches_accepted(&self) -> u64 {
        self.batches_accepted.load(Ordering::Relaxed)
    }

    /// Batches (or parts) that the platform refused.
    #[must_use]
    pub fn batches_rejected(&self) -> u64 {
        self.batches_rejected.load(Ordering::Relaxed)
    }

    /// Batches (or parts) cut in two because they were too large for the platform.
    #[must_use]
    pub fn batches_split(&self) -> u64 {
        self.batches_split.load(Ordering::Relaxed)
    }

    /// Single records that were made smaller because they were too large for the platform.
    #[must_use]
    pub fn records_shrunk(&self) -> u64 {
        self.records_shrunk.load(Ordering::Relaxed)
    }

    /// Of the records rejected: those that were put into the dead-letter folder.
    #[must_use]
    pub fn rejected_kept(&self) -> u64 {
        self.rejected_kept.load(Ordering::Relaxed)
    }

    /// Of the records rejected: those that could not be kept, for want of a spool, of room or of a disk that works.
    #[must_use]
    pub fn rejected_lost(&self) -> u64 {
        self.rejected_lost.load(Ordering::Relaxed)
    }

    /// Records that were in the dead-letter folder and made room for others; earlier runs' among them.
    #[must_use]
    pub fn dead_letters_evicted(&self) -> u64 {
        self.dead_letters_evicted.load(Ordering::Relaxed)
    }

    /// Batches under way now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Bytes of sealed bodies, compressed.
    #[must_use]
    pub fn bytes_sealed(&self) -> u64 {
        self.bytes_sealed.load(Ordering::Relaxed)
    }

    /// Bytes of sealed bodies before compression.
    #[must_use]
    pub fn bytes_plain(&self) -> u64 {
        self.bytes_plain.load(Ordering::Relaxed)
    }

    /// Bytes of bodies of requests made, repeats included.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that were accepted.
    #[must_use]
    pub fn bytes_accepted(&self) -> u64 {
        self.bytes_accepted.load(Ordering::Relaxed)
    }

    /// Bytes of sealed batches held in memory now.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that waiting batches take in the spool now.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        self.spool_bytes.load(Ordering::Relaxed)
    }

    /// Batches waiting in the spool now.
    #[must_use]
    pub fn spool_batches(&self) -> u64 {
        self.spool_batches.load(Ordering::Relaxed)
    }

    /// Writes to and reads from the spool that failed.
    #[must_use]
    pub fn spool_errors(&self) -> u64 {
        self.spool_errors.load(Ordering::Relaxed)
    }

    /// Tokens fetched.
    #[must_use]
    pub fn tokens_fetched(&self) -> u64 {
        self.tokens_fetched.load(Ordering::Relaxed)
    }

    /// Attempts to fetch a token that failed.
    #[must_use]
    pub fn token_errors(&self) -> u64 {
        self.token_errors.load(Ordering::Relaxed)
    }

    /// Times that certificates were loaded anew.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Times that new certificates were found unusable and the old ones kept.
    #[must_use]
    pub fn reload_errors(&self) -> u64 {
        self.reload_errors.load(Ordering::Relaxed)
    }

    /// Batches that count as accepted by the answer's status, though what else it says leaves doubts; some of their records may
    /// be in [`RecordsLine::reported_failed`].
    #[must_use]
    pub fn batches_doubted(&self) -> u64 {
        self.batches_doubted.load(Ordering::Relaxed)
    }

    /// Every thread of the uploader.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadBeats> {
        let beats = |name, beats: &AtomicU64| ThreadBeats { name, beats: beats.load(Ordering::Relaxed) };
        let sealing = self.sealing.get().into_iter().flatten().map(|one| beats("seal", one));
        std::iter::once(beats("deliver", &self.delivering)).chain(sealing).collect()
    }

    /// For how long a disk has not come back, at `now`: the spool's, the output file's or the certificates'. A thread that waits
    /// for it does not move, and cannot.
    #[must_use]
    pub fn disk_wait(&self, now: Instant) -> Option<Duration> {
        self.disk.longest(now)
    }

    /// Whether what was last to be written to the spool could not be.
    #[must_use]
    pub fn spool_failing(&self) -> bool {
        self.spool_failing.load(Ordering::Relaxed)
    }

    /// Whether records go, at `now`, because the spool's disk has no room: the latest did so a short while ago. That the
    /// latest write succeeded says little then, as it may have had the room of what was dropped before it.
    #[must_use]
    pub fn spool_out_of_room(&self, now: Instant) -> bool {
        let last = *self.out_of_room.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now.saturating_duration_since(last) < OUT_OF_ROOM)
    }

    /// Records were dropped at `now` for want of room on the spool's disk.
    pub(crate) fn ran_out_of_room(&self, now: Instant) {
        *self.out_of_room.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether the receiver that there is now has ever answered; until then nothing is known of it.
    #[must_use]
    pub fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Attempts that failed for `reason` and will be made again.
    #[must_use]
    pub fn retries(&self, reason: RetryReason) -> u64 {
        self.retries[reason as usize].load(Ordering::Relaxed)
    }

    /// Until when nothing is sent because the platform asked for that (Retry-After); a time that has passed, or none, says
    /// that it did not.
    #[must_use]
    pub fn quiet_until(&self) -> Option<Instant> {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether delivery only probes, because the platform could not be reached or asked for patience.
    #[must_use]
    pub fn platform_down(&self) -> bool {
        self.platform_down.load(Ordering::Relaxed) != 0
    }

    /// How long the oldest waiting batch has been sealed, at `now`.
    #[must_use]
    pub fn oldest_age(&self, now: SystemTime) -> Option<Duration> {
        let oldest = match self.oldest_micros.load(Ordering::Relaxed) {
            0 => return None,
            micros => UNIX_EPOCH + Duration::from_micros(micros),
        };
        Some(now.duration_since(oldest).unwrap_or_default())
    }

    /// When the client certificate ends (of two, the platform's and the token endpoint's, the earlier).
    #[must_use]
    pub fn certificate_expiry(&self) -> Option<SystemTime> {
        match self.certificate_expiry.load(Ordering::Relaxed) {
            0 => None,
            seconds => UNIX_EPOCH.checked_add(Duration::from_secs(seconds.max(0) as u64)),
        }
    }

    pub(crate) fn set_certificate_expiry(&self, unix_seconds: Option<i64>) {
        self.certificate_expiry.store(unix_seconds.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn set_oldest(&self, unix_micros: Option<u64>) {
        self.oldest_micros.store(unix_micros.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn set_quiet_until(&self, until: Option<Instant>) {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(crate) fn set_platform_down(&self, down: bool) {
        self.platform_down.store(down.into(), Ordering::Relaxed);
    }

    /// Whatever it answered, it did; or it is another receiver from now on, which has not.
    pub(crate) fn set_reached(&self, was_reached: bool) {
        self.reached.store(was_reached, Ordering::Relaxed);
    }

    /// A batch was accepted, with doubts; `failures` of its records are reported as failed.
    pub(crate) fn doubted(&self, failures: u64) {
        add(&self.batches_doubted, 1);
        self.change(|line| line.reported_failed += failures);
    }

    pub(crate) fn retry(&self, reason: RetryReason) {
        add(&self.retries[reason as usize], 1);
    }

    fn change(&self, change: impl FnOnce(&mut RecordsLine)) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut line);
        debug_assert!(line.adds_up(), "{line:?}");
    }

    pub(crate) fn take(&self, records: u64) {
        self.change(|line| {
            line.taken += records;
            line.waiting_memory += records;
        });
    }

    pub(crate) fn refuse(&self, records: u64, reason: DropReason) {
        self.change(|line| {
            line.taken += records;
            line.dropped[reason as usize] += records;
        });
    }

    pub(crate) fn recover(&self, records: u64) {
        self.change(|line| {
            line.recovered += records;
            line.waiting_spool += records;
        });
    }

    pub(crate) fn spooled(&self, records: u64) {
        self.change(|line| {
            line.waiting_memory -= records;
            line.waiting_spool += records;
        });
    }

    pub(crate) fn settle(&self, records: u64, place: Place, fate: Fate) {
        self.change(|line| {
            *match place {
                Place::Memory => &mut line.waiting_memory,
                Place::Spool => &mut line.waiting_spool,
            } -= records;
            *match fate {
                Fate::Accepted => &mut line.accepted,
                Fate::Rejected => &mut line.rejected,
                Fate::Dropped(reason) => &mut line.dropped[reason as usize],
            } += records;
        });
    }
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_distinct_names_and_places() {
        let names: std::collections::HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }

    #[test]
    fn a_disk_without_room_is_told_until_it_has_cost_nothing_for_a_while() {
        let (stats, now) = (Stats::default(), Instant::now());
        assert!(!stats.spool_out_of_room(now));
        stats.ran_out_of_room(now);
        // A write that found the room of what was dropped does not clear it.
        stats.spool_failing.store(false, Ordering::Relaxed);
        assert!(stats.spool_out_of_room(now + OUT_OF_ROOM / 2));
        assert!(!stats.spool_out_of_room(now + OUT_OF_ROOM));
    }

    #[test]
    fn a_line_that_lost_a_record_does_not_add_up() {
        let stats = Stats::default();
        stats.take(5);
        stats.spooled(5);
        stats.settle(2, Place::Spool, Fate::Accepted);
        stats.settle(1, Place::Spool, Fate::Dropped(DropReason::SpoolFull));
        stats.refuse(3, DropReason::QueueFull);
        let mut line = stats.records();
        assert!(line.adds_up());
        assert_eq!((line.taken, line.waiting(), line.dropped_total()), (8, 2, 4));
        line.accepted -= 1;
        assert!(!line.adds_up());
    }
}
