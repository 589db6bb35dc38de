//! What a running sensor takes over from a configuration that was read again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::masker::MaskPolicy;

/// The latest of what workers can change to without a restart; each takes it over between two turns.
#[derive(Debug, Default)]
pub struct Renewal {
    /// How often it was renewed.
    version: AtomicU64,
    mask: Mutex<Option<MaskPolicy>>,
}

impl Renewal {
    /// From now on `mask` is what is taken out of records.
    pub fn mask(&self, mask: Option<MaskPolicy>) {
        *self.mask.lock().unwrap_or_else(PoisonError::into_inner) = mask;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What is new since `seen`, which then is what was seen. Waits for no lock: it will be there at the next turn.
    pub(super) fn since(&self, seen: &mut u64) -> Option<Option<MaskPolicy>> {
        let version = self.version.load(Ordering::Acquire);
        if version == *seen {
            return None;
        }
        let mask = self.mask.try_lock().ok()?.clone();
        *seen = version;
        Some(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_seen_once_by_each() {
        let renewal = Renewal::default();
        let (mut one, mut other) = (0, 0);
        assert!(renewal.since(&mut one).is_none());
        renewal.mask(None);
        assert!(renewal.since(&mut one).is_some() && renewal.since(&mut one).is_none());
        renewal.mask(None);
        assert!(renewal.since(&mut one).is_some() && renewal.since(&mut other).is_some());
        assert!(renewal.since(&mut other).is_none());
    }
}
