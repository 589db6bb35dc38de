//! Where batches go.

mod answer;
mod answer_body;
mod certificate;
mod check;
mod client;
mod file;
mod https;
mod last_words;
mod null;
mod oauth;
mod proxy;
mod stdout;
mod tls;
mod token_client;

use std::future::Future;
use std::sync::Arc;

pub use self::certificate::TlsError;
pub use self::check::{CheckStep, check};
pub use self::file::FileTransport;
pub use self::https::HttpsTransport;
pub use self::null::NullTransport;
pub(crate) use self::proxy::check_address as check_proxy;
pub use self::stdout::StdoutTransport;
use crate::outcome::Outcome;
use crate::sealed::SealedBatch;
use crate::settings::Destination;
use crate::stats::Stats;

/// A receiver of batches. It tries once; whether and when to try again is not its business.
pub trait Transport: Send + Sync + 'static {
    /// Sends one batch. Several may be under way at once.
    fn send(&self, batch: &SealedBatch) -> impl Future<Output = Outcome> + Send;

    /// Work beside sending, as long as the uploader runs: watching certificates, for instance.
    fn attend(&self, stats: Arc<Stats>) -> impl Future<Output = ()> + Send {
        let _ = stats;
        std::future::pending()
    }

    /// Asks it to read again what it read from files at its start.
    fn reload(&self) {}

    /// Makes everything ready to go on as `destination` says, and changes nothing until the result is called. `None`: it would
    /// take another transport, and so another uploader.
    ///
    /// # Errors
    ///
    /// If that could not be started with.
    fn prepare(self: &Arc<Self>, destination: &Destination) -> Result<Option<Apply>, TransportError> {
        let _ = destination;
        Ok(None)
    }

    /// Whether it takes batches in any envelope; else those in a spool that were made for another one are not for it.
    fn takes_any_envelope(&self) -> bool {
        false
    }
}

/// A change that has only to be made.
pub type Apply = Box<dyn FnOnce() + Send>;

/// A transport that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The settings contradict themselves.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// A file cannot be opened, read or written.
    #[error("{what} {}: {error}; {advice}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: std::path::PathBuf,
        /// What the system said.
        error: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// Certificates, keys or authorities cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The secret cannot be read.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// The HTTP client cannot be built.
    #[error("the HTTPS client cannot be set up: {0}")]
    Client(String),
}
