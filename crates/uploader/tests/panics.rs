//! A panic while secret, token and key are loaded shows none of them: neither the message, nor a backtrace, whichever
//! thread it is.

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::{Authority, Platform, Reply, SECRET, https, oauth, settings, submit, wait_until};
use uploader::{HttpsTransport, Outcome, SealedBatch, Shrink, Transport, Uploader};

const CASE: &str = "UPLOADER_TEST_PANIC";

/// Sends, and then panics where the sending is done.
struct Panicking(HttpsTransport);

impl Transport for Panicking {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        let outcome = self.0.send(batch).await;
        panic!("in the transport: {:?} {batch:?} {outcome:?}", self.0);
    }
}

struct PanickingShrink;

impl Shrink for PanickingShrink {
    fn shrink(&self, _: &[u8]) -> Option<Vec<u8>> {
        panic!("in the shrinking");
    }
}

/// What panics; without its variable, nothing.
#[test]
fn child() {
    if std::env::var_os(CASE).is_none() {
        return;
    }
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&authority, &platform));
    // For whoever looks: what must not be in what follows.
    let key = std::fs::read_to_string(&settings_https.tls.identity.as_ref().unwrap().key).unwrap();
    let lines = key.lines().filter(|line| !line.starts_with("---"));
    let said = format!("key {}\n", lines.collect::<Vec<_>>().join(" "));
    std::io::Write::write_all(&mut std::io::stdout(), said.as_bytes()).unwrap();

    let transport = Panicking(HttpsTransport::new(&settings_https).unwrap());
    let uploader = Uploader::start(settings(folder.path()), transport).unwrap();
    submit(&uploader, 0..10, 100);
    wait_until("a panic in the transport", || uploader.stats().retries(uploader::RetryReason::Local) > 0);
    drop(uploader);

    platform.then(Reply::Status(413, "", ""));
    let transport = HttpsTransport::new(&settings_https).unwrap();
    let shrink = Some(Arc::new(PanickingShrink) as Arc<dyn Shrink>);
    let uploader = Uploader::start_with(settings(folder.path()), transport, shrink).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 10..11, 100);
    wait_until("a panic while shrinking", || stats.records().rejected > 0);
    assert!(platform.state.token_requests.load(Ordering::SeqCst) > 0, "no token was loaded");

    let secret = settings_https.oauth.as_ref().unwrap().client_secret.read().unwrap();
    assert_eq!(secret.expose(), SECRET);
    let uploader = (uploader, secret);
    panic!("in the program: {uploader:?} {stats:?} {settings_https:?}");
}

#[test]
fn no_panic_shows_a_secret() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CASE, "1").env("RUST_BACKTRACE", "full");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for place in ["in the transport: HttpsTransport", "in the shrinking", "in the program: (Uploader"] {
        assert!(said.contains(place), "no panic {place}:\n{said}");
    }
    let key = out.lines().find_map(|line| line.split_once("key ").map(|(_, key)| key)).unwrap();
    assert!(key.split(' ').count() > 1);
    for secret in [SECRET, "hunter2", "tok-en-"].into_iter().chain(key.split(' ')) {
        assert!(!said.contains(secret), "{secret} shows in\n{said}");
    }
}
