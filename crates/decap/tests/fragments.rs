//! IP fragments: any cut, order and repetition gives the same segment; memory and time are bounded; hostile ones harm
//! nobody.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;

use std::time::Duration;

use build::{Packet, WRAPS, endpoints, ip, tcp, wrap};
use decap::{Config, Decapsulator, Frame, SkipReason, Stats, Timestamp, Verdict};
use proptest::prelude::*;

/// What a verdict was, without what it borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Segment(Vec<u8>, u32),
    Held,
    Skipped(SkipReason),
}

fn push(decapsulator: &mut Decapsulator, frame: Frame<'_>) -> Fate {
    let fate = match decapsulator.push(frame) {
        Verdict::Segment(segment) => Fate::Segment(segment.payload.to_vec(), segment.missing),
        Verdict::Held => Fate::Held,
        Verdict::Skipped(reason) => Fate::Skipped(reason),
    };
    assert!(decapsulator.stats().is_balanced());
    assert!(decapsulator.memory() <= decapsulator.config().fragment_memory, "{}", decapsulator.memory());
    fate
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Where fragments start: the words of `cuts` that lie in a payload of `len` bytes.
fn starts(cuts: &[usize], len: usize) -> Vec<usize> {
    let mut starts: Vec<usize> = cuts.iter().map(|word| word * 8).filter(|start| *start < len).collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    starts
}

fn content_len(packet: &Packet) -> usize {
    packet.bytes.len() - if packet.kind == build::Kind::V4 { 20 } else { 40 }
}

const WHOLE: u64 = 1_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_cut_order_and_repetition(
        v6 in any::<bool>(),
        len in 0_usize..900,
        cuts in proptest::collection::vec(0_usize..120, 1..12),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..40),
        wraps in proptest::collection::vec((0..WRAPS, any::<bool>(), any::<u32>()), 0..4),
    ) {
        let payload = payload(len);
        let packet = tcp(v6, &payload);
        let fragments = packet.fragments(0x1234, &starts(&cuts, content_len(&packet)));
        prop_assume!(fragments.len() > 1);
        // Each is wrapped by itself, as a tunnel does with fragments that it is given.
        let fragments: Vec<Packet> = fragments
            .into_iter()
            .map(|packet| wraps.iter().fold(packet, |packet, (choice, v6, number)| wrap(packet, *choice, *v6, *number)))
            .collect();
        let mut decapsulator = Decapsulator::new(Config::default());
        let mut segments = 0;
        // Any of them in any order, then all of them, so that none is missing.
        let order = order.iter().map(|index| index.get(&fragments)).chain(&fragments);
        for (at, fragment) in order.enumerate() {
            match push(&mut decapsulator, fragment.frame(at as u64)) {
                Fate::Segment(bytes, missing) => {
                    segments += 1;
                    prop_assert_eq!(&bytes, &payload);
                    prop_assert_eq!(missing, 0);
                }
                Fate::Held | Fate::Skipped(SkipReason::DuplicateFragment) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert!(segments >= 1);
        decapsulator.finish();
        let stats = decapsulator.stats();
        prop_assert!(stats.is_balanced());
        prop_assert_eq!(stats.held, 0);
        prop_assert_eq!((stats.segments, stats.datagrams), (segments, segments));
    }

    #[test]
    fn fragments_of_fragments(
        inner_cuts in proptest::collection::vec(0_usize..100, 1..6),
        outer_cuts in proptest::collection::vec(0_usize..100, 1..6),
        v6 in any::<bool>(),
    ) {
        let payload = payload(700);
        let inner = tcp(false, &payload);
        let mut decapsulator = Decapsulator::new(Config::default());
        let mut fates = Vec::new();
        for (number, fragment) in inner.fragments(7, &starts(&inner_cuts, content_len(&inner))).into_iter().enumerate() {
            let tunnelled = fragment.in_ethernet(&[]).in_vxlan(v6, 5);
            let cuts = starts(&outer_cuts, content_len(&tunnelled));
            for fragment in tunnelled.fragments(100 + number as u32, &cuts) {
                let fragment = fragment.in_ethernet(&[(0x8100, &[0, 9])]);
                fates.push(push(&mut decapsulator, fragment.frame(0)));
            }
        }
        let last = fates.pop().unwrap();
        prop_assert_eq!(last, Fate::Segment(payload, 0));
        prop_assert!(fates.iter().all(|fate| *fate == Fate::Held));
        prop_assert_eq!(decapsulator.stats().joined, fates.len() as u64);
        prop_assert_eq!(decapsulator.stats().held, 0);
    }

    /// Arbitrary fragments within a tiny budget, ticked or not: balanced, bounded, and the same segments.
    #[test]
    fn ticks_make_no_difference(
        limit in 0_usize..20_000,
        pieces in proptest::collection::vec(
            (0_u32..6, 0_usize..40, 1_usize..30, any::<bool>(), 0_u64..12_000_000_000, any::<bool>(), any::<u8>()),
            1..120,
        ),
    ) {
        let config = Config { fragment_memory: limit, ..Config::default() };
        let (mut ticked, mut plain) = (Decapsulator::new(config.clone()), Decapsulator::new(config));
        let whole = tcp(false, &payload(540));
        let mut now = 0;
        for (id, start, words, damage, pause, v6, byte) in pieces {
            let (start, end) = (start * 8, ((start + words) * 8).min(560));
            if start >= end {
                continue;
            }
            let mut packet = whole.clone();
            if v6 {
                packet = ip(endpoints(true).0, endpoints(true).1, 6, &packet.bytes[20..]);
            }
            if damage {
                let at = packet.bytes.len() - 1 - usize::from(byte);
                packet.bytes[at] ^= byte;
            }
            let mut cuts = vec![0, start, end];
            cuts.retain(|cut| *cut < 560);
            cuts.dedup();
            let fragments = packet.fragments(id, &cuts);
            let fragment = &fragments[usize::from(start > 0)];
            // Now and then time runs backwards.
            now = if byte == 0 { now / 2 } else { now + pause };
            let fates = (push(&mut ticked, fragment.frame(now)), push(&mut plain, fragment.frame(now)));
            prop_assert_eq!(fates.0, fates.1);
            ticked.tick(Timestamp::from_nanos(now));
        }
        ticked.finish();
        plain.finish();
        prop_assert_eq!(ticked.stats(), plain.stats());
        prop_assert!(plain.stats().is_balanced());
        prop_assert_eq!(plain.stats().held, 0);
    }
}

/// A datagram in two fragments.
fn halves(id: u32) -> Vec<Packet> {
    tcp(false, &payload(400)).fragments(id, &[0, 200])
}

fn segment() -> Fate {
    Fate::Segment(payload(400), 0)
}

#[test]
fn the_outer_fragments_of_a_jumbo_mirror() {
    let packet = tcp(false, &payload(1400)).in_ethernet(&[]).in_vxlan(false, 9);
    let mut decapsulator = Decapsulator::new(Config::default());
    let fragments = packet.fragments(5, &[0, 1400]);
    assert_eq!(push(&mut decapsulator, fragments[0].clone().in_ethernet(&[]).frame(0)), Fate::Held);
    let last = fragments[1].clone().in_ethernet(&[]);
    match decapsulator.push(last.frame(9)) {
        Verdict::Segment(segment) => {
            assert_eq!(segment.payload, payload(1400));
            assert_eq!(segment.at, Timestamp::from_nanos(9), "the last fragment's time");
            assert_eq!(segment.path.hops.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    let stats = decapsulator.stats();
    assert_eq!((stats.frames, stats.segments, stats.joined, stats.held, stats.datagrams), (2, 1, 1, 0, 1));
}

#[test]
fn what_a_joined_datagram_carries_is_counted_as_if_it_came_whole() {
    let (source, destination) = endpoints(false);
    let datagram = ip(source, destination, 1, &payload(100));
    let mut decapsulator = Decapsulator::new(Config::default());
    let fragments = datagram.fragments(5, &[0, 48]);
    assert_eq!(push(&mut decapsulator, fragments[1].frame(0)), Fate::Held);
    assert_eq!(push(&mut decapsulator, fragments[0].frame(0)), Fate::Skipped(SkipReason::Icmp));
    assert_eq!((decapsulator.stats().joined, decapsulator.stats().skipped_total()), (1, 1));
}

#[test]
fn a_tcp_header_cut_in_pieces() {
    let packet = tcp(false, b"x");
    let mut decapsulator = Decapsulator::new(Config::default());
    let fragments = packet.fragments(5, &[0, 8, 16, 24, 32]);
    for fragment in &fragments[..4] {
        assert_eq!(push(&mut decapsulator, fragment.frame(0)), Fate::Held);
    }
    assert_eq!(push(&mut decapsulator, fragments[4].frame(0)), Fate::Segment(b"x".to_vec(), 0));
}

#[test]
fn the_first_copy_wins_and_a_contradiction_is_named() {
    let mut decapsulator = Decapsulator::new(Config::default());
    let [first, second] = &halves(5)[..] else { panic!() };
    assert_eq!(push(&mut decapsulator, first.frame(0)), Fate::Held);
    let mut other = first.clone();
    other.bytes[100] ^= 1;
    assert_eq!(push(&mut decapsulator, other.frame(0)), Fate::Skipped(SkipReason::MalformedFragment));
    assert_eq!(push(&mut decapsulator, first.frame(0)), Fate::Skipped(SkipReason::DuplicateFragment));
    assert_eq!(push(&mut decapsulator, second.frame(0)), segment());
}

#[test]
fn new_bytes_of_a_contradicting_fragment_count() {
    let whole = tcp(false, &payload(400));
    let [first, rest] = &whole.fragments(5, &[0, 200])[..] else { panic!() };
    let mut overlapping = whole.fragments(5, &[0, 104])[1].clone();
    overlapping.bytes[20] ^= 1;
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_eq!(push(&mut decapsulator, first.frame(0)), Fate::Held);
    // It overlaps with a difference, and brings all that was missing: first copy wins, and the datagram is whole.
    assert_eq!(push(&mut decapsulator, overlapping.frame(0)), segment());
    let _ = rest;
}

#[test]
fn a_mirror_that_copies_twice() {
    let mut decapsulator = Decapsulator::new(Config::default());
    let [first, second] = &halves(5)[..] else { panic!() };
    let duplicate = Fate::Skipped(SkipReason::DuplicateFragment);
    assert_eq!(push(&mut decapsulator, first.frame(0)), Fate::Held);
    assert_eq!(push(&mut decapsulator, first.frame(0)), duplicate);
    assert_eq!(push(&mut decapsulator, second.frame(WHOLE)), segment());
    assert_eq!(push(&mut decapsulator, second.frame(WHOLE)), duplicate, "it must not wait for the id's next use");
    // Another datagram with the same id, soon after.
    let mut other = tcp(false, &[9; 400]).fragments(5, &[0, 200]);
    assert_eq!(push(&mut decapsulator, other.remove(0).frame(2 * WHOLE)), Fate::Held);
    assert_eq!(push(&mut decapsulator, other.remove(0).frame(2 * WHOLE)), Fate::Segment(vec![9; 400], 0));
}

#[test]
fn ids_are_told_apart_by_network() {
    let mut decapsulator = Decapsulator::new(Config::default());
    let halves = halves(5);
    let within = |half: usize, vni| halves[half].clone().in_ethernet(&[]).in_vxlan(false, vni).in_ethernet(&[]);
    assert_eq!(push(&mut decapsulator, within(0, 1).frame(0)), Fate::Held);
    assert_eq!(push(&mut decapsulator, within(1, 2).frame(0)), Fate::Held);
    assert_eq!(push(&mut decapsulator, within(1, 1).frame(0)), segment());
}

#[test]
fn time_runs_out() {
    let timeout = Duration::from_secs(3);
    let config = Config { fragment_timeout: timeout, ..Config::default() };
    let halves = halves(5);
    let seconds = |seconds: u64| seconds * 1_000_000_000;
    // Noticed when the next fragment comes.
    let mut decapsulator = Decapsulator::new(config.clone());
    assert_eq!(push(&mut decapsulator, halves[0].frame(seconds(10))), Fate::Held);
    assert_eq!(push(&mut decapsulator, halves[1].frame(seconds(14))), Fate::Held);
    assert_eq!(decapsulator.stats().skipped(SkipReason::FragmentTimeout), 1);
    // In time.
    assert_eq!(push(&mut decapsulator, halves[0].frame(seconds(17))), segment());
    // Noticed by a tick.
    let mut decapsulator = Decapsulator::new(config.clone());
    assert_eq!(push(&mut decapsulator, halves[0].frame(seconds(10))), Fate::Held);
    let before = decapsulator.memory();
    decapsulator.tick(Timestamp::from_nanos(seconds(13)));
    assert_eq!(decapsulator.stats().held, 1);
    decapsulator.tick(Timestamp::from_nanos(seconds(13) + 1));
    assert_eq!(decapsulator.stats().held, 0);
    assert_eq!(decapsulator.stats().skipped(SkipReason::FragmentTimeout), 1);
    assert!(decapsulator.memory() < before);
    // Backwards, from one file to the next.
    let mut decapsulator = Decapsulator::new(config);
    assert_eq!(push(&mut decapsulator, halves[0].frame(seconds(100))), Fate::Held);
    assert_eq!(push(&mut decapsulator, halves[1].frame(seconds(10))), Fate::Held);
    assert_eq!(decapsulator.stats().skipped(SkipReason::FragmentTimeout), 1);
}

#[test]
fn the_end_of_input_gives_up_what_waits() {
    let mut decapsulator = Decapsulator::new(Config::default());
    for id in 0..10 {
        assert_eq!(push(&mut decapsulator, halves(id)[0].frame(0)), Fate::Held);
    }
    assert_eq!(decapsulator.stats().held, 10);
    decapsulator.finish();
    assert_eq!(decapsulator.stats().held, 0);
    assert_eq!(decapsulator.stats().skipped(SkipReason::FragmentTimeout), 10);
    assert!(decapsulator.stats().is_balanced());
    // And it can go on.
    assert_eq!(push(&mut decapsulator, halves(3)[0].frame(0)), Fate::Held);
    assert_eq!(push(&mut decapsulator, halves(3)[1].frame(0)), segment());
}

#[test]
fn a_flood_gives_up_the_oldest() {
    let mut decapsulator = Decapsulator::new(Config { fragment_memory: 64 << 10, ..Config::default() });
    let flood = 5_000;
    for id in 0..flood {
        assert_eq!(push(&mut decapsulator, halves(id)[0].frame(0)), Fate::Held);
    }
    let lost = decapsulator.stats().skipped(SkipReason::FragmentMemory);
    assert_eq!(lost + decapsulator.stats().held, u64::from(flood));
    // The newest are still there, the oldest are not.
    assert_eq!(push(&mut decapsulator, halves(flood - 1)[1].frame(0)), segment());
    assert_eq!(push(&mut decapsulator, halves(0)[1].frame(0)), Fate::Held);
}

#[test]
fn budgets_too_small_for_anything() {
    for limit in [0, 1, 500, 1500] {
        let mut decapsulator = Decapsulator::new(Config { fragment_memory: limit, ..Config::default() });
        for id in 0..5 {
            for fragment in halves(id) {
                let fate = push(&mut decapsulator, fragment.frame(0));
                assert!(matches!(fate, Fate::Held | Fate::Skipped(SkipReason::FragmentMemory)), "{fate:?}");
            }
        }
        decapsulator.finish();
        assert_eq!(decapsulator.stats().segments, 0);
        assert!(decapsulator.stats().is_balanced());
    }
}

#[test]
fn the_longest_datagram() {
    let payload = payload(65_535 - 20 - 32);
    let packet = tcp(false, &payload);
    // Beside its bytes, the datagram costs a copy, for the walk.
    let mut decapsulator = Decapsulator::new(Config { fragment_memory: 400 << 10, ..Config::default() });
    let starts: Vec<usize> = (0..content_len(&packet)).step_by(1480).collect();
    let fragments = packet.fragments(5, &starts);
    for fragment in fragments[1..].iter().rev() {
        assert_eq!(push(&mut decapsulator, fragment.frame(0)), Fate::Held);
    }
    assert_eq!(push(&mut decapsulator, fragments[0].frame(0)), Fate::Segment(payload, 0));
}

#[test]
fn impossible_fragments() {
    let refused = Fate::Skipped(SkipReason::MalformedFragment);
    let raw = |field: u16, len: usize| {
        let (source, destination) = endpoints(false);
        let mut packet = ip(source, destination, 6, &vec![0; len]);
        packet.bytes[6..8].copy_from_slice(&field.to_be_bytes());
        packet
    };
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_eq!(push(&mut decapsulator, raw(0x2000, 0).frame(0)), refused, "of no length");
    assert_eq!(push(&mut decapsulator, raw(0x2000, 9).frame(0)), refused, "no multiple of 8, yet not the last");
    assert_eq!(push(&mut decapsulator, raw(0x1fff, 9).frame(0)), refused, "past the longest datagram");
    assert_eq!(push(&mut decapsulator, raw(0x3fff, 8).frame(0)), refused, "past the longest datagram");
    assert_eq!(push(&mut decapsulator, raw(0x0002, 8).frame(0)), Fate::Held, "the last one");
    assert_eq!(push(&mut decapsulator, raw(0x2003, 8).frame(0)), refused, "behind the last one");
    assert_eq!(push(&mut decapsulator, raw(0x0001, 8).frame(0)), refused, "another last one");
    assert_eq!(decapsulator.stats().held, 1);
}

#[test]
fn fragments_that_the_capture_cut() {
    let whole = tcp(false, &payload(400));
    let halves = halves(5);
    let cut = |packet: &Packet, by: usize| packet.bytes[..packet.bytes.len() - by].to_vec();
    let frame = |data, packet: &Packet| Frame { data, ..packet.frame(0) };
    // The last: what is missing is at the end.
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_eq!(push(&mut decapsulator, halves[0].frame(0)), Fate::Held);
    let last = cut(&halves[1], 150);
    let segment = Fate::Segment(payload(400)[..250].to_vec(), 150);
    assert_eq!(push(&mut decapsulator, frame(&last, &halves[1])), segment);
    assert_eq!(decapsulator.stats().missing_bytes, 150);
    // The first: what comes behind the hole is missing with it.
    let mut decapsulator = Decapsulator::new(Config::default());
    assert_eq!(push(&mut decapsulator, halves[1].frame(0)), Fate::Held);
    let first = cut(&halves[0], 100);
    let segment = Fate::Segment(payload(400)[..68].to_vec(), 332);
    assert_eq!(push(&mut decapsulator, frame(&first, &halves[0])), segment);
    assert_eq!(whole.bytes.len(), 20 + 32 + 400);
}

/// A frame may complete a datagram whose content completes another one, and so on; not without end.
#[test]
fn datagrams_within_datagrams_have_a_limit() {
    let mut decapsulator = Decapsulator::new(Config::default());
    let (source, destination) = endpoints(true);
    // The last parts of sixty datagrams are there; each one's first part is a fragment header of the next and what is
    // behind it: one header less, one last part more.
    let header = |id: u32, next: u8, field: u16| [&[next, 0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat();
    for id in 0..60 {
        let last = [header(id, 44, 8 * 59), vec![0; 8]].concat();
        assert_eq!(push(&mut decapsulator, ip(source, destination, 44, &last).frame(0)), Fate::Held, "{id}");
    }
    let mut chain = Vec::new();
    for id in 0..60 {
        chain.extend(header(id, 44, 1));
    }
    let fate = push(&mut decapsulator, ip(source, destination, 44, &chain).frame(0));
    assert_eq!(fate, Fate::Skipped(SkipReason::TooDeep));
    assert_eq!(decapsulator.stats().datagrams, 17);
}

#[test]
fn an_ipv6_fragment_that_is_none_takes_no_part() {
    // RFC 6946: offset 0 and nothing more is a whole packet, whatever else has its id.
    let mut decapsulator = Decapsulator::new(Config::default());
    let packet = tcp(true, &payload(400));
    let fragments = packet.fragments(5, &[0, 200]);
    assert_eq!(push(&mut decapsulator, fragments[0].frame(0)), Fate::Held);
    let atomic = packet.clone().with_extensions(&[(44, vec![0, 0, 0, 0, 0, 0, 0, 5])]);
    assert_eq!(push(&mut decapsulator, atomic.frame(0)), segment());
    assert_eq!(push(&mut decapsulator, fragments[1].frame(0)), segment());
    let expected = Stats { frames: 3, segments: 2, joined: 1, datagrams: 1, ..Stats::default() };
    let stats = Stats { bytes: 0, ..decapsulator.stats().clone() };
    assert_eq!(stats, expected);
}
