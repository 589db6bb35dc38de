//! A limit on repeated log lines: the first at once, then one for each interval, with the number left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one event through for each interval.
pub(crate) struct Seldom {
    interval: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new((None, 0)) }
    }

    /// Whether to log at `now`; if so, how many were left out since the last time.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }

    /// The next event is let through.
    pub(crate) fn reset(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_left_out_and_counted() {
        let seldom = Seldom::new(Duration::from_secs(10));
        let now = Instant::now();
        assert_eq!(seldom.admit(now), Some(0));
        for second in 1..10 {
            assert_eq!(seldom.admit(now + Duration::from_secs(second)), None);
        }
        assert_eq!(seldom.admit(now + Duration::from_secs(10)), Some(9));
        assert_eq!(seldom.admit(now + Duration::from_secs(20)), Some(0));
    }
}
