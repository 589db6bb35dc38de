//! Any bytes as a spool file: no panic, nothing allocated beyond the file's own size; what is taken for a batch is whole and
//! can be read within its bounds.
//!
//! A changed byte is found by the checksum, so that hardly anything else would be tried: each input is decoded as it is, and
//! once more with its checksum made right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uploader::{MAX_BODY_BYTES, SealedBatch, decode_spool_file};

/// Where the checksum stands; it covers everything else.
const CHECKSUM: std::ops::Range<usize> = 32..36;

fuzz_target!(|file: &[u8]| {
    if let Ok(batch) = decode_spool_file(&file.to_vec().into()) {
        look(&batch, file.len());
    }
    if file.len() >= CHECKSUM.end {
        let mut file = file.to_vec();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&file[..CHECKSUM.start]);
        hasher.update(&file[CHECKSUM.end..]);
        file[CHECKSUM].copy_from_slice(&hasher.finalize().to_le_bytes());
        let len = file.len();
        if let Ok(batch) = decode_spool_file(&file.into()) {
            look(&batch, len);
        }
    }
});

fn look(batch: &SealedBatch, len: usize) {
    assert!((1..=len / 20).contains(&batch.records()) && batch.body().len() < len);
    assert_eq!(batch.ids().count(), batch.records());
    assert!(batch.content_type().bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
    // A compressed body is undone to the length that the header says and not beyond; a wrong one is an error.
    let Ok(plain) = batch.plain() else { return };
    assert!(plain.len() <= MAX_BODY_BYTES);
    let mut end = 0;
    for number in 0..batch.records() {
        let span = batch.span(number).expect("ends do not go back");
        assert!(end <= span.start && span.end <= plain.len(), "{span:?} of {}", plain.len());
        end = span.end;
    }
    assert!(batch.span(batch.records()).is_none());
}
