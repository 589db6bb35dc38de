//! Segments and ticks from arbitrary bytes, with everything that must hold checked on the way. Also the fuzz target.

use std::collections::BTreeMap;

use decap::{Direction, FlowKey, TcpFlags, Timestamp, TunnelPath};
use reassembly::{Limits, Reassembler, Stats, Want};

use super::{FlowLog, Packet, Recorder, check, content};

/// One step.
#[derive(Clone, Debug)]
pub enum Op {
    Push(Packet),
    /// Time passes, up to here.
    Wait(Timestamp),
}

/// What a run is set to.
#[derive(Clone, Debug)]
pub struct Setup {
    pub limits: Limits,
    pub wants: Vec<Want>,
    /// No limit is tight, so other flows and ticks must not make a difference.
    pub is_roomy: bool,
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}

/// Reads a set-up and steps from bytes.
pub fn parse(bytes: &[u8]) -> Option<(Setup, Vec<Op>)> {
    let mut bytes = Bytes(bytes);
    let first = bytes.next()?;
    let is_roomy = first & 1 == 0;
    let mut limits = Limits { seed: u64::from(first), ..Limits::default() };
    if !is_roomy {
        limits.max_flows = 1 + usize::from(first >> 1 & 3);
        limits.page_memory = usize::from(first >> 3 & 3) * 8192;
        limits.max_held_per_direction = 4096;
        limits.max_ranges_per_direction = usize::from(first >> 5 & 3) * 3;
    }
    let wants = match bytes.next()? {
        n if n < 128 => Vec::new(),
        n if n < 192 => vec![Want::Skip(u64::from(n - 128) * 16), Want::More, Want::Skip(100)],
        n => vec![Want::More, Want::Skip(u64::from(n)), Want::More, Want::More, Want::Nothing],
    };
    let mut ops = Vec::new();
    // Where each direction of each flow stands, so that most segments are plausible.
    let mut next = [[0xffff_ff00_u32, 0x8000_0000], [5, 0xffff_0000]];
    let mut now = 1_000_000_000_000_u64;
    let mut ip_id = 0_u16;
    while let Some(op) = bytes.next() {
        let (shape, detail) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
        if op >= 0xf0 {
            let millis = [1, 10, 100, 150, 250, 1000, 4000, 6000, 35_000, 400_000][usize::from(shape) % 10];
            now += millis * 1_000_000;
            ops.push(Op::Wait(Timestamp::from_nanos(now)));
            continue;
        }
        let direction = if op & 1 == 0 { Direction::Forward } else { Direction::Reverse };
        let flow = usize::from(op >> 1 & 1);
        let (from, to) = (direction.index(), direction.opposite().index());
        let len = match op >> 2 & 3 {
            0 => 0,
            1 => 1 + u32::from(detail & 15),
            2 => 100,
            _ => 1400 + 8 * u32::from(detail),
        };
        let base = next[flow][from];
        let (seq, moves) = match shape & 15 {
            0..=6 => (base, true),
            7 => (base.wrapping_add(u32::from(detail)), false),
            8 => (base.wrapping_add(u32::from(detail) * 64), true),
            9 => (base.wrapping_sub(u32::from(detail)), false),
            10 => (base.wrapping_sub(u32::from(detail) * 64), false),
            11 => (base.wrapping_add(u32::from(detail) << 24), false),
            12 => (base.wrapping_add(u32::from(detail) << 18), false),
            13 => (base.wrapping_add(u32::from(detail) << 24), true),
            14 => (base.wrapping_sub(1), false),
            _ => (base.wrapping_add(1), true),
        };
        let ack = match shape >> 4 & 7 {
            0..=4 => next[flow][to],
            5 => next[flow][to].wrapping_sub(u32::from(detail)),
            6 => next[flow][to].wrapping_add(u32::from(detail) * 16),
            _ => next[flow][to].wrapping_add(u32::from(detail) << 22),
        };
        let mut flags = if shape & 0x80 == 0 { TcpFlags::ACK } else { 0 };
        match op >> 4 {
            0..=8 => {}
            9 | 10 => flags |= TcpFlags::FIN,
            11 | 12 => flags |= TcpFlags::SYN,
            13 => flags |= TcpFlags::RST,
            _ => flags = detail,
        }
        let missing = if op >> 4 == 8 { u32::from(detail) } else { 0 };
        let syn = u32::from(flags & TcpFlags::SYN != 0);
        let fin = u32::from(flags & TcpFlags::FIN != 0);
        if moves {
            next[flow][from] = seq.wrapping_add(len + missing + syn + fin);
        }
        ip_id = if op >> 4 == 7 { ip_id } else { ip_id.wrapping_add(1) };
        let payload = (0..len).map(|n| content(seq.wrapping_add(syn + n))).collect();
        let at = Timestamp::from_nanos(now);
        let port = 1000 + flow as u16;
        ops.push(Op::Push(Packet { at, port, direction, seq, ack, flags, ip_id, payload, missing }));
        now += 1_000_000 * u64::from(detail & 7);
    }
    Some((Setup { limits, wants, is_roomy }, ops))
}

/// Takes the steps; `ticks` says after which of them time is told.
pub fn run(setup: &Setup, ops: &[Op], mut ticks: impl FnMut(usize) -> bool) -> (Vec<FlowLog>, Stats) {
    let recorder = Recorder { wants: setup.wants.clone(), checks_content: true, ..Recorder::default() };
    let mut reassembler = Reassembler::new(setup.limits.clone(), recorder);
    let path = TunnelPath::default();
    let mut now = Timestamp::ZERO;
    for (index, op) in ops.iter().enumerate() {
        match op {
            Op::Push(packet) => {
                now = packet.at;
                reassembler.push(&packet.segment(&path));
            }
            Op::Wait(until) => now = *until,
        }
        if ticks(index) {
            reassembler.tick(now);
        }
        check(&reassembler);
        let stats = reassembler.stats();
        assert!(stats.active_flows <= setup.limits.max_flows as u64);
        if !setup.is_roomy {
            // Slots of the first chunks, spare lists, and the pages.
            assert!(reassembler.memory() <= setup.limits.page_memory + (512 << 10), "{}", reassembler.memory());
        }
    }
    // The last word on time is the same, however often it was told.
    reassembler.tick(now);
    reassembler.finish();
    check(&reassembler);
    assert_eq!((reassembler.stats().held_bytes, reassembler.stats().active_flows), (0, 0));
    (reassembler.handler().logs.clone(), reassembler.stats().clone())
}

/// The logs of each flow, in order.
pub fn by_flow(logs: Vec<FlowLog>) -> BTreeMap<FlowKey, Vec<FlowLog>> {
    let mut flows: BTreeMap<_, Vec<FlowLog>> = BTreeMap::new();
    for log in logs {
        flows.entry(log.key).or_default().push(log);
    }
    flows
}

/// Reads steps from bytes and checks everything that must hold.
pub fn check_bytes(bytes: &[u8]) {
    let Some((setup, ops)) = parse(bytes) else { return };
    let (never, stats) = run(&setup, &ops, |_| false);
    let (always, stats_always) = run(&setup, &ops, |_| true);
    // The handler's answers come in turn over all flows, whose order ticks do change.
    if setup.is_roomy && setup.wants.is_empty() {
        assert_eq!(by_flow(never), by_flow(always));
        assert_eq!(stats, stats_always);
    }
}
