//! Content decoding of hostile bodies: no panic, no output beyond the limit, the same again with a used decoder.
#![no_main]

use http_parse::{DecodeOutcome, Decoder};
use libfuzzer_sys::fuzz_target;

const CODINGS: [&[u8]; 8] =
    [b"zstd", b"gzip", b"deflate", b"br", b"gzip, zstd", b"zstd, br", b"deflate, gzip, br", b"zstd, zstd"];

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (coding, limit, body) = input;
    let codings = || std::iter::once(CODINGS[usize::from(coding) % CODINGS.len()]);
    let mut decoder = Decoder::new();
    let mut first = Vec::new();
    let outcome = decoder.decode(codings(), body, limit.into(), &mut first);
    assert!(first.len() <= limit.into());
    assert!(!matches!(outcome, DecodeOutcome::Identity | DecodeOutcome::Unknown));
    let mut again = Vec::new();
    assert_eq!(decoder.decode(codings(), body, limit.into(), &mut again), outcome);
    assert_eq!(first, again);
});
