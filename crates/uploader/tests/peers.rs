//! Ways to a platform: TLS versions, key formats, names, proxies, IPv6, HTTP/2, certificates that change under way.

mod support;

use std::io::{Read, Write};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::{ANY_PORT, Authority, Http2Platform, Platform, Proxy, https, settings, submit, wait_until};
use uploader::{
    HttpVersions, HttpsSettings, HttpsTransport, ProxySettings, RecordsLine, RetryReason, Stats, TlsError, TlsVersion,
    TransportError, Uploader,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a hundred records; all must arrive without a retry.
fn deliver(settings_https: &HttpsSettings) -> Arc<Stats> {
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    submit(&uploader, 0..100, 100);
    let report = uploader.drain(PATIENCE);
    assert!(report.complete, "{:?}", report.records);
    assert_eq!(report.records, RecordsLine { taken: 100, accepted: 100, ..RecordsLine::default() });
    RetryReason::ALL.iter().for_each(|&reason| assert_eq!(stats.retries(reason), 0, "{}", reason.name()));
    stats
}

#[test]
fn both_versions_of_tls_and_the_lowest_that_is_wanted() {
    let authority = Authority::new();
    let identity = authority.files("server", &["127.0.0.1"], 365);
    let old = Platform::start_with(&authority, &identity, ANY_PORT, &[&rustls::version::TLS12]);
    let new = Platform::start_with(&authority, &identity, ANY_PORT, &[&rustls::version::TLS13]);
    deliver(&https(&authority, &old));
    deliver(&https(&authority, &new));
    let mut only_new = https(&authority, &new);
    only_new.tls.min_version = TlsVersion::Tls13;
    deliver(&only_new);
    only_new.url = old.url();
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&only_new).unwrap()).unwrap();
    submit(&uploader, 0..10, 10);
    wait_until("a refusal", || uploader.stats().retries(RetryReason::Tls) > 0);
    assert_eq!(uploader.drain(Duration::ZERO).records.waiting_spool, 10);
}

/// The private key inside a PKCS#8 structure: SEC1 for EC, PKCS#1 for RSA.
fn inner_key(pkcs8: &[u8]) -> Vec<u8> {
    fn element(der: &[u8]) -> (usize, usize) {
        match der[1] {
            short @ 0..0x80 => (2, usize::from(short)),
            long => {
                let count = usize::from(long & 0x7f);
                (2 + count, der[2..2 + count].iter().fold(0, |length, &byte| (length << 8) | usize::from(byte)))
            }
        }
    }
    let (mut at, _) = element(pkcs8);
    for _ in 0..2 {
        let (head, length) = element(&pkcs8[at..]);
        at += head + length;
    }
    assert_eq!(pkcs8[at], 4, "an octet string");
    let (head, length) = element(&pkcs8[at..]);
    pkcs8[at + head..at + head + length].to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| (bits << 8) | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63] as char;
            text.push(if at <= chunk.len() { digit } else { '=' });
        }
    }
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn keys_of_every_format() {
    let authority = Authority::new();
    let platform = Platform::start(&authority);
    let mut settings_https = https(&authority, &platform);
    for (algorithm, label) in [(&rcgen::PKCS_ECDSA_P256_SHA256, "EC"), (&rcgen::PKCS_RSA_SHA256, "RSA")] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = authority.issue(&["sensor.test"], 30, &key);
        let old_style = pem(&format!("{label} PRIVATE KEY"), &inner_key(&key.serialize_der()));
        for text in [key.serialize_pem(), old_style] {
            settings_https.tls.identity = Some(authority.write("format", &certificate, &text));
            deliver(&settings_https);
        }
    }
}

#[test]
fn a_name_of_the_operators_choice() {
    let authority = Authority::new();
    let identity = authority.files("server", &["platform.test"], 365);
    let platform = Platform::start_with(&authority, &identity, ANY_PORT, &[&rustls::version::TLS13]);
    let mut settings_https = https(&authority, &platform);
    settings_https.tls.server_name = Some("platform.test".into());
    deliver(&settings_https);
    let clients = platform.state.clients.lock().unwrap();
    assert!(clients.iter().all(|(_, name)| name.as_deref() == Some("platform.test")));
    let head = platform.state.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.contains(&format!("\r\nhost: platform.test:{}\r\n", platform.address.port())), "{head}");
    drop(clients);
    // Through a proxy the name is still what the certificate is checked against, and the proxy gets the address.
    let proxy = Proxy::start();
    settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
    let direct = platform.state.clients.lock().unwrap().len();
    deliver(&settings_https);
    assert!(proxy.targets.lock().unwrap().iter().all(|target| *target == platform.address.to_string()));
    // It is asked for there, too: a server of many names has no other way to tell which is meant.
    let clients = platform.state.clients.lock().unwrap();
    assert!(clients.len() > direct && clients.iter().all(|(_, name)| name.as_deref() == Some("platform.test")));
    drop(clients);
    settings_https.tls.server_name = Some("other.test".into());
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    submit(&uploader, 0..10, 10);
    wait_until("a refusal", || uploader.stats().retries(RetryReason::Tls) > 0);
}

#[test]
fn ipv6() {
    let authority = Authority::new();
    let identity = authority.files("server", &["::1"], 365);
    // Some build machines have no IPv6 at all.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let address = (Ipv6Addr::LOCALHOST, 0).into();
        let platform = Platform::start_with(&authority, &identity, address, &[&rustls::version::TLS13]);
        let mut settings_https = https(&authority, &platform);
        deliver(&settings_https);
        assert_eq!(platform.stored().len(), 100);
        // Behind a proxy likewise.
        let proxy = Proxy::start();
        settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
        deliver(&settings_https);
        let target = format!("[::1]:{}", platform.address.port());
        let targets = proxy.targets.lock().unwrap();
        assert!(!targets.is_empty() && targets.iter().all(|seen| *seen == target), "{targets:?}");
    }
}

#[test]
fn through_a_proxy_that_wants_a_password() {
    let authority = Authority::new();
    let platform = Platform::start(&authority);
    let proxy = Proxy::start();
    let mut settings_https = https(&authority, &platform);
    settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
    deliver(&settings_https);
    // A trial says where TLS is tried: it cannot take that step by itself there.
    let steps = uploader::check(&settings_https, &uploader::Envelope::edge_batch());
    let way = steps.iter().find(|step| step.what == "way to the platform").unwrap();
    assert!(way.result.as_ref().is_ok_and(|text| text.contains("TLS behind it is tried")), "{way:?}");
    let tunnels = proxy.targets.lock().unwrap().len();
    assert!((1..=5).contains(&tunnels));
    assert!(proxy.targets.lock().unwrap().iter().all(|target| *target == platform.address.to_string()));
    // Exceptions go past it.
    settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: "127.0.0.0/8".into() };
    deliver(&settings_https);
    assert_eq!(proxy.targets.lock().unwrap().len(), tunnels);
    // A proxy that does not let us in is an outage.
    let url = format!("http://127.0.0.1:{}", proxy.port);
    settings_https.proxy = ProxySettings::Explicit { url, no_proxy: String::new() };
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    submit(&uploader, 0..10, 10);
    wait_until("a refusal", || uploader.stats().retries(RetryReason::Connect) > 0);
    assert!(proxy.refused.load(Ordering::SeqCst) > 0);
}

/// TLS within TLS, and HTTP/2 within that where it is wanted.
#[test]
fn through_a_proxy_that_is_spoken_to_in_tls() {
    let authority = Authority::new();
    let (platform, proxy) = (Platform::start(&authority), Proxy::start_secured(&authority));
    let mut settings_https = https(&authority, &platform);
    settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
    deliver(&settings_https);
    let modern = Http2Platform::start(&authority);
    settings_https.url = modern.url();
    settings_https.http = HttpVersions::Any;
    deliver(&settings_https);
    assert!(modern.versions.lock().unwrap().iter().all(|(version, _)| *version == hyper::Version::HTTP_2));
    let targets = proxy.targets.lock().unwrap();
    assert!([platform.address, modern.address].iter().all(|address| targets.contains(&address.to_string())));
}

#[test]
fn certificates_change_under_load() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    let mut settings_https = https(&authority, &platform);
    settings_https.tls.reload_interval = Duration::from_millis(50);
    let files = settings_https.tls.identity.clone().unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    let ends_in = |days: u64| {
        let left = stats.certificate_expiry().unwrap().duration_since(SystemTime::now()).unwrap();
        left.abs_diff(Duration::from_secs(days * 86_400)) < Duration::from_secs(3600)
    };
    wait_until("the expiry", || stats.certificate_expiry().is_some());
    assert!(ends_in(365));
    let mut last = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let mut sent = 0;
    for round in 1..=5u64 {
        submit(&uploader, sent..sent + 200, 2000);
        sent += 200;
        let key = KeyPair::generate().unwrap();
        let certificate = authority.issue(&["sensor.test"], 365 + round as i64, &key);
        authority.write("client", &certificate, &key.serialize_pem());
        if round % 2 == 0 {
            uploader.reload();
        }
        wait_until("a reload", || ends_in(365 + round));
        last = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    }
    submit(&uploader, sent..sent + 200, 2000);
    sent += 200;
    let line = uploader.drain(PATIENCE).records;
    assert_eq!(line, RecordsLine { taken: sent, accepted: sent, ..RecordsLine::default() });
    RetryReason::ALL.iter().for_each(|&reason| assert_eq!(stats.retries(reason), 0, "{}", reason.name()));
    assert!(platform.stored().values().all(|&times| times == 1));
    let clients = platform.state.clients.lock().unwrap();
    assert_eq!(clients.last().unwrap().0, last.to_vec(), "the newest pair is in use");
}

#[test]
fn a_bad_new_pair_changes_nothing() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let platform = Platform::start(&authority);
    let mut settings_https = https(&authority, &platform);
    settings_https.tls.reload_interval = Duration::from_millis(50);
    let files = settings_https.tls.identity.clone().unwrap();
    let good = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(&settings_https).unwrap()).unwrap();
    let stats = uploader.stats();
    let other_key = KeyPair::generate().unwrap();
    let expired = authority.issue(&["sensor.test"], -1, &other_key);
    let early = authority.issue_from(&["sensor.test"], 1000, 2000, &other_key);
    let mut errors = 0;
    let spoil: [&dyn Fn(); 5] = [
        &|| std::fs::write(&files.key, other_key.serialize_pem()).unwrap(),
        &|| std::fs::write(&files.certificate, "no certificate at all").unwrap(),
        &|| std::fs::remove_file(&files.key).unwrap(),
        &|| {
            std::fs::write(&files.key, other_key.serialize_pem()).unwrap();
            std::fs::write(&files.certificate, &early).unwrap();
        },
        &|| std::fs::write(&files.certificate, &expired).unwrap(),
    ];
    for (round, spoil) in spoil.iter().enumerate() {
        spoil();
        wait_until("an error", || stats.reload_errors() > errors);
        std::thread::sleep(Duration::from_millis(120));
        errors = stats.reload_errors();
        let round = round as u64;
        submit(&uploader, round * 50..round * 50 + 50, 100);
        wait_until("delivery", || stats.records().accepted == round * 50 + 50);
    }
    assert_eq!(stats.reloads(), 0);
    assert!(platform.state.clients.lock().unwrap().iter().all(|(certificate, _)| *certificate == good.to_vec()));
    // The same pair at the start is an error where it can be told, and only a warning where it has expired.
    assert!(HttpsTransport::new(&settings_https).is_ok());
    authority.write(
        "client",
        &authority.issue(&["sensor.test"], 30, &KeyPair::generate().unwrap()),
        &other_key.serialize_pem(),
    );
    let error = HttpsTransport::new(&settings_https).unwrap_err();
    assert!(matches!(error, TransportError::Tls(TlsError::Mismatch { .. })), "{error}");
}

#[test]
fn http2_where_the_platform_speaks_it() {
    let authority = Authority::new();
    let platform = Http2Platform::start(&authority);
    let mut settings_https = HttpsSettings::new(platform.url());
    settings_https.tls = authority.client_tls();
    settings_https.proxy = ProxySettings::None;
    settings_https.http = HttpVersions::Any;
    deliver(&settings_https);
    // The first requests race to connect; one connection would do for all of them.
    assert!(platform.connections.load(Ordering::SeqCst) <= 4);
    settings_https.http = HttpVersions::Http1;
    deliver(&settings_https);
    let versions = platform.versions.lock().unwrap();
    assert_eq!(versions.len(), 20);
    assert!(versions[..10].iter().all(|(version, length)| *version == hyper::Version::HTTP_2 && *length > 1000));
    assert!(versions[10..].iter().all(|(version, _)| *version == hyper::Version::HTTP_11));
}

#[test]
fn a_certificate_that_cannot_be_read_is_said_at_once() {
    let mut settings_https = HttpsSettings::new("https://127.0.0.1:1/x");
    settings_https.tls.ca = Some("/no/such/file.pem".into());
    let error = HttpsTransport::new(&settings_https).unwrap_err().to_string();
    assert!(error.contains("/no/such/file.pem"), "{error}");
}

#[test]
fn a_trial_names_each_step_and_what_to_do() {
    let authority = Authority::new();
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(support::oauth(&authority, &platform));
    let envelope = uploader::Envelope::edge_batch();
    let steps = uploader::check(&settings_https, &envelope);
    assert!(steps.iter().all(|step| step.result.is_ok()), "{steps:#?}");
    let whats: Vec<_> = steps.iter().map(|step| step.what.split(' ').next().unwrap()).collect();
    let expected = [
        "settings",
        "authorities",
        "client",
        "authorities",
        "client",
        "client",
        "name",
        "connection",
        "TLS",
        "token",
        "empty",
    ];
    assert_eq!(whats, expected);
    assert!(steps.iter().any(|step| step.result.as_ref().is_ok_and(|text| text.starts_with("TLS 1.3, HTTP/1.1"))));
    assert!(platform.stored().is_empty());

    let failed = |settings: &HttpsSettings| {
        let steps = uploader::check(settings, &envelope);
        steps.into_iter().find(|step| step.result.is_err()).unwrap()
    };
    let mut wrong = settings_https.clone();
    let stranger = Authority::new();
    wrong.tls.ca = Some(stranger.certificate.clone());
    assert!(failed(&wrong).what.starts_with("TLS with"));
    wrong = settings_https.clone();
    wrong.tls.identity = Some(authority.files("expired", &["sensor.test"], -1));
    assert!(failed(&wrong).result.unwrap_err().contains("has expired"));
    let key = KeyPair::generate().unwrap();
    let early = authority.issue_from(&["sensor.test"], 5, 1000, &key);
    wrong.tls.identity = Some(authority.write("early", &early, &key.serialize_pem()));
    assert!(failed(&wrong).result.unwrap_err().contains("not valid yet"));
    wrong = settings_https.clone();
    wrong.tls.identity = None;
    let step = failed(&wrong);
    assert!(step.what.starts_with("empty batch") && step.result.unwrap_err().contains("tls"), "{}", step.what);
    wrong = settings_https.clone();
    wrong.url = "https://127.0.0.1:9/x".into();
    assert!(failed(&wrong).what.starts_with("connection to"));
    wrong = settings_https.clone();
    wrong.url = "https://no-such-host.invalid/x".into();
    assert!(failed(&wrong).what.starts_with("name no-such-host.invalid"));
    platform.state.token_failures.store(1, Ordering::SeqCst);
    assert!(failed(&settings_https).what.starts_with("token from"));
    platform.state.revoked.store(u64::MAX, Ordering::SeqCst);
    let step = failed(&settings_https);
    assert!(step.result.unwrap_err().starts_with("401"), "{}", step.what);
}

/// A peer that goes without ending TLS. What is said of it is what went wrong and what to do, and not where a library has its
/// documentation.
#[test]
fn an_error_quotes_no_documentation() {
    let authority = Authority::new();
    let files = authority.files("server", &["127.0.0.1"], 30);
    let config = Arc::new(support::server_config(&authority, &files, &[&rustls::version::TLS12]));
    let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let (mut buffer, mut seen) = ([0; 4096], Vec::new());
            // All of the request: what was not read would be answered with a reset.
            while !seen.ends_with(br#"{"data":[]}"#) {
                match tls.read(&mut buffer) {
                    Ok(count @ 1..) => seen.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{");
        }
    });
    let mut settings_https = HttpsSettings::new(format!("https://{address}/x"));
    settings_https.tls = authority.client_tls();
    let steps = uploader::check(&settings_https, &uploader::Envelope::edge_batch());
    let error = steps.into_iter().find_map(|step| step.result.err()).unwrap();
    assert!(error.contains("close_notify"), "another fault than the one that is to be shown: {error}");
    assert!(!error.contains("://") && error.contains("; check for a proxy or firewall"), "{error}");
}
