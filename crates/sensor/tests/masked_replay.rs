//! Secrets planted in whole replays: none comes out, in either shape, in any form.

mod cli_capture;

use std::io::Write as _;

use cli_capture::Capture;
use decap::{Frame, LinkType, Timestamp};
use masking::Leaks;
use proptest::prelude::*;
use sensor::config::{Detector, Mask, MaskAction};
use sensor::masker::MaskPolicy;
use sensor::pipeline::{Pipeline, Settings};
use sensor::record::{EdgeOptions, RecordOptions, Shape};
use serde_json::Value;

fn mask(all: bool) -> Mask {
    let mut mask = Mask { enabled: true, ..Mask::default() };
    if all {
        mask.detectors = Detector::ALL.iter().map(|detector| (*detector, MaskAction::Redact)).collect();
    }
    mask
}

fn replay(capture: &Capture, mask: &Mask, shape: Shape) -> Vec<u8> {
    let settings = Settings {
        decap: decap::Config::default(),
        reassembly: reassembly::Limits::default(),
        http: http_parse::Settings { body_limit: 700, ..http_parse::Settings::default() },
        record: RecordOptions { sensor: "test".to_owned(), decode_limit: 2_000, content_limit: usize::MAX, shape },
        mask: MaskPolicy::from_config(mask).unwrap(),
        normalize: std::sync::Arc::default(),
        filters: std::sync::Arc::default(),
    };
    let mut pipeline = Pipeline::inline(&settings.with_memory(64 << 20, 1).unwrap(), Vec::new());
    for (n, data) in capture.packets.iter().enumerate() {
        let at = Timestamp::from_nanos(1_700_000_000_000_000_000 + n as u64 * 50_000);
        pipeline.push(Frame { at, link: LinkType::Ethernet, data, wire_len: data.len() as u32 });
    }
    pipeline.finish();
    let mut lane = pipeline.into_segments();
    lane.finish();
    core::mem::take(lane.records_mut().outlet_mut())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut &*bytes, &mut out, &brotli::enc::BrotliEncoderParams::default()).unwrap();
    out
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// How many codings [`message`] knows.
const CODINGS: usize = 22;

/// The places of a body, a coding and a way to cut it.
fn message(start: &str, fields: &str, body: &[u8], coding: usize) -> Vec<u8> {
    let (body, coded) = match coding {
        0 => (body.to_vec(), ""),
        1 => (gzip(body), "Content-Encoding: gzip\r\n"),
        // Packed without saying so; twice; in a coding that nobody knows; in one that it is not in.
        2 => (gzip(body), ""),
        3 => (gzip(&gzip(body)), "Content-Encoding: gzip\r\n"),
        4 => (gzip(body), "Content-Encoding: x-own\r\n"),
        5 => (gzip(body), "Content-Encoding: br\r\n"),
        6 => (deflate(body), "Content-Encoding: deflate\r\n"),
        7 => (deflate(body), ""),
        8 => (brotli(body), "Content-Encoding: br\r\n"),
        9 => (zstd(body), "Content-Encoding: zstd\r\n"),
        // One in the other, in one field and in two.
        10 => (brotli(&gzip(body)), "Content-Encoding: gzip, br\r\n"),
        11 => (zstd(&brotli(&deflate(body))), "Content-Encoding: deflate, br\r\nContent-Encoding: zstd\r\n"),
        12 => (zstd(body), ""),
        // More than it says; another than it says.
        13 => (brotli(&zstd(body)), "Content-Encoding: br\r\n"),
        14 => (brotli(body), "Content-Encoding: zstd\r\n"),
        // Formats without a mark, and a window that is not the usual one.
        15 => (brotli(body), ""),
        16 => (raw_deflate(body), ""),
        17 => ([&[0x58, 0x09], &deflate(body)[2..]].concat(), ""),
        // What is not unpacked: the secrets are in there as they are, since only the mark counts.
        18 => ([b"PK\x03\x04\x14\0\0\0\x08\0", gzip(body).as_slice()].concat(), ""),
        19 => ([b"\xfd7zXZ\0", body].concat(), "Content-Encoding: gzip\r\n"),
        20 => ([b"BZh91AY&SY\0", body].concat(), ""),
        _ => (body.to_vec(), "Content-Encoding: utf-8\r\n"),
    };
    let head = format!("{start}\r\nHost: api.example\r\n{fields}{coded}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

/// Charsets, and a word of each that is not ASCII.
const CHARSETS: [(&str, &[u8]); 6] = [
    ("utf-8", "größe".as_bytes()),
    ("utf-16le", b"g\0r\0\xf6\0\xdf\0e\0"),
    ("utf-16be", b"\0g\0r\0\xf6\0\xdf\0e"),
    ("iso-8859-1", b"gr\xf6\xdfe"),
    ("shift_jis", b"\x89\xbf\x8a\x69"),
    ("gbk", b"\xbc\xdb\xb8\xf1"),
];

/// ASCII text in a charset, with that charset's word in place of `WORD`.
fn encoded(text: &str, charset: usize) -> Vec<u8> {
    let (name, word) = CHARSETS[charset];
    let parts: Vec<Vec<u8>> = text
        .split("WORD")
        .map(|part| match name {
            "utf-16le" => part.bytes().flat_map(|byte| [byte, 0]).collect(),
            "utf-16be" => part.bytes().flat_map(|byte| [0, byte]).collect(),
            _ => part.as_bytes().to_vec(),
        })
        .collect();
    parts.join(word)
}

fn capture(
    secrets: &[String],
    cards: &[String],
    fill: usize,
    (coding, charset): (usize, usize),
    chunk: usize,
) -> Capture {
    let mut capture = Capture::default();
    let mut conversation = capture.open(([10, 0, 0, 1], 20_000), ([10, 0, 0, 2], 80));
    let fill = "x".repeat(fill);
    let [one, two, three, four] = secrets else { panic!("four secrets") };
    let card = cards.first().map_or("none", String::as_str);
    let json =
        format!("{{\"WORD\":\"{fill}\",\"a\":[{{\"password\":\"{three}\"}}],\"card\":\"{card}\",\"t\":\"{fill}\"}}");
    let form = format!("fill={fill}&password={four}&card={card}&more={fill}");
    let ask = message(
        &format!("POST /v1/orders?access_token={one}&card={card} HTTP/1.1"),
        &format!(
            "Authorization: Bearer {two}\r\nAccept: */*\r\n X-Api-Key: {two}\r\nCookie: session={three}; b={four}\r\nX-Api-Key: {one}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        ),
        form.as_bytes(),
        coding,
    );
    let answer = message(
        &format!("HTTP/1.1 200 password={one}"),
        &format!(
            "Set-Cookie: sid={two}; Path=/\r\nContent-Type: application/json; charset={}\r\nX-Note: {card}\r\n",
            CHARSETS[charset].0
        ),
        &encoded(&json, charset),
        coding,
    );
    // The start line is recorded raw, too, where it is not UTF-8; a blank in it ends no secret.
    let mut odd = format!("GET http://user:{two}@h.example/p?password=a {one}&a=").into_bytes();
    odd.extend_from_slice(b"\xff HTTP/1.1\r\nHost: api.example\r\n\r\n");
    for (request, response) in [(ask, answer), (odd, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())] {
        request.chunks(chunk).for_each(|part| conversation.client_says(part));
        response.chunks(chunk).for_each(|part| conversation.server_says(part));
    }
    conversation.close();
    capture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_planted_secret_leaves(
        secrets in proptest::collection::vec("[A-Za-z]{4}[0-9]{2}[A-Za-z0-9]{10,20}", 4),
        fill in 0_usize..900,
        coding in 0..CODINGS,
        charset in 0..CHARSETS.len(),
        chunk in 40_usize..1_400,
        all in any::<bool>(),
    ) {
        // Known numbers of test cards.
        let cards: Vec<String> = if all { vec!["4111111111111111".to_owned()] } else { Vec::new() };
        let capture = capture(&secrets, &cards, fill, (coding, charset), chunk);
        let planted: Vec<String> = secrets.iter().chain(&cards).cloned().collect();
        let leaks = Leaks::new(&planted).unwrap();
        let unmasked = replay(&capture, &Mask { enabled: false, ..mask(all) }, Shape::Native);
        prop_assert!(!leaks.find(&unmasked).is_empty(), "what is looked for is there without masking");
        let schema = serde_json::from_str(include_str!("../../../docs/record.schema.json")).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for shape in [Shape::Native, Shape::Edge(EdgeOptions::default())] {
            let is_native = shape == Shape::Native;
            let out = replay(&capture, &mask(all), shape);
            let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(lines.len(), 2);
            for line in lines {
                let found = leaks.find(line);
                prop_assert!(found.is_empty(), "{:?} in {}", found, String::from_utf8_lossy(line));
                let record: Value = serde_json::from_slice(line).unwrap();
                if is_native && record["response"]["status"] == 200 {
                    let body = &record["response"]["body"];
                    // Packed, and nothing says so.
                    if matches!(coding, 2 | 7 | 12 | 15..=17) {
                        prop_assert_eq!(body["decoded"].as_bool(), Some(true), "{}", body);
                        prop_assert!(body["content"].as_str().is_some_and(|text| text.len() > fill), "{}", body);
                    }
                    if matches!(coding, 18 | 20) {
                        prop_assert_eq!(&body["content"], &Value::Null);
                    }
                }
                if is_native {
                    prop_assert!(!record["masked"].as_array().unwrap().is_empty());
                    let violations: Vec<String> = validator.iter_errors(&record).map(|error| error.to_string()).collect();
                    prop_assert!(violations.is_empty(), "{:?}", violations);
                } else {
                    prop_assert!(record["txn-meta-data"]["sdp_info"]["found"].as_u64().unwrap() > 0);
                }
            }
        }
    }
}

/// Deflate with its fixed codes makes letters of letters: what is packed looks like text, and is unpacked all the same.
#[test]
fn short_packed_bodies_are_looked_through() {
    let mut capture = Capture::default();
    let mut conversation = capture.open(([10, 0, 0, 1], 20_000), ([10, 0, 0, 2], 80));
    let mut rng = fixtures::Rng::new(4);
    let mut secrets = Vec::new();
    for n in 0..400 {
        let secret = format!("{:016x}", rng.bits());
        let body = match n % 5 {
            0 => format!("password={secret}"),
            1 => format!("{{\"password\":\"{secret}\"}}"),
            2 => format!("password={secret}&user=bart"),
            3 => format!("user=bart&access_token={secret}"),
            _ => format!("sid={secret}"),
        };
        // zlib's second level names itself `x^`.
        let body = match n % 2 {
            0 => raw_deflate(body.as_bytes()),
            _ => [&b"x^"[..], &deflate(body.as_bytes())[2..]].concat(),
        };
        let head = format!("POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: {}\r\n\r\n", body.len());
        conversation.client_says(&[head.as_bytes(), &body].concat());
        conversation.server_says(b"HTTP/1.1 204 No Content\r\n\r\n");
        secrets.push(secret);
    }
    conversation.close();
    let out = replay(&capture, &mask(false), Shape::Native);
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), secrets.len());
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(record["request"]["body"]["decoded"].as_bool(), Some(true), "{record}");
        assert!(record["request"]["body"]["content"].as_str().unwrap().contains("tok_"), "{record}");
    }
    assert!(Leaks::new(&secrets).unwrap().find(&out).is_empty());
}

/// A receiver that does not unpack what nothing says is packed reads something else: so it is told. And text is not unpacked,
/// whatever it starts like.
#[test]
fn what_is_unpacked_unasked_is_told_and_text_stays() {
    let text = b"{\"note\":\"plain\"}".repeat(20);
    let start = "HTTP/1.1 200 OK";
    let cases: [(Vec<u8>, &[u8], bool); 8] = [
        (gzip(&text), &text, true),
        (brotli(&text), &text, true),
        (raw_deflate(&text), &text, true),
        // Each starts like a format, or is one to its last byte but some.
        (b"kz\x08Hk,\x0fq>[".to_vec(), b"kz\x08Hk,\x0fq>[", false),
        (b"x^2 + y^2 = r^2".to_vec(), b"x^2 + y^2 = r^2", false),
        (b"BZh is how bzip2 begins".to_vec(), b"BZh is how bzip2 begins", false),
        (b"h\x81 user=7&amount=1000&account=anyone".to_vec(), b"h\x81 user=7&amount=1000&account=anyone", false),
        (text.clone(), &text, false),
    ];
    let mut capture = Capture::default();
    let mut conversation = capture.open(([10, 0, 0, 1], 20_000), ([10, 0, 0, 2], 80));
    for (body, ..) in &cases {
        conversation.client_says(b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
        conversation.server_says(
            &[
                format!("{start}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
                body,
            ]
            .concat(),
        );
    }
    conversation.close();
    let out = replay(&capture, &mask(false), Shape::Native);
    let mut lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (body, expected, is_unpacked) in &cases {
        let record: Value = serde_json::from_slice(lines.next().unwrap()).unwrap();
        let told = &record["response"]["body"];
        assert_eq!(told["decoded"].as_bool(), Some(*is_unpacked), "{body:?}: {record}");
        let is_flagged = record["flags"].as_array().unwrap().contains(&"undeclared_content_coding".into());
        assert_eq!(is_flagged, *is_unpacked, "{body:?}: {record}");
        match str::from_utf8(expected) {
            Ok(text) => assert_eq!(told["content"], text),
            Err(_) => assert_eq!((&told["encoding"], &told["captured"]), (&"base64".into(), &expected.len().into())),
        }
    }
    assert!(lines.next().is_none());
}
