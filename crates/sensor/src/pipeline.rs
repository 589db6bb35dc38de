//! From a frame to records, in one call: decapsulation, reassembly, HTTP, on the thread that reads.
//!
//! A [`Pipeline`] is a [`Decapsulator`] and something that takes its segments: a [`Lane`] (everything behind
//! decapsulation, for the flows of one worker) or the dispatcher of [`crate::workers`], which spreads them over lanes on
//! other threads. Both see the same segments and the same ticks at the same places, so a flow gives the same exchanges
//! wherever it is handled.

use decap::{Decapsulator, FlowKey, Frame, Segment, Timestamp, Verdict};
use reassembly::Reassembler;

use std::sync::Arc;
use std::time::Duration;

use crate::filter::{Outcomes, RuleSwitch};
use crate::gate::Gate;
use crate::guard::Guarded;
use crate::handler::{Conn, HttpHandler, ProxyCounts, Records};
use crate::masker::MaskPolicy;
use crate::memory::{self, Shares, TooLittle};
use crate::normalize::Normalizer;
use crate::outlet::Handoff;
use crate::record::RecordOptions;
use crate::tally::Tally;

/// Settings of every stage.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of decapsulation.
    pub decap: decap::Config,
    /// Of reassembly, for each worker.
    pub reassembly: reassembly::Limits,
    /// Of HTTP parsing, for each worker.
    pub http: http_parse::Settings,
    /// Of the records.
    pub record: RecordOptions,
    /// What is taken out of records before anything else sees them; `None` leaves all in.
    pub mask: Option<MaskPolicy>,
    /// What clients, hosts, paths and networks are called.
    pub normalize: Arc<Normalizer>,
    /// Which transactions become records: one for all workers.
    pub filters: Arc<RuleSwitch>,
}

impl Settings {
    /// These settings with their memory limits set to what `total` bytes come to for each of `workers` workers.
    ///
    /// # Errors
    /// When that is too little to work with.
    pub fn with_memory(mut self, total: u64, workers: usize) -> Result<Self, TooLittle> {
        let Shares { fragments, max_flows, pages, messages, decoded, content } =
            memory::split(total, workers, size_of::<Option<Conn>>())?;
        self.decap.fragment_memory = fragments;
        self.reassembly.max_flows = max_flows;
        self.reassembly.page_memory = pages;
        self.reassembly.max_held_per_direction = self.reassembly.max_held_per_direction.min(pages);
        self.http.memory = messages;
        self.record.decode_limit = self.record.decode_limit.min(decoded);
        self.record.content_limit = self.record.content_limit.min(content);
        Ok(self)
    }
}

/// Where nothing comes for so long, records are handed on though they are few.
pub(crate) const IDLE: Duration = Duration::from_millis(200);

/// Takes segments, in the order in which they were captured.
pub trait Segments {
    /// The next segment.
    fn push(&mut self, segment: &Segment<'_>);
    /// Packet time has passed: nothing before `now` is to be expected.
    fn tick(&mut self, now: Timestamp);
    /// Nothing comes for now: hands on what waits for company.
    fn idle(&mut self) {}
    /// Whether nothing further is of use, because the output takes no more.
    fn is_stopped(&self) -> bool;
}

/// Everything behind decapsulation, for the flows of one worker.
#[derive(Debug)]
pub struct Lane<O: Handoff> {
    reassembler: Reassembler<Guarded<HttpHandler<Records<O>>>>,
}

/// What a lane counted.
#[derive(Clone, Debug, Default)]
pub struct LaneReport {
    /// The ledger's lines about payload bytes.
    pub reassembly: reassembly::Stats,
    /// The ledger's lines about stream bytes and messages.
    pub http: http_parse::Stats,
    /// Records written.
    pub recorded: u64,
    /// Exchanges of which no record was written, because the records' shape has no place for them.
    pub unsendable: u64,
    /// Of the records, those that the output took no more of.
    pub unwritten: u64,
    /// Flows given up because of a defect of the program.
    pub given_up: u64,
    /// Flows whose streams were read.
    pub flows_read: u64,
    /// What filters left out.
    pub filtered: Outcomes,
    /// What was found of the PROXY protocol.
    pub proxy: ProxyCounts,
    /// What the summary shows beside the ledger.
    pub tally: Tally,
}

impl<O: Handoff> Lane<O> {
    /// A lane that has seen nothing and writes to `outlet`.
    #[must_use]
    pub fn new(settings: &Settings, outlet: O) -> Self {
        let gate = Gate::new(Arc::clone(&settings.normalize), Arc::clone(&settings.filters));
        let records = Records::new(settings.record.clone(), settings.mask.as_ref(), gate, outlet);
        let handler = HttpHandler::new(settings.http.clone(), records);
        let mut reassembler = Reassembler::new(settings.reassembly.clone(), Guarded::new(handler));
        // From now on time passes by ticks alone, which are the same for any number of lanes.
        reassembler.tick(Timestamp::ZERO);
        Self { reassembler }
    }

    /// Forgets the flow at work on which this panicked: with its name, where it was a segment's.
    pub fn give_up(&mut self, flow: Option<&FlowKey>) {
        self.reassembler.give_up(flow);
    }

    /// Ends every flow and hands on every line.
    pub fn finish(&mut self) {
        self.reassembler.finish();
        self.records_mut().flush();
    }

    /// Hands on the lines there are, though they are few.
    pub fn flush(&mut self) {
        self.records_mut().flush();
    }

    /// Goes by other filters from now on, if there are others. Every tick does that.
    pub fn refresh(&mut self) {
        self.records_mut().gate_mut().refresh();
    }

    /// The counts so far.
    #[must_use]
    pub fn report(&self) -> LaneReport {
        let guarded = self.reassembler.handler();
        let handler = guarded.inner();
        LaneReport {
            given_up: guarded.given_up(),
            reassembly: self.reassembler.stats().clone(),
            http: handler.context().stats().clone(),
            recorded: handler.finds().written(),
            unsendable: handler.finds().unsendable(),
            unwritten: 0,
            flows_read: handler.flows_read(),
            filtered: handler.finds().gate().outcomes().clone(),
            proxy: handler.proxy(),
            tally: handler.finds().tally(),
        }
    }

    /// Bytes allocated for flows, pages and messages now.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.reassembler.memory() + self.reassembler.handler().inner().context().memory()
    }

    /// The lines on their way out.
    pub fn records_mut(&mut self) -> &mut Records<O> {
        self.reassembler.handler_mut().inner_mut().finds_mut()
    }
}

impl<O: Handoff> Segments for Lane<O> {
    #[inline]
    fn push(&mut self, segment: &Segment<'_>) {
        self.reassembler.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.refresh();
        self.reassembler.tick(now);
    }

    fn idle(&mut self) {
        self.flush();
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.reassembler.handler().inner().finds().is_stopped()
    }
}

/// A decapsulator and what takes its segments.
#[derive(Debug)]
pub struct Pipeline<S> {
    decap: Decapsulator,
    segments: S,
    clock: Clock,
    /// When the latest frame was captured.
    last: Timestamp,
    payload_bytes: u64,
}

impl<O: Handoff> Pipeline<Lane<O>> {
    /// A pipeline that runs to completion on the calling thread.
    #[must_use]
    pub fn inline(settings: &Settings, outlet: O) -> Self {
        Self::new(settings.decap.clone(), Lane::new(settings, outlet))
    }
}

impl<S: Segments> Pipeline<S> {
    /// A pipeline in front of `segments`.
    #[must_use]
    pub fn new(config: decap::Config, segments: S) -> Self {
        Self {
            decap: Decapsulator::new(config),
            segments,
            clock: Clock::default(),
            last: Timestamp::ZERO,
            payload_bytes: 0,
        }
    }

    /// Takes the next captured frame.
    #[inline]
    pub fn push(&mut self, frame: Frame<'_>) {
        let at = frame.at;
        if let Verdict::Segment(segment) = self.decap.push(frame) {
            self.payload_bytes += segment.payload.len() as u64;
            self.segments.push(&segment);
        }
        self.last = at;
        if let Some(now) = self.clock.frame(at) {
            self.decap.tick(now);
            self.segments.tick(now);
        }
    }

    /// Gives up what decapsulation still holds, and tells what takes the segments how far packet time got: else how a
    /// flow ends would depend on what its worker saw last. What takes the segments is finished by its owner.
    pub fn finish(&mut self) {
        self.decap.finish();
        self.segments.tick(self.last);
    }

    /// What decapsulation counted.
    #[must_use]
    pub fn decap_stats(&self) -> &decap::Stats {
        self.decap.stats()
    }

    /// Captured payload bytes of the segments handed on: the joint between decapsulation and reassembly.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// What takes the segments.
    #[must_use]
    pub fn segments(&self) -> &S {
        &self.segments
    }

    /// What takes the segments, to change.
    pub fn segments_mut(&mut self) -> &mut S {
        &mut self.segments
    }

    /// What takes the segments, alone.
    #[must_use]
    pub fn into_segments(self) -> S {
        self.segments
    }
}

/// When to tick, and with which time.
///
/// The time is the lowest of the last [`Clock::WINDOW`] frames: a few frames with a clock gone wild (a second interface,
/// a damaged record) must not make every flow look idle. Counted in frames, so it needs no clock of its own and falls in
/// the same places with any number of workers.
#[derive(Debug)]
struct Clock {
    lowest: Timestamp,
    frames: u32,
}

impl Default for Clock {
    fn default() -> Self {
        Self { lowest: Timestamp::from_nanos(u64::MAX), frames: 0 }
    }
}

impl Clock {
    const WINDOW: u32 = 4_096;

    #[inline]
    fn frame(&mut self, at: Timestamp) -> Option<Timestamp> {
        self.lowest = self.lowest.min(at);
        self.frames += 1;
        (self.frames == Self::WINDOW).then(|| std::mem::take(self).lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wild_timestamp_does_not_move_the_clock() {
        let mut clock = Clock::default();
        let mut ticks = Vec::new();
        for n in 0..u64::from(Clock::WINDOW) * 3 {
            let at = if n % 1_000 == 999 { u64::MAX } else { 1_000 + n };
            ticks.extend(clock.frame(Timestamp::from_nanos(at)));
        }
        let window = u64::from(Clock::WINDOW);
        assert_eq!(ticks, [1_000, 1_000 + window, 1_000 + 2 * window].map(Timestamp::from_nanos));
    }

    /// Ticks and segments, in the order in which they came.
    #[derive(Default)]
    struct Seen(Vec<(&'static str, Timestamp)>);

    impl Segments for Seen {
        fn push(&mut self, segment: &Segment<'_>) {
            self.0.push(("segment", segment.at));
        }

        fn tick(&mut self, now: Timestamp) {
            self.0.push(("tick", now));
        }

        fn is_stopped(&self) -> bool {
            false
        }
    }

    #[test]
    fn the_end_is_told_as_the_last_frame_s_time() {
        let mut pipeline = Pipeline::new(decap::Config::default(), Seen::default());
        for nanos in [5, 900, 300] {
            // Of no use but for its time.
            let at = Timestamp::from_nanos(nanos);
            pipeline.push(Frame { at, link: decap::LinkType::RawIp, data: &[0x45], wire_len: 1 });
        }
        pipeline.finish();
        assert_eq!(pipeline.into_segments().0, [("tick", Timestamp::from_nanos(300))]);
    }

    #[test]
    fn memory_reaches_every_stage() {
        let settings = Settings {
            decap: decap::Config::default(),
            reassembly: reassembly::Limits::default(),
            http: http_parse::Settings::default(),
            record: RecordOptions {
                sensor: String::new(),
                decode_limit: usize::MAX,
                content_limit: usize::MAX,
                shape: crate::record::Shape::Native,
            },
            mask: None,
            normalize: Arc::default(),
            filters: Arc::default(),
        };
        let small = settings.clone().with_memory(64 << 20, 2).unwrap();
        let large = settings.with_memory(1 << 30, 2).unwrap();
        assert!(small.decap.fragment_memory < large.decap.fragment_memory);
        assert!(small.reassembly.max_flows < large.reassembly.max_flows);
        assert!(small.reassembly.page_memory < large.reassembly.page_memory);
        assert!(small.reassembly.max_held_per_direction <= small.reassembly.page_memory);
        assert!(small.http.memory < large.http.memory);
        assert!(small.record.decode_limit < large.record.decode_limit);
        assert!(small.record.content_limit < large.record.content_limit);
    }
}
