//! What is under way on a disk: an operation that does not come back is seen from outside, and told apart from a thread that
//! is stuck for a reason of its own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| operations.watch(|| panic!("as told"))));
        assert!(panicked.is_err() && operations.longest(begin).is_none());
    }
}
