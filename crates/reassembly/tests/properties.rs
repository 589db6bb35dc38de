//! What must hold for every conversation and every mirror.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use core::time::Duration;

use common::ops::{Op, Setup, by_flow, check_bytes, run};
use common::sender::{Dice, Talk, captured, stream};
use common::{FlowLog, Packet, Recorder, check, content};
use decap::{Direction, TcpFlags, TunnelPath};
use proptest::prelude::*;
use reassembly::{CloseReason, Limits, Reassembler};

const BOTH: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn replay(packets: &[Packet]) -> (Vec<FlowLog>, reassembly::Stats) {
    let path = TunnelPath::default();
    let recorder = Recorder { checks_content: true, ..Recorder::default() };
    let mut reassembler = Reassembler::new(Limits::default(), recorder);
    for packet in packets {
        reassembler.push(&packet.segment(&path));
        check(&reassembler);
    }
    reassembler.finish();
    check(&reassembler);
    (reassembler.handler().logs.clone(), reassembler.stats().clone())
}

/// Capture order is new, capture times stay in order.
fn reorder(packets: &[Packet], order: &[usize]) -> Vec<Packet> {
    order.iter().zip(packets).map(|(&index, place)| Packet { at: place.at, ..packets[index].clone() }).collect()
}

fn swapped(packets: &[Packet], at: usize) -> Vec<Packet> {
    let mut order: Vec<usize> = (0..packets.len()).collect();
    order.swap(at, at + 1);
    reorder(packets, &order)
}

fn talks() -> impl Strategy<Value = Talk> {
    let near_wrap = prop_oneof![any::<u32>(), 0xffff_fe00..=u32::MAX, Just(0)];
    (any::<u64>(), [near_wrap.clone(), near_wrap], 1_u64..5, 1_u64..300, 1_u64..2000, any::<bool>()).prop_map(
        |(seed, isn, turns, mss, longest, closes)| Talk { seed, isn, turns, mss, longest, closes, ..Talk::default() },
    )
}

/// One flow, whole in both directions.
fn assert_whole(packets: &[Packet], logs: &[FlowLog], what: &str) {
    let expects_none = BOTH.iter().all(|&direction| stream(packets, direction).is_empty());
    assert_eq!(logs.len(), usize::from(!expects_none), "{what}: {logs:#?}");
    for log in logs {
        for direction in BOTH {
            let (got, expected) = (log.stream(direction), stream(packets, direction));
            assert!(got.iter().all(Option::is_some), "{what}: gaps {:?}", log.gaps(direction));
            assert_eq!(got.len(), expected.len(), "{what}: {direction:?}");
            assert_eq!(log.whole(direction), expected, "{what}: {direction:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The same streams, however they are cut, copied and (within what mirrors do) reordered.
    #[test]
    fn segmentation_copies_and_order_do_not_matter(
        talk in talks(), seed in any::<u64>(), reach in 0_usize..8, copies in 0_u64..100,
    ) {
        let packets = talk.packets();
        let mut dice = Dice::new(seed);
        let mut mirrored: Vec<(usize, usize)> = Vec::new();
        for index in 0..packets.len() {
            mirrored.push((index + dice.roll(reach as u64 + 1) as usize, index));
            if dice.chance(copies) {
                mirrored.push((index + dice.roll(reach as u64 + 1) as usize, index));
            }
        }
        mirrored.sort_by_key(|&(place, _)| place);
        let order: Vec<usize> = mirrored.into_iter().map(|(_, index)| index).collect();
        let start = packets[0].at;
        let sent: Vec<Packet> = order
            .iter()
            .enumerate()
            .map(|(n, &index)| Packet { at: start + Duration::from_micros(n as u64 * 500), ..packets[index].clone() })
            .collect();
        let (logs, stats) = replay(&sent);
        assert_whole(&packets, &logs, "mirrored");
        prop_assert_eq!(stats.gap_bytes, 0);
        let unique: usize = packets.iter().map(|packet| packet.payload.len()).sum();
        prop_assert_eq!(stats.delivered_bytes, unique as u64);
        if talk.closes {
            prop_assert_eq!(logs[0].ending.unwrap().why, CloseReason::Finished);
            prop_assert!(BOTH.iter().all(|&direction| logs[0].has_end(direction)));
        }
    }

    /// What was captured is delivered, what was not is a gap, and nothing else is.
    #[test]
    fn gaps_are_exactly_what_was_lost(talk in talks(), seed in any::<u64>(), loss in 1_u64..60) {
        let packets = talk.packets();
        let mut dice = Dice::new(seed);
        let sent: Vec<Packet> = packets
            .iter()
            .filter(|packet| packet.flags & TcpFlags::SYN != 0 || !dice.chance(loss))
            .cloned()
            .collect();
        let (logs, stats) = replay(&sent);
        let mut lost = 0;
        for direction in BOTH {
            let start = talk.isn[direction.index()].wrapping_add(1);
            let have = captured(&sent, direction);
            let Some(log) = logs.first() else {
                prop_assert!(have.is_empty());
                continue;
            };
            let got = log.stream(direction);
            if let Some(first) = log.first(direction) {
                prop_assert_eq!(first as u32, start);
            }
            let mut expected = vec![None; got.len()];
            for (seq, bytes) in have {
                let at = seq.wrapping_sub(start) as usize;
                prop_assert!(at + bytes.len() <= got.len(), "not delivered");
                for (place, byte) in expected[at..].iter_mut().zip(bytes) {
                    *place = Some(byte);
                }
            }
            prop_assert!(got == expected);
            // A FIN that was lost is acknowledged like a byte, and cannot be told from one.
            let is_fin = |packet: &&Packet| packet.direction == direction && packet.flags & TcpFlags::FIN != 0;
            let phantom = usize::from(talk.closes && !sent.iter().any(|packet| is_fin(&packet)));
            prop_assert!(got.len() <= stream(&packets, direction).len() + phantom, "more than was sent");
            lost += got.iter().filter(|byte| byte.is_none()).count();
        }
        prop_assert_eq!(stats.gap_bytes, lost as u64);
    }

    /// Ticks change nothing, nor does the hash's seed, nor do other flows.
    #[test]
    fn ticks_seeds_and_other_flows_do_not_matter(seed in any::<u64>(), loss in 0_u64..30, swaps in 0_u64..60) {
        let mut dice = Dice::new(seed);
        let mut queues: Vec<Vec<Packet>> = (0..4_u16)
            .map(|n| {
                let talk = Talk { port: 1000 + n, seed: seed ^ u64::from(n), turns: 6, closes: n % 2 == 0, ..Talk::default() };
                let mut packets: Vec<Packet> = talk.packets().into_iter().filter(|_| !dice.chance(loss)).collect();
                for at in 1..packets.len() {
                    if dice.chance(swaps) {
                        packets.swap(at - 1, at);
                    }
                }
                if dice.chance(30) {
                    packets.drain(..dice.roll(packets.len() as u64 / 2) as usize);
                }
                if dice.chance(30) && let Some(last) = packets.last_mut() {
                    last.flags = TcpFlags::RST;
                }
                packets.reverse();
                packets
            })
            .collect();
        let mut now = queues[0].last().map_or(decap::Timestamp::ZERO, |packet| packet.at);
        let mut ops = Vec::new();
        while queues.iter().any(|queue| !queue.is_empty()) {
            let micros = [10, 10, 100, 1000, 1000, 5000, 60_000, 199_000, 201_000][dice.roll(9) as usize];
            let micros = if dice.chance(3) { [1_000_000, 6_000_000, 29_000_000, 310_000_000][dice.roll(4) as usize] } else { micros };
            now = now + Duration::from_micros(micros);
            let queue = dice.roll(4) as usize;
            if let Some(packet) = queues[queue].pop() {
                ops.push(Op::Push(Packet { at: now, ..packet }));
            } else {
                ops.push(Op::Wait(now));
            }
        }
        let setup = Setup { limits: Limits { seed, ..Limits::default() }, wants: Vec::new(), is_roomy: true };
        let (never, stats) = run(&setup, &ops, |_| false);
        let never = by_flow(never);
        let (always, stats_always) = run(&setup, &ops, |_| true);
        prop_assert_eq!(&never, &by_flow(always));
        prop_assert_eq!(&stats, &stats_always);
        let other_seed = Setup { limits: Limits::default(), ..setup };
        let (sometimes, stats_sometimes) = run(&other_seed, &ops, |_| dice.chance(20));
        prop_assert_eq!(&never, &by_flow(sometimes));
        prop_assert_eq!(&stats, &stats_sometimes);
        // Alone, each flow gives the same.
        for (flow, logs) in &never {
            let alone: Vec<Op> = ops
                .iter()
                .map(|op| match op {
                    Op::Push(packet) if common::key(packet.port) != *flow => Op::Wait(packet.at),
                    op => op.clone(),
                })
                .collect();
            let (single, _) = run(&other_seed, &alone, |_| false);
            prop_assert_eq!(&single, logs);
        }
    }

    /// Arbitrary steps.
    #[test]
    fn arbitrary_steps_keep_every_invariant(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_bytes(&bytes);
    }
}

/// Inputs of the fuzz target that once broke an invariant.
#[test]
fn arbitrary_steps_that_once_broke_an_invariant() {
    // A tight limit, and a SYN's data behind the SYN.
    let early = [
        0x35, 0xff, 0xff, 0x94, 0x0a, 0xa6, 0x1a, 0x00, 0x01, 0xce, 0xce, 0xce, 0xe7, 0x07, 0xce, 0xa0, 0x92, 0xac,
        0xce, 0x01, 0xce, 0xce, 0xce, 0xce, 0xce, 0xce,
    ];
    check_bytes(&early);
}

/// What fuzzing found worth keeping.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test reads files, not what is tested")]
fn the_seeds_of_the_fuzz_target_keep_every_invariant() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/stream");
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(seeds.len() > 10, "{seeds:?}");
    for seed in seeds {
        check_bytes(&std::fs::read(&seed).unwrap());
    }
}

/// Every pair of neighbours swapped, from the handshake on and picked up anywhere.
#[test]
fn swapped_neighbours_give_the_same_streams() {
    for seed in 1..=3 {
        let all = Talk { seed, turns: 3, longest: 500, ..Talk::default() }.packets();
        for cut in 0..all.len() {
            let packets = &all[cut..];
            for at in 0..packets.len().saturating_sub(1) {
                let (logs, stats) = replay(&swapped(packets, at));
                assert_whole(packets, &logs, &format!("seed {seed}, from {cut}, {at} swapped"));
                assert_eq!(stats.gaps, 0);
            }
        }
    }
}

/// Every pair of neighbours swapped at once.
#[test]
fn all_neighbours_swapped_give_the_same_streams() {
    for seed in 1..=20 {
        let all = Talk { seed, ..Talk::default() }.packets();
        for phase in 0..2 {
            let mut order: Vec<usize> = (0..all.len()).collect();
            order[phase..].chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
            let (logs, stats) = replay(&reorder(&all, &order));
            assert_whole(&all, &logs, &format!("seed {seed}, phase {phase}"));
            assert_eq!((stats.gaps, logs[0].initiator), (0, Some(Direction::Forward)));
            assert_eq!((stats.flows, stats.mid_stream_flows), (1, 0));
        }
    }
}

/// Every packet twice: the same streams, and every copy counted as one.
#[test]
fn copies_give_the_same_streams() {
    for seed in 1..=20 {
        let all = Talk { seed, ..Talk::default() }.packets();
        for cut in 0..all.len() {
            let twice: Vec<Packet> = all[cut..].iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
            let (logs, stats) = replay(&twice);
            assert_whole(&all[cut..], &logs, &format!("seed {seed}, from {cut}"));
            assert_eq!(stats.duplicate_segments, twice.len() as u64 / 2);
            assert_eq!(stats.retransmitted_segments, 0);
        }
    }
}

/// One byte a segment, across the wrap of both sequence numbers.
#[test]
fn sequence_numbers_wrap() {
    let talk = Talk { isn: [u32::MAX - 700, u32::MAX - 5], mss: 1, longest: 800, turns: 4, ..Talk::default() };
    let packets = talk.packets();
    let (logs, _) = replay(&packets);
    assert_whole(&packets, &logs, "wrap");
    let forward = logs[0].stream(Direction::Forward).len() as u64;
    let first = logs[0].first(Direction::Forward).unwrap();
    assert!(first < (first + forward) && (first + forward) >> 32 > first >> 32, "offsets go on beyond the wrap");
    assert_eq!(content(first as u32), logs[0].whole(Direction::Forward)[0]);
}
