//! The TLS side of a client: whom to trust, who we are, which versions.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::certificate::{Identity, TlsError, Validity, authorities};
use crate::settings::{HttpVersions, TlsSettings, TlsVersion};

/// A client configuration, and when its certificate is valid.
pub(super) struct Configured {
    pub(super) config: ClientConfig,
    pub(super) validity: Option<Validity>,
}

/// A certificate is checked against another name than the one that was asked for.
#[derive(Debug)]
pub(super) struct Alias {
    pub(super) asked: ServerName<'static>,
    pub(super) checked: ServerName<'static>,
}

/// Reads the files and builds the configuration.
pub(super) fn configure(tls: &TlsSettings, http: HttpVersions, alias: Option<Alias>) -> Result<Configured, TlsError> {
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
    let builder = match alias {
        Some(alias) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Aliased { verifier, alias })),
        None => builder.with_webpki_verifier(verifier),
    };
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

/// Checks certificates as ever, but one peer's against a name of the operator's. Other names are left as they are: a proxy on
/// the way is asked for its own.
#[derive(Debug)]
struct Aliased {
    verifier: Arc<WebPkiServerVerifier>,
    alias: Alias,
}

impl ServerCertVerifier for Aliased {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = if *asked == self.alias.asked { &self.alias.checked } else { asked };
        self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
