//! The state machine.

use crate::config::Config;
use crate::frame::Frame;
use crate::reason::SkipReason;
use crate::segment::Segment;
use crate::stats::Stats;
use crate::time::Timestamp;
use crate::tunnel::TunnelPath;

/// What became of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// It carries a TCP segment (or completed the datagram that does).
    Segment(Segment<'a>),
    /// It is an IP fragment; its datagram is not complete.
    Held,
    /// It gives no segment.
    Skipped(SkipReason),
}

/// Takes frames apart. One per capture source; holds IP fragments and scratch space, nothing else.
#[derive(Debug)]
pub struct Decapsulator {
    config: Config,
    stats: Stats,
    path: TunnelPath,
}

impl Decapsulator {
    /// A decapsulator with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, stats: Stats::default(), path: TunnelPath::default() }
    }

    /// Takes a frame apart.
    pub fn push<'a>(&'a mut self, frame: Frame<'a>) -> Verdict<'a> {
        self.path.clear();
        self.stats.frames += 1;
        self.stats.bytes += frame.data.len() as u64;
        self.stats.skipped[0] += 1;
        Verdict::Skipped(SkipReason::NotIp)
    }

    /// Gives up datagrams that have waited longer than [`Config::fragment_timeout`].
    ///
    /// Never changes which segments come out, only when memory is given back and when the ledger moves fragments from
    /// held to skipped.
    pub fn tick(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// Gives up every datagram still waiting: the input has ended.
    pub fn finish(&mut self) {}

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes allocated for fragments now; at most [`Config::fragment_memory`].
    #[must_use]
    pub fn memory(&self) -> usize {
        0
    }
}
