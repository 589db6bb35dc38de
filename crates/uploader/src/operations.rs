//! What is under way on a disk: an operation that does not come back is seen from outside, and told apart from a thread that
//! is stuck for a reason of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

thread_local! {
    /// Where this thread says that it moves: with each operation that comes back, too, as many slow ones are no standstill.
    static BEATS: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

/// From now on every operation of this thread that comes back counts as a beat.
pub(crate) fn count_beats(beats: Arc<AtomicU64>) {
    BEATS.set(Some(beats));
}

/// Operations under way, each with the time at which it began.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    inner: Mutex<(u64, BTreeMap<u64, Instant>)>,
}

impl Operations {
    /// Does `work`, which is under way meanwhile.
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        let _under_way = self.begin(Instant::now());
        work()
    }

    /// For how long, at `now`, the oldest of them has been under way.
    pub(crate) fn longest(&self, now: Instant) -> Option<Duration> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1.values().next().map(|begun| now.saturating_duration_since(*begun))
    }

    fn begin(&self, now: Instant) -> UnderWay<'_> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let number = inner.0;
        inner.0 += 1;
        inner.1.insert(number, now);
        UnderWay { operations: self, number }
    }
}

/// One of them; dropped, also by a panic, it is over.
struct UnderWay<'a> {
    operations: &'a Operations,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.operations.inner.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
        BEATS.with_borrow(|beats| beats.iter().for_each(|beats| _ = beats.fetch_add(1, Ordering::Relaxed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_counts_until_it_is_over() {
        let (operations, begin, second) = (Operations::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(operations.longest(begin), None);
        let first = operations.begin(begin);
        let other = operations.begin(begin + second);
        assert_eq!(operations.longest(begin + 5 * second), Some(5 * second));
        drop(first);
        assert_eq!(operations.longest(begin + 5 * second), Some(4 * second));
        drop(other);
        assert!(operations.watch(|| operations.longest(begin + 5 * second).is_some()));
        let beats = Arc::new(AtomicU64::new(0));
        count_beats(Arc::clone(&beats));
        (0..3).for_each(|_| operations.watch(|| {}));
        std::thread::scope(|scope| _ = scope.spawn(|| operations.watch(|| {})));
        assert_eq!(beats.load(Ordering::Relaxed), 3, "those of other threads say nothing of this one");
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| operations.watch(|| panic!("as told"))));
        assert!(panicked.is_err() && operations.longest(begin).is_none());
    }
}
