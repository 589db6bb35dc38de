//! Opaque records in batches to a platform over mutual TLS, through any outage: delivered, or accounted for.

#![forbid(unsafe_code)]

mod envelope;
mod secret;
mod settings;

pub use envelope::{Envelope, EnvelopeError};
pub use secret::{Secret, SecretError, SecretSource};
pub use settings::{
    AnswerRule, BatchLimits, Coding, Destination, FileSettings, HttpVersions, HttpsSettings, IdentityFiles,
    OAuthSettings, ProxySettings, RetrySettings, Settings, SpoolSettings, SpoolSync, TlsSettings, TlsVersion,
};
