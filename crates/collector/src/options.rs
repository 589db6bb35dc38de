//! What a collector is started with.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::fault::Fault;
use crate::secret::Secret;
use crate::store::StoreError;

/// Everything a collector can be told at its start. [`Options::default`] listens on a free loopback port without TLS and
/// keeps what it takes in memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where records are taken: at least one address; port 0 takes a free one ([`crate::Collector::addresses`] says which).
    pub listen: Vec<SocketAddr>,
    /// Where, beside that, a person may look at what is stored: without TLS and token, therefore on a loopback address only.
    pub view: Option<SocketAddr>,
    /// TLS on the `listen` addresses; without, they speak plain HTTP.
    pub tls: Option<Tls>,
    /// Where records go.
    pub store: StoreKind,
    /// Who may fetch tokens. With `None` there is no token endpoint and no token is asked for.
    pub clients: Option<TokenIssuer>,
    /// The largest request body in bytes as sent; a larger one is answered with 413. Default 8 MiB.
    pub max_body: usize,
    /// The largest request body in bytes once its content coding is undone; a larger one is answered with 413. Default 32 MiB.
    pub max_decoded: usize,
    /// What all bodies that are being read or decoded may hold together, in bytes; beyond it the answer is 503. Default 256 MiB.
    pub max_under_way: usize,
    /// Connections at the same time; further ones are closed at once. Default 512.
    pub max_connections: usize,
    /// What slow clients are allowed.
    pub time_limits: TimeLimits,
    /// Threads that serve connections; at least 1. Default 2.
    pub threads: usize,
    /// Misbehaviour from the start on; [`crate::Faults`] adds to it later.
    pub faults: Vec<Fault>,
    /// Seeds the faults that strike by chance, so that a run can be repeated.
    pub fault_seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            view: None,
            tls: None,
            store: StoreKind::Memory,
            clients: None,
            max_body: 8 << 20,
            max_decoded: 32 << 20,
            max_under_way: 256 << 20,
            max_connections: 512,
            time_limits: TimeLimits::default(),
            threads: 2,
            faults: Vec::new(),
            fault_seed: 0,
        }
    }
}

/// TLS 1.2 and 1.3, by files in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
    /// The certificates that may sign a client's; needed unless they are [`ClientCertificates::Ignored`].
    pub client_ca: Option<PathBuf>,
    /// What is asked of clients.
    pub client_certificates: ClientCertificates,
}

/// What a client's certificate is to the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// The handshake fails without one that the client CA signed.
    #[default]
    Demanded,
    /// Asked for: without one the connection stands, one of another CA ends the handshake.
    Optional,
    /// Not asked for.
    Ignored,
}

impl FromStr for ClientCertificates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "demanded" => Ok(Self::Demanded),
            "optional" => Ok(Self::Optional),
            "ignored" => Ok(Self::Ignored),
            _ => Err(format!("`{text}` says nothing about client certificates: write demanded, optional or ignored")),
        }
    }
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A SQLite database in a file, made if it is not there. An answer of 200 means that the records are on the disk.
    Sqlite(PathBuf),
    /// The same in memory, at most [`crate::MEMORY_STORE_LIMIT`]; gone with the collector.
    Memory,
    /// Nowhere: bodies are read, counted by a search for the records' ids, and dropped. To measure senders.
    Null,
}

impl FromStr for StoreKind {
    type Err = Infallible;

    /// `memory`, `null`, or the path of a database.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "memory" => Self::Memory,
            "null" => Self::Null,
            path => Self::Sqlite(PathBuf::from(path)),
        })
    }
}

/// The OAuth 2.0 client that may fetch tokens, and what it gets.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    /// The client's id.
    pub client_id: String,
    /// Its secret. The key that signs tokens is derived from it and the realm, so collectors with the same client accept
    /// each other's tokens, and tokens outlive a restart.
    pub client_secret: Secret,
    /// How long a token is good for. Default of the platform: 1800 s.
    pub lifetime: Duration,
    /// The realm in the token endpoint's path. Default of the platform: `cequence`.
    pub realm: String,
}

/// How slow a client may be. Each limit ends a connection or a request, none of them the collector.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// For the TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// For a request's head. Default 15 s.
    pub head: Duration,
    /// For a request's whole body. Default 60 s.
    pub body: Duration,
    /// For a connection on which nothing arrives, or that takes nothing of what is sent to it. Default 120 s.
    pub idle: Duration,
    /// For requests under way at [`crate::Collector::shutdown`]. Default 5 s.
    pub shutdown: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(120),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// Why a collector does not start. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options contradict each other.
    #[error("the collector's options do not go together: {0}")]
    Options(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose an address of this machine and a port that is free")]
    Listen {
        /// The address as given.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate, key or CA cannot be used.
    #[error("cannot use {what} {path}: {problem}")]
    Certificate {
        /// What the file was to be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}; the system is out of threads or memory")]
    Thread(#[source] io::Error),
}
