//! Every answer of the wire contract, and that the store is as it was after each refusal.

mod support;

use collector::{Collector, Options, StoreKind};
use support::{
    FORM, JSON, NDJSON, TOKEN_PATH, batch, bearer, clients, edge, fetch, native, post, send, token, token_form,
};

#[test]
fn records_are_taken_in_all_three_shapes() {
    let collector = Collector::start(Options::default()).unwrap();
    let at = collector.address();
    let reply = post(at, "/api-transaction", &[JSON], edge("one"));
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"OK"}"#));
    assert_eq!(reply.header("content-type"), Some("application/json"));

    let reply = post(
        at,
        "/api-transactions",
        &["content-type: Application/JSON ; charset=utf-8"],
        batch(&[edge("two"), edge("one")]),
    );
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"OK","received":2,"stored":1,"duplicates":1}"#));

    let reply = post(at, "/native", &[NDJSON], format!("{}\n{}\n", native(1), native(2)));
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"OK","received":2,"stored":2,"duplicates":0}"#));

    for (path, kind, body) in [("/api-transactions", JSON, r#"{"data":[]}"#), ("/native", NDJSON, "")] {
        let reply = post(at, path, &[kind], body);
        assert_eq!((reply.status, reply.json()["received"].as_u64()), (200, Some(0)), "an empty batch is one, too");
    }
    let store = collector.store().unwrap();
    assert_eq!(store.count().unwrap(), 4);
    // As sent, byte for byte.
    assert_eq!(store.transaction("two").unwrap().unwrap().record, edge("two"));
    let stats = collector.shutdown();
    assert_eq!((stats.batches, stats.records, stats.duplicates, stats.requests), (5, 5, 1, 5));
    assert_eq!(stats.answers, [(200, 5)].into());
    assert_eq!((stats.connections_open, stats.bytes_held), (0, 0));
    store.verify().unwrap();
}

#[test]
fn each_refusal_has_its_status_and_names_the_place() {
    let collector =
        Collector::start(Options { max_body: 100_000, max_decoded: 200_000, ..Options::default() }).unwrap();
    let at = collector.address();
    assert_eq!(post(at, "/api-transaction", &[JSON], edge("kept")).status, 200);
    let bad = edge("bad").replace("\"http-method\":\"GET\",", "");
    let native_bad = native(7).replace("\"outcome\":\"paired\"", "\"outcome\":\"sometimes\"");
    let large = batch(&[edge("a"), format!("{{\"x\":\"{}\"}}", "x".repeat(100_000))]);
    // Path, fields, body; status, error, index, field.
    type Case<'a> = (&'a str, &'a [&'a str], String, u16, &'a str, Option<u64>, Option<&'a str>);
    let cases: &[Case<'_>] = &[
        ("/api-transaction", &[JSON], "{".into(), 400, "bad_json", None, None),
        ("/api-transaction", &[JSON], String::new(), 400, "bad_json", None, None),
        ("/api-transaction", &[JSON], bad.clone(), 400, "missing_field", None, Some("request.http-method")),
        ("/api-transaction", &[JSON], batch(&[edge("a")]), 400, "missing_field", None, Some("timestamp")),
        (
            "/api-transactions",
            &[JSON],
            batch(&[edge("a"), edge("b"), bad]),
            400,
            "missing_field",
            Some(2),
            Some("request.http-method"),
        ),
        ("/api-transactions", &[JSON], batch(&[edge("a"), "1".into()]), 400, "invalid_field", Some(1), None),
        ("/api-transactions", &[JSON], format!("{}x", batch(&[edge("a")])), 400, "bad_json", None, None),
        ("/api-transactions", &[JSON], edge("a"), 400, "missing_field", None, Some("data")),
        (
            "/native",
            &[NDJSON],
            format!("{}\n{native_bad}\n", native(1)),
            400,
            "invalid_field",
            Some(1),
            Some("outcome"),
        ),
        (
            "/native",
            &[NDJSON],
            format!("{}\n{}", native(1), &native(2)[..300]),
            400,
            "bad_json",
            Some(1),
            Some("request.body"),
        ),
        ("/api-transactions", &[], batch(&[edge("a")]), 415, "wrong_type", None, None),
        ("/api-transactions", &[NDJSON], batch(&[edge("a")]), 415, "wrong_type", None, None),
        ("/native", &[JSON], native(1), 415, "wrong_type", None, None),
        ("/native", &[NDJSON, "Content-Encoding: br"], native(1), 415, "unsupported_coding", None, None),
        ("/native", &[NDJSON, "Content-Encoding: gzip"], native(1), 400, "bad_coding", None, None),
        ("/api-transactions", &[JSON], large, 413, "too_large", None, None),
        ("/elsewhere", &[JSON], edge("a"), 404, "not_found", None, None),
        ("/healthz", &[JSON, "X-HTTP-Method-Override: DELETE"], String::new(), 200, "", None, None),
    ];
    for (path, fields, body, status, error, index, field) in cases {
        let reply = post(at, path, fields, body);
        let shown = format!("{path} {fields:?}: {}", reply.text());
        assert_eq!(reply.status, *status, "{shown}");
        if error.is_empty() {
            continue;
        }
        let answer = reply.json();
        assert_eq!(answer["error"].as_str(), Some(*error), "{shown}");
        assert_eq!(answer["index"].as_u64(), *index, "{shown}");
        if field.is_some() {
            assert_eq!(answer["field"].as_str(), *field, "{shown}");
        }
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{shown}");
    }
    let reply = send(at, "PUT", "/api-transaction", &[JSON], b"").unwrap();
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(
        post(at, "/native", &[NDJSON, "Content-Encoding: br"], native(1)).header("accept-encoding"),
        Some("gzip, zstd")
    );

    let store = collector.store().unwrap();
    assert_eq!(store.ids().unwrap(), ["kept".to_owned()].into(), "a refused batch leaves nothing behind");
    store.verify().unwrap();
    assert_eq!(collector.shutdown().bytes_held, 0);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    use std::io::{Read, Write};
    let collector = Collector::start(Options { max_body: 1000, ..Options::default() }).unwrap();
    let mut stream = std::net::TcpStream::connect(collector.address()).unwrap();
    let head = "POST /native HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 413", "no 100 (Continue) for what is not wanted");
    // Chunked, its length is not known beforehand.
    let mut stream = std::net::TcpStream::connect(collector.address()).unwrap();
    let head = "POST /native HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{head}400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024)).as_bytes()).unwrap();
    assert_eq!(support::reply(&mut stream).unwrap().status, 413);
}

#[test]
fn compressed_bodies_are_taken() {
    use std::io::Write;
    let collector = Collector::start(Options::default()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(batch(&[edge("gzip")]).as_bytes()).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(native(1).as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let at = collector.address();
    assert_eq!(post(at, "/api-transactions", &[JSON, "Content-Encoding: gzip"], gzip.finish().unwrap()).status, 200);
    assert_eq!(post(at, "/native", &[NDJSON, "Content-Encoding: zstd"], zstd).status, 200);
    assert_eq!(post(at, "/native", &[NDJSON, "Content-Encoding: identity"], native(2)).status, 200);
    assert_eq!(collector.store().unwrap().count().unwrap(), 3);
}

#[test]
fn tokens_are_issued_and_asked_for() {
    let collector = Collector::start(Options { clients: Some(clients()), ..Options::default() }).unwrap();
    let at = collector.address();
    // RFC 6749, section 5.2.
    for (form, fields, status, error) in [
        ("grant_type=password", &[FORM][..], 400, "unsupported_grant_type"),
        ("client_id=a", &[FORM], 400, "invalid_request"),
        ("grant_type=client_credentials", &[FORM], 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=sensor-1&client_secret=wrong", &[FORM], 401, "invalid_client"),
        ("grant_type=client_credentials", &[FORM, "Authorization: Basic c2Vuc29yLTE6d3Jvbmc="], 401, "invalid_client"),
        (&token_form(), &[JSON], 400, "invalid_request"),
    ] {
        let reply = post(at, TOKEN_PATH, fields, form);
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{form}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let basic = fields.len() == 2;
        assert_eq!(reply.header("www-authenticate").is_some(), basic, "{form}");
    }
    assert_eq!(post(at, "/auth/realms/other/protocol/openid-connect/token", &[FORM], token_form()).status, 404);
    assert_eq!(post(at, TOKEN_PATH, &[FORM], "a".repeat(20 << 10)).status, 413);
    let reply = post(at, TOKEN_PATH, &[FORM], token_form());
    let answer = reply.json();
    assert_eq!((answer["expires_in"].as_u64(), answer["token_type"].as_str()), (Some(1800), Some("Bearer")));
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(token.split('.').count(), 3);

    let with = bearer(token);
    assert_eq!(post(at, "/api-transaction", &[JSON, &with], edge("a")).status, 200);
    let missing = post(at, "/api-transaction", &[JSON], edge("b"));
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some("Bearer realm=\"cequence\"")));
    for wrong in [bearer("nonsense"), bearer(&token[..token.len() - 2]), bearer(&token.replace('.', "%2E"))] {
        let reply = post(at, "/api-transactions", &[JSON, &wrong], batch(&[edge("c")]));
        assert_eq!(reply.status, 401);
        assert!(reply.header("www-authenticate").unwrap().contains("error=\"invalid_token\""), "{}", reply.head);
    }
    assert_eq!(post(at, "/native", &[NDJSON, &with, &with], native(1)).status, 401, "two tokens are none");
    collector.expire_tokens();
    let expired = post(at, "/api-transaction", &[JSON, &with], edge("d"));
    assert_eq!(expired.status, 401);
    assert!(expired.header("www-authenticate").unwrap().contains("expired"));
    // Reading needs it as well; health does not.
    assert_eq!(
        (fetch(at, "/transactions").status, fetch(at, "/").status, fetch(at, "/healthz").status),
        (401, 401, 200)
    );
    let again = bearer(&support::token(at));
    assert_eq!(send(at, "GET", "/transactions/a", &[&again], b"").unwrap().text(), edge("a"));

    assert_eq!(collector.store().unwrap().count().unwrap(), 1);
    let stats = collector.shutdown();
    assert_eq!((stats.tokens_issued, stats.tokens_refused), (2, 8));
}

#[test]
fn a_short_lifetime_ends() {
    let lifetime = std::time::Duration::from_secs(1);
    let issuer = collector::TokenIssuer { lifetime, ..clients() };
    let collector = Collector::start(Options { clients: Some(issuer), ..Options::default() }).unwrap();
    let token = bearer(&token(collector.address()));
    assert_eq!(post(collector.address(), "/native", &[NDJSON, &token], native(1)).status, 200);
    support::eventually("the token expires", || {
        post(collector.address(), "/native", &[NDJSON, &token], native(1)).status == 401
    });
}

#[test]
fn the_null_store_counts_and_forgets() {
    let options =
        Options { store: StoreKind::Null, max_body: 10_000_000, clients: Some(clients()), ..Options::default() };
    let collector = Collector::start(options).unwrap();
    let at = collector.address();
    let token = bearer(&token(at));
    let records: Vec<String> = (0..2000).map(|number| edge(&number.to_string())).collect();
    let body = batch(&records);
    let reply = post(at, "/api-transactions", &[JSON, &token], &body);
    assert_eq!((reply.status, reply.json()["received"].as_u64()), (200, Some(2000)));
    let lines: String = (0..100).map(|number| native(number) + "\n").collect();
    assert_eq!(post(at, "/native", &[NDJSON, &token], &lines).json()["received"], 100);
    assert_eq!(post(at, "/api-transaction", &[JSON, &token], edge("a")).text(), r#"{"status":"OK"}"#);
    // The same checks up to the body, and a glance at it.
    assert_eq!(post(at, "/api-transaction", &[JSON], edge("a")).status, 401);
    assert_eq!(post(at, "/api-transaction", &[NDJSON, &token], edge("a")).status, 415);
    assert_eq!(post(at, "/api-transaction", &[JSON, &token], "nonsense").status, 400);
    assert_eq!(post(at, "/api-transaction", &[JSON, &token], "").status, 400);
    assert_eq!(post(at, "/api-transaction", &[JSON, &token], vec![b'{'; 10_000_001]).status, 413);
    let reply = send(at, "GET", "/transactions", &[&token], b"").unwrap();
    assert_eq!((reply.status, reply.json()["error"].as_str()), (404, Some("null_store")));
    assert_eq!(fetch(at, "/healthz").status, 200);
    assert!(collector.store().is_none());
    let stats = collector.shutdown();
    assert_eq!((stats.records, stats.batches), (2101, 3));
    assert_eq!(stats.body_bytes, (body.len() + lines.len() + edge("a").len()) as u64);
}

#[test]
fn contradictions_are_said_at_the_start() {
    let error = |options: Options| Collector::start(options).unwrap_err().to_string();
    assert!(error(Options { listen: vec![], ..Options::default() }).contains("no address"));
    assert!(error(Options { view: Some("192.0.2.1:0".parse().unwrap()), ..Options::default() }).contains("loopback"));
    assert!(error(Options { threads: 0, ..Options::default() }).contains("threads"));
    let empty = collector::TokenIssuer { client_secret: "".into(), ..clients() };
    assert!(error(Options { clients: Some(empty), ..Options::default() }).contains("secret"));
    let odd = collector::TokenIssuer { realm: "a/b".into(), ..clients() };
    assert!(error(Options { clients: Some(odd), ..Options::default() }).contains("realm"));
    let first = Collector::start(Options::default()).unwrap();
    let taken = error(Options { listen: vec![first.address()], ..Options::default() });
    assert!(taken.contains(&first.address().to_string()) && taken.contains("port that is free"), "{taken}");
    // And once it is gone, the address is free again at once.
    let address = first.address();
    first.shutdown();
    Collector::start(Options { listen: vec![address], ..Options::default() }).unwrap();
}
