//! Delivery through a real nginx that demands client certificates, limits bodies, and speaks HTTP/2.
//! Passes without doing anything where there is no nginx.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Authority, Platform, settings, submit, wait_until};
use uploader::{HttpVersions, HttpsSettings, HttpsTransport, ProxySettings, RecordsLine, RetryReason, Uploader};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to stop, so that its workers go, too.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn start(authority: &Authority, platform: &Platform, port: u16) -> Option<Nginx> {
    let folder = authority.folder.path();
    let (server, client) =
        (authority.files("front", &["127.0.0.1"], 30), authority.files("behind", &["front.test"], 30));
    let config = format!(
        "daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; user root;
         events {{ worker_connections 64; }}
         http {{
           access_log off; client_max_body_size 100k; client_body_temp_path {folder}/body;
           proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
           server {{
             listen 127.0.0.1:{port} ssl http2;
             ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;
             ssl_client_certificate {ca}; ssl_verify_client on;
             location / {{
               proxy_pass https://{}; proxy_http_version 1.1; proxy_set_header Connection \"\";
               proxy_ssl_certificate {}; proxy_ssl_certificate_key {};
             }}
           }}
         }}",
        server.certificate.display(),
        server.key.display(),
        platform.address,
        client.certificate.display(),
        client.key.display(),
        folder = folder.display(),
        ca = authority.certificate.display(),
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    let child = Command::new("nginx").arg("-c").arg(&path).stderr(Stdio::null()).spawn().ok()?;
    Some(Nginx(child))
}

#[test]
fn through_nginx() {
    let authority = Authority::new();
    let platform = Platform::start(&authority);
    let port = {
        let taken = std::net::TcpListener::bind(support::ANY_PORT).unwrap();
        taken.local_addr().unwrap().port()
    };
    let Some(_nginx) = start(&authority, &platform, port) else { return };
    wait_until("nginx", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut ids = 0..1000;
    for http in [HttpVersions::Http1, HttpVersions::Any] {
        let mut settings_https = HttpsSettings::new(format!("https://127.0.0.1:{port}/api-transactions"));
        settings_https.tls = authority.client_tls();
        settings_https.proxy = ProxySettings::None;
        settings_https.http = http;
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        settings.batch.records = 250;
        let uploader = Uploader::start(settings, HttpsTransport::new(&settings_https).unwrap()).unwrap();
        let stats = uploader.stats();
        // Half a megabyte a batch: nginx refuses it before it has read it, and so the halves, until they fit.
        submit(&uploader, ids.clone(), 2000);
        let line = uploader.drain(Duration::from_secs(30)).records;
        assert_eq!(line, RecordsLine { taken: 1000, accepted: 1000, ..RecordsLine::default() }, "{http:?} {stats:?}");
        assert_eq!(stats.batches_split(), 28, "{http:?}: each batch in eight, in seven cuts");
        assert_eq!(stats.retries(RetryReason::Broken), 0);
        ids = ids.end..ids.end + 1000;

        // nginx says 400 to a client without a certificate, or with one that has expired. The records wait.
        for identity in [None, Some(authority.files("expired", &["sensor.test"], -1))] {
            settings_https.tls.identity = identity;
            let folder = tempfile::tempdir().unwrap();
            let transport = HttpsTransport::new(&settings_https).unwrap();
            let uploader = Uploader::start(support::settings(folder.path()), transport).unwrap();
            let stats = uploader.stats();
            submit(&uploader, 0..10, 100);
            wait_until("a refusal", || stats.retries(RetryReason::Tls) > 1);
            let line = uploader.drain(Duration::ZERO).records;
            assert_eq!(line, RecordsLine { taken: 10, waiting_spool: 10, ..RecordsLine::default() });
        }
    }
    let stored = platform.stored();
    assert_eq!(stored.len(), 2000);
    assert!(stored.values().all(|&times| times == 1));
}
