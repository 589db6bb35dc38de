//! What the uploader is told: plain structs, checked before anything starts.
//!
//! Times are [`Duration`]s, sizes are bytes. Nothing here is read from a file: that is the caller's business. Every
//! struct has a `Default` that is safe to run with, and a `problems` that names all faults at once.

use std::path::PathBuf;
use std::time::Duration;

use crate::envelope::Envelope;
use crate::secret::SecretSource;

/// When a batch is closed: whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records in a batch.
    pub records: usize,
    /// Bytes in a batch's body, uncompressed, envelope included. A record that alone is larger goes alone.
    pub bytes: usize,
    /// Time since the batch's first record.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { records: 250, bytes: 1 << 20, age: Duration::from_secs(5) }
    }
}

/// How the body of a batch is compressed before it is stored and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coding {
    /// As it is.
    #[default]
    Identity,
    /// gzip (RFC 1952), level 1: the sealing threads are few.
    Gzip,
    /// Zstandard (RFC 8878), level 1.
    Zstd,
}

impl Coding {
    /// The value of `Content-Encoding`, if there is one.
    #[must_use]
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// When the spool asks the disk to hold what it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpoolSync {
    /// Each batch is on the disk before it counts as spooled: power loss loses nothing of it.
    #[default]
    Batch,
    /// The kernel decides: `kill -9` loses nothing, power loss may lose what was written last.
    None,
}

/// The folder in which sealed batches wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder. Created (mode 0700) if it does not exist; locked against a second process.
    pub folder: PathBuf,
    /// Bytes that waiting batches may take. Beyond it the oldest are dropped, and counted.
    pub bytes: u64,
    /// When to ask for durability.
    pub sync: SpoolSync,
    /// How long a sealed batch may wait in memory for the platform's answer before it is written. One that is accepted by
    /// then needs no file, which while all is well spares the disk almost everything; it waits together with what is in
    /// the making ([`BatchLimits::age`]), and is no more durable than that. Nothing waits while the platform is away.
    /// Zero: every batch is on the disk before it is sent.
    pub grace: Duration,
    /// Bytes kept of rejected batches, in `dead-letter/` inside the folder; the oldest go first.
    pub dead_letter_bytes: u64,
    /// Bytes kept of damaged files, in `corrupt/` inside the folder; the oldest go first.
    pub corrupt_bytes: u64,
}

impl SpoolSettings {
    /// Settings for `folder`: 4 GiB, durable, 100 ms of grace, 64 MiB each for rejected and for damaged batches.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes: 4 << 30,
            sync: SpoolSync::Batch,
            grace: Duration::from_millis(100),
            dead_letter_bytes: 64 << 20,
            corrupt_bytes: 64 << 20,
        }
    }
}

/// How delivery tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Batches under way at once.
    pub in_flight: usize,
    /// The first delay's upper bound; each further failure doubles it.
    pub backoff_base: Duration,
    /// The largest upper bound of a delay.
    pub backoff_cap: Duration,
    /// The longest `Retry-After` that is honoured; longer ones are cut to it.
    pub retry_after_cap: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            in_flight: 4,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(60),
            retry_after_cap: Duration::from_secs(900),
        }
    }
}

/// What [`crate::Uploader`] needs beside a transport.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a batch is closed. For [`crate::Uploader::batcher`].
    pub batch: BatchLimits,
    /// What stands around and between the records. For [`crate::Uploader::batcher`].
    pub envelope: Envelope,
    /// How bodies are compressed.
    pub coding: Coding,
    /// Threads that compress, checksum and write. More than one only helps with compression.
    pub sealing_threads: usize,
    /// Batches that may wait to be sealed. A full queue blocks [`crate::Intake::submit`] and refuses
    /// [`crate::Intake::offer`].
    pub queue_batches: usize,
    /// Bytes of sealed batches kept in memory. With a spool they save reading back; without one, they are all there is.
    pub memory_bytes: u64,
    /// Where sealed batches wait; `None` is a queue in memory only, which a crash or power loss empties.
    pub spool: Option<SpoolSettings>,
    /// How delivery tries again.
    pub retry: RetrySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: BatchLimits::default(),
            envelope: Envelope::edge_batch(),
            coding: Coding::Identity,
            sealing_threads: 1,
            queue_batches: 16,
            memory_bytes: 64 << 20,
            spool: None,
            retry: RetrySettings::default(),
        }
    }
}

impl Settings {
    /// Everything that is wrong with these settings, each as `name: what, and what would do`. Empty: they can be used.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        check_range(&mut found, "batch.records", self.batch.records as u64, 1, 1 << 20);
        check_range(&mut found, "batch.bytes", self.batch.bytes as u64, 1 << 10, 64 << 20);
        check_time(&mut found, "batch.age", self.batch.age, Duration::from_millis(10), Duration::from_secs(3600));
        check_range(&mut found, "sealing_threads", self.sealing_threads as u64, 1, 64);
        check_range(&mut found, "queue_batches", self.queue_batches as u64, 1, 4096);
        let least = 2 * self.batch.bytes as u64;
        check_range(&mut found, "memory_bytes", self.memory_bytes, least, 1 << 40);
        check_range(&mut found, "retry.in_flight", self.retry.in_flight as u64, 1, 256);
        let (base, cap) = (self.retry.backoff_base, self.retry.backoff_cap);
        check_time(&mut found, "retry.backoff_base", base, Duration::from_millis(1), Duration::from_secs(60));
        check_time(&mut found, "retry.backoff_cap", cap, base, Duration::from_secs(3600));
        check_time(
            &mut found,
            "retry.retry_after_cap",
            self.retry.retry_after_cap,
            Duration::from_secs(1),
            Duration::from_secs(86_400),
        );
        if let Some(spool) = &self.spool {
            if spool.folder.as_os_str().is_empty() {
                found.push("spool.folder: is empty; name a folder, or leave the spool out".to_owned());
            }
            check_range(&mut found, "spool.bytes", spool.bytes, least, 1 << 50);
            check_time(&mut found, "spool.grace", spool.grace, Duration::ZERO, Duration::from_secs(10));
        }
        found
    }
}

/// Where a batch goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To the platform.
    Https(Box<HttpsSettings>),
    /// To a file that is rotated.
    File(FileSettings),
    /// To standard output.
    Stdout,
    /// Nowhere: every batch is taken as accepted.
    Null,
}

/// The platform's endpoint, and how to reach it.
#[derive(Clone, Debug)]
pub struct HttpsSettings {
    /// The address that batches are posted to, `https://host[:port]/path`. `http://` is refused unless the host is a
    /// loopback address.
    pub url: String,
    /// How to prove who we are and whom we talk to.
    pub tls: TlsSettings,
    /// Where bearer tokens come from; `None` sends none.
    pub oauth: Option<OAuthSettings>,
    /// The proxy, if any.
    pub proxy: ProxySettings,
    /// Time for name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Time for the whole exchange, connecting included.
    pub timeout: Duration,
    /// HTTP versions offered.
    pub http: HttpVersions,
    /// The `User-Agent` sent, for example `sensor/0.1.0`.
    pub user_agent: String,
    /// What counts as accepted.
    pub answer: AnswerRule,
}

impl HttpsSettings {
    /// Settings for `url` with everything else at its default.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls: TlsSettings::default(),
            oauth: None,
            proxy: ProxySettings::Environment,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            http: HttpVersions::default(),
            user_agent: concat!("sensor/", env!("CARGO_PKG_VERSION")).to_owned(),
            answer: AnswerRule::Status,
        }
    }

    /// Everything that is wrong with these settings, as [`Settings::problems`]. Files are not looked at.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        check_url(&mut found, "url", &self.url);
        self.tls.check(&mut found, "tls");
        check_time(
            &mut found,
            "connect_timeout",
            self.connect_timeout,
            Duration::from_millis(100),
            Duration::from_secs(600),
        );
        check_time(&mut found, "timeout", self.timeout, Duration::from_millis(100), Duration::from_secs(3600));
        if self.user_agent.is_empty() || !self.user_agent.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            found.push("user_agent: must be printable ASCII and not empty, as sensor/1.0".to_owned());
        }
        if let ProxySettings::Explicit { url, .. } = &self.proxy {
            // The value may hold a password: it is not repeated.
            found.extend(crate::transport::check_proxy(url).err().map(|fault| format!("proxy: {fault}")));
        }
        if let Some(oauth) = &self.oauth {
            check_url(&mut found, "oauth.token_url", &oauth.token_url);
            if oauth.client_id.is_empty() {
                found.push("oauth.client_id: is empty; the platform's administrator hands it out".to_owned());
            }
            oauth.tls.check(&mut found, "oauth.tls");
            check_time(
                &mut found,
                "oauth.timeout",
                oauth.timeout,
                Duration::from_millis(100),
                Duration::from_secs(600),
            );
        }
        found
    }
}

/// What counts as accepted among answers with a status of 200 to 299.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerRule {
    /// An empty body, or JSON whose `status`, if it has one, is `"OK"`. Any other `status` is a rejection; a body that is
    /// not JSON did not come from the platform, and the batch is tried again.
    #[default]
    Status,
    /// Whatever the body says.
    AnySuccess,
}

/// HTTP versions offered to the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersions {
    /// HTTP/2 where the platform agrees to it (ALPN), else HTTP/1.1 with keep-alive.
    Any,
    /// HTTP/1.1 only, a connection for each batch under way. Large bodies are all there is, and they cost less so, on
    /// either side: nothing is cut into frames or waits for a window, and a lost segment holds up one batch of several.
    #[default]
    Http1,
}

/// Which proxy to use.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum ProxySettings {
    /// As `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in either case.
    #[default]
    Environment,
    /// None, whatever the environment says.
    None,
    /// This one.
    Explicit {
        /// `http://[user:password@]host:port`, or `https://`.
        url: String,
        /// Hosts, domains and networks reached without it, as `NO_PROXY` writes them; empty: none.
        no_proxy: String,
    },
}

impl std::fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::None => f.write_str("None"),
            // The address may hold a password.
            Self::Explicit { no_proxy, .. } => {
                f.debug_struct("Explicit").field("no_proxy", no_proxy).finish_non_exhaustive()
            }
        }
    }
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM file: the certificate, then any intermediate ones.
    pub certificate: PathBuf,
    /// PEM file: the key (PKCS#8, SEC1 or PKCS#1), not encrypted. May be the same file.
    pub key: PathBuf,
}

/// TLS towards one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate that proves who we are; `None`: one-sided TLS.
    pub identity: Option<IdentityFiles>,
    /// PEM file of the authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The name to ask for and to check the certificate against, where it differs from the address's host.
    pub server_name: Option<String>,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
    /// How often the files are looked at for a change.
    pub reload_interval: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            identity: None,
            ca: None,
            server_name: None,
            min_version: TlsVersion::Tls12,
            reload_interval: Duration::from_secs(5),
        }
    }
}

impl TlsSettings {
    fn check(&self, found: &mut Vec<String>, name: &str) {
        if let Some(server_name) = &self.server_name
            && rustls::pki_types::ServerName::try_from(server_name.as_str()).is_err()
        {
            found.push(format!("{name}.server_name: {server_name:?} is neither a host name nor an address"));
        }
        let interval = format!("{name}.reload_interval");
        check_time(found, &interval, self.reload_interval, Duration::from_millis(50), Duration::from_secs(86_400));
    }
}

/// TLS versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// OAuth 2.0 client credentials (RFC 6749, section 4.4).
#[derive(Clone, Debug)]
pub struct OAuthSettings {
    /// The token endpoint. Behind a proxy it needs a host name or an IPv4 address, and [`TlsSettings::server_name`] is checked
    /// there, but not asked for.
    pub token_url: String,
    /// Who we are to it.
    pub client_id: String,
    /// Where the secret is. Read anew for each token, so that it can be changed without a restart.
    pub client_secret: SecretSource,
    /// The scope asked for, if any.
    pub scope: Option<String>,
    /// TLS towards the token endpoint; independent of the platform's.
    pub tls: TlsSettings,
    /// Time for one request of a token.
    pub timeout: Duration,
}

impl OAuthSettings {
    /// Settings with everything else at its default.
    #[must_use]
    pub fn new(token_url: impl Into<String>, client_id: impl Into<String>, client_secret: SecretSource) -> Self {
        Self {
            token_url: token_url.into(),
            client_id: client_id.into(),
            client_secret,
            scope: None,
            tls: TlsSettings::default(),
            timeout: Duration::from_secs(15),
        }
    }
}

/// A file that batches are appended to, one record a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file written to. Rotated ones get the time behind their name.
    pub path: PathBuf,
    /// Size at which it is rotated; a batch is never divided.
    pub rotate_bytes: u64,
    /// Age at which it is rotated; `None`: by size only.
    pub rotate_age: Option<Duration>,
    /// Rotated files kept; `None`: all.
    pub keep: Option<usize>,
    /// Whether each batch is on the disk before it counts as accepted, for one `fdatasync` a batch. Where the spool is synced,
    /// [`crate::Uploader::start_to`] has it so whatever this says: a batch must not go from the safer place to a weaker one.
    pub sync: bool,
}

impl FileSettings {
    /// Settings for `path`: rotation at 256 MiB, all kept, synced as the spool is.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), rotate_bytes: 256 << 20, rotate_age: None, keep: None, sync: false }
    }
}

fn check_range(found: &mut Vec<String>, name: &str, value: u64, least: u64, most: u64) {
    if value < least || value > most {
        found.push(format!("{name}: {value} is out of range; use {least} to {most}"));
    }
}

fn check_time(found: &mut Vec<String>, name: &str, value: Duration, least: Duration, most: Duration) {
    if value < least || value > most {
        found.push(format!("{name}: {value:?} is out of range; use {least:?} to {most:?}"));
    }
}

/// An address must be `https`, or `http` to a loopback address (for tests and side cars), and hold no password.
fn check_url(found: &mut Vec<String>, name: &str, url: &str) {
    let Ok(parsed) = url::Url::parse(url) else {
        found.push(format!("{name}: is not an address; use https://host[:port]/path"));
        return;
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        found.push(format!("{name}: holds a user name or password; secrets come from files or the environment"));
        return;
    }
    let loopback = parsed.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    match parsed.scheme() {
        "https" if parsed.has_host() => {}
        "http" if loopback => {}
        "http" => found.push(format!("{name}: {url} is not encrypted; use https://")),
        _ => found.push(format!("{name}: {url} cannot be posted to; use https://host[:port]/path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_without_problems() {
        assert_eq!(Settings::default().problems(), Vec::<String>::new());
        assert_eq!(HttpsSettings::new("https://edge.example/api-transactions").problems(), Vec::<String>::new());
        assert_eq!(HttpsSettings::new("http://[::1]:8080/x").problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let mut settings = Settings { queue_batches: 0, sealing_threads: 0, ..Settings::default() };
        settings.batch.records = 0;
        settings.retry.backoff_cap = Duration::from_millis(1);
        settings.spool = Some(SpoolSettings { bytes: 1, ..SpoolSettings::new("") });
        let problems = settings.problems();
        for name in
            ["batch.records", "sealing_threads", "queue_batches", "retry.backoff_cap", "spool.folder", "spool.bytes"]
        {
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name} is missing in {problems:?}");
        }
    }

    #[test]
    fn addresses_that_would_leak_are_refused_without_being_repeated() {
        for url in ["http://edge.example/x", "https://", "ftp://edge.example/", "edge.example"] {
            assert_eq!(HttpsSettings::new(url).problems().len(), 1, "{url}");
        }
        let problems = HttpsSettings::new("https://me:hunter2@edge.example/").problems();
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].contains("hunter2"));
        let mut settings = HttpsSettings::new("https://edge.example/");
        settings.proxy =
            ProxySettings::Explicit { url: "socks5://me:hunter2@proxy:1080".into(), no_proxy: String::new() };
        assert!(!format!("{settings:?} {:?}", settings.problems()).contains("hunter2"));
        assert_eq!(settings.problems().len(), 1);
    }
}
