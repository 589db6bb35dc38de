//! Secret, token and key appear nowhere: not in logs at trace level (ours and our libraries'), errors, `Debug`, or files.

mod support;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::KeyPair;
use support::{Authority, Http2Platform, Platform, Proxy, Reply, SECRET, https, oauth, settings, submit, wait_until};
use tracing_subscriber::util::SubscriberInitExt;
use uploader::{HttpsSettings, HttpsTransport, ProxySettings, RetryReason, SecretSource, Uploader};

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

fn collect(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.extend(std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn nothing_shows() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish()
        .init();
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    platform.state.token_life.store(2, Ordering::SeqCst);
    platform.script([Reply::Echo, Reply::Status(503, "", ""), Reply::CutMidBody]);
    let mut settings_https = https(&authority, &platform);
    settings_https.tls.reload_interval = Duration::from_millis(50);
    settings_https.tls.identity = Some(authority.files("soon", &["sensor.test"], 12));
    settings_https.oauth = Some(oauth(&authority, &platform));
    let mut shown = format!("{settings_https:?}");
    let transport = HttpsTransport::new(&settings_https).unwrap();
    shown += &format!("{transport:?}");
    let uploader = Uploader::start(settings(folder.path()), transport).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..50, 100);
    wait_until("delivery", || stats.records().waiting() == 0);
    assert_eq!(stats.records().rejected, 10);
    // A token that the platform does not want, a key that does not fit, a secret that is wrong, one that is gone.
    platform.state.revoked.store(1, Ordering::SeqCst);
    let files = settings_https.tls.identity.clone().unwrap();
    let keys = [std::fs::read_to_string(&files.key).unwrap(), KeyPair::generate().unwrap().serialize_pem()];
    std::fs::write(&files.key, &keys[1]).unwrap();
    wait_until("an error", || stats.reload_errors() > 0);
    let secret = authority.folder.path().join("secret");
    std::fs::write(&secret, format!("wrong-{SECRET}")).unwrap();
    submit(&uploader, 50..100, 100);
    wait_until("a refused secret", || stats.token_errors() >= 2);
    std::fs::write(&secret, format!("{SECRET}\u{0}{}", "x".repeat(100_000))).unwrap();
    let before = stats.token_errors();
    wait_until("an unreadable secret", || stats.token_errors() > before + 1);
    shown += &HttpsTransport::new(&settings_https).unwrap_err().to_string();
    std::fs::write(&secret, SECRET).unwrap();
    shown += &format!("{:?}", HttpsTransport::new(&settings_https).unwrap_err());
    wait_until("delivery", || stats.records().waiting() == 0);
    shown += &format!("{uploader:?} {stats:?} {:?}", uploader.intake());
    assert!(uploader.drain(Duration::from_secs(5)).complete);

    // HTTP/2 has its own ways to log headers; a proxy's address may hold a password.
    std::fs::write(&files.key, &keys[0]).unwrap();
    let http2 = Http2Platform::start(&authority);
    settings_https.url = http2.url();
    settings_https.http = uploader::HttpVersions::Any;
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    submit(&uploader, 100..150, 100);
    assert!(uploader.drain(Duration::from_secs(5)).complete);
    assert!(http2.versions.lock().unwrap().iter().all(|(version, _)| *version == hyper::Version::HTTP_2));
    let mut through_proxy = HttpsSettings::new(platform.url());
    through_proxy.tls = authority.client_tls();
    through_proxy.proxy =
        ProxySettings::Explicit { url: "http://me:pr0xy-pass@127.0.0.1:9".into(), no_proxy: String::new() };
    shown += &format!("{through_proxy:?}");
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&through_proxy).unwrap()).unwrap();
    submit(&uploader, 150..160, 100);
    wait_until("a failure", || uploader.stats().retries(RetryReason::Connect) > 0);
    drop(uploader);
    // A token through a proxy: first one that is not there, then one that lets nobody else in.
    through_proxy.oauth = Some(oauth(&authority, &platform));
    shown += &format!("{through_proxy:?}");
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&through_proxy).unwrap()).unwrap();
    submit(&uploader, 160..170, 100);
    wait_until("a failure", || uploader.stats().token_errors() > 0);
    drop(uploader);
    let proxy = Proxy::start();
    through_proxy.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&through_proxy).unwrap()).unwrap();
    wait_until("a token", || uploader.stats().tokens_fetched() > 0);
    assert!(uploader.drain(Duration::from_secs(5)).complete);
    shown += &format!("{:?}", SecretSource::File(secret).read().unwrap());

    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("TRACE")
            && log.contains("hyper")
            && log.contains("rustls")
            && log.contains("h2")
            && log.contains("reqwest")
    );
    assert!(log.contains("the client certificate expires soon") && log.contains("days=11"), "the warning is missing");
    assert!(log.contains("the old ones stay in use"));
    let mut files = Vec::new();
    collect(folder.path(), &mut files);
    let files = String::from_utf8_lossy(&files).into_owned();
    assert!(files.contains("repeated the token"));
    let mut hidden =
        vec![SECRET.to_owned(), "hunter2".into(), "tok-en-".into(), "pr0xy-pass".into(), "bWU6cHIweHktcGFzcw".into()];
    hidden.extend(["pass word", "pass%20word", "bWU6cGFzcyB3b3Jk"].map(str::to_owned));
    hidden.extend(keys.iter().flat_map(|key| key.lines().filter(|line| !line.starts_with("---")).map(str::to_owned)));
    for (what, text) in [("logs", &log), ("errors and Debug", &shown), ("the spool", &files)] {
        for secret in &hidden {
            if let Some(at) = text.find(secret) {
                let (from, to) = (at.saturating_sub(300), (at + 100).min(text.len()));
                panic!("{secret} shows in {what}: {}", &text[from..to]);
            }
        }
    }
}
