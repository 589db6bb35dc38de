//! Any bytes: no panic, the ledger's line adds up, memory stays within its limit.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;

use build::{WRAPS, frame, tcp, wrap};
use decap::{Config, Decapsulator, Frame, LinkType, Timestamp, Verdict};
use proptest::prelude::*;

const LINKS: [LinkType; 11] = [
    LinkType::Ethernet,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::RawIp,
    LinkType::RawIpv4,
    LinkType::RawIpv6,
    LinkType::BsdNull,
    LinkType::BsdLoop,
    LinkType::Ppp,
    LinkType::PppEther,
    LinkType::Nflog,
];

fn push(decapsulator: &mut Decapsulator, frame: Frame<'_>) -> bool {
    let is_segment = match decapsulator.push(frame) {
        Verdict::Segment(segment) => {
            let most = frame.wire_len.max(frame.data.len() as u32).max(65_535);
            assert!(segment.payload.len() as u64 + u64::from(segment.missing) <= u64::from(most));
            true
        }
        Verdict::Held | Verdict::Skipped(_) => false,
    };
    assert!(decapsulator.stats().is_balanced());
    assert!(decapsulator.memory() <= decapsulator.config().fragment_memory);
    is_segment
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes(
        frames in proptest::collection::vec(
            (0..LINKS.len(), proptest::collection::vec(any::<u8>(), 0..200), any::<u32>(), any::<u64>()),
            1..8,
        ),
        memory in 0_usize..30_000,
    ) {
        let mut decapsulator = Decapsulator::new(Config { fragment_memory: memory, ..Config::default() });
        for (link, data, wire_len, nanos) in &frames {
            let at = Timestamp::from_nanos(*nanos);
            push(&mut decapsulator, Frame { at, link: LINKS[*link], data, wire_len: *wire_len });
        }
        decapsulator.finish();
        prop_assert!(decapsulator.stats().is_balanced());
        prop_assert_eq!(decapsulator.stats().held, 0);
    }

    #[test]
    fn damaged_frames(
        v6 in any::<bool>(),
        wraps in proptest::collection::vec((0..WRAPS, any::<bool>(), any::<u32>()), 0..6),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        memory in 0_usize..30_000,
    ) {
        let packet = wraps
            .iter()
            .fold(tcp(v6, &[7; 40]), |packet, (choice, v6, number)| wrap(packet, *choice, *v6, *number));
        let mut decapsulator = Decapsulator::new(Config { fragment_memory: memory, ..Config::default() });
        let mut bytes = packet.bytes.clone();
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
            push(&mut decapsulator, frame(packet.link(), &bytes, 0));
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            push(&mut decapsulator, frame(packet.link(), &bytes, 0));
        }
        decapsulator.finish();
        prop_assert!(decapsulator.stats().is_balanced());
    }
}

/// Long chains of headers that cost a frame little: the time is that of the bytes, and there is an end.
#[test]
fn long_chains() {
    let mut decapsulator = Decapsulator::new(Config::default());
    let ethernet = |number: [u8; 2], unit: &[u8]| [&[2; 12][..], &number, &unit.repeat(64_000 / unit.len())].concat();
    for (number, unit) in [
        ([0x81, 0x00], &[0, 1, 0x81, 0x00][..]),
        ([0x88, 0x47], &[0, 1, 0x20, 64]),
        ([0x89, 0x03], &[0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0x89, 0x03]),
        ([0x89, 0x88], &[0, 0, 0, 0, 0, 0, 0x89, 0x88]),
    ] {
        assert!(!push(&mut decapsulator, frame(LinkType::Ethernet, &ethernet(number, unit), 0)));
    }
    let (source, destination) = build::endpoints(true);
    for unit in [[60, 0, 1, 4, 0, 0, 0, 0], [44, 0, 0, 0, 0, 0, 0, 7], [43, 0, 4, 0, 0, 0, 0, 0]] {
        let packet = build::ip(source, destination, unit[0], &unit.repeat(8_000));
        assert!(!push(&mut decapsulator, packet.frame(0)));
    }
    let packet = build::ip(source, destination, 41, &[0x60; 60_000]);
    assert!(!push(&mut decapsulator, packet.frame(0)));
}
