//! One capture in every guise a file can have, broken files, closed pipes, signals: the program itself, on real traffic.

mod e2e_support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use decap::LinkType;
use e2e_support::{
    Replayed, Run, add_up, assert_same, ledger_of, packets_of, records, run, run_well, run_with_stdin, write_file,
};
use fixtures::capture::{Format, gzip, write, zstd};
use fixtures::{Packet, Wire, captures, conversation, faults};

fn packets(name: &str) -> Vec<Packet> {
    packets_of(captures().iter().find(|capture| capture.name == name).unwrap())
}

/// A capture whose time stamps end at microseconds, so that every format keeps them.
fn usual() -> Vec<Packet> {
    packets("nginx-keep-alive")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lines(replayed: &Replayed) -> Vec<String> {
    let text = String::from_utf8(replayed.lines.clone()).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_format_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let packets = usual();
    let expected = run_well(&write_file(folder.path(), "plain.pcap", &packets, Format::PCAP), &[]);
    assert_eq!(expected.records.len(), 28);
    for (number, format) in Format::ALL.iter().enumerate() {
        let found = run_well(&write_file(folder.path(), &format!("{number}"), &packets, *format), &[]);
        match format {
            // Binary fractions of a second are not whole microseconds.
            Format::Pcapng { resolution: Some(resolution), .. } if resolution & 0x80 != 0 => {
                assert_eq!(found.said(), expected.said(), "{format:?}");
                assert_eq!(found.ledger, expected.ledger, "{format:?}");
            }
            _ => {
                assert_eq!(found.lines, expected.lines, "{format:?}");
                assert_eq!(found.ledger, expected.ledger, "{format:?}");
            }
        }
    }
}

#[test]
fn nanoseconds_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let packets = packets("nginx-connections");
    let expected = run_well(&write_file(folder.path(), "a", &packets, Format::PCAP_NANOS), &[]);
    assert!(expected.records.iter().any(|record| !record["time"].as_str().unwrap().ends_with("000Z")));
    for (name, format) in [("b", Format::PCAPNG), ("c", Format::Pcap { nanos: true, big_endian: true })] {
        assert_eq!(
            run_well(&write_file(folder.path(), name, &packets, format), &[]).lines,
            expected.lines,
            "{format:?}"
        );
    }
}

/// Without time stamps everything else is the same.
#[test]
fn simple_packet_blocks() {
    let folder = tempfile::tempdir().unwrap();
    for big_endian in [false, true] {
        let format = Format::Pcapng { big_endian, resolution: None, simple: true };
        let found = run_well(&write_file(folder.path(), "simple.pcapng", &usual(), format), &[]);
        let expected = run_well(&write_file(folder.path(), "plain.pcap", &usual(), Format::PCAP), &[]);
        assert_eq!(found.said(), expected.said());
    }
}

/// Each packet under another link type, on an interface of its own.
#[test]
fn several_interfaces_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let links = [LinkType::Ethernet, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::RawIp, LinkType::BsdNull];
    let packets = packets("nginx-connections");
    let expected = run_well(&write_file(folder.path(), "plain", &packets, Format::PCAPNG), &[]);
    let mut mixed = Vec::new();
    for (number, packet) in packets.iter().enumerate() {
        let mut one = vec![packet.clone()];
        faults::relink(&mut one, links[number % links.len()]);
        mixed.append(&mut one);
    }
    assert_eq!(mixed.len(), packets.len());
    for big_endian in [false, true] {
        let format = Format::Pcapng { big_endian, resolution: Some(9), simple: false };
        let found = run_well(&write_file(folder.path(), "mixed", &mixed, format), &[]);
        assert_eq!(found.lines, expected.lines);
    }
}

/// Told by content, whatever the name says.
#[test]
fn compressed_and_misnamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let plain = write(&usual(), Format::PCAP);
    let ng = write(&usual(), Format::PCAPNG);
    let halves = plain.split_at(plain.len() / 2);
    fs::write(path("plain"), &plain).unwrap();
    let expected = run_well(&path("plain"), &[]);
    for (name, bytes) in [
        ("a.pcap.gz", gzip(&plain)),
        ("a.pcap.zst", zstd(&plain)),
        ("ng.pcapng.gz", gzip(&ng)),
        ("ng.pcapng.zst", zstd(&ng)),
        ("no-ending", gzip(&plain)),
        ("misnamed.gz", zstd(&plain)),
        ("misnamed.zst", gzip(&ng)),
        ("not-compressed.gz", plain.clone()),
        ("two-members.gz", [gzip(halves.0), gzip(halves.1)].concat()),
        ("two-frames.zst", [zstd(halves.0), zstd(halves.1)].concat()),
    ] {
        fs::write(path(name), bytes).unwrap();
        let found = run_well(&path(name), &[]);
        assert_eq!(found.lines, expected.lines, "{name}");
        assert_eq!(found.ledger, expected.ledger, "{name}");
    }
}

#[test]
fn standard_input_in_every_guise() {
    let folder = tempfile::tempdir().unwrap();
    let expected = run_well(&write_file(folder.path(), "a", &usual(), Format::PCAP), &[]);
    let plain = write(&usual(), Format::PCAP);
    for bytes in [gzip(&plain), zstd(&plain), write(&usual(), Format::PCAPNG), plain] {
        let run = run_with_stdin(&["-", "--quiet"], bytes);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.replayed.lines, expected.lines);
        assert_eq!(run.replayed.ledger, expected.ledger);
    }
}

/// Connections go on from one file into the next, of whatever format.
#[test]
fn several_files_and_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let packets = packets("wrk-pipelined");
    let expected = run_well(&write_file(folder.path(), "whole", &packets, Format::PCAP), &[]);
    let parts = folder.path().join("parts");
    fs::create_dir(&parts).unwrap();
    let third = packets.len() / 3;
    let (one, two) = (write(&packets[..third], Format::PCAP), write(&packets[third..2 * third], Format::PCAPNG));
    let three = write(&packets[2 * third..], Format::Pcap { nanos: false, big_endian: true });
    fs::write(parts.join("1.pcap"), one).unwrap();
    fs::write(parts.join("2.pcapng.gz"), gzip(&two)).unwrap();
    fs::write(parts.join("3.pcap.zst"), zstd(&three)).unwrap();
    let named: Vec<_> = ["1.pcap", "2.pcapng.gz", "3.pcap.zst"].map(|name| parts.join(name)).into();
    let one_by_one = run(&[text(&named[0]), text(&named[1]), text(&named[2]), "--quiet"]);
    assert_eq!(one_by_one.code, Some(0), "{}", one_by_one.stderr);
    let directory = run_well(&parts, &[]);
    for found in [one_by_one.replayed, directory] {
        assert_eq!(found.lines, expected.lines);
        assert_eq!(found.count("/beside/captures"), 3);
    }
    // In another order it is another capture.
    let backwards = run(&[text(&named[2]), text(&named[1]), text(&named[0]), "--quiet"]);
    assert_eq!(backwards.code, Some(0));
    assert_ne!(backwards.replayed.lines, expected.lines);
}

#[test]
fn workers_agree() {
    let folder = tempfile::tempdir().unwrap();
    let mut mirrored = packets("wrk-keep-alive");
    let vxlan = |vni| fixtures::Nest::one(fixtures::Encapsulation::Vxlan { vni });
    faults::mirror_twice(&mut mirrored, &vxlan(1), &vxlan(2));
    let mut lossy = packets("wrk-pipelined");
    faults::lose(&mut lossy, 0.03, 1);
    let talks: Vec<_> = (0..40).map(|seed| conversation::api(seed, 15, seed % 2 == 0).0).collect();
    let mut many = Wire::random(8).run_all(&talks);
    faults::lose(&mut many, 0.02, 2);
    faults::reorder(&mut many, 5, 0.1, 2);
    for (name, packets) in [("mirrored", mirrored), ("lossy", lossy), ("many", many), ("usual", usual())] {
        let path = write_file(folder.path(), name, &packets, Format::PCAPNG);
        let once = run_well(&path, &["--workers", "1"]);
        let again = run_well(&path, &["--workers", "1"]);
        assert_eq!(once.lines, again.lines, "{name}");
        assert_eq!(once.ledger, again.ledger, "{name}");
        assert!(!once.records.is_empty());
        for workers in ["2", "4"] {
            let several = run_well(&path, &["--workers", workers]);
            assert_same(&lines(&several), &lines(&once), &format!("{name}, {workers} workers"));
            assert_eq!(several.ledger, once.ledger, "{name}, {workers} workers");
        }
    }
}

/// Where each packet's record begins in a classic file, and where the last one ends.
fn offsets(packets: &[Packet]) -> Vec<usize> {
    let mut offset = 24;
    let mut offsets = vec![offset];
    for packet in packets {
        offset += 16 + packet.data.len();
        offsets.push(offset);
    }
    offsets
}

#[test]
fn cut_in_the_last_packet() {
    let folder = tempfile::tempdir().unwrap();
    let packets = usual();
    let path = folder.path().join("cut.pcap");
    let all_but_one = run_well(&write_file(folder.path(), "b", &packets[..packets.len() - 1], Format::PCAP), &[]);
    let whole = write(&packets, Format::PCAP);
    let last = offsets(&packets)[packets.len() - 1];
    let ng = write(&packets, Format::PCAPNG);
    for (what, bytes) in [
        ("in its data", whole[..whole.len() - 1].to_vec()),
        ("behind its header", whole[..last + 16].to_vec()),
        ("in its header", whole[..last + 7].to_vec()),
        ("in the last block", ng[..ng.len() - 5].to_vec()),
        ("in the last block, compressed", gzip(&ng[..ng.len() - 5])),
        ("in its data, compressed", zstd(&whole[..whole.len() - 1])),
    ] {
        fs::write(&path, bytes).unwrap();
        for workers in ["1", "2"] {
            let Run { code, stderr, replayed } = run(&[text(&path), "--workers", workers]);
            assert_eq!(code, Some(0), "{what}: {stderr}");
            assert!(stderr.contains("WARN") && stderr.contains("cut.pcap"), "{what}: {stderr}");
            assert_eq!(lines(&replayed), lines(&all_but_one), "{what}");
            assert_eq!(replayed.ledger, all_but_one.ledger, "{what}");
        }
    }
}

#[test]
fn a_compressed_file_that_ends_early() {
    let folder = tempfile::tempdir().unwrap();
    let packets = usual();
    let whole = write(&packets, Format::PCAP);
    for (name, bytes) in [("cut.pcap.gz", gzip(&whole)), ("cut.pcap.zst", zstd(&whole))] {
        let path = folder.path().join(name);
        fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
        let Run { stderr, replayed, .. } = run(&[text(&path)]);
        assert!(stderr.contains(name), "{stderr}");
        let frames = usize::try_from(replayed.count("/frames/total")).unwrap();
        assert!(frames > 0 && frames < packets.len(), "{name}: {frames} of {}: {stderr}", packets.len());
        let before = run_well(&write_file(folder.path(), "before", &packets[..frames], Format::PCAP), &[]);
        assert_eq!(replayed.lines, before.lines, "{name}");
    }
}

#[test]
fn corruption_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let packets = usual();
    let middle = packets.len() / 2;
    let before = run_well(&write_file(folder.path(), "before", &packets[..middle], Format::PCAP), &[]);
    assert!(!before.records.is_empty());
    let offset = offsets(&packets)[middle];
    let mut bytes = write(&packets, Format::PCAP);
    bytes[offset + 8..offset + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let ng = write(&packets, Format::PCAPNG);
    let ng_offset = write(&packets[..middle], Format::PCAPNG).len();
    let mut damaged = ng;
    damaged[ng_offset + 4..ng_offset + 8].copy_from_slice(&7_u32.to_le_bytes());
    for (name, offset, bytes) in [
        ("damaged.pcap", offset, bytes.clone()),
        ("damaged.pcapng", ng_offset, damaged.clone()),
        ("damaged.pcap.gz", offset, gzip(&bytes)),
        ("damaged.pcapng.zst", ng_offset, zstd(&damaged)),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        for workers in ["1", "2"] {
            let Run { code, stderr, replayed } = run(&[text(&path), "--workers", workers]);
            assert_eq!(code, Some(1), "{name}: {stderr}");
            assert!(stderr.contains(name) && stderr.contains(&offset.to_string()), "{name}, {offset}: {stderr}");
            assert_eq!(lines(&replayed), lines(&before), "{name}");
            assert_eq!(replayed.ledger, before.ledger, "{name}");
        }
    }
}

/// Every input that can be read is read, whatever stands between: it is an error in what was named, and left out of a
/// directory.
#[test]
fn a_broken_file_among_others() {
    let folder = tempfile::tempdir().unwrap();
    let packets = usual();
    let (first, second) = packets.split_at(packets.len() / 2);
    let parts = folder.path().join("parts");
    fs::create_dir(&parts).unwrap();
    let one = write_file(&parts, "1.pcap", first, Format::PCAP);
    let two = parts.join("2.pcap");
    fs::write(&two, b"no capture at all, but a text of some length".repeat(3)).unwrap();
    let three = write_file(&parts, "3.pcap", second, Format::PCAP);
    let expected = run_well(&write_file(folder.path(), "whole", &packets, Format::PCAP), &[]);
    for (inputs, code) in [(vec![text(&parts)], 0), (vec![text(&one), text(&two), text(&three)], 1)] {
        let run = run(&inputs);
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert!(run.stderr.contains("2.pcap"), "{}", run.stderr);
        assert_eq!(run.replayed.lines, expected.lines);
    }
}

/// Cut anywhere at all: no panic, and never less than what stands before.
#[test]
fn cut_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let packets = &usual()[..40];
    let whole = write(packets, Format::PCAP);
    let offsets = offsets(packets);
    let path = folder.path().join("a");
    for cut in (0..whole.len()).step_by(whole.len() / 25) {
        fs::write(&path, &whole[..cut]).unwrap();
        if cut < 24 {
            let output = Command::new(env!("CARGO_BIN_EXE_sensor")).arg("replay").arg(&path).output().unwrap();
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
            continue;
        }
        let Run { code, replayed, stderr } = run(&[text(&path)]);
        assert_eq!(code, Some(0), "{cut}: {stderr}");
        let frames = offsets.iter().filter(|offset| **offset <= cut).count() - 1;
        assert_eq!(replayed.count("/frames/total"), frames as u64, "{cut}");
    }
}

/// The output is larger than a pipe holds; its reader leaves after a line.
#[test]
fn a_reader_that_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_file(folder.path(), "a", &packets("wrk-pipelined"), Format::PCAP);
    for workers in ["1", "2"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sensor"))
            .args(["replay", text(&path), "--ledger", "json", "--workers", workers])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = Vec::new();
        BufReader::new(child.stdout.take().unwrap()).read_until(b'\n', &mut line).unwrap();
        assert_eq!(records(&line).len(), 1);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
        assert!(!stderr.contains("panic") && !stderr.contains("Broken pipe"), "{stderr}");
    }
}

/// Interrupted while it waits for more: the output is that of the packets read so far, and the program says so.
#[test]
fn an_interrupt_while_it_waits() {
    let folder = tempfile::tempdir().unwrap();
    let packets = packets("wrk-pipelined");
    let bytes = write(&packets, Format::PCAP);
    let most = offsets(&packets)[packets.len() * 9 / 10] + 9;
    for workers in ["1", "3"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sensor"))
            .args(["replay", "-", "--ledger", "json", "--workers", workers])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).unwrap();
            output
        });
        // Far more than a pipe holds: once it is written, the program is at work. It need not have read all of it, and the
        // pipe stays open, so that it waits for the rest of a packet.
        stdin.write_all(&bytes[..most]).unwrap();
        fixtures::signal(child.id(), "SIGINT");
        let output = reader.join().unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
        drop(stdin);
        assert!(stderr.contains("stopped before the end"), "{stderr}");
        assert!(stderr.contains("transactions/s"), "the summary: {stderr}");
        let ledger = ledger_of(&stderr);
        add_up(&ledger);
        let frames = usize::try_from(ledger["frames"]["total"].as_u64().unwrap()).unwrap();
        assert!(frames > 0 && frames <= packets.len() * 9 / 10, "{frames}");
        let so_far = run_well(&write_file(folder.path(), "so-far", &packets[..frames], Format::PCAP), &[]);
        let mut found: Vec<&[u8]> = output.split(|byte| *byte == b'\n').collect();
        let mut expected: Vec<&[u8]> = so_far.lines.split(|byte| *byte == b'\n').collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{} lines of {frames} packets, not {}", found.len(), expected.len());
        assert_eq!(ledger, so_far.ledger);
    }
}
