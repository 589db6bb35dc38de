//! Captures made by others, where they are at hand: the same packets as libpcap gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sensor::source::{CaptureReader, Captured, Input, OpenError, ReadOptions, WarningKind};

fn captures(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// A packet: nanoseconds, length on the wire, bytes.
type Packet = (u64, u32, Vec<u8>);

/// What a reader made of a file: the packets, and what it ended with.
#[derive(Debug)]
struct Reading {
    packets: Vec<Packet>,
    end: Result<(), String>,
    left_out: u64,
}

fn ours(path: &Path) -> Result<Reading, OpenError> {
    let options = ReadOptions { buffer_bytes: 1 << 16, ..ReadOptions::default() };
    let mut reader = CaptureReader::open(&Input::File(path.to_owned()), &options)?;
    let mut packets = Vec::new();
    let mut end = loop {
        match reader.next() {
            Ok(Some(Captured { frame, .. })) => {
                packets.push((frame.at.as_nanos(), frame.wire_len, frame.data.to_vec()));
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    if let Some(cut) = reader.warnings().iter().find(|warning| matches!(warning.kind, WarningKind::Cut { .. })) {
        end = Err(cut.to_string());
    }
    Ok(Reading { packets, end, left_out: reader.counts().unsupported })
}

fn libpcaps(path: &Path) -> Result<Reading, pcap::Error> {
    let mut capture = pcap::Capture::from_file_with_precision(path, pcap::Precision::Nano)?;
    let mut packets = Vec::new();
    let end = loop {
        match capture.next_packet() {
            Ok(packet) => {
                // Seconds are unsigned in a pcap file, and what a broken one has in the other field may be anything.
                let seconds = packet.header.ts.tv_sec;
                let seconds = u64::try_from(seconds).unwrap_or(u64::from(seconds as u32));
                let nanos = (seconds * 1_000_000_000).wrapping_add(packet.header.ts.tv_usec as u64);
                packets.push((nanos, packet.header.len.max(packet.header.caplen), packet.data.to_vec()));
            }
            Err(pcap::Error::NoMorePackets) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    Ok(Reading { packets, end, left_out: 0 })
}

/// How the two readings compare.
fn compare(ours: &Result<Reading, OpenError>, theirs: &Result<Reading, pcap::Error>) -> &'static str {
    match (ours, theirs) {
        (Err(_), Err(_)) => "neither reads it",
        (Err(OpenError::LinkType { .. }), Ok(_)) => "a link type that is not supported",
        (Err(_), Ok(_)) => "ONLY LIBPCAP READS IT",
        (Ok(_), Err(_)) => "only we read it",
        (Ok(ours), Ok(theirs)) => {
            let differ = ours.packets.iter().zip(&theirs.packets).position(|(ours, theirs)| ours != theirs);
            if ours.left_out > 0 {
                "interfaces that are not supported"
            } else if let Some(at) = differ {
                let ((_, wire, data), (_, their_wire, their_data)) = (&ours.packets[at], &theirs.packets[at]);
                if data == their_data && wire == their_wire {
                    "the times differ"
                } else if data.starts_with(their_data) {
                    "libpcap cuts a packet to the snapshot length"
                } else {
                    "THE PACKETS DIFFER"
                }
            } else if ours.packets.len() > theirs.packets.len() {
                "libpcap gives up before us"
            } else if ours.packets.len() < theirs.packets.len() {
                "WE GIVE UP BEFORE LIBPCAP"
            } else if ours.end.is_ok() == theirs.end.is_ok() {
                "the same"
            } else if ours.end.is_ok() {
                "the same, but libpcap fails at the end"
            } else {
                "THE SAME, BUT WE FAIL AT THE END"
            }
        }
    }
}

#[test]
fn the_corpus_is_read_as_libpcap_reads_it() {
    let Some(corpus) = env::var_os("SENSOR_CORPUS") else {
        eprintln!("skipped: SENSOR_CORPUS does not name a folder of captures");
        return;
    };
    let mut paths = Vec::new();
    captures(&Path::new(&corpus).join("pcaps"), &mut paths);
    assert!(!paths.is_empty(), "SENSOR_CORPUS holds no captures");
    paths.sort();
    let mut kinds = BTreeMap::new();
    for path in &paths {
        let (ours, theirs) = (ours(path), libpcaps(path));
        let kind = compare(&ours, &theirs);
        *kinds.entry(kind).or_insert(0) += 1;
        if kind != "the same" {
            let tell = |packets: usize, end: &Result<(), String>| format!("{packets} packets, {end:?}");
            let ours = ours.map_or_else(|e| e.to_string(), |r| tell(r.packets.len(), &r.end));
            let theirs = theirs.map_or_else(|e| e.to_string(), |r| tell(r.packets.len(), &r.end));
            eprintln!("{kind}: {}\n    we: {ours}\n    libpcap: {theirs}", path.display());
        }
    }
    eprintln!("{kinds:#?}");
    let bad: Vec<_> = kinds.keys().filter(|kind| kind.chars().all(|c| !c.is_lowercase())).collect();
    assert!(bad.is_empty(), "{bad:?}: the output says of which files");
}
