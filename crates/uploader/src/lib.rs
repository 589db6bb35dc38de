//! Opaque records in batches to a platform over mutual TLS, through any outage: delivered, or accounted for.
//!
//! ```text
//! worker ─ Batcher ─ Intake ═ sealing threads ─ spool or memory ═ delivery thread ─ Transport ─ platform
//! ```
//!
//! A record is an id and bytes; what it says is nobody's business here. A [`Batcher`] writes records straight into the body
//! that will be sent. Sealing compresses it if wanted and makes it durable. Delivery sends the oldest batches first, several
//! at once, and tries again as the platform's answers and silences suggest. A batch's file is removed when every record in
//! it has its fate.
//!
//! # Invariants
//!
//! - *The records line adds up* at every moment: [`RecordsLine`].
//! - *Durable soon*: a batch that is not accepted within [`SpoolSettings::grace`] of being sealed is written to the spool.
//! - *At least once*: once a batch is in the spool, neither `kill -9` nor (with [`SpoolSync::Batch`]) power loss loses it.
//!   It may be sent twice; its records' ids let the receiver keep it once.
//! - *Bounds*: memory, spool, dead letters and what is set aside have sizes; when one is full, a fixed and counted policy
//!   acts.
//! - *Every thread moves*: at least once a second, whatever is away ([`Stats::threads`]); what is held up by a disk that does
//!   not come back is told apart ([`Stats::disk_wait`]).
//! - *No secret shows*: not in logs, errors or `Debug`.
//!
//! # Example
//!
//! ```
//! use std::time::{Duration, Instant};
//! use uploader::{Destination, RecordId, Settings, SpoolSettings, Uploader};
//!
//! # let folder = tempfile::tempdir()?;
//! let spool = Some(SpoolSettings::new(folder.path().join("spool")));
//! let uploader = Uploader::start_to(Settings { spool, ..Settings::default() }, &Destination::Null, None)?;
//! // One of each for every worker.
//! let (mut batcher, intake) = (uploader.batcher(), uploader.intake());
//! batcher.buffer().extend_from_slice(b"{\"a\":1}");
//! for batch in [batcher.commit(RecordId([1; 16]), Instant::now()), batcher.flush()].into_iter().flatten() {
//!     intake.submit(batch).expect("the uploader runs"); // A live source would `offer`.
//! }
//! let report = uploader.drain(Duration::from_secs(10));
//! assert!(report.complete && report.records.adds_up());
//! assert_eq!(report.records.accepted, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod batch;
mod batcher;
mod delivery;
mod driver;
mod envelope;
mod operations;
mod outcome;
mod regular;
mod sealed;
mod secret;
mod seldom;
mod settings;
mod spool;
mod stats;
mod store;
mod transport;
mod uploader;

pub use batch::{Batch, RecordId};
pub use batcher::Batcher;
pub use driver::Shrink;
pub use envelope::{Envelope, EnvelopeError};
pub use outcome::{Answer, Outcome, RetryReason};
pub use regular::open_regular;
pub use sealed::{MAX_BODY_BYTES, SealError, SealedBatch};
pub use secret::{Secret, SecretError, SecretSource};
pub use settings::{
    AnswerRule, BatchLimits, Coding, Destination, FileSettings, HttpVersions, HttpsSettings, IdentityFiles,
    OAuthSettings, ProxySettings, RetrySettings, Settings, SpoolSettings, SpoolSync, TlsSettings, TlsVersion,
};
pub use spool::SpoolError;
pub use spool::disk::{SpoolUse, make_folder, try_spool};
pub use spool::format::{Corrupt, decode as decode_spool_file};
pub use spool::spooled_as;
pub use stats::{DropReason, RecordsLine, Stats, ThreadBeats};
pub use transport::{
    Apply, CheckStep, FileTransport, HttpsTransport, NullTransport, StdoutTransport, TlsError, Transport,
    TransportError, check,
};
pub use uploader::{Control, DrainReport, Intake, Prepared, StartError, Uploader};
