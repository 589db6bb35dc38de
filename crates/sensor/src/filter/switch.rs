//! Rules that can be changed while workers go by them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::rules::Rules;

/// The rules in force, shared by workers. Each holds the rules that it goes by itself, and asks from time to time whether
/// there are others: one atomic load, and a lock only where there are.
#[derive(Debug)]
pub struct RuleSwitch {
    rules: Mutex<Arc<Rules>>,
    generation: AtomicU64,
}

impl RuleSwitch {
    /// Rules to begin with.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules: Mutex::new(Arc::new(rules)), generation: AtomicU64::new(0) }
    }

    /// Puts other rules into force. Workers take them with their next batch; what was decided stays decided.
    pub fn replace(&self, rules: Rules) {
        let mut rules = Arc::new(rules);
        let mut current = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *current, &mut rules);
        self.generation.fetch_add(1, Ordering::Release);
        // Large ones take their time to go: nobody is to wait for that.
        drop(current);
    }

    /// How often rules have been replaced.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The rules in force, and their generation.
    #[must_use]
    pub fn current(&self) -> (Arc<Rules>, u64) {
        let current = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&current), self.generation())
    }
}

impl Default for RuleSwitch {
    /// Without rules: everything is recorded.
    fn default() -> Self {
        Self::new(Rules::default())
    }
}
