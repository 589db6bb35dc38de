//! `[upload]`

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Tls;
use super::prelude::*;
use crate::config::secret;
use crate::config::section::Reader;

choices! {
    /// What a record looks like to its receiver.
    pub enum RecordShape {
        /// The platform's transactions, `{"data": […]}`.
        Edge = "edge",
        /// The sensor's own records, one JSON object a line.
        Native = "native",
    }
}

choices! {
    /// How the body of a request is packed.
    pub enum Compression {
        /// As it is.
        None = "none",
        /// `Content-Encoding: gzip`.
        Gzip = "gzip",
        /// `Content-Encoding: zstd`.
        Zstd = "zstd",
    }
}

choices! {
    /// How values of header fields stand in edge records.
    pub enum HeaderValues {
        /// In base64, behind the name and a colon.
        Base64 = "base64",
        /// As they are.
        Text = "text",
    }
}

choices! {
    /// What tells that a batch was accepted, beside a status of 200 to 299.
    pub enum Accepted {
        /// No body, or JSON in which no `status` says otherwise.
        Status = "status",
        /// Nothing: the body may be anything.
        AnySuccess = "any_success",
    }
}

choices! {
    /// The newest version of HTTP that is spoken.
    pub enum HttpVersion {
        /// HTTP/1.1, a connection for each batch on its way.
        Http1 = "1.1",
        /// HTTP/2 over one connection, where the platform agrees.
        Http2 = "2",
    }
}

choices! {
    /// When a batch counts as stored.
    pub enum SpoolSync {
        /// When it is on the disk: it outlasts a loss of power.
        Batch = "batch",
        /// When it is written: it outlasts the end of the program.
        None = "none",
    }
}

section! {
    Live;
    /// Where records are sent to: to a platform (`url`), or to files (`upload.file`). Without either, nothing is sent. A reload has
    /// another client made for what has changed, certificates included, before anything is changed; what is under way ends as it
    /// began. From a platform to files, to none or back takes a restart.
    pub struct Upload {
        /// The platform, as scheme, host and port.
        pub url: Option<String> = origin().optional("https://edge.example.com"),
        /// The path that batches are posted to.
        pub path: String = url_path().or("/api-transactions"),
        /// What a record looks like: "edge" for the platform, "native" for NDJSON. What waits in [upload.spool] has to be delivered
        /// before this can be another.
        pub shape: RecordShape = choice().or(RecordShape::Edge).at_restart(),
        /// How values of header fields stand in edge records: "base64", as the platform reads them, or "text".
        pub header_values: HeaderValues = choice().or(HeaderValues::Base64).at_restart(),
        /// What an answer with a status of 200 to 299 has to say for its batch to count as accepted: "status", no body or JSON
        /// whose `status`, if it has one, is "OK"; "any_success", anything, where the platform words it otherwise.
        /// Failures of single records inside an accepted answer are logged and counted (records_reported_failed), not acted on: the
        /// platform does not lay down what they look like.
        pub accepted: Accepted = choice().or(Accepted::Status),
        /// How a request's body is packed: "none", "gzip" or "zstd". Ask whether your platform takes it.
        pub compression: Compression = choice().or(Compression::None),
        /// Batches that may be on their way at once.
        pub in_flight: usize = whole(1..=64).or(4_usize),
        /// The newest version of HTTP to speak: "1.1", with a connection for each batch on its way, costs least; "2" where
        /// the platform or something before it wants HTTP/2.
        pub http: HttpVersion = choice().or(HttpVersion::Http1),
        /// How long to try to connect, TLS included.
        pub connect_timeout: Duration = time(millis(100)..=seconds(300)).or(seconds(10)),
        /// How long a request may take in all, until the answer is complete.
        pub timeout: Duration = time(seconds(1)..=hours(1)).or(seconds(60)),
        /// The proxy to connect through (CONNECT). "none": none, whatever the environment says. Default: what its HTTPS_PROXY and
        /// NO_PROXY say.
        pub proxy: Option<String> = proxy().optional("http://proxy.example.com:3128"),
        /// Memory for batches that wait, where there is no [upload.spool]; when it is full, the oldest are dropped and
        /// counted.
        pub queue_bytes: ByteSize = size(mib(1)..=gib(64)).or(mib(64)).at_restart(),
        /// The pool that this sensor belongs to, as records name it.
        pub pool_id: Option<String> = text().optional("eu-1").at_restart(),
        /// This sensor among those of the pool, as records name it. Default: the host's name.
        pub instance_id: Option<String> = text().optional("sensor-1").at_restart(),
        /// The version of the transaction format that records state.
        pub version: String = text().or("1.0").at_restart(),
        /// When a batch is sealed: whichever comes first.
        pub batch: Batch = table(),
        /// TLS between the sensor and the platform.
        pub tls: Tls = table(),
        /// A token from an OpenID Connect provider for each request. Without this section, requests carry none.
        pub oauth: Option<OAuth> = optional_table(),
        /// Where batches wait on the disk until they are accepted. Without this section they wait in memory, and are lost with
        /// the program.
        pub spool: Option<Spool> = optional_table(),
        /// Records into files, in place of a platform.
        pub file: Option<UploadFile> = optional_table(),
    }
    refuse {
        "token" => "a secret is never in the configuration: use [upload.oauth] with client_secret_file, client_secret_env or client_secret_credential",
        "endpoint" => "it is called `url`, and the path of it `path`",
    }
    check(this, reader) {
        match (reader.has("url"), reader.has("file")) {
            (true, true) => reader.fault_found("url", "there is [upload.file], too", "records go to a platform or to files: take one out"),
            (false, false) if this.oauth.is_some() || this.spool.is_some() => {
                reader.absence("url", "[upload.oauth] and [upload.spool] are for sending: set `url`, too, or write [upload.file]");
            }
            _ => {}
        }
        if this.url.is_some() && this.shape == RecordShape::Native && !reader.has("path") {
            reader.note(
                "shape",
                "native records are posted to /api-transactions, where a platform takes edge records: set `path` to what takes NDJSON, as /native of `sensor collector` does",
            );
        }
        // Less would drop batches while one is filled and one is sent.
        let least = ByteSize(this.batch.bytes.0.saturating_mul(2));
        if this.queue_bytes < least {
            let at = if reader.has("queue_bytes") { "queue_bytes" } else { "batch" };
            reader.fault_found(at, format!("upload.queue_bytes is {}", this.queue_bytes), format!("it has to hold two batches at least: {least}, or make batches smaller"));
        }
        if let Some(spool) = this.spool.as_ref().filter(|spool| spool.max_bytes < least) {
            reader.fault_found("spool", format!("upload.spool.max_bytes is {}", spool.max_bytes), format!("it has to hold two batches at least: {least}, or make batches smaller"));
        }
    }
}

section! {
    Live;
    /// When a batch is sealed: whichever comes first.
    pub struct Batch {
        /// Records in it.
        pub records: usize = whole(1..=100_000).or(250_usize),
        /// Bytes in it, before compression.
        pub bytes: ByteSize = size(kib(1)..=mib(64)).or(mib(1)),
        /// How long its first record has waited.
        pub age: Duration = time(millis(10)..=hours(1)).or(seconds(5)),
    }
}

section! {
    Live;
    /// Tokens by OAuth 2.0 client credentials. The secret is in a file, in a variable of the environment, or a credential of
    /// the service manager; one of the three is named.
    pub struct OAuth {
        /// The token endpoint. Behind a proxy it needs a host name or an IPv4 address.
        pub token_url: String = endpoint().required("https://auth.example.com/auth/realms/cequence/protocol/openid-connect/token"),
        /// The client's id.
        pub client_id: String = text().required("sensor"),
        /// The file that holds the client's secret; a line's end behind it does not count.
        pub client_secret_file: Option<PathBuf> = secret_path().optional("/etc/sensor/client-secret"),
        /// The environment variable that holds it.
        pub client_secret_env: Option<String> = variable().optional("PLATFORM_CLIENT_SECRET").alternative(),
        /// The systemd credential that holds it (LoadCredential=).
        pub client_secret_credential: Option<String> = credential().optional("client-secret").alternative(),
        /// The scope to ask for. Default: none.
        pub scope: Option<String> = text().hidden().optional("ingest"),
        /// TLS between the sensor and the token endpoint: nothing of [upload.tls] counts here.
        pub tls: Tls = table(),
    }
    refuse {
        "client_secret" => "a secret is never in the configuration: put it into a file and name that as client_secret_file, or use client_secret_env or client_secret_credential; and change the secret, as it was readable here",
        "password" => "the sensor asks for tokens by client credentials only: client_id and client_secret_file",
    }
    check(this, reader) {
        check_secret(reader);
    }
}

/// One secret, from one place.
fn check_secret(reader: &mut Reader<'_>) {
    let given: Vec<&str> = ["client_secret_file", "client_secret_env", "client_secret_credential"]
        .into_iter()
        .filter(|key| reader.has(key))
        .collect();
    match given[..] {
        [] if reader.has("client_secret") => {}
        [] => reader.absence(
            "client_secret_file",
            "name where the secret is: client_secret_file, client_secret_env or client_secret_credential",
        ),
        [_] => {}
        [first, second, ..] => {
            let found = format!("both {first} and {second} are set");
            reader.fault_found(second, found, "the secret is in one place: take the others out");
        }
    }
}

section! {
    Restart;
    /// Where batches wait on the disk until they are accepted.
    pub struct Spool {
        /// The folder, for this sensor alone.
        pub folder: PathBuf = path().required("/var/lib/sensor/spool"),
        /// The most that it holds; when it is full, the oldest batches are dropped and counted.
        pub max_bytes: ByteSize = size(mib(1)..=bytes(1 << 50)).or(gib(10)),
        /// When a batch counts as stored: "batch" when it is on the disk and outlasts a loss of power, "none" when it is
        /// written and outlasts the end of the program. With `[upload.file]`, "batch" has each batch on the disk there, too,
        /// before it leaves the spool: one more sync for each; larger batches take fewer.
        pub sync: SpoolSync = choice().or(SpoolSync::Batch),
        /// How long a batch may wait for the platform's answer before it is written; one that is accepted by then is never
        /// written, which spares the disk. 0: each is written before it is sent.
        pub grace: Duration = time(millis(0)..=seconds(10)).or(millis(100)),
        /// The most that is kept of what the platform refused, with its answers, in the folder's `dead-letter`.
        pub dead_letter_bytes: ByteSize = size(bytes(0)..=bytes(1 << 50)).or(mib(100)),
    }
}

section! {
    Live;
    /// Records into files, one JSON object a line, in place of a platform.
    pub struct UploadFile {
        /// The file that is written; full ones are renamed beside it.
        pub path: PathBuf = path().required("/var/log/sensor/transactions.ndjson").at_restart(),
        /// Bytes after which a new one is begun.
        pub rotate_bytes: ByteSize = size(kib(64)..=bytes(1 << 50)).or(mib(256)),
        /// Time after which a new one is begun.
        pub rotate_age: Duration = time(seconds(1)..=hours(366 * 24)).or(hours(24)),
        /// Full ones that are kept; the oldest goes first.
        pub keep: usize = whole(1..=100_000).or(10_usize),
    }
}

/// A URL that names a server only.
fn origin() -> Parsed<String> {
    const FORM: &str = "a URL of scheme, host and port, as in \"https://edge.example.com\"";
    parsed(FORM, |text| {
        let url = guarded_address(text, FORM)?;
        if url.path() != "/" || text.contains(['?', '#']) {
            return Err("allowed: scheme, host and port only; the path goes into `path`".to_owned());
        }
        Ok(text.trim_end_matches('/').to_owned())
    })
    .private(|text| has_user(text) || text.contains(['?', '#']) || !text.contains(['.', ':']))
    .hidden()
}

/// A URL with its path.
fn endpoint() -> Parsed<String> {
    const FORM: &str = "a URL, as in \"https://auth.example.com/token\"";
    parsed(FORM, |text| {
        guarded_address(text, FORM)?;
        if secret::is_in_url(text) {
            return Err("a URL holds no secret here, as a configuration holds none: name where the client's secret is by client_secret_file, client_secret_env or client_secret_credential; and change it, as it was readable here".to_owned());
        }
        Ok(text.to_owned())
    })
    .private(|text| has_user(text) || text.contains(['?', '#']) || !text.contains(['.', ':']))
    .hidden()
}

/// What `proxy` says where there is to be none.
pub const NO_PROXY: &str = "none";

/// A proxy's URL, or none.
fn proxy() -> Parsed<String> {
    const FORM: &str = "\"none\", or the URL of a proxy, as in \"http://proxy.example.com:3128\"";
    parsed(FORM, |text| {
        if text == NO_PROXY {
            return Ok(text.to_owned());
        }
        if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| scheme.starts_with("socks")) {
            return Err(format!(
                "a proxy that speaks {scheme} cannot be used, only one that knows CONNECT; allowed: {FORM}"
            ));
        }
        let url = web_address(text, FORM)?;
        if url.path() != "/" || text.contains(['?', '#']) {
            return Err(format!("allowed: {FORM}, without a path"));
        }
        Ok(text.trim_end_matches('/').to_owned())
    })
    .private(|text| has_user(text) || text.contains(['?', '#']))
    .hidden()
}

/// Whether a URL may hold a user and a password.
fn has_user(text: &str) -> bool {
    text.contains('@')
}

/// The address of what is sent records or secrets: never in the clear, but within the machine.
fn guarded_address(text: &str, form: &str) -> Result<url::Url, String> {
    let url = web_address(text, form)?;
    let is_local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "http" && !is_local {
        return Err("http:// would send records and secrets in the clear: use https://, or http:// within the machine (127.0.0.1)".to_owned());
    }
    Ok(url)
}

fn web_address(text: &str, form: &str) -> Result<url::Url, String> {
    let allowed = || format!("allowed: {form}");
    let url = url::Url::parse(text).map_err(|_| allowed())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL holds no user or password here, as a configuration holds no secrets; those of a proxy are read from HTTPS_PROXY".to_owned());
    }
    if !matches!(url.scheme(), "http" | "https")
        || url.host_str().is_none_or(str::is_empty)
        || text.contains(char::is_whitespace)
    {
        return Err(allowed());
    }
    Ok(url)
}

/// The path of a URL.
fn url_path() -> Parsed<String> {
    parsed("the path of a URL, as in \"/api-transactions\"", |text| {
        let is_path = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>#?".contains(&b));
        if !is_path {
            return Err("allowed: a path that begins with /, as in \"/api-transactions\"".to_owned());
        }
        Ok(text.to_owned())
    })
    // What stands in a query may be a secret.
    .private(|text| text.contains(['?', '#']))
}

/// The name of a variable. What is none is not shown: it may be what the variable should hold.
fn variable() -> Parsed<String> {
    parsed("the name of an environment variable", |text| {
        let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !is_name {
            return Err(
                "allowed: the name of an environment variable, as in PLATFORM_CLIENT_SECRET, not what it holds"
                    .to_owned(),
            );
        }
        plain_name(text, is_variable)
    })
    .names_secret()
    .unless(is_variable)
}

fn is_variable(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

/// What no password is by its letters, or what is there.
fn plain_name(name: &str, is_there: fn(&str) -> bool) -> Result<String, String> {
    match secret::is_like_a_password(name) && !is_there(name) {
        true => Err(secret::ADVICE_ON_NAMES.to_owned()),
        false => Ok(name.to_owned()),
    }
}

/// The name of a credential.
fn credential() -> Parsed<String> {
    parsed("the name of a systemd credential", |text| {
        let is_name = !text.is_empty()
            && text.len() <= 255
            && !matches!(text, "." | "..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_name {
            return Err("allowed: the name of a systemd credential, as in client-secret, not what it holds".to_owned());
        }
        plain_name(text, is_credential)
    })
    .names_secret()
    .unless(is_credential)
}

fn is_credential(name: &str) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| Path::new(&folder).join(name).exists())
}
