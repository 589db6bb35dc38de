//! What the connections of one worker share.

use crate::settings::Settings;
use crate::stats::Stats;

/// Settings, pooled buffers and counts shared by the connections of one worker.
#[derive(Debug)]
pub struct Context {
    settings: Settings,
    stats: Stats,
}

impl Context {
    /// A context with empty pools.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, stats: Stats::default() }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes allocated by the context and its connections now.
    #[must_use]
    pub fn memory(&self) -> usize {
        0
    }
}
