//! Any frames: no panic, the ledger's line adds up, fragments stay within their memory, ticks make no difference.
//!
//! The input: a byte of settings; then frames, each as link type, bytes cut by the capture, pause in units of 50 ms,
//! length (two bytes), content.

#![no_main]

use core::time::Duration;

use decap::{Config, Decapsulator, Frame, LinkType, Timestamp, Verdict};
use libfuzzer_sys::fuzz_target;

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

fn config(settings: u8) -> Config {
    Config {
        max_depth: usize::from(settings & 3) * 5,
        separate_vlans: settings & 4 != 0,
        separate_virtual_networks: settings & 8 == 0,
        fragment_memory: if settings & 16 != 0 { 8 << 10 } else { 1 << 20 },
        fragment_timeout: Duration::from_secs(2),
        ..Config::default()
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((settings, mut rest)) = input.split_first() else {
        return;
    };
    let mut plain = Decapsulator::new(config(*settings));
    let mut ticked = Decapsulator::new(config(*settings));
    let mut at = Timestamp::ZERO;
    while let Some(([link, cut, pause, high, low], content)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(content.len());
        let (data, after) = content.split_at(len);
        rest = after;
        at = at + Duration::from_millis(u64::from(*pause) * 50);
        let link = LINKS[usize::from(*link) % LINKS.len()];
        let frame = Frame { at, link, data, wire_len: len as u32 + u32::from(*cut) };
        ticked.tick(at);
        match (plain.push(frame), ticked.push(frame)) {
            (Verdict::Segment(one), Verdict::Segment(other)) => {
                assert_eq!((one.payload, one.missing, one.key), (other.payload, other.missing, other.key));
                assert!(one.payload.len() + one.missing as usize <= 66_000);
                assert!(one.path.hops.len() <= plain_depth(*settings));
            }
            (Verdict::Held, Verdict::Held) => {}
            (Verdict::Skipped(one), Verdict::Skipped(other)) => assert_eq!(one, other),
            (one, other) => panic!("{one:?} {other:?}"),
        }
        for decapsulator in [&plain, &ticked] {
            assert!(decapsulator.stats().is_balanced());
            assert!(decapsulator.memory() <= decapsulator.config().fragment_memory);
        }
    }
    plain.finish();
    ticked.finish();
    assert_eq!(plain.stats(), ticked.stats());
    assert!(plain.stats().is_balanced());
    assert_eq!(plain.stats().held, 0);
});

fn plain_depth(settings: u8) -> usize {
    config(settings).max_depth
}
