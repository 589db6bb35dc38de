//! What the tests of delivery share: certificates, a collector that they demand, a configuration, and captures.
// Each test binary uses its part of it, and nothing else can reach it.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use collector::{ClientCertificates, Collector, Filter, Options, Order, Page, Secret, StoreKind, Tls, TokenIssuer};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;

pub const CLIENT: &str = "sensor-e2e";
pub const SECRET: &str = "correct-horse-battery-staple-7361";
pub const TOKEN_PATH: &str = "/auth/realms/cequence/protocol/openid-connect/token";

/// A folder with an authority's certificates, and what else a test needs.
pub struct Site {
    folder: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Self::authority(folder.path(), "", "an authority");
        Self::authority(folder.path(), "other-", "another authority");
        let site = Self { folder, authority };
        std::fs::write(site.at("client-secret"), format!("{SECRET}\n")).unwrap();
        site
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`, each behind `prefix`.
    fn authority(at: &Path, prefix: &str, name: &str) -> Issuer<'static, KeyPair> {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap();
        std::fs::write(at.join(format!("{prefix}ca.pem")), authority.pem()).unwrap();
        let issuer = Issuer::new(parameters, key);
        for (role, purpose) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let mut parameters = CertificateParams::new(names).unwrap();
            parameters.distinguished_name.push(DnType::CommonName, format!("{name}'s {role}"));
            parameters.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().unwrap();
            let certificate = parameters.signed_by(&key, &issuer).unwrap();
            std::fs::write(at.join(format!("{prefix}{role}.pem")), certificate.pem()).unwrap();
            std::fs::write(at.join(format!("{prefix}{role}.key")), key.serialize_pem()).unwrap();
        }
        issuer
    }

    /// `client.pem` and `client.key` anew, good for so long.
    pub fn renew_client(&self, left: Duration) {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_after = (std::time::SystemTime::now() + left).into();
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.at("client.key"), key.serialize_pem()).unwrap();
        std::fs::write(self.at("client.pem"), certificate.pem()).unwrap();
    }

    /// A collector that demands client certificates and tokens, with its store in `store.db`.
    pub fn options(&self, port: u16) -> Options {
        Options {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], port))],
            tls: Some(Tls {
                certificate: self.at("server.pem"),
                key: self.at("server.key"),
                client_ca: Some(self.at("ca.pem")),
                client_certificates: ClientCertificates::Demanded,
            }),
            store: StoreKind::Sqlite(self.at("store.db")),
            clients: Some(TokenIssuer {
                client_id: CLIENT.to_owned(),
                client_secret: Secret::from(SECRET),
                lifetime: Duration::from_secs(1800),
                realm: "cequence".to_owned(),
            }),
            ..Options::default()
        }
    }

    pub fn collector(&self) -> Collector {
        Collector::start(self.options(0)).unwrap()
    }

    /// The same again on a port that was in use until now.
    pub fn collector_at(&self, port: u16) -> Collector {
        let start = Instant::now();
        loop {
            match Collector::start(self.options(port)) {
                Ok(collector) => return collector,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The configuration for a platform on `port`, written to `NAME.toml`; `changed` may change its text first.
    pub fn configuration(&self, name: &str, port: u16, changed: impl FnOnce(String) -> String) -> PathBuf {
        let at = self.folder.path().display();
        let tls = format!("ca = \"{at}/ca.pem\"\ncertificate = \"{at}/client.pem\"\nkey = \"{at}/client.key\"\n");
        let text = format!(
            "[upload]\nurl = \"https://127.0.0.1:{port}\"\nconnect_timeout = \"1s\"\ntimeout = \"2s\"\nin_flight = 4\n\n\
             [upload.batch]\nrecords = 50\nage = \"5s\"\n\n[upload.tls]\n{tls}\n[upload.oauth]\n\
             token_url = \"https://127.0.0.1:{port}{TOKEN_PATH}\"\nclient_id = \"{CLIENT}\"\n\
             client_secret_file = \"{at}/client-secret\"\n\n[upload.oauth.tls]\n{tls}\n[upload.spool]\nfolder = \"{at}/spool\"\n"
        );
        let path = self.at(&format!("{name}.toml"));
        std::fs::write(&path, changed(text)).unwrap();
        path
    }

    /// A real capture `copies` times, each between other addresses, so that every transaction of it has its own id.
    pub fn capture(&self, copies: u8) -> PathBuf {
        self.capture_of("capture.pcap", 0..copies)
    }

    /// The same with the copies of these numbers, as file `name`.
    pub fn capture_of(&self, name: &str, copies: std::ops::Range<u8>) -> PathBuf {
        let real = fixtures::captures().into_iter().find(|capture| capture.name == "wrk-keep-alive").unwrap();
        let packets = fixtures::capture::read_file(&real.path).unwrap();
        let mut all = Vec::new();
        for copy in copies {
            all.extend(packets.iter().cloned().map(|mut packet| {
                if packet.data.get(12..14) == Some(&[0x08, 0x00]) {
                    // The third number of both IPv4 addresses.
                    packet.data[28] = copy;
                    packet.data[32] = copy;
                }
                packet
            }));
        }
        let path = self.at(name);
        let format = fixtures::capture::Format::Pcap { nanos: true, big_endian: false };
        std::fs::write(&path, fixtures::capture::write(&all, format)).unwrap();
        path
    }

    /// The ids of a capture's transactions, in the order in which they are recorded.
    pub fn ids(&self, capture: &Path) -> Vec<String> {
        let out = self.at("native.ndjson");
        let run = sensor().arg("replay").arg(capture).arg("-o").arg(&out).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        let ids: Vec<String> = std::fs::read_to_string(out)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "the capture repeats itself");
        ids
    }
}

/// The program, without what the environment would tell it.
pub fn sensor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "SENSOR_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

pub fn upload(configuration: &Path, capture: &Path) -> Command {
    let mut command = sensor();
    command.args(["replay", "--upload", "--ledger", "json", "--config"]).arg(configuration).arg(capture);
    command
}

/// The ledger that a run printed.
pub fn ledger(run: &Output) -> Value {
    let text = text(&run.stderr);
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no ledger in\n{text}"));
    serde_json::from_str(line).unwrap()
}

/// The sum of a fate, whose reasons may be told apart.
pub fn sum(value: &Value) -> u64 {
    match value {
        Value::Object(reasons) => reasons.values().map(|count| count.as_u64().unwrap()).sum(),
        count => count.as_u64().unwrap_or_else(|| panic!("no count: {count}")),
    }
}

/// Every record has one fate: returns total, accepted.
pub fn closed_records(ledger: &Value) -> (u64, u64) {
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let records = &ledger["records"];
    let fates: u64 =
        records.as_object().unwrap().iter().filter(|(name, _)| *name != "total").map(|(_, fate)| sum(fate)).sum();
    assert_eq!(fates, sum(&records["total"]), "{records}");
    (sum(&records["total"]), sum(&records["accepted"]))
}

/// The ids that a collector has, in the order of their arrival.
pub fn arrived(collector: &Collector) -> Vec<String> {
    let store = collector.store().unwrap();
    let mut page = Page { limit: 1_000, order: Order::Oldest, after: None, records: false };
    let mut ids = Vec::new();
    loop {
        let listing = store.transactions(&Filter::default(), &page).unwrap();
        ids.extend(listing.transactions.iter().map(|stored| stored.summary.id.clone()));
        page.after = listing.next;
        if page.after.is_none() {
            return ids;
        }
    }
}

/// A process that is not to be looked into: it leaves no core dump.
pub fn leaves_no_core(process: u32) {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not come in a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}
