//! A platform that can be told to misbehave, and certificates for both sides.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use uploader::{
    BatchLimits, Batcher, Envelope, HttpsSettings, IdentityFiles, OAuthSettings, ProxySettings, RecordId,
    RetrySettings, SecretSource, Settings, SpoolSettings, TlsSettings, Uploader,
};

pub const SECRET: &str = "s3cr3t-hunter2-&=+%";

pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An authority, and a folder for its files.
pub struct Authority {
    pub folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub certificate: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "a test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), certificate: path }
    }

    /// PEM of a certificate for `names` that is valid until `days` from now.
    pub fn issue(&self, names: &[&str], days: i64, key: &KeyPair) -> String {
        self.issue_from(names, days.min(0) - 10, days, key)
    }

    /// The same of one that is valid from `first` days from now.
    pub fn issue_from(&self, names: &[&str], first: i64, days: i64, key: &KeyPair) -> String {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = std::time::SystemTime::now();
        let day = |days: i64| {
            let shift = Duration::from_secs(days.unsigned_abs() * 86_400);
            let at = if days < 0 { now - shift } else { now + shift };
            at.into()
        };
        params.not_before = day(first);
        params.not_after = day(days);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// Files `name.crt` and `name.key`.
    pub fn files(&self, name: &str, names: &[&str], days: i64) -> IdentityFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = self.issue(names, days, &key);
        self.write(name, &certificate, &key.serialize_pem())
    }

    pub fn write(&self, name: &str, certificate: &str, key: &str) -> IdentityFiles {
        let file = |extension: &str| self.folder.path().join(format!("{name}.{extension}"));
        let files = IdentityFiles { certificate: file("crt"), key: file("key") };
        std::fs::write(&files.key, key).unwrap();
        std::fs::write(&files.certificate, certificate).unwrap();
        files
    }

    pub fn client_tls(&self) -> TlsSettings {
        TlsSettings {
            identity: Some(self.files("client", &["sensor.test"], 365)),
            ca: Some(self.certificate.clone()),
            ..TlsSettings::default()
        }
    }
}

/// One answer to one request for storage.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Stores the records and says so.
    Take,
    /// This status, with these header lines and this body; stores nothing.
    Status(u16, &'static str, &'static str),
    /// Nothing, for ever.
    Hang,
    /// The whole answer, but so late. Stores.
    Late(Duration),
    /// This status and these header lines, but so late; stores nothing.
    LateStatus(Duration, u16, &'static str),
    /// Half an answer, then a reset.
    CutMidBody,
    /// A reset before any answer.
    CutBeforeHead,
    /// 400, and the request's Authorization repeated.
    Echo,
    /// 413 for bodies over so many bytes, else takes it.
    Limit(usize),
}

#[derive(Default)]
pub struct State {
    pub script: Mutex<VecDeque<Reply>>,
    pub then: Mutex<Option<Reply>>,
    /// How often each record was stored.
    pub stored: Mutex<BTreeMap<u64, u64>>,
    /// Lowest id of each request for storage, with its time.
    pub arrivals: Mutex<Vec<(Instant, u64)>>,
    pub requests: AtomicUsize,
    pub token_requests: AtomicUsize,
    pub connections: AtomicUsize,
    pub concurrent: AtomicUsize,
    pub most_concurrent: AtomicUsize,
    /// Tokens up to this number are refused.
    pub revoked: AtomicU64,
    pub demand_token: std::sync::atomic::AtomicBool,
    pub token_life: AtomicU64,
    pub token_failures: AtomicUsize,
    pub heads: Mutex<Vec<String>>,
    /// The client certificate and the name asked for of each connection.
    pub clients: Mutex<Vec<(Vec<u8>, Option<String>)>>,
}

pub struct Platform {
    pub address: SocketAddr,
    pub state: Arc<State>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Platform {
    /// Starts on a free port of the loopback.
    pub fn start(authority: &Authority) -> Self {
        let identity = authority.files("server", &["localhost", "127.0.0.1"], 365);
        Self::start_with(authority, &identity, ANY_PORT, &[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    pub fn start_with(
        authority: &Authority,
        identity: &IdentityFiles,
        address: SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let config = server_config(authority, identity, versions);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = Arc::new(State { token_life: AtomicU64::new(1800), ..State::default() });
        let listener = {
            let _guard = runtime.enter();
            let listener = std::net::TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accept_state = Arc::clone(&state);
        runtime.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&accept_state));
                tokio::spawn(async move {
                    let _ = serve(acceptor, stream, state).await;
                });
            }
        });
        Self { address, state, runtime: Some(runtime) }
    }

    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.script.lock().unwrap().extend(replies);
    }

    /// What is answered when the script is over; until then everything is taken.
    pub fn then(&self, reply: Reply) {
        *self.state.then.lock().unwrap() = Some(reply);
    }

    pub fn stored(&self) -> BTreeMap<u64, u64> {
        self.state.stored.lock().unwrap().clone()
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("https://{}/api-transactions", self.address)
    }

    pub fn token_url(&self) -> String {
        format!("https://{}/token", self.address)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

pub fn server_config(
    authority: &Authority,
    identity: &IdentityFiles,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.certificate).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            CertificateDer::pem_file_iter(&identity.certificate).unwrap().map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
        )
        .unwrap()
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    state.connections.fetch_add(1, Ordering::SeqCst);
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).unwrap().to_vec();
    state.clients.lock().unwrap().push((certificate, session.server_name().map(str::to_owned)));
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length: usize = header("content-length").map_or(0, |value| value.parse().unwrap());
        while buffer.len() < head_end + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body: Vec<u8> = buffer.drain(..head_end + length).skip(head_end).collect();
        state.heads.lock().unwrap().push(head.clone());
        if head.starts_with("POST /token ") {
            let reply = token_reply(&state, &body).await;
            stream.write_all(reply.as_bytes()).await?;
            continue;
        }
        let now = state.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_concurrent.fetch_max(now, Ordering::SeqCst);
        let done = answer(&mut stream, &state, header("authorization"), header("content-encoding"), body).await;
        state.concurrent.fetch_sub(1, Ordering::SeqCst);
        if !done? {
            return Ok(());
        }
    }
}

/// Answers a request for storage. False: the connection is to be cut.
async fn answer(
    stream: &mut tokio_rustls::server::TlsStream<TcpStream>,
    state: &State,
    authorization: Option<String>,
    encoding: Option<String>,
    body: Vec<u8>,
) -> std::io::Result<bool> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    if state.demand_token.load(Ordering::SeqCst) {
        let number = authorization.as_ref().and_then(|value| value.strip_prefix("Bearer tok-en-")?.parse::<u64>().ok());
        if number.is_none_or(|number| number <= state.revoked.load(Ordering::SeqCst)) {
            write_reply(stream, 401, "", "").await?;
            return Ok(true);
        }
    }
    let length = body.len();
    let plain = match encoding.as_deref() {
        Some("gzip") => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain)?;
            plain
        }
        Some("zstd") => zstd::decode_all(&body[..])?,
        _ => body,
    };
    let authorized = authorization.clone().unwrap_or_default();
    let ids: Vec<u64> = serde_json::from_slice::<serde_json::Value>(&plain).unwrap()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    if ids.is_empty() {
        write_reply(stream, 200, "", "{\"status\": \"OK\"}").await?;
        return Ok(true);
    }
    state.arrivals.lock().unwrap().push((Instant::now(), ids[0]));
    let scripted = state.script.lock().unwrap().pop_front();
    let reply = scripted.or_else(|| state.then.lock().unwrap().clone()).unwrap_or(Reply::Take);
    let store = || {
        let mut stored = state.stored.lock().unwrap();
        ids.iter().for_each(|id| *stored.entry(*id).or_default() += 1);
    };
    match reply {
        Reply::Take => {
            store();
            write_reply(stream, 200, "Content-Type: application/json\r\n", "{\"status\": \"OK\"}").await?;
        }
        Reply::Late(delay) => {
            tokio::time::sleep(delay).await;
            store();
            write_reply(stream, 200, "", "{\"status\": \"OK\"}").await?;
        }
        Reply::Limit(most) if length <= most => {
            store();
            write_reply(stream, 200, "", "{\"status\": \"OK\"}").await?;
        }
        Reply::Echo => write_reply(stream, 400, "", &format!("you sent {authorized}")).await?,
        Reply::Limit(_) => write_reply(stream, 413, "", "too large").await?,
        Reply::Status(status, headers, body) => write_reply(stream, status, headers, body).await?,
        Reply::LateStatus(delay, status, headers) => {
            tokio::time::sleep(delay).await;
            write_reply(stream, status, headers, "").await?;
        }
        Reply::Hang => std::future::pending().await,
        Reply::CutBeforeHead => return Ok(false),
        Reply::CutMidBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"stat").await?;
            stream.flush().await?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn write_reply(
    stream: &mut tokio_rustls::server::TlsStream<TcpStream>,
    status: u16,
    headers: &str,
    body: &str,
) -> std::io::Result<()> {
    let reply = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await
}

async fn token_reply(state: &State, body: &[u8]) -> String {
    let number = state.token_requests.fetch_add(1, Ordering::SeqCst) + 1;
    let form = String::from_utf8_lossy(body);
    // Time for others to ask, too, if they may.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let failures = &state.token_failures;
    let fails = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let right = form.contains("grant_type=client_credentials")
        && form.contains("client_id=the-client")
        && form.contains("client_secret=s3cr3t-hunter2-%26%3D%2B%25");
    let (status, body) = match (fails, right) {
        (true, _) => (503, "{}".to_owned()),
        (_, false) => (401, format!("{{\"error\":\"unauthorized_client\",\"echo\":{:?}}}", form)),
        _ => {
            let life = state.token_life.load(Ordering::SeqCst);
            (200, format!("{{\"access_token\":\"tok-en-{number}\",\"expires_in\":{life},\"token_type\":\"Bearer\"}}"))
        }
    };
    format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Settings with short delays and a spool in `folder`.
pub fn settings(folder: &Path) -> Settings {
    Settings {
        batch: BatchLimits { records: 10, ..BatchLimits::default() },
        spool: Some(SpoolSettings::new(folder.join("spool"))),
        retry: RetrySettings {
            backoff_base: Duration::from_millis(20),
            backoff_cap: Duration::from_millis(200),
            ..RetrySettings::default()
        },
        ..Settings::default()
    }
}

pub fn https(authority: &Authority, platform: &Platform) -> HttpsSettings {
    HttpsSettings {
        tls: authority.client_tls(),
        proxy: ProxySettings::None,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(2),
        ..HttpsSettings::new(platform.url())
    }
}

pub fn oauth(authority: &Authority, platform: &Platform) -> OAuthSettings {
    let path = authority.folder.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    OAuthSettings {
        tls: authority.client_tls(),
        ..OAuthSettings::new(platform.token_url(), "the-client", SecretSource::File(path))
    }
}

/// A record that the platform can tell.
pub fn record(id: u64, length: usize) -> Vec<u8> {
    format!("{{\"id\":{id},\"pad\":\"{}\"}}", "x".repeat(length)).into_bytes()
}

/// Hands in the records `ids`, each about `length` bytes.
pub fn submit(uploader: &Uploader, ids: std::ops::Range<u64>, length: usize) {
    let mut batcher: Batcher = uploader.batcher();
    let intake = uploader.intake();
    for id in ids {
        let batch = batcher.push(RecordId(u128::from(id).to_be_bytes()), &record(id, length), Instant::now());
        if let Some(batch) = batch {
            intake.submit(batch).unwrap();
        }
    }
    if let Some(batch) = batcher.flush() {
        intake.submit(batch).unwrap();
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn envelope() -> Envelope {
    Envelope::edge_batch()
}

/// A platform that speaks HTTP/2 to those who offer it, and takes everything.
pub struct Http2Platform {
    pub address: SocketAddr,
    /// Version and length of body of each request.
    pub versions: Arc<Mutex<Vec<(hyper::Version, usize)>>>,
    /// Answered first, before a body is read, with a wish for a second of patience.
    pub early: Arc<Mutex<VecDeque<u16>>>,
    pub connections: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Http2Platform {
    pub fn start(authority: &Authority) -> Self {
        let identity = authority.files("server", &["127.0.0.1"], 365);
        let mut config = server_config(authority, &identity, &[&rustls::version::TLS13]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(ANY_PORT)).unwrap();
        let address = listener.local_addr().unwrap();
        let (versions, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (seen, count) = (Arc::clone(&versions), Arc::clone(&connections));
        let early = Arc::new(Mutex::new(VecDeque::new()));
        let statuses = Arc::clone(&early);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, count) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&count));
                let statuses: Arc<Mutex<VecDeque<u16>>> = Arc::clone(&statuses);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, Ordering::SeqCst);
                    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        let seen = Arc::clone(&seen);
                        let early = statuses.lock().unwrap().pop_front();
                        async move {
                            if let Some(status) = early {
                                let answer = hyper::Response::builder().status(status).header("Retry-After", "1");
                                return Ok(answer.body(http_body_util::Full::default()).unwrap());
                            }
                            let version = request.version();
                            let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
                            seen.lock().unwrap().push((version, body.len()));
                            let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{\"status\":\"OK\"}"));
                            Ok::<_, hyper::Error>(hyper::Response::new(body))
                        }
                    });
                    let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                    let _ = builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, versions, early, connections, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("https://{}/api-transactions", self.address)
    }
}

impl Drop for Http2Platform {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// A proxy that knows CONNECT, and one user.
pub struct Proxy {
    pub port: u16,
    pub targets: Arc<Mutex<Vec<String>>>,
    pub refused: Arc<AtomicUsize>,
    is_secured: bool,
    _runtime: tokio::runtime::Runtime,
}

trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

impl Proxy {
    pub fn start() -> Self {
        Self::start_in(None)
    }

    /// One that is spoken to in TLS.
    pub fn start_secured(authority: &Authority) -> Self {
        let identity = authority.files("proxy", &["127.0.0.1"], 365);
        let config = server_config(authority, &identity, &[&rustls::version::TLS13]);
        Self::start_in(Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start_in(acceptor: Option<TlsAcceptor>) -> Self {
        let is_secured = acceptor.is_some();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(ANY_PORT)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (targets, refused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (seen, not_let_in) = (Arc::clone(&targets), Arc::clone(&refused));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, not_let_in) = (Arc::clone(&seen), Arc::clone(&not_let_in));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream: Box<dyn Io> = match acceptor {
                        Some(acceptor) => Box::new(acceptor.accept(stream).await?),
                        None => Box::new(stream),
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
                    // me:pass word
                    if !head.to_ascii_lowercase().contains("proxy-authorization: basic bwu6cgfzcyb3b3jk\r\n") {
                        not_let_in.fetch_add(1, Ordering::SeqCst);
                        return stream.write_all(b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n").await;
                    }
                    seen.lock().unwrap().push(target.clone());
                    let mut behind = TcpStream::connect(target).await?;
                    stream.write_all(b"HTTP/1.1 200 x\r\n\r\n").await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut behind).await.map(|_| ())
                });
            }
        });
        Self { port, targets, refused, is_secured, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("{}://me:pass%20word@127.0.0.1:{}", if self.is_secured { "https" } else { "http" }, self.port)
    }
}
