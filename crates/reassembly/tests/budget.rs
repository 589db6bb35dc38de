//! What it costs: nothing is allocated for in-order data, and no input makes it grow past its limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Packet, Recorder, check, content, key};
use decap::{Direction, Segment, SeqNum, TcpFlags, Timestamp, TunnelPath};
use reassembly::{DropReason, Ending, FlowInfo, Limits, Position, Reassembler, StreamHandler, Want};

/// Counts, and keeps nothing.
#[derive(Default)]
struct Counter {
    bytes: u64,
}

impl StreamHandler for Counter {
    type Conn = u64;

    fn open(&mut self, _: &FlowInfo<'_>) -> u64 {
        0
    }

    fn data(&mut self, conn: &mut u64, _: Direction, _: Position, bytes: &[u8]) -> Want {
        *conn += bytes.len() as u64;
        self.bytes += bytes.len() as u64;
        Want::More
    }

    fn gap(&mut self, _: &mut u64, _: Direction, _: Position, _: u64) -> Want {
        Want::More
    }

    fn skipped(&mut self, _: &mut u64, _: Direction, _: Position, _: u64) -> Want {
        Want::More
    }

    fn end(&mut self, _: &mut u64, _: Direction, _: Position) -> Want {
        Want::More
    }

    fn close(&mut self, _: u64, _: Ending) {}
}

/// A segment of flow `port`, whose two streams both start at 0.
fn segment<'a>(path: &'a TunnelPath, port: u16, direction: Direction, seq: u32, payload: &'a [u8]) -> Segment<'a> {
    Segment {
        at: Timestamp::from_nanos(1_000_000_000 + u64::from(seq)),
        key: key(port),
        direction,
        seq: SeqNum(seq),
        ack: SeqNum(0),
        flags: TcpFlags(TcpFlags::ACK),
        window: 1000,
        ip_id: seq as u16,
        payload,
        missing: 0,
        path,
    }
}

fn open(reassembler: &mut Reassembler<Counter>, path: &TunnelPath, port: u16) {
    let syn = Segment { flags: TcpFlags(TcpFlags::SYN), ..segment(path, port, Direction::Forward, u32::MAX, &[]) };
    reassembler.push(&Segment { at: Timestamp::from_nanos(1_000_000_000), ..syn });
    let flags = TcpFlags(TcpFlags::SYN | TcpFlags::ACK);
    let syn_ack = Segment { flags, ..segment(path, port, Direction::Reverse, u32::MAX, &[]) };
    reassembler.push(&Segment { at: Timestamp::from_nanos(1_000_000_000), ..syn_ack });
}

/// Panics at the bytes `panic`, at gaps of 13 bytes and at the end of a flow that had 13 bytes.
#[derive(Default)]
struct Touchy(Counter);

impl StreamHandler for Touchy {
    type Conn = u64;

    fn open(&mut self, flow: &FlowInfo<'_>) -> u64 {
        self.0.open(flow)
    }

    fn data(&mut self, conn: &mut u64, direction: Direction, at: Position, bytes: &[u8]) -> Want {
        assert_ne!(bytes, b"panic");
        self.0.data(conn, direction, at, bytes)
    }

    fn gap(&mut self, _: &mut u64, _: Direction, _: Position, len: u64) -> Want {
        assert_ne!(len, 13);
        Want::More
    }

    fn skipped(&mut self, _: &mut u64, _: Direction, _: Position, _: u64) -> Want {
        Want::More
    }

    fn end(&mut self, _: &mut u64, _: Direction, _: Position) -> Want {
        Want::More
    }

    fn close(&mut self, conn: u64, _: Ending) {
        assert_ne!(conn, 13);
    }
}

/// Runs `work`; whether it panicked, in which case the flow is given up.
fn survive(
    reassembler: &mut Reassembler<Touchy>,
    key: Option<decap::FlowKey>,
    work: impl FnOnce(&mut Reassembler<Touchy>),
) -> bool {
    let is_unhurt = catch_unwind(AssertUnwindSafe(|| work(reassembler))).is_ok();
    if !is_unhurt {
        let _ = catch_unwind(AssertUnwindSafe(|| reassembler.give_up(key.as_ref())));
    }
    !is_unhurt
}

#[test]
fn a_panic_in_the_middle_of_a_flow_leaves_nothing_of_it_behind() {
    let path = TunnelPath::default();
    let mut reassembler = Reassembler::new(Limits::default(), Touchy::default());
    let r = &mut reassembler;
    let push = |r: &mut Reassembler<Touchy>, port: u16, seq: u32, payload: &[u8]| {
        let flags = if payload.is_empty() { TcpFlags::SYN } else { TcpFlags::ACK };
        let segment = Segment { flags: TcpFlags(flags), ..segment(&path, port, Direction::Forward, seq, payload) };
        survive(r, Some(segment.key), |r| r.push(&segment))
    };
    for port in 1..=6 {
        push(r, port, u32::MAX, b"");
        push(r, port, 0, b"begin");
    }
    // In a segment's own bytes; in those held behind it, of which there are more.
    assert!(push(r, 1, 5, b"panic"));
    for (seq, bytes) in [(20, "third"), (10, "panic"), (30, "fifth")] {
        assert!(!push(r, 2, seq, bytes.as_bytes()));
    }
    assert_eq!(r.stats().held_bytes, 15);
    assert!(push(r, 2, 5, b"first"));
    assert_eq!((r.stats().active_flows, r.stats().held_bytes), (4, 0));
    assert!(r.stats().is_balanced(), "{:?}", r.stats());
    assert_eq!(r.stats().dropped_bytes[DropReason::GivenUp as usize], 10, "what was held behind");

    // At a deadline that a tick brings: the next tick does not find it again, and others' deadlines are not held up.
    assert!(!push(r, 3, 5 + 13, b"after"));
    assert!(!push(r, 4, 5 + 14, b"after"));
    let late = Timestamp::from_nanos(20_000_000_000);
    let mut panics = 0;
    while survive(r, None, |r| r.tick(late)) {
        panics += 1;
        assert!(panics < 5, "a tick that panics every time");
    }
    assert_eq!((panics, r.stats().gaps, r.stats().held_bytes), (1, 2, 0));
    assert!(r.stats().is_balanced(), "{:?}", r.stats());
    assert_eq!(r.stats().active_flows, 3);

    // The same endpoints again are another flow, which begins anew.
    assert!(!push(r, 1, u32::MAX, b""));
    assert!(!push(r, 1, 0, b"again"));
    assert_eq!(r.stats().active_flows, 4);

    // At the end, where the handler panics when it is told, and again when it is told otherwise.
    assert!(!push(r, 5, 5, b"thirteen"));
    let mut panics = 0;
    while survive(r, None, |r| r.finish()) {
        panics += 1;
        assert!(panics < 5, "an end that panics every time");
    }
    assert_eq!(panics, 1);
    let stats = r.stats();
    assert_eq!((stats.active_flows, stats.held_bytes), (0, 0));
    assert_eq!(stats.opened, stats.closed.iter().sum::<u64>());
    assert!(stats.is_balanced(), "{stats:?}");
    // Pages and slots are there for others, however often it happens.
    let mut memory = 0;
    for round in 0..1_000 {
        assert!(!push(r, 7, u32::MAX, b""));
        assert!(!push(r, 7, 10, &[0; 5_000]) && !push(r, 7, 5, b"panic"));
        assert!(push(r, 7, 0, b"panic"));
        assert!(r.stats().is_balanced() && r.stats().active_flows == 0);
        if round == 10 {
            memory = r.memory();
        }
    }
    assert_eq!(r.memory(), memory);
}

#[test]
fn in_order_data_allocates_nothing() {
    let path = TunnelPath::default();
    let payload = [7; 1000];
    let mut reassembler = Reassembler::new(Limits::default(), Counter::default());
    for port in 0..100 {
        open(&mut reassembler, &path, port);
        reassembler.push(&segment(&path, port, Direction::Forward, 0, &payload));
    }
    let info = allocation_counter::measure(|| {
        for round in 1..100 {
            for port in 0..100 {
                reassembler.push(&segment(&path, port, Direction::Forward, round * 1000, &payload));
                let ack =
                    Segment { ack: SeqNum(round * 1000 + 1000), ..segment(&path, port, Direction::Reverse, 0, &[]) };
                reassembler.push(&ack);
                reassembler.tick(ack.at);
            }
        }
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(reassembler.handler().bytes, 100 * 100 * 1000);
    assert_eq!(reassembler.stats().retransmitted_segments + reassembler.stats().out_of_order_segments, 0);
}

#[test]
fn a_mirror_that_swaps_all_the_time_allocates_nothing() {
    let path = TunnelPath::default();
    let payload = [7; 1000];
    let mut reassembler = Reassembler::new(Limits::default(), Counter::default());
    open(&mut reassembler, &path, 1);
    let mut swap = |first: u32| {
        reassembler.push(&segment(&path, 1, Direction::Forward, first + 1000, &payload));
        reassembler.push(&segment(&path, 1, Direction::Forward, first, &payload));
    };
    (0..10).for_each(|n| swap(n * 2000));
    let info = allocation_counter::measure(|| (10..1000).for_each(|n| swap(n * 2000)));
    assert_eq!(info.count_total, 0);
    assert_eq!(reassembler.handler().bytes, 2_000_000);
}

#[test]
fn a_flood_of_handshakes_stays_within_its_slots() {
    let limits = Limits { max_flows: 10_000, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits, Counter::default());
    let path = TunnelPath::default();
    // A real flow in the midst of the flood survives it.
    open(&mut reassembler, &path, 1);
    reassembler.push(&segment(&path, 1, Direction::Forward, 0, b"one"));
    let mut most = 0;
    for n in 0..1_000_000_u32 {
        let ip = |bits: u32| decap::Endpoint { ip: core::net::Ipv4Addr::from_bits(bits).into(), port: n as u16 };
        let (key, direction) = decap::FlowKey::new(ip(n >> 16), ip(0xff00_0000), decap::Domain::GLOBAL);
        let at = Timestamp::from_nanos(1_000_000_000 + u64::from(n) * 100);
        let flags = TcpFlags(TcpFlags::SYN);
        reassembler.push(&Segment { at, key, direction, flags, ..segment(&path, 0, direction, n, &[]) });
        if n % 1000 == 0 {
            most = most.max(reassembler.memory());
        }
    }
    assert!(most < 5 << 20, "{most}");
    let stats = reassembler.stats();
    assert_eq!((stats.opened, stats.active_flows, stats.flows), (1, 10_000, 1_000_001));
    assert_eq!(stats.evicted_flows, 1_000_001 - 10_000);
    reassembler.push(&segment(&path, 1, Direction::Forward, 3, b"two"));
    assert_eq!(reassembler.handler().bytes, 6);
    reassembler.finish();
    assert!(reassembler.stats().is_balanced());
}

#[test]
fn a_flood_of_segments_without_a_handshake_stays_within_its_pages() {
    let limits = Limits { max_flows: 50_000, page_memory: 1 << 20, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits, Counter::default());
    let path = TunnelPath::default();
    for n in 0..200_000_u32 {
        let ip = |bits: u32| decap::Endpoint { ip: core::net::Ipv4Addr::from_bits(bits).into(), port: n as u16 };
        let (key, direction) = decap::FlowKey::new(ip(n >> 16), ip(0xff00_0000), decap::Domain::GLOBAL);
        let at = Timestamp::from_nanos(1_000_000_000);
        reassembler.push(&Segment { at, key, direction, ..segment(&path, 0, direction, n, b"payload") });
    }
    // Slots of 384 bytes, states of handlers, and as many holds as pages; a fifth more for the table.
    let memory = reassembler.memory();
    assert!(memory < 30 << 20, "{memory}");
    reassembler.finish();
    let stats = reassembler.stats();
    assert!(stats.is_balanced());
    assert_eq!(stats.delivered_bytes + stats.dropped_bytes.iter().sum::<u64>(), 200_000 * 7);
    assert_eq!(stats.held_bytes, 0);
}

/// Every second byte, then the rest backwards: the worst case for ranges, and for whoever is quadratic.
#[test]
fn many_small_ranges_stay_within_their_limit() {
    let limits = Limits { max_ranges_per_direction: 64, page_memory: 100 << 10, ..Limits::default() };
    let recorder = Recorder { checks_content: true, ..Recorder::default() };
    let mut reassembler = Reassembler::new(limits, recorder);
    let path = TunnelPath::default();
    let mut at = Timestamp::from_nanos(1_000_000_000);
    let mut push = |seq: u32, len: u32, flags: u8| {
        at = at + Duration::from_micros(1);
        let payload = (0..len).map(|n| content(seq + n)).collect();
        let packet =
            Packet { at, port: 1, direction: Direction::Forward, seq, ack: 0, flags, ip_id: 1, payload, missing: 0 };
        reassembler.push(&packet.segment(&path));
        check(&reassembler);
        assert!(reassembler.stats().held_bytes <= 64 * 2);
    };
    push(999, 0, TcpFlags::SYN);
    for n in 0..2000 {
        push(1001 + 2 * n, 1, TcpFlags::ACK);
    }
    for n in (0..2000).rev() {
        push(1000 + 2 * n, 1, TcpFlags::ACK);
    }
    push(1000, 5000, TcpFlags::ACK);
    reassembler.finish();
    let log = &reassembler.handler().logs[0];
    assert_eq!(log.stream(Direction::Forward).len(), 5000);
    assert_eq!(reassembler.stats().conflicting_overlaps, 0);
    assert!(reassembler.stats().is_balanced());
}

/// Ten bytes each, with a hole in front: what they take is near what they are, not a page each.
#[test]
fn many_flows_cut_into_tiny_segments_fit() {
    const MEMORY: usize = 4 << 20;
    let limits = Limits { page_memory: MEMORY, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits, Counter::default());
    let path = TunnelPath::default();
    for port in 1..=40 {
        open(&mut reassembler, &path, port);
    }
    let before = reassembler.memory();
    for n in 0..150_u32 {
        for port in 1..=40 {
            reassembler.push(&segment(&path, port, Direction::Forward, 20 + 20 * n, b"0123456789"));
        }
    }
    // 12 MiB, in pages.
    assert_eq!(reassembler.stats().held_bytes, 40 * 150 * 10);
    assert_eq!((reassembler.stats().forced_by_memory, reassembler.stats().forced_by_limit), (0, 0));
    assert!(reassembler.memory() - before <= MEMORY, "{}", reassembler.memory() - before);
    reassembler.finish();
    assert!(reassembler.stats().is_balanced());
}

#[test]
fn what_is_not_waited_for_is_counted_by_what_was_full() {
    let counts = |limits: Limits, flows: u16| {
        let mut reassembler = Reassembler::new(limits, Counter::default());
        let path = TunnelPath::default();
        for port in 1..=flows {
            open(&mut reassembler, &path, port);
            for n in 0..100_u32 {
                reassembler.push(&segment(&path, port, Direction::Forward, 1_000 + 2_000 * n, &[7; 1_000]));
            }
        }
        let most = reassembler.stats().held_bytes;
        reassembler.finish();
        let stats = reassembler.stats();
        assert!(stats.is_balanced());
        assert_eq!((stats.gaps, stats.gap_bytes), (100 * u64::from(flows), 100_000 * u64::from(flows)));
        (stats.forced_by_memory, stats.forced_by_limit, most)
    };
    assert_eq!(counts(Limits::default(), 20), (0, 0, 2_000_000));
    let (by_memory, by_limit, most) = counts(Limits { page_memory: 1 << 20, ..Limits::default() }, 20);
    assert!(by_memory > 0 && by_limit == 0 && most < 1 << 20, "{by_memory} {by_limit} {most}");
    let limits = Limits { max_ranges_per_direction: 40, ..Limits::default() };
    assert_eq!(counts(limits, 20), (0, 20 * 60, 20 * 40_000));
    let limits = Limits { max_held_per_direction: 10_000, ..Limits::default() };
    assert_eq!(counts(limits, 20), (0, 20 * 90, 20 * 10_000));
}
