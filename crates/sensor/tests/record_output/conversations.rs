//! Bytes of both sides through the parser into records.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_parse::{ClientHello, Connection, Context, Exchange, ExchangeSink, Position, Protocol, Settings, Side};
use sensor::record::{ConnectionMeta, RecordOptions, RecordWriter, Shape};
use serde_json::{Value, json};

use super::schema::{schema, violations};
use super::support::{SECOND, Sample};

const BODY_LIMIT: usize = 1000;
const DECODE_LIMIT: usize = 50_000;

struct Records {
    writer: RecordWriter,
    meta: ConnectionMeta,
    lines: Vec<u8>,
}

impl ExchangeSink for Records {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.writer.write(&self.meta, exchange, &mut self.lines);
    }

    fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
}

/// The records of a connection on which the client sent `request` and the server `response`; each valid.
fn records(request: &[u8], response: &[u8]) -> Vec<Value> {
    records_within(usize::MAX, request, response)
}

/// The same, with so many bytes of each line for bodies.
fn records_within(content_limit: usize, request: &[u8], response: &[u8]) -> Vec<Value> {
    let sample = Sample::pair();
    let client = sample.key().1;
    let options =
        RecordOptions { sensor: "edge-1".to_owned(), decode_limit: DECODE_LIMIT, content_limit, shape: Shape::Native };
    let mut records = Records { writer: RecordWriter::new(options), meta: sample.meta(), lines: Vec::new() };
    let mut cx = Context::new(Settings { body_limit: BODY_LIMIT, ..Settings::default() });
    let mut connection = Connection::new(Some(client));
    let mut send = |side: Side, bytes: &[u8], at, acked| {
        let position = Position { at, offset: 1 << 32, acked: Some(acked) };
        connection.data(side, position, bytes, &mut cx, &mut records);
    };
    send(client, request, SECOND, 1 << 32);
    send(client.opposite(), response, SECOND + 1, (1 << 32) + request.len() as u64);
    connection.close(SECOND + 2, 0, &mut cx, &mut records);
    let validator = jsonschema::draft202012::new(&schema()).expect("the schema compiles");
    let lines = records.lines.split_inclusive(|byte| *byte == b'\n');
    let records: Vec<Value> = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    for record in &records {
        assert_eq!(violations(&validator, record), Vec::<String>::new());
    }
    records
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// The body and the flags of a response with these fields and this body.
fn body(fields: &str, body: &[u8]) -> (Value, Value) {
    let mut response = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    let mut records = records(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", &response);
    assert_eq!(records.len(), 1);
    let mut record = records.remove(0);
    (record["response"]["body"].take(), record["flags"].take())
}

#[test]
fn a_pipeline_of_two() {
    let records = records(
        b"POST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabcGET http://b.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\nT: 1\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    );
    assert_eq!(records.len(), 2);
    let body = |content: &str| {
        json!({
            "bytes": 3, "decoded_bytes": null, "captured": 3, "truncated": false, "missing": 0, "decoded": false,
            "encoding": "utf8", "content": content,
        })
    };
    assert_eq!(records[0]["connection"]["transaction"], 1);
    assert_eq!(records[0]["request"]["path"], "/a");
    assert_eq!(records[0]["request"]["query"], "b");
    assert_eq!(records[0]["request"]["body"], body("abc"));
    assert_eq!(records[0]["response"]["body"], body("def"));
    assert_eq!(records[0]["response"]["trailers"], json!([["T", "1"]]));
    assert_eq!(records[1]["connection"]["transaction"], 2);
    assert_eq!(records[1]["request"]["host"], "b.example");
    assert_eq!(records[1]["request"]["body"], Value::Null);
    assert_eq!(records[1]["response"]["status"], 204);
    // The second id, by the definition: its head begins behind the first request.
    let head = b"GET http://b.example/ HTTP/1.1\r\nHost: x\r\n";
    let sequence =
        (b"POST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc".len() as u32).to_be_bytes();
    let input = [
        b"\x01\x04\xc0\x00\x02\x07\xc8\x22\x04\xc6\x33\x64\x14\x1f\x90".as_slice(),
        sequence.as_slice(),
        head.as_slice(),
    ]
    .concat();
    let digest: [u8; 32] = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(input)).into();
    let id: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(records[1]["id"], id);
}

/// Chunks of which the last never came: more of the body may have been sent than was counted.
#[test]
fn a_body_whose_end_was_not_seen_is_truncated() {
    let response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n";
    let records = records(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", response);
    let body = &records[0]["response"]["body"];
    assert_eq!((&body["bytes"], &body["content"], &body["truncated"]), (&3.into(), &"def".into(), &true.into()));
}

#[test]
fn a_coded_body_is_decoded() {
    let text = "{\"text\":\"äöü\"}".repeat(20);
    let coded = gzip(text.as_bytes());
    let (body, flags) = body("Content-Encoding: gzip\r\n", &coded);
    assert_eq!(
        body,
        json!({
            "bytes": coded.len(), "decoded_bytes": text.len(), "captured": text.len(), "truncated": false, "missing": 0,
            "decoded": true, "encoding": "utf8", "content": text,
        })
    );
    assert_eq!(flags, json!([]));
}

/// The record's response to an exchange whose body came in one chunk.
fn chunked(fields: &str, coded: &[u8]) -> Value {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n{:x}\r\n", coded.len());
    let response = [head.as_bytes(), coded, b"\r\n0\r\n\r\n"].concat();
    records(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", &response).remove(0)
}

#[test]
fn codings_of_the_transfer_are_undone_too() {
    let text = "{\"text\":\"hello\"}".repeat(20);
    let once = gzip(text.as_bytes());
    let twice = gzip(&once);
    for (fields, coded) in [
        ("Transfer-Encoding: gzip, chunked\r\n", &once),
        ("Transfer-Encoding: X-GZip\r\nTransfer-Encoding: Chunked\r\n", &once),
        ("Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", &once),
        ("Transfer-Encoding: gzip, chunked\r\nContent-Encoding: gzip\r\n", &twice),
    ] {
        let record = chunked(fields, coded);
        let body = &record["response"]["body"];
        assert_eq!((&body["content"], &body["decoded"]), (&text.as_str().into(), &true.into()), "{fields}");
        assert_eq!((&body["bytes"], &body["decoded_bytes"]), (&coded.len().into(), &text.len().into()), "{fields}");
        assert_eq!(record["flags"], json!([]), "{fields}");
    }
    let record = chunked("Transfer-Encoding: gzip, chunked\r\n", b"plain after all");
    assert_eq!(record["response"]["body"]["content"], "plain after all");
    assert_eq!(record["flags"], json!(["decode_failed"]));
    // What is no coding that packs is framing's business, and flagged as such.
    let record = chunked("Transfer-Encoding: rot13, chunked\r\n", b"plain");
    assert_eq!(record["response"]["body"]["content"], "plain");
    assert_eq!(record["flags"], json!(["invalid_transfer_encoding"]));
}

#[test]
fn a_coded_body_beyond_the_capture_is_decoded_as_far_as_it_goes() {
    // Random enough that gzip does not bring it under the capture's limit.
    let text: String = (0..4000_u32).map(|index| format!("{:x}", index.wrapping_mul(2_654_435_761) >> 7)).collect();
    let coded = gzip(text.as_bytes());
    assert!(coded.len() > BODY_LIMIT);
    let (body, flags) = body("Content-Encoding: gzip\r\n", &coded);
    assert_eq!(body["bytes"], coded.len());
    assert_eq!(
        (&body["decoded_bytes"], &body["truncated"], &body["decoded"]),
        (&Value::Null, &true.into(), &true.into())
    );
    let content = body["content"].as_str().expect("text");
    assert!(content.len() > 100 && text.starts_with(content));
    assert_eq!(body["captured"], content.len());
    assert_eq!(flags, json!([]));
}

#[test]
fn a_bomb_is_stopped() {
    let (body, flags) = body("Content-Encoding: gzip\r\n", &gzip(&vec![b'x'; 500_000]));
    assert_eq!(body["captured"], DECODE_LIMIT);
    assert_eq!((&body["truncated"], &body["decoded_bytes"]), (&true.into(), &Value::Null));
    assert_eq!(flags, json!(["decode_limit"]));
}

#[test]
fn a_body_that_is_not_what_it_says_is_recorded_as_sent() {
    for (fields, flag) in [
        ("Content-Encoding: gzip\r\n", Some("decode_failed")),
        ("Content-Encoding: rot13\r\n", Some("unknown_content_coding")),
        ("Content-Encoding: identity\r\n", None),
    ] {
        let (body, flags) = body(fields, b"plain after all");
        assert_eq!((&body["content"], &body["decoded"]), (&"plain after all".into(), &false.into()), "{fields}");
        assert_eq!((&body["truncated"], &body["captured"]), (&false.into(), &15.into()), "{fields}");
        assert_eq!(flags, flag.map_or(json!([]), |flag| json!([flag])), "{fields}");
    }
}

#[test]
fn a_start_line_behind_odd_white_space_is_kept() {
    let records = records(b"\r\n \r\nGET /\xff HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["request"]["target"], "/\u{fffd}");
    assert_eq!(records[0]["request"]["start_line_base64"], "R0VUIC//IEhUVFAvMS4w");
}

#[test]
fn words_that_no_field_has_stand_in_the_start_line() {
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (line, target) in
        [("GET /a b c HTTP/1.1", "/a"), ("GET  /a\t HTTP/1.1", "/a"), ("GET /a\x7fb HTTP/1.1", "/a\x7fb")]
    {
        let records = records(format!("{line}\r\nHost: h\r\n\r\n").as_bytes(), reply);
        let request = &records[0]["request"];
        assert_eq!((records.len(), &request["target"]), (1, &target.into()), "{line}");
        assert_eq!(records[0]["flags"], json!(["invalid_start_line"]), "{line}");
        let sent = STANDARD.decode(request["start_line_base64"].as_str().expect("the line as sent")).expect("base64");
        assert_eq!(sent, line.as_bytes());
        assert!(records[0]["response"]["start_line_base64"].is_null(), "the response keeps to the grammar");
    }
    let records = records(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1  200 \tOK\r\nContent-Length: 0\r\n\r\n");
    assert!(records[0]["response"]["start_line_base64"].is_string(), "{}", records[0]);
}

#[test]
fn bodies_share_the_room_of_their_line() {
    let message = |line: &str, body: &str| format!("{line}\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // A line feed takes two bytes.
    let request = message("POST / HTTP/1.1", &"\n".repeat(300));
    let response = message("HTTP/1.1 200 OK", &"x".repeat(900));
    for (limit, captured, flags) in [
        (10_000, (300, 900), json!([])),
        (1_500, (300, 757), json!(["body_not_captured"])),
        (400, (200, 0), json!(["body_not_captured"])),
    ] {
        let records = records_within(limit, request.as_bytes(), response.as_bytes());
        let captured_of = |side: &str| records[0][side]["body"]["captured"].as_u64().expect("a number");
        let (of_request, of_response) = (captured_of("request"), captured_of("response"));
        assert_eq!(of_request, captured.0, "{limit}");
        assert!(of_response.abs_diff(captured.1) <= 40, "{limit}: {of_response}");
        assert_eq!(records[0]["response"]["body"]["truncated"], of_response < 900, "{limit}");
        assert_eq!(records[0]["response"]["body"]["bytes"], 900, "{limit}");
        assert_eq!(records[0]["flags"], flags, "{limit}");
    }
}
