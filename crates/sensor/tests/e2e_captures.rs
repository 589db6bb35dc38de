//! Every bundled real capture, against what the programs that made it wrote down.
//!
//! Two witnesses: the logs of servers and clients (what was exchanged, and in which order each client asked), and a plain
//! reader of the whole streams (which response answers which request).

mod e2e_support;

use std::collections::BTreeMap;

use e2e_support::{
    Replayed, Run, Traced, header, packets_of, replay, run, run_well, said, sorted, without_place_and_time,
};
use fixtures::{Capture, LoggedExchange, captures};
use serde_json::{Value, json};

fn capture(name: &str) -> Capture {
    captures().into_iter().find(|capture| capture.name == name).unwrap()
}

fn program(capture: &Capture) -> Replayed {
    run_well(&capture.path, &[])
}

/// A record as the logs would have it.
fn logged(record: &Value) -> LoggedExchange {
    let (request, response) = (&record["request"], &record["response"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let bytes = |message: &Value| message["body"]["bytes"].as_u64().unwrap_or(0);
    // curl counts what it uploads with the chunk around it: its size in hexadecimal, three line ends, and the last chunk.
    let is_chunked = header(request, "transfer-encoding").is_some();
    let framing = if is_chunked { format!("{:x}\r\n\r\n0\r\n\r\n", bytes(request)).len() as u64 } else { 0 };
    LoggedExchange {
        method: text(&request["method"]).unwrap(),
        // Both as they stood in the field, whose host was in lower case.
        host: text(&request["host"]).map(|host| match request["port"].as_u64() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }),
        target: text(&request["target"]).unwrap(),
        status: u16::try_from(response["status"].as_u64().expect("an answer")).unwrap(),
        response_bytes: Some(bytes(response)),
        request_bytes: Some(bytes(request) + framing),
    }
}

/// The record without the lengths that no log says.
fn as_far_as_known(found: LoggedExchange, log: &LoggedExchange) -> LoggedExchange {
    LoggedExchange {
        response_bytes: log.response_bytes.and(found.response_bytes),
        request_bytes: log.request_bytes.and(found.request_bytes),
        ..found
    }
}

/// What is known of a whole log: captures of one client know the same of each exchange.
fn assert_as_logged(name: &str, records: &[Value], truth: &[LoggedExchange]) {
    let knows_requests = truth.iter().all(|log| log.request_bytes.is_some());
    let knows_responses = truth.iter().all(|log| log.response_bytes.is_some());
    let known = |log: LoggedExchange| LoggedExchange {
        request_bytes: log.request_bytes.filter(|_| knows_requests),
        response_bytes: log.response_bytes.filter(|_| knows_responses),
        ..log
    };
    assert_eq!(
        sorted(records.iter().map(|record| known(logged(record)))),
        sorted(truth.iter().cloned().map(known)),
        "{name}"
    );
}

#[test]
fn records_are_what_the_logs_say() {
    let mut compared = 0;
    for capture in captures() {
        let replayed = program(&capture);
        for record in &replayed.records {
            assert_eq!(record["outcome"], "paired", "{}: {record}", capture.name);
            for message in ["request", "response"] {
                assert!(record[message]["body"]["missing"].as_u64().unwrap_or(0) == 0, "{}: {record}", capture.name);
            }
        }
        assert_as_logged(&capture.name, &replayed.records, &capture.truth);
        assert_eq!(replayed.count("/messages/total"), 2 * capture.truth.len() as u64, "{}", capture.name);
        assert_eq!(replayed.count("/beside/gaps"), 0, "{}", capture.name);
        compared += capture.truth.len();
    }
    assert!(compared > 2_000, "{compared} exchanges");
}

/// One curl asks one thing after the other, numbered; so sorted by number, records stand in the order of the log.
#[test]
fn each_request_id_has_the_answer_that_was_logged_for_it() {
    let mut compared = 0;
    for capture in captures().iter().filter(|capture| !capture.truth.is_empty() && !capture.name.starts_with("wrk-")) {
        let mut records = program(capture).records;
        let id = |record: &Value| header(&record["request"], "x-request-id").expect("curl sent one").to_owned();
        // The proxy and what is behind it logged apart, the proxy first; each saw every id.
        records.sort_by_key(|record| (record["server"]["port"].as_u64() == Some(8090), id(record)));
        if capture.name != "proxy-any" {
            assert!(records.windows(2).all(|pair| id(&pair[0]) < id(&pair[1])), "{}: ids are unique", capture.name);
        }
        assert_eq!(records.len(), capture.truth.len(), "{}", capture.name);
        for (record, log) in records.iter().zip(&capture.truth) {
            assert_eq!(as_far_as_known(logged(record), log), *log, "{}: {}", capture.name, id(record));
            compared += 1;
        }
    }
    assert!(compared >= 220, "{compared} exchanges");
}

/// Answers of the API repeat the request's path and id in their body, behind nginx's own hands.
#[test]
fn answers_that_name_their_request_stand_beside_it() {
    let mut named = 0;
    for capture in captures() {
        for record in program(&capture).records {
            let target = record["request"]["target"].as_str().unwrap();
            if !target.starts_with("/api/") || record["response"]["status"] != 200 {
                continue;
            }
            let body = &record["response"]["body"];
            if body.is_null() {
                assert_eq!(record["request"]["method"], "HEAD", "{record}");
                continue;
            }
            let said: Value = serde_json::from_str(body["content"].as_str().unwrap()).unwrap();
            let id = header(&record["request"], "x-request-id").unwrap_or("");
            assert_eq!(said, json!({"path": target, "id": id}), "{}: {record}", capture.name);
            named += 1;
        }
    }
    assert!(named > 2_100, "{named} answers");
}

#[test]
fn a_plain_reader_finds_the_same_pairs() {
    let mut compared = 0;
    for capture in captures().iter().filter(|capture| !capture.truth.is_empty()) {
        let traced = Traced::new(packets_of(capture));
        let replayed = program(capture);
        assert_eq!(traced.wanted.len(), replayed.records.len(), "{}", capture.name);
        for record in &replayed.records {
            let asked = traced.asked(record).unwrap_or_else(|| panic!("{}: nobody asked {record}", capture.name));
            assert!(traced.answered(record).contains(&asked), "{}: another's answer in {record}", capture.name);
            compared += 1;
        }
    }
    assert!(compared > 2_000, "{compared} exchanges");
}

/// What the other end-to-end tests rely on when they use the library instead of a process for each case.
#[test]
fn the_library_gives_what_the_program_gives() {
    for capture in captures() {
        let (program, library) = (program(&capture), replay(&packets_of(&capture)));
        assert_eq!(library.lines, program.lines, "{}", capture.name);
        assert_eq!(library.ledger, program.ledger, "{}", capture.name);
    }
}

#[test]
fn transactions_count_up_on_each_connection() {
    for capture in captures() {
        let mut positions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for record in program(&capture).records {
            assert_eq!(record["connection"]["start"], "handshake", "{}: {record}", capture.name);
            let connection = record["connection"]["id"].as_str().unwrap().to_owned();
            positions.entry(connection).or_default().push(record["connection"]["transaction"].as_u64().unwrap());
        }
        for found in positions.values() {
            let counted: Vec<_> = (1..=found.len() as u64).collect();
            assert_eq!(*found, counted, "{}", capture.name);
        }
    }
}

#[test]
fn https_is_counted_and_named() {
    let capture = capture("https");
    let Run { code, stderr, replayed } = run(&[capture.path.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(replayed.lines.is_empty());
    let connections = fixtures::streams::reassemble(&packets_of(&capture));
    assert_eq!(replayed.count("/recognized/tls"), connections.len() as u64);
    let bytes: usize = connections.iter().map(|streams| streams.from_client.len() + streams.from_server.len()).sum();
    assert_eq!(replayed.count("/stream_bytes/not_http/tls"), bytes as u64, "every byte of it is TLS");
    let mut offers = vec![format!("secure.test {}", connections.len())];
    offers.extend(["TLS offers", "h2 ", "http/1.1 "].map(str::to_owned));
    for part in offers {
        assert!(stderr.contains(&part), "{stderr} does not say {part}");
    }
}

#[test]
fn http2_is_recognized_and_counted() {
    let capture = capture("http2-cleartext");
    let replayed = program(&capture);
    assert!(replayed.lines.is_empty());
    let connections = fixtures::streams::reassemble(&packets_of(&capture));
    assert_eq!(replayed.count("/recognized/http2"), connections.len() as u64);
    assert_eq!(replayed.count("/stream_bytes/not_http/http2"), replayed.count("/stream_bytes/total"));
}

#[test]
fn mirrored_traffic_names_its_tunnel() {
    for name in ["mirror-vxlan", "mirror-vxlan-fragments"] {
        let replayed = program(&capture(name));
        assert_eq!(replayed.records.len(), 28, "{name}");
        let tunnel = json!([{"kind": "vxlan", "source": "10.78.0.1", "destination": "10.78.0.2", "vni": 4242}]);
        assert!(replayed.records.iter().all(|record| record["tunnels"] == tunnel), "{name}");
        assert!(replayed.count("/tunnels/vxlan") > 0, "{name}");
    }
}

/// The same packets twice: from the wire, and from a mirror that had to break the full ones in two.
#[test]
fn fragments_of_mirrored_packets_are_joined() {
    let mirrored = program(&capture("mirror-vxlan-fragments"));
    let plain = program(&capture("nginx-keep-alive"));
    let said = |replayed: &Replayed| sorted(replayed.records.iter().map(said));
    assert_eq!(said(&mirrored), said(&plain));
    let joined = mirrored.count("/beside/datagrams_joined");
    assert!(joined > 100, "{joined}");
    assert_eq!(mirrored.count("/frames/joined"), joined, "two fragments each: one waits, one completes");
    assert_eq!(mirrored.count("/payload_bytes/total"), plain.count("/payload_bytes/total"));
}

/// On the loopback the `any` device shows every packet twice.
#[test]
fn packets_that_are_there_twice_are_counted() {
    let replayed = program(&capture("proxy-any"));
    assert!(replayed.count("/beside/duplicate_segments") > 20, "{:#}", replayed.ledger);
    assert!(replayed.count("/payload_bytes/already_seen") > 0);
}

/// Large responses: the content is cut at the limit, the lengths are not.
#[test]
fn a_long_body_is_cut_and_counted() {
    let capture = capture("nginx-download-offload");
    let usual = program(&capture);
    let whole = run_well(&capture.path, &["--body-limit", "16MiB"]);
    let none = run_well(&capture.path, &["--body-limit", "0"]);
    assert_eq!((usual.records.len(), whole.records.len(), none.records.len()), (3, 3, 3));
    for ((usual, whole), none) in usual.records.iter().zip(&whole.records).zip(&none.records) {
        let body = |record: &Value| record["response"]["body"].clone();
        assert_eq!(body(usual)["bytes"], body(whole)["bytes"]);
        assert_eq!(body(usual)["bytes"], body(none)["bytes"]);
        assert_eq!((&body(usual)["truncated"], &body(whole)["truncated"]), (&json!(true), &json!(false)));
        assert_eq!((&body(none)["captured"], &body(none)["truncated"]), (&json!(0), &json!(true)));
        let (usual, whole) = (body(usual)["content"].clone(), body(whole)["content"].clone());
        assert!(whole.as_str().unwrap().starts_with(usual.as_str().unwrap()));
        assert_eq!(whole.as_str().unwrap().len(), 600_000, "numbers in ASCII, gzip undone");
    }
    // Nothing but bodies depends on the limit.
    let heads = |replayed: &Replayed| -> Vec<Value> {
        let heads = replayed.records.iter().map(|record| {
            let mut record = without_place_and_time(record);
            record["response"].as_object_mut().unwrap().remove("body");
            record
        });
        heads.collect()
    };
    assert_eq!(heads(&usual), heads(&whole));
    assert_eq!(heads(&usual), heads(&none));
}
