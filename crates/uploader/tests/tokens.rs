//! Tokens: ways to their endpoint, and what is said of one that gives none.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::{ANY_PORT, Authority, Http2Platform, Platform, Proxy, https, oauth, settings, submit, wait_until};
use uploader::{
    Destination, Envelope, HttpVersions, HttpsSettings, HttpsTransport, OAuthSettings, ProxySettings, RetryReason,
    SecretSource, Uploader,
};

/// A platform that wants a token, and settings whose token endpoint is still to be named.
fn platform() -> (Authority, Platform, HttpsSettings) {
    let authority = Authority::new();
    let platform = Platform::start(&authority);
    platform.state.demand_token.store(true, Ordering::SeqCst);
    let mut settings_https = https(&authority, &platform);
    settings_https.oauth = Some(oauth(&authority, &platform));
    (authority, platform, settings_https)
}

fn oauth_of(settings: &mut HttpsSettings) -> &mut OAuthSettings {
    settings.oauth.as_mut().unwrap()
}

/// What a trial says of the token; with one, the platform must have been content.
fn token(settings_https: &HttpsSettings) -> Result<(), String> {
    let steps = uploader::check(settings_https, &Envelope::edge_batch());
    let step = steps.iter().find(|step| step.what.starts_with("token from")).unwrap_or_else(|| panic!("{steps:#?}"));
    step.result.clone()?;
    assert!(steps.iter().all(|step| step.result.is_ok()), "{steps:#?}");
    Ok(())
}

/// A token endpoint within the machine that answers each request with `answer`, and then closes unless it `stays`. What it was
/// asked is kept.
fn endpoint(answer: impl Into<Vec<u8>>, stays: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let (listener, answer) = (TcpListener::bind(ANY_PORT).unwrap(), answer.into());
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut reader, mut head) = (BufReader::new(&stream), String::new());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|count| count > 0) {}
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            seen.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
            // It may have heard enough.
            let _ = (&stream).write_all(&answer);
            if stays {
                kept.push(stream);
            }
        }
    });
    (url, asked)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn within_the_machine_it_is_asked_as_others_are_and_past_any_proxy() {
    let (_authority, _platform, mut settings_https) = platform();
    let (url, asked) = endpoint(ok(r#"{"access_token":"tok-en-1"}"#), true);
    let proxy = Proxy::start();
    settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
    oauth_of(&mut settings_https).token_url = url.clone();
    token(&settings_https).unwrap();
    let asked = asked.lock().unwrap();
    let request = asked[0].to_ascii_lowercase();
    for part in [
        "post /token http/1.1\r\n",
        &format!("\r\nuser-agent: {}\r\n", settings_https.user_agent.to_ascii_lowercase()),
        "\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        "\r\naccept: application/json\r\n",
        "\r\n\r\ngrant_type=client_credentials&client_id=the-client&client_secret=",
    ] {
        assert!(request.contains(part), "{part} is missing in {request}");
    }
    assert!(!request.contains("proxy") && asked.len() == 1);
    assert!(proxy.targets.lock().unwrap().iter().all(|target| !url.contains(target.as_str())));
}

/// The address leads there, the name is asked for and checked; through a proxy it is only checked.
#[test]
fn it_may_have_a_name_of_the_operators_choice() {
    let (authority, _platform, mut settings_https) = platform();
    let identity = authority.files("auth", &["auth.test"], 365);
    let endpoint = Platform::start_with(&authority, &identity, ANY_PORT, &[&rustls::version::TLS13]);
    *oauth_of(&mut settings_https) = oauth(&authority, &endpoint);
    assert!(token(&settings_https).unwrap_err().contains("certificate"), "the certificate is for another name");
    let names = || std::mem::take(&mut *endpoint.state.clients.lock().unwrap());
    names();
    oauth_of(&mut settings_https).tls.server_name = Some("auth.test".into());
    token(&settings_https).unwrap();
    assert!(names().iter().all(|(_, name)| name.as_deref() == Some("auth.test")));
    // A proxy that is spoken to in TLS has a name of its own.
    let target = format!("localhost:{}", endpoint.address.port());
    oauth_of(&mut settings_https).token_url = format!("https://{target}/token");
    for proxy in [Proxy::start(), Proxy::start_secured(&authority)] {
        settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
        oauth_of(&mut settings_https).tls.server_name = Some("auth.test".into());
        token(&settings_https).unwrap();
        assert!(proxy.targets.lock().unwrap().contains(&target));
        oauth_of(&mut settings_https).tls.server_name = Some("other.test".into());
        assert!(token(&settings_https).unwrap_err().contains("certificate"));
        // A token endpoint that an exception leads to directly.
        let url = format!("http://127.0.0.1:{}", proxy.port);
        settings_https.proxy = ProxySettings::Explicit { url, no_proxy: "127.0.0.1,localhost".into() };
        oauth_of(&mut settings_https).tls.server_name = Some("auth.test".into());
        token(&settings_https).unwrap();
    }
}

#[test]
fn an_ipv6_address_is_asked_directly_and_refused_behind_a_proxy() {
    let (authority, platform, mut settings_https) = platform();
    // Some build machines have no IPv6 at all.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let identity = authority.files("auth", &["::1"], 365);
        let address = (Ipv6Addr::LOCALHOST, 0).into();
        let endpoint = Platform::start_with(&authority, &identity, address, &[&rustls::version::TLS13]);
        *oauth_of(&mut settings_https) = oauth(&authority, &endpoint);
        token(&settings_https).unwrap();
        assert_eq!(endpoint.state.token_requests.load(Ordering::SeqCst), 1);
    }
    let secret = oauth_of(&mut settings_https).client_secret.clone();
    settings_https.oauth = Some(OAuthSettings::new("https://[fd00::1]:9443/token", "the-client", secret));
    oauth_of(&mut settings_https).tls = authority.client_tls();
    let url = "http://proxy.test:3128".to_owned();
    settings_https.proxy = ProxySettings::Explicit { url: url.clone(), no_proxy: platform.address.ip().to_string() };
    let error = HttpsTransport::new(&settings_https).unwrap_err().to_string();
    assert!(error.contains("give https://[fd00::1]:9443/token a host name, or except it (NO_PROXY)"), "{error}");
    let steps = uploader::check(&settings_https, &Envelope::edge_batch());
    assert!(steps.iter().any(|step| step.result.as_ref().is_err_and(|text| *text == error)), "{steps:#?}");
    settings_https.proxy = ProxySettings::Explicit { url, no_proxy: "127.0.0.1,fd00::/8".into() };
    HttpsTransport::new(&settings_https).unwrap();
}

#[test]
fn through_a_proxy_that_wants_a_password() {
    let (_authority, platform, mut settings_https) = platform();
    let proxy = Proxy::start();
    settings_https.proxy = ProxySettings::Explicit { url: proxy.url(), no_proxy: String::new() };
    token(&settings_https).unwrap();
    assert_eq!(*proxy.targets.lock().unwrap(), [platform.address.to_string(), platform.address.to_string()]);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    settings_https.proxy = ProxySettings::Explicit { url, no_proxy: String::new() };
    let error = token(&settings_https).unwrap_err();
    assert!(error.contains("cannot connect") && error.contains("proxy"), "{error}");
    assert_eq!(proxy.refused.load(Ordering::SeqCst), 1);
}

/// A pair that is new, and settings that are, take effect with the next token; the one in hand stays good until then.
#[test]
fn certificates_and_settings_change_under_way() {
    let (authority, platform, mut settings_https) = platform();
    let (endpoint, other) = (Platform::start(&authority), Platform::start(&authority));
    for endpoint in [&endpoint, &other] {
        endpoint.state.token_life.store(1, Ordering::SeqCst);
    }
    let own = |endpoint| {
        let mut oauth = oauth(&authority, endpoint);
        oauth.tls.identity = Some(authority.files("for-tokens", &["tokens.test"], 365));
        oauth.tls.reload_interval = Duration::from_millis(50);
        oauth
    };
    let (first, second) = (own(&endpoint), own(&other));
    settings_https.oauth = Some(first);
    let folder = tempfile::tempdir().unwrap();
    let uploader =
        Uploader::start_to(settings(folder.path()), &Destination::Https(Box::new(settings_https.clone())), None)
            .unwrap();
    let (stats, mut sent) = (uploader.stats(), 0);
    let mut shown = |endpoint: &Platform, certificate: &Path| {
        let expected = CertificateDer::from_pem_file(certificate).unwrap().to_vec();
        wait_until("a token that the pair was shown for", || {
            submit(&uploader, sent..sent + 10, 10);
            sent += 10;
            std::thread::sleep(Duration::from_millis(50));
            endpoint.state.clients.lock().unwrap().last().is_some_and(|(shown, _)| *shown == expected)
        });
    };
    let files = oauth_of(&mut settings_https).tls.identity.clone().unwrap();
    shown(&endpoint, &files.certificate);
    // The token comes first, and the batch after it.
    wait_until("a batch that the pair was shown for", || !platform.state.clients.lock().unwrap().is_empty());
    let of_platform = platform.state.clients.lock().unwrap()[0].0.clone();
    authority.files("for-tokens", &["tokens.test"], 366);
    wait_until("a reload", || stats.reloads() > 0);
    shown(&endpoint, &files.certificate);
    assert_eq!(endpoint.state.clients.lock().unwrap().len(), 2, "one connection for each pair");
    settings_https.oauth = Some(second);
    let destination = Destination::Https(Box::new(settings_https));
    uploader.control().prepare(&settings(folder.path()), &destination).unwrap().unwrap().apply();
    shown(&other, &files.certificate);
    assert!(platform.state.clients.lock().unwrap().iter().all(|(shown, _)| *shown == of_platform));
    assert_eq!((stats.token_errors(), stats.retries(RetryReason::Token)), (0, 0));
    assert!(uploader.drain(Duration::from_secs(20)).complete);
}

/// The client may speak HTTP/2; an endpoint that does not is no worse for it.
#[test]
fn whatever_version_of_http_the_platform_is_spoken_to_in() {
    let (authority, endpoint, mut settings_https) = platform();
    let modern = Http2Platform::start(&authority);
    settings_https.url = modern.url();
    settings_https.http = HttpVersions::Any;
    token(&settings_https).unwrap();
    assert_eq!(endpoint.state.token_requests.load(Ordering::SeqCst), 1);
}

/// Each says what was tried, what went wrong and what to do, without a library's words about itself; none takes for ever.
#[test]
fn what_went_wrong_is_said() {
    let (authority, _platform, mut settings_https) = platform();
    settings_https.connect_timeout = Duration::from_millis(200);
    let proper = oauth_of(&mut settings_https).clone();
    let mut fault = |change: &dyn Fn(&mut OAuthSettings), parts: &[&str]| {
        let mut oauth = OAuthSettings { timeout: Duration::from_millis(1000), ..proper.clone() };
        change(&mut oauth);
        settings_https.oauth = Some(oauth);
        let begun = Instant::now();
        let error = token(&settings_https).unwrap_err();
        assert!(begun.elapsed() < Duration::from_millis(3000), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part} is missing: {error}");
        }
        for noise in ["://", "error sending request", "hunter2"] {
            assert!(!error.contains(noise), "{error}");
        }
    };
    let cannot = "the token endpoint at 127.0.0.1 cannot be asked: ";
    let closed = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let url = format!("https://{closed}/token");
    fault(&|oauth| oauth.token_url.clone_from(&url), &[cannot, "cannot connect", "refused (os error 111)", "firewall"]);
    // Nobody takes it out of the queue.
    let silent = TcpListener::bind(ANY_PORT).unwrap();
    let url = format!("https://{}/token", silent.local_addr().unwrap());
    fault(&|oauth| oauth.token_url.clone_from(&url), &[cannot, "no connection within 200ms"]);
    let stranger = Authority::new();
    fault(
        &|oauth| oauth.tls.ca = Some(stranger.certificate.clone()),
        &[cannot, "cannot connect", "invalid peer certificate: ", "the trusted authorities"],
    );
    let name = |oauth: &mut OAuthSettings| oauth.token_url = "https://no-such-host.invalid/token".into();
    fault(&name, &["the token endpoint at no-such-host.invalid cannot be asked: cannot connect"]);
    for (answer, stays, parts) in [
        (String::new(), true, &[cannot, "no complete answer within 1s"][..]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".into(), true, &[cannot, "no complete answer within 1s"]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".into(), false, &[cannot, "the connection failed"]),
        (String::new(), false, &[cannot, "the connection failed"]),
        ("SSH-2.0-hunter2\r\n\r\n".into(), false, &[cannot, "the connection failed"]),
        (ok(&" ".repeat(70_000)), true, &["answer is longer than 65536 bytes"]),
        (ok(&" ".repeat(65_536)), true, &["answer is not JSON"]),
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(10_000_000)), false, &["longer than 65536 bytes"]),
        (ok(r#"{"error":"hunter2"}"#), true, &["has no access_token"]),
        (
            "HTTP/1.1 403 hunter2\r\nContent-Length: 7\r\n\r\nhunter2".into(),
            true,
            &["answered 403; check the client id"],
        ),
        (
            "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n".into(),
            true,
            &["answered 404; check the token endpoint's address"],
        ),
    ] {
        let (url, _) = endpoint(answer, stays);
        fault(&|oauth| oauth.token_url.clone_from(&url), parts);
    }
    // The form holds the secret: whoever is named by a redirection must not get it.
    let (elsewhere, asked) = endpoint(ok(r#"{"access_token":"tok-en-1"}"#), true);
    for status in [301, 302, 307, 308] {
        let head = format!("HTTP/1.1 {status} x\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
        let (url, _) = endpoint(head, true);
        fault(&|oauth| oauth.token_url.clone_from(&url), &[&format!("answered {status}")]);
    }
    assert!(asked.lock().unwrap().is_empty());
    // A secret that cannot be read is said at once.
    let secret = SecretSource::File(authority.folder.path().join("none"));
    settings_https.oauth = Some(OAuthSettings { client_secret: secret, ..proper });
    assert!(HttpsTransport::new(&settings_https).unwrap_err().to_string().contains("none"));
}
