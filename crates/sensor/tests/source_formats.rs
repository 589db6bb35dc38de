//! Reading capture files: every format, whole and broken.

mod source_build;

use std::io::Cursor;

use proptest::prelude::*;
use sensor::source::{CaptureReader, Counts, LinkName, OpenError, ReadError, ReadOptions, Warning, WarningKind};
use source_build::{MICRO, MODIFIED, NANO, Ng, Packet, Pcap, gzip, zstd};

const OPTIONS: ReadOptions = ReadOptions { buffer_bytes: 1 << 16, read_ahead: false };

/// What reading a file to its end gives.
#[derive(Debug)]
struct Outcome {
    packets: Vec<Packet>,
    end: Result<(), ReadError>,
    warnings: Vec<Warning>,
    counts: Counts,
}

impl Outcome {
    /// The packets of a file that has nothing wrong with it.
    #[track_caller]
    fn good(self) -> Vec<Packet> {
        assert!(self.end.is_ok(), "{:?}", self.end);
        assert_eq!(self.warnings, []);
        self.packets
    }

    #[track_caller]
    fn corrupt_at(&self, expected: u64) -> &str {
        match &self.end {
            Err(ReadError::Corrupt { offset, reason, .. }) if *offset == expected => reason,
            other => panic!("{other:?}, not corrupt at {expected}"),
        }
    }

    #[track_caller]
    fn cut_at(&self, expected: u64) {
        assert!(self.end.is_ok(), "{:?}", self.end);
        match self.warnings.last().map(|warning| &warning.kind) {
            Some(WarningKind::Cut { offset, .. }) if *offset == expected => {}
            other => panic!("{other:?}, not cut at {expected}"),
        }
    }
}

fn open_with(file: &[u8], options: &ReadOptions) -> Result<CaptureReader, OpenError> {
    CaptureReader::from_read(Box::new(Cursor::new(file.to_vec())), "a.pcap".into(), options)
}

fn try_read_with(file: &[u8], options: &ReadOptions) -> Result<Outcome, OpenError> {
    let mut reader = open_with(file, options)?;
    let mut packets = Vec::new();
    let end = loop {
        match reader.next() {
            Ok(Some(captured)) => packets.push(Packet {
                nanos: captured.frame.at.as_nanos(),
                link: captured.link_number,
                interface: captured.interface,
                wire_len: captured.frame.wire_len,
                data: captured.frame.data.to_vec(),
            }),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // After the end there is nothing more, and nothing new to say about it.
    assert!(matches!(reader.next(), Ok(None)));
    let counts = *reader.counts();
    assert_eq!(counts.frames, packets.len() as u64);
    Ok(Outcome { packets, end, warnings: reader.warnings(), counts })
}

fn try_read(file: &[u8]) -> Result<Outcome, OpenError> {
    try_read_with(file, &OPTIONS)
}

#[track_caller]
fn read(file: &[u8]) -> Outcome {
    try_read(file).unwrap()
}

#[track_caller]
fn refused(file: &[u8]) -> OpenError {
    open_with(file, &OPTIONS).unwrap_err()
}

fn three() -> Vec<Packet> {
    vec![
        Packet::new(1_700_000_000_123_456_000, b"first packet"),
        Packet::new(1_700_000_001_000_000_000, b"").cut_from(1500),
        Packet::new(4_294_967_295_999_999_000, &[7; 1001]).cut_from(9000),
    ]
}

/// All the pcap writers.
fn writers() -> impl Iterator<Item = Pcap> {
    [MICRO, NANO, MODIFIED].into_iter().flat_map(|magic| {
        [false, true].into_iter().map(move |big_endian| Pcap { big_endian, magic, ..Pcap::default() })
    })
}

#[test]
fn pcap_in_all_its_forms() {
    for pcap in writers() {
        assert_eq!(read(&pcap.file(&three())).good(), three(), "{pcap:?}");
        assert_eq!(read(&pcap.header()).good(), [], "{pcap:?}: no packet is no fault");
    }
}

#[test]
fn every_link_type_that_can_be_read() {
    for network in [0, 1, 12, 14, 101, 108, 113, 228, 229, 276] {
        let packets = read(&Pcap { network, ..Pcap::default() }.file(&three())).good();
        assert!(packets.iter().all(|packet| packet.link == network), "{network}");
    }
    // Frame check sequences of four bytes are announced in the upper half of the field.
    let network = 0x2400_0001;
    assert_eq!(read(&Pcap { network, ..Pcap::default() }.file(&three())).good(), three());
}

#[test]
fn another_link_type_is_named() {
    let error = refused(&Pcap { network: 127, ..Pcap::default() }.file(&three()));
    assert!(matches!(error, OpenError::LinkType { link: LinkName(127), .. }));
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.to_string(),
        "a.pcap cannot be read: link type 127 (802.11 plus radiotap header) is not supported; \
         Sensor reads Ethernet, Linux cooked (SLL, SLL2), raw IP, BSD null and BSD loop, PPP, PPPoE, Cisco HDLC and NFLOG"
    );
}

#[test]
fn early_versions_have_the_lengths_the_other_way_round() {
    for (version, lengths) in [((2, 2), (60, 3)), ((2, 3), (60, 3)), ((2, 3), (3, 60)), ((543, 0), (60, 3))] {
        let pcap = Pcap { version, ..Pcap::default() };
        let file = [pcap.header(), pcap.record_with(5_000, lengths, b"abc")].concat();
        assert_eq!(read(&file).good(), [Packet::new(5_000, b"abc").cut_from(60)], "{version:?}");
    }
    for version in [(0, 0), (1, 2), (3, 0)] {
        let error = refused(&Pcap { version, ..Pcap::default() }.header());
        assert!(matches!(error, OpenError::Unsupported { .. }), "{error:?}");
    }
}

#[test]
fn a_wire_length_below_the_captured_one_is_not_believed() {
    let pcap = Pcap::default();
    let file = [pcap.header(), pcap.record_with(0, (3, 1), b"abc")].concat();
    assert_eq!(read(&file).good(), [Packet::new(0, b"abc")]);
}

#[test]
fn pcapng_in_both_orders() {
    for big_endian in [false, true] {
        assert_eq!(read(&Ng { big_endian }.file(&three())).good(), three());
        let ng = Ng { big_endian };
        assert_eq!(read(&ng.section()).good(), [], "a section without anything is no fault");
    }
}

#[test]
fn pcapng_interfaces_have_their_own_link_types_and_clocks() {
    for big_endian in [false, true] {
        let ng = Ng { big_endian };
        let second = 1_700_000_000_u64;
        let file = [
            ng.section(),
            ng.interface(1, 65_535, b""),
            ng.interface_with(113, 9, 0),
            ng.interface_with(101, 0x80 | 20, 0),
            ng.interface_with(276, 3, -10),
            ng.interface_with(228, 0, 3),
            ng.enhanced(0, second * 1_000_000 + 1, 3, b"abc", b""),
            ng.enhanced(1, second * 1_000_000_000 + 2, 3, b"abc", b""),
            ng.enhanced(2, (second << 20) + (1 << 19), 3, b"abc", b""),
            ng.enhanced(3, second * 1_000 + 7, 3, b"abc", b""),
            ng.enhanced(4, second, 3, b"abc", b""),
        ]
        .concat();
        let nanos = second * 1_000_000_000;
        let expected = [
            (1, nanos + 1_000),
            (113, nanos + 2),
            (101, nanos + 500_000_000),
            (276, nanos - 9_993_000_000),
            (228, nanos + 3_000_000_000),
        ];
        let packets = read(&file).good();
        assert_eq!(packets.len(), expected.len());
        for (interface, (packet, (link, nanos))) in packets.iter().zip(expected).enumerate() {
            let expected = Packet { link, interface: interface as u32, ..Packet::new(nanos, b"abc") };
            assert_eq!(*packet, expected, "big-endian: {big_endian}");
        }
    }
}

#[test]
fn pcapng_sections_start_anew_in_their_own_order() {
    let (little, big) = (Ng { big_endian: false }, Ng { big_endian: true });
    let file = [
        little.section(),
        little.interface_with(1, 9, 0),
        little.interface_with(1, 9, 0),
        little.enhanced(1, 1, 3, b"abc", b""),
        big.section(),
        big.interface_with(101, 9, 0),
        big.enhanced(0, 2, 3, b"def", b""),
        little.section(),
        little.enhanced(0, 3, 3, b"ghi", b""),
    ];
    let end = file[..8].concat().len() as u64;
    let outcome = read(&file.concat());
    assert_eq!(
        outcome.packets,
        [
            Packet { interface: 1, ..Packet::new(1, b"abc") },
            Packet { interface: 2, link: 101, ..Packet::new(2, b"def") }
        ]
    );
    assert_eq!(outcome.corrupt_at(end), "a packet of interface 0, of which the file declares 0");
}

#[test]
fn pcapng_packets_of_all_three_kinds() {
    for big_endian in [false, true] {
        let ng = Ng { big_endian };
        let file = [
            ng.section(),
            ng.interface(1, 96, b""),
            ng.simple(3, b"abc"),
            ng.old(0, 0xffff, 5, 60, b"abcde"),
            ng.simple(1500, &[1; 96]),
            ng.enhanced(0, 6, 3, b"abc", &ng.option(2, &[0; 4])),
            ng.simple(60, &[2; 60]),
        ];
        let expected = [
            Packet::new(0, b"abc"),
            Packet::new(5_000, b"abcde").cut_from(60),
            // A simple packet has no time: that of the packet before it is the nearest there is.
            Packet::new(5_000, &[1; 96]).cut_from(1500),
            Packet::new(6_000, b"abc"),
            Packet::new(6_000, &[2; 60]),
        ];
        assert_eq!(read(&file.concat()).good(), expected);
    }
}

#[test]
fn pcapng_blocks_of_other_kinds_are_stepped_over() {
    let ng = Ng::default();
    let mut file = [ng.section(), ng.interface_with(1, 9, 0)].concat();
    for kind in [4, 9, 10, 0xbad, 0x4000_0bad, 0x8000_0001] {
        file.extend(ng.block(kind, &[3; 1001]));
    }
    let unknown = file.len() as u64;
    file.extend(ng.block(0x7777, &[3; 100_001]));
    file.extend(ng.block(0x7777, b""));
    file.extend(ng.enhanced(0, 1, 3, b"abc", b""));
    let outcome = read(&file);
    assert_eq!(outcome.packets, [Packet::new(1, b"abc")]);
    assert!(outcome.end.is_ok());
    assert_eq!(outcome.counts.unknown_blocks, 2);
    let kind = WarningKind::UnknownBlock { block: 0x7777, offset: unknown };
    assert_eq!(outcome.warnings, [Warning { name: "a.pcap".into(), kind }]);
}

#[test]
fn pcapng_interfaces_that_cannot_be_read_are_left_out_and_counted() {
    let ng = Ng::default();
    let head = [ng.section(), ng.interface_with(127, 9, 0), ng.interface_with(1, 9, 0)].concat();
    let radio = ng.enhanced(0, 1, 3, b"abc", b"");
    let file = [&head[..], &radio, &ng.enhanced(1, 2, 3, b"abc", b""), &radio].concat();
    let outcome = read(&file);
    assert!(outcome.end.is_ok());
    assert_eq!(outcome.packets, [Packet { interface: 1, ..Packet::new(2, b"abc") }]);
    assert_eq!(outcome.counts.unsupported, 2);
    assert_eq!(
        outcome.warnings.iter().map(Warning::to_string).collect::<Vec<_>>(),
        [
            "a.pcap: packets of interface 0 are left out: its link type 127 (802.11 plus radiotap header) is not supported"
        ]
    );

    let outcome = read(&[&head[..], &radio, &radio].concat());
    let error = outcome.end.unwrap_err();
    assert!(matches!(error, ReadError::LinkType { link: LinkName(127), packets: 2, .. }));
    assert!(error.to_string().starts_with("a.pcap cannot be read: all its 2 packets have link type 127 (802.11"));
    assert_eq!(read(&head).good(), [], "an interface that captured nothing is no fault");
}

#[test]
fn pcapng_drops_are_counted_once() {
    for big_endian in [false, true] {
        let ng = Ng { big_endian };
        let drops = |count: u64| ng.option(5, &ng.u64(count));
        let file = [
            ng.section(),
            ng.interface_with(1, 9, 0),
            ng.interface_with(1, 9, 0),
            ng.enhanced(0, 1, 3, b"abc", &ng.option(4, &ng.u64(3))),
            ng.old(1, 2, 1, 3, b"abc"),
            ng.old(1, 3, 1, 3, b"abc"),
            // Statistics count from the start, and include what the packets said.
            ng.statistics(0, &drops(2)),
            ng.statistics(0, &[drops(10), ng.option(7, &ng.u64(4))].concat()),
            ng.statistics(0, &drops(10)),
            ng.statistics(9, &drops(1_000)),
            ng.section(),
            ng.interface_with(1, 9, 0),
            ng.statistics(0, &drops(100)),
        ];
        let counts = read(&file.concat()).counts;
        assert_eq!((counts.interface_drops, counts.system_drops), (10 + 5 + 100, 4));
    }
}

#[test]
fn compressed_files_are_told_by_their_content() {
    let packets = three();
    let plain = Ng::default().file(&packets);
    let (head, tail) = plain.split_at(200);
    for file in [gzip(&plain), zstd(&plain), [gzip(head), gzip(tail)].concat(), [zstd(head), zstd(tail)].concat()] {
        for read_ahead in [false, true] {
            let options = ReadOptions { read_ahead, ..OPTIONS };
            assert_eq!(try_read_with(&file, &options).unwrap().good(), packets);
        }
    }
    let twice = refused(&gzip(&zstd(&plain)));
    assert!(matches!(twice, OpenError::Unsupported { format: "compressed more than once", .. }));
}

#[test]
fn what_is_no_capture_is_told() {
    assert!(matches!(refused(b""), OpenError::Empty { .. }));
    assert!(matches!(refused(&gzip(b"")), OpenError::Empty { .. }));
    let error = refused(b"<!DOCTYPE html>");
    assert_eq!(
        error.to_string(),
        "a.pcap is not a capture file: it starts with '<!DOCTYP', and neither pcap nor pcapng does"
    );
    assert!(refused(b"\xff").to_string().contains("the bytes ff,"));
    let error = refused(b"BZh91AY&SY...");
    assert_eq!(error.to_string(), "a.pcap is compressed with bzip2, which is not supported");
    assert!(error.hint().unwrap().contains("decompress"));
    assert!(matches!(refused(&zstd(b"hello there")), OpenError::NotACapture { .. }));
    for error in [refused(b""), refused(b"hello"), refused(b"PK\x03\x04")] {
        assert_eq!(error.exit_code(), 1);
    }
}

/// Where the records of a file end, the header counted as one.
fn ends(parts: &[Vec<u8>]) -> Vec<usize> {
    parts
        .iter()
        .scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        })
        .collect()
}

/// A file cut anywhere gives the packets before the cut; inside a record it says so, between two it cannot know.
fn cut_everywhere(head: usize, parts: &[Vec<u8>], packets: &[Packet]) {
    let file = parts.concat();
    let ends = ends(parts);
    for cut in 0..=file.len() {
        let outcome = match try_read_with(&file[..cut], &ReadOptions { buffer_bytes: 64, read_ahead: false }) {
            Ok(outcome) => outcome,
            Err(error) => {
                assert!(cut < head, "{cut}: {error}");
                assert!(
                    matches!(
                        error,
                        OpenError::Empty { .. } | OpenError::NotACapture { .. } | OpenError::CutHeader { .. }
                    ),
                    "{error:?}"
                );
                continue;
            }
        };
        assert!(cut >= head, "{cut}");
        let whole = ends.iter().take_while(|&&end| end <= cut).count();
        // Every part behind the head is a packet's.
        let first = parts.len() - packets.len();
        assert_eq!(outcome.packets, packets[..whole.saturating_sub(first)], "{cut}");
        match ends[..whole].last() {
            Some(&end) if end == cut => assert_eq!(outcome.good().len(), whole.saturating_sub(first)),
            end => outcome.cut_at(end.map_or(0, |&end| end as u64)),
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_all_before() {
    let packets = three();
    for pcap in writers() {
        let mut parts = vec![pcap.header()];
        parts.extend(packets.iter().map(|packet| pcap.record(packet)));
        cut_everywhere(24, &parts, &packets);
    }
    for big_endian in [false, true] {
        let ng = Ng { big_endian };
        let mut parts = vec![ng.section(), ng.interface_with(1, 9, 0)];
        parts.extend(packets.iter().map(|p| ng.enhanced(0, p.nanos, p.wire_len, &p.data, &ng.option(1, b"a remark"))));
        cut_everywhere(28, &parts, &packets);
    }
}

#[test]
fn a_compressed_file_cut_anywhere_gives_a_prefix_and_a_warning() {
    let packets: Vec<_> = (0..40_u64).map(|n| Packet::new(n * 1_000, &n.wrapping_pow(7).to_le_bytes())).collect();
    for plain in [Pcap::default().file(&packets), Ng::default().file(&packets)] {
        for file in [gzip(&plain), zstd(&plain)] {
            for cut in 1..file.len() {
                let Ok(outcome) = try_read(&file[..cut]) else { continue };
                assert!(packets.starts_with(&outcome.packets));
                assert!(outcome.end.is_ok(), "{cut}: {:?}", outcome.end);
                assert!(matches!(outcome.warnings[..], [Warning { kind: WarningKind::Cut { .. }, .. }]), "{cut}");
            }
        }
    }
}

#[test]
fn damaged_compressed_data_is_corruption() {
    let packets: Vec<_> = (0..2_000_u64).map(|n| Packet::new(n * 1_000, &n.wrapping_pow(7).to_le_bytes())).collect();
    let plain = Pcap::default().file(&packets);
    for mut file in [gzip(&plain), zstd(&plain)] {
        // The checksum at the end: everything is read, and then it turns out not to be what was written.
        let checksum = file.len() - if file[0] == 0x1f { 8 } else { 4 };
        file[checksum] ^= 0x10;
        for read_ahead in [false, true] {
            let outcome = try_read_with(&file, &ReadOptions { read_ahead, ..OPTIONS }).unwrap();
            assert_eq!(outcome.packets, packets);
            let reason = outcome.corrupt_at(plain.len() as u64);
            assert!(reason.contains("is corrupt"), "{reason}");
        }
    }
}

/// Found by fuzzing: how much came before the damage depended on the size of the buffer that was read into, because a
/// failing call of the decompressor kept what it had decompressed.
#[test]
fn all_before_damage_in_compressed_data_is_given_whatever_the_buffer() {
    let packets: Vec<_> = (1..60_000_u64).map(|n| Packet::new(n * 1_000, &n.wrapping_pow(7).to_le_bytes())).collect();
    let plain = Pcap::default().file(&packets);
    for mut file in [gzip(&plain), zstd(&plain)] {
        // A stretch of nonsense close to the end.
        let at = file.len() - 50_000;
        file[at..at + 40].fill(0xff);
        let small = try_read_with(&file, &ReadOptions { buffer_bytes: 64, read_ahead: false }).unwrap();
        for (buffer_bytes, read_ahead) in [(1 << 12, false), (1 << 24, false), (1 << 16, true)] {
            let outcome = try_read_with(&file, &ReadOptions { buffer_bytes, read_ahead }).unwrap();
            assert_eq!(outcome.packets.len(), small.packets.len());
            assert_eq!(outcome.end.unwrap_err().to_string(), small.end.as_ref().unwrap_err().to_string());
        }
        let good = packets.iter().zip(&small.packets).take_while(|(ours, theirs)| ours == theirs).count();
        assert!(good > packets.len() / 2, "{good} of {}", packets.len());
    }
}

#[test]
fn impossible_pcap_records_are_corruption() {
    let pcap = Pcap { snaplen: 65_535, ..Pcap::default() };
    let good = pcap.file(&three());
    let at = good.len() as u64;
    let after = |tail: &[u8]| {
        let outcome = read(&[&good[..], tail].concat());
        assert_eq!(outcome.packets, three());
        outcome
    };
    let rest = pcap.file(&three());
    let with = |record: Vec<u8>| [record, rest.clone()].concat();
    let reason = |outcome: Outcome| outcome.corrupt_at(at).to_owned();
    assert!(reason(after(&with(pcap.record_with(0, (u32::MAX, u32::MAX), b"")))).contains("4294967295"));
    assert!(reason(after(&with(pcap.record_with(0, (262_145, 262_145), b"")))).contains("262145"));
    assert!(reason(after(&[0; 64])).contains("zeros"));
    // Possible anywhere but at the end, where it is not what this writer wrote.
    assert!(reason(after(&with(pcap.record_with(0, (70_000, 70_000), b"")))).contains("70000"));
    assert!(reason(after(&with(pcap.record_with(0, (60_000, 1_500), b"")))).contains("60000"));
    after(&with(pcap.record_with(0, (60_000, 60_000), b""))).cut_at(at);
    let large = Packet::new(0, &vec![1; 70_000]);
    assert_eq!(read(&[&good[..], &pcap.record(&large)].concat()).good().last(), Some(&large));
}

#[test]
fn a_snapshot_length_allows_large_packets_within_reason() {
    let pcap = Pcap { snaplen: u32::MAX, ..Pcap::default() };
    let large = Packet::new(0, &vec![1; 5_000_000]);
    assert_eq!(read(&pcap.file(&[large.clone(), large.clone()])).good(), [large.clone(), large]);
    let file = [pcap.header(), pcap.record_with(0, (16_777_217, 16_777_217), &[0; 1000])].concat();
    read(&file).corrupt_at(24);
    let Pcap { snaplen, .. } = Pcap { snaplen: 0, ..pcap };
    let file = [Pcap { snaplen, ..pcap }.header(), pcap.record_with(0, (262_145, 262_145), &[0; 1000])].concat();
    read(&file).corrupt_at(24);
}

#[test]
fn impossible_pcapng_blocks_are_corruption() {
    let ng = Ng::default();
    let good = ng.file(&three());
    let at = good.len() as u64;
    let block = ng.enhanced(0, 1, 3, b"abc", b"");
    let changed = |at: usize, to: u32| {
        let mut block = block.clone();
        block[at..at + 4].copy_from_slice(&ng.u32(to));
        block
    };
    let end = block.len() - 4;
    for (tail, reason) in [
        (changed(4, 0), "claims 0 bytes"),
        (changed(4, 35), "claims 35 bytes"),
        (changed(4, 0x0100_0004), "claims 16777220 bytes"),
        (changed(end, 40), "claims 36 bytes, but the number does not stand again"),
        (changed(8, 1), "a packet of interface 1, of which the file declares 1"),
        (changed(20, 5), "a packet of 5 bytes in a block of 36"),
        (changed(20, u32::MAX), "a packet of 4294967295 bytes in a block of 36"),
        (ng.block(6, &[0; 16]), "an enhanced packet block of 28 bytes"),
        (ng.block(2, &[0; 16]), "a packet block of 28 bytes"),
        (ng.block(3, b""), "a simple packet block of 12 bytes"),
        (ng.block(1, &[0; 4]), "an interface description of 16 bytes"),
        (ng.block(5, &[0; 8]), "interface statistics of 20 bytes"),
        (ng.block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a]), "a section header of 16 bytes"),
        (ng.block(0x0a0d_0d0a, &[9; 16]), "a section header without a byte-order mark"),
    ] {
        let file = [&good[..], &tail, &good].concat();
        let outcome = read(&file);
        assert_eq!(outcome.packets, three());
        assert!(outcome.corrupt_at(at).contains(reason), "{:?}, not {reason}", outcome.end);
    }
}

#[test]
fn a_last_block_that_contradicts_itself_was_not_cut() {
    let ng = Ng::default();
    let good = ng.file(&three());
    let mut block = ng.enhanced(0, 1, 3, b"abc", b"");
    block[4..8].copy_from_slice(&ng.u32(4_000_000));
    let outcome = read(&[&good[..], &block].concat());
    assert!(outcome.corrupt_at(good.len() as u64).contains("a packet of 3 bytes in a block that claims 4000000"));
}

#[test]
fn a_section_of_an_unknown_version_is_not_read() {
    let mut file = Ng::default().file(&three());
    file[12] = 2;
    assert_eq!(read(&file).corrupt_at(0), "a section of pcapng version 2.0; version 1 is supported");
}

#[test]
fn options_that_cannot_be_read_do_not_matter() {
    let ng = Ng::default();
    let bad = [&ng.u16(2)[..], &ng.u16(60_000), b"abcd"].concat();
    let file = [ng.section(), ng.interface(1, 0, &bad), ng.enhanced(0, 1, 3, b"abc", &bad)].concat();
    assert_eq!(read(&file).good(), [Packet::new(1_000, b"abc")]);
}

#[test]
fn progress_counts_what_was_taken_of_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.txt");
    let file = gzip(&Pcap::default().file(&three()));
    std::fs::write(&path, &file).unwrap();
    let input = sensor::source::Input::File(path.clone());
    let mut reader = CaptureReader::open(&input, &ReadOptions::default()).unwrap();
    assert_eq!(reader.name(), path.display().to_string());
    while reader.next().unwrap().is_some() {}
    let progress = reader.progress();
    assert_eq!((progress.read_bytes, progress.total_bytes), (file.len() as u64, Some(file.len() as u64)));
}

fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        (0_usize..3_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let packet = (0..4_294_967_296_000_000_u64, data, 0_u32..2_000).prop_map(|(micros, data, cut)| {
        let packet = Packet::new(micros * 1_000, &data);
        let wire_len = packet.wire_len + cut;
        packet.cut_from(wire_len)
    });
    // A record of nothing but zeros is not a packet.
    let packet = packet.prop_filter("all zero", |p| p.nanos > 0 || p.wire_len > 0);
    prop::collection::vec(packet, 0..30)
}

/// The same file, as `pcap-parser` reads it: interface, captured length, wire length, data.
fn second_opinion(file: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader, traits::PcapNGPacketBlock};
    let mut reader = create_reader(1 << 20, Cursor::new(file.to_vec())).unwrap();
    let mut packets = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::Legacy(p) => packets.push((0, p.origlen, p.data.to_vec())),
                    PcapBlockOwned::NG(Block::EnhancedPacket(p)) => {
                        packets.push((p.if_id, p.origlen, p.packet_data().to_vec()));
                    }
                    _ => {}
                }
                reader.consume(offset);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(PcapError::Eof) => return packets,
            Err(error) => panic!("{error:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(
        packets in packets(), big_endian: bool, magic in prop::sample::select(vec![MICRO, NANO, MODIFIED]),
        buffer_bytes in 1_usize..5_000,
    ) {
        let options = ReadOptions { buffer_bytes, read_ahead: false };
        let file = Pcap { big_endian, magic, ..Pcap::default() }.file(&packets);
        prop_assert_eq!(&try_read_with(&file, &options).unwrap().good(), &packets);
        let ng = Ng { big_endian }.file(&packets);
        prop_assert_eq!(&try_read_with(&ng, &options).unwrap().good(), &packets);

        let ours: Vec<_> = packets.iter().map(|p| (p.interface, p.wire_len, p.data.clone())).collect();
        // It does not know the modified format in both orders.
        if magic != MODIFIED {
            prop_assert_eq!(&second_opinion(&file), &ours);
        }
        prop_assert_eq!(&second_opinion(&ng), &ours);
    }

    #[test]
    fn libpcap_reads_the_same(packets in packets(), big_endian: bool, nano: bool, ng: bool) {
        let file = if ng {
            Ng { big_endian }.file(&packets)
        } else {
            Pcap { big_endian, magic: if nano { NANO } else { MICRO }, ..Pcap::default() }.file(&packets)
        };
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), &file).unwrap();
        let mut theirs = pcap::Capture::from_file_with_precision(path.path(), pcap::Precision::Nano).unwrap();
        for ours in read(&file).good() {
            let packet = theirs.next_packet().unwrap();
            let seconds = u64::from(packet.header.ts.tv_sec as u32);
            let nanos = seconds * 1_000_000_000 + packet.header.ts.tv_usec as u64;
            prop_assert_eq!((nanos, packet.header.len, packet.data), (ours.nanos, ours.wire_len, &ours.data[..]));
        }
        prop_assert_eq!(theirs.next_packet().unwrap_err(), pcap::Error::NoMorePackets);
    }

    #[test]
    fn damage_never_panics_and_spares_what_is_before_it(
        packets in packets(), big_endian: bool, kind in 0..4_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        buffer_bytes in 1_usize..2_000,
    ) {
        let plain = if kind % 2 == 0 {
            Pcap { big_endian, ..Pcap::default() }.file(&packets)
        } else {
            Ng { big_endian }.file(&packets)
        };
        let mut file = if kind < 2 { plain } else { zstd(&gzip(&plain)[..]) };
        let mut first = file.len();
        for (at, byte) in damage {
            let at = at.index(file.len());
            first = first.min(at);
            file[at] = byte;
        }
        if let Ok(outcome) = try_read_with(&file, &ReadOptions { buffer_bytes, read_ahead: false }) {
            let head = if kind % 2 == 0 { 24 } else { Ng { big_endian }.file(&[]).len() };
            let (mut good, mut end) = (0, head);
            for packet in &packets {
                end += if kind % 2 == 0 { 16 + packet.data.len() } else { 32 + packet.data.len().next_multiple_of(4) };
                good += usize::from(end <= first);
            }
            if kind < 2 && first >= head {
                prop_assert!(outcome.packets.len() >= good, "{} of {good}", outcome.packets.len());
                prop_assert_eq!(&outcome.packets[..good], &packets[..good]);
            }
        }
    }
}

/// Writes the seeds of the fuzz target: run by hand, `cargo test -p sensor --test source_formats -- --ignored seeds`.
#[test]
#[ignore = "writes into fuzz/corpus/capture"]
fn seeds() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/capture");
    let packets = [Packet::new(1_700_000_000_123_456_000, b"abc"), Packet::new(5_000, &[1; 40]).cut_from(60)];
    let (ng, big) = (Ng::default(), Ng { big_endian: true });
    let every_block = |ng: &Ng| {
        [
            ng.section(),
            ng.interface_with(1, 9, -3),
            ng.interface_with(113, 0x80 | 20, 0),
            ng.enhanced(0, 5, 60, b"abcde", &ng.option(4, &ng.u64(3))),
            ng.simple(60, b"abcd"),
            ng.old(1, 2, 7, 3, b"abc"),
            ng.block(0x7777, b"unknown"),
            ng.statistics(0, &[ng.option(5, &ng.u64(9)), ng.option(7, &ng.u64(2))].concat()),
        ]
        .concat()
    };
    let mut seeds = vec![
        ("pcapng-little", every_block(&ng)),
        ("pcapng-big", every_block(&big)),
        ("pcapng-sections", [every_block(&ng), every_block(&big)].concat()),
        ("pcapng-gzip", gzip(&ng.file(&packets))),
        ("pcapng-zstd", zstd(&ng.file(&packets))),
    ];
    for (name, pcap) in
        ["micro", "micro-big", "nano", "nano-big", "modified", "modified-big"].into_iter().zip(writers())
    {
        seeds.push((name, pcap.file(&packets)));
    }
    for (name, content) in seeds {
        std::fs::write(folder.join(name), content).unwrap();
    }
}
