//! The TLS side of a client: whom to trust, who we are, which versions.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::sign::SingleCertAndKey;

use super::certificate::{Identity, TlsError, Validity, authorities};
use crate::settings::{HttpVersions, TlsSettings, TlsVersion};

/// A client configuration, and when its certificate is valid.
pub(super) struct Configured {
    pub(super) config: ClientConfig,
    pub(super) validity: Option<Validity>,
}

/// Reads the files and builds the configuration.
pub(super) fn configure(tls: &TlsSettings, http: HttpVersions) -> Result<Configured, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = match tls.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let roots = Arc::new(authorities(tls.ca.as_deref())?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(TlsError::Rustls)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| TlsError::Rustls(rustls::Error::General(error.to_string())))?;
    let builder = builder.with_webpki_verifier(verifier);
    let identity = tls.identity.as_ref().map(Identity::load).transpose()?;
    let validity = identity.as_ref().map(|identity| identity.validity);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match http {
        HttpVersions::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersions::Http1 => vec![b"http/1.1".to_vec()],
    };
    Ok(Configured { config, validity })
}
