//! What the tests share: sample records, a plain HTTP client that can misbehave, certificates.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use collector::{ClientCertificates, Secret, Tls, TokenIssuer};

pub const SECRET: &str = "correct-horse-battery-staple";
pub const CLIENT: &str = "sensor-1";

pub fn clients() -> TokenIssuer {
    TokenIssuer {
        client_id: CLIENT.to_owned(),
        client_secret: Secret::from(SECRET),
        lifetime: Duration::from_secs(1800),
        realm: "cequence".to_owned(),
    }
}

/// An edge record.
pub fn edge(id: &str) -> String {
    edge_at(id, "api.example", "/v1/orders?a=1", "GET", Some(200), 1_690_000_000)
}

pub fn edge_at(id: &str, host: &str, target: &str, method: &str, status: Option<u16>, seconds: u64) -> String {
    let response = status.map_or(serde_json::Value::Null, |status| {
        serde_json::json!({"status-code": status.to_string(), "headers": ["Content-Type:dGV4dC9wbGFpbg=="], "body": {"length": 2, "data": "aGk="}})
    });
    serde_json::json!({
        "timestamp": format!("{seconds}.123"), "version": "1.0", "transaction-id": id,
        "request": {
            "client-ip": "192.0.2.7", "http-scheme": "http", "http-version": "1.1", "http-method": method,
            "uri-query-fragment": target, "host": host,
            "connection": {"connection-ip": "192.0.2.7", "connection-port": 51234, "server-ip": "198.51.100.20", "server-port": 80, "transaction-depth": 1},
            "headers": ["Host:YXBpLmV4YW1wbGU="], "body": {"length": 0, "data": ""}
        },
        "response": response,
        "txn-meta-data": {"source_info": {"type": "sensor"}, "data_extractions": {"vni": 7}}
    })
    .to_string()
}

/// The example of docs/output-format.md, with another id, on one line.
pub fn native(id: u64) -> String {
    let text = include_str!("../../../../docs/output-format.md");
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let mut record: serde_json::Value = serde_json::from_str(example).unwrap();
    record["id"] = format!("{id:032x}").into();
    record.to_string()
}

pub fn batch(records: &[String]) -> String {
    format!("{{\"data\":[{}]}}", records.join(","))
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub const JSON: &str = "Content-Type: application/json";
pub const NDJSON: &str = "Content-Type: application/x-ndjson";
pub const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// One request on a connection of its own. `Err` if no whole answer came.
pub fn send(address: SocketAddr, method: &str, path: &str, fields: &[&str], body: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    reply(&mut stream)
}

/// Reads an answer up to the end of the connection.
pub fn reply(stream: &mut impl Read) -> std::io::Result<Reply> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let reply = Reply { status, head, body: bytes[end + 4..].to_vec() };
    let length = reply.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    (reply.body.len() == length || reply.header("transfer-encoding").is_some()).then_some(reply)
}

pub fn post(address: SocketAddr, path: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Reply {
    send(address, "POST", path, fields, body.as_ref()).unwrap()
}

pub fn fetch(address: SocketAddr, path: &str) -> Reply {
    send(address, "GET", path, &[], b"").unwrap()
}

/// The form that fetches a token.
pub fn token_form() -> String {
    format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}")
}

pub const TOKEN_PATH: &str = "/auth/realms/cequence/protocol/openid-connect/token";

pub fn token(address: SocketAddr) -> String {
    let reply = post(address, TOKEN_PATH, &[FORM], token_form());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a program is there; if not, says which test does not run.
pub fn have(program: &str, test: &str) -> bool {
    let found =
        Command::new(program).arg("--version").output().or_else(|_| Command::new(program).arg("version").output());
    if found.is_err() {
        eprintln!("SKIPPED {test}: {program} is not installed");
    }
    found.is_ok()
}

/// A folder with a CA, a server's and a client's certificate, and a client certificate of another CA.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        for (prefix, leaves) in [("", &["server", "client"][..]), ("other-", &["client"])] {
            let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("{prefix}test CA"));
            let key = rcgen::KeyPair::generate().unwrap();
            write(&format!("{prefix}ca.pem"), parameters.self_signed(&key).unwrap().pem());
            let issuer = rcgen::Issuer::new(parameters, key);
            for leaf in leaves {
                let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
                let mut parameters = rcgen::CertificateParams::new(names).unwrap();
                parameters.distinguished_name.push(rcgen::DnType::CommonName, *leaf);
                parameters.extended_key_usages =
                    vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
                let key = rcgen::KeyPair::generate().unwrap();
                write(&format!("{prefix}{leaf}.pem"), parameters.signed_by(&key, &issuer).unwrap().pem());
                write(&format!("{prefix}{leaf}.key"), key.serialize_pem());
            }
        }
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn tls(&self, client_certificates: ClientCertificates) -> Tls {
        Tls {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: Some(self.path("ca.pem")),
            client_certificates,
        }
    }
}
