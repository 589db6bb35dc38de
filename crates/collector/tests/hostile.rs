//! Senders that mean harm, or are broken: each is refused in bounded time and memory, and the collector goes on.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use collector::{ClientCertificates, Collector, Options, TimeLimits};
use support::{Certificates, JSON, NDJSON, batch, edge, eventually, fetch, native, post};

#[test]
fn hostile_json_is_refused() {
    let collector = Collector::start(Options::default()).unwrap();
    let at = collector.address();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let extra = |value: &str| batch(&[edge("x").replacen('{', &format!("{{\"extra\":{value},"), 1)]);
    let zeros = "0".repeat(1 << 20);
    for (name, body, status) in [
        ("deep arrays", deep(1_000_000), 400),
        ("deep objects", "{\"a\":".repeat(500_000), 400),
        ("deep within a field that is not read", extra(&deep(100_000)), 400),
        ("as deep as is allowed", extra(&deep(61)), 200),
        ("one deeper", extra(&deep(62)), 400),
        ("a million empty items", format!("{{\"data\":[{}0]}}", "0,".repeat(1_000_000)), 400),
        ("a huge number where one is read", batch(&[edge("y").replace("51234", "1e999999")]), 400),
        ("a number of a million digits", batch(&[edge("y").replace("51234", &format!("1{zeros}"))]), 400),
        ("a huge number that is not read", extra(&format!("1{zeros}e{zeros}1")), 200),
        ("a negative port", batch(&[edge("y").replace("51234", "-1")]), 400),
        ("a long id", batch(&[edge(&"i".repeat(201))]), 400),
        ("an id with a line feed", batch(&[edge("a\nb")]), 400),
        ("a lone surrogate", batch(&[edge("y").replace("api.example", "\\ud800")]), 400),
        ("a time beyond all calendars", batch(&[edge("y").replace("1690000000", "99999999999999999999")]), 400),
        ("NUL for nothing", "\0".repeat(1000), 400),
        ("blanks for ever", " ".repeat(1 << 20), 400),
        ("a string without an end", format!("{{\"data\":[\"{}", "\\\"".repeat(1 << 19)), 400),
        ("data twice", format!("{{\"data\":[{}],\"data\":[{}]}}", edge("y"), edge("z")), 400),
        ("an escaped name", batch(&[edge("w")]).replacen("data", "d\\u0061ta", 1), 200),
    ] {
        let reply = post(at, "/api-transactions", &[JSON], body);
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        assert!(reply.body.len() < 500, "{name}: an answer quotes nothing: {}", reply.text());
    }
    for bytes in [&b"\xff\xfe{}"[..], b"{\"data\":[\"\xc3\x28\"]}", b"\xed\xa0\x80"] {
        let reply = post(at, "/api-transactions", &[JSON], bytes);
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("bad_utf8")));
        assert_eq!(post(at, "/native", &[NDJSON], bytes).status, 400);
    }
    let reply = post(at, "/native", &[NDJSON], deep(1_000_000));
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("too_deep")));
    assert_eq!(post(at, "/native", &[NDJSON], "\n".repeat(1 << 20)).status, 200, "empty lines are nothing");
    let store = collector.store().unwrap();
    assert_eq!(store.ids().unwrap(), ["w".to_owned(), "x".to_owned()].into());
    store.verify().unwrap();
    // Whatever was stored is still JSON on its way out.
    let listing = fetch(at, "/transactions?records=true").json();
    assert_eq!(listing["transactions"].as_array().unwrap().len(), 2);
}

#[test]
fn bombs_are_stopped() {
    let collector = Collector::start(Options { max_decoded: 4 << 20, ..Options::default() }).unwrap();
    let zeros = vec![b' '; 64 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&zeros[..], ruzstd::encoding::CompressionLevel::Fastest);
    for (coding, bomb) in [("gzip", gzip), ("zstd", zstd)] {
        assert!(bomb.len() < 200_000, "{}", bomb.len());
        let reply =
            post(collector.address(), "/api-transactions", &[JSON, &format!("Content-Encoding: {coding}")], bomb);
        assert_eq!((reply.status, reply.json()["error"].as_str()), (413, Some("too_large")), "{coding}");
    }
    assert_eq!(collector.shutdown().bytes_held, 0);
}

#[test]
fn what_is_under_way_is_bounded() {
    let collector = Collector::start(Options { max_under_way: 1 << 20, ..Options::default() }).unwrap();
    let at = collector.address();
    // Half of a body is held for as long as the rest does not come.
    let mut slow = TcpStream::connect(at).unwrap();
    let head = format!("POST /native HTTP/1.1\r\nHost: a\r\n{NDJSON}\r\nContent-Length: 900001\r\n\r\n");
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&vec![b'\n'; 900_000]).unwrap();
    eventually("the body is held", || collector.stats().bytes_held >= 900_000);
    let reply = post(at, "/native", &[NDJSON], vec![b'\n'; 900_000]);
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    slow.write_all(b"\n").unwrap();
    let mut begin = [0; 12];
    slow.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    assert_eq!(post(at, "/native", &[NDJSON], vec![b'\n'; 900_000]).status, 200);
    assert_eq!(collector.stats().bytes_held, 0);
}

#[test]
fn slow_clients_are_let_go() {
    let certificates = Certificates::new();
    let short = Duration::from_millis(300);
    let time_limits = TimeLimits {
        handshake: short,
        head: short,
        body: short,
        idle: Duration::from_secs(2),
        ..TimeLimits::default()
    };
    let plain = Collector::start(Options { time_limits, ..Options::default() }).unwrap();
    let tls = Some(certificates.tls(ClientCertificates::Demanded));
    let tls = Collector::start(Options { tls, time_limits, ..Options::default() }).unwrap();
    let half = "POST /native HTTP/1.1\r\nHost: a\r\n";
    let body = format!("{half}{NDJSON}\r\nContent-Length: 100\r\n\r\n{{");
    for (name, at, said, status) in [
        ("nothing at all", plain.address(), "", ""),
        ("half a head", plain.address(), half, ""),
        ("half a body", plain.address(), &body, "408"),
        ("no handshake", tls.address(), "", ""),
        ("no TLS", tls.address(), half, ""),
        // The preface of HTTP/2, and then nothing.
        ("an idle connection of HTTP/2", plain.address(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{name}"),
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(status.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {answer}");
    }
    // One that never reads what it asked for.
    for number in 0..400 {
        let record =
            native(number).replacen("\"flags\":[]", &format!("\"flags\":[],\"more\":\"{}\"", "x".repeat(30_000)), 1);
        assert!(record.len() > 30_000);
        assert_eq!(post(plain.address(), "/native", &[NDJSON], record).status, 200);
    }
    let mut deaf = TcpStream::connect(plain.address()).unwrap();
    for _ in 0..4 {
        deaf.write_all(b"GET /transactions?records=true&limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    eventually("the deaf connection is closed", || plain.stats().connections_open == 0);
    assert_eq!(tls.shutdown().handshakes_failed, 2);
    assert_eq!(plain.stats().answers[&408], 1);
}

#[test]
fn connections_are_bounded_and_come_back() {
    let collector = Collector::start(Options { max_connections: 4, ..Options::default() }).unwrap();
    let open: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(collector.address()).unwrap()).collect();
    eventually("four are open", || collector.stats().connections_open == 4);
    let mut fifth = TcpStream::connect(collector.address()).unwrap();
    let closed = fifth.read(&mut [0; 1]);
    assert!(matches!(closed, Ok(0)) || closed.is_err());
    assert_eq!(collector.stats().connections_refused, 1);
    drop(open);
    eventually("they are closed", || collector.stats().connections_open == 0);
    assert_eq!(fetch(collector.address(), "/healthz").status, 200);
}

#[test]
fn broken_framing_ends_the_connection_only() {
    let collector = Collector::start(Options::default()).unwrap();
    let head = format!("POST /native HTTP/1.1\r\nHost: a\r\n{NDJSON}\r\n");
    for (name, bytes) in [
        ("noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100)),
        ("no number", format!("{head}Content-Length: many\r\n\r\n").into_bytes()),
        ("two lengths", format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab").into_bytes()),
        ("a chunk without a size", format!("{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n").into_bytes()),
        ("an endless head", format!("{head}X: {}", "y".repeat(2 << 20)).into_bytes()),
        ("many fields", format!("{head}{}\r\n", "a: b\r\n".repeat(10_000)).into_bytes()),
        ("an early end", format!("{head}Content-Length: 100\r\n\r\n{{").into_bytes()),
        ("a length beyond all", format!("{head}Content-Length: 99999999999999999999999\r\n\r\n").into_bytes()),
    ] {
        let mut stream = TcpStream::connect(collector.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The collector may be gone before all is written.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset, "{name}");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{name}");
    }
    assert_eq!(post(collector.address(), "/native", &[NDJSON], native(1)).status, 200);
    assert_eq!(collector.store().unwrap().count().unwrap(), 1);
}
