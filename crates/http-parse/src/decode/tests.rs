use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::DecodeOutcome::{Complete, Failed, Identity, Limited, Partial, Trailing, Unknown};
use super::*;

const NO_LIMIT: usize = 64 << 20;

/// `zstd -19 --check` (1.5.4) of [`zstd_text`].
const ZSTD_19: &str = "\
28b52ffd64440abd0800f6522c16a0291d006caf5fee1355258e945bca2413dab177ab152f0022002100d3dfadcbb2b57bd9bdd41499aabf\
b95b0009100e03c661208c4330500c16e410140e7234060711104282900c108643c7e9ed7c339f4b719532b9c855ee338d6f765f93a75bd7\
7bac67a54555b2a975ef55a6e935d7ff6e9dbf4a6dd59eacf235f5e67f6daea6e5dc7169da0f3bc37a5a1d3280da8f5e637477994e119943\
543d9f8ee6a1b3d8542e91645279dfcfb11f5d5ad72977a811b0bce9fddfc0934286031248600b5882ff7fff931d32d0117883388188b1a2\
fc4a8e884d925e34c61c3201bb32147a2e4e6617a9a0a2220538a38165bea80fe554904be43783a98aef24ef2c271f520327558ba141c8a8\
0309026a02270fa90266d68882";

fn zstd_text() -> String {
    (0..60).map(|line| format!("line {line} of a text that repeats itself, line {}\n", line * line)).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn brotli(data: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let params = ::brotli::enc::BrotliEncoderParams { quality: 4, ..Default::default() };
    ::brotli::BrotliCompress(&mut &data[..], &mut compressed, &params).unwrap();
    compressed
}

fn zstd(data: &[u8]) -> Vec<u8> {
    compress_to_vec(data, CompressionLevel::Fastest)
}

/// A frame of `count` blocks that each say "this byte, 128 KiB times", with a window of 8 MiB.
fn zstd_bomb(count: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3];
    for index in 0..count {
        let header = (128 << 10 << 3) | (1 << 1) | u32::from(index + 1 == count);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame
}

type Encode = fn(&[u8]) -> Vec<u8>;

const CODINGS: [(&str, Encode); 5] =
    [("gzip", gzip), ("deflate", zlib), ("deflate", raw_deflate), ("br", brotli), ("zstd", zstd)];

fn decode(codings: &str, body: &[u8], limit: usize) -> (DecodeOutcome, Vec<u8>) {
    decode_with(&mut Decoder::new(), codings, body, limit)
}

fn decode_with(decoder: &mut Decoder, codings: &str, body: &[u8], limit: usize) -> (DecodeOutcome, Vec<u8>) {
    let mut out = b"kept".to_vec();
    let outcome = decoder.decode([codings.as_bytes()].into_iter(), body, limit, &mut out);
    assert!(out.len() <= limit.saturating_add(4));
    (outcome, out.split_off(4))
}

fn text(len: usize) -> Vec<u8> {
    let words = ["passive ", "capture ", "of ", "mirrored ", "frames\n", "0123456789", "äöü "];
    let mut state = 7_usize;
    let mut text = Vec::new();
    while text.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(words[(state >> 33) % words.len()].as_bytes());
    }
    text.truncate(len);
    text
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 99_u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(step).collect()
}

#[test]
fn every_coding_round_trips_with_one_decoder() {
    let mut decoder = Decoder::new();
    for data in [vec![], b"a".to_vec(), text(300), text(100_000), noise(70_000), vec![0; 3_000_000]] {
        for (name, encode) in CODINGS {
            let (outcome, decoded) = decode_with(&mut decoder, name, &encode(&data), NO_LIMIT);
            assert_eq!(outcome, Complete, "{name} {}", data.len());
            assert!(decoded == data, "{name} {}", data.len());
        }
    }
    let (outcome, decoded) = decode("zstd", &unhex(ZSTD_19), NO_LIMIT);
    assert_eq!((outcome, decoded), (Complete, zstd_text().into_bytes()));
}

#[test]
fn names_are_read_as_clients_write_them() {
    let data = text(500);
    for names in ["gzip", "GZip", " x-gzip ", "identity, gzip", ",gzip,,", "gzip\r\n ,"] {
        assert_eq!(decode(names, &gzip(&data), NO_LIMIT), (Complete, data.clone()), "{names:?}");
    }
    for names in ["", "identity", " Identity , "] {
        assert_eq!(decode(names, &data, NO_LIMIT), (Identity, data.clone()), "{names:?}");
    }
    assert_eq!(decode("", &data, 10), (Identity, data[..10].to_vec()));
    for names in ["compress", "gzip;", "gzip, sdch", "sdch, gzip", "gz\0ip", "aws-chunked"] {
        assert_eq!(decode(names, &gzip(&data), NO_LIMIT), (Unknown, vec![]), "{names:?}");
    }
    assert_eq!(decode("gzip", b"", NO_LIMIT), (Complete, vec![]));
}

#[test]
fn stacked_codings_are_undone_from_the_last_to_the_first() {
    let data = text(5000);
    let mut decoder = Decoder::new();
    for (first, encode_first) in CODINGS {
        for (second, encode_second) in CODINGS {
            let body = encode_second(&encode_first(&data));
            let mut out = Vec::new();
            let outcome = decoder.decode([first.as_bytes(), second.as_bytes()].into_iter(), &body, NO_LIMIT, &mut out);
            assert_eq!((outcome, &out), (Complete, &data), "{first}, {second}");
            let (outcome, part) = decode_with(&mut decoder, &format!("{first}, {second}"), &body, 100);
            assert_eq!((outcome, &part[..]), (Limited, &data[..100]), "{first}, {second}");
        }
    }
    let eightfold = (0..8).fold(data.clone(), |body, _| gzip(&body));
    assert_eq!(decode("gzip,gzip,gzip,gzip,gzip,gzip,gzip,gzip", &eightfold, NO_LIMIT), (Complete, data));
    assert_eq!(decode("gzip,gzip,gzip,gzip,gzip,gzip,gzip,gzip,gzip", &gzip(&eightfold), NO_LIMIT), (Failed, vec![]));
}

#[test]
fn truncated_bodies_give_what_is_there() {
    for data in [text(3000), noise(1500)] {
        for (name, encode) in CODINGS {
            let body = encode(&data);
            let mut decoder = Decoder::new();
            let mut longest = 0;
            for len in 1..body.len() {
                let (outcome, decoded) = decode_with(&mut decoder, name, &body[..len], NO_LIMIT);
                assert_eq!(outcome, Partial, "{name} {len} of {}", body.len());
                assert!(data.starts_with(&decoded), "{name} {len}");
                assert!(decoded.len() >= longest, "{name} {len}");
                longest = decoded.len();
            }
            // Zstandard holds a compressed block back until it is whole.
            assert!(longest > data.len() / 2 || name == "zstd", "{name} {longest}");
        }
    }
}

#[test]
fn truncated_zstd_gives_its_whole_blocks_and_the_start_of_a_raw_one() {
    let data = text(400_000);
    let body = zstd(&data);
    for cut in [1, 100, body.len() / 2] {
        let (outcome, decoded) = decode("zstd", &body[..body.len() - cut], NO_LIMIT);
        assert_eq!(outcome, Partial);
        assert!(decoded.len() >= 128 << 10 && data.starts_with(&decoded), "{cut} {}", decoded.len());
    }
    let data = noise(200_000);
    let body = compress_to_vec(&data[..], CompressionLevel::Uncompressed);
    for len in [1000, 100_000, 150_000] {
        let (outcome, decoded) = decode("zstd", &body[..len], NO_LIMIT);
        assert_eq!(outcome, Partial);
        assert!(decoded.len() + 100 > len && data.starts_with(&decoded), "{len} {}", decoded.len());
        assert_eq!(decode("zstd", &body[..len], 500), (Limited, data[..500].to_vec()));
    }
    let whole = unhex(ZSTD_19);
    for len in 1..whole.len() {
        let (outcome, decoded) = decode("zstd", &whole[..len], NO_LIMIT);
        assert_eq!(outcome, Partial, "{len}");
        assert!(zstd_text().as_bytes().starts_with(&decoded), "{len}");
    }
    assert_eq!(decode("zstd", &whole[..whole.len() - 1], NO_LIMIT).1, zstd_text().as_bytes());
}

#[test]
fn limit_is_kept_to_the_byte() {
    for (name, encode) in CODINGS {
        for len in [1, 4095, 4096, 4097, 40_000] {
            let data = text(len);
            let body = encode(&data);
            assert_eq!(decode(name, &body, len), (Complete, data.clone()), "{name} {len}");
            assert_eq!(decode(name, &body, len - 1), (Limited, data[..len - 1].to_vec()), "{name} {len}");
            assert_eq!(decode(name, &body, 0), (Limited, vec![]), "{name} {len}");
        }
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 20 << 20];
    let mut decoder = Decoder::new();
    for (name, encode) in CODINGS {
        let bomb = encode(&zeros);
        assert_eq!(decode_with(&mut decoder, name, &bomb, 50_000), (Limited, vec![0; 50_000]), "{name}");
        let (outcome, decoded) = decode_with(&mut decoder, &format!("{name}, gzip"), &gzip(&bomb), 50_000);
        assert!(matches!(outcome, Limited | Partial) && zeros.starts_with(&decoded), "{name} {outcome:?}");
    }
    // A layer in between is bounded as well.
    let (outcome, decoded) = decode_with(&mut decoder, "gzip, gzip", &gzip(&zeros), 1000);
    assert_eq!((outcome, decoded.len()), (Failed, 0));
    assert!(decoder.scratch.iter().all(|buffer| buffer.capacity() <= MAX_KEPT_SCRATCH));
    assert_eq!(decode_with(&mut decoder, "zstd", &zstd_bomb(10_000), 1000), (Limited, vec![b'x'; 1000]));
    assert_eq!(decode_with(&mut decoder, "zstd", &zstd_bomb(2), NO_LIMIT).1.len(), 256 << 10);
}

#[test]
fn gzip_members_follow_each_other_and_garbage_ends_them() {
    let (one, two) = (text(1000), noise(1000));
    let both = [&one[..], &two].concat();
    let body = [gzip(&one), gzip(b""), gzip(&two)].concat();
    assert_eq!(decode("gzip", &body, NO_LIMIT), (Complete, both.clone()));
    for garbage in [&b"garbage"[..], b"\x1f\x8c", b"\x1f\x8b\x07", b"\0\0\0garbage"] {
        assert_eq!(decode("gzip", &[&body[..], garbage].concat(), NO_LIMIT), (Trailing, both.clone()));
    }
    assert_eq!(decode("gzip", &[&body[..], b"\x1f\x8b"].concat(), NO_LIMIT), (Partial, both.clone()));
    for padding in [1, 7, 512] {
        let padded = [gzip(&one), vec![0; padding], gzip(&two), vec![0; padding]].concat();
        assert_eq!(decode("gzip", &padded, NO_LIMIT), (Complete, both.clone()), "{padding} zeros");
    }
    for (name, encode) in CODINGS.into_iter().skip(1) {
        for (behind, outcome) in [(&b"garbage"[..], Trailing), (b"\0\0\0g", Trailing), (&[0; 100], Complete)] {
            let found = decode(name, &[&encode(&one)[..], behind].concat(), NO_LIMIT);
            assert_eq!(found, (outcome, one.clone()), "{name} {behind:?}");
        }
    }
    let frames = [zstd(&one), b"\x5a\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(&two)].concat();
    assert_eq!(decode("zstd", &frames, NO_LIMIT), (Complete, both));
    assert_eq!(decode("zstd", b"\x5a\x2a\x4d\x18\xff\xff\xff\xffabc", NO_LIMIT), (Partial, vec![]));
}

#[test]
fn gzip_headers_may_carry_more() {
    let plain = gzip(b"data");
    let deflated = &plain[10..];
    for (flags, extras) in [
        (4, &b"\x03\0abc"[..]),
        (8, b"name\0"),
        (16, b"comment\0"),
        (2, b"\xaa\xbb"),
        (31, b"\x01\0xname\0comment\0\xaa\xbb"),
    ] {
        let body = [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3][..], extras, deflated].concat();
        assert_eq!(decode("gzip", &body, NO_LIMIT), (Complete, b"data".to_vec()), "{flags}");
        for len in 1..body.len() {
            assert_eq!(decode("gzip", &body[..len], NO_LIMIT).0, Partial, "{flags} {len}");
        }
    }
}

#[test]
fn what_breaks_the_coding_fails_with_the_part_before() {
    for (name, encode) in CODINGS {
        let (outcome, decoded) = decode(name, b"<html>not compressed at all</html>", NO_LIMIT);
        assert!(decoded.len() < 100, "{name}");
        assert!(matches!(outcome, Failed | Partial), "{name} {outcome:?}");
        let data = text(100_000);
        let mut body = encode(&data);
        let middle = body.len() / 2;
        body[middle..].fill(0xff);
        let (outcome, decoded) = decode(name, &body, NO_LIMIT);
        assert!(matches!(outcome, Failed | Partial), "{name} {outcome:?}");
        let same = data.iter().zip(&decoded).take_while(|(one, other)| one == other).count();
        assert!(same > data.len() / 4 || name == "zstd", "{name}: {same} of {}", decoded.len());
    }
    let mut body = gzip(b"data");
    let sum = body.len() - 6;
    body[sum] ^= 1;
    assert_eq!(decode("gzip", &body, NO_LIMIT), (Failed, b"data".to_vec()), "the checksum is wrong");
    let mut body = unhex(ZSTD_19);
    let sum = body.len() - 1;
    body[sum] ^= 1;
    assert_eq!(decode("zstd", &body, NO_LIMIT), (Failed, zstd_text().into_bytes()), "the checksum is wrong");
}

#[test]
fn windows_beyond_those_of_content_codings_are_refused() {
    let mut frame = zstd_bomb(1);
    frame[5] = 14 << 3;
    assert_eq!(decode("zstd", &frame, NO_LIMIT), (Failed, vec![]));
    // A window of 2 to the 62nd, by the large-window extension of Brotli.
    assert_eq!(decode("br", b"\x11\x3e\xff\xff\xff\xff\xff", NO_LIMIT), (Failed, vec![]));
    // A dictionary that nobody has.
    assert_eq!(decode("zstd", b"\x28\xb5\x2f\xfd\x01\x50\x07\x01\x00\x00", NO_LIMIT), (Failed, vec![]));
}

proptest! {
    #[test]
    fn damage_never_panics_nor_passes_the_limit(
        which in 0usize..5,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        limit in 0usize..6000,
        random in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (name, encode) = CODINGS[which];
        let mut body = encode(&text(4000));
        for (index, byte) in damage {
            let at = index.index(body.len());
            body[at] = byte;
        }
        let mut decoder = Decoder::new();
        let first = decode_with(&mut decoder, name, &body, limit);
        let stacked = decode_with(&mut decoder, &format!("br, {name}"), &body, limit);
        prop_assert!(stacked.1.len() <= limit);
        decode_with(&mut decoder, name, &random, limit);
        // What came before leaves no trace.
        prop_assert_eq!(decode_with(&mut decoder, name, &body, limit), first);
    }
}
