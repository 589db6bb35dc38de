//! Misbehaviour on demand, as a sender sees it.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use collector::{Action, ClientCertificates, Collector, Fault, Options, Stage, StoreKind};
use support::{
    Certificates, FORM, JSON, NDJSON, TOKEN_PATH, batch, bearer, clients, edge, eventually, native, post, send, token,
    token_form,
};

fn start(faults: &[&str]) -> Collector {
    let faults = faults.iter().map(|text| text.parse().unwrap()).collect();
    Collector::start(Options { faults, clients: Some(clients()), ..Options::default() }).unwrap()
}

#[test]
fn answers_are_what_was_asked_for_so_often() {
    let collector = start(&["status=503,retry-after=7,count=2", "status=418,after=1"]);
    let at = collector.address();
    let token = bearer(&token(at));
    let send = |id: &str| post(at, "/api-transaction", &[JSON, &token], edge(id));
    let first = send("a");
    assert_eq!(
        (first.status, first.header("retry-after"), first.json()["error"].as_str()),
        (503, Some("7"), Some("fault"))
    );
    assert_eq!([send("a").status, send("a").status, send("a").status, send("b").status], [503, 200, 418, 200]);
    assert_eq!(collector.stats().faults, [("status", 3)].into());
    assert!(collector.faults().armed().is_empty());
    // No body where the status has none.
    collector.faults().add(Fault::status(204, 1)).unwrap();
    let empty = send("c");
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    // Reading and health are never struck.
    collector.faults().add(Fault::status(500, 1).times(None)).unwrap();
    assert_eq!(support::fetch(at, "/healthz").status, 200);
    assert_eq!(send("d").status, 500);
    collector.faults().clear();
    assert_eq!(send("d").status, 200);
    assert_eq!(collector.store().unwrap().ids().unwrap().len(), 3);
    assert!(collector.faults().add(Fault::new(Action::Proceed)).is_err());
}

#[test]
fn delays_delay() {
    let collector = start(&["delay=400ms,count=1", "delay=400ms,on=token"]);
    let begun = Instant::now();
    let token = bearer(&token(collector.address()));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    let begun = Instant::now();
    assert_eq!(post(collector.address(), "/native", &[NDJSON, &token], native(1)).status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_cut_reply_was_taken_all_the_same() {
    let collector = start(&["cut=reply"]);
    let at = collector.address();
    let token = bearer(&token(at));
    let mut stream = TcpStream::connect(at).unwrap();
    let body = batch(&[edge("a")]);
    write!(
        stream,
        "POST /api-transactions HTTP/1.1\r\nHost: a\r\n{JSON}\r\n{token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("{\"status\":\"OK\",\"received\":1"),
        "half of it: {answer}"
    );
    assert_eq!(collector.store().unwrap().count().unwrap(), 1);
    // Sent again, as a sender must, it is the same record.
    let again = post(at, "/api-transactions", &[JSON, &token], body);
    assert_eq!(again.json()["duplicates"], 1);
}

#[test]
fn a_cut_request_was_not_taken() {
    let collector = start(&["cut=request"]);
    let at = collector.address();
    let token = bearer(&token(at));
    let error = send(at, "POST", "/native", &[NDJSON, &token], native(1).as_bytes()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // And with more than fits into the buffers between: the sender is still writing.
    collector.faults().add(Fault::new(Action::CutRequest)).unwrap();
    let large = vec![b'\n'; 8 << 20];
    let error = send(at, "POST", "/native", &[NDJSON, &token], &large).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_eq!(collector.store().unwrap().count().unwrap(), 0);
    eventually("nothing is held", || collector.stats().bytes_held == 0);
    assert_eq!(post(at, "/native", &[NDJSON, &token], native(1)).status, 200);
}

#[test]
fn hanging_ends_with_the_client_or_the_collector() {
    let collector = start(&["hang,count=2", "hang,on=connection,after=3"]);
    let at = collector.address();
    let token = bearer(&token(at));
    for round in 0..2 {
        let mut stream = TcpStream::connect(at).unwrap();
        write!(stream, "POST /native HTTP/1.1\r\nHost: a\r\n{NDJSON}\r\n{token}\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let error = stream.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{round}: {error}");
        drop(stream);
        eventually("the collector lets go", || collector.stats().connections_open == 0);
    }
    let mut black_hole = TcpStream::connect(at).unwrap();
    write!(black_hole, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    black_hole.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(black_hole.read(&mut [0; 1]).is_err());
    assert_eq!(support::fetch(at, "/healthz").status, 200);
    collector.kill();
    black_hole.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(black_hole.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn connections_are_cut_before_anything_is_said() {
    let collector = start(&["cut=request,on=connection,count=2"]);
    for _ in 0..2 {
        assert!(send(collector.address(), "GET", "/healthz", &[], b"").is_err());
    }
    assert_eq!(support::fetch(collector.address(), "/healthz").status, 200);
}

#[test]
fn tokens_die_early_or_are_rejected() {
    let collector = start(&["token-life=1s", "reject-token,after=1", "expire,after=1"]);
    let at = collector.address();
    let short = post(at, TOKEN_PATH, &[FORM], token_form());
    assert_eq!(short.json()["expires_in"], 1800, "the answer does not tell");
    let short = bearer(short.json()["access_token"].as_str().unwrap());
    let send = |token: &str| post(at, "/native", &[NDJSON, token], native(1)).status;
    // The first passes, the second is rejected though its token is good, at the third all tokens expire.
    assert_eq!([send(&short), send(&short), send(&short)], [200, 401, 401]);
    let long = bearer(&token(at));
    assert_eq!(send(&long), 200);
    collector.faults().add("token-life=1s".parse().unwrap()).unwrap();
    let short = bearer(&token(at));
    assert_eq!(send(&short), 200);
    eventually("it dies", || send(&short) == 401);
    assert_eq!(send(&long), 200);
    // The token endpoint fails, too.
    collector.faults().add(Fault::status(500, 1).on(Stage::Token)).unwrap();
    assert_eq!(post(at, TOKEN_PATH, &[FORM], token_form()).status, 500);
    assert_eq!(post(at, TOKEN_PATH, &[FORM], token_form()).status, 200);
}

/// A sender that repeats what failed, against a tenth and more of faults: nothing is lost, nothing stored twice, and the
/// faults of a seed are the same every time.
#[test]
fn random_faults_lose_nothing() {
    let run = || {
        let faults = vec![
            Fault::random(0.3),
            Fault { stage: Stage::Connection, ..Fault::random(0.1) },
            Fault::random(0.2).on(Stage::Token),
        ];
        let options = Options { faults, fault_seed: 42, clients: Some(clients()), ..Options::default() };
        let collector = Collector::start(options).unwrap();
        let at = collector.address();
        let mut key = String::new();
        let mut tries = 0;
        for number in 0..60 {
            loop {
                tries += 1;
                assert!(tries < 2000);
                match send(at, "POST", "/native", &[NDJSON, &key, "X-A: b"], (native(number) + "\n").as_bytes()) {
                    Ok(reply) if reply.status == 200 => break,
                    Ok(reply) if reply.status == 401 => {
                        if let Ok(reply) = send(at, "POST", TOKEN_PATH, &[FORM], token_form().as_bytes())
                            && reply.status == 200
                        {
                            key = bearer(reply.json()["access_token"].as_str().unwrap());
                        }
                    }
                    _ => {}
                }
                if key.is_empty() {
                    key = "X-None: yet".to_owned();
                }
            }
        }
        let store = collector.store().unwrap();
        assert_eq!(store.count().unwrap(), 60);
        store.verify().unwrap();
        (tries, collector.shutdown().faults)
    };
    let (tries, faults) = run();
    assert!(faults.len() >= 5 && faults.values().sum::<u64>() > 20, "{faults:?}");
    assert_eq!(run(), (tries, faults));
}

#[test]
fn faults_strike_under_tls_and_in_a_null_store() {
    let certificates = Certificates::new();
    let options = Options {
        tls: Some(certificates.tls(ClientCertificates::Ignored)),
        store: StoreKind::Null,
        faults: vec!["status=503".parse().unwrap(), "cut=reply".parse().unwrap(), "cut=request".parse().unwrap()],
        ..Options::default()
    };
    let collector = Collector::start(options).unwrap();
    if !support::have("curl", "faults_strike_under_tls_and_in_a_null_store") {
        return;
    }
    let url = format!("https://localhost:{}/api-transaction", collector.address().port());
    let mut seen = Vec::new();
    for http in ["--http2", "--http2", "--http2", "--http1.1"] {
        let output = std::process::Command::new("curl")
            .current_dir(certificates.folder())
            .args([
                "--silent",
                "--max-time",
                "20",
                "--cacert",
                "ca.pem",
                "--write-out",
                "%{http_code}",
                "--output",
                "/dev/null",
            ])
            .args([http, "--header", JSON, "--data", &edge("a"), &url])
            .output()
            .unwrap();
        seen.push((output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap()));
    }
    assert_eq!(seen[0], (0, "503".to_owned()));
    assert!(seen[1].0 != 0 && seen[1].1 == "200", "{seen:?}");
    assert!(seen[2].0 != 0 && seen[2].1 == "000", "{seen:?}");
    assert_eq!(seen[3], (0, "200".to_owned()));
    assert_eq!(collector.shutdown().records, 2);
}
