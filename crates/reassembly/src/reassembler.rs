//! The state machine over all flows.

use decap::{Segment, Timestamp};

use crate::handler::StreamHandler;
use crate::limits::Limits;
use crate::stats::Stats;

/// Puts segments in order, flow by flow, and drives a [`StreamHandler`] with what comes out.
#[derive(Debug)]
pub struct Reassembler<H: StreamHandler> {
    handler: H,
    limits: Limits,
    stats: Stats,
}

impl<H: StreamHandler> Reassembler<H> {
    /// A reassembler with no flows.
    #[must_use]
    pub fn new(limits: Limits, handler: H) -> Self {
        Self { handler, limits, stats: Stats::default() }
    }

    /// Takes the next captured segment.
    pub fn push(&mut self, segment: &Segment<'_>) {
        self.stats.segments += 1;
        let _ = (&self.limits, segment);
    }

    /// Lets packet time pass: gives up holes and flows whose deadline is before `now`. Cheap when nothing is due.
    pub fn tick(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// Ends every flow: the input has ended.
    pub fn finish(&mut self) {}

    /// The handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, to change.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes allocated for flows, tables and pages now (a handler's own memory not counted).
    #[must_use]
    pub fn memory(&self) -> usize {
        0
    }
}
