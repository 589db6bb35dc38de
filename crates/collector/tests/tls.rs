//! Mutual TLS, seen by rustls, curl and openssl.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use collector::{ClientCertificates, Collector, Options, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion};
use support::{Certificates, JSON, batch, clients, edge, have};

fn start(certificates: &Certificates, wanted: ClientCertificates) -> Collector {
    Collector::start(Options { tls: Some(certificates.tls(wanted)), ..Options::default() }).unwrap()
}

/// Posts a record over rustls; what the handshake or the collector said.
fn post(
    collector: &Collector,
    certificates: &Certificates,
    client: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<(ProtocolVersion, u16)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.path("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some(name) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificates.path(&format!("{name}.pem"))).unwrap()],
                PrivateKeyDer::from_pem_file(certificates.path(&format!("{name}.key"))).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(collector.address())?);
    let body = edge("over-tls");
    write!(
        stream,
        "POST /api-transaction HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{JSON}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    Ok((stream.conn.protocol_version().unwrap(), status))
}

#[test]
fn client_certificates_are_demanded_optional_or_ignored() {
    let certificates = Certificates::new();
    use ClientCertificates::{Demanded, Ignored, Optional};
    for (wanted, client, stands) in [
        (Demanded, Some("client"), true),
        (Demanded, None, false),
        (Demanded, Some("other-client"), false),
        (Optional, Some("client"), true),
        (Optional, None, true),
        (Optional, Some("other-client"), false),
        (Ignored, None, true),
        (Ignored, Some("other-client"), true),
    ] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let collector = start(&certificates, wanted);
            let answer = post(&collector, &certificates, client, version);
            let store = collector.store().unwrap();
            let stats = collector.shutdown();
            if stands {
                assert_eq!(answer.unwrap(), (version.version, 200), "{wanted:?} {client:?}");
                assert_eq!(stats.requests_with_certificate, u64::from(wanted != Ignored && client.is_some()));
            } else {
                let error = answer.unwrap_err();
                assert!(error.to_string().contains("alert"), "{wanted:?} {client:?} {version:?}: {error}");
            }
            assert_eq!(store.count().unwrap(), u64::from(stands));
            assert_eq!(stats.handshakes_failed, u64::from(!stands));
        }
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let certificates = Certificates::new();
    let good = certificates.tls(ClientCertificates::Demanded);
    std::fs::write(certificates.path("empty.pem"), "no certificate").unwrap();
    for (tls, says) in [
        (Tls { certificate: certificates.path("nothing.pem"), ..good.clone() }, "nothing.pem"),
        (Tls { certificate: certificates.path("empty.pem"), ..good.clone() }, "empty.pem"),
        (Tls { key: certificates.path("empty.pem"), ..good.clone() }, "empty.pem"),
        (Tls { key: certificates.path("client.key"), ..good.clone() }, "is the key its own?"),
        (Tls { client_ca: Some(certificates.path("empty.pem")), ..good.clone() }, "client CA"),
        (Tls { client_ca: None, ..good.clone() }, "no client CA"),
    ] {
        let error = Collector::start(Options { tls: Some(tls), ..Options::default() }).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Runs curl in the certificates' folder; exit code, status, what came.
fn curl(certificates: &Certificates, arguments: &[&str]) -> (i32, String) {
    let output = Command::new("curl")
        .current_dir(certificates.folder())
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert", "ca.pem"])
        .args(["--write-out", "\n%{http_code} %{http_version}"])
        .args(arguments)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[test]
fn curl_posts_with_a_client_certificate_and_not_without() {
    if !have("curl", "curl_posts_with_a_client_certificate_and_not_without") {
        return;
    }
    let certificates = Certificates::new();
    let options = Options {
        tls: Some(certificates.tls(ClientCertificates::Demanded)),
        clients: Some(clients()),
        ..Options::default()
    };
    let collector = Collector::start(options).unwrap();
    let url = |path: &str| format!("https://localhost:{}{path}", collector.address().port());
    let ours = ["--cert", "client.pem", "--key", "client.key"];
    // The token, by the form and by HTTP Basic.
    let secret = format!("client_secret={}", support::SECRET);
    let form = ["--data", "grant_type=client_credentials", "--data", "client_id=sensor-1", "--data-urlencode", &secret];
    let (code, text) = curl(&certificates, &[&ours[..], &form[..], &[&url(support::TOKEN_PATH)]].concat());
    assert_eq!(code, 0, "{text}");
    let answer: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let user = format!("sensor-1:{}", support::SECRET);
    let (_, text) =
        curl(&certificates, &[&ours[..], &["--user", &user], &form[..2], &[&url(support::TOKEN_PATH)]].concat());
    assert!(text.contains("access_token") && text.contains("\n200 "), "{text}");

    // A batch over both versions of HTTP, large enough that curl asks first.
    let bearer = support::bearer(answer["access_token"].as_str().unwrap());
    let records: Vec<String> = (0..3000).map(|number| edge(&number.to_string())).collect();
    std::fs::write(certificates.path("batch.json"), batch(&records)).unwrap();
    let send = ["--header", JSON, "--header", &bearer, "--data-binary", "@batch.json"];
    for (version, name) in [("--http1.1", "200 1.1"), ("--http2", "200 2")] {
        let (code, text) = curl(&certificates, &[&ours[..], &send[..], &[version, &url("/api-transactions")]].concat());
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("\"received\":3000") && text.ends_with(name), "{text}");
    }
    let reading = ["--header", &bearer, &url("/transactions?limit=2&status=200")];
    let (_, text) = curl(&certificates, &[&ours[..], &reading[..]].concat());
    assert!(text.contains("\"id\":\"1\"") && text.contains("\n200 "), "{text}");

    // Without, and with another's: the handshake fails, and nothing arrives.
    for client in [&[][..], &["--cert", "other-client.pem", "--key", "other-client.key"]] {
        for version in ["--tlsv1.3", "--tls-max=1.2"] {
            let version: Vec<&str> = version.split('=').collect();
            let (code, text) =
                curl(&certificates, &[client, &version[..], &send[..], &[&url("/api-transactions")]].concat());
            assert_ne!(code, 0, "{text}");
            assert!(text.contains("alert"), "{text}");
        }
    }
    assert_eq!(collector.store().unwrap().count().unwrap(), 3000);
    let stats = collector.shutdown();
    assert_eq!((stats.handshakes_failed, stats.requests_http2 > 0, stats.duplicates), (4, true, 3000));
}

#[test]
fn openssl_sees_1_3_and_is_refused_below_1_2() {
    if !have("openssl", "openssl_sees_1_3_and_is_refused_below_1_2") {
        return;
    }
    let certificates = Certificates::new();
    let collector = start(&certificates, ClientCertificates::Demanded);
    let connect = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .current_dir(certificates.folder())
            .args(["s_client", "-connect", &collector.address().to_string(), "-CAfile", "ca.pem"])
            .args([
                "-verify_hostname",
                "localhost",
                "-verify_return_error",
                "-cert",
                "client.pem",
                "-key",
                "client.key",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    };
    let (stands, text) = connect(&["-alpn", "h2,http/1.1"]);
    assert!(stands && text.contains("TLSv1.3") && text.contains("ALPN protocol: h2"), "{text}");
    let (stands, text) = connect(&["-tls1_2"]);
    assert!(stands && text.contains("TLSv1.2"), "{text}");
    // Which alert it is is the library's choice; no session comes about.
    for old in ["-tls1_1", "-tls1"] {
        // At security level 0, or openssl itself would not offer it: then this would test nothing of ours.
        let (stands, text) = connect(&[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!stands && text.contains("alert") && text.contains("Cipher is (NONE)"), "{old}: {text}");
    }
}
