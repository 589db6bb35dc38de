//! Edge records: what the platform takes, field by field, and held against `serde_json` for any exchange.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use decap::{TunnelId, TunnelKind};
use http_parse::testing::Parts;
use http_parse::{Flag, Version};
use proptest::prelude::*;
use sensor::record::{
    Admission, EdgeOptions, HeaderValues, Outcome, RecordOptions, RecordWriter, Shape, Unanswered, Unsealed, Written,
    without_bodies,
};
use serde_json::{Value, json};

use super::reading;
use super::support::{SECOND, Sample, endpoint, flags, hop, request, response, shapes, with_body};

fn options() -> EdgeOptions {
    EdgeOptions {
        source_version: "0.0.0".to_owned(),
        pool_id: "eu-1".to_owned(),
        instance_id: "sensor-7".to_owned(),
        filter_name: Some("all".to_owned()),
        ..EdgeOptions::default()
    }
}

/// The line, without its line feed, and what the writer said of it.
fn write_with(sample: &Sample, options: RecordOptions) -> (String, Written) {
    let mut out = Vec::new();
    let (id, written) = sample.write_with(&mut RecordWriter::new(options), &mut out);
    let line = String::from_utf8(out).expect("a record is UTF-8");
    assert_eq!(written.is_recorded, !line.is_empty());
    assert_eq!(line.matches('\n').count(), usize::from(written.is_recorded));
    if written.is_recorded {
        assert!(line.contains(&format!("\"transaction-id\":\"{id}\"")), "{id} in {line}");
    }
    (line.trim_end().to_owned(), written)
}

fn write(sample: &Sample, edge: EdgeOptions) -> (String, Written) {
    write_with(sample, sample.options(Shape::Edge(edge)))
}

pub(crate) fn record(sample: &Sample) -> Value {
    serde_json::from_str(&write(sample, options()).0).expect("a record is JSON")
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `printf hello | gzip -n9`
const HELLO: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0";

/// A whole record of every shape, as committed. A change here is a change of what the platform is sent.
#[test]
fn every_shape() {
    for (name, sample) in shapes() {
        let (line, written) = write(&sample, options());
        if sample.request.is_none() {
            assert!(!written.is_recorded, "{name}");
            continue;
        }
        insta::assert_snapshot!(format!("edge_{name}"), line.replace(",\"", ",\n\""));
    }
}

/// One part of a record for each rule.
#[test]
fn rules() {
    let rule = |name: &str, part: &str, sample: &Sample| {
        let record = record(sample);
        let part = record.pointer(part).unwrap_or(&Value::Null);
        insta::assert_snapshot!(format!("edge_rule_{name}"), serde_json::to_string_pretty(part).expect("JSON"));
    };
    let get = |target: &str, headers: &[(&str, &str)]| Sample {
        request: Some(request("GET", target, headers)),
        ..Sample::pair()
    };
    let answered = |answer: Parts| Sample { response: Some(answer), ..Sample::pair() };

    let mut early = Sample::pair();
    early.request.as_mut().expect("a request").start.at = SECOND + 7_999_999;
    rule("timestamp_in_milliseconds", "/timestamp", &early);
    rule("source_info", "/txn-meta-data/source_info", &Sample::pair());
    rule("filter_info", "/txn-meta-data/filter_info", &Sample::pair());
    rule("sdp_info_without_masking", "/txn-meta-data/sdp_info", &Sample::pair());
    rule("connection", "/request/connection", &Sample::pair());
    let deep = Sample { index: Some(70_000), ..Sample::pair() };
    rule("depth_is_capped", "/request/connection/transaction-depth", &deep);
    rule("depth_is_told_in_full", "/txn-meta-data/data_extractions/connection/transaction", &deep);
    rule("absolute_form", "/request", &get("HTTPS://user@shop.example:81?q=1", &[("Host", "other.example")]));
    rule("no_host", "/request/host", &get("/", &[]));
    let mut old = get("/", &[]);
    old.request.as_mut().expect("a request").version = Version { major: 1, minor: 0 };
    rule("http_version", "/request/http-version", &old);
    rule(
        "repeated_fields",
        "/response/headers",
        &answered(response(200, "OK", &[("Set-Cookie", "a=1; Path=/"), ("Vary", ""), ("set-cookie", "b=\"2\"")])),
    );
    let mut bytes = Sample::pair();
    let fields = &mut bytes.request.as_mut().expect("a request").headers;
    fields.push((b"X-\xe9\"".to_vec(), b"\xff\0".to_vec()));
    rule("fields_that_are_not_utf8", "/request/headers", &bytes);
    rule("binary_body", "/response", &answered(with_body(response(200, "OK", &[]), b"\0\xff\xfe")));
    let mut cut = with_body(response(200, "OK", &[("Content-Type", "text/plain")]), b"so far");
    cut.body_bytes = 100_000;
    rule("truncated_body", "/response", &answered(cut.clone()));
    cut.body.clear();
    rule("body_not_captured", "/response", &answered(cut.clone()));
    // What a peer says of itself under the sensor's name stands aside, whether the body is cut or not.
    let claims = [("Cq-Body-Truncated", "false"), ("ETag", "1"), ("CQ-BODY-TRUNCATED", "true")];
    cut.headers = response(200, "OK", &claims).headers;
    rule("truncation_claimed_of_a_cut_body", "/response/headers", &answered(cut.clone()));
    rule("truncation_claimed_is_told", "/txn-meta-data/data_extractions/response", &answered(cut));
    let whole = with_body(response(200, "OK", &claims), b"all of it");
    rule("truncation_claimed_of_a_whole_body", "/response/headers", &answered(whole));
    let coded = |coding: &str, body: &[u8]| {
        answered(with_body(response(200, "OK", &[("Content-Encoding", coding), ("ETag", "1")]), body))
    };
    rule("decoded_body", "/response", &coded("gzip", HELLO));
    rule("decoded_body_is_told", "/txn-meta-data/data_extractions/response", &coded("gzip", HELLO));
    rule("unknown_coding", "/response", &coded("zebra", HELLO));
    rule("broken_coding", "/response", &coded("gzip", &HELLO[..20]));
    rule("unanswered", "/response", &Sample::unanswered());
    let mut trailed = with_body(response(200, "OK", &[]), b"x");
    trailed.trailers = vec![(b"X-Sum".to_vec(), b"1".to_vec()), (b"X-Sum".to_vec(), b"2".to_vec())];
    rule("trailers", "/txn-meta-data/data_extractions/response", &answered(trailed));
    let mut through = Sample::pair();
    through.path.hops.push(hop(TunnelKind::Vxlan, "203.0.113.1", "203.0.113.2", TunnelId::Vni(4711)));
    through.path.vlans.push(9);
    through.flags = flags(&[Flag::BareLf]);
    rule("provenance", "/txn-meta-data/data_extractions", &through);
}

#[test]
fn options_are_used() {
    let mut edge = options();
    (edge.version, edge.scheme, edge.filter_name) = ("0.1".to_owned(), "https".to_owned(), None);
    let line = write(&Sample::pair(), edge).0;
    let record: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&record["version"], &record["request"]["http-scheme"]), (&"0.1".into(), &"https".into()));
    assert!(record["txn-meta-data"].get("filter_info").is_none());
}

#[test]
fn header_values_as_text() {
    let text = EdgeOptions { header_values: HeaderValues::Text, ..options() };
    let mut answer = with_body(response(200, "OK", &[("ETag", "\"a\"")]), &[b'x'; 100]);
    answer.headers.push((b"X-\xe9".to_vec(), b"caf\xe9\r\n y".to_vec()));
    answer.trailers.push((b"T".to_vec(), b"1".to_vec()));
    let sample = Sample { response: Some(answer), ..Sample::pair() };
    let fields = ["ETag:\"a\"", "X-\u{fffd}:caf\u{fffd}\r\n y"];
    let cut = ["cq-body-truncated:true", fields[0], fields[1]];
    let whole = write(&sample, text.clone()).0;
    let record: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(record["response"]["headers"], json!(fields));
    assert_eq!(record["txn-meta-data"]["data_extractions"]["response"]["trailers"], json!(["T:1"]));
    let bare = write(&sample, EdgeOptions { body_limit: 0, ..text }).0;
    let record: Value = serde_json::from_str(&bare).expect("JSON");
    assert_eq!(record["response"]["headers"], json!(cut));
    assert_eq!(without_bodies(whole.as_bytes(), HeaderValues::Text), Some(bare.into_bytes()));
}

#[test]
fn unanswered_requests_are_written_as_chosen() {
    let written = |unanswered| write(&Sample::unanswered(), EdgeOptions { unanswered, ..options() });
    let (line, said) = written(Unanswered::Status(504));
    let record: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(record["response"], json!({"status-code": "504", "body": {"length": 0, "data": ""}, "headers": []}));
    assert_eq!(record["txn-meta-data"]["data_extractions"]["outcome"], "unanswered");
    assert!(said.is_recorded);
    let (line, said) = written(Unanswered::Left);
    assert_eq!((line.as_str(), said.is_recorded, said.outcome), ("", false, Outcome::Unanswered));
    // The choice is about them alone.
    let all = EdgeOptions { unanswered: Unanswered::Left, ..options() };
    assert_eq!(write(&Sample::pair(), all).0, write(&Sample::pair(), options()).0);
}

#[test]
fn an_orphan_leaves_no_trace_but_the_word() {
    let mut records = Unsealed::default();
    let mut writer = RecordWriter::new(Sample::pair().options(Shape::Edge(options())));
    for sample in [Sample::pair(), Sample::orphan(), Sample::unanswered(), Sample::orphan()] {
        let written =
            sample.exchange(|meta, exchange| writer.append(meta, exchange, Admission::UNFILTERED, &mut records));
        assert_eq!(written.is_recorded, sample.request.is_some());
    }
    let sealed = records.seal();
    assert_eq!(sealed.records.len(), 2);
    for ((id, json), sample) in sealed.iter().zip([Sample::pair(), Sample::unanswered()]) {
        assert_eq!(String::from_utf8_lossy(json), write(&sample, options()).0);
        assert_eq!(serde_json::from_slice::<Value>(json).expect("JSON")["transaction-id"], id.to_string());
    }
}

/// Both limits cut, and what is cut says so; only the memory's is our loss.
#[test]
fn long_bodies_are_cut() {
    let body: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    let sample = Sample { response: Some(with_body(response(200, "OK", &[]), &body)), ..Sample::pair() };
    for (body_limit, content_limit, expected, is_ours) in [
        (usize::MAX, usize::MAX, 50_000, false),
        (32 << 10, usize::MAX, 32 << 10, false),
        (32 << 10, 4_000, 2_998, true),
        (0, usize::MAX, 0, false),
        (usize::MAX, 0, 0, true),
    ] {
        let edge = Shape::Edge(EdgeOptions { body_limit, ..options() });
        let (line, written) = write_with(&sample, RecordOptions { content_limit, ..sample.options(edge) });
        let record: Value = serde_json::from_str(&line).expect("JSON");
        let data = record["response"]["body"]["data"].as_str().expect("a string");
        let data = STANDARD.decode(data).expect("base64");
        assert!(data.len().abs_diff(expected) <= 3 && body.starts_with(&data), "{body_limit} {content_limit}");
        assert_eq!(record["response"]["body"]["length"], 50_000);
        let is_told = record["response"]["headers"] == json!([format!("cq-body-truncated:{}", base64(b"true"))]);
        assert_eq!(is_told, expected < 50_000, "{record:#}");
        assert_eq!(written.flags.contains(Flag::BodyNotCaptured), is_ours);
    }
}

fn expected(sample: &Sample) -> Value {
    let request = sample.request.as_ref().expect("a request");
    let native = reading::request(request);
    let uri = match (native["path"].as_str(), native["query"].as_str()) {
        (None, _) => String::from_utf8_lossy(&request.target).into_owned(),
        (Some(path), None) => path.to_owned(),
        (Some(path), Some(query)) => format!("{path}?{query}"),
    };
    let mut sent = json!({
        "client-ip": sample.client.ip.to_string(),
        "http-scheme": native["scheme"],
        "http-version": native["version"],
        "http-method": native["method"],
        "uri-query-fragment": uri,
        "host": native["host"].as_str().unwrap_or_default(),
        "connection": {
            "connection-ip": sample.client.ip.to_string(),
            "connection-port": sample.client.port,
            "server-ip": sample.server.ip.to_string(),
            "server-port": sample.server.port,
            "transaction-depth": sample.index.expect("an index").min(65_535),
        },
    });
    add_message(&mut sent, request);
    let mut record = json!({
        "timestamp": format!("{}.{:03}", request.start.at / 1_000_000_000, request.start.at / 1_000_000 % 1_000),
        "version": "1.0",
        "transaction-id": null,
        "request": sent,
        "txn-meta-data": {
            "source_info": {"version": "0.0.0", "type": "sensor", "pool_id": "eu-1", "instance_id": "sensor-7"},
            "filter_info": {"filter_name": "all"},
            "sdp_info": {"skipped": true, "found": 0, "transformed": 0, "locations": []},
            "data_extractions": {
                "sensor": sample.sensor,
                "outcome": if sample.response.is_some() { "paired" } else { "unanswered" },
                "connection": {
                    "id": null,
                    "transaction": sample.index,
                    "start": if sample.handshake { "handshake" } else { "mid_stream" },
                },
                "tunnels": sample.path.hops.iter().map(reading::tunnel).collect::<Vec<_>>(),
                "vlans": sample.path.vlans.to_vec(),
                "flags": Flag::ALL.iter().filter(|flag| sample.flags.contains(**flag)).map(|flag| flag.name())
                    .collect::<Vec<_>>(),
                "request": extraction(request),
            },
        },
    });
    let told = &mut record["txn-meta-data"]["data_extractions"];
    told["client_source"] = "connection".into();
    for name in ["normalized_path", "template"] {
        if let Some(text) = native[name].as_str() {
            told[name] = text.into();
        }
    }
    if let Some(parts) = &sample.response {
        let mut answer = json!({"status-code": parts.status.to_string()});
        add_message(&mut answer, parts);
        record["response"] = answer;
        record["txn-meta-data"]["data_extractions"]["response"] = extraction(parts);
    }
    record
}

fn fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<Value> {
    fields.iter().map(|(name, value)| format!("{}:{}", String::from_utf8_lossy(name), base64(value)).into()).collect()
}

fn add_message(message: &mut Value, parts: &Parts) {
    message["body"] = json!({"length": parts.body_bytes, "data": base64(&parts.body)});
    let mut headers = fields(&parts.headers);
    if parts.body_missing > 0 || parts.body_bytes > parts.body.len() as u64 {
        headers.insert(0, format!("cq-body-truncated:{}", base64(b"true")).into());
    }
    message["headers"] = headers.into();
}

fn extraction(parts: &Parts) -> Value {
    let mut told = json!({
        "time": reading::time(parts.start.at),
        "end_time": reading::time(parts.end_at),
        "missing": parts.body_missing,
        "decoded": false,
    });
    if !parts.trailers.is_empty() {
        told["trailers"] = fields(&parts.trailers).into();
    }
    told
}

fn check(sample: &Sample) {
    let (line, written) = write(sample, options());
    if sample.request.is_none() {
        assert_eq!((line.as_str(), written.is_recorded), ("", false));
        return;
    }
    let mut record: Value = serde_json::from_str(&line).expect("a record is JSON");
    assert_eq!(record["transaction-id"].take().as_str().map(str::len), Some(32));
    let id = record["txn-meta-data"]["data_extractions"]["connection"]["id"].take();
    assert_eq!(id.as_str().map(str::len), Some(16));
    assert_eq!(record, expected(sample));
}

/// What `without_bodies` makes of a written record is what would have been written with no room for bodies.
fn check_without_bodies(sample: &Sample) {
    let whole = write(sample, options()).0;
    let bare = write(sample, EdgeOptions { body_limit: 0, ..options() }).0;
    match without_bodies(whole.as_bytes(), HeaderValues::Base64) {
        Some(smaller) => {
            assert_eq!(String::from_utf8(smaller).expect("UTF-8"), bare);
            assert_eq!(without_bodies(bare.as_bytes(), HeaderValues::Base64), None, "there is nothing left to take");
        }
        None => assert!(bare.len() >= whole.len()),
    }
}

#[test]
fn every_shape_is_read_as_it_was() {
    for (name, sample) in shapes() {
        // What content decoding does is another test's matter.
        if name != "coded_body" {
            check(&sample);
        }
        check_without_bodies(&sample);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_exchange_is_read_as_it_was(sample in reading::sample()) {
        check(&sample);
        check_without_bodies(&sample);
    }

    /// Addresses of both families, any port and any time: the shape has no other numbers.
    #[test]
    fn numbers_are_in_range(sample in reading::sample(), index in any::<u32>()) {
        let mut sample = sample;
        sample.client = endpoint("2001:db8::1", u16::MAX);
        sample.index = sample.index.map(|_| index);
        let line = write(&sample, options()).0;
        if !line.is_empty() {
            let record: Value = serde_json::from_str(&line).expect("JSON");
            let depth = record["request"]["connection"]["transaction-depth"].as_u64().expect("a number");
            prop_assert_eq!(depth, u64::from(index.min(65_535)));
        }
    }
}
