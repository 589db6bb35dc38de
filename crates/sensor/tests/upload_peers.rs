//! Real programs at both ends: nginx that demands client certificates between sensor and collector, curl as a sensor,
//! openssl as a client that must not get in. A program that is not installed is said, and its test passes.

mod upload_support;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use collector::{Collector, Options};
use serde_json::{Value, json};
use upload_support::{CLIENT, SECRET, Site, TOKEN_PATH, closed_records, ledger, sensor, text, upload, wait_until};

/// Whether a program is there; says so where it is not.
fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to stop, so that its workers go, too.
        fixtures::signal(self.0.id(), "SIGTERM");
        let _ = self.0.wait();
    }
}

/// In front of a collector, with the server's certificate and a client's of its own.
fn nginx(site: &Site, collector: &Collector) -> (Nginx, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "daemon off; pid {at}/nginx.pid; error_log {at}/error.log; worker_processes 1; user root;
         events {{ worker_connections 64; }}
         http {{
           log_format brief '$status $ssl_client_verify $ssl_protocol $request_uri'; access_log {at}/access.log brief;
           client_max_body_size 8m; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
           fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
           server {{
             listen 127.0.0.1:{port} ssl;
             ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key; ssl_protocols TLSv1.2 TLSv1.3;
             ssl_client_certificate {at}/ca.pem; ssl_verify_client on;
             location / {{
               proxy_pass https://{behind}; proxy_http_version 1.1; proxy_set_header Connection \"\";
               proxy_ssl_certificate {at}/client.pem; proxy_ssl_certificate_key {at}/client.key;
               proxy_ssl_trusted_certificate {at}/ca.pem; proxy_ssl_verify on; proxy_ssl_name localhost;
             }}
           }}
         }}",
        at = site.at("").display(),
        behind = collector.address(),
    );
    std::fs::write(site.at("nginx.conf"), config).unwrap();
    let child = Command::new("nginx").arg("-c").arg(site.at("nginx.conf")).stderr(Stdio::null()).spawn().unwrap();
    wait_until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (Nginx(child), port)
}

#[test]
fn nginx_that_demands_certificates_passes_on_what_the_sensor_sends() {
    if !has("nginx", "-v") {
        return;
    }
    let site = Site::new();
    let collector = site.collector();
    let (_nginx, port) = nginx(&site, &collector);
    let capture = site.capture(2);
    let count = site.ids(&capture).len() as u64;
    let config = site.configuration("through", port, |text| text);
    let check = sensor().args(["check", "--config"]).arg(&config).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
    let run = upload(&config, &capture).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert_eq!(closed_records(&ledger(&run)), (count, count));
    // On a busy machine a request may be sent again.
    assert_eq!(collector.store().unwrap().totals().unwrap().stored, count);
    let log = std::fs::read_to_string(site.at("access.log")).unwrap();
    assert!(log.lines().count() as u64 > count / 50, "it went another way:\n{log}");
    assert!(log.lines().all(|line| line.starts_with("200 SUCCESS TLSv1.3 ")), "{log}");

    // Without a certificate nginx lets nothing through, and the check says so.
    let anonymous = |text: String| {
        let is_identity = |line: &&str| line.starts_with("certificate = ") || line.starts_with("key = ");
        text.lines().filter(|line| !is_identity(line)).map(|line| format!("{line}\n")).collect()
    };
    let config = site.configuration("anonymous", port, anonymous);
    let check = sensor().args(["check", "--config"]).arg(&config).output().unwrap();
    assert_eq!(check.status.code(), Some(1), "{}", text(&check.stdout));
    assert!(text(&check.stdout).contains("FAIL"));
    collector.shutdown();
}

fn curl(site: &Site, with_certificate: bool, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--cacert"]).arg(site.at("ca.pem"));
    if with_certificate {
        command.arg("--cert").arg(site.at("client.pem")).arg("--key").arg(site.at("client.key"));
    }
    command.args(["--write-out", "\n%{http_code}"]).args(arguments).output().unwrap()
}

/// The body and status of an answer.
fn answer(output: &Output) -> (String, String) {
    let text = text(&output.stdout);
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (body.to_owned(), status.to_owned())
}

#[test]
fn curl_posts_a_batch() {
    if !has("curl", "--version") {
        return;
    }
    let site = Site::new();
    let collector = site.collector();
    let at = format!("https://{}", collector.address());
    let form = format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}");
    let (body, status) = answer(&curl(&site, true, &["--data", &form, &format!("{at}{TOKEN_PATH}")]));
    assert_eq!(status, "200", "{body}");
    let token = serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned();

    let record = |id: &str| {
        json!({
            "timestamp": "1690000000.123", "version": "1.0", "transaction-id": id,
            "request": {
                "http-scheme": "http", "http-version": "1.1", "http-method": "GET", "uri-query-fragment": "/v1/orders?a=1",
                "host": "api.example", "connection": {"connection-ip": "192.0.2.7", "server-ip": "198.51.100.20"},
                "headers": ["Host:YXBpLmV4YW1wbGU="], "body": {"length": 0, "data": ""}
            },
            "response": {"status-code": "200", "headers": [], "body": {"length": 2, "data": "aGk="}},
            "txn-meta-data": {"source_info": {"type": "curl"}}
        })
    };
    let batch: PathBuf = site.at("batch.json");
    std::fs::write(&batch, json!({"data": [record("a"), record("b"), record("a")]}).to_string()).unwrap();
    let data = format!("@{}", batch.display());
    let url = format!("{at}/api-transactions");
    let bearer = format!("Authorization: Bearer {token}");
    let json = ["--header", "Content-Type: application/json", "--data-binary", &data, &url];
    let post = |with_certificate, bearer: &str| {
        curl(&site, with_certificate, &[&["--header", bearer][..], &json[..]].concat())
    };
    let (body, status) = answer(&post(true, &bearer));
    assert_eq!(status, "200", "{body}");
    assert!(body.contains("OK"), "{body}");
    let store = collector.store().unwrap();
    assert_eq!(store.ids().unwrap(), ["a", "b"].map(str::to_owned).into());
    let totals = store.totals().unwrap();
    assert_eq!((totals.stored, totals.duplicates), (2, 1));

    let (_, status) = answer(&post(true, "Authorization: Bearer made-up"));
    assert_eq!(status, "401");
    let refused = post(false, &bearer);
    assert!(!refused.status.success() && answer(&refused).1 == "000", "without a certificate: {refused:?}");
    assert_eq!(store.totals().unwrap(), totals);
    collector.shutdown();
}

#[test]
fn openssl_agrees_on_tls_1_3_and_gets_nothing_below_1_2() {
    if !has("openssl", "version") {
        return;
    }
    let site = Site::new();
    let collector = Collector::start(Options { ..site.options(0) }).unwrap();
    let connect = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-brief",
                "-verify_return_error",
                "-connect",
                &collector.address().to_string(),
                "-CAfile",
            ])
            .arg(site.at("ca.pem"))
            .arg("-cert")
            .arg(site.at("client.pem"))
            .arg("-key")
            .arg(site.at("client.key"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), said)
    };
    let (well, said) = connect(&[]);
    assert!(well && said.contains("TLSv1.3"), "{said}");
    let (well, said) = connect(&["-tls1_2"]);
    assert!(well && said.contains("TLSv1.2"), "{said}");
    let failed = collector.stats().handshakes_failed;
    assert_eq!(failed, 0);
    // At this level openssl does offer the old versions; the refusal is the collector's.
    for version in ["-tls1_1", "-tls1"] {
        let (well, said) = connect(&[version, "-cipher", "ALL:@SECLEVEL=0"]);
        if said.contains("no protocols available") {
            eprintln!("skipped: this openssl cannot offer {version}");
            continue;
        }
        assert!(!well && !said.contains("CONNECTION ESTABLISHED"), "{version}: {said}");
        wait_until("the refusal", || collector.stats().handshakes_failed > 0);
    }
    collector.shutdown();
}
