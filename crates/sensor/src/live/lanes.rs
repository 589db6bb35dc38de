//! Lanes that run for months: what wakes them without traffic, and what they tell of themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use decap::{FlowKey, Segment, Timestamp};

use super::merge::{Horizon, Merge, Part, SLACK};
use super::renewal::Renewal;
use crate::dispatch::{Batch, Dispatcher, Inbox, Refused};
use crate::guard::{Faults, Trouble};
use crate::pipeline::{Lane, LaneReport, Segments};
use crate::sealing::Queue;

/// How long a thread waits for something to do before it looks around.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How often counts are told, and records that do not fill a buffer handed on.
const TELL: Duration = Duration::from_millis(500);
/// Frames may be this late where another thread reads them: a clock that stands in for them stays that much behind.
const LATE: Duration = Duration::from_millis(500);
/// How often the end is taken up again after a panic.
const MOST_AT_THE_END: usize = 1_000;
/// How long segments are gathered before they are handed to workers.
const GATHER: Duration = Duration::from_millis(5);
/// How often a source without frames says so where others wait for it.
const WAITED_FOR: Duration = Duration::from_millis(20);
/// How long a worker that holds segments for a source to catch up waits before it looks again.
const HOLDING: Duration = Duration::from_millis(5);

/// What a thread tells of itself while it runs.
#[derive(Debug, Default)]
pub(super) struct Told<T> {
    latest: Mutex<T>,
    beats: AtomicU64,
}

impl<T: Clone> Told<T> {
    /// Replaces what was told, unless somebody reads it just now: whoever captures waits for nobody, and tells again soon.
    pub(super) fn tell(&self, news: T) {
        match self.latest.try_lock() {
            Ok(mut latest) => *latest = news,
            Err(TryLockError::Poisoned(latest)) => *latest.into_inner() = news,
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// What was told last.
    pub(super) fn latest(&self) -> T {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The thread is alive.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it said so.
    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// What a capture thread feeds: it is told when it has nothing for now.
pub(super) trait LiveSegments: Segments {
    /// Called several times a second: at the end of a turn, or, with `idle`, when nothing came. `now` is the wall clock.
    fn pulse(&mut self, now: Timestamp, idle: bool);

    /// As [`LiveSegments::pulse`], where nothing can come for now: nobody is to wait for it.
    fn absent(&mut self, now: Timestamp) {
        self.pulse(now, true);
    }

    /// How long a turn may wait for a frame.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// A capture thread's way to workers on other threads.
#[derive(Debug)]
pub(super) struct Feed {
    dispatcher: Dispatcher,
    /// Where workers merge several sources: how far this one has got, to each worker.
    horizons: Vec<Horizon>,
    /// When the latest segment was captured.
    latest: Timestamp,
    flushed: Instant,
}

impl Feed {
    /// `horizons` are one for each worker, or none where nothing is merged.
    pub(super) fn new(dispatcher: Dispatcher, horizons: Vec<Horizon>) -> Self {
        Self { dispatcher, horizons, latest: Timestamp::ZERO, flushed: Instant::now() }
    }

    /// Hands on the rest, waiting for the workers if need be; gives what no worker could take.
    pub(super) fn finish(mut self) -> Refused {
        self.dispatcher.finish();
        self.horizons.iter().for_each(Horizon::end);
        self.dispatcher.refused()
    }
}

impl Segments for Feed {
    #[inline]
    fn push(&mut self, segment: &Segment<'_>) {
        self.latest = segment.at;
        self.dispatcher.push(segment);
    }

    fn tick(&mut self, now: Timestamp) {
        self.dispatcher.tick(now);
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.dispatcher.is_stopped()
    }
}

impl LiveSegments for Feed {
    fn pulse(&mut self, now: Timestamp, idle: bool) {
        // Not at every turn: a socket gives a few datagrams in each, and a queue has room for so many batches.
        if !idle && self.flushed.elapsed() < GATHER {
            return;
        }
        self.flushed = Instant::now();
        self.dispatcher.flush_to_ready();
        let silent = Timestamp::from_nanos(now.as_nanos().saturating_sub(SLACK.as_nanos() as u64));
        let reached = if idle { silent } else { self.latest };
        for (worker, horizon) in self.horizons.iter().enumerate() {
            // It is true of what is handed on only.
            if !self.dispatcher.holds_for(worker) {
                horizon.reach(reached);
            }
        }
    }

    fn absent(&mut self, _: Timestamp) {
        self.dispatcher.flush();
        self.horizons.iter().for_each(Horizon::end);
    }

    fn patience(&self) -> Duration {
        match self.horizons.is_empty() {
            _ if self.dispatcher.holds_any() => GATHER,
            // Others wait for what this one says.
            false => WAITED_FOR,
            true => PATIENCE,
        }
    }
}

/// A lane on the thread that captures, or on a worker's.
#[derive(Debug)]
pub(super) struct LiveLane {
    lane: Lane<Queue>,
    told: Arc<Told<LaneReport>>,
    last_told: Instant,
    faults: Faults,
    renewal: Arc<Renewal>,
    renewed: u64,
}

impl LiveLane {
    pub(super) fn new(lane: Lane<Queue>, told: Arc<Told<LaneReport>>, renewal: Arc<Renewal>) -> Self {
        Self { lane, told, last_told: Instant::now(), faults: Faults::default(), renewal, renewed: 0 }
    }

    /// Works off what one feed sends until it is gone.
    pub(super) fn work(mut self, inbox: &Inbox) -> LaneReport {
        loop {
            let idle = match inbox.batches.recv_timeout(PATIENCE) {
                Ok(batch) => {
                    batch.replay(&mut self);
                    give_back(inbox, batch);
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.pulse(wall_clock(), idle);
        }
        self.finish()
    }

    /// Works off what several feeds send, in the order of capture, until the last of them is gone.
    pub(super) fn work_merged(mut self, inbox: &Inbox, mut merge: Merge) -> LaneReport {
        loop {
            let patience = if merge.is_empty() { PATIENCE } else { HOLDING };
            let first = inbox.batches.recv_timeout(patience);
            let is_over = matches!(first, Err(RecvTimeoutError::Disconnected));
            merge.look();
            let now = Instant::now();
            for batch in first.into_iter().chain(inbox.batches.try_iter()) {
                merge.take(batch, now);
                if merge.is_full() {
                    break;
                }
            }
            let idle = merge.is_empty();
            let mut give = |part: Part<'_>| match part {
                Part::Run(batch, place, last) => batch.replay_to(last, place, &mut self),
                Part::Tick(at) => self.tick(at),
            };
            merge.release(now, is_over, &mut give, |batch| give_back(inbox, batch));
            if is_over {
                return self.finish();
            }
            self.pulse(wall_clock(), idle);
        }
    }

    /// Ends every flow, hands on every record, and gives the last report.
    pub(super) fn finish(mut self) -> LaneReport {
        // Nothing is captured any more: to wait costs no frame, and what was parsed is not to be lost. Whoever stops this
        // has an eye on the time.
        self.lane.records_mut().outlet_mut().wait_when_full();
        // Where that panics, the flow that it panics at goes, and the rest is taken up again; but not for ever.
        for _ in 0..MOST_AT_THE_END {
            if self.guard(None, Lane::finish) {
                break;
            }
        }
        let report = self.report();
        self.told.tell(report.clone());
        report
    }

    /// Whether the lane did its work without a panic; else the flow goes at which it was.
    #[inline]
    fn guard(&mut self, flow: Option<FlowKey>, work: impl FnOnce(&mut Lane<Queue>)) -> bool {
        let lane = &mut self.lane;
        let cost = flow.map_or(Trouble::Frame, |flow| Trouble::Flow(Some(flow)));
        let is_unhurt = self.faults.guard(cost, || work(lane)).is_some();
        if !is_unhurt {
            self.recover(flow);
        }
        is_unhurt
    }

    #[cold]
    fn recover(&mut self, flow: Option<FlowKey>) {
        let lane = &mut self.lane;
        self.faults.guard(Trouble::Frame, || lane.give_up(flow.as_ref()));
    }

    fn report(&self) -> LaneReport {
        let report = self.lane.report();
        LaneReport { given_up: report.given_up + self.faults.count(), ..report }
    }
}

impl Segments for LiveLane {
    /// What the handler does is guarded by itself; this is for what lies around it.
    #[inline]
    fn push(&mut self, segment: &Segment<'_>) {
        self.guard(Some(segment.key), |lane| {
            #[cfg(test)]
            tests::fail_at(segment);
            lane.push(segment);
        });
    }

    fn tick(&mut self, now: Timestamp) {
        self.guard(None, |lane| lane.tick(now));
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.lane.is_stopped()
    }
}

impl LiveSegments for LiveLane {
    fn pulse(&mut self, now: Timestamp, idle: bool) {
        self.told.beat();
        self.lane.refresh();
        if let Some(mask) = self.renewal.since(&mut self.renewed) {
            self.lane.records_mut().remask(mask.as_ref());
        }
        if idle {
            // Flows wait for packet time, which stands still without packets.
            self.tick(Timestamp::from_nanos(now.as_nanos().saturating_sub(LATE.as_nanos() as u64)));
        }
        if self.last_told.elapsed() >= TELL {
            self.last_told = Instant::now();
            self.lane.records_mut().flush();
            self.told.tell(self.report());
        }
    }
}

/// For its reading thread to use again.
fn give_back(inbox: &Inbox, mut batch: Batch) {
    batch.clear();
    let _ = inbox.give_back.try_send(batch);
}

/// The wall clock, which is what live captures stamp frames with.
pub(super) fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_nanos(since.map_or(0, |since| since.as_nanos() as u64))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use decap::{Domain, Endpoint, SeqNum, TcpFlags, TunnelPath};

    use super::*;
    use crate::dispatch::WhenFull;
    use crate::handler::tests::DEFECT;
    use crate::ledger::{Captures, Ledger};
    use crate::live::merge::Horizons;
    use crate::pipeline::Settings;
    use crate::record::{RecordOptions, Shape};
    use crate::sealing::Sealing;

    const FLOWS: u16 = 20;
    /// What reassembly itself stumbles over.
    const STUMBLE: &[u8] = b"stumble!";

    pub(super) fn fail_at(segment: &Segment<'_>) {
        assert_ne!(segment.payload, STUMBLE);
    }

    fn settings() -> Settings {
        let options = RecordOptions {
            sensor: "test".to_owned(),
            decode_limit: 1 << 20,
            content_limit: 1 << 20,
            shape: Shape::Native,
        };
        Settings {
            decap: decap::Config::default(),
            reassembly: reassembly::Limits::default(),
            http: http_parse::Settings::default(),
            record: options,
            mask: None,
            normalize: Arc::default(),
            filters: Arc::default(),
        }
    }

    /// What one side says next, on flow `flow`; gives how many payload bytes that were.
    fn say(to: &mut impl Segments, flow: u16, is_client: bool, seq: u32, ack: u32, payload: &[u8]) -> u64 {
        send(to, flow, is_client, TcpFlags::ACK, seq, ack, payload)
    }

    fn send(to: &mut impl Segments, flow: u16, is_client: bool, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> u64 {
        let client = Endpoint { ip: std::net::Ipv4Addr::new(10, 0, 0, 1).into(), port: 40_000 + flow };
        let server = Endpoint { ip: std::net::Ipv4Addr::new(10, 0, 0, 2).into(), port: 80 };
        let (from, there) = if is_client { (client, server) } else { (server, client) };
        let (key, direction) = FlowKey::new(from, there, Domain::GLOBAL);
        to.push(&Segment {
            at: Timestamp::from_nanos(1_000_000 * u64::from(seq)),
            key,
            direction,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags: TcpFlags(flags),
            window: 1_000,
            ip_id: seq as u16,
            payload,
            missing: 0,
            path: &TunnelPath::default(),
        });
        payload.len() as u64
    }

    /// Two exchanges on each flow; in the second, the response's body has the defect in every fifth flow.
    fn talk(to: &mut impl Segments) -> u64 {
        let mut bytes = 0;
        for flow in 0..FLOWS {
            // Of a connection seen from its beginning, each exchange is recorded as soon as it is complete.
            send(to, flow, true, TcpFlags::SYN, 0, 0, b"");
            send(to, flow, false, TcpFlags::SYN | TcpFlags::ACK, 0, 1, b"");
        }
        for turn in 0..2_u32 {
            for flow in 0..FLOWS {
                let request = format!("GET /{flow:02}/{turn} HTTP/1.1\r\nhost: h\r\n\r\n");
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n";
                let body: &[u8] = if flow % 5 == 0 && turn == 1 { DEFECT } else { b"harmless" };
                let (c, s) = (1 + turn * request.len() as u32, 1 + turn * (response.len() + body.len()) as u32);
                let (asked, told) = (c + request.len() as u32, s + response.len() as u32);
                bytes += say(to, flow, true, c, s, request.as_bytes());
                bytes += say(to, flow, false, s, asked, response);
                bytes += say(to, flow, false, told, asked, body);
            }
        }
        bytes
    }

    struct Count(usize);

    impl Segments for Count {
        fn push(&mut self, _: &Segment<'_>) {
            self.0 += 1;
        }

        fn tick(&mut self, _: Timestamp) {}

        fn is_stopped(&self) -> bool {
            false
        }
    }

    #[test]
    fn nobody_waits_for_a_source_that_is_absent() {
        let (first, inboxes) = Dispatcher::new(1, 8, WhenFull::Wait, Arc::<AtomicBool>::default());
        let horizons = Horizons::new(2);
        let mut here = Feed::new(first.another(0), vec![horizons.of(0)]);
        let mut away = Feed::new(first.another(1), vec![horizons.of(1)]);
        let mut merge = Merge::new(horizons);
        let now = Instant::now();
        // What is captured at the millisecond `at` is given on, so far.
        let mut given = |here: &mut Feed, at: u32| {
            say(here, 0, true, at, 1, b"x");
            here.pulse(Timestamp::from_nanos(u64::from(at) * 1_000_000), true);
            merge.look();
            inboxes[0].batches.try_iter().for_each(|batch| merge.take(batch, now));
            let mut count = Count(0);
            let mut give = |part: Part<'_>| {
                if let Part::Run(batch, place, last) = part {
                    batch.replay_to(last, place, &mut count);
                }
            };
            merge.release(now, false, &mut give, drop);
            count.0
        };
        assert_eq!(given(&mut here, 1_000), 0, "the other may have an earlier one");
        away.absent(Timestamp::from_nanos(1_000_000_000));
        assert_eq!(given(&mut here, 1_001), 2);
        // It has come.
        away.pulse(Timestamp::from_nanos(1_001_000_000), true);
        assert_eq!(given(&mut here, 1_002), 0);
    }

    #[test]
    fn what_a_worker_that_is_behind_was_not_given_is_not_said_to_be_with_it() {
        let (first, inboxes) = Dispatcher::new(1, 64, WhenFull::Drop, Arc::<AtomicBool>::default());
        let horizons = Horizons::new(2);
        let mut feed = Feed::new(first, vec![horizons.of(0)]);
        let millis = |at: u32| Timestamp::from_nanos(u64::from(at) * 1_000_000);
        // One segment in each tenth of a second, and nobody who takes them.
        let mut reached = Vec::new();
        for at in (1_000..2_000).step_by(100) {
            say(&mut feed, 0, true, at, at, b"x");
            feed.pulse(millis(at), true);
            reached.push(horizons.reached(0));
        }
        let given = inboxes[0].batches.len() as u32;
        assert!(given < 10, "they are gathered");
        let last = 1_000 + 100 * (given - 1);
        assert_eq!(reached.last(), Some(&millis(last - 50)), "up to the last that was given: {reached:?}");
        let mut count = Count(0);
        inboxes[0].batches.try_iter().for_each(|batch| batch.replay(&mut count));
        feed.pulse(millis(2_000), true);
        inboxes[0].batches.try_iter().for_each(|batch| batch.replay(&mut count));
        assert_eq!((count.0, horizons.reached(0)), (10, millis(1_950)));
    }

    #[test]
    fn a_panic_outside_of_the_handler_leaves_no_slot_behind() {
        let (sealing, queue) = Sealing::start(Vec::new(), 1, WhenFull::Wait, usize::MAX).unwrap();
        let mut lane = LiveLane::new(Lane::new(&settings(), queue), Arc::default(), Arc::default());
        let request = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
        let asked = 1 + request.len() as u32;
        let mut bytes = 0;
        for flow in 0..4 {
            bytes += say(&mut lane, flow, true, 1, 1, request);
            // Held behind a hole, where it is.
            bytes += say(&mut lane, flow, false, 50, asked, b"behind a hole");
        }
        let before = lane.report().reassembly;
        assert_eq!((before.active_flows, before.held_bytes), (4, 160), "requests, too: nothing is known before them");
        bytes += say(&mut lane, 2, false, 1, asked, STUMBLE);
        // Later than any deadline of a flow that were still there.
        let after = lane.report().reassembly;
        assert_eq!((after.active_flows, after.held_bytes), (3, 120));
        assert_eq!(after.dropped_bytes[reassembly::DropReason::GivenUp as usize], 40);
        let report = lane.finish();
        assert_eq!((report.given_up, report.reassembly.active_flows), (1, 0));
        sealing.finish().unwrap();
        // The segment itself never got there.
        let segments = 9;
        assert_eq!(report.reassembly.segments, segments - 1);
        let decap = decap::Stats { frames: segments, segments, ..Default::default() };
        let captures = Captures { frames: segments, ..Captures::default() };
        let ledger = Ledger::gather(captures, &decap, bytes, [&report]);
        assert_eq!(ledger.check(), Ok(()), "{ledger}");
    }

    #[test]
    fn a_panic_costs_one_flow_and_no_other() {
        for sources in [1, 2] {
            let (sealing, queue) = Sealing::start(Vec::new(), 1, WhenFull::Wait, usize::MAX).unwrap();
            let told = Arc::<Told<LaneReport>>::default();
            let lane = LiveLane::new(Lane::new(&settings(), queue), Arc::clone(&told), Arc::default());
            let (first, mut inboxes) = Dispatcher::new(1, 8, WhenFull::Wait, Arc::<AtomicBool>::default());
            let inbox = inboxes.remove(0);
            let horizons = Horizons::new(sources);
            let mut feed = Feed::new(first, vec![horizons.of(0)]);
            let worker = std::thread::spawn(move || match sources {
                1 => lane.work(&inbox),
                _ => lane.work_merged(&inbox, Merge::new(horizons)),
            });
            let bytes = talk(&mut feed);
            assert_eq!(feed.finish(), Refused::default());
            let report = worker.join().unwrap();
            let records = String::from_utf8(sealing.finish().unwrap()).unwrap();

            let bad = u64::from(FLOWS / 5);
            assert_eq!(report.given_up, bad);
            assert_eq!(report.recorded, 2 * u64::from(FLOWS) - bad);
            for line in records.lines() {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(record.pointer("/response/status"), Some(&200.into()), "{line}");
            }
            for flow in 0..FLOWS {
                let count = |turn| records.matches(&format!("\"target\":\"/{flow:02}/{turn}\"")).count();
                let expected = if flow % 5 == 0 { 0 } else { 1 };
                assert_eq!((count(0), count(1)), (1, expected), "flow {flow}:\n{records}");
            }
            let segments = 8 * u64::from(FLOWS);
            let decap = decap::Stats { frames: segments, segments, ..Default::default() };
            let captures = Captures { frames: segments, ..Captures::default() };
            let ledger = Ledger::gather(captures, &decap, bytes, [&report]);
            assert_eq!(ledger.check(), Ok(()), "{ledger}");
            assert!(ledger.to_string().contains("flows_given_up 4"), "{ledger}");
        }
    }
}
