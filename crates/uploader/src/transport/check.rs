//! A trial of the way to the platform, step by step, for an operator to read.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::answer::describe;
use super::certificate::{Identity, Lifetime, Validity, authorities};
use super::https::{HttpsTransport, unix_now};
use super::proxy::proxy_for;
use super::tls;
use crate::envelope::Envelope;
use crate::outcome::Outcome;
use crate::settings::{HttpsSettings, TlsSettings};

/// One step of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStep {
    /// What was tried, with which value.
    pub what: String,
    /// What came of it; an error says what to do.
    pub result: Result<String, String>,
    /// It went well, and will not for much longer: `result` says what to do.
    pub is_warning: bool,
}

/// Tries everything that delivery needs: settings, certificates, name, connection, TLS, token, and an empty batch. Sends
/// no records. Blocks, at most for the time-outs of `settings`. All is well if every step is.
#[must_use]
pub fn check(settings: &HttpsSettings, envelope: &Envelope) -> Vec<CheckStep> {
    let mut trial = Trial { steps: Vec::new() };
    let problems = settings.problems();
    if !trial.note("settings", if problems.is_empty() { Ok(String::new()) } else { Err(problems.join("; ")) }) {
        return trial.steps;
    }
    let mut usable = trial.certificates("the platform", &settings.tls);
    if let Some(oauth) = &settings.oauth {
        usable &= trial.certificates("the token endpoint", &oauth.tls);
        let secret = oauth.client_secret.read().map(|_| String::new()).map_err(|error| error.to_string());
        usable &= trial.note(format!("client secret from {}", oauth.client_secret), secret);
    }
    if !usable {
        return trial.steps;
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(trial.reach(settings, envelope));
            runtime.shutdown_background();
        }
        Err(error) => {
            trial.note("runtime", Err(error.to_string()));
        }
    }
    trial.steps
}

struct Trial {
    steps: Vec<CheckStep>,
}

impl Trial {
    /// Adds a step. True if it went well.
    fn note(&mut self, what: impl Into<String>, result: Result<String, String>) -> bool {
        let well = result.is_ok();
        self.steps.push(CheckStep { what: what.into(), result, is_warning: false });
        well
    }

    /// Adds a step that went well for now.
    fn warn(&mut self, what: impl Into<String>, result: String) {
        self.steps.push(CheckStep { what: what.into(), result: Ok(result), is_warning: true });
    }

    fn certificates(&mut self, peer: &str, tls: &TlsSettings) -> bool {
        let from = tls.ca.as_ref().map_or("the system".to_owned(), |path| path.display().to_string());
        let trusted = authorities(tls.ca.as_deref());
        let trusted = trusted.map(|roots| format!("{} trusted", roots.len())).map_err(|error| error.to_string());
        let mut well = self.note(format!("authorities for {peer} from {from}"), trusted);
        if let Some(files) = &tls.identity {
            let what = format!("client certificate for {peer} from {}", files.certificate.display());
            match Identity::load(files) {
                Err(error) => well &= self.note(what, Err(error.to_string())),
                Ok(identity) => {
                    let days = days_left(identity.validity.ends);
                    match identity.validity.at(unix_now()) {
                        Lifetime::Ahead => {
                            let ahead = days_left(identity.validity.begins);
                            let error = format!(
                                "is not valid yet, and will not be for {ahead} full days; put a valid one in its place, or set the clock"
                            );
                            well &= self.note(what, Err(error));
                        }
                        Lifetime::Over => {
                            well &= self.note(what, Err("has expired; put a new one in its place".to_owned()));
                        }
                        Lifetime::Ending => self.warn(
                            what,
                            format!(
                                "valid for {days} more days only; put a new one in its place, no restart is needed"
                            ),
                        ),
                        Lifetime::Running => _ = self.note(what, Ok(format!("valid for {days} more days"))),
                    }
                }
            }
        }
        well
    }

    async fn reach(&mut self, settings: &HttpsSettings, envelope: &Envelope) {
        if let Ok(url) = url::Url::parse(&settings.url) {
            match proxy_for(&settings.proxy, &url) {
                Err(fault) => {
                    self.note("way to the platform", Err(fault));
                    return;
                }
                Ok(Some(proxy)) => {
                    let (host, port) = (proxy.uri().host().unwrap_or_default(), proxy.uri().port_u16());
                    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                    self.note(
                        "way to the platform",
                        Ok(format!("through the proxy {host}{port}; TLS behind it is tried by the requests below")),
                    );
                }
                Ok(None) => self.connect(settings, &url).await,
            }
        }
        let transport = match HttpsTransport::new(settings) {
            Ok(transport) => transport,
            Err(error) => {
                self.note("set-up", Err(error.to_string()));
                return;
            }
        };
        if let Some(oauth) = &settings.oauth {
            let token = transport.try_token().await;
            if !self.note(format!("token from {}", oauth.token_url), token.map(|()| String::new())) {
                return;
            }
        }
        let body = envelope.empty_body().into();
        let (outcome, why) = transport.try_post(body, envelope.content_type()).await;
        let result = match outcome {
            Outcome::Accepted => Ok("accepted".to_owned()),
            Outcome::Retry { reason, .. } => {
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                Err(format!("{}{why}; {}", reason.name(), reason.advice()))
            }
            Outcome::Refresh => Err("401; check the client id, its secret and its rights".to_owned()),
            Outcome::Split => Err("413; the platform takes no body at all".to_owned()),
            Outcome::Reject { status, .. } => {
                Err(format!("{status}; check the address's path and the client's rights"))
            }
        };
        self.note(format!("empty batch to {}", settings.url), result);
    }

    async fn connect(&mut self, settings: &HttpsSettings, url: &url::Url) {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let timeout = settings.connect_timeout;
        let looked_up = within(timeout, tokio::net::lookup_host((host.clone(), port))).await;
        let addresses: Vec<_> = match looked_up {
            Ok(found) => found.collect(),
            Err(error) => {
                self.note(format!("name {host}"), Err(format!("{error}; check name resolution")));
                return;
            }
        };
        let listed: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
        self.note(format!("name {host}"), Ok(listed.join(", ")));
        let stream = match within(timeout, TcpStream::connect(&addresses[..])).await {
            Ok(stream) => stream,
            Err(error) => {
                let advice = "check the address, the firewall and routes";
                self.note(format!("connection to {host} port {port}"), Err(format!("{error}; {advice}")));
                return;
            }
        };
        self.note(format!("connection to {host} port {port}"), Ok(String::new()));
        if url.scheme() != "https" {
            return;
        }
        let name = settings.tls.server_name.clone().unwrap_or(host);
        let result = match (tls::configure(&settings.tls, settings.http, None), ServerName::try_from(name.clone())) {
            (Ok(configured), Ok(server_name)) => {
                let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(configured.config));
                within(timeout, connector.connect(server_name, stream))
                    .await
                    .map(|stream| describe_session(stream.get_ref().1))
                    .map_err(|error| format!("{}; check both sides' certificates and the clocks", describe(&error)))
            }
            (Err(error), _) => Err(error.to_string()),
            (_, Err(_)) => Err("is not a name".to_owned()),
        };
        self.note(format!("TLS with {name}"), result);
    }
}

fn describe_session(session: &rustls::ClientConnection) -> String {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "an unknown version",
    };
    let http = match session.alpn_protocol() {
        Some(b"h2") => "HTTP/2",
        _ => "HTTP/1.1",
    };
    let expiry = session.peer_certificates().and_then(|chain| chain.first()).and_then(Validity::of);
    let expiry = expiry.map(|validity| format!(", its certificate valid for {} more days", days_left(validity.ends)));
    format!("{version}, {http}{}", expiry.unwrap_or_default())
}

fn days_left(expiry: i64) -> i64 {
    (expiry - unix_now()).div_euclid(86_400)
}

async fn within<T>(timeout: Duration, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
