//! Neither secret nor token nor payload is in any log, error or `Debug` text.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use collector::{ClientCertificates, Collector, Options};
use support::{Certificates, FORM, JSON, SECRET, TOKEN_PATH, batch, bearer, clients, edge, post, send, token_form};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The only test of this program, because what logs is the whole process.
#[test]
fn nothing_secret_is_said() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();

    let certificates = Certificates::new();
    let options = Options {
        clients: Some(clients()),
        faults: vec!["status=500,after=4".parse().unwrap(), "cut=reply,after=4".parse().unwrap()],
        ..Options::default()
    };
    let mut said = format!("{options:?}");
    let collector = Collector::start(options.clone()).unwrap();
    let at = collector.address();
    let reply = post(at, TOKEN_PATH, &[FORM], token_form());
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();
    let payload = "payload-of-a-customer";
    let record = edge("a").replace("/v1/orders?a=1", payload);
    let mut answers = Vec::new();
    for (path, fields, body) in [
        (TOKEN_PATH, vec![FORM], token_form().replace("sensor-1", "sensor-2")),
        (TOKEN_PATH, vec![FORM], token_form().replace("client_credentials", "password")),
        (TOKEN_PATH, vec![JSON], token_form()),
        ("/api-transaction", vec![JSON, &bearer(&token)], record.clone()),
        ("/api-transaction", vec![JSON, &bearer(&format!("{token}x"))], record.clone()),
        (
            "/api-transactions",
            vec![JSON, &bearer(&token)],
            batch(&[record.replace("51234", &format!("\"{payload}\""))]),
        ),
        ("/api-transactions", vec![JSON, &bearer(&token)], format!("{{\"data\":[{payload}")),
        ("/api-transactions", vec![JSON, &bearer(&token)], batch(std::slice::from_ref(&record))),
        ("/api-transactions", vec![JSON, &bearer(&token)], batch(&[record])),
    ] {
        match send(at, "POST", path, &fields, body.as_bytes()) {
            Ok(reply) => {
                answers.push(reply.status);
                said.push_str(reply.text());
            }
            Err(error) => said.push_str(&error.to_string()),
        }
    }
    assert_eq!(answers, [401, 400, 400, 200, 401, 400, 400, 500], "the last is cut");
    said.push_str(&format!("{collector:?} {:?} {:?}", collector.faults(), collector.stats()));
    collector.shutdown();
    // Errors at the start, with all that could be in them.
    let mut tls = certificates.tls(ClientCertificates::Demanded);
    tls.certificate = certificates.path("ca.pem");
    let key = std::fs::read_to_string(&tls.key).unwrap();
    for options in [Options { tls: Some(tls), ..options.clone() }, Options { listen: vec![], ..options }] {
        let error = Collector::start(options).unwrap_err();
        said.push_str(&format!("{error} {error:?}"));
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("collecting") && log.contains("misbehaving"), "the log is on: {log}");
    let signature = token.rsplit('.').next().unwrap();
    for (name, secret) in
        [("secret", SECRET), ("token", signature), ("payload", payload), ("key", key.lines().nth(1).unwrap())]
    {
        for (place, text) in [("log", &log), ("text", &said)] {
            let found = text.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "the {name} is in the {place}: {found:?}");
        }
    }
}
