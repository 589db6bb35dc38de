//! What it costs: nothing is allocated for in-order data, and no input makes it grow past its limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use core::time::Duration;

use common::{Packet, Recorder, check, content, key};
use decap::{Direction, Segment, SeqNum, TcpFlags, Timestamp, TunnelPath};
use reassembly::{Ending, FlowInfo, Limits, Position, Reassembler, StreamHandler, Want};

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
