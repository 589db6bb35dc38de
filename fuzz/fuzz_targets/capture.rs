//! Any bytes as a capture file: no panic, no runaway, and the same frames whatever the buffer and the thread.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use sensor::source::{CaptureReader, ReadOptions};

/// How many frames there are, a checksum over them, and how it ended.
fn read(file: &[u8], options: &ReadOptions) -> Option<(u64, u64, Result<(), String>)> {
    let mut reader = CaptureReader::from_read(Box::new(Cursor::new(file.to_vec())), "input".into(), options).ok()?;
    let mut sum = 0_u64;
    let mut bytes = 0;
    let end = loop {
        match reader.next() {
            Ok(Some(captured)) => {
                let frame = captured.frame;
                assert!(frame.wire_len as usize >= frame.data.len());
                bytes += frame.data.len() as u64;
                let first = frame.data.first().copied().unwrap_or(0);
                let last = frame.data.last().copied().unwrap_or(0);
                for part in [frame.at.as_nanos(), frame.data.len() as u64, u64::from(first), u64::from(last)] {
                    sum = (sum ^ part).wrapping_mul(0x100_0000_01b3);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    assert!(bytes <= reader.offset());
    for warning in reader.warnings() {
        let _ = warning.to_string();
    }
    assert!(matches!(reader.next(), Ok(None)), "an end is an end");
    Some((reader.counts().frames, sum, end))
}

fuzz_target!(|file: &[u8]| {
    let large = read(file, &ReadOptions { buffer_bytes: 1 << 16, read_ahead: false });
    let small = read(file, &ReadOptions { buffer_bytes: 64, read_ahead: false });
    assert_eq!(large, small);
});
